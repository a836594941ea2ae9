"""What a process of the pool does: it runs one job after another, and tells the worker how each has ended."""

from __future__ import annotations

import contextvars
import importlib
import logging
import os
import pickle
import resource
import socket
import sys
import traceback
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streams.api.context import FollowUp, JobContext
from streams.api.hooks import around_plain
from streams.core.retry.failure import Failure, is_a
from streams.worker.handlers.own_frames import without_own
from streams.worker.handlers.unfinished_work import refuse_unfinished
from streams.worker.process_pool.answers import read_answer
from streams.worker.process_pool.child_logging import ToWorker, set_levels
from streams.worker.process_pool.frames import Kind, receive
from streams.worker.process_pool.surroundings import Surroundings, heed_no_stop

#: A function as another process finds it: its module and its name there.
Address = tuple[str, str]


@dataclass(frozen=True, slots=True)
class HandlerAddress:
    """A handler, and the hooks around it, the outermost first, as another process finds them."""

    handler: Address
    around: tuple[Address, ...] = ()

    @classmethod
    def of(cls, handler: Callable[..., Any], around: Iterable[Callable[..., Any]] = ()) -> HandlerAddress:
        """Where these are found; they lie at the top level of their modules."""
        return cls(_address(handler), tuple(_address(hook) for hook in around))

    def find(self) -> Callable[..., Any]:
        """The handler within its hooks."""
        return around_plain([_find(hook) for hook in self.around], _find(self.handler))


def _address(function: Callable[..., Any]) -> Address:
    return function.__module__, function.__qualname__


def _find(address: Address) -> Any:
    module, name = address
    return getattr(importlib.import_module(module), name)


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run has ended: its failure, if any, and its follow-up jobs."""

    failure: Failure | None
    follow_ups: list[FollowUp]
    #: Whether memory has run out in it.
    exhausted: bool = False


def serve(connection: socket.socket, modules: list[str], levels: dict[str, int]) -> None:
    """Import the modules of all handlers, say so, and run jobs until the worker closes the connection."""
    heed_no_stop()
    worker = ToWorker(connection)
    logging.root.addHandler(worker)
    set_levels(levels)
    logging.captureWarnings(True)
    try:
        for module in modules:
            importlib.import_module(module)
    except BaseException:
        worker.send(Kind.UNFIT, traceback.format_exc(limit=-5).encode("utf-8", "backslashreplace"))
        raise SystemExit(1) from None
    _run_jobs(connection, worker)


def _run_jobs(connection: socket.socket, worker: ToWorker) -> None:
    surroundings, process = Surroundings(), os.getpid()
    worker.send(Kind.READY, b"")
    while (received := receive(connection)) is not None:
        ended = contextvars.copy_context().run(_perform, received[1])
        if os.getpid() != process:
            os._exit(0)  # A fork that has come back from the handler: the job is its parent's.
        with suppress(Exception):
            surroundings.restore()
        _flush()
        worker.send(Kind.ENDED, pickle.dumps((ended, memory())))
        del received, ended


def _perform(work: bytes) -> Ended:
    try:
        address, payload, ctx = pickle.loads(work)  # noqa: S301 - our own worker's
        return Ended(None, _call(address, payload, ctx))
    except BaseException as error:
        return Ended(_describe(error), [], exhausted=is_a(error, MemoryError))


def _call(address: HandlerAddress, payload: Any, ctx: JobContext) -> list[FollowUp]:
    try:
        refuse_unfinished(address.find()(payload, ctx))
    finally:
        ctx.end()
    if ctx.follow_ups:
        # What cannot be sent to the worker is the handler's fault, and would pass for a crash of the process.
        read_answer(pickle.dumps(ctx.follow_ups))
    return ctx.follow_ups or []


def _describe(error: BaseException) -> Failure:
    """A failure as text, without the frames that are the worker's own."""
    return Failure.of(error).with_stack(error, stack_from=without_own(error.__traceback__))


def _flush() -> None:
    """What a handler prints comes out before its job is said to be done."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()


def memory() -> int:
    """Bytes of memory that this process has; the most that it ever had, where the system tells no more."""
    try:
        return int(Path("/proc/self/statm").read_bytes().split()[1]) * resource.getpagesize()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
