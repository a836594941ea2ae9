"""GUARANTEES.md names tests that exist, and every invariant that the core states."""

from __future__ import annotations

import re

import pytest

from streams.core.partition import partition
from streams.settings import Settings
from tests.pages import collected_in
from tests.workers import ROOT

TEXT = (ROOT / "GUARANTEES.md").read_text("utf-8")
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", TEXT)))


@pytest.mark.parametrize(("path", "name"), NAMED)
def test_a_test_that_is_named_exists(path: str, name: str) -> None:
    assert (ROOT / path).exists(), f"GUARANTEES.md names {path}, which is not there"
    assert name in collected_in(path), f"GUARANTEES.md names {path}::{name}, which is not there"


def test_nothing_looks_like_a_test_and_is_none() -> None:
    assert TEXT.count("::") == len(re.findall(r"`tests/[\w/]+\.py::\w+`", TEXT))


def _sections() -> dict[str, str]:
    """The text of every section, by its heading."""
    parts = re.split(r"^##+ (.+)$", TEXT, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


PROMISES = [heading for heading in _sections() if heading[0].isdigit()]


def test_the_promises_are_numbered() -> None:
    assert [heading.partition(". ")[0] for heading in PROMISES] == [str(number + 1) for number in range(len(PROMISES))]


@pytest.mark.parametrize("heading", [*PROMISES, "Dead letters and redrive", "Delayed jobs"])
def test_a_promise_has_a_boundary_a_cost_and_its_tests(heading: str) -> None:
    text = _sections()[heading]
    parts = ("**Promise.**", "**Boundary.**", "**Cost.**", "**Shown by**")
    assert [part for part in parts if part in text] == list(parts)
    assert sorted(parts, key=text.index) == list(parts), "in this order"
    assert "::" in text.partition("**Shown by**")[2]


def test_every_row_of_the_matrix_names_a_test() -> None:
    rows = [line for line in _sections()["What goes wrong, and what happens"].splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 20
    for row in rows:
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert len(cells) == 4, row
        assert all(cells), row
        assert "::" in cells[3], row


def test_every_invariant_is_numbered_and_names_a_test() -> None:
    for kind, letter in (("Offsets", "O"), ("Parking", "P"), ("Crash records", "C")):
        entries = re.split(rf"^{letter}(\d+)\. ", _sections()[kind], flags=re.MULTILINE)[1:]
        assert [int(number) for number in entries[::2]] == list(range(1, len(entries) // 2 + 1))
        assert all("::" in entry for entry in entries[1::2]), f"an invariant of {kind} without a test"


def test_every_invariant_of_the_core_is_listed() -> None:
    stated = re.findall(r"^    (\w+) {2,}", partition.__doc__ or "", re.MULTILINE)
    assert len(stated) >= 7
    assert stated == re.findall(r"^P\d+\. \*\*(\w+)\*\*:", TEXT, re.MULTILINE)


def test_the_bounds_of_what_is_parked() -> None:
    settings = Settings()
    megabytes = settings.parked_bytes // (1024 * 1024)
    assert f"At most {settings.parked_jobs:,} parked jobs, or {megabytes} MB of them" in TEXT
