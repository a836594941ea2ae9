"""Dead letters for tests, written as a worker writes them, and the commands that an operator types about them."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from producers import ProducerSettings
from schemas import Codec, Origin, shipped
from schemas.headers import build, shared_headers, with_failure
from streams.dead import DeadLetters, Filters
from streams.settings import Settings
from tests.models.ordered import Step
from tests.topics import Headers, Record, read_all
from tests.workers import ROOT

CODEC = Codec(shipped())
FAUST = str(Path(sys.executable).with_name("faust"))


class Morgue:
    """The topics of one queue, made for one test, with what lies in them."""

    def __init__(self, bootstrap: str, namespace: str, queue: str = "ordered") -> None:
        self.bootstrap = bootstrap
        self.queue = queue
        self.settings = Settings(
            namespace=namespace,
            producer=ProducerSettings(bootstrap_servers=bootstrap, namespace=namespace),
        )
        self.topic = self.settings.topic(queue)
        self.dead = self.settings.topics(queue).dead
        # Without idempotence a request that a topic which has just been made refuses is sent again behind later ones.
        self._producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True, "log_level": 0})

    def create(
        self, partitions: int = 2, dead_partitions: int | None = None, config: dict[str, str] | None = None
    ) -> Morgue:
        """Make the topics; returns itself."""
        admin = AdminClient({"bootstrap.servers": self.bootstrap})
        topics = [
            NewTopic(self.topic, partitions, config=config or {}),
            NewTopic(self.dead, dead_partitions or partitions, config={"retention.ms": str(90 * 86_400_000)}),
        ]
        for done in admin.create_topics(topics).values():
            done.result(timeout=30)
        return self

    def bury(self, job: str, *, seq: int = 0, at: int | None = None, partition: int = 0, **failure: Any) -> None:
        """Write the letter of a step, published at offset `at`, or else `seq`; see letter_headers. `flush` delivers."""
        value = failure.pop("value", None) or CODEC.encode(Step(seq=seq, seconds=0.0), "any")
        key = failure.pop("key", b"k")
        origin = Origin(self.topic, partition, seq if at is None else at)
        self.write(value, key, letter_headers(job, origin, **failure), partition)

    def write(self, value: bytes | None, key: bytes | None, headers: Headers, partition: int = 0) -> None:
        """Write a record to the dead-letter topic."""
        self._producer.produce(self.dead, value, key, partition, headers=list(headers))
        self._producer.poll(0)

    def flush(self) -> None:
        assert self._producer.flush(30) == 0

    def open(self) -> DeadLetters:
        """The project's own view of it."""
        return DeadLetters(self.settings, self.queue, CODEC)

    def returned(self) -> list[Record]:
        """What lies on the queue's topic."""
        return read_all(self.bootstrap, self.topic)

    def returned_ids(self) -> list[str | None]:
        return [record.header("ce_id") for record in self.returned()]

    def left(self) -> list[str]:
        """Ids of the letters that are not handled."""
        with self.open() as letters:
            return [letter.id for letter in letters.find()]

    def notes(self) -> list[tuple[int, str | None]]:
        """What is committed for each partition."""
        with self.open() as letters:
            return asyncio.run(self._notes(letters.group))

    async def _notes(self, group: str) -> list[tuple[int, str | None]]:
        # confluent-kafka now and then reads metadata past its end, and fails on what it finds there.
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        await admin.start()
        try:
            found = await admin.list_consumer_group_offsets(group)
        finally:
            await admin.close()
        return [(place.offset, place.metadata) for _, place in sorted(found.items())]

    def command(self, *arguments: str, **variables: str) -> subprocess.Popen[str]:
        """Start `faust -A streams dead`, without a terminal."""
        settings = {"KAFKA_BOOTSTRAP_SERVERS": self.bootstrap, "STREAMS_NAMESPACE": self.settings.namespace,
                    "STREAMS_JOBS": "tests.jobs.ordered", "STREAMS_SHIPPED_JOBS": "false",
                    "PYTHONPATH": str(ROOT), "COLUMNS": "200"}  # fmt: skip
        return subprocess.Popen(
            [FAUST, "-A", "streams", "dead", *arguments], cwd=ROOT, env=os.environ | settings | variables, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def run(self, *arguments: str, code: int = 0, **variables: str) -> str:
        """Run a command to its end; returns what it printed, to stderr last."""
        process = self.command(*arguments, **variables)
        printed, complained = process.communicate(timeout=120)
        assert process.returncode == code, printed + complained
        return printed + complained


def letter_headers(
    job: str,
    origin: Origin,
    *,
    error: str = "ValueError",
    message: str = "no luck",
    failed_at: int | None = None,
    job_type: str = "tests.ordered.Step",
    extra: Iterable[tuple[str, bytes]] = (),
) -> Headers:
    """The headers of a job that has failed."""
    now = int(time.time() * 1000) if failed_at is None else failed_at
    return with_failure(
        [*build(shared_headers(job_type, "test"), job, now), *extra],
        origin=origin, error_type=error, error_message=message, error_stack="Traceback", now_ms=now, attempt=3,
    )  # fmt: skip


def buried(morgue: Morgue, jobs: int) -> list[str]:
    """That many letters, of four keys, half of them on each partition; returns their ids by partition."""
    for number in range(jobs):
        morgue.bury(f"job-{number}", seq=number, partition=number % 2, key=f"key-{number % 4}".encode())
    morgue.flush()
    return [f"job-{number}" for half in (0, 1) for number in range(half, jobs, 2)]


def deal_with(
    letters: DeadLetters,
    filters: Filters | None = None,
    *,
    chunk: int = 500,
    expired: bool = False,
    limit: int | None = None,
) -> int:
    """Redrive, to the end; returns how many were sent."""
    plan = letters.plan_redrive(filters, expired=expired, limit=limit)
    return sum(step.sent for step in letters.redrive(plan, chunk=chunk))
