"""Letters made by hand."""

from __future__ import annotations

from schemas.headers import Headers, Origin
from streams.dead import Letter

NOW = 1_800_000_000_000


def letter(*headers: tuple[str, bytes | None], offset: int = 0, key: bytes | None = b"k", **more: object) -> Letter:
    """A letter on partition 1 of the queue `q`."""
    written: Headers = headers
    return Letter(Origin("jobs.q.dead", 1, offset), key, b"value", written, NOW, **more)  # type: ignore[arg-type]
