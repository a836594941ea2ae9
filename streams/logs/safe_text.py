"""Text that others wrote, in lines of our own: nothing in it may pass for a line, or move a terminal's cursor."""

from __future__ import annotations

#: Characters of a key, and of a job's id, that a line of the log shows.
KEY_LIMIT = 100
ID_LIMIT = 300


def shown(text: str, limit: int) -> str:
    """The first `limit` characters of a text, with those that do not print as Python writes them in a literal."""
    return plain(text if len(text) <= limit else f"{text[: limit - 1]}…")


def plain(text: str) -> str:
    """A text with what does not print, and a terminal might obey, as Python writes it in a literal."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def shown_id(job_id: str) -> str:
    """A job's id as lines of the log have it."""
    return shown(job_id, ID_LIMIT)


def shown_key(key: bytes | None) -> str:
    """A job's key as lines of the log have it; `-` when there is none."""
    return "-" if key is None else shown(key.decode("utf-8", "backslashreplace"), KEY_LIMIT)
