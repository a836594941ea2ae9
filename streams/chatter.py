"""Which lines of the libraries below a worker's log shows at the level of info: those that tell its user something."""

from __future__ import annotations

import logging

from producers.chatter import is_worth_reading

#: Libraries that tell of each of their steps.
_TALKATIVE = frozenset({"aiokafka", "faust", "kafka", "mode"})

#: How their lines begin that stay: what the group says of this worker.
_OF_THE_GROUP = ("Joined group", "Setting newly assigned partitions")

#: How the lines of Faust's services begin, of all and of the worker as a whole.
_SERVICE = "[^"
_WORKER = "[^Worker]: "
_LAST_STEPS = (f"{_WORKER}Gathering", f"{_WORKER}Closing")


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
