"""A simulation of owners that die and hand over: three deaths are enough to know a culprit, and no innocent pays."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from enum import Enum

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from streams.core.offsets.commit_metadata import METADATA_LIMIT
from streams.core.offsets.crash_record import CrashRecord, StartMode
from streams.core.offsets.tracker import OffsetTracker


class End(Enum):
    """How an owner's life ends."""

    DONE = "done"
    DIED = "died"
    HANDED_OVER = "handed over"


class World:
    """A log, what the broker holds of it, and what has become of its jobs. Culprits kill as soon as they start."""

    def __init__(self, data: st.DataObject) -> None:
        self.draw = data.draw
        self.jobs = data.draw(st.integers(1, 30))
        self.culprits = data.draw(st.sets(st.integers(0, self.jobs - 1), max_size=4))
        #: How many of the jobs are in the log by now.
        self.published = data.draw(st.integers(1, self.jobs))
        self.starts: Counter[int] = Counter()
        self.buried: set[int] = set()
        self.committed = (0, "")


class Owner:
    """One owner's life. What it runs in any moment has not killed it, so it is innocent, or old."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.offsets = OffsetTracker(*world.committed)
        self.crash_record = self.offsets.crash_record
        self.crash_record.suspect_below(world.published)
        self.crash_record.claim()
        self.commit()
        self.waiting: list[int] = []
        self.running: list[int] = []
        #: Who runs alone, and who did until others started again.
        self.alone: int | None = None
        self.beside: int | None = None

    def live(self) -> End:
        """Run all jobs in any order, unless it dies or hands over before."""
        world = self.world
        while True:
            self.read()
            if not (self.waiting or self.running) and world.published == world.jobs:
                return End.DONE
            rare = world.draw(st.integers(0, 30))
            if rare == 30:
                self.crash_record.release(self.offsets.watermark)
                self.commit()
                return End.HANDED_OVER
            if rare > 27:
                self.rebalance()
            elif self.step():
                return End.DIED

    def read(self) -> None:
        if not (self.waiting or self.running) or self.world.draw(st.booleans()):
            self.world.published = min(self.world.jobs, self.world.published + 2)
        new = range(self.offsets.next_offset, self.world.published)
        self.waiting += [offset for offset in new if self.offsets.read(offset)]

    def rebalance(self) -> None:
        """Let go of it while jobs run, and have it back."""
        self.crash_record.release(self.offsets.watermark)
        self.commit()
        self.crash_record.claim()
        self.commit()

    def step(self) -> bool:
        """Start or end a job, or let others start beside the one that is alone; whether that has killed the owner."""
        startable = [offset for offset in self.waiting if self.may_start(offset)]
        if self.alone is not None and self.world.draw(st.booleans()):
            self.let_others()
        elif startable and (not self.running or self.world.draw(st.booleans())):
            return self.start(self.world.draw(st.sampled_from(startable)))
        elif self.running:
            self.end(self.world.draw(st.sampled_from(self.running)))
        return False

    def may_start(self, offset: int) -> bool:
        way = self.crash_record.start_mode(offset)
        if way is StartMode.ISOLATED:
            return self.alone is None and self.beside is None
        if way is StartMode.LIMITED:
            return self.alone is None and not self.crash_record.at_limit
        return self.alone is None or way is StartMode.REFUSED

    def start(self, offset: int) -> bool:
        self.waiting.remove(offset)
        way = self.crash_record.start_mode(offset)
        if way is StartMode.REFUSED:
            self.world.buried.add(offset)
            self.offsets.finish(offset)
            return False
        if way is not StartMode.FREE:
            self.crash_record.start(offset, alone=way is StartMode.ISOLATED)
            self.commit()
        if way is StartMode.ISOLATED:
            self.alone = offset
        self.world.starts[offset] += 1
        self.running.append(offset)
        return offset in self.world.culprits

    def let_others(self) -> None:
        """The one that is alone is no longer, when a commit says so."""
        assert self.alone is not None
        self.crash_record.start(self.alone)
        self.commit()
        self.alone, self.beside = None, self.alone

    def end(self, offset: int) -> None:
        self.running.remove(offset)
        self.crash_record.end(offset)
        self.offsets.finish(offset)
        if offset == self.beside:
            self.beside = None
        if offset == self.alone:
            self.commit()
            self.alone = None
        elif self.world.draw(st.booleans()):
            self.commit()

    def commit(self) -> None:
        commit = self.offsets.commit()
        assert len(commit.metadata) <= METADATA_LIMIT
        self.world.committed = commit.watermark, commit.metadata


def simulate(data: st.DataObject) -> None:
    world = World(data)
    deaths = 0
    end = None
    while end is not End.DONE:
        owner = Owner(world)
        end = owner.live()
        deaths += end is End.DIED
        assert deaths <= 3 * len(world.culprits), "more deaths than three for each culprit"
        assert world.buried <= world.culprits, "an innocent job was given up"
    assert all(world.starts[culprit] <= 3 for culprit in world.culprits), "more deaths than three for one culprit"
    assert owner.offsets.pending == 0


@given(st.data())
def test_three_deaths_at_the_most_and_no_innocent_pays(data: st.DataObject) -> None:
    simulate(data)


#: Finding is enough: a failure is not made small.
HUNT = settings(
    max_examples=20_000,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)


def _names_what_still_runs(crash_record: CrashRecord, watermark: int) -> None:
    """A death would be counted though nobody has died."""
    crash_record.unreleased = not crash_record.all_cleared(watermark)


def _tells_nobody(owner: Owner) -> None:
    """The broker would still hold that the job is alone."""
    owner.alone, owner.beside = None, owner.alone


def _forgets_who_waits(crash_record: CrashRecord, watermark: int) -> None:
    """The next owner would start all of them at once, and name none."""
    crash_record.claimed = crash_record.unreleased = False


@pytest.mark.parametrize(
    ("of", "rule", "broken"),
    [
        (CrashRecord, "release", _names_what_still_runs),
        (CrashRecord, "release", _forgets_who_waits),
        (Owner, "let_others", _tells_nobody),
    ],
)
def test_a_rule_that_is_switched_off_is_missed(
    of: type, rule: str, broken: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(of, rule, broken)

    @HUNT
    @given(st.data())
    def broken_world(data: st.DataObject) -> None:
        simulate(data)

    with pytest.raises(AssertionError, match=r"more deaths|given up"):
        broken_world()
