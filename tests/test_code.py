"""How the code is written: nobody changes the inside of another object, and functions are short."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from statistics import quantiles

import pytest

from tests.imports import PACKAGES, ROOT, folder_of, modules, name_of

#: Plain data that the room which defines it changes, by class: every key or job has one, and there may be hundreds of
#: thousands, so that each change is no call.
RECORDS = {
    "streams.core.partition.lanes": "Lane",
    "streams.core.partition.parked": "ParkedLane",
    "streams.core.partition.parked_job": "ParkedJob",
    "streams.worker.runner": "Runner",
}

#: Assignments to objects of libraries, and why each has to be: by module, as they are written.
LIBRARIES = {
    "streams.__main__: sys.argv": "Faust's command reads it",
    "streams.application.cli: logging.getLogger('producers').disabled": "a command says what went wrong itself",
    "streams.jobs.support.pictures: bare.info": "Pillow writes what it finds there into the file",
    "streams.kafka.consumer.thread: coordinator._do_heartbeat": "aiokafka has no other way to hear of heartbeats",
    "streams.kafka.fetch.decoding: fetcher.FetchResult": "aiokafka's fetcher decodes by ours",
    "streams.kafka.fetch.decoding: fetcher.MemoryRecords": "aiokafka's fetcher decodes by ours",
    "streams.kafka.fetch.decoding: fetcher.PartitionRecords": "aiokafka's fetcher decodes by ours",
    "streams.kafka.fetch.requests: fetcher.FetchRequest": "aiokafka's fetcher asks by ours",
    "streams.kafka.fetch.requests: request.RESPONSE_TYPE": "aiokafka decodes an answer by it",
    "streams.worker.handlers.threads: threading.current_thread().name": "a thread is named after the job it runs",
    "schemas.generator.output: setattr(sys, …)": "what a closed pipe would refuse goes nowhere",
}

#: Lines of a function, its decorators not counted.
MOST_LINES, NINE_OF_TEN = 60, 15

_Function = ast.FunctionDef | ast.AsyncFunctionDef


def test_nobody_assigns_what_belongs_to_another_object() -> None:
    """An object gets what it needs when it is made, and has a method for every change; so there is one place to look.

    A function may assign to attributes of `self`, `cls` and of what it has made itself.
    """
    found = [each for path in _files() for each in foreign_assignments(path.read_text("utf-8"), name_of(path))]
    wrong = [f"{module}, line {line}: {text}" for module, line, text in found if not _allowed(module, text)]
    assert not wrong, "give it to the constructor, or have a method for it:\n" + "\n".join(wrong)


def test_every_exception_is_needed() -> None:
    found = {f"{module}: {text}" for path in _files()
             for module, _, text in foreign_assignments(path.read_text("utf-8"), name_of(path))}  # fmt: skip
    assert LIBRARIES.keys() - found == set()


def _files() -> list[Path]:
    return [path for package in PACKAGES for path in modules(package)]


def _allowed(module: str, text: str) -> bool:
    owner, _, attribute = text.rpartition(".")
    return f"{module}: {text}" in LIBRARIES or (
        owner.isidentifier() and attribute in _records().get(module.rpartition(".")[0], set())
    )


@cache
def _records() -> Mapping[str, set[str]]:
    """The attributes of plain data, by the room that may change them."""
    found: dict[str, set[str]] = {}
    for module, name in RECORDS.items():
        path = ROOT / f"{module.replace('.', '/')}.py"
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ClassDef) and node.name == name:
                attributes = {target.attr for each in ast.walk(node) for target in _assigned(each)
                              if ast.unparse(target.value) == "self" and not target.attr.startswith("_")}  # fmt: skip
                found.setdefault(folder_of(path), set()).update(attributes)
    return found


def foreign_assignments(source: str, module: str) -> Iterator[tuple[str, int, str]]:
    """Assignments to attributes of objects that the function has not made itself: module, line, and what it assigns."""
    yield from ((module, line, text) for line, text in _foreign(ast.parse(source), frozenset({"self", "cls"})))


def _foreign(node: ast.AST, own: frozenset[str]) -> Iterator[tuple[int, str]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Call) and ast.unparse(child.func) == "setattr":
            yield child.lineno, f"setattr({ast.unparse(child.args[0])}, …)"
        for target in _assigned(child):
            if not isinstance(target.value, ast.Name) or target.value.id not in own:
                yield target.lineno, ast.unparse(target)
        yield from _foreign(child, own | set(_made(child)) if isinstance(child, _Function) else own)


def _assigned(node: ast.AST) -> list[ast.Attribute]:
    """The attributes that a statement assigns, changes or deletes; a type alone assigns nothing."""
    if not isinstance(node, ast.stmt) or isinstance(node, (_Function, ast.ClassDef)):
        return []
    inner = (ast.stmt, ast.ExceptHandler, ast.match_case)  # is looked at as what it is
    heads = [child for child in ast.iter_child_nodes(node) if not isinstance(child, inner)]
    return [each for head in heads for each in ast.walk(head)
            if isinstance(each, ast.Attribute) and not isinstance(each.ctx, ast.Load)]  # fmt: skip


def _made(function: _Function) -> Iterator[str]:
    """The names of what a function makes: by calling a class, which is named in capitals, or `__new__`."""
    for node in ast.walk(function):
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and isinstance(node.value, ast.Call):
            called = ast.unparse(node.value.func).rpartition(".")[2].lstrip("_")
            if called[:1].isupper() or called in {"cls", "new__"}:
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                yield from (target.id for target in targets if isinstance(target, ast.Name))


@pytest.mark.parametrize(
    "body",
    [
        "other.on_done = f",
        "self.other.on_done = f",
        "self._others[0].count += 1",
        "other.x, y = f()",
        "other.x: int = 1",
        "del other.x",
        "setattr(other, name, f)",
        "for other.x in f(): pass",
        "with f() as other.x: pass",
        "made = make()\n    made.x = 1",
        "def g(): other.x = 1",
        "try: f()\n    except Exception: other.x = 1",
        "match f():\n        case 1: other.x = 1",
    ],
)
def test_what_belongs_to_another_is_found(body: str) -> None:
    assert len(list(foreign_assignments(f"def f(self, other):\n    {body}", "m"))) == 1


@pytest.mark.parametrize(
    "body",
    [
        "self.x = other.y",
        "made = Other()\n    made.x = 1",
        "made: Other = module._Other()\n    made.x = 1",
        "made = cls.__new__(cls)\n    made.x = 1",
        "other.x[0] = 1",
        "x = other.x",
    ],
)
def test_what_is_ones_own_is_not(body: str) -> None:
    assert list(foreign_assignments(f"def f(self, other):\n    {body}", "m")) == []


def test_functions_are_short() -> None:
    lines = {f"{name_of(path)}.{node.name}, line {node.lineno}": (node.end_lineno or 0) - node.lineno + 1
             for path in _files() for node in ast.walk(ast.parse(path.read_text("utf-8")))
             if isinstance(node, _Function)}  # fmt: skip
    long = [f"{name} has {count} lines" for name, count in lines.items() if count > MOST_LINES]
    assert not long, f"more than {MOST_LINES}: " + "; ".join(long)
    assert quantiles(lines.values(), n=10)[-1] <= NINE_OF_TEN, "nine of ten functions are to be no longer"
