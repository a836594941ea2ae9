"""Owners of a partition of delayed jobs that read, fire, die and are replaced, in any order."""

from __future__ import annotations

import shutil
from pathlib import Path

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from streams.timers.store_folder import _FRESH_MS
from tests.unit.timers.world import Cluster, Died, Fate, ModelTransactions, Owner

ids = st.sampled_from([b"a", b"b", b"c"])
delays = st.sampled_from([0, 1, 10, 1_000])
fates = st.sampled_from([Fate.GOOD, Fate.GOOD, Fate.GOOD, Fate.REFUSED, Fate.DIES_BEFORE, Fate.DIES_AFTER])


class TimersMachine(RuleBasedStateMachine):
    """Every job goes once, none before its time as far as its owner has read, and none is lost."""

    transactions_type: type[ModelTransactions] = ModelTransactions
    owner_type: type[Owner] = Owner

    def __init__(self) -> None:
        super().__init__()
        self.cluster = Cluster()
        self.number = 0
        self.zombie: Owner | None = None
        self.files: list[Path] = []
        self.owner = self.new_owner(None)

    def new_owner(self, file: Path | None) -> Owner:
        self.number += 1
        owner = self.owner_type(
            self.cluster, file, b"owner-%d" % self.number, transactions=self.transactions_type(self.cluster)
        )
        self.files.append(owner.file.parent)
        return owner

    def teardown(self) -> None:
        try:
            self.all_goes_in_the_end()
        finally:
            self.owner.die()
            for folder in self.files:
                shutil.rmtree(folder, ignore_errors=True)

    # -- clients -------------------------------------------------------------------------------------------------------

    @rule(job=ids, delay=delays)
    def publish(self, job: bytes, delay: int) -> None:
        self.cluster.publish(job, delay)

    @rule(job=ids)
    def cancel(self, job: bytes) -> None:
        self.cluster.cancel(job)

    @rule(job=ids, delay=delays)
    def reschedule(self, job: bytes, delay: int) -> None:
        self.cluster.reschedule(job, delay)

    @rule(ms=st.sampled_from([1, 5, 20, 5_000]))
    def time_passes(self, ms: int) -> None:
        self.cluster.now += ms

    @rule()
    def is_compacted(self) -> None:
        self.cluster.compact(tombstones=False)

    # -- owners --------------------------------------------------------------------------------------------------------

    @rule(most=st.sampled_from([1, 2, 100]))
    def read(self, most: int) -> None:
        self.owner.read(most)

    @rule(fate=fates)
    def step(self, fate: str) -> None:
        owner = self.owner
        owner.transactions.fate = fate
        try:
            owner.owner.step()
        except Died:
            self.replaced(keeps_file=fate == Fate.DIES_AFTER)
        finally:
            owner.transactions.fate = Fate.GOOD

    @rule(job=ids)
    def serves(self, job: bytes) -> None:
        """It has read everything, is sure of its partition, and another job has come that it has read, too."""
        for _ in range(2):
            self.owner.read(1_000)
            self.owner.owner.step()
        self.cluster.publish(job, 0)
        self.owner.read(1_000)

    @rule(job=ids)
    def fires_what_is_published_again(self, job: bytes) -> None:
        """A job goes while its publisher sends it once more, which is read before the tombstone behind it."""
        self.serves(job)
        self.cluster.publish(job, 0)
        self.owner.owner.step()
        self.owner.read(1)

    @rule(keeps_file=st.booleans())
    def replaced(self, keeps_file: bool) -> None:
        """Its process ends, and another has the partition: on the same machine, or elsewhere."""
        self.owner.die()
        self.owner = self.new_owner(self.owner.file if keeps_file else None)

    @precondition(lambda self: self.zombie is None)
    @rule()
    def expelled(self) -> None:
        """It is expelled from the group, and does not know it yet: another has the partition as well."""
        self.zombie = self.owner
        self.owner = self.new_owner(None)

    @precondition(lambda self: self.zombie is not None)
    @rule(most=st.sampled_from([0, 100]))
    def the_expelled_one_goes_on(self, most: int) -> None:
        assert self.zombie is not None
        if most:
            self.zombie.read(most)
        # It makes itself no owner anew: its consumer would have learnt by then that it is none.
        if self.zombie.timers.fenced:
            self.zombie.owner.step()

    @precondition(lambda self: self.zombie is not None)
    @rule()
    def the_expelled_one_ends(self) -> None:
        assert self.zombie is not None
        self.zombie.die()
        self.zombie = None

    @rule()
    def a_day_without_an_owner(self) -> None:
        """Tombstones are gone after that, and so is what a file may say."""
        self.owner.read(1_000)
        self.owner.die()
        self.cluster.now += _FRESH_MS * 25
        self.cluster.compact(tombstones=True)
        self.owner = self.new_owner(None)
        if self.zombie is not None:
            self.the_expelled_one_ends()

    # -- what must hold ------------------------------------------------------------------------------------------------

    @invariant()
    def nothing_goes_twice(self) -> None:
        assert not self.cluster.faults, self.cluster.faults[0]

    def all_goes_in_the_end(self) -> None:
        if self.zombie is not None:
            self.the_expelled_one_ends()
        expected = self.cluster.state()
        for _ in range(12):
            self.cluster.now += 20_000
            self.owner.read(1_000)
            self.owner.owner.step()
        assert not self.cluster.faults, self.cluster.faults[0]
        assert not self.cluster.state(), f"waits for ever: {self.cluster.state()}"
        for job in expected:
            assert self.cluster.went.get(job), f"{job!r} never went"
        for job, places in self.cluster.published.items():
            ends = [tombstone for tombstone, _ in self.cluster.went.get(job, [])] + self.cluster.cancelled.get(job, [])
            assert any(end > places[-1] for end in ends), f"{job!r} is lost: published at {places[-1]}, ended at {ends}"
