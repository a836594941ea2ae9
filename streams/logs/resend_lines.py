"""Log lines about records that are sent again, in bounds."""

from __future__ import annotations

import asyncio
import logging

from streams.logs.throttle import Throttle

logger = logging.getLogger(__name__)


class ResentReports:
    """Logs that records of a topic are sent again: the first at once, the others once a second by their number.

    While a broker is away that may be every record of a worker, every second. Belongs to an event loop; used by the
    ReliableSender.
    """

    def __init__(self) -> None:
        #: For each topic of which the last second had a line.
        self._throttles: dict[str, Throttle] = {}
        #: Why the last record was sent again, by topic.
        self._reasons: dict[str, str] = {}

    def report(self, topic: str, why: str) -> None:
        """Log that a record is sent again."""
        throttle = self._throttles.get(topic)
        if throttle is None:
            throttle = self._throttles[topic] = Throttle(lines=1)
            self._begin_second(topic, throttle)
        self._reasons[topic] = why
        if throttle.allow():
            logger.error("%s: a record is sent again, and its job is unfinished until then: %s", topic, why)

    def _begin_second(self, topic: str, throttle: Throttle) -> None:
        asyncio.get_running_loop().call_later(throttle.period, self._end_second, topic, throttle)

    def _end_second(self, topic: str, throttle: Throttle) -> None:
        more = throttle.next_period(asyncio.get_running_loop().time())
        if not more:
            del self._throttles[topic], self._reasons[topic]
            return
        logger.error("%s: %d more records are sent again, the last because of: %s", topic, more, self._reasons[topic])
        throttle.allow()  # That was this second's line.
        self._begin_second(topic, throttle)
