"""A thread that looks after a client while nobody else does: for reports that nobody fetches, and at its end."""

import logging
import threading
import weakref
from contextlib import suppress

from producers.delivery.kafka_client import KafkaClient

_LOGGER = logging.getLogger("producers")
_SECONDS_BETWEEN_VISITS = 0.5


def poll_while_idle(client: KafkaClient) -> None:
    """Hand out the reports of a client that nobody else polls, and let its connections go once it is closed."""
    client.is_looked_after = True
    try:
        threading.Thread(target=_visit, args=(weakref.ref(client),), name="kafka-jobs-reports", daemon=True).start()
    except RuntimeError:  # No thread is to be had. The job is published; the next one tries again.
        client.is_looked_after = False


def _visit(reference: "weakref.ref[KafkaClient]") -> None:
    """Visit a client until it is closed and holds nothing more.

    A busy one is left alone: its publisher polls, and another thread would only fight over the interpreter's lock.
    """
    pause = threading.Event()
    offered = -1
    while not pause.wait(_SECONDS_BETWEEN_VISITS):
        client = reference()
        if client is None or client.let_go():
            return
        if client.offered == offered:
            try:
                client.poll(0)
            except Exception:
                with suppress(Exception):  # The log may be what fails.
                    _LOGGER.exception("handing out the reports of published jobs has failed, and goes on")
        offered = client.offered
        del client
