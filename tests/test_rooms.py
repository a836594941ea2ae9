"""The rooms of the project, and which of them may import which: arrows point one way, and none comes back."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.imports import (
    PACKAGES,
    ROOT,
    condensed,
    cycles,
    folder_of,
    imports,
    longest_chain,
    module_graph,
    modules,
    name_of,
)

#: The rooms, from the ground up, and which others each may import. A room is a folder with all that is below it, or a
#: module that lies in `streams` itself; "door" is `streams/__init__` and `streams/__main__`, which users come in by.
#: The demonstration may import anything; nothing imports it.
MAY_IMPORT = {
    "schemas": "",
    "producers": "schemas",
    "core": "",
    "errors": "core",
    "neighbours": "",
    "ports": "core producers schemas",
    "aio": "errors",
    "logs": "core errors ports producers schemas",
    "settings": "errors producers schemas",
    "api": "core errors logs producers schemas",
    "kafka.errors": "",
    "kafka.admin": "aio api core errors kafka.errors logs ports producers schemas settings",
    "kafka.log_reader": "kafka.errors ports producers schemas",
    "kafka.fetch": "aio core errors kafka.admin logs ports schemas settings",
    "kafka.producer": "aio core errors kafka.admin kafka.errors logs ports producers schemas settings",
    "worker": "aio api core errors logs ports producers schemas settings",
    "kafka.retry_topic": (
        "aio core errors kafka.admin kafka.errors kafka.log_reader logs ports producers schemas settings"
    ),
    "timers": "logs ports producers schemas",
    "kafka.timers": "kafka.admin kafka.errors kafka.log_reader logs ports producers",
    "kafka.consumer": (
        "aio core errors kafka.admin kafka.errors kafka.fetch kafka.retry_topic logs ports schemas settings"
    ),
    "dead": "aio core errors kafka.admin kafka.errors kafka.log_reader logs ports producers schemas settings",
    "application": (
        "aio api core dead errors kafka.admin kafka.consumer kafka.fetch kafka.producer kafka.retry_topic"
        " kafka.timers logs neighbours ports producers schemas settings timers worker"
    ),
    "door": "api application core errors neighbours settings",
    "jobs": "door errors schemas",
}

#: Libraries that lead outside the process, and the rooms that may use them. `producers` and `schemas` have no Faust
#: and no aiokafka; which modules of `streams` may is said in test_layers.py.
MAY_USE = {
    "confluent_kafka": (
        "schemas producers kafka.admin kafka.errors kafka.log_reader kafka.producer kafka.retry_topic kafka.timers dead"
        " application"
    ),
    "aiokafka": "kafka.admin kafka.fetch kafka.consumer dead",
    "faust": "kafka.consumer application door",
    "mode": "kafka.consumer application",
}

#: What to do, by the room whose import is not allowed.
REMEDY = {
    "core": "what it needs from outside is passed in as a value",
    "ports": "it holds what worker and kafka hand each other, and no behaviour of either",
    "worker": "it knows no broker: state what it needs as a protocol in ports, which application/assembly fills",
    "kafka.producer": "it knows no worker: take what it needs as an argument, of a type in ports",
    "kafka.admin": "it knows no worker: take what it needs as an argument, of a type in ports",
    "dead": "it works without a worker: what both need belongs in core, ports or kafka.admin",
}
_MOVE = "pass it in, move the module to the room it belongs to, or allow the arrow in MAY_IMPORT and say why"

#: Modules in a folder, `__init__.py` and `__main__.py` not counted.
MOST_MODULES = 10
MOST_MODULES_OF = {"streams.demo": 12}

#: Rooms of `streams` above one another, see test_the_rooms_are_not_stacked_higher.
MOST_FLOORS = 11

DEMO = "demo"


def room_of(module: str) -> str:
    """The room that a module of the project is in."""
    package, _, rest = module.partition(".")
    if package != "streams":
        return package
    first, _, below = rest.partition(".")
    if first in {"", "__main__"}:
        return "door"
    return f"kafka.{below.partition('.')[0]}" if first == "kafka" and below else first


def complaint(importer: str, imported: str) -> str:
    """What is wrong with an import, and what to do."""
    room, other = room_of(importer), room_of(imported)
    may = ", ".join(MAY_IMPORT.get(room, "").split()) or "nothing else of the project"
    return f"{importer} imports {imported}: {room} may import {may}, not {other}; {REMEDY.get(room, _MOVE)}"


def wrong_imports(graph: dict[str, set[str]]) -> list[str]:
    """The imports that MAY_IMPORT does not allow."""
    return [
        complaint(importer, imported)
        for importer, others in graph.items()
        if room_of(importer) != DEMO
        for imported in sorted(others)
        if room_of(imported) not in {room_of(importer), *MAY_IMPORT.get(room_of(importer), "").split()}
    ]


def test_every_arrow_between_rooms_is_allowed() -> None:
    wrong = wrong_imports(module_graph(*PACKAGES))
    assert not wrong, "\n".join(wrong)


def test_the_table_lists_every_room_and_no_other() -> None:
    empty = {"kafka"}  # a folder of folders
    assert {room_of(module) for module in module_graph(*PACKAGES)} - empty - {DEMO} == MAY_IMPORT.keys()


def test_the_table_is_from_the_ground_up() -> None:
    """So that it has no cycle, and reads as the house stands."""
    below: set[str] = set()
    for room, others in MAY_IMPORT.items():
        assert set(others.split()) <= below, f"{room} stands below what it may import"
        below.add(room)


@pytest.mark.parametrize(
    ("importer", "imported"),
    [
        ("streams.core.offsets.fence", "schemas.headers"),
        ("streams.ports.records", "streams.worker.executor"),
        ("streams.worker.outcomes.follow_ups", "streams.kafka.producer.sender"),
        ("streams.worker.executor", "streams.application.assembly"),
        ("streams.kafka.producer.sender", "streams.worker.executor"),
        ("streams.kafka.admin.topics", "streams.worker.executor"),
        ("streams.dead.dead_letters", "streams.worker.executor"),
        ("streams.application.cli", "streams.demo.show"),
        ("producers.record", "streams.errors"),
        ("schemas.codec", "producers.record"),
        ("streams.api.queue", "streams"),
    ],
)
def test_a_wrong_arrow_is_found_and_told_of(importer: str, imported: str) -> None:
    (told,) = wrong_imports({importer: {imported}})
    assert told.startswith(f"{importer} imports {imported}: {room_of(importer)} may import ")
    assert f", not {room_of(imported)}; " in told


def test_only_some_rooms_lead_outside() -> None:
    wrong = [
        f"{module} imports {library}: {room_of(module)} may not, only {', '.join(MAY_USE[library].split())} may;"
        f" {REMEDY.get(room_of(module), _MOVE)}"
        for module, library in _libraries()
        if room_of(module) not in {*MAY_USE[library].split(), DEMO}
    ]
    assert not wrong, "\n".join(wrong)


def _libraries() -> list[tuple[str, str]]:
    """Which module imports which library of MAY_USE."""
    paths = [path for package in PACKAGES for path in modules(package)]
    found = {(name_of(path), name.partition(".")[0]) for path in paths for name in imports(path)}
    return sorted((module, library) for module, library in found if library in MAY_USE)


def test_no_modules_import_each_other() -> None:
    """Nor in a circle, whether at the top, in a function, or for type checkers alone."""
    circles = [" -> ".join(cycle) for cycle in cycles(module_graph(*PACKAGES))]
    assert not circles, "cut each with a protocol, or move what both need:\n" + "\n".join(circles)


def test_no_folder_is_too_full() -> None:
    counts = Counter(
        folder_of(path)
        for package in PACKAGES
        for path in modules(package)
        if path.name not in {"__init__.py", "__main__.py"}
    )
    full = [f"{folder} has {count} modules" for folder, count in counts.items()
            if count > MOST_MODULES_OF.get(folder, MOST_MODULES)]  # fmt: skip
    assert not full, "divide it by what its modules are for: " + "; ".join(full)


def test_every_folder_says_what_it_is_for() -> None:
    folders = {path.parent for package in PACKAGES for path in modules(package)}
    assert [str(folder.relative_to(ROOT)) for folder in folders if not (folder / "__init__.py").exists()] == []


def test_the_rooms_are_not_stacked_higher() -> None:
    """The longest chain of rooms of `streams`, each of which imports the next.

    A room is what MAY_IMPORT calls one: what lies in folders below `worker`, `core` and `dead` counts as one room with
    it, and `schemas`, `producers` and the demonstration are left out. So the figure says how many rooms one has to walk
    through at the most, and not how many modules: a chain of these is about twice as long.
    """
    graph = module_graph("streams")
    rooms = condensed({name: others for name, others in graph.items() if room_of(name) != DEMO}, room_of)
    chain = longest_chain(rooms)
    assert len(chain) <= MOST_FLOORS, " -> ".join(chain)
