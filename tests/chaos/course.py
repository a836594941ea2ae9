"""Disturbances that happen one after another, beside all others."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from tests.chaos.schedule import Disturbance

Say = Callable[[str], None]
#: Passes so many seconds, or fewer when the run is over.
Wait = Callable[[float], object]


class Trouble(Protocol):
    """Who can make disturbances of some kinds."""

    def happen(self, what: Disturbance, wait: Wait) -> None:
        """Make it happen, and undo it; `wait` passes its time."""


@contextmanager
def going_on(plans: Sequence[Disturbance], trouble: Trouble, say: Say, faults: list[str]) -> Iterator[None]:
    """Have them happen in a thread until the end of the block; then all is as it was, but for the faults it adds."""
    enough = threading.Event()

    def work() -> None:
        for each in plans:
            if enough.wait(each.at):
                return
            say(f"{each.kind.value}{f', {each.seconds:.1f} s' if each.seconds else ''}")
            try:
                trouble.happen(each, enough.wait)
            except Exception as error:
                # The run goes on, so that there is an account of it, and is none that may pass.
                faults.append(f"{each.kind.title} could not be made to happen, or be undone: {error!r}")
                say(faults[-1])

    thread = threading.Thread(target=work, name="troubles")
    thread.start()
    try:
        yield
    finally:
        enough.set()
        thread.join()
