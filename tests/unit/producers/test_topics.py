import re
from pathlib import Path

import pytest

import producers
from producers import OptionInvalid
from producers.routing.topics import (
    RESERVED_QUEUES,
    TopicNames,
    dead_topic,
    queue_of_dead_topic,
    queue_topic,
    retry_topic,
)


def test_a_queue_s_topic() -> None:
    assert queue_topic("jobs", "email") == "jobs.email"


@pytest.mark.parametrize("queue", ["", "email.retry", "e mail", "ümlaut", "-x", "scheduled", "state", "control", "e\n"])
def test_names_no_queue_can_have(queue: str) -> None:
    with pytest.raises(OptionInvalid, match=r"^queue: expected"):
        queue_topic("jobs", queue)


def test_a_namespace_kafka_would_refuse() -> None:
    with pytest.raises(OptionInvalid, match="STREAMS_NAMESPACE"):
        queue_topic("my jobs", "email")


def test_a_name_too_long_for_the_topics_of_a_queue() -> None:
    assert queue_topic("n" * 238, "mail") == "n" * 238 + ".mail"
    with pytest.raises(OptionInvalid, match="243 characters"):
        queue_topic("n" * 239, "mail")


def test_the_topics_of_a_queue_and_those_of_its_namespace() -> None:
    names = TopicNames.of("jobs", "email")
    assert (names.queue, names.retry, names.dead) == ("jobs.email", "jobs.email.retry", "jobs.email.dead")
    assert (names.retry, names.dead) == (retry_topic(names.queue), dead_topic(names.queue))
    assert {names.scheduled, names.state, names.control} == {f"jobs.{name}" for name in RESERVED_QUEUES}
    with pytest.raises(OptionInvalid):
        TopicNames.of("jobs", "state")


@pytest.mark.parametrize(
    ("topic", "queue"),
    [("my.jobs.email.dead", "email"), ("my.jobs.email", None), ("my.jobs.a.b.dead", None), ("my.jobs.dead", None),
     ("jobs.email.dead", None), ("my.jobs..dead", None)],
)  # fmt: skip
def test_the_queue_of_a_topic_of_dead_letters(topic: str, queue: str | None) -> None:
    assert queue_of_dead_topic(topic, "my.jobs") == queue


def test_suffixes_are_spelt_in_one_place() -> None:
    """A topic's name is put together nowhere else."""
    spelt = re.compile(r"""[.}](retry|dead|scheduled|state|control)["']""")
    root = Path(producers.__file__).parent.parent
    found = [
        f"{path.relative_to(root)}: {line.strip()}"
        for package in ("producers", "streams")
        for path in (root / package).rglob("*.py")
        if path != root / "producers" / "routing" / "topics.py"
        for line in path.read_text("utf-8").splitlines()
        if spelt.search(line) and "getLogger" not in line
    ]
    assert found == []
