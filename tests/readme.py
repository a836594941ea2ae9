"""The README's examples, as a reader would copy them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tests.workers import ROOT

README = ROOT / "README.md"
TEXT = README.read_text("utf-8")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: its language tag, its text, and the line that its fence is on, from 1."""

    language: str
    text: str
    line: int
    #: The sentence that leads to it.
    lead: str

    @property
    def file(self) -> str | None:
        """The name of the file that it is: its first line is a comment with one, or the lead ends with one."""
        found = re.match(r"# (\S+\.\w+)\n", self.text) or re.search(r"`(\S+\.avsc)`:$", self.lead)
        return found[1] if found else None

    @property
    def commands(self) -> list[str]:
        """What is typed at its prompts."""
        return [line.removeprefix("$ ") for line in self.text.splitlines() if line.startswith("$ ")]


def _blocks() -> list[Block]:
    fences = re.finditer(r"^```(\w*)\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
    return [
        Block(
            found[1],
            found[2],
            TEXT.count("\n", 0, found.start()) + 1,
            TEXT[: found.start()].rstrip().rpartition("\n\n")[2],
        )
        for found in fences
    ]


BLOCKS = _blocks()

#: Every file that the README shows, by name.
FILES = {block.file: block.text for block in BLOCKS if block.file}

#: Every command that the README gives, in order.
COMMANDS = [command for block in BLOCKS if block.language == "console" for command in block.commands]

#: The README without its blocks.
PROSE = re.sub(r"^```.*?^```$", "", TEXT, flags=re.DOTALL | re.MULTILINE)


def command(start: str) -> str:
    """The README's one command that starts like this. Raises AssertionError when there is none, or more."""
    found = [line for line in COMMANDS if line.startswith(start)]
    assert len(found) == 1, f"the README gives {len(found)} commands that start with {start!r}; tests expect one"
    return found[0]


def tables(first_column: str) -> list[list[str]]:
    """The rows, as cells, of all tables whose first column has this heading."""
    rows: list[list[str]] = []
    inside = False
    for line in PROSE.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("|"):
            inside = False
        elif inside and set(line) - set("|- "):
            rows.append(cells)
        elif cells[0] == first_column:
            inside = True
    return rows
