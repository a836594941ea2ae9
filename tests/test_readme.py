"""The README is true: its commands, settings, jobs and references are those of the project."""

from __future__ import annotations

import dataclasses
import os
import re
import shlex
import socket
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings

from producers.routing.topics import dead_topic
from producers.settings import ProducerSettings
from schemas import headers
from schemas.registry import RegistrySettings
from streams import DEFAULT_RETRY, NO_RETRY, JobContext, RetryPolicy
from streams.api.discovery import load_queues
from streams.api.hooks import around_plain
from streams.core.retry.failure import Failure
from streams.core.retry.policy import GiveUp, decide
from streams.errors import JobTimeout
from streams.jobs.image import ImageSettings
from streams.jobs.support.smtp import SmtpSettings
from streams.jobs.webhook import WebhookSettings
from streams.settings import Settings
from streams.settings.processors import usable_processors
from tests.readme import BLOCKS, COMMANDS, FILES, PROSE, TEXT, command, tables
from tests.workers import ROOT

#: The start of every command that a test runs: here, or in tests/integration/test_readme.py.
TESTED_COMMANDS = (
    "make run",
    "make broker",
    "make test",
    "STREAMS_JOBS=newsletter .venv/bin/faust -A streams worker",
    ".venv/bin/faust -A streams enqueue newsletter",
    ".venv/bin/faust -A streams enqueue --id later",
    ".venv/bin/faust -A streams delayed list",
    ".venv/bin/faust -A streams delayed show",
    ".venv/bin/faust -A streams delayed reschedule",
    ".venv/bin/faust -A streams delayed run-now",
    ".venv/bin/faust -A streams delayed cancel",
    ".venv/bin/faust -A streams dead list",
    ".venv/bin/faust -A streams dead show",
    ".venv/bin/faust -A streams dead redrive",
    ".venv/bin/faust -A streams dead purge",
    ".venv/bin/python -m schemas.generate",
    "kafka-console-consumer.sh",
)
TESTED_FILES = {
    "newsletter.py",
    "publish.py",
    "publish_async.py",
    "later.py",
    "shop/schemas/orders/PlaceOrder.v1.avsc",
    "orders.py",
    "subscribers.py",
    "policies.py",
    "calls.py",
    "letters.py",
}

ALL_SETTINGS: tuple[type[BaseSettings], ...] = (
    Settings,
    ProducerSettings,
    RegistrySettings,
    SmtpSettings,
    ImageSettings,
    WebhookSettings,
)
#: Fields that are settings of their own: no variable is meant for the whole.
NESTED = {"STREAMS_PRODUCER"}
PREFIXES = ("STREAMS_", "KAFKA_", "SCHEMA_REGISTRY_")

#: What the tables' words for a default may stand for.
NOTHING: list[object] = [None, "", {}]
WORDS: dict[str, list[object]] = {
    "": NOTHING,
    "none": NOTHING,
    "the system's": NOTHING,
    "as `STREAMS_SMTP_TLS` wants": NOTHING,
    "the broker's": [-1],
    "the processors it may use": [usable_processors()],
    "a temporary one": NOTHING,
    "the host's name": [socket.gethostname()],
}


def test_every_block_is_tested() -> None:
    assert {block.language for block in BLOCKS} == {"console", "json", "mermaid", "python"}, "a language no test knows"
    assert FILES.keys() == TESTED_FILES, "files that no test writes and runs"
    assert all(block.file for block in BLOCKS if block.language in {"json", "python"}), "a file without its name"
    assert sorted(map(command, TESTED_COMMANDS)) == sorted(COMMANDS), "commands that no test runs"


def test_it_begins_with_an_example() -> None:
    assert BLOCKS[0].line <= 25
    assert BLOCKS[0].commands == ["make run"]


# --- make


def _dry_run(target: str) -> list[str]:
    """The commands of a target's recipe, and of those it needs, but for the installation."""
    # Run by make itself, these tests inherit its flags.
    foreign = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    inherited = {name: value for name, value in foreign.items() if name not in {"SECONDS", "PYTEST_ARGS", "PROCESSES"}}
    shown = subprocess.run(
        # As where a source has changed since it passed the linters, and none that is installed.
        ["make", "-n", "--no-print-directory", "--old-file=.venv/.installed", "--what-if=pyproject.toml", target],
        cwd=ROOT, env=inherited, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    return [line.strip() for line in shown.splitlines()]


@pytest.mark.parametrize(
    ("given", "program"),
    [
        ("make run", [".venv/bin/python", "-m", "streams.demo"]),  # run in integration/test_run.py
        ("make broker", [".venv/bin/python", "docker/broker.py"]),  # run in integration/test_broker.py
    ],
)
def test_make_runs_what_other_tests_run(given: str, program: list[str]) -> None:
    (line,) = _dry_run(shlex.split(command(given))[1])
    assert shlex.split(line) == [".venv/bin/python", "docker/foreground.py", *program]


def test_make_test_lints_type_checks_and_tests() -> None:
    lines = _dry_run(shlex.split(command("make test"))[1])
    assert lines[-1] == ".venv/bin/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder"
    for tool in ("ruff check .", "ruff format --check .", "mypy", "schemas.generate --check"):
        assert f".venv/bin/python -m {tool}" in lines


def test_all_make_targets_exist() -> None:
    named = set(re.findall(r"\bmake ([a-z]+)`", PROSE)) | {line.split()[1] for line in COMMANDS if "make " in line}
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert named
    assert named <= targets


# --- Settings


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """An environment without settings of ours, to change."""
    for name in [name for name in os.environ if name.startswith(PREFIXES)]:
        monkeypatch.delenv(name)
    yield monkeypatch


def _variable(settings: type[BaseSettings], name: str, field: FieldInfo) -> str:
    if isinstance(field.validation_alias, str):
        return field.validation_alias
    return f"{settings.model_config.get('env_prefix', '')}{name.upper()}"


def _declared() -> dict[str, list[tuple[type[BaseSettings], str]]]:
    """Where each variable is read: the settings and the name of the field."""
    found: dict[str, list[tuple[type[BaseSettings], str]]] = {}
    for settings in ALL_SETTINGS:
        for name, field in settings.model_fields.items():
            found.setdefault(_variable(settings, name, field), []).append((settings, name))
    return {variable: fields for variable, fields in found.items() if variable not in NESTED}


def _documented() -> dict[str, str]:
    """Every variable of the tables, and its default as written there."""
    found: dict[str, str] = {}
    for names, default, _ in tables("variable"):
        variables = re.findall(r"`(\w+)`", names)
        # One default stands for all of a row, or each has its own.
        own = default.split(", ")
        defaults = own if len(variables) == len(own) > 1 else [default] * len(variables)
        for variable, text in zip(variables, defaults, strict=True):
            assert variable not in found, f"{variable} is listed twice"
            found[variable] = text
    return found


def test_the_tables_list_every_setting() -> None:
    assert sorted(_documented()) == sorted(_declared())


def test_all_settings_classes_are_compared() -> None:
    for package in ("streams", "producers", "schemas"):
        for path in (ROOT / package).rglob("*.py"):
            for name in re.findall(r"^class (\w+)\(BaseSettings\)", path.read_text(), re.MULTILINE):
                assert any(name in (base.__name__ for base in known.__mro__) for known in ALL_SETTINGS), (
                    f"{path}: {name} is in none of the settings that this test compares with the README"
                )


@pytest.mark.parametrize("variable", sorted(_documented()))
def test_a_documented_default_is_the_default(variable: str, bare: pytest.MonkeyPatch) -> None:
    """Setting a variable to what the table says changes nothing."""
    text = _documented()[variable]
    for settings, name in _declared()[variable]:
        default = getattr(settings(), name)
        if text.startswith("`"):
            bare.setenv(variable, text.strip("`"))
            assert getattr(settings(), name) == default
            bare.delenv(variable)
        else:
            assert default in WORDS[text]


def test_every_variable_that_is_mentioned_is_one() -> None:
    mentioned = set(re.findall(rf"\b(?:{'|'.join(PREFIXES)})\w+", TEXT))
    assert mentioned
    assert mentioned <= _declared().keys()


# --- Failures


class Wait(NamedTuple):
    """How long a job waits after its `attempt`-th attempt has failed, in seconds."""

    attempt: int
    earliest: float
    latest: float


def timetable(policy: RetryPolicy) -> list[Wait]:
    """All waits of a policy."""
    return [Wait(made, policy.wait(made, 0.0), policy.wait(made, 1.0)) for made in range(1, policy.max_attempts)]


def test_the_timetable_is_that_of_the_default_policy() -> None:
    waits = [[str(wait.attempt), f"{wait.earliest:g} to {wait.latest:g} s"] for wait in timetable(DEFAULT_RETRY)]
    assert tables("after run") == waits
    (said,) = re.findall(r"a job is run up to (\w+) times, within about an hour and a half", PROSE)
    assert said == "eight"
    assert DEFAULT_RETRY.max_attempts == 8
    assert 4500 < sum(wait.latest for wait in timetable(DEFAULT_RETRY)) < 6300, "an hour and a half"


@pytest.fixture
def policies() -> dict[str, Any]:
    """What the example of policies declares."""
    names: dict[str, Any] = {"__name__": "policies"}
    exec(compile(FILES["policies.py"], "policies.py", "exec"), names)
    return names


def test_the_policies_are_what_their_comments_say(policies: dict[str, Any]) -> None:
    patient, by_hand = policies["patient"], policies["by_hand"]
    assert [wait.latest for wait in timetable(patient)[:3]] == [2, 6, 18]
    assert {wait.earliest for wait in timetable(patient)} == {0}
    assert max(wait.latest for wait in timetable(patient)) == 900
    assert patient.refusal(Failure.of(FileNotFoundError()))
    assert patient.refusal(Failure.of(ValueError()))
    assert not patient.refusal(Failure.of(ConnectionResetError()))
    assert not patient.refusal(Failure.of(JobTimeout("too long")))
    late = decide(patient, Failure.of(OSError()), attempt=0, now_ms=86_400_000, since_ms=0, random_share=1.0)
    assert isinstance(late, GiveUp)
    assert [wait.latest for wait in timetable(by_hand)] == [60, 120, 180, 240]
    assert [job.retry for job in policies["shop"]] == [policies["shop"].retry, patient, NO_RETRY]


def test_every_field_of_a_policy_is_shown() -> None:
    fields = {field.name for field in dataclasses.fields(RetryPolicy) if field.init}
    assert fields == set(re.findall(r"^    (\w+)=", FILES["policies.py"], re.MULTILINE))


def test_the_hooks_are_what_their_comments_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "subscribers"}
    exec(compile(FILES["subscribers.py"], "subscribers.py", "exec"), names)
    (job,) = names["subscribers"]
    run = around_plain(names["subscribers"].around, job.handler)
    with caplog.at_level("INFO"):
        run(job.model(to=["ada@example.org"], subject="", text=""), JobContext("id", "subscribers"))
        with pytest.raises(sqlite3.Error):
            run(job.model(to=["bob@example.org", object()], subject="", text=""), JobContext("id", "subscribers"))
    names["mine"].database.close()
    with closing(sqlite3.connect("subscribers.db")) as database:
        assert database.execute("SELECT address FROM subscribers").fetchall() == [("ada@example.org",)]
    assert len(re.findall(r"took \d+\.\d{3} s", caplog.text)) == 2


def test_the_diagram_leads_every_job_to_an_end() -> None:
    (diagram,) = (block.text for block in BLOCKS if block.language == "mermaid")
    head, *lines = diagram.splitlines()
    assert head == "stateDiagram-v2"
    arrows = [re.fullmatch(r"    (\S+) --> (\S+?)(?:: [^:;]+)?", line) for line in lines]
    assert all(arrows), "a line that is no arrow"
    ways = {(arrow[1], arrow[2]) for arrow in arrows if arrow}
    states = {state for way in ways for state in way} - {"[*]"}
    assert states == {"waiting", "running", "parked", "done", "dead"}
    # Somebody may send a dead letter back, and nothing else leaves an end: nor may any way to an end need that.
    redriven = ("dead", "waiting")
    assert {way for way in ways if way[0] in {"done", "dead"}} == {("done", "[*]"), ("dead", "[*]"), redriven}
    by_itself = ways - {redriven}
    for start in states:
        reached = {start}
        for _ in states:
            reached |= {to for at, to in by_itself if at in reached}
        assert "[*]" in reached, f"no way out of {start}"
    assert {at for at, to in ways if to == "[*]"} == {"done", "dead"}


def test_the_bounds_of_what_is_parked() -> None:
    (jobs, megabytes) = re.findall(r"At most\s([\d,]+) jobs or (\d+) MB are parked of a queue in a worker", PROSE)[0]
    assert int(jobs.replace(",", "")) == Settings().parked_jobs
    assert int(megabytes) * 1024 * 1024 == Settings().parked_bytes


def test_the_topics() -> None:
    names = {cells[0].strip("`") for cells in tables("topic")}
    ours = Settings().topics("queue")
    assert {name.replace("<queue>", "queue") for name in names} == {
        ours.queue, ours.retry, ours.dead, ours.scheduled, dead_topic(ours.scheduled),
    }  # fmt: skip


# --- Names


def test_the_shipped_jobs() -> None:
    declared = {(f"`{queue.name}`", f"`{job.job_type}`") for queue in load_queues(["streams.jobs"]) for job in queue}
    assert {(queue, job) for queue, job, _ in tables("queue")} == declared


def test_headers_that_are_mentioned_exist() -> None:
    mentioned = set(re.findall(r"`(job-[a-z-]+)`", PROSE))
    assert mentioned
    assert mentioned <= {value for value in vars(headers).values() if isinstance(value, str)}


def test_what_a_context_has() -> None:
    (paragraph,) = (text for text in PROSE.split("\n\n") if text.startswith("`ctx` has"))
    sentence = paragraph.partition("ctx.publish")[0]
    named = re.findall(r"`(\w+)`", sentence.removeprefix("`ctx`"))
    assert {"id", "queue", "key"} <= set(named)
    for name in [*named, "publish"]:
        assert name in dir(JobContext) or name in JobContext.__annotations__, name


# --- References


def _anchors(text: str) -> set[str]:
    """What GitHub makes of a document's headings."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_links_resolve() -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", PROSE):
        if target.startswith(("https://", "http://")):
            continue  # Other people's sites are not part of this test.
        name, _, anchor = target.partition("#")
        file = ROOT / name if name else ROOT / "README.md"
        assert file.exists(), f"the README links to {target}, which is not there"
        assert not anchor or anchor in _anchors(file.read_text("utf-8")), (
            f"the README links to {target}: no such heading"
        )


def test_files_that_are_mentioned_exist() -> None:
    mentioned = re.findall(r"(?<![\w/<])[\w.-][\w./-]*\.(?:md|ya?ml|toml)\b", PROSE)
    mentioned += re.findall(r"`([a-z][\w/]*/)`", PROSE)
    assert "CONTRIBUTING.md" in mentioned
    missing = [name for name in mentioned if not Path(ROOT, name).exists()]
    assert not missing
