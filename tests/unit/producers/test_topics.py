import pytest

from producers import OptionInvalid
from producers.topics import queue_topic


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
