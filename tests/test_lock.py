"""The locked versions are those that pyproject.toml allows, and the lock names no place to fetch them from."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator

import pytest
from packaging.requirements import Requirement

from tests.workers import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
#: Each lock, and the extras that it is for.
LOCKS = {"requirements.lock": ("worker", "dev"), "docker/worker/requirements.lock": ("worker",)}


def _wanted(extras: tuple[str, ...]) -> Iterator[Requirement]:
    lines = [*PROJECT["dependencies"], *(line for extra in extras for line in PROJECT["optional-dependencies"][extra])]
    return (each for each in map(Requirement, lines) if each.name != PROJECT["name"])


def _locked(text: str) -> dict[str, set[str]]:
    """The versions of each name; some differ by Python or system."""
    found: dict[str, set[str]] = {}
    for line in text.splitlines():
        if "==" in line:
            name, _, rest = line.partition("==")
            found.setdefault(name.strip(), set()).add(rest.split()[0])
    return found


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_holds_what_the_project_needs(lock: str) -> None:
    locked = _locked((ROOT / lock).read_text())
    for wanted in _wanted(LOCKS[lock]):
        versions = locked.get(wanted.name, set())
        assert versions, f"{wanted} is not in {lock}: run make lock"
        assert all(map(wanted.specifier.contains, versions)), f"{wanted} is {versions} in {lock}: run make lock"


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_names_no_host_and_has_a_hash_for_each(lock: str) -> None:
    text = (ROOT / lock).read_text()
    assert "://" not in text
    entries = text.replace("\\\n", " ").splitlines()
    assert all("--hash=sha256:" in each for each in entries if each.strip() and not each.startswith("#"))
