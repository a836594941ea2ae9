"""Which lines of librdkafka's own log help those who read it."""

import logging
import re

_LINE = re.compile(r"(?P<kind>[A-Z_]+) \[[^\]]*#(?:producer|consumer)-\d+\] ")


def is_worth_reading(record: logging.LogRecord) -> bool:
    """Whether a line is shown; a filter for loggers and handlers. Lines of others always are.

    Not worth it are the client's own steps, and that a cluster which has just started has no id for a producer yet
    (GETPID): the client asks again.
    """
    line = _LINE.match(record.getMessage())
    if line is None:
        return True
    return record.levelno >= (logging.ERROR if line["kind"] == "GETPID" else logging.WARNING)
