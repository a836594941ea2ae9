"""Dead letters on a real broker: found, shown, sent back in order."""

from __future__ import annotations

import json
import random
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from schemas import Codec, Registry, RegistrySettings, shipped
from streams.dead import (
    DeadLetters,
    DeliveryStopped,
    FilterInvalid,
    Filters,
)
from tests.brokers.embedded import free_port
from tests.deads import CODEC, Morgue, buried, deal_with
from tests.integration.conftest import Fleet
from tests.ledger_rules import inversions, lost, overlaps, repeats
from tests.models.ordered import Step
from tests.models.trouble import Trouble
from tests.publishing import Steps
from tests.registries import RegistryServer
from tests.topics import count, read_all
from tests.waiting import until

HOUR = 3_600_000


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


# -- sending back


def test_what_a_worker_buried_runs_in_order_when_it_is_sent_back(fleet: Fleet, kafka: str, namespace: str) -> None:
    workers = fleet("tests.jobs.healing", schema_wait=0)
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
        assert {letter.id for letter in letters.find(handled=True) if letter.handled} == gone
        assert deal_with(letters, Filters(id="job-8")) == 0, "it is handled"
    assert set(morgue.returned_ids()) == gone
    assert "redriven or purged" in morgue.run("redrive", "ordered", "--id", "job-8", code=1)
    assert "handled       yes" in morgue.run("show", "ordered", "--id", "job-8")


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


def test_letters_are_listed_on_an_output_that_is_not_utf_8(morgue: Morgue) -> None:
    morgue.bury("one", key="клю€ч".encode(), message="schlecht €")
    morgue.flush()
    for command in ("list", "show"):
        printed = morgue.run(command, morgue.queue, PYTHONIOENCODING="latin-1")
        assert "\\u043a\\u043b\\u044e\\u20ac\\u0447" in printed
        assert "schlecht \\u20ac" in printed


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
