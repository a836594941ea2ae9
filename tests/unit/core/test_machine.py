"""Offsets, lanes and partition against a model; and that the model finds the faults that consumers are known for."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from streams.core.offsets import finished_map
from streams.core.offsets.tracker import Commit, OffsetTracker
from streams.core.partition.lanes import Lane, Lanes
from tests.unit.core.machine import PartitionMachine
from tests.unit.core.records import Job, Jobs

TestPartition = PartitionMachine.TestCase
TestPartition.settings = settings(max_examples=60, stateful_step_count=50, deadline=None)

HUNT = settings(
    max_examples=600,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


class CommitsPastRunningWork(OffsetTracker):
    """Faust's `_new_offset`: a finished offset is committed while an earlier one runs."""

    def commit(self) -> Commit:
        true = super().commit()
        return Commit(max(true.watermark, self._high + 1), "", true.finished)


class CommitsPastWorkThatNeverCommitted(OffsetTracker):
    """Faust's `_new_offset`: with nothing committed yet there is no check at all."""

    def commit(self) -> Commit:
        true = super().commit()
        return true if self._acknowledged else Commit(self._high + 1, true.metadata, true.finished)


class ForgetsRefusedCommits(OffsetTracker):
    """Faust pops acks before the commit; when that fails they are gone. Faust calls refused offsets committed."""

    def commit(self) -> Commit:
        commit = super().commit()
        self._acknowledged = commit.finished
        return commit


class NeverSaysWhatIsFinished(OffsetTracker):
    """Faust's driver commits with empty metadata."""

    def commit(self) -> Commit:
        commit = super().commit()
        return Commit(commit.watermark, "", commit.finished)


class ReadsNoMap(OffsetTracker):
    """A restored worker forgets what was finished beyond the watermark."""

    def _restore(self, metadata: str) -> None:
        del metadata


class RestoresOneTooMany(OffsetTracker):
    """An error by one in the map."""

    def _restore(self, metadata: str) -> None:
        runs = finished_map.decode(metadata)
        if runs:
            runs[0] = max(0, runs[0] - 1)
            super()._restore(finished_map.encode(runs))


class GoesBack(OffsetTracker):
    """The watermark is the last offset that finished, plus one, whatever finished before."""

    @property
    def watermark(self) -> int:
        return super().watermark if self.pending % 3 else max(0, super().watermark - 1)


class RunsDuplicates(OffsetTracker):
    """A record that was read before is taken for new."""

    def read(self, offset: int) -> bool:
        return super().read(offset) or offset < self.next_offset


class StaysDirty(OffsetTracker):
    """An acknowledgement is ignored."""

    def acknowledge(self, commit: Commit) -> None:
        del commit


TRACKERS = [
    CommitsPastRunningWork,
    CommitsPastWorkThatNeverCommitted,
    ForgetsRefusedCommits,
    NeverSaysWhatIsFinished,
    ReadsNoMap,
    RestoresOneTooMany,
    GoesBack,
    RunsDuplicates,
    StaysDirty,
]


@pytest.mark.parametrize("faulty", TRACKERS)
def test_a_faulty_tracker_is_found(faulty: type[OffsetTracker]) -> None:
    """Faults of Faust's acks, and of trackers in general, put back one by one."""

    class Machine(PartitionMachine):
        tracker = faulty

    assert_found(Machine)


class HandsOutEveryJob(Lanes[Job, Jobs]):
    """A lane is handed out again for each job, so that jobs of one key overlap (Faust's `concurrency > 1`)."""

    def add(self, key: bytes | None, job: Job) -> Lane[Job, Jobs] | None:
        return super().add(key, job) or self._by_key[key or b""]


class LastInFirstOut(Lanes[Job, Jobs]):
    """A key's newest job goes first."""

    def finish(self, lane: Lane[Job, Jobs]) -> bool:
        if lane.rest:
            lane.rest.rotate(1)
        return super().finish(lane)


class LosesLanes(Lanes[Job, Jobs]):
    """A lane that has more to do is not handed out again."""

    def finish(self, lane: Lane[Job, Jobs]) -> bool:
        super().finish(lane)
        return False


class KeepsEmptyLanes(Lanes[Job, Jobs]):
    """A lane that is done stays, and what is added to it never becomes ready."""

    def finish(self, lane: Lane[Job, Jobs]) -> bool:
        again = super().finish(lane)
        if lane.key is not None:
            self._by_key[lane.key] = lane
        return again


class KeylessJobsShareALane(Lanes[Job, Jobs]):
    """Jobs without a key wait for each other."""

    def add(self, key: bytes | None, job: Job) -> Lane[Job, Jobs] | None:
        return super().add(key or b"none", job)


@pytest.mark.parametrize(
    "faulty", [HandsOutEveryJob, LastInFirstOut, LosesLanes, KeepsEmptyLanes, KeylessJobsShareALane]
)
def test_faulty_lanes_are_found(faulty: type[Lanes[Job, Jobs]]) -> None:
    class Machine(PartitionMachine):
        lanes = faulty

    assert_found(Machine)


class FinishesAfterLoss(Jobs):
    """Work of a partition that was lost counts."""

    def lose(self) -> None:
        """Forget to."""


class AcksWhatItReads(Jobs):
    """Faust acks an event in `finally`, whatever became of it: here, when it is read."""

    def admit(self, records: Sequence[Job]) -> list[Lane[Job, Jobs]]:
        lanes = super().admit(records)
        self.offsets._pending.clear()
        return lanes


@pytest.mark.parametrize("faulty", [FinishesAfterLoss, AcksWhatItReads])
def test_a_faulty_partition_is_found(faulty: type[Jobs]) -> None:
    """A revocation that does not fence; an ack that says nothing of the outcome."""

    class Machine(PartitionMachine):
        partition_type = faulty

    assert_found(Machine)


def assert_found(machine: type[PartitionMachine]) -> None:
    with pytest.raises((AssertionError, KeyError)):
        run_state_machine_as_test(machine, settings=HUNT)
