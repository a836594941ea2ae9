"""Which dead letters are handled, on a real broker: noted, kept apart from others' notes, purged."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from contextlib import suppress

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from schemas import Origin
from streams.core.offsets.commit_metadata import MAP_LIMIT
from streams.dead import Filters, MapFull, NotesUnreadable, SomebodyElse
from streams.dead.handled.notes import Notes
from streams.dead.handled.offsets import Handled
from streams.dead.redrive.pace import Pace
from tests.brokers import Broker
from tests.deads import CODEC, Morgue, buried, deal_with, letter_headers
from tests.models.trouble import Trouble
from tests.topics import count, set_config
from tests.waiting import until

# -- noting


def test_a_redrive_that_is_killed_repeats_one_chunk_at_the_most(morgue: Morgue) -> None:
    """And while it is at work, others say so and do nothing."""
    ids = buried(morgue, 600)
    # Chunks of 5, one a second.
    process = morgue.command("redrive", "ordered", "--yes", "--rate", "5")
    until(lambda: len(morgue.left()) <= 590, within=60, what="two chunks noted")
    rivals = [morgue.command(what, "ordered", "--yes") for what in ("redrive", "purge")]
    for rival in rivals:
        _, complained = rival.communicate(timeout=60)
        assert rival.returncode == 2, complained
        assert "another redrive or purge of these letters is at work: " in complained
        assert f"process {process.pid} (" in complained
    assert process.poll() is None, "the first goes on"
    process.kill()
    process.communicate()
    left = morgue.left()
    before = Counter(morgue.returned_ids())
    assert 0 < len(left) <= 590
    assert set(ids) - set(left) <= set(before), "what is noted was sent"
    assert len(before) - (600 - len(left)) <= 5, "at most one chunk is sent and not noted"
    # It waits until the broker has counted out the one that was killed.
    assert f"{len(left)} dead letters sent back" in morgue.run("redrive", "ordered", "--yes")
    after = Counter(morgue.returned_ids())
    assert set(after) == set(ids)
    assert {job for job, times in after.items() if times > 1} == set(before) & set(left)
    assert morgue.left() == []


def test_of_two_that_start_at_once_one_does_it_all(morgue: Morgue) -> None:
    ids = buried(morgue, 60)
    both = [morgue.command("redrive", "ordered", "--yes", "--rate", "30") for _ in range(2)]
    said = ["".join(each.communicate(timeout=90)) for each in both]
    assert sorted(each.returncode for each in both) in ([0, 2], [0, 1]), said
    assert Counter(morgue.returned_ids()) == Counter(ids), "none was sent twice"
    refused = next(each for each, process in zip(said, both, strict=True) if process.returncode)
    assert "is at work" in refused or "nothing is left" in refused


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
    def scattered(letters: int) -> Handled:
        return Handled(0).and_offsets(range(1, 2 * letters, 2))

    largest = scattered(bisect_left(range(50_000), True, key=lambda letters: not scattered(letters).fits()) - 1)
    with Notes(morgue.settings.cluster, "notes", morgue.dead) as notes:
        place = notes.write(0, largest, "cafe0123", expected=notes.read([0])[0])
        assert notes.read([0])[0] == place
        assert notes.handled(0, place, 0) == largest
        assert MAP_LIMIT - 4 < len(place.metadata) <= MAP_LIMIT


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
    said = morgue.run("purge", "ordered", "--id", "job-18", "--yes")
    assert "1 dead letter purged; Kafka deletes their records when those before them are handled, too" in said
    said = morgue.run("purge", "ordered", "--yes")
    assert "12 dead letters purged; Kafka has deleted 15 records" in said
    assert "there are no dead letters at all" in morgue.run("purge", "ordered", "--yes", code=1)
    assert "there are no dead letters at all" in morgue.run("list", "ordered", "--all")


def test_a_purge_without_filters_frees_what_was_sent_back(morgue: Morgue) -> None:
    buried(morgue, 20)
    with morgue.open() as letters:
        deal_with(letters)
        assert letters.plan_purge(Filters(key="key-0")).parts == ()
        done = letters.purge(letters.plan_purge())
        assert (done.marked, done.deleted) == (0, 20)
        assert not list(letters.find(handled=True))


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
        assert [letter.id for letter in letters.find(handled=True)] == ["three"]
        assert letters.purge(letters.plan_purge()).marked == 1
        morgue.bury("four")
        morgue.flush()
        assert [letter.id for letter in letters.find()] == ["four"]


def test_it_says_that_brokers_forget_sooner_than_letters_go(morgue: Morgue) -> None:
    buried(morgue, 2)
    with morgue.open() as letters:
        assert letters.forgets_after() is None, "our own brokers remember for longer than letters are kept"
    assert "forget" not in morgue.run("redrive", "ordered", "--limit", "1")
    keep_for_days(morgue, 120)
    with morgue.open() as letters:
        assert letters.forgets_after() == (100.0, 120.0)
    assert "forget what is handled 100 days after" in morgue.run("redrive", "ordered")


def keep_for_days(morgue: Morgue, days: int) -> None:
    set_config(morgue.bootstrap, [morgue.dead], "retention.ms", str(days * 86_400_000))


def test_letters_whose_notes_were_forgotten_look_as_if_nobody_had_dealt_with_them(morgue: Morgue) -> None:
    """What a broker does when a time has passed that no test waits for is done here by hand: the notes are gone."""
    ids = buried(morgue, 6)
    keep_for_days(morgue, 120)
    with morgue.open() as letters:
        assert deal_with(letters) == 6
        assert not list(letters.find())
        admin = AdminClient({"bootstrap.servers": morgue.bootstrap, "log_level": 0})
        admin.delete_consumer_groups([letters.group], request_timeout=30)[letters.group].result()
        assert [letter.id for letter in letters.find()] == ids
    said = morgue.run("redrive", "ordered", "--yes")
    assert "6 dead letters sent back" in said
    assert "forget what is handled 100 days after" in said
    assert "keep letters 120 days" in said
    assert Counter(morgue.returned_ids()) == Counter(ids * 2)
    assert {record.header("job-redrives") for record in morgue.returned()} == {"1"}, "it cannot know of the first time"
    # The remedy: what is deleted cannot come back.
    with morgue.open() as letters:
        assert letters.purge(letters.plan_purge()).deleted == 6
        admin.delete_consumer_groups([letters.group], request_timeout=30)[letters.group].result()
        assert not list(letters.find())
