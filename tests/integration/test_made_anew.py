"""Topics that are deleted and made anew under their names while a worker runs, stands still, is full, or is away."""

from __future__ import annotations

from tests.integration.conftest import Fleet
from tests.publishing import Steps
from tests.topics import count, delete, lag, make_anew, partitions
from tests.waiting import until
from tests.workers import Workers


def test_a_queue_made_anew_is_read_whole_whatever_its_worker_did_meanwhile(
    fleet: Fleet, kafka: str, namespace: str
) -> None:
    """Each log outgrows the one before it, so that by its offsets it could be the same."""
    workers = fleet("tests.jobs.ordered")
    (worker,) = workers.start()
    topic = f"{namespace}.ordered"
    publish(workers, kafka, namespace, 60)
    # It stands still.
    worker.freeze()
    make_anew(kafka, topic)
    frozen = published(kafka, namespace, 200)
    worker.thaw()
    workers.await_done(frozen, within=60)
    assert worker.count("made anew") >= 1, worker.tail()
    # It is away.
    worker.stop()
    make_anew(kafka, topic)
    away = published(kafka, namespace, 500)
    (worker,) = workers.start()
    workers.await_done(away, within=60)
    # It runs.
    make_anew(kafka, topic)
    running = published(kafka, namespace, 900)
    workers.await_done(running, within=60)
    # It holds as much as it may, and reads nothing.
    worker.stop()
    (worker,) = workers.start(buffer_jobs=24, concurrency=2)
    held = published(kafka, namespace, 1500, seconds=0.5)
    until(lambda: held & workers.ledger.started, within=30, what="it is full")
    make_anew(kafka, topic)
    full = published(kafka, namespace, 2500)
    workers.await_done(full, within=90)
    worker.stop()
    runs = workers.ledger.runs()
    assert all(runs_of_one == 1 for runs_of_one in counted([run.job for run in runs if run.job in full])), "each once"


def counted(jobs: list[str]) -> list[int]:
    return [jobs.count(job) for job in set(jobs)]


def published(kafka: str, namespace: str, number: int, seconds: float = 0.0) -> set[str]:
    with Steps(kafka, namespace) as steps:
        for each in range(number):
            steps.publish(f"key-{each % 50}", seconds, queue="ordered")
    return steps.ids


def publish(workers: object, kafka: str, namespace: str, number: int) -> None:
    """Publish jobs, and wait until they are done."""
    workers.await_done(published(kafka, namespace, number), within=30)  # type: ignore[attr-defined]


def test_a_retry_topic_made_anew_is_read_whole(fleet: Fleet, kafka: str, namespace: str) -> None:
    workers = fleet("tests.jobs.failing")
    (worker,) = workers.start()
    with Steps(kafka, namespace) as steps:
        gone = {steps.publish(f"gone-{number}", 0, queue="failing", says="retry later") for number in range(60)}
        until(lambda: gone <= {run.job for run in workers.ledger.runs() if run.failed}, within=30, what="parked")
        steps.flush()
        make_anew(kafka, f"{namespace}.failing.retry")
        later = {steps.publish(f"later-{number}", 0, queue="failing", fails=2) for number in range(150)}
    workers.await_done(later, within=60)
    assert worker.count("Traceback") == 0, worker.tail()
    workers.stop()
    workers.start()
    with Steps(kafka, namespace) as steps:
        after = {steps.publish(f"after-{number}", 0, queue="failing", fails=1) for number in range(30)}
    workers.await_done(after, within=60)
    workers.stop()
    assert not {run.job for run in workers.ledger.runs()} - gone - later - after


def test_a_deleted_queue_holds_no_other_back(fleet: Fleet, kafka: str, namespace: str) -> None:
    workers = fleet("tests.jobs.failing,tests.jobs.ordered")
    (worker,) = workers.start()
    publish(workers, kafka, namespace, 60)
    with Steps(kafka, namespace) as steps:
        steps.publish("a", 0, queue="failing")
    workers.await_done(steps.ids, within=30)
    delete(kafka, f"{namespace}.failing")
    until(lambda: worker.count("failing is not there any more") == 1, within=30, what=worker.tail)
    others = published(kafka, namespace, 120)
    workers.await_done(others, within=30)
    queue = f"{namespace}.ordered"
    until(lambda: lag(kafka, workers.group, queue) == 0, within=30, what="what was done is committed")
    worker.kill()
    (worker,) = workers.start()
    workers.stop()
    runs = [run.job for run in workers.ledger.runs()]
    assert len(runs) == len(set(runs)), "what was committed does not run again"


def publish_to_failing(workers: Workers, kafka: str, namespace: str) -> None:
    """Have a job done in each partition: then all of them are open."""
    with Steps(kafka, namespace) as steps:
        first = {steps.publish(f"first-{number}", 0, queue="failing") for number in range(60)}
    workers.await_done(first, within=60)


def test_topics_beside_a_queue_are_made_anew_when_they_are_needed(fleet: Fleet, kafka: str, namespace: str) -> None:
    workers = fleet("tests.jobs.failing")
    (worker,) = workers.start()
    beside = [f"{namespace}.failing.{suffix}" for suffix in ("retry", "dead")]
    publish_to_failing(workers, kafka, namespace)
    for topic in beside:
        delete(kafka, topic)
    with Steps(kafka, namespace) as steps:
        again = {steps.publish(f"again-{number}", 0, queue="failing", fails=1) for number in range(20)}
        hopeless = {steps.publish(f"hopeless-{number}", 0, queue="failing", fails=9) for number in range(3)}
    workers.await_done(again, within=60)
    until(lambda: count(kafka, beside[1]) == len(hopeless), within=60, what=worker.tail)
    assert [partitions(kafka, topic) for topic in beside] == [6, 6]
    for topic in beside:
        assert worker.count(rf"there is no topic {topic}: it was deleted, and is made anew"), worker.tail()
    worker.stop()
