"""Handlers that end badly in every way: a dead letter with the right reason, and the worker goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from producers import JobProducer, ProducerSettings
from tests.integration.conftest import Fleet
from tests.models.trouble import Trouble
from tests.topics import Record, count, read_all
from tests.waiting import until

TIMED_OUT = "streams.errors.JobTimeout"
CRASHED = "streams.errors.HandlerCrashed"
CANCELLED = "asyncio.exceptions.CancelledError"
UNLUCKY = "tests.jobs.trouble.Unlucky"

#: By queue and way to end: the error's type, and words of its message.
EXPECTED = {
    "trouble-loop": {
        "raise": (UNLUCKY, "no luck with this one"),
        "sys.exit": ("SystemExit", "3"),
        "interrupt": ("KeyboardInterrupt", "KeyboardInterrupt"),
        "cancel": (CANCELLED, "its own idea"),
        "hang": (TIMED_OUT, "longer than"),
        "hang on": (TIMED_OUT, "longer than its timeout of 1 s"),
        "exit beside": ("streams.errors.HandlerExited", "SystemExit(3)"),
        "fail, cancelled": (UNLUCKY, "and its task is cancelled"),
        "expire": ("streams.errors.JobExpired", "expired"),
    },
    "trouble-thread": {
        "raise": (UNLUCKY, "no luck with this one"),
        "sys.exit": ("SystemExit", "3"),
        "interrupt": ("KeyboardInterrupt", "KeyboardInterrupt"),
        "cancel": (CANCELLED, "its own idea"),
        "hang": (TIMED_OUT, "longer than"),
    },
    "trouble-process": {
        "raise": (UNLUCKY, "no luck with this one"),
        "sys.exit": ("SystemExit", "3"),
        "interrupt": ("KeyboardInterrupt", "KeyboardInterrupt"),
        "cancel": (CANCELLED, "its own idea"),
        "hang": (TIMED_OUT, "killed"),
        "os._exit": (CRASHED, "7"),
        "segfault": (CRASHED, "SIGSEGV"),
    },
}
KEY = "the same lane for all"


def test_handlers_that_end_badly(fleet: Fleet, kafka: str, namespace: str, show: Callable[[str], None]) -> None:
    workers = fleet("tests.jobs.trouble")
    (worker,) = workers.start()
    with JobProducer(ProducerSettings(bootstrap_servers=kafka, namespace=namespace)) as producer:
        for queue, ways in EXPECTED.items():
            _publish(producer, queue, ways)
    good = {f"after-good-{queue}-{way}" for queue, ways in EXPECTED.items() for way in ways}
    workers.await_done(good, within=90)
    for queue, ways in EXPECTED.items():
        topic = f"{namespace}.{queue}.dead"
        until(lambda: count(kafka, topic) >= len(ways), within=30, what="all dead letters")  # noqa: B023
    assert worker.running
    workers.stop()
    for queue, ways in EXPECTED.items():
        letters = read_all(kafka, f"{namespace}.{queue}.dead")
        assert [letter.header("ce_id") for letter in letters] == [f"bad-{queue}-{way}" for way in ways], "one each"
        for letter, reason in zip(letters, ways.values(), strict=True):
            _check(letter, *reason)
        show(f"{queue}: {len(letters)} ways to fail, each a dead letter with its reason")
    assert sorted(run.job for run in workers.ledger.runs()) == sorted(good)
    _check_follow_ups(read_all(kafka, f"{namespace}.follow-ups"), good)


def _publish(producer: JobProducer, queue: str, ways: Iterable[str]) -> None:
    """A job for every way, and a good one behind it in the same lane; each would publish a follow-up."""
    for way in ways:
        for prefix, how in (("bad", way), ("good", "return")):
            producer.publish(
                Trouble(how=how, follow_up=True),
                key=KEY,
                queue=queue,
                id=f"{prefix}-{queue}-{way}",
                expires_in=0.001 if how == "expire" else None,
            )


def _check_follow_ups(records: list[Record], expected: set[str]) -> None:
    """Only jobs that succeeded have published theirs, once, and each names its parent."""
    assert sorted(record.header("ce_id") or "" for record in records) == sorted(expected)
    for record in records:
        assert record.header("ce_id") == f"after-{record.header('job-parent')}"
        assert record.header("ce_type") == "tests.ordered.Step"


def _check(letter: Record, error_type: str, words: str) -> None:
    about = (letter.header("ce_id"), letter.header("job-error-message"))
    assert letter.header("job-error-type") == error_type, about
    assert words in (letter.header("job-error-message") or ""), about
    assert letter.key == KEY.encode()
    assert letter.header("job-error-stack"), about
    if "no luck" in words:
        assert "in _raise" in (letter.header("job-error-stack") or ""), "the stack leads to the handler's own line"
