"""Tells who holds the event loop: an async handler that blocks stands in the way of every other job of its worker.

The loop beats while it turns. A thread looks for the beat; where it is late, the job whose task runs just then is the
one that holds the loop, and the loop's stack says where it stands.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import traceback
from collections.abc import Callable, Iterable
from time import monotonic, process_time
from types import FrameType
from typing import Any

from streams.logs.safe_text import shown_id
from streams.worker.handlers.own_frames import is_own
from streams.worker.runner import Runner

logger = logging.getLogger(__name__)

#: How often the thread looks, and how late the beat may be until who runs then holds the loop. Seconds.
_LOOK = 0.05
_LATE = 0.15

#: After how long it is told, and how much longer it takes until it is told again. Seconds.
TELL_AFTER = 1.0
_TELL_AGAIN = 10.0

#: Seconds between two lines about the same handler.
_SAME_AGAIN = 60.0

#: Lines of a stack that are shown: the innermost.
_FRAMES = 12


class LoopWatch:
    """Watches one event loop from a thread.

    runners  all runners of the worker; called in the thread
    """

    def __init__(self, runners: Callable[[], Iterable[Runner]]) -> None:
        self._runners = runners
        self._over = threading.Event()
        self._last = 0.0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._loop_thread = 0
        #: What the present standstill is told of, and from which length on it is told again.
        self._told: str | None = None
        self._tell_at = TELL_AFTER
        self._quiet_until: dict[str, float] = {}

    def start(self) -> None:
        """Begin to watch the running loop, which beats from now on."""
        self._loop, self._loop_thread = asyncio.get_running_loop(), threading.get_ident()
        self.beat()
        threading.Thread(target=self._watch, name="loop-watch", daemon=True).start()

    def beat(self) -> None:
        """Note that the loop turns; to be called on it, at least every 50 ms."""
        self._last = monotonic()

    def stop(self) -> None:
        """Watch no more."""
        self._over.set()

    # -- in the thread ------------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        looked, used = monotonic(), process_time()
        while not self._over.wait(_LOOK):
            now, cpu = monotonic(), process_time()
            if now - looked > TELL_AFTER and cpu - used < (now - looked) / 10:
                self.beat()  # The whole process was stopped, or its machine: no job is to blame.
            looked, used = now, cpu
            try:
                self._look(now)
            except Exception:
                logger.exception("the watch over the event loop has failed, and goes on")

    def _look(self, now: float) -> None:
        stands = now - self._last
        if stands < _LATE or self._loop is None or not self._loop.is_running():
            self._goes_on()
            return
        task = asyncio.current_task(self._loop)
        runner = next((each for each in self._runners() if task is not None and each.task is task), None)
        if runner is not None:
            runner.note_held_loop(now)
        if stands >= self._tell_at:
            self._tell_at = stands + _TELL_AGAIN
            self._tell(_name(runner, task), stands, now)

    def _goes_on(self) -> None:
        if self._told is not None:
            logger.warning("the event loop goes on, after %s", self._told)
            self._told = None
        self._tell_at = TELL_AFTER

    def _tell(self, who: str, stands: float, now: float) -> None:
        frames = _frames(sys._current_frames().get(self._loop_thread))
        same = f"{frames[0].f_code.co_filename}:{frames[0].f_code.co_name}" if frames else who
        if self._told is None and self._quiet_until.get(same, 0.0) > now:
            return
        self._told, self._quiet_until[same] = who, now + _SAME_AGAIN
        logger.warning(
            "%s has held the event loop for %.1f s: no other job of this worker goes on meanwhile, and no timeout can"
            " end it. Declare its handler as a plain `def` (it gets a thread) or cpu_bound=True, or await what it waits"
            " for. It stands at\n%s",
            who, stands, _shown(frames),
        )  # fmt: skip


def _name(runner: Runner | None, task: asyncio.Task[Any] | None) -> str:
    if runner is not None and runner.lane is not None and runner.ctx is not None:
        return f"job {shown_id(runner.ctx.id)} of queue {runner.ctx.queue}"
    return "a callback" if task is None else f"task {task.get_name()!r}"


def _frames(frame: FrameType | None) -> list[FrameType]:
    """The stack from the outermost frame on that is neither the worker's nor the event loop's."""
    stack: list[FrameType] = []
    while frame is not None:
        stack.append(frame)
        frame = frame.f_back
    stack.reverse()
    inside = [number for number, each in enumerate(stack) if is_own(each.f_code.co_filename)]
    return stack[inside[-1] + 1 if inside else 0 :] or stack


def _shown(frames: list[FrameType]) -> str:
    lines = [line for each in frames[-_FRAMES:] for line in traceback.format_stack(each, limit=1)]
    return "".join(lines).rstrip()
