"""The names of queues and of their topics."""

import re
from functools import lru_cache

from producers.errors import OptionInvalid

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_NAMESPACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_LONGEST = 249 - len(".retry")  # Kafka's limit, less the longest suffix a queue's other topics have.
RESERVED_QUEUES = frozenset({"scheduled", "state", "control"})


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
