"""The documents' examples, as a reader would copy them: files, and commands; and the tests that they name."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

_ROOT = Path(__file__).parent.parent
_FENCES = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


class Page:
    """A document. A block is a file where the paragraph before it ends with the file's name: "`name`:"."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.text = path.read_text("utf-8")
        #: Its blocks: language and text.
        self.blocks: list[tuple[str, str]] = []
        self.files: dict[str, str] = {}
        for found in _FENCES.finditer(self.text):
            self.blocks.append((found[1], found[2]))
            lead = self.text[: found.start()].rstrip()
            if found[1] != "console" and (name := re.search(r"`(\S+)`:$", lead)):
                self.files[name[1]] = found[2]

    @property
    def prose(self) -> str:
        """The document without its blocks."""
        return _FENCES.sub("", self.text)

    @property
    def commands(self) -> dict[str, str]:
        """What is typed at prompts, and what is shown below each."""
        console = "".join(text for language, text in self.blocks if language == "console")
        return dict(re.findall(r"^\$ (.+)\n((?:(?!\$ ).+\n)*)", console, re.MULTILINE))

    def column(self, heading: str) -> list[str]:
        """The first cells of the rows of the table whose first column has this heading."""
        rows = re.findall(rf"^\| {re.escape(heading)} \|.*\n\|[-|]+\n((?:\|.*\n)+)", self.prose, re.MULTILINE)
        return [line.split("|")[1].strip() for table in rows for line in table.splitlines()]

    def anchors(self) -> set[str]:
        """What GitHub makes of its headings."""
        headings = re.findall(r"^#+ (.+)$", self.prose, re.MULTILINE)
        return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}

    def links(self) -> list[str]:
        """Where it links to, other people's sites aside."""
        return [link for link in re.findall(r"\]\(([^)\s]+)\)", self.prose) if "://" not in link]


@cache
def collected_in(path: str) -> set[str]:
    """What pytest collects of a file, named from the project's root: functions, and the cases of state machines."""
    found: set[str] = set()
    for node in ast.parse((_ROOT / path).read_text("utf-8")).body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            found.add(node.name)
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            found.add(node.targets[0].id)
    return {name for name in found if name.startswith(("test_", "Test"))}
