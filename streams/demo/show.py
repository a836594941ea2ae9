"""The demonstration itself: the examples, what they have shown, and a job a second until somebody stops it."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Coroutine
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

from schemas.headers import ORIGIN
from streams.demo import examples, facts
from streams.demo.errors import DemoFailed, Interrupted
from streams.demo.publishing import Published, Publisher
from streams.demo.screen import Screen
from streams.demo.stage.stage import Stage, stage

T = TypeVar("T")


class Stop:
    """A request to stop, by Ctrl-C or SIGTERM. Before `patient` it cuts the work short; after it, it is waited for."""

    def __init__(self) -> None:
        self.requested = asyncio.Event()
        self.patient = False
        self._task = asyncio.current_task()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, self._request)

    def _request(self) -> None:
        # Only the first one: the stop under way is not to be cut short by an impatient second.
        if not self.requested.is_set():
            self.requested.set()
            if self._task is not None and not self.patient:
                self._task.cancel()

    async def wait(self, seconds: float) -> bool:
        """Wait for the request, up to that time; returns whether it came."""
        try:
            await asyncio.wait_for(self.requested.wait(), seconds)
        except TimeoutError:
            return False
        return True


async def show(screen: Screen, runs: Path, data: Path | None, seconds: float | None) -> None:
    """Run the demonstration: the examples, then a job a second for `seconds`, or until it is stopped.

    Raises DemoFailed when something does not happen as it should, Interrupted when it is stopped before the examples
    are done.
    """
    stop = Stop()
    try:
        screen.title("Starting")
        async with stage(screen, runs, data) as running:
            since = time.monotonic()
            publisher = Publisher(screen, running.producer, running.worker.outcomes)
            await _while_alive(running, _examples(screen, running, publisher))
            stop.patient = True
            until = None if seconds is None else since + seconds
            await _while_alive(running, _stream(screen, running, publisher, stop, until))
            screen.title("Stopping")
    except asyncio.CancelledError:
        raise Interrupted("it was stopped before all examples were done") from None
    screen.fact("stopped", "all that was started has ended")


async def _examples(screen: Screen, running: Stage, publisher: Publisher) -> None:
    url = running.endpoint.url
    await asyncio.to_thread(examples.paint, running.images)
    screen.title("Jobs")
    ordered = [await publisher.publish(example) for example in examples.ordered(url)]
    others = [await publisher.publish(example) for example in examples.others(url)]
    mail = await publisher.publish(examples.email())
    await publisher.publish(examples.picture())
    delayed = await publisher.publish(examples.delayed(url))
    failing = await publisher.publish(examples.failing(url))
    retried = [await publisher.publish(example) for example in examples.retried(url)]
    await publisher.settle()

    screen.title("What this has shown")
    outcomes = running.worker.outcomes
    screen.fact("keys", facts.order_kept(ordered, [*others, mail, failing], running.endpoint, outcomes))
    screen.fact("retries", facts.order_kept_through_failures(retried, running.endpoint, outcomes))
    screen.fact("delayed", facts.ran_when_due(delayed, outcomes))
    screen.fact("e-mail", facts.mail_received(mail, running.mailbox))
    screen.fact("image", facts.picture_resized(running.images))
    await _dead_letter(screen, running, failing)
    screen.title("Try it")
    screen.plain(next_steps(running.settings.bootstrap_servers, running.settings.namespace))


async def _dead_letter(screen: Screen, running: Stage, job: Published) -> None:
    letter = await asyncio.to_thread(facts.dead_letter, running.settings, "webhook", job.id)
    screen.fact("failure", f"job {job.id} is a dead letter on {letter.place.topic}, from {letter.text(ORIGIN)}")
    screen.fact("", f"job-error-type:    {letter.error_type}")
    screen.fact("", f"job-error-message: {letter.error_message}")


async def _stream(screen: Screen, running: Stage, publisher: Publisher, stop: Stop, until: float | None) -> None:
    screen.title("A job every second; Ctrl-C to stop" if until is None else "A job every second")
    publisher.show_others()
    for number in count(1):
        left = 1.0 if until is None else min(1.0, until - time.monotonic())
        if left <= 0:
            break
        key = f"customer-{number % 5 + 1}"
        payload = examples.order(running.endpoint.url, key, number)
        await publisher.publish(examples.Example(f"order {number}", key, payload))
        if await stop.wait(left):
            break
    await publisher.settle()


async def _while_alive(running: Stage, work: Coroutine[Any, Any, T]) -> T:
    """Do the work; raises DemoFailed when the worker ends meanwhile."""
    task, died = asyncio.create_task(work), asyncio.create_task(running.worker.died())
    try:
        await asyncio.wait({task, died}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        failure: DemoFailed = died.result()
        raise failure
    finally:
        task.cancel()
        died.cancel()


_TEXT = """
  Publish from Python, in a second terminal (while this one runs):

    export KAFKA_BOOTSTRAP_SERVERS={bootstrap} STREAMS_NAMESPACE={namespace}
    .venv/bin/python - <<'END'
    from producers import JobProducer
    from schemas.models.email import SendEmail

    with JobProducer() as producer:
        mail = SendEmail(to=["bob@example.com"], subject="Hello", text="It works.")
        print(producer.publish(mail, key="bob").id)
    END

  or from the shell:

    .venv/bin/faust -A streams enqueue email jobs.email.SendEmail \\
        '{{"to": ["bob@example.com"], "subject": "Hello", "text": "It works."}}' --key bob
"""


def next_steps(bootstrap: str, namespace: str) -> str:
    """Commands that publish a job to the running worker."""
    return _TEXT.format(bootstrap=bootstrap, namespace=namespace).rstrip()
