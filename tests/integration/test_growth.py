"""Queues whose topic grows: the topics beside it follow, and jobs that fail keep their partition."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._acl import AclBinding, AclOperation, AclPermissionType
from confluent_kafka.admin._resource import ResourcePatternType, ResourceType
from confluent_kafka.cimpl import NewPartitions, NewTopic

from schemas import Codec, shipped
from tests.brokers import Cluster, EmbeddedBroker
from tests.integration.conftest import Fleet
from tests.models.ordered import Step
from tests.models.trouble import Trouble
from tests.topics import Record, count, partitions, read_all
from tests.waiting import until
from tests.workers import START_SECONDS, Workers, describe

QUEUE = "trouble-loop"
#: Whose jobs are tried again.
FAILING = "failing"

#: A broker that asks who may do what, and lets everybody do what nobody has spoken of.
WITH_PERMISSIONS = """
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
allow.everyone.if.no.acl.found=true
"""

#: How long a worker may take to hear that a topic has grown. Seconds.
NOTICE_SECONDS = 60


def test_a_dead_letter_topic_that_is_too_small_is_grown_at_the_start(fleet: Fleet, kafka: str, namespace: str) -> None:
    queue, dead = f"{namespace}.{QUEUE}", f"{namespace}.{QUEUE}.dead"
    create(kafka, {queue: 4, dead: 2})
    (worker,) = fleet("tests.jobs.trouble").start()
    assert partitions(kafka, dead) == 4
    assert f"topic {dead} has 4 partitions now" in worker.output
    fail_on(kafka, queue, range(4))
    check_letters(await_letters(kafka, dead, 4), expected=4)


def test_a_dead_letter_topic_that_is_too_large_does_no_harm(fleet: Fleet, kafka: str, namespace: str) -> None:
    queue, dead = f"{namespace}.{QUEUE}", f"{namespace}.{QUEUE}.dead"
    create(kafka, {queue: 2, dead: 5})
    (worker,) = fleet("tests.jobs.trouble").start()
    assert partitions(kafka, dead) == 5
    assert f"{dead} has 5 partitions and {queue} has 2" in worker.output
    fail_on(kafka, queue, range(2))
    check_letters(await_letters(kafka, dead, 2), expected=2)


def test_a_retry_topic_that_is_too_large_is_refused(fleet: Fleet, kafka: str, namespace: str) -> None:
    """A partition of it is read with the queue's of the same number: jobs that are parked beyond would be lost."""
    queue, retry = f"{namespace}.{QUEUE}", f"{namespace}.{QUEUE}.retry"
    create(kafka, {queue: 2, retry: 3})
    workers = fleet("tests.jobs.trouble")
    refused = workers.launch()
    assert refused.wait(within=60) != 0, refused.output
    assert f"topic '{retry}' has 3 partitions and '{queue}' has 2" in refused.output
    assert "would never be read" in refused.output
    assert "--alter --partitions 3" in refused.output
    assert f"delete '{retry}' if it holds nothing unfinished" in refused.output
    # The remedy that it names.
    grow(kafka, queue, 3)
    workers.start()


def test_a_queue_that_grows_while_its_worker_runs(fleet: Fleet, kafka: str, namespace: str) -> None:
    queue, dead = f"{namespace}.{QUEUE}", f"{namespace}.{QUEUE}.dead"
    workers = fleet("tests.jobs.trouble")
    workers.start()
    # From here on the worker's own producer knows the topic, and how many partitions it has.
    fail_on(kafka, queue, range(2))
    await_letters(kafka, dead, 2)
    grow(kafka, queue, 5)
    until(lambda: assigned(workers, queue) == set(range(5)), within=NOTICE_SECONDS, what="the new partitions are read")
    for _ in range(4):
        fail_on(kafka, queue, range(5))
    check_letters(await_letters(kafka, dead, 22), expected=22)
    assert partitions(kafka, dead) == partitions(kafka, f"{queue}.retry") == 5
    workers.stop()


def test_a_job_of_a_new_partition_is_tried_again(fleet: Fleet, kafka: str, namespace: str) -> None:
    """Also when its worker has died meanwhile: the next one finds it parked."""
    queue, retry = f"{namespace}.{FAILING}", f"{namespace}.{FAILING}.retry"
    create(kafka, {queue: 2})
    workers = fleet("tests.jobs.failing", session_timeout=6, retry_hold=0)
    (first,) = workers.start()
    grow(kafka, queue, 4)
    until(lambda: assigned(workers, queue) == set(range(4)), within=NOTICE_SECONDS, what="the new partitions are read")
    jobs = {fail_often(kafka, queue, number, 1) for number in range(4)}
    workers.await_done(jobs, within=30)
    runs = workers.ledger.runs()
    assert sorted((run.job, run.attempt) for run in runs) == [(job, made) for job in sorted(jobs) for made in (0, 1)]
    assert partitions(kafka, retry) == 4
    assert {(record.partition, record.header("ce_id")) for record in read_all(kafka, retry)} == {
        (number, f"on-{number}-fails-1") for number in range(4)
    }
    parked = {fail_often(kafka, queue, number, 3) for number in range(4)}
    until(lambda: count(kafka, retry) >= 8, within=30, what="all are parked")
    workers.kill(first)
    workers.launch()
    workers.await_done(parked, within=60)
    workers.stop()
    assert {run.attempt for run in workers.ledger.runs() if run.job in parked} == set(range(4))
    assert partitions(kafka, retry) == 4


@pytest.fixture
def strict_broker(tmp_path: Path) -> Iterator[EmbeddedBroker]:
    """A broker of one's own that keeps permissions."""
    properties = tmp_path / "permissions.properties"
    properties.write_text(WITH_PERMISSIONS)
    with closing(EmbeddedBroker(f"--properties={properties}")) as broker:
        broker.start()
        yield broker


def test_a_worker_that_may_not_grow_a_topic(strict_broker: EmbeddedBroker, fleet: Fleet, namespace: str) -> None:
    """Any partition is better than none while it runs; it says what to do, and does not start like that."""
    kafka, queue, dead = strict_broker.bootstrap, f"{namespace}.{QUEUE}", f"{namespace}.{QUEUE}.dead"
    create(kafka, {queue: 2, dead: 2})
    allow(kafka, dead, AclOperation.READ, AclOperation.WRITE, AclOperation.DESCRIBE)
    workers = fleet("tests.jobs.trouble", bootstrap=kafka)
    (worker,) = workers.start()
    grow(kafka, queue, 4)
    until(lambda: assigned(workers, queue) == set(range(4)), within=NOTICE_SECONDS, what="the new partitions are read")
    fail_on(kafka, queue, range(4))
    letters = await_letters(kafka, dead, 4)
    assert {letter.header("job-origin") for letter in letters} == {f"{queue}/{number}/0" for number in range(4)}
    assert f"{dead} lacks partition 3, and cannot be given it" in worker.output
    worker.stop()
    refused = workers.launch()
    assert refused.wait(within=30) != 0, refused.output
    assert f"topic '{dead}' has 2 partitions and '{queue}' has 4, and the cluster adds none" in refused.output
    assert "--alter --partitions 4" in refused.output


def test_a_start_waits_for_a_cluster_that_is_not_complete_yet(fleet: Fleet, namespace: str) -> None:
    """Each partition is to have a copy on three brokers, of which the last one starts after the worker."""
    with closing(Cluster()) as cluster:
        *two, last = cluster.nodes
        with ThreadPoolExecutor(len(two)) as threads:
            list(threads.map(EmbeddedBroker.start, two))
        workers = fleet("tests.jobs.trouble", bootstrap=cluster.bootstrap, replication_factor=3)
        worker = workers.launch()
        waits = "the cluster cannot change topic .* just now, waiting for up to 60 s: .*only 2 broker"
        until(lambda: worker.count(waits) >= 1, within=START_SECONDS, what=worker.tail)
        last.start()
        until(lambda: worker.count("Ready") == 1, within=60, what=worker.tail)
        workers.stop()


def allow(bootstrap: str, topic: str, *operations: AclOperation) -> None:
    """Let everybody do this with a topic, and nothing else."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    rules = [
        AclBinding(ResourceType.TOPIC, topic, ResourcePatternType.LITERAL, "User:ANONYMOUS", "*", operation,
                   AclPermissionType.ALLOW)
        for operation in operations
    ]  # fmt: skip
    for allowed in admin.create_acls(rules).values():
        allowed.result(timeout=30)


def create(bootstrap: str, topics: dict[str, int]) -> None:
    """Create topics, before a worker does."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for created in admin.create_topics([NewTopic(name, number) for name, number in topics.items()]).values():
        created.result(timeout=30)


def grow(bootstrap: str, topic: str, number: int) -> None:
    """Add partitions to a topic, up to a number."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    (grown,) = admin.create_partitions([NewPartitions(topic, number)]).values()
    grown.result(timeout=30)


def assigned(workers: Workers, queue: str) -> set[int]:
    """The partitions of a queue that some worker has."""
    members = describe(workers.bootstrap, workers.group).values()
    return {number for mine in members for topic, number in mine if topic == queue}


def fail_on(bootstrap: str, queue: str, numbers: Iterable[int]) -> None:
    """Publish a job that fails on each of some partitions."""
    value = Codec(shipped()).encode(Trouble(how="raise"), queue)
    producer = Producer({"bootstrap.servers": bootstrap, "log_level": 0})
    for number in numbers:
        producer.produce(queue, value, b"key", partition=number)
    assert producer.flush(30) == 0


def fail_often(bootstrap: str, queue: str, number: int, fails: int) -> str:
    """Publish a job that fails so often on one partition; returns its id."""
    job = f"on-{number}-fails-{fails}"
    value = Codec(shipped()).encode(Step(seq=0, seconds=0.0), queue)
    headers: dict[str, str | bytes | None] = {"ce_id": job, "fails": str(fails)}
    producer = Producer({"bootstrap.servers": bootstrap, "log_level": 0})
    producer.produce(queue, value, job.encode(), partition=number, headers=headers)
    assert producer.flush(30) == 0
    return job


def await_letters(bootstrap: str, dead: str, number: int) -> list[Record]:
    """The dead letters, when there are so many."""
    until(lambda: count(bootstrap, dead) >= number, within=30, what=f"{number} dead letters")
    return read_all(bootstrap, dead)


def check_letters(letters: list[Record], *, expected: int) -> None:
    """Each job has one letter, on its own partition."""
    origins = [letter.header("job-origin") or "" for letter in letters]
    assert len(set(origins)) == len(letters) == expected
    assert [letter.partition for letter in letters] == [int(origin.rsplit("/", 2)[1]) for origin in origins]
