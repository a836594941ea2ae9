"""Which dead letters are meant: filters, and times as people type them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from streams.dead.errors import FilterInvalid
from streams.dead.letter import Letter, shown_bytes
from streams.logs.safe_text import plain

_RELATIVE = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)(ms|s|m|h|d|w)")
_MILLISECONDS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 7 * 86_400_000}


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """Which letters a command or a call is about: those for which every filter that is given holds.

    type          the job type, such as jobs.email.SendEmail
    key           the ordering key
    error         part of the error's type or message, in upper or lower case
    since, until  epoch milliseconds of the last failure: from `since` on, and before `until`
    id            the job's id
    partition     of the dead-letter topic
    offset        in that partition

    Types, keys and ids are also known by the escaped text that is shown for them. Raises FilterInvalid for what no
    letter can be like.
    """

    type: str | None = None
    key: str | None = None
    error: str | None = None
    since: int | None = None
    until: int | None = None
    id: str | None = None
    partition: int | None = None
    offset: int | None = None

    def __post_init__(self) -> None:
        """Raise FilterInvalid for values that match nothing."""
        for name, value in (("since", self.since), ("until", self.until)):
            if value is not None and not isinstance(value, int):
                raise FilterInvalid(f"{name} takes epoch milliseconds, as parse_time makes them of text, not {value!r}")
        if self.offset is not None and self.partition is None:
            raise FilterInvalid("an offset is one of a partition: name the partition too")
        if self.since is not None and self.until is not None and self.since >= self.until:
            raise FilterInvalid("the time range is empty: `since` must be before `until`")

    @property
    def single(self) -> bool:
        """Whether the filters name one letter, or one job."""
        return self.id is not None or self.offset is not None

    @property
    def any(self) -> bool:
        """Whether any filter is given."""
        return self != Filters()

    def match(self, letter: Letter) -> bool:
        """Whether a letter passes all filters."""
        return (
            self.partition in {None, letter.partition}
            and self.offset in {None, letter.offset}
            and _is(self.type, letter.type)
            and _is(self.id, letter.id)
            and _is(self.key, None if letter.key is None else shown_bytes(letter.key))
            and self._matches_error(letter)
            and self._matches_time(letter.failed_at)
        )

    def _matches_error(self, letter: Letter) -> bool:
        if self.error is None:
            return True
        wanted = self.error.casefold()
        return any(wanted in (text or "").casefold() for text in (letter.error_type, letter.error_message))

    def _matches_time(self, failed_at: int | None) -> bool:
        if self.since is None and self.until is None:
            return True
        if failed_at is None:
            return False
        return (self.since is None or self.since <= failed_at) and (self.until is None or failed_at < self.until)


def _is(wanted: str | None, text: str | None) -> bool:
    return wanted is None or (text is not None and wanted in {text, plain(text)})


def parse_time(text: str, now_ms: int) -> int:
    """Epoch milliseconds of `2h` (before now) or of an ISO 8601 time, in UTC unless it says otherwise.

    Raises FilterInvalid.
    """
    relative = _RELATIVE.fullmatch(text)
    if relative:
        return now_ms - round(float(relative[1]) * _MILLISECONDS[relative[2]])
    try:
        moment = datetime.fromisoformat(text)
        return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
    except (ValueError, OverflowError):
        raise FilterInvalid(
            f"{text!r} is no time: write 2h (ms, s, m, h, d, w before now) or ISO 8601, such as 2026-01-31T08:15:30Z"
        ) from None
