"""Handlers that another process can import."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from schemas.models.webhook import DeliverWebhook
from streams.api.context import JobContext


class Odd(Exception):
    """Cannot be sent to another process, nor printed."""

    def __init__(self) -> None:
        super().__init__(lambda: None)

    def __str__(self) -> str:
        raise ValueError("no words")


@contextmanager
def noting(job: DeliverWebhook, ctx: JobContext) -> Iterator[None]:
    """Note where a run begins and ends, and how."""
    note = Path(f"{job.url}-{ctx.id}")
    note.write_text(f"{os.getpid()}")
    try:
        yield
    except ValueError as error:
        note.write_text(f"{os.getpid()} raised {error}")
        raise
    else:
        note.write_text(f"{os.getpid()} returned")


def work(job: DeliverWebhook, ctx: JobContext) -> object:
    """Do what the event says."""
    deeds: dict[str, Callable[[], object]] = {
        "return": lambda: None,
        "raise": lambda: raise_(ValueError("no such file")),
        "odd": lambda: raise_(Odd()),
        "exit": lambda: sys.exit(3),
        "_exit": lambda: os._exit(7),
        "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
        "segfault": lambda: os.kill(os.getpid(), signal.SIGSEGV),
        "real-time signal": lambda: os.kill(os.getpid(), 40),
        "sleep": lambda: time.sleep(60),
        "start programs": lambda: start_programs(job.url),
        "leave a program": lambda: start_programs(job.url, wait=False),
        "stop signals": lambda: send_stop_signals(job.url),
        "memory": lambda: kept.append(b"." * 30_000_000),
        "MemoryError": lambda: raise_(MemoryError()),
        "change everything": change_everything,
        "tell everything": lambda: Path(job.url).write_text(repr(surroundings())),
        "come back from a fork": lambda: os.fork() or None,
        "log": lambda: log(ctx),
        "log a lot": lambda: log_a_lot(ctx, Path(job.url)),
        "sleep a second": lambda: time.sleep(1),
        "return work undone": lambda: (number for number in range(3)),
        "note and wait": lambda: note_and_wait(Path(job.url)),
        "note and return": lambda: Path(job.url).touch(),
        "pid": lambda: Path(job.url).write_text(f"{os.getpid()} {ctx.id} {ctx.key}"),
        "publish": lambda: ctx.publish(DeliverWebhook(url=job.url, event="next", body=""), id="n", key="k"),
        "publish what cannot be pickled": lambda: ctx.publish(lambda: None),
        "publish and raise": lambda: publish_and_raise(job, ctx),
    }
    return deeds[job.event]()


kept: list[bytes] = []

here: ContextVar[str] = ContextVar("here", default="clean")


class Unspeakable:
    def __str__(self) -> str:
        raise ValueError("no words")

    __repr__ = __str__


def log_a_lot(ctx: JobContext, note: Path) -> None:
    """Log more than the worker takes while its loop stands still; note the end of it."""
    for number in range(5000):
        ctx.logger.info("%d %s", number, "x" * 1000)
    note.touch()


def log(ctx: JobContext) -> None:
    """Log in every way there is."""
    ctx.logger.info("told by %s", "ctx")
    logging.getLogger("my.module").debug("too fine")
    logging.getLogger("my.module").warning("100 % %d")
    logging.getLogger("my.module").info("bad %d", "number")
    logging.getLogger("my.module").info("%s", Unspeakable(), extra={"it": Unspeakable(), "number": 7})
    warnings.warn("on thin ice", stacklevel=1)
    try:
        raise_(KeyError("lost"))
    except KeyError:
        logging.getLogger("my.module").exception("caught")


def start_programs(url: str, *, wait: bool = True) -> None:
    """Start a program, one that leaves group, session and parent, and one of a program's own; note their numbers."""
    numbers = [subprocess.Popen(["sleep", "600"]).pid]
    script = 'sleep 600 & echo $! >> "$0"; setsid sh -c \'sleep 600 & echo $! >> "$0"\' "$0"'
    subprocess.run(["sh", "-c", script, f"{url}.new"], check=True)
    with Path(f"{url}.new").open("a") as note:
        print(*numbers, os.getpid(), sep="\n", file=note)
    Path(f"{url}.new").rename(url)
    if wait:
        time.sleep(60)


def send_stop_signals(url: str) -> None:
    """Be sent what stops a service, as may a program of the handler's."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(os.getpid(), number)
    program = subprocess.Popen(["sleep", "600"])
    program.terminate()
    fork = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,))
    fork.start()
    fork.terminate()
    fork.join()
    Path(url).write_text(f"{os.getpgid(0)} {program.wait()} {fork.exitcode}")


def change_everything() -> None:
    """Change what can be changed of a process."""
    os.chdir("/")
    os.environ["LEFT_BEHIND"] = "1"
    os.umask(0o777)
    signal.alarm(1)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    here.set("dirty")


def surroundings() -> list[object]:
    """What `change_everything` changes."""
    umask = os.umask(0)
    os.umask(umask)
    return [str(Path.cwd()), os.environ.get("LEFT_BEHIND"), umask, signal.alarm(0),
            signal.pthread_sigmask(signal.SIG_BLOCK, []), signal.getsignal(signal.SIGTERM) == signal.SIG_DFL,
            here.get()]  # fmt: skip


def note_and_wait(note: Path) -> None:
    """Tell which process runs this, and wait."""
    note.with_suffix(".new").write_text(str(os.getpid()))
    note.with_suffix(".new").rename(note)
    time.sleep(60)


def raise_(error: Exception) -> None:
    raise error


def publish_and_raise(job: DeliverWebhook, ctx: JobContext) -> None:
    ctx.publish(job)
    raise ValueError("after all")
