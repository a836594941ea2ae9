"""The terminal: aligned lines, in colour where a person looks."""

from __future__ import annotations

import os
import sys
from typing import TextIO

_CODES = {"green": "32", "red": "31", "cyan": "36", "yellow": "33", "dim": "2", "bold": "1"}
_COLOURS = {"published": "cyan", "done": "green", "retry": "yellow", "later": "yellow", "dead": "red", "error": "red"}


class Screen:
    """Writes lines. No colour in files and pipes, nor where NO_COLOR is set (https://no-color.org)."""

    def __init__(self, out: TextIO = sys.stdout) -> None:
        self._out = out
        self._colour = out.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"

    def title(self, text: str) -> None:
        """Write a heading."""
        self._write(f"\n{self._paint('bold', text)}")

    def fact(self, name: str, text: str) -> None:
        """Write a named fact."""
        self._write(f"  {name:<10} {text}")

    def event(self, what: str, queue: str, job_id: str, key: str, text: str) -> None:
        """Write what has happened to a job."""
        colour = _COLOURS.get(what, "bold")
        self._write(f"  {self._paint(colour, f'{what:<10}')} {queue:<8} {job_id}  {key:<11} {text}")

    def note(self, text: str) -> None:
        """Write something less important."""
        self._write("\n".join(self._paint("dim", f"  {line}") for line in text.splitlines()))

    def plain(self, text: str) -> None:
        """Write text that somebody may copy."""
        self._write(text)

    def error(self, text: str) -> None:
        """Write why it failed."""
        self._write(f"\n{self._paint('red', 'error:')} {text}")

    def _write(self, text: str) -> None:
        self._out.write(f"{text}\n")
        self._out.flush()

    def _paint(self, colour: str, text: str) -> str:
        return f"\x1b[{_CODES[colour]}m{text}\x1b[0m" if self._colour else text
