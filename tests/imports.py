"""Who imports whom in the project, read from the source: for the tests that hold it to rules."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib.util import resolve_name
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGES = ("schemas", "producers", "streams")

#: What each name imports, or whatever else one may follow.
Graph = Mapping[str, set[str]]


def modules(package: str) -> list[Path]:
    """The files of a package and of those below it."""
    return sorted((ROOT / package.replace(".", "/")).rglob("*.py"))


def name_of(path: Path) -> str:
    """The full name of the module in a file."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def folder_of(path: Path) -> str:
    """The full name of the package that a file lies in; of an `__init__.py` its own."""
    return ".".join(path.relative_to(ROOT).parent.parts)


def imports(path: Path) -> Iterator[str]:
    """The full names of what a module imports, anywhere in it."""
    return imported(path.read_text("utf-8"), folder_of(path))


def imported(source: str, package: str) -> Iterator[str]:
    """The full names of what a module of a package imports: in functions and under TYPE_CHECKING, too."""
    for base, names in _statements(source, package):
        yield base
        yield from (f"{base}.{name}" for name in names)


def _statements(source: str, package: str) -> Iterator[tuple[str, list[str]]]:
    """Each module that an import names, and what is taken from it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, []) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = resolve_name("." * node.level + (node.module or ""), package) if node.level else node.module or ""
            yield base, [alias.name for alias in node.names]


@cache
def module_graph(*packages: str) -> dict[str, set[str]]:
    """The modules of some packages, each with those of them that it imports.

    A package stands for its `__init__.py`, which counts as imported only where something is taken from it that is no
    module of its own.
    """
    paths = {name_of(path): path for package in packages for path in modules(package)}
    return {name: _modules_of(path, paths) - {name} for name, path in paths.items()}


def _modules_of(path: Path, known: Mapping[str, Path]) -> set[str]:
    found: set[str] = set()
    for base, names in _statements(path.read_text("utf-8"), folder_of(path)):
        taken = {f"{base}.{name}" for name in names}
        found |= taken & known.keys()
        if not taken or taken - known.keys():
            found.add(base)
    return found & known.keys()


def condensed(graph: Graph, group_of: Callable[[str], str]) -> dict[str, set[str]]:
    """The graph of groups of names: a group has an arrow to another where any of its names has."""
    groups: dict[str, set[str]] = {}
    for name, others in graph.items():
        group = group_of(name)
        groups.setdefault(group, set()).update({group_of(other) for other in others} - {group})
    return groups


def cycles(graph: Graph) -> list[list[str]]:
    """One cycle for each name that is in any, from it back to itself, the shortest; each cycle only once."""
    found = {frozenset(cycle): cycle for name in sorted(graph) if (cycle := _way_back(graph, name))}
    return list(found.values())


def _way_back(graph: Graph, start: str) -> list[str]:
    paths, seen = [[start]], set[str]()
    for path in paths:
        for other in sorted(graph[path[-1]] - seen):
            if other == start:
                return [*path, start]
            seen.add(other)
            paths.append([*path, other])
    return []


def longest_chain(graph: Graph) -> list[str]:
    """The longest chain of names of which each has an arrow to the next. The graph must have no cycle."""
    known: dict[str, list[str]] = {}

    def chain(name: str) -> list[str]:
        if name not in known:
            known[name] = [name, *max((chain(other) for other in sorted(graph[name])), key=len, default=[])]
        return known[name]

    return max((chain(name) for name in sorted(graph)), key=len)
