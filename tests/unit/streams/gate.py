"""Jobs that end when the test says so, in a partition whose last owner has died."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from schemas.models.webhook import DeliverWebhook
from streams.api.context import JobContext
from streams.ports.records import PartitionStart, TopicPartition
from tests.unit.streams.rig import P0, Rig, rig, until


class Gate:
    """Lets its jobs go when the test says so: all of them, or some."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.running: set[str] = set()
        self.free: set[str] = set()
        self.go = asyncio.Event()

    async def __call__(self, job: DeliverWebhook, ctx: JobContext) -> None:
        self.started.append(job.event)
        self.running.add(job.event)
        try:
            await until(lambda: self.go.is_set() or job.event in self.free)
        finally:
            self.running.discard(job.event)


@asynccontextmanager
async def after_a_death(
    handler: Gate, metadata: str = "~1", *, commits: bool = True, concurrency: int = 100
) -> AsyncIterator[Rig]:
    """A rig whose partition's last owner died; with `commits`, what is named is committed at once."""
    async with rig(handler, concurrency=concurrency) as it:
        if commits:
            it.asked.on_commit_now = partial(commit_soon, it)
        it.open(P0, committed=PartitionStart(0, metadata, 0, 100))
        yield it


def commit_soon(it: Rig) -> None:
    asyncio.get_running_loop().call_soon(commit, it)


def commit(it: Rig) -> None:
    it.assignment.commits_acknowledged(it.assignment.collect_commits())


def noted(it: Rig, tp: TopicPartition = P0) -> str:
    """What the next commit of a partition says."""
    it.assignment.refresh()
    (metadata,) = [due.commit.metadata for due in it.assignment.collect_commits() if due.tp == tp]
    return metadata
