"""What the timekeeper and its Kafka side hand each other: the log of delayed jobs, and transactions."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple, Protocol

from schemas.headers import Headers
from streams.ports.records import OutgoingRecord


class TimerRecord(NamedTuple):
    """A record of the topic of delayed jobs. `headers` is None where the name of one is no UTF-8."""

    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers | None


class TimerChunk(NamedTuple):
    """Records of one partition in their order, and where its log went on when its end was reached, if it was."""

    partition: int
    records: Sequence[TimerRecord]
    end: int | None = None


class PartitionListener(Protocol):
    """Hears which partitions are this worker's, within `TimerLog.take` and `close`."""

    def assigned(self, partition: int) -> int | None:
        """A partition is this worker's. Returns the offset from which it is to be read; None if it is not to be yet."""

    def revoked(self, partition: int) -> None:
        """A partition is this worker's no longer."""


class TimerLog(Protocol):
    """Reads the partitions of the topic of delayed jobs that this worker is given, records of open transactions not
    included. Belongs to one thread."""

    @property
    def id(self) -> str:
        """What tells the topic from one of the same name that was deleted."""

    def take(self, wait: float) -> list[TimerChunk]:
        """Take what has come; waits for the first so many seconds. Raises nothing: what fails is logged, and tried
        again."""

    def end_of(self, partition: int) -> int:
        """The next offset of a log, by its leader, behind open transactions. Raises LogUnreachable."""

    def read_from(self, partition: int, offset: int) -> None:
        """Go on with a partition at an offset."""

    def pause(self, partitions: Collection[int]) -> None:
        """Read these partitions no further, and all others."""

    def close(self) -> None:
        """Leave the group; partitions are revoked first."""


class LogUnreachable(Exception):
    """A broker has not answered."""


class Transactions(Protocol):
    """Writes records of one partition's timers in transactions: all of them or none. Belongs to one thread."""

    def begin(self, partition: int) -> None:
        """Make this process the only one that writes for a partition: from here on no earlier owner's transaction is
        committed, and those that were are in the log. Raises TransactionFailed."""

    def commit(self, partition: int, records: Sequence[OutgoingRecord]) -> int | None:
        """Write all these records in one transaction; returns the offset of the last one, if it is known, when it is
        committed.

        Raises RecordsRefused where the log does not take some of them: none is written. Raises TransactionFailed
        where its outcome is unknown, or the partition has another owner: `begin` is needed, and the log tells.
        """

    def end(self, partition: int) -> None:
        """Write no more for a partition."""


class TransactionFailed(Exception):
    """A transaction did not come to its end, as far as is known here; the message says why.

    lasting  whether trying again will not help: somebody has to allow it
    """

    def __init__(self, why: str, *, lasting: bool = False) -> None:
        self.lasting = lasting
        super().__init__(why)


class Refused(NamedTuple):
    """Why a record was not taken. `for_good`: this very record never will be; others of its topic may be."""

    why: str
    for_good: bool


class RecordsRefused(Exception):
    """Some records were not taken, by their place in the list; none of the others is written either."""

    def __init__(self, refused: dict[int, Refused]) -> None:
        self.refused = refused
        super().__init__("; ".join(sorted({each.why for each in refused.values()})))


#: Milliseconds of the epoch.
Clock = Callable[[], int]
