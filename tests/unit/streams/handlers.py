"""Handlers that another process can import."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from schemas.models.webhook import DeliverWebhook
from streams.context import JobContext


class Odd(Exception):
    """Cannot be sent to another process, nor printed."""

    def __init__(self) -> None:
        super().__init__(lambda: None)

    def __str__(self) -> str:
        raise ValueError("no words")


def work(job: DeliverWebhook, ctx: JobContext) -> None:
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
        "pid": lambda: Path(job.url).write_text(f"{os.getpid()} {ctx.id} {ctx.key}"),
        "publish": lambda: ctx.publish(DeliverWebhook(url=job.url, event="next", body=""), id="n", key="k"),
        "publish what cannot be pickled": lambda: ctx.publish(lambda: None),
        "publish and raise": lambda: publish_and_raise(job, ctx),
    }
    deeds[job.event]()


def raise_(error: Exception) -> None:
    raise error


def publish_and_raise(job: DeliverWebhook, ctx: JobContext) -> None:
    ctx.publish(job)
    raise ValueError("after all")
