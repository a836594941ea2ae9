"""A log that a broker hands out damaged: its partition waits, nothing is skipped, and all others go on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.brokers.embedded import EmbeddedBroker
from tests.integration.conftest import Fleet
from tests.ledger_rules import inversions
from tests.publishing import Steps
from tests.topics import read_all
from tests.waiting import until
from tests.workers import Worker, Workers

QUEUE, PARTITIONS = "failing", 6


@pytest.fixture
def broker() -> Iterator[EmbeddedBroker]:
    """A broker whose files can be got at, whatever the other tests run on."""
    with closing(EmbeddedBroker()) as broker:
        broker.start()
        yield broker


def test_a_partition_that_cannot_be_read(fleet: Fleet, broker: EmbeddedBroker, namespace: str) -> None:
    workers = fleet("tests.jobs.failing", bootstrap=broker.bootstrap)
    topic = f"{namespace}.{QUEUE}"
    workers.start()
    with Steps(broker.bootstrap, namespace) as steps:
        publish(workers, steps, "before")
        workers.stop()
        # While nobody reads them.
        for number in range(60):
            steps.publish(f"key-{number}", 0, queue=QUEUE)
        steps.flush()
        until(lambda: len(read_all(broker.bootstrap, topic)) == len(steps.ids), within=20, what="all are in the log")
        held = {record.header("ce_id") for record in read_all(broker.bootstrap, topic) if record.partition == 0}
        with damaged(broker.data, topic, 0):
            workers.start(2)
            workers.await_done({job for job in steps.ids if job not in held}, within=60)
            first = until(lambda: who_tells(workers, f"{topic}-0"), within=20, what="it is tried again, and told")
            # Its next owner finds the same.
            assert first is not None
            workers.kill(first)
            workers.launch()
            until(lambda: who_tells(workers, f"{topic}-0"), within=60, what="another tries it")
            assert len(workers.running) == 2
        workers.await_done(steps.ids, within=60)
    # One that has only just been started does not handle signals yet.
    workers.await_settled()
    workers.stop()
    assert not inversions(workers.ledger.runs())
    assert {run.job for run in workers.ledger.runs()} == steps.ids


def who_tells(workers: Workers, partition: str) -> Worker | None:
    """The running worker that has told more than once that it cannot read a partition."""
    told = [worker for worker in workers.running if worker.count(f"{partition} cannot be read from offset") > 1]
    return told[0] if told else None


def publish(workers: Workers, steps: Steps, key: str) -> None:
    workers.await_done({steps.publish(f"{key}-{number}", 0, queue=QUEUE) for number in range(60)}, within=30)


@contextmanager
def damaged(data: Path, topic: str, partition: int) -> Iterator[None]:
    """Until the end of the block the last record of a log is not what its checksum says."""
    (log,) = data.rglob(f"{topic}-{partition}/*.log")
    place = log.stat().st_size - 3
    _flip(log, place)
    yield
    _flip(log, place)


def _flip(file: Path, place: int) -> None:
    with file.open("r+b") as opened:
        opened.seek(place)
        (byte,) = opened.read(1)
        opened.seek(place)
        opened.write(bytes([byte ^ 0xFF]))
