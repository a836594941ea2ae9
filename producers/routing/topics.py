"""The names of queues and of their topics: the one place that spells them."""

import re
from functools import lru_cache
from typing import NamedTuple

from producers.errors import OptionInvalid

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_NAMESPACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_RETRY, _DEAD = ".retry", ".dead"
_LONGEST = 249 - len(_RETRY)  # Kafka's limit, less the longest suffix a queue's other topics have.

#: What no queue can be called: its topic, <namespace>.<name>, is kept for the whole namespace.
RESERVED_QUEUES = frozenset({"scheduled", "state", "control"})


#: Nor these: the topics beside a queue's own end in the last two, and the first two are kept for priorities.
RESERVED_SUFFIXES = frozenset({"high", "low", _RETRY[1:], _DEAD[1:]})


class TopicNames(NamedTuple):
    """The topics of one queue, and those that all queues of its namespace share.

    Only the first four exist so far; the names of the others are kept free for states of jobs and commands to workers.
    """

    queue: str
    namespace: str

    @classmethod
    def of(cls, namespace: str, queue: str) -> "TopicNames":
        """Return the names for a queue of a namespace; raises OptionInvalid for a name that no queue can have."""
        return cls(queue_topic(namespace, queue), namespace)

    @property
    def retry(self) -> str:
        """Where its failing jobs wait."""
        return retry_topic(self.queue)

    @property
    def dead(self) -> str:
        """Where its dead letters lie."""
        return dead_topic(self.queue)

    @property
    def scheduled(self) -> str:
        """Where delayed jobs of all queues wait, and recurring schedules are."""
        return scheduled_topic(self.namespace)

    @property
    def state(self) -> str:
        """Kept for the states of jobs."""
        return f"{self.namespace}.state"

    @property
    def control(self) -> str:
        """Kept for commands to workers."""
        return f"{self.namespace}.control"


def retry_topic(queue_topic: str) -> str:
    """Return the retry topic beside a queue's topic."""
    return queue_topic + _RETRY


def dead_topic(queue_topic: str) -> str:
    """Return the topic of dead letters beside a queue's topic."""
    return queue_topic + _DEAD


def scheduled_topic(namespace: str) -> str:
    """Return the topic where delayed jobs wait."""
    return f"{namespace}.scheduled"


def queue_of_dead_topic(topic: str, namespace: str) -> str | None:
    """Return the queue whose dead letters a topic holds; None for any other topic."""
    if not topic.startswith(f"{namespace}.") or not topic.endswith(_DEAD):
        return None
    queue = topic[len(namespace) + 1 : -len(_DEAD)]
    return queue if _NAME.fullmatch(queue) else None


@lru_cache(maxsize=1024)
def queue_topic(namespace: str, queue: str) -> str:
    """Return the topic of a queue; raises OptionInvalid for a name that no queue can have."""
    if not isinstance(queue, str) or not _NAME.fullmatch(queue):
        raise OptionInvalid("queue", "letters, digits, - and _", queue)
    if queue in RESERVED_QUEUES:
        raise OptionInvalid("queue", f"a name other than {', '.join(sorted(RESERVED_QUEUES))}, which are taken", queue)
    if not isinstance(namespace, str) or not _NAMESPACE.fullmatch(namespace):
        raise OptionInvalid("STREAMS_NAMESPACE", "letters, digits, ., - and _", namespace)
    topic = f"{namespace}.{queue}"
    if len(topic) > _LONGEST:
        raise OptionInvalid("queue", f"at most {_LONGEST} characters together with the namespace", topic)
    return topic
