"""Which lines of the libraries below a worker's log shows: those that say something to its user, in bounds.

While a broker is away, aiokafka and librdkafka say so some seventy times a second.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from time import monotonic

from producers.delivery.client_errors import is_worth_reading
from streams.logs.throttle import Throttle

#: Libraries that tell of each of their steps.
_TALKATIVE = frozenset({"aiokafka", "faust", "kafka", "mode"})

#: How their lines begin that stay: what the group says of this worker.
_OF_THE_GROUP = ("Joined group", "Setting newly assigned partitions")

#: How the lines of Faust's services begin, of all and of the worker as a whole.
_SERVICE = "[^"
_WORKER = "[^Worker]: "
_LAST_STEPS = (f"{_WORKER}Gathering", f"{_WORKER}Closing")


#: How lines begin that are librdkafka's own, or are made of what it has said.
_OF_THE_CLIENT = ("FAIL [", "Kafka client: ")

#: Seconds between two lines that say the same, and how many letters make them the same.
_INTERVAL = 5.0
_SAME = 24


class NowAndThen:
    """A filter for handlers: libraries' warnings and errors, each once in some seconds, however often it comes."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._throttles: dict[tuple[str, str], Throttle] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a line is shown."""
        line = str(record.msg)
        ours = record.name.partition(".")[0] not in _TALKATIVE and not line.startswith(_OF_THE_CLIENT)
        if record.levelno <= logging.INFO or ours:
            return True
        same = record.name, line[:_SAME]
        # Not when the line was made, by a clock that may be set back for hours.
        now = self._clock()
        throttle = self._throttles.setdefault(same, Throttle(1, _INTERVAL))
        if throttle.is_over(now):
            throttle.next_period(now)
        return throttle.allow()


def tells_something(record: logging.LogRecord) -> bool:
    """Whether a line is shown; a filter for handlers."""
    if record.levelno > logging.INFO:
        return is_worth_reading(record)
    line = str(record.msg)
    if line.startswith(_SERVICE):
        return line.startswith(_WORKER) and not line.startswith(_LAST_STEPS)
    if record.name.partition(".")[0] in _TALKATIVE:
        return line.startswith(_OF_THE_GROUP)
    return is_worth_reading(record)
