"""Queue and retry partition against a model; and that the model goes red when a rule of parking is switched off."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from streams.core.offsets.tracker import OffsetTracker
from streams.core.partition.lanes import Lane
from streams.core.partition.parked import ParkedLane, ParkedLanes
from streams.core.partition.parked_job import NOT_WRITTEN, ParkedJob
from streams.core.partition.restore import ParkedJobsRestore, Written
from tests.unit.core.parked_machine import ParkingMachine
from tests.unit.core.records import Job, Jobs


class LooseMachine(ParkingMachine):
    """The same without an order: a failing job holds back nobody."""

    ordered = False


TestParking = ParkingMachine.TestCase
TestParking.settings = settings(max_examples=250, stateful_step_count=60, deadline=None)

TestLoose = LooseMachine.TestCase
TestLoose.settings = settings(max_examples=100, stateful_step_count=60, deadline=None)

HUNT = settings(
    max_examples=4000,
    stateful_step_count=60,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


class NothingIsParked(Jobs):
    """A failing job goes to the retry log alone, and the others of its key run on (Spring's retry topics)."""

    def _divert(self, records: Sequence[Job]) -> list[Job]:
        others = [record for record in records if not self._holds(record)]
        self._parked_lanes.read_on(self.offsets.next_offset)
        return others

    def _holds(self, record: Job) -> bool:
        line = self._parked_lanes.find(record.key, record.offset)
        if line is None or not line.contains(record.offset):
            return False
        self.offsets.finish(record.offset)
        return True


class LeavesTheLaneInMemory(Jobs):
    """What waits in memory behind a failing job is not diverted, and runs when the key is out of its line."""

    def postpone(self, lane: Lane[Job, Jobs], *run: Any, **more: Any) -> Sequence[ParkedJob[Job]]:
        rest, lane.rest = lane.rest, None
        writes = super().postpone(lane, *run, **more)
        for record in rest or ():
            self._lanes.add(record.key, record)
        return writes


class StartsTheQueueFirst(Jobs):
    """The queue is started while the retry log is yet to be read."""

    queue_end = 0
    later: ParkedJobsRestore[Job] | None = None

    def start(self, queue_end: int, *, anew: bool = False) -> None:
        assert not anew
        self.queue_end = queue_end
        self.later, self._restoring = self._restoring, None

    def ready(self, now_ms: int) -> list[ParkedLane[Job, Jobs]]:
        if self.later is not None:
            self._restoring, self.later = self.later, None
            super().start(self.queue_end)
        return super().ready(now_ms)


class LoadsNothing(Jobs):
    """The parked jobs of another worker are none of this one's."""

    def load(self, entries: Sequence[tuple[ParkedJob[Job], Written]], read_to: int | None = None) -> None:
        super().load(entries, read_to)
        assert self._restoring
        self._restoring._entries.clear()


class FinishesBeforeTheBrokerHasIt(Jobs):
    """A job's old record is finished when the new one is sent, not when it is acknowledged."""

    def postpone(self, lane: Lane[Job, Jobs], *run: Any, **more: Any) -> Sequence[ParkedJob[Job]]:
        writes = super().postpone(lane, *run, **more)
        for entry in writes:
            if entry.retry_offset == NOT_WRITTEN and not self.lost:
                self.offsets._pending.pop(entry.queue_offset)
                self.offsets._finished += 1
        return writes

    def wrote(self, entry: ParkedJob[Job], offset: int) -> None:
        if entry.retry_offset == NOT_WRITTEN and not self.lost:
            self.offsets._pending.setdefault(entry.queue_offset)
        super().wrote(entry, offset)


class ForgetsTheFormerRecord(Jobs):
    """A retry that fails again leaves its earlier record unfinished."""

    def wrote(self, entry: ParkedJob[Job], offset: int) -> None:
        former = entry.retry_offset
        super().wrote(entry, offset)
        if former != NOT_WRITTEN and self.retries and not self.lost:
            self.retries._pending = dict.fromkeys(sorted([*self.retries._pending, former]))


class RunsWhatIsStillBeingWritten(Jobs):
    """A line's next job runs before its record is acknowledged."""

    def _finish_parked(self, line: ParkedLane[Job, Jobs]) -> bool:
        ready = super()._finish_parked(line)
        return ready or (len(self._parked_by_key) > 0 and line.entry.untried and line.entry.writing)


class GoesOnWhenLost(Jobs):
    """A revocation does not fence."""

    def lose(self) -> None:
        """Forget to."""


class GoesOnHolding(Jobs):
    """What fails once a rebalance has begun is held as before."""

    def stop_holding(self, taken_back: Collection[Lane[Job, Jobs]]) -> list[ParkedJob[Job]]:
        entries = super().stop_holding(taken_back)
        self._may_hold = True
        return entries


class HoldsWithoutAnEnd(Jobs):
    """A partition that is full holds as much as before."""

    def _release_held(self) -> None:
        """Release nothing."""


class ForgetsWhatItHolds(Jobs):
    """What has failed and comes back soon is not told to the next owner in a hand-over."""

    def stop_holding(self, taken_back: Collection[Lane[Job, Jobs]]) -> list[ParkedJob[Job]]:
        return []


class RunsWhatItHandsOver(Jobs):
    """What has failed is written before a hand-over, and may run meanwhile."""

    def stop_holding(self, taken_back: Collection[Lane[Job, Jobs]]) -> list[ParkedJob[Job]]:
        entries = super().stop_holding(taken_back)
        for lane in self._parked_by_key.values():
            lane.waiting = lane.waiting or lane.entry in entries
        return entries


PARTITIONS = [
    NothingIsParked,
    LeavesTheLaneInMemory,
    StartsTheQueueFirst,
    LoadsNothing,
    FinishesBeforeTheBrokerHasIt,
    ForgetsTheFormerRecord,
    RunsWhatIsStillBeingWritten,
    GoesOnWhenLost,
    GoesOnHolding,
    HoldsWithoutAnEnd,
    ForgetsWhatItHolds,
    RunsWhatItHandsOver,
]


@pytest.mark.parametrize("faulty", PARTITIONS)
def test_a_faulty_partition_is_found(faulty: type[Jobs]) -> None:
    class Machine(ParkingMachine):
        partition_type = faulty

    assert_found(Machine)


def not_read_past(
    self: ParkedLanes[Any, Any], line: ParkedLane[Any, Any], read_to: int, *, true: Any = ParkedLanes.wait
) -> None:
    true(self, line, 1 << 62)


def at_once(self: ParkedLanes[Any, Any], now_ms: int, *, true: Any = ParkedLanes.ready) -> list[ParkedLane[Any, Any]]:
    return list(true(self, now_ms + 1000))


def holds_nothing(self: ParkedLane[Any, Any], position: int) -> bool:
    del self, position
    return False


def at_the_end(self: ParkedLane[Any, Any], entry: ParkedJob[Any]) -> None:
    self._behind = [*(self._behind or ())[self._taken :], entry]
    self._taken = 0


def acknowledged_in_order(self: OffsetTracker, offset: int) -> None:
    self.read(offset)
    self._pending.setdefault(max(offset, self.next_offset - 1))


def keeps_the_older(
    self: ParkedJobsRestore[Any], key: bytes | None, entry: ParkedJob[Any], generation: int | None = None
) -> int | None:
    del generation
    other = self._entries.setdefault((entry.queue_offset, key), entry)
    return None if other is entry else entry.retry_offset


def never_wakes(self: ParkedLanes[Any, Any], read_to: int) -> None:
    """Forget those who wait for the queue to be read."""


#: What a rule is without: the method that holds it, and what takes its place.
RULES = {
    "runnable: the queue was read past it": (ParkedLanes, "wait", not_read_past),
    "runnable: it is due": (ParkedLanes, "ready", at_once),
    "runnable: those that wait are woken": (ParkedLanes, "read_on", never_wakes),
    "unique: at most one entry": (ParkedLane, "contains", holds_nothing),
    "order: a line is sorted": (ParkedLane, "insert", at_the_end),
    "unique: the last copy counts": (ParkedJobsRestore, "add", keeps_the_older),
    "finish: late acknowledgements": (OffsetTracker, "wrote", acknowledged_in_order),
}


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_that_is_switched_off_is_missed(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    owner, name, without = RULES[rule]
    monkeypatch.setattr(owner, name, without)
    assert_found(ParkingMachine)


def assert_found(machine: type[ParkingMachine]) -> None:
    with pytest.raises((AssertionError, KeyError)):
        run_state_machine_as_test(machine, settings=HUNT)
