"""Dead letters on a real broker: found, shown, sent back in order, noted, purged."""

from __future__ import annotations

import json
import random
from bisect import bisect_left
from collections import Counter
from contextlib import closing, suppress
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from schemas import Codec, Origin, Registry, RegistrySettings, shipped
from streams.core.offset_map import METADATA_LIMIT
from streams.dead import (
    DeadLetters,
    DeliveryStopped,
    FilterInvalid,
    Filters,
    MapFull,
    NotesUnreadable,
    SomebodyElse,
)
from streams.dead.dealt import Dealt
from streams.dead.notes import Notes
from streams.dead.pace import Pace
from tests.brokers import Broker
from tests.brokers.embedded import free_port
from tests.deads import CODEC, Morgue, letter_headers
from tests.integration.conftest import Fleet
from tests.ledger_rules import inversions, lost, overlaps, repeats
from tests.models.ordered import Step
from tests.models.trouble import Trouble
from tests.publishing import Steps
from tests.registries import RegistryServer
from tests.topics import count, read_all
from tests.waiting import until

HOUR = 3_600_000


@pytest.fixture
def morgue(kafka: str, namespace: str) -> Morgue:
    """The topics of a queue with two partitions."""
    return Morgue(kafka, namespace).create()


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


# -- finding


def test_every_filter(morgue: Morgue) -> None:
    trouble = CODEC.encode(Trouble(how="raise"), "any")
    morgue.bury("plain", failed_at=10 * HOUR)
    # What the value says counts, not what its publisher states.
    morgue.bury("typed", value=trouble, failed_at=11 * HOUR)
    morgue.bury("keyed", key=b"other", failed_at=12 * HOUR, partition=1)
    morgue.bury("named", error="shop.OutOfStock", failed_at=13 * HOUR, partition=1)
    morgue.bury("said", message="No more CHAIRS", failed_at=14 * HOUR, partition=1)
    morgue.flush()
    expected = {
        Filters(): ["plain", "typed", "keyed", "named", "said"],
        Filters(type="tests.trouble.Trouble"): ["typed"],
        Filters(key="other"): ["keyed"],
        Filters(error="outofstock"): ["named"],
        Filters(error="chairs"): ["said"],
        Filters(since=13 * HOUR): ["named", "said"],
        Filters(until=11 * HOUR): ["plain"],
        Filters(since=11 * HOUR, until=13 * HOUR): ["typed", "keyed"],
        Filters(id="said"): ["said"],
        Filters(partition=0): ["plain", "typed"],
        Filters(partition=1, offset=1): ["named"],
        Filters(partition=1, offset=9): [],
        Filters(key="other", partition=0): [],
    }
    with morgue.open() as letters:
        found = {filters: [letter.id for letter in letters.find(filters)] for filters in expected}
        assert found == expected
        assert [letter.id for letter in letters.find(limit=2)] == ["plain", "typed"]
        with pytest.raises(FilterInvalid, match="has no partition 2"):
            list(letters.find(Filters(partition=2)))


def test_the_commands_take_every_filter(morgue: Morgue) -> None:
    morgue.bury("old", failed_at=10 * HOUR)
    morgue.bury("new", key=b"\x1b[2J")
    morgue.flush()
    for arguments, found in (
        (["--since", "2h"], "new"),
        (["--until", "1970-01-01T11:00:00Z"], "old"),
        (["--key", "\\x1b[2J"], "new"),
        (["--type", "tests.ordered.Step", "--limit", "1"], "old"),
        (["--error", "NO LUCK", "--id", "old"], "old"),
        (["--partition", "0", "--offset", "1"], "new"),
    ):
        listed = morgue.run("list", "ordered", "--json", *arguments)
        assert [json.loads(line)["id"] for line in listed.splitlines()] == [found], arguments


def test_show_tells_everything(morgue: Morgue) -> None:
    morgue.bury("one", seq=7, extra=[("x-own", b"mine"), ("job-redrives", b"2")])
    morgue.bury("broken", value=b"\xff\x00junk", partition=1)
    morgue.flush()
    shown = json.loads(morgue.run("show", "ordered", "--id", "one", "--json"))
    assert shown["payload"] == {"seq": 7, "seconds": 0.0}
    assert (shown["attempts"], shown["redrives"], shown["error_stack"]) == (3, 2, "Traceback")
    assert shown["origin"] == f"{morgue.topic}/0/7"
    assert ["x-own", "mine"] in shown["headers"]
    text = morgue.run("show", "ordered", "--id", "one")
    for line in ('      "seq": 7,', "attempts      3", "key           k", "    x-own: mine", "    Traceback"):
        assert line in text.splitlines()
    broken = morgue.run("show", "ordered", "--partition", "1")
    assert "cannot be decoded: UnknownFraming" in broken
    assert "6 bytes: ff 00 6a 75 6e 6b" in broken


def test_what_cannot_be_done_is_said(morgue: Morgue) -> None:
    buried(morgue, 2)
    assert f"no queue 'nope' with dead letters in namespace '{morgue.settings.namespace}'; its queues: ordered" in (
        morgue.run("list", "nope", code=2)
    )
    assert "expected letters" in morgue.run("list", "a b", code=2)
    assert "there are no dead letters that match" in morgue.run("list", "ordered", "--id", "nobody")
    for command in ("show", "redrive", "purge"):
        assert "there are no dead letters that match" in morgue.run(command, "ordered", "--id", "nobody", code=1)
    assert "name the partition" in morgue.run("redrive", "ordered", "--offset", "1", code=2)
    assert "is no time" in morgue.run("list", "ordered", "--since", "soon", code=2)
    for command in ("redrive", "purge"):
        assert "say --yes" in morgue.run(command, "ordered", code=2), "nobody is there to be asked"
    assert morgue.left() == ["job-0", "job-1"]


def test_no_broker(namespace: str) -> None:
    nobody = Morgue(f"127.0.0.1:{free_port()}", namespace)
    assert f"no Kafka broker answers at {nobody.bootstrap}" in nobody.run("list", "ordered", code=2)


# -- sending back


def test_what_a_worker_buried_runs_in_order_when_it_is_sent_back(fleet: Fleet, kafka: str, namespace: str) -> None:
    workers = fleet("tests.jobs.healing")
    (worker,) = workers.start()
    with Steps(kafka, namespace) as steps:
        for number in range(120):
            steps.publish(f"key-{number % 7}", 0.0, queue="healing")
    published = {record.header("ce_id"): record for record in read_all(kafka, f"{namespace}.healing")}
    until(lambda: count(kafka, f"{namespace}.healing.dead") >= 120, within=60, what="120 dead letters")
    worker.stop()
    morgue = Morgue(kafka, namespace, "healing")
    assert "120 dead letters sent back" in morgue.run("redrive", "healing", "--yes")
    workers.start(test_healed=1)
    workers.await_done({f"{job} after 0" for job in steps.ids}, within=60)
    workers.stop()
    runs = workers.ledger.runs()
    assert not lost({f"{job} after 0" for job in steps.ids}, runs)
    assert not repeats(runs)
    assert not inversions(runs)
    assert not overlaps(runs)
    sent_back = [record for record in morgue.returned() if record.header("job-redrives") == "1"]
    assert len(sent_back) == 120
    for back in sent_back:
        first = published[back.header("ce_id")]
        assert (back.key, back.value, back.partition) == (first.key, first.value, first.partition)
        assert back.header("job-origin") == f"{morgue.topic}/{first.partition}/{first.offset}"
        assert {name for name, _ in back.headers} - {name for name, _ in first.headers} == {
            "job-origin",
            "job-redrives",
        }
    assert morgue.left() == []


def test_letters_in_another_order_go_back_in_publication_order(fleet: Fleet, morgue: Morgue) -> None:
    numbers = list(range(400))
    random.Random(3).shuffle(numbers)
    for number in numbers:
        lane = f"key-{number % 10}".encode()
        morgue.bury(f"job-{number}", seq=number // 10, at=number, partition=number % 2, key=lane)
    morgue.flush()
    with morgue.open() as letters:
        assert deal_with(letters, chunk=32) == 400
    for key in {record.key for record in morgue.returned()}:
        origins = [
            int((each.header("job-origin") or "").split("/")[2]) for each in morgue.returned() if each.key == key
        ]
        assert origins == sorted(origins)
    workers = fleet("tests.jobs.ordered")
    workers.start()
    workers.await_done({f"job-{number}" for number in numbers}, within=60)
    workers.stop()
    assert not inversions(workers.ledger.runs())
    assert not overlaps(workers.ledger.runs())


def test_a_dry_run_changes_nothing(morgue: Morgue) -> None:
    ids = buried(morgue, 30)
    notes = morgue.notes()
    for command, does in (("redrive", "would go back"), ("purge", "would be purged")):
        said = morgue.run(command, "ordered", "--dry-run")
        assert f"30 dead letters {does}" in said
        assert "job-0 (0/0)" in said
        assert "and 10 more" in said
    assert morgue.notes() == notes
    assert morgue.returned() == []
    assert morgue.left() == ids
    assert len(read_all(morgue.bootstrap, morgue.dead)) == 30


def test_some_go_back_and_the_others_stay(morgue: Morgue) -> None:
    ids = buried(morgue, 40)
    with morgue.open() as letters:
        assert deal_with(letters, Filters(key="key-1")) == 10
        assert deal_with(letters, Filters(id="job-8")) == 1
        assert deal_with(letters, Filters(partition=0, offset=0)) == 1
        assert deal_with(letters, Filters(key="key-2"), limit=3) == 3
        gone = {"job-8", "job-0", "job-2", "job-6", "job-10"} | {f"job-{number}" for number in range(1, 40, 4)}
        assert [letter.id for letter in letters.find()] == [job for job in ids if job not in gone]
        assert {letter.id for letter in letters.find(dealt=True) if letter.dealt} == gone
        assert deal_with(letters, Filters(id="job-8")) == 0, "it is dealt with"
    assert set(morgue.returned_ids()) == gone
    assert "redriven or purged" in morgue.run("redrive", "ordered", "--id", "job-8", code=1)
    assert "dealt with    yes" in morgue.run("show", "ordered", "--id", "job-8")


def test_redrives_are_capped(morgue: Morgue) -> None:
    for redrives in (0, 1, 9, 10, 11):
        morgue.bury(f"after-{redrives}", extra=[("job-redrives", str(redrives).encode())])
    morgue.flush()
    said = morgue.run("redrive", "ordered", "--yes", "--max-redrives", "2")
    assert "skipped, redriven 9 times, of at most 2: after-9 (0/2)" in said
    assert morgue.returned_ids() == ["after-0", "after-1"]
    assert [record.header("job-redrives") for record in morgue.returned()] == ["1", "2"]
    with morgue.open() as letters:
        plan = letters.plan_redrive()
        assert plan.count == 1
        assert {each.id: each.reason for each in plan.skipped} == {
            "after-10": "redriven 10 times, of at most 10", "after-11": "redriven 11 times, of at most 10",
        }  # fmt: skip
    assert "nothing to redrive" in morgue.run("redrive", "ordered", "--id", "after-11", code=1)


def test_expired_jobs_go_back_only_when_asked_for(morgue: Morgue) -> None:
    far = str(10**15).encode()
    morgue.bury("late", extra=[("job-expires-at", b"1000")])
    morgue.bury("in time", extra=[("job-expires-at", far)])
    morgue.flush()
    assert "skipped, expired: late (0/0)" in morgue.run("redrive", "ordered", "--yes")
    assert morgue.returned_ids() == ["in time"]
    with morgue.open() as letters:
        assert deal_with(letters, expired=True) == 1
    assert [(each.header("ce_id"), each.header("job-expires-at")) for each in morgue.returned()] == [
        ("in time", far.decode()),
        ("late", None),
    ]


def test_a_time_to_expire_outlasts_a_redrive_of_expired_ones(morgue: Morgue) -> None:
    morgue.bury("in time", extra=[("job-expires-at", str(10**15).encode())])
    morgue.flush()
    with morgue.open() as letters:
        assert deal_with(letters, expired=True) == 1
    assert [record.header("job-expires-at") for record in morgue.returned()] == [str(10**15)]


def test_hostile_letters_can_be_listed_shown_and_sent_back(morgue: Morgue) -> None:
    evil = b"\x1b]0;owned\x07\xff\r\n"
    names = ["ce_id", "ce_type", "job-origin", "job-attempt", "job-redrives", "job-expires-at", "job-error-message",
             "job-error-type", "job-error-stack", "job-last-failed-at", "traceparent", "x-own"]  # fmt: skip
    values = [evil, b"", None, b"9" * 300]
    written = [(value, key, [(name, value) for name in names]) for value in values for key in (evil, None, b"")]
    for value, key, headers in written:
        morgue.write(value, key, headers)
    morgue.flush()
    for command in (["list", "ordered"], ["show", "ordered"], ["redrive", "ordered", "--dry-run"]):
        said = morgue.run(*command)
        assert all(each.isprintable() for each in said.replace("\n", "")), command
    assert len(morgue.run("list", "ordered", "--json").splitlines()) == len(written)
    assert f"{len(written)} dead letters sent back" in morgue.run("redrive", "ordered", "--yes")
    # Records with an empty and without a key both count.
    back = morgue.returned()
    assert Counter((record.value, record.key) for record in back) == Counter((value, key) for value, key, _ in written)
    for record in back:
        kept = {"ce_type", "job-expires-at", "traceparent", "x-own", "ce_id", "job-redrives"}
        assert {name for name, _ in record.headers} == kept


def test_a_partition_that_the_queue_lacks_is_chosen_by_key(kafka: str, namespace: str) -> None:
    morgue = Morgue(kafka, namespace).create(partitions=2, dead_partitions=4)
    for number in range(12):
        morgue.bury(f"job-{number}", seq=number, partition=number % 4, key=f"key-{number % 4}".encode())
    morgue.flush()
    with morgue.open() as letters:
        assert deal_with(letters) == 12
    partitions = {record.header("ce_id"): record.partition for record in morgue.returned()}
    assert len(partitions) == 12
    assert all(partitions[f"job-{number}"] == number % 4 for number in range(12) if number % 4 < 2)
    assert len({partitions[f"job-{number}"] for number in (2, 6, 10)}) == 1


def test_a_letter_that_the_queue_does_not_take_stays(kafka: str, namespace: str) -> None:
    morgue = Morgue(kafka, namespace).create(config={"max.message.bytes": "2000"})
    morgue.bury("small")
    morgue.bury("large", value=random.Random(1).randbytes(5_000))
    morgue.bury("small too")
    morgue.flush()
    said = [morgue.run("redrive", "ordered", "--id", job, code=code) for job, code in
            (("small", 0), ("large", 1), ("small too", 0))]  # fmt: skip
    assert "not sent: large (0/1): the queue does not take it" in said[1]
    assert morgue.returned_ids() == ["small", "small too"]
    assert morgue.left() == ["large"]


def test_a_queue_that_takes_nothing_more_stops_a_redrive(morgue: Morgue) -> None:
    ids = buried(morgue, 6)
    with morgue.open() as letters:
        plan = letters.plan_redrive()
        admin = AdminClient({"bootstrap.servers": morgue.bootstrap})
        admin.delete_topics([morgue.topic])[morgue.topic].result(30)
        with pytest.raises(DeliveryStopped, match="start again"):
            list(letters.redrive(plan))
        assert [letter.id for letter in letters.find()] == ids


# -- noting


def test_a_redrive_that_is_killed_repeats_one_chunk_at_the_most(morgue: Morgue) -> None:
    ids = buried(morgue, 200)
    # Chunks of 20, one a second.
    process = morgue.command("redrive", "ordered", "--yes", "--rate", "20")
    until(lambda: len(morgue.left()) <= 160, within=60, what="two chunks noted")
    process.kill()
    process.communicate()
    left = morgue.left()
    before = Counter(morgue.returned_ids())
    assert 0 < len(left) <= 160
    assert set(ids) - set(left) <= set(before), "what is noted was sent"
    assert len(before) - (200 - len(left)) <= 20, "at most one chunk is sent and not noted"
    assert f"{len(left)} dead letters sent back" in morgue.run("redrive", "ordered", "--yes")
    after = Counter(morgue.returned_ids())
    assert set(after) == set(ids)
    assert {job for job, times in after.items() if times > 1} == set(before) & set(left)
    assert morgue.left() == []


def test_a_redrive_that_ends_early_has_noted_what_it_sent(morgue: Morgue) -> None:
    ids = buried(morgue, 60)
    waits: list[int] = []

    class Interrupting(Pace):
        """Somebody presses Ctrl-C in the middle of a chunk."""

        def wait(self) -> None:
            waits.append(1)
            if len(waits) == 36:
                raise KeyboardInterrupt

    with morgue.open() as letters:
        with pytest.raises(KeyboardInterrupt):
            list(letters.redrive(letters.plan_redrive(), chunk=10, pace=Interrupting(None)))
        assert [letter.id for letter in letters.find()] == ids[35:]
    assert Counter(morgue.returned_ids()) == Counter(ids[:35])


def test_a_second_redrive_stops_one_of_them(morgue: Morgue) -> None:
    ids = buried(morgue, 100)
    with morgue.open() as first, morgue.open() as second:
        stale = second.plan_redrive()
        one = first.redrive(first.plan_redrive(), chunk=10)
        assert next(one).sent == 10
        with pytest.raises(SomebodyElse, match="another redrive or purge"):
            next(second.redrive(stale, chunk=10))
        two = second.redrive(second.plan_redrive(), chunk=10)
        assert next(two).sent == 10, "it saw the first one's notes, and takes over"
        with pytest.raises(SomebodyElse):
            next(one)
        assert sum(step.sent for step in two) == 80
    assert Counter(morgue.returned_ids()) == Counter(ids), "each once"


def test_a_redrive_that_is_overtaken_repeats_one_chunk_at_the_most(morgue: Morgue) -> None:
    ids = buried(morgue, 30)
    with morgue.open() as first, morgue.open() as second:
        others: list[int] = []

        class Barging(Pace):
            """Another one starts while this one publishes."""

            def wait(self) -> None:
                if not others:
                    rival = second.redrive(second.plan_redrive(), chunk=10)
                    others.append(next(rival).sent)
                    others.extend(step.sent for step in rival)

        with pytest.raises(SomebodyElse, match="10 letters that were just sent are not noted"):
            list(first.redrive(first.plan_redrive(), chunk=10, pace=Barging(None)))
        assert sum(others) == 30
    returned = Counter(morgue.returned_ids())
    assert set(returned) == set(ids)
    assert sum(returned.values()) == 40, "one chunk is repeated, which was under way"


def test_redrives_that_have_not_noted_anything_yet_are_told_apart(morgue: Morgue) -> None:
    """What both have noted is the same, nothing; only the claim differs."""
    buried(morgue, 6)
    with morgue.open() as first, morgue.open() as second:

        class Stopping(Pace):
            """Ends its redrive when that has claimed the letters, and sent none."""

            def wait(self) -> None:
                raise KeyboardInterrupt

        class Barging(Pace):
            """Another one claims the letters while this one publishes."""

            def wait(self) -> None:
                with suppress(KeyboardInterrupt):
                    next(second.redrive(second.plan_redrive(), pace=Stopping(None)))

        with pytest.raises(SomebodyElse):
            list(first.redrive(first.plan_redrive(), chunk=1, pace=Barging(None)))
    assert len(morgue.returned()) == 1


def test_a_purge_stops_a_redrive(morgue: Morgue) -> None:
    buried(morgue, 40)
    with morgue.open() as letters, morgue.open() as other:
        steps = letters.redrive(letters.plan_redrive(), chunk=10)
        assert next(steps).sent == 10
        assert other.purge(other.plan_purge()).marked == 30
        with pytest.raises(SomebodyElse):
            next(steps)
    assert len(morgue.returned()) == 10


def test_letters_too_scattered_to_be_noted_are_not_begun(morgue: Morgue) -> None:
    trouble = CODEC.encode(Trouble(how="raise"), "any")
    for number in range(25_000):
        morgue.bury(f"job-{number}", seq=number, value=trouble if number % 2 else None)
    morgue.flush()
    scattered = Filters(type="tests.trouble.Trouble")
    with morgue.open() as letters:
        notes = morgue.notes()
        with pytest.raises(MapFull, match=r"Deal with the oldest letters first.*--partition 0"):
            letters.purge(letters.plan_purge(scattered))
        assert morgue.notes() == notes
        sent = 0
        with pytest.raises(MapFull):
            for step in letters.redrive(letters.plan_redrive(scattered), chunk=4_000):
                sent += step.sent
        assert 4_000 <= sent < 12_500
        assert count(morgue.bootstrap, morgue.topic) == sent, "nothing was sent that is not noted"
        assert sum(1 for _ in letters.find(scattered)) == 12_500 - sent
        # The remedy that it names.
        assert letters.purge(letters.plan_purge(Filters(partition=0), limit=12_000)).marked == 12_000
        assert deal_with(letters, scattered, chunk=4_000) > 0
        assert not list(letters.find(scattered))


def test_a_broker_takes_the_largest_map_that_fits(morgue: Morgue) -> None:
    def scattered(letters: int) -> Dealt:
        return Dealt(0).and_offsets(range(1, 2 * letters, 2))

    largest = scattered(bisect_left(range(50_000), True, key=lambda letters: not scattered(letters).fits()) - 1)
    with Notes(morgue.settings.cluster, "notes", morgue.dead) as notes:
        place = notes.write(0, largest, "cafe0123", expected=notes.read([0])[0])
        assert notes.read([0])[0] == place
        assert notes.dealt(0, place, 0) == largest
        assert METADATA_LIMIT - 4 < len(place.metadata) < METADATA_LIMIT


def test_notes_of_somebody_else_are_not_understood(morgue: Morgue) -> None:
    buried(morgue, 4)
    with morgue.open() as letters:
        consumer = Consumer({"bootstrap.servers": morgue.bootstrap, "group.id": letters.group})
        consumer.commit(offsets=[TopicPartition(morgue.dead, 0, 1, "leader=x")], asynchronous=False)
        consumer.close()
        with pytest.raises(NotesUnreadable, match="--delete-offsets"):
            list(letters.find())


def test_a_redrive_keeps_to_its_rate(morgue: Morgue) -> None:
    """In virtual time: when each letter went, and that each second's worth is noted."""
    buried(morgue, 20)
    now = 0.0

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    pace = Pace(5, clock=lambda: now, sleep=sleep)
    with morgue.open() as letters:
        noted = [(step.sent, round(now, 3)) for step in letters.redrive(letters.plan_redrive(), pace=pace)]
    assert noted == [(5, 0.8), (5, 1.8), (5, 2.8), (5, 3.8)]


# -- purging


def test_a_purge_marks_and_frees_what_nobody_needs(morgue: Morgue) -> None:
    buried(morgue, 20)
    with morgue.open() as letters:
        assert deal_with(letters, Filters(partition=0, offset=3)) == 1
        done = letters.purge(letters.plan_purge(Filters(key="key-0")))
        # On partition 0 lie job-0, job-2, job-4 and so on: of key-0 and key-2 in turn.
        assert (done.marked, done.deleted, done.kept) == (5, 1, ())
        assert [letter.id for letter in letters.find(Filters(partition=0))] == ["job-2", "job-10", "job-14", "job-18"]
        done = letters.purge(letters.plan_purge(Filters(id="job-2")))
        assert (done.marked, done.deleted) == (1, 4), "up to job-10: job-2, two of key-0, and one that was redriven"
    assert morgue.returned_ids() == ["job-6"]
    said = morgue.run("purge", "ordered", "--yes")
    assert "13 dead letters purged; Kafka has deleted 15 records" in said
    assert "there are no dead letters at all" in morgue.run("purge", "ordered", "--yes", code=1)
    assert "there are no dead letters at all" in morgue.run("list", "ordered", "--all")


def test_a_purge_without_filters_frees_what_was_sent_back(morgue: Morgue) -> None:
    buried(morgue, 20)
    with morgue.open() as letters:
        deal_with(letters)
        assert letters.plan_purge(Filters(key="key-0")).parts == ()
        done = letters.purge(letters.plan_purge())
        assert (done.marked, done.deleted) == (0, 20)
        assert not list(letters.find(dealt=True))


def test_letters_are_found_after_a_purge_and_a_gap(morgue: Morgue) -> None:
    """A transaction leaves an offset that holds no letter: it must hold up no purge."""
    producer = Producer({"bootstrap.servers": morgue.bootstrap, "transactional.id": morgue.topic})
    producer.init_transactions(30)
    for job in ("one", "two"):
        producer.begin_transaction()
        headers = letter_headers(job, Origin(morgue.topic, 0, 0))
        producer.produce(morgue.dead, b"", b"k", 0, headers=list(headers))
        producer.commit_transaction(30)
    # Kafka writes a transaction's last offset after it has acknowledged the commit.
    until(lambda: count(morgue.bootstrap, morgue.dead) == 4, within=30, what="both transactions' ends in the log")
    morgue.bury("three")
    morgue.flush()
    with morgue.open() as letters:
        assert [letter.offset for letter in letters.find()] == [0, 2, 4]
        assert letters.purge(letters.plan_purge(limit=2)).deleted >= 3
        assert [letter.id for letter in letters.find(dealt=True)] == ["three"]
        assert letters.purge(letters.plan_purge()).marked == 1
        morgue.bury("four")
        morgue.flush()
        assert [letter.id for letter in letters.find()] == ["four"]


def test_it_says_that_brokers_forget_sooner_than_letters_go(morgue: Morgue) -> None:
    buried(morgue, 1)
    with morgue.open() as letters:
        assert letters.forgets_after() == (7.0, 90.0)
    assert "forget what is dealt with 7 days after" in morgue.run("redrive", "ordered")


def test_schemas_come_from_a_registry(morgue: Morgue, tmp_path: Path) -> None:
    with closing(RegistryServer(tmp_path)) as server:
        server.start()
        registries = [Registry(RegistrySettings(url=server.url)) for _ in range(2)]
        morgue.write(Codec(shipped(), registries[0]).encode(Step(seq=7, seconds=0.0), morgue.topic), b"k", [])
        morgue.flush()
        with DeadLetters(morgue.settings, morgue.queue, Codec(shipped(), registries[1])) as letters:
            (letter,) = letters.find(Filters(type="tests.ordered.Step"))
            assert letters.payload(letter).fields == {"seq": 7, "seconds": 0.0}
        server.stop()
        silent = Registry(RegistrySettings(url=server.url))
        with DeadLetters(morgue.settings, morgue.queue, Codec(shipped(), silent)) as letters:
            (letter,) = letters.find()
            assert letter.type is None
            assert "the schema registry did not answer" in (letters.payload(letter).reason or "")
        for registry in (*registries, silent):
            registry.close()


def test_a_redrive_goes_on_after_its_broker_was_restarted(own_broker: Broker, namespace: str) -> None:
    morgue = Morgue(own_broker.bootstrap, namespace).create()
    ids = buried(morgue, 40)
    with morgue.open() as letters:
        steps = letters.redrive(letters.plan_redrive(), chunk=10)
        assert next(steps).sent == 10
        own_broker.stop()
        own_broker.start()
        assert sum(step.sent for step in steps) == 30
        assert not list(letters.find())
    assert Counter(morgue.returned_ids()) == Counter(ids)
