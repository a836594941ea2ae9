"""What the documents name exists: files, tests, links, commands, settings, headers and classes."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from schemas import headers
from tests.pages import Page, collected_in
from tests.workers import ROOT

DECISIONS = sorted((ROOT / "docs" / "decisions").glob("*.md"))
PAGES = [
    Page(path)
    for path in (
        ROOT / "docs" / "architecture.md",
        ROOT / "docs" / "glossary.md",
        *DECISIONS,
        ROOT / "CONTRIBUTING.md",
        ROOT / "SECURITY.md",
    )
]
_PACKAGES = ("streams", "producers", "schemas")
#: A path from the root of the project, wherever it stands: in prose, a table, a picture, a command.
_PATH = re.compile(r"(?<![\w/.<>-])((?:streams|producers|schemas|tests|docker|docs|\.ci)/[\w./-]*[\w/])(?:::(\w+))?")
#: A class by its name: two words or more.
_CLASS = re.compile(r"`([A-Z][a-z]+(?:[A-Z][a-z]+)+)`")
#: Names of that form that are others'.
_OTHERS = {"LogAppendTime"}
#: What the first change in CONTRIBUTING.md adds.
_TO_BE_ADDED = {"job-failed-on"}

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.path.name)


@pages
def test_files_and_tests_that_are_named_exist(page: Page) -> None:
    missing = []
    for path, test in dict.fromkeys(_PATH.findall(page.text)):
        file = ROOT / path
        if not file.exists() or (path.endswith("/") and not file.is_dir()):
            missing.append(path)
        elif test and test not in collected_in(path):
            missing.append(f"{path}::{test}")
    assert missing == []


@pages
def test_files_of_the_root_that_are_named_exist(page: Page) -> None:
    named = set(re.findall(r"`([\w.-]+\.(?:md|toml|lock|yaml)|Makefile)`", page.prose))
    assert {name for name in named if not (ROOT / name).exists()} == set()


@pages
def test_links_lead_somewhere(page: Page) -> None:
    broken = []
    for link in page.links():
        name, _, anchor = link.partition("#")
        target = (page.path.parent / name).resolve() if name else page.path
        if not target.exists() or (anchor and anchor not in Page(target).anchors()):
            broken.append(link)
    assert broken == []


@pages
def test_classes_that_are_named_exist(page: Page) -> None:
    assert set(_CLASS.findall(page.prose)) - _classes() - _OTHERS == set()


@cache
def _classes() -> set[str]:
    files = [path for package in _PACKAGES for path in (ROOT / package).rglob("*.py")]
    trees = [ast.parse(path.read_text("utf-8")) for path in files]
    return {node.name for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}


@pages
def test_commands_that_are_named_exist(page: Page) -> None:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    assert set(re.findall(r"(?:`|^\$ )make (\w+)", page.text, re.MULTILINE)) <= targets
    modules = re.findall(rf"python -m ((?:{'|'.join(_PACKAGES)}|tests)[\w.]*)", page.text)
    assert [name for name in modules if not _is_a_program(ROOT / name.replace(".", "/"))] == []


def _is_a_program(path: Path) -> bool:
    return path.with_suffix(".py").exists() or (path / "__main__.py").exists()


@pages
def test_settings_and_headers_that_are_named_exist(page: Page) -> None:
    known = (ROOT / "README.md").read_text("utf-8")
    settings = re.findall(r"`((?:STREAMS|KAFKA|SCHEMA_REGISTRY)_[A-Z_]*[A-Z])`", page.prose)
    assert [name for name in settings if name not in known] == []
    known_headers = {value for value in vars(headers).values() if isinstance(value, str)}
    assert set(re.findall(r"`(job-[a-z-]+)`", page.prose)) <= known_headers | _TO_BE_ADDED


@pages
def test_no_page_names_a_place_outside_the_project(page: Page) -> None:
    assert re.findall(r"(?<![\w.>~])/(?:home|root|work|tmp|usr|opt)/\S*", page.text) == []


@pytest.mark.parametrize("path", [path for path in DECISIONS if path.name != "README.md"], ids=lambda path: path.name)
def test_a_decision_has_its_parts(path: Path) -> None:
    headings = re.findall(r"^## (.+)$", path.read_text("utf-8"), re.MULTILINE)
    assert headings == ["Context", "Decision", "Consequences", "Rejected", "Where it stands"]
    assert f"]({path.name})" in (path.parent / "README.md").read_text("utf-8")


def test_decisions_are_numbered() -> None:
    numbers = [path.name.partition("-")[0] for path in DECISIONS if path.name != "README.md"]
    assert numbers == [f"{number:04}" for number in range(1, len(numbers) + 1)]


def test_hooks_before_a_commit_are_what_make_lint_runs() -> None:
    """So a commit that its hooks let pass is one that `make lint` lets pass, with the same versions."""
    hooks = (ROOT / ".pre-commit-config.yaml").read_text("utf-8")
    recipe = re.search(r"^\$\(LINTED\):.*\n((?:\t\$\(PY\).*\n)+)", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert recipe is not None
    linted = [line.strip().replace("$(PY)", ".venv/bin/python") for line in recipe[1].splitlines()]
    entries = re.findall(r"^ +entry: (.+)$", hooks, re.MULTILINE)
    assert [entry.removeprefix("sh -c '").removesuffix("'") for entry in entries] == linted
    assert re.findall(r"repo: (\S+)", hooks) == ["local"]
    assert "://" not in hooks


@pytest.mark.parametrize(
    ("text", "path", "test"),
    [
        ("see `streams/core/offsets/fence.py`.", "streams/core/offsets/fence.py", ""),
        ("| `tests/unit/core/test_fence.py::test_it` |", "tests/unit/core/test_fence.py", "test_it"),
        ("[it](docs/glossary.md#order)", "docs/glossary.md", ""),
        ("in `schemas/headers/`, too", "schemas/headers/", ""),
        ("$ .venv/bin/python docker/broker.py", "docker/broker.py", ""),
    ],
)
def test_paths_are_found_wherever_they_stand(text: str, path: str, test: str) -> None:
    assert _PATH.findall(text) == [(path, test)]


@pytest.mark.parametrize("text", ["shop/schemas/orders/PlaceOrder.v1.avsc", "<namespace>.streams/", "a schema/type"])
def test_what_is_no_path_of_the_project_is_none(text: str) -> None:
    assert _PATH.findall(text) == []
