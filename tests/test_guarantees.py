"""Every test and file that GUARANTEES.md names exists."""

from __future__ import annotations

import re

import pytest

from tests.workers import ROOT

TEXT = (ROOT / "GUARANTEES.md").read_text("utf-8")
TESTS = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", TEXT)))
FILES = sorted(set(re.findall(r"`((?:streams|tests)/[\w/]+\.py)`", TEXT)))


def test_it_names_some() -> None:
    assert len(TESTS) > 5
    assert FILES


@pytest.mark.parametrize(("file", "name"), TESTS)
def test_a_test_that_is_named_exists(file: str, name: str) -> None:
    assert re.search(rf"^(async )?def {name}\(", (ROOT / file).read_text("utf-8"), re.MULTILINE)


@pytest.mark.parametrize("file", FILES)
def test_a_file_that_is_named_exists(file: str) -> None:
    assert (ROOT / file).is_file()
