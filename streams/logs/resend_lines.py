"""Tells people that records are sent again, in bounds."""

from __future__ import annotations

import asyncio
import logging

logger = logging.getLogger(__name__)

#: Seconds between two lines about one topic.
_INTERVAL = 1.0


class ResentReports:
    """Logs that records of a topic are sent again: the first at once, the others once a second by their number.

    While a broker is away that may be every record of a worker, every second. Belongs to an event loop.
    """

    def __init__(self) -> None:
        #: For each topic of which the last second has told: how many records it has not told of, and why the last one.
        self._untold: dict[str, tuple[int, str]] = {}

    def report(self, topic: str, why: str) -> None:
        """Log that a record is sent again."""
        if topic in self._untold:
            self._untold[topic] = self._untold[topic][0] + 1, why
            return
        logger.error("%s: a record is sent again, and its job is unfinished until then: %s", topic, why)
        self._open(topic)

    def _open(self, topic: str) -> None:
        self._untold[topic] = 0, ""
        asyncio.get_running_loop().call_later(_INTERVAL, self._sum_up, topic)

    def _sum_up(self, topic: str) -> None:
        count, why = self._untold.pop(topic)
        if count:
            logger.error("%s: %d more records are sent again, the last because of: %s", topic, count, why)
            self._open(topic)
