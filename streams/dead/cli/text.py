"""Dead letters as text: aligned lines, whole letters, and JSON; nothing that one holds reaches a terminal raw."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Any

from schemas.headers import rfc3339
from streams.dead.letter import Letter, shown_bytes
from streams.dead.payload import Payload
from streams.logs.safe_text import plain

_TITLES = ("PLACE", "FAILED AT", "TYPE", "KEY", "ID", "REDRIVES", "ERROR")

#: Lines whose widths decide those of all: the rest may be any number.
_SAMPLE = 500

#: Characters of a cell; only the last may be longer.
_WIDEST = 40

#: The last second that datetime can show, in milliseconds.
_LAST_MOMENT = 253_402_300_799_999


def lines(letters: Iterable[Letter], *, width: int | None = None, marked: bool = False) -> Iterator[str]:
    """A title and a line a letter, cut to `width` columns; `marked` adds which of them are handled."""
    rows = (_cells(letter, marked=marked) for letter in letters)
    sample = list(islice(rows, _SAMPLE))
    if not sample:
        return
    titles = ("DEALT", *_TITLES) if marked else _TITLES
    widths = [max(_columns(row[at]) for row in (titles, *sample)) for at in range(len(titles) - 1)]
    for row in chain([titles], sample, rows):
        line = "  ".join([*(_filled(cell, size) for cell, size in zip(row, widths, strict=False)), row[-1]])
        yield line if width is None else _cut(line, width)


def whole(letter: Letter, payload: Payload) -> Iterator[str]:
    """Everything about a letter, on lines of its own."""
    facts = {
        "id": plain(letter.id),
        "type": plain(payload.type or letter.type or "-"),
        "key": _key(letter),
        "place": str(letter.place),
        "origin": plain(str(letter.origin or "-")),
        "handled": "yes, redriven or purged" if letter.handled else "no",
        "attempts": "-" if letter.attempts is None else str(letter.attempts),
        "redrives": str(letter.redrives),
        "first failed": moment(letter.first_failed_at),
        "last failed": moment(letter.last_failed_at),
        "expires": moment(letter.expires_at),
        "error": plain(letter.error_type or "-"),
        "message": plain(letter.error_message or "-"),
    }
    for name, value in facts.items():
        yield f"{name:<13} {value}".rstrip()
    yield from _block("stack", (letter.error_stack or "").splitlines())
    yield from _block("headers", [f"{name}: {_header(value)}" for name, value in _others(letter)])
    yield from _block("payload", _payload(payload, letter.value))


def as_object(letter: Letter, payload: Payload | None = None) -> dict[str, Any]:
    """A letter as an object for `json.dumps`; with its payload, headers and stack if that is given."""
    found: dict[str, Any] = {
        "partition": letter.partition,
        "offset": letter.offset,
        "id": letter.id,
        "type": (payload and payload.type) or letter.type,
        "key": None if letter.key is None else shown_bytes(letter.key),
        "origin": None if letter.origin is None else str(letter.origin),
        "dealt": letter.handled,
        "attempts": letter.attempts,
        "redrives": letter.redrives,
        "first_failed_at": letter.first_failed_at,
        "last_failed_at": letter.last_failed_at,
        "expires_at": letter.expires_at,
        "error_type": letter.error_type,
        "error_message": letter.error_message,
    }
    if payload is not None:
        found["error_stack"] = letter.error_stack
        found["headers"] = [[name, None if value is None else shown_bytes(value)] for name, value in letter.headers]
        found["payload"] = payload.fields
        found["undecodable"] = payload.reason
        found["value_hex"] = payload.head or None
    return found


def as_line(found: dict[str, Any]) -> str:
    """An object as one line of JSON, in ASCII."""
    return json.dumps(found)


def moment(epoch_ms: int | None) -> str:
    """A time in UTC, as `--since` reads it."""
    if epoch_ms is None:
        return "-"
    return rfc3339(epoch_ms).decode() if epoch_ms <= _LAST_MOMENT else f"{epoch_ms} ms"


def _cells(letter: Letter, *, marked: bool) -> Sequence[str]:
    error = f"{letter.error_type or '-'}: {((letter.error_message or '').splitlines() or ['-'])[0]}"
    cells = (
        f"{letter.partition}/{letter.offset}",
        moment(letter.failed_at),
        _short(plain(letter.type or "-")),
        _short(_key(letter)),
        _short(plain(letter.id)),
        str(letter.redrives),
        plain(error),
    )
    return ("yes" if letter.handled else "no", *cells) if marked else cells


def _key(letter: Letter) -> str:
    return "-" if letter.key is None else plain(shown_bytes(letter.key))


def _header(value: bytes | None) -> str:
    return "(null)" if value is None else shown_bytes(value)


def _others(letter: Letter) -> Iterator[tuple[str, bytes | None]]:
    """All headers but the stack, which is shown line by line."""
    return ((name, value) for name, value in letter.headers if name != "job-error-stack")


def _payload(payload: Payload, value: bytes | None) -> list[str]:
    if payload.reason is None:
        return json.dumps(payload.fields, indent=2, ensure_ascii=False).splitlines()
    size = 0 if value is None else len(value)
    more = " ..." if len(payload.head) // 3 + 1 < size else ""
    return [f"cannot be decoded: {payload.reason}", f"{size:,} bytes{': ' if size else ''}{payload.head}{more}"]


def _block(title: str, text: Sequence[str]) -> Iterator[str]:
    if text:
        yield f"{title}:"
        yield from (f"    {plain(line.expandtabs(4))}" for line in text)


def _short(text: str) -> str:
    return text if len(text) <= _WIDEST else f"{text[: _WIDEST - 1]}…"


def _filled(text: str, columns: int) -> str:
    return text + " " * (columns - _columns(text))


def _cut(text: str, columns: int) -> str:
    if _columns(text) <= columns:
        return text
    kept = 0
    for at, each in enumerate(text):
        kept += _columns(each)
        if kept >= columns:
            return f"{text[:at]}…"
    return text


def _columns(text: str) -> int:
    """How many columns a terminal gives to a text."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(each) else 2 if unicodedata.east_asian_width(each) in "WF" else 1 for each in text
    )
