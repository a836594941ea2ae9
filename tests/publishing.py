"""Publishes jobs for tests and remembers what there is to be done."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType

from producers import JobProducer, ProducerSettings
from tests.models.ordered import Step


class Steps:
    """Publishes steps, numbered in each key, through the public producer."""

    def __init__(self, bootstrap: str, namespace: str) -> None:
        settings = ProducerSettings(bootstrap_servers=bootstrap, namespace=namespace)
        self._producer = JobProducer(settings)
        self._next: Counter[str] = Counter()
        #: Ids of all jobs published.
        self.ids: set[str] = set()

    def publish(
        self,
        key: str | None,
        seconds: float,
        *,
        queue: str | None = None,
        fails: int = 0,
        ends: str = "",
        says: str = "",
    ) -> str:
        """Publish the next step of a key; returns its id. It is to fail so often, to end its process so, or to say so
        what follows."""
        seq = self._next[key or ""]
        self._next[key or ""] += 1
        headers = {name: str(value) for name, value in (("fails", fails), ("ends", ends), ("says", says)) if value}
        job = self._producer.publish(Step(seq=seq, seconds=seconds), key=key, queue=queue, headers=headers).id
        self.ids.add(job)
        return job

    def flush(self) -> None:
        self._producer.flush()

    def __enter__(self) -> Steps:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._producer.__exit__(kind, error, at)


@contextmanager
def load(publish: Callable[[int], object], *, rate: int, times: float = float("inf")) -> Iterator[threading.Event]:
    """Call `publish` with 0, 1, 2 and so on, about `rate` times a second, in a thread, until the end of the block.

    The event is set when it has been called so many `times`.
    """
    enough, complete = threading.Event(), threading.Event()
    burst = max(5, rate // 200)

    def work() -> None:
        number = 0
        while number < times and not enough.wait(burst / rate):
            upto = min(number + burst, times)
            while number < upto:
                publish(number)
                number += 1
        complete.set()

    thread = threading.Thread(target=work, name="load")
    thread.start()
    try:
        yield complete
    finally:
        enough.set()
        thread.join()
