"""What the layers know of the world: schemas and producers no Faust, the core nothing but Python, and so on.

Which room may import which is in test_rooms.py.
"""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest

from tests.imports import PACKAGES, ROOT, folder_of, imported, imports, modules, name_of

#: The only modules that may know Faust and aiokafka: a change there must not reach the rest.
EDGES = {
    "streams.__main__",
    "streams.application.faust_app",
    "streams.application.cli",
    "streams.kafka.consumer.thread",
    "streams.kafka.fetch.requests",
    "streams.kafka.fetch.wire",
    "streams.kafka.admin.open_transactions",
    "streams.kafka.admin.topic_ids",
    "streams.kafka.fetch.decoding",
    "streams.application.health",
    "streams.kafka.fetch.batch_reader",
    "streams.dead.handled.group_offsets",
    "streams.kafka.consumer.faust_consumer",
    "streams.kafka.consumer.fetch_loop",
    "streams.kafka.consumer.commit_loop",
    "streams.kafka.consumer.rebalance",
    "streams.kafka.consumer.log_watch",
}
FAUST = {"faust", "mode", "aiokafka"}

#: Libraries that are as pure as the core, by the folder of it that may use them: text and moments in, moments out.
PURE_LIBRARIES = {"streams.core.schedule": {"cronsim"}}


def found(package: str, forbidden: set[str]) -> list[str]:
    return [
        f"{name_of(path)} imports {name}"
        for path in modules(package)
        for name in imports(path)
        if any(name == each or name.startswith(f"{each}.") for each in forbidden)
    ]


@pytest.mark.parametrize(
    ("package", "forbidden"),
    [
        ("schemas", {"producers", "streams", *FAUST}),
        ("producers", {"streams", *FAUST}),
    ],
)
def test_imports_point_one_way(package: str, forbidden: set[str]) -> None:
    assert found(package, forbidden) == []


def test_nothing_imports_the_tests() -> None:
    assert [line for package in PACKAGES for line in found(package, {"tests"})] == []


def test_the_core_needs_nothing_but_python() -> None:
    allowed = {*sys.stdlib_module_names, "__future__"}
    outside = [
        f"{name_of(path)} imports {name}"
        for path in modules("streams.core")
        for name in imports(path)
        if name.partition(".")[0] not in allowed | PURE_LIBRARIES.get(folder_of(path), set())
        and not name.startswith("streams.core")
    ]
    assert outside == []


def test_a_pure_library_is_known_to_its_folder_only() -> None:
    """What it says of clocks and zones is mended there, and would be wrong anywhere else."""
    for folder, libraries in PURE_LIBRARIES.items():
        users = {line.split(" ")[0] for package in PACKAGES for line in found(package, libraries)}
        assert users
        assert {user for user in users if not user.startswith(f"{folder}.")} == set()


def test_the_core_knows_no_clock_no_chance_no_environment_and_no_loop() -> None:
    """`now` is passed in, so that everything in the core can be tested as values."""
    forbidden = {
        "time",
        "datetime.datetime.now",
        "random",
        "os",
        "asyncio",
        "threading",
        "logging",
        "socket",
        "secrets",
    }
    assert found("streams.core", forbidden) == []


def test_faust_is_known_at_the_edges_only() -> None:
    inside = [line for line in found("streams", FAUST) if line.split(" ")[0] not in EDGES]
    assert inside == []
    assert {line.split(" ")[0] for line in found("streams", FAUST)} <= EDGES


def test_what_speaks_to_brokers_knows_no_worker() -> None:
    assert found("streams.kafka", {"streams.worker", "streams.application"}) == []


def test_the_worker_knows_no_broker() -> None:
    """What it writes with and whom it asks is handed to it, so that it runs on whatever stands in for Kafka."""
    brokers = {"streams.kafka", "streams.application", "confluent_kafka", *FAUST}
    assert [
        line for package in ("worker", "ports", "logs", "aio") for line in found(f"streams.{package}", brokers)
    ] == []


def test_core_and_handlers_do_not_import_the_edges() -> None:
    """What a job module imports must load neither Faust nor the consumer."""
    edges = {*EDGES, "streams.application.assembly"}
    lower = ["streams.core", "streams.jobs"]
    assert [line for package in lower for line in found(package, edges)] == []


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import schemas", {"streams", "producers", *FAUST}),
        ("import schemas.codec, schemas.headers", {"streams", "producers", *FAUST}),
        ("import producers", {"streams", *FAUST}),
        ("from producers import JobProducer, AsyncJobProducer", {"streams", *FAUST}),
        ("import streams.core.partition.partition", FAUST),
        ("import streams", FAUST),
        ("from streams import Queue, JobContext", FAUST),
        ("import streams.jobs.email, streams.jobs.webhook", FAUST),
        ("import streams.kafka.consumer.commit_loop, streams.kafka.consumer.log_watch", {"faust", "mode"}),
        ("import streams.kafka.consumer.rebalance", {"faust", "mode"}),
    ],
)
def test_importing_loads_no_more_than_it_says(statement: str, absent: set[str]) -> None:
    """In a process of its own, so that what other modules import behind our back counts as well."""
    script = f"import sys; {statement}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert loaded.isdisjoint(absent)


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("from . import x", "producers.inner.x"),
        ("from .. import record", "producers.record"),
        ("from ..record import compose", "producers.record"),
        ("def f():\n    import streams.core", "streams.core"),
        ("from streams import Queue", "streams.Queue"),
        ("if TYPE_CHECKING:\n    import streams", "streams"),
    ],
)
def test_the_check_finds_imports_wherever_they_stand(source: str, name: str) -> None:
    assert name in imported(source, "producers.inner")


def test_the_worker_leaves_the_executor_of_the_loop_to_handlers() -> None:
    """They may fill it for minutes; what blocks goes through `streams.aio.blocking_calls`."""
    users = [
        name_of(path)
        for path in modules("streams")
        if not name_of(path).startswith("streams.demo")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Attribute) and node.attr in {"to_thread", "run_in_executor"}
    ]
    assert users == []
