"""The headers with which a job goes back to its queue."""

from __future__ import annotations

from schemas import headers as names
from streams.dead.letter import Letter

_DROPPED = frozenset(
    {
        names.ATTEMPT,
        names.NOT_BEFORE,
        names.PARKED,
        names.POSITION,
        names.OWNER,
        names.LOG,
        names.ERROR_TYPE,
        names.ERROR_MESSAGE,
        names.ERROR_STACK,
        names.FIRST_FAILED_AT,
        names.LAST_FAILED_AT,
        names.REDRIVES,
    }
)


def headers_for_return(letter: Letter, *, keep_expiry: bool) -> list[tuple[str, str | bytes | None]]:
    """Returns a letter's headers without its failure, at attempt 0, with one redrive more; all others as they are.

    A job that was published without an id gets the one it has had so far, which is its origin's place: the place is
    about to change, and a job's id never does.
    """
    dropped = set(_DROPPED)
    if not keep_expiry:
        dropped.add(names.EXPIRES_AT)
    if letter.origin is None:
        # One that cannot be read would end the job again; nobody knows where it was first, so from now on it is here.
        dropped.add(names.ORIGIN)
    kept: list[tuple[str, str | bytes | None]] = [header for header in letter.headers if header[0] not in dropped]
    if names.CE_ID not in dict(kept):
        kept.append((names.CE_ID, letter.id.encode()))
    return [*kept, (names.REDRIVES, str(letter.redrives + 1).encode())]
