"""The rules of a chaos run's account: each finds what breaks it, and takes for an explanation only what is one."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from schemas.models.webhook import DeliverWebhook
from streams.api.context import JobContext
from streams.ports.records import TopicPartition
from streams.worker.topic_logs import tell_replaced
from tests.chaos.account import Account, Letters, Operation, Published, Span
from tests.chaos.plan import HANDOVER, STOP_TIMEOUT, TIMEOUT, Plan
from tests.chaos.rules import (
    KILLED,
    RECOVERY,
    STALL,
    WINDOW,
    attempts,
    broken,
    commands,
    due,
    order,
    outcomes,
    repetitions,
    stalls,
    stops,
)
from tests.chaos.topic_troubles import seen_at, spans_until
from tests.ledger import SECOND, Run
from tests.unit.streams.rig import P0, P1, records, rig

A, B = 100, 200  # processes
MS = SECOND // 1000


def job(seq: int, plan: str = "", *, key: str | None = "k", queue: str = "chaos", most: int | None = None) -> Published:
    return Published(f"{key}{seq}", queue, key, seq, Plan(plan, most), 0)


def run(seq: int, start: int, end: int | None, *, how: str = "done", attempt: int = 0, process: int = A) -> Run:
    """A run with times in milliseconds."""
    ended = None if end is None else end * MS
    return Run(f"k{seq}", "k", seq, process, start * MS, ended, how == "done", how == "failed", attempt)


def account(jobs: list[Published], runs: list[Run], *dead: tuple[int, str], **more: Any) -> Account:
    letters = {f"k{seq}": Letters(tuple(errors.split(","))) for seq, errors in dead}
    return Account({each.id: each for each in jobs}, runs, letters, **more)


FAILED = run(0, 0, 10, how="failed")
DONE_LATER = run(0, 210, 220, attempt=1)


def test_a_good_account_breaks_no_rule() -> None:
    jobs = [job(0, "f"), job(1), job(2, "p"), job(3)]
    runs = [FAILED, DONE_LATER, run(1, 230, 240), run(2, 250, 260, how="failed"), run(3, 270, 280)]
    assert broken(account(jobs, runs, (2, "PermanentError"))) == {}


@pytest.mark.parametrize(
    ("plan", "runs", "dead", "said"),
    [
        ("", [], [], "is lost"),
        ("", [run(0, 0, 10, how="failed")], [], "is lost"),
        ("p", [run(0, 0, 10)], [], "was to fail for good"),
        ("", [run(0, 0, 10)], [(0, "E")], "is done and a dead letter"),
        ("f", [FAILED], [(0, "E")], "was not to be one"),
        ("p", [FAILED], [(0, "E,E")], "a dead letter 2 times"),
        ("", [run(0, 0, None)], [(0, KILLED)], "was taken for a job that kills"),
    ],
)
def test_outcomes(plan: str, runs: list[Run], dead: list[tuple[int, str]], said: str) -> None:
    (found,) = outcomes(account([job(0, plan)], runs, *dead))
    assert said in found


def test_two_deaths_excuse_that_a_job_is_taken_for_a_killer() -> None:
    deaths = {process: Span(process * SECOND, process * SECOND) for process in (1, 2)}
    runs = [run(0, process * 1000 - 5, None, process=process) for process in deaths]
    assert outcomes(account([job(0)], runs, (0, KILLED), deaths=deaths)) == []
    assert outcomes(account([job(0)], runs[:1], (0, KILLED), deaths=deaths))


def test_a_job_that_ends_its_worker_once_may_have_been_named_before_it_ran() -> None:
    deaths = {process: Span(process * SECOND, process * SECOND) for process in (1, 2)}
    runs = [run(0, 1995, None, process=2)]
    assert outcomes(account([job(0, "k")], runs, (0, KILLED), deaths=deaths)) == []
    assert outcomes(account([job(0, "k")], runs, (0, KILLED), deaths={2: deaths[2]})), "there was no other death"
    assert outcomes(account([job(0, "k")], [], (0, KILLED), deaths=deaths)), "it has never run"


def test_a_job_that_has_not_begun_is_taken_for_a_killer_where_workers_end_one_after_the_other() -> None:
    deaths = {process: Span(process * SECOND, process * SECOND) for process in (1, 2, 3)}
    ran = [run(0, 990, 995, how="failed", process=1)]
    assert outcomes(account([job(0, "f")], ran, (0, KILLED), deaths=deaths)) == []
    assert outcomes(account([job(0, "f")], ran, (0, KILLED), deaths={1: deaths[1], 2: deaths[2]})), "two do not suffice"
    before = [*ran, run(1, 2500, 2510)]
    assert outcomes(account([job(0, "f"), job(1)], before, (0, KILLED), deaths=deaths)), "it had been given up by then"
    late = [run(1, 1500, 1510, process=2), run(0, 2990, None, process=3)]
    assert outcomes(account([job(0), job(1)], late, (0, KILLED), deaths=deaths)), "only one has ended meanwhile"
    late[:1] = [run(1, 500, 510, process=2)]
    assert outcomes(account([job(0), job(1)], late, (0, KILLED), deaths=deaths)) == [], "named twice before it ran"
    cuts = {B: [Span(1500 * MS, 1800 * MS)]}
    assert outcomes(account([job(0, "f")], ran, (0, KILLED), deaths={1: deaths[1], 2: deaths[2]}, cuts=cuts)) == []


def test_a_job_that_never_ran_is_taken_for_a_killer_where_three_workers_end_before_its_turn() -> None:
    """The first puts it under suspicion; it is named at the other two, and has not begun."""
    deaths = {process: Span(process * SECOND, process * SECOND) for process in (1, 2, 3)}
    following = run(1, 3500, 3510)
    good = account([job(0), job(1)], [following], (0, KILLED), deaths=deaths)
    assert outcomes(good) == []
    assert order(good) == []
    assert outcomes(account([job(0), job(1)], [following], (0, KILLED), deaths={1: deaths[1], 2: deaths[2]}))
    early = run(1, 2500, 2510)
    assert outcomes(account([job(0), job(1)], [early], (0, KILLED), deaths=deaths)), "it had been given up by then"
    assert order(account([job(0), job(1)], [following], (0, "E"), deaths=deaths)), "what else gives a job up runs it"


def test_a_letter_on_its_way_is_written_again_when_a_topic_was_made_anew() -> None:
    assert outcomes(account([job(0, "p")], [FAILED], (0, "E,E"), changes=[Span(0, SECOND)])) == []
    assert outcomes(account([job(0, "p")], [FAILED], (0, "E,E,E"), changes=[Span(0, SECOND)])), "once"
    assert outcomes(account([job(0, "p")], [FAILED], (0, "E,E"), changes=[Span(60 * SECOND, 61 * SECOND)]))


def test_order() -> None:
    jobs = [job(0, "f"), job(1)]
    assert order(account(jobs, [FAILED, run(1, 20, 30), DONE_LATER])), "it overtakes one that is to be tried again"
    assert order(account(jobs, [FAILED, DONE_LATER, run(1, 215, 230)])), "it overlaps"
    assert order(account(jobs, [FAILED, run(1, 20, 30)])), "the other is never done"
    assert order(account(jobs, [FAILED, DONE_LATER, run(1, 220, 230)])) == []
    loose = [job(0, "f", queue="chaos-loose"), job(1, queue="chaos-loose")]
    assert order(account(loose, [FAILED, run(1, 20, 30), DONE_LATER])) == []


def test_attempts() -> None:
    often = [run(0, at * 1000, at * 1000 + 1, how="failed", attempt=at) for at in range(5)]
    assert "may be run 4 times" in attempts(account([job(0, "ffff")], often))[0]
    assert "may be run 2 times" in attempts(account([job(0, "ffff", most=2)], often[:3]))[0]
    assert "is missing" in attempts(account([job(0, "ff")], [often[0], often[2]]))[0]


def test_due() -> None:
    early = run(0, 205, 220, attempt=1)
    assert due(account([job(0, "f")], [FAILED, early]))
    assert due(account([job(0, "f")], [FAILED, DONE_LATER])) == []


def test_a_repetition_needs_an_explanation() -> None:
    jobs, runs = [job(0)], [run(0, 5000, 5010), run(0, 9000, 9010, process=B)]
    assert repetitions(account(jobs, runs))
    assert repetitions(account(jobs, runs, deaths={A: Span(5100 * MS, 5200 * MS)})) == []
    assert repetitions(account(jobs, runs, deaths={A: Span(7000 * MS, 7100 * MS)})), "it was committed long before"
    assert repetitions(account(jobs, runs, deaths={B: Span(5100 * MS, 5200 * MS)})), "another worker died"
    assert repetitions(account(jobs, runs, freezes={A: [Span(5005 * MS, 15000 * MS)]})) == []
    assert repetitions(account(jobs, runs, outages=[Span(5005 * MS, 6000 * MS)])) == []
    assert repetitions(account(jobs, runs, outages=[Span(1000 * MS, 3000 * MS)])) == [], "it was expelled after that"
    assert repetitions(account(jobs, runs, outages=[Span(-9000 * MS, -4000 * MS)])), "that was long before"
    assert repetitions(account(jobs, runs, cuts={A: [Span(0, 1000 * MS)]})) == [], "it was expelled after that"
    assert repetitions(account(jobs, runs, cuts={B: [Span(0, 1000 * MS)]})), "another worker was cut off"
    assert repetitions(account(jobs, runs, refusals=[Span(4000 * MS, 6000 * MS)])), "a job that is done writes nothing"
    assert repetitions(account(jobs, runs, stops={A: Span(5005 * MS, 5100 * MS)})), "a stop commits what has finished"


def test_time_in_which_the_machine_was_busy_does_not_count() -> None:
    busy = [Span(at * MS, (at + 250) * MS) for at in range(5000, 7000, 250)]
    killed = {A: Span(6900 * MS, 7000 * MS)}
    runs = [run(0, 5000, 5010), run(0, 9000, 9010, process=B)]
    assert repetitions(account([job(0)], runs, deaths=killed))
    assert repetitions(account([job(0)], runs, deaths=killed, busy=busy)) == []
    assert repetitions(account([job(0)], runs, deaths={A: Span(8100 * MS, 8200 * MS)}, busy=busy))
    late = int(STALL * 1000) + 1000
    assert stalls(account([job(0)], [run(0, late, late + 1)], busy=busy)) == []
    assert stalls(account([job(0)], [run(0, late + 2000, late + 2001)], busy=busy))


def test_a_job_of_the_pool_may_just_have_begun_when_its_partition_moves() -> None:
    runs = [run(0, 5000, 5010, how="failed"), run(0, 9000, 9010, process=B)]
    pooled = Published("k0", "chaos-process", "k", 0, Plan("f", None, in_pool=True), 0)
    assert repetitions(account([pooled], runs))
    assert repetitions(account([pooled], runs, launches=[4000 * MS])) == []
    assert repetitions(account([job(0, "f")], runs, launches=[4000 * MS]))


def test_a_run_longer_than_a_handover_may_be_repeated_when_its_partition_moves() -> None:
    """Its retry record was on its way when the rebalance waited no longer."""
    times_out = [job(0, "t")]
    end = 5000 + int(HANDOVER * 1000) + 20
    runs = [run(0, 5000, end, how="cut"), run(0, end + 600, end + 610, process=B)]
    assert repetitions(account(times_out, runs))
    assert repetitions(account(times_out, runs, launches=[4500 * MS])) == []
    done = [run(0, 5000, end), run(0, end + 600, end + 610, process=B)]
    assert repetitions(account([job(0)], done, launches=[4500 * MS]))
    taken_back = [run(0, 5000, end), run(0, end - 10, end + 10, process=B)]
    assert repetitions(account([job(0)], taken_back, launches=[4500 * MS])) == []
    assert repetitions(account([job(0)], taken_back))
    short = [run(0, 5000, 5010, how="failed"), run(0, 5600, 5610, process=B)]
    assert repetitions(account([job(0, "f")], short, launches=[4500 * MS]))


def test_a_stop_waits_so_long_for_the_retry_of_a_job_that_has_failed() -> None:
    """Nobody has counted its attempt where the broker has not acknowledged it by then."""
    runs = [run(0, 5000, 5010, how="failed"), run(0, 9000, 9010, process=B)]
    patient = {A: Span(5100 * MS, int(5100 + STOP_TIMEOUT * 1000) * MS)}
    assert repetitions(account([job(0, "f")], runs, stops=patient)) == []
    assert repetitions(account([job(0)], [run(0, 5000, 5010), runs[1]], stops=patient)), (
        "one that is done was committed"
    )
    assert repetitions(account([job(0, "f")], runs, stops={A: Span(5100 * MS, 7000 * MS)})), "it has waited for all"


def test_a_failure_is_followed_by_the_next_attempt_and_a_snooze_by_the_same() -> None:
    assert repetitions(account([job(0, "f")], [FAILED, DONE_LATER])) == []
    assert repetitions(account([job(0, "z")], [FAILED, run(0, 260, 270)])) == []
    assert repetitions(account([job(0, "f")], [FAILED, run(0, 260, 270, how="failed")]))


def test_a_worker_that_stood_still_explains_a_timeout_that_was_not_planned() -> None:
    longest = int(TIMEOUT * 1000)
    runs = [run(0, 0, longest + 10, how="cut"), run(0, longest + 300, longest + 310, attempt=1)]
    assert broken(account([job(0)], runs)) == {}
    assert repetitions(account([job(0)], [run(0, 0, 100, how="cut"), run(0, 400, 410, attempt=1)]))


def test_stalls() -> None:
    late = int(STALL * 1000) + 10
    assert stalls(account([job(0)], [run(0, late, late + 1)]))
    assert stalls(account([job(0)], [run(0, late - 20, late)])) == []
    trouble = [Span(0, late * MS)]
    assert stalls(account([job(0)], [run(0, late, late + 1)], outages=trouble)) == []
    much_later = 2 * late + int(RECOVERY * 1000)
    assert stalls(account([job(0)], [run(0, much_later, much_later + 1)], outages=trouble))


def test_jobs_of_the_pool_wait_while_others_take_its_process_until_their_timeout() -> None:
    late = int(STALL * 1000) + 3000
    jobs = [job(0, "t", queue="chaos-process"), job(1, queue="chaos-process")]
    jobs = [replace(each, plan=replace(each.plan, in_pool=True), key=each.id) for each in jobs]
    waited = replace(run(1, late, late + 1), key="k1")
    slow = replace(run(0, 0, None), key="k0")
    assert stalls(account(jobs, [slow, waited])) == []
    assert stalls(account(jobs, [replace(slow, process=B), waited])), "it was another worker's"
    assert stalls(account([replace(jobs[0], plan=Plan(in_pool=True)), jobs[1]], [slow, waited])), "it was quick"


def placed(seq: int, *, log: int = 0, partition: int = 0) -> Published:
    return replace(job(seq), log=log, partition=partition)


def test_what_was_taken_away_on_purpose_may_be_lost_and_nothing_else() -> None:
    jobs, runs = [job(0), job(1), job(2)], [run(0, 0, 10), run(2, 30, 40)]
    assert broken(account(jobs, runs, gone={"k0": 5 * MS, "k1": 5 * MS})) == {}
    assert outcomes(account(jobs, runs, gone={"k0": 5 * MS}))
    assert order(account(jobs, runs, gone={"k0": 5 * MS}))


def test_what_was_taken_away_keeps_its_order_if_it_runs_all_the_same() -> None:
    runs = [run(0, 20, 30), run(1, 10, 15)]
    assert order(account([job(0), job(1)], runs, gone={"k0": 5 * MS, "k1": 5 * MS}))


def test_the_order_ends_where_a_log_does_and_between_partitions() -> None:
    runs = [run(0, 20, 30), run(1, 10, 15)]
    assert order(account([placed(0), placed(1)], runs))
    assert order(account([placed(0), placed(1, log=1)], runs)) == []
    assert order(account([placed(0), placed(1, partition=1)], runs)) == []
    there_and_back = [placed(0), placed(1, partition=1), placed(2)]
    assert order(account(there_and_back, [*runs, run(2, 25, 40)])), "the one before it in its own partition runs"


def test_a_change_of_topics_explains_a_wait_and_no_repetition() -> None:
    late = int(STALL * 1000) + 10
    assert stalls(account([job(0)], [run(0, late, late + 1)], changes=[Span(0, late * MS)])) == []
    runs = [run(0, 5000, 5010), run(0, 9000, 9010, process=B)]
    assert repetitions(account([job(0)], runs, changes=[Span(5005 * MS, 6000 * MS)]))


def test_what_a_worker_ran_before_it_saw_that_a_topic_was_made_anew_may_run_again() -> None:
    unseen = {A: [Span(0, 40 * MS)]}
    failed, done = [FAILED, run(0, 50, 60, how="failed"), run(0, 270, 280, attempt=1)], [run(0, 25, 30), run(0, 50, 60)]
    for plan, runs in ("f", failed), ("", done):
        assert repetitions(account([job(0, plan)], runs)), "nothing was made anew"
        assert repetitions(account([job(0, plan)], runs, unseen={B: unseen[A]})), "another worker has not seen it"
        assert repetitions(account([job(0, plan)], runs, unseen=unseen)) == []
    late = 10 + int(WINDOW * 1000) + 1
    runs = [run(0, 5, 10), run(0, late + 10, late + 20)]
    assert repetitions(account([job(0)], runs, unseen={A: [Span(0, late * MS)]})), "that was committed before"


async def test_a_worker_says_by_which_offset_it_saw_a_topic_made_anew(caplog: pytest.LogCaptureFixture) -> None:
    async def handle(job: DeliverWebhook, ctx: JobContext) -> None:
        """Nothing."""

    async with rig(handle) as it:
        it.open(P0, P1)
        partition = it.assignment.partition(P1)
        assert partition is not None
        it.assignment.retry_log_replaced(partition)
        it.take(records(0, 3))
        it.take(records(1, 1))
    lines = [f"[2026-11-29 08:17:01,135] [7] [ERROR] {each}" for each in caplog.messages]
    assert [topic for topic, _ in seen_at("\n".join(lines))] == [P1.retry.topic, P0.topic]


def test_a_worker_says_when_it_saw_a_topic_made_anew(caplog: pytest.LogCaptureFixture) -> None:
    tell_replaced([TopicPartition("jobs.x.retry", 0), TopicPartition("jobs.x.retry", 1)])
    at = datetime.now().replace(microsecond=250_000)
    line = f"[{at:%Y-%m-%d %H:%M:%S},250] [7] [ERROR] {caplog.messages[0]}"
    ((topic, seen),) = seen_at(f"[7] Ready\n{line}\njobs.x was made anew\n")
    assert topic == "jobs.x.retry"
    ago = (datetime.now() - at).total_seconds() * SECOND
    assert abs(time.monotonic_ns() - ago - seen) < SECOND // 10


def test_nobody_has_yet_seen_the_last_time_that_a_topic_was_made_anew() -> None:
    remakes = [("x", 10), ("x", 30), ("y", 34)]
    seen = [("x", 5), ("x", 25), ("x", 35), ("y", 99), ("z", 99)]
    assert spans_until(seen, remakes) == [Span(10, 25), Span(30, 35), Span(34, 99)]


def test_a_worker_that_gets_nothing_any_more_explains_a_failure_and_no_attempt_that_was_not_made() -> None:
    runs, limits = [FAILED, DONE_LATER], {A: [Span(5 * MS, 8 * MS)]}
    assert broken(account([job(0)], runs, limits=limits)) == {}
    assert repetitions(account([job(0)], runs)), "nothing was limited"
    assert repetitions(account([job(0)], runs, limits={B: limits[A]})), "another worker was"
    assert attempts(account([job(0)], [DONE_LATER], limits=limits)), "a job is blamed that has not run"
    given_up = [run(0, at * 1000, at * 1000 + 1, how="failed", attempt=at) for at in range(1, 4)]
    assert outcomes(account([job(0)], given_up, (0, "RuntimeError"), limits=limits)), "those came later"


def test_what_was_sent_back_is_a_job_of_its_own_that_comes_to_an_end() -> None:
    again = replace(job(0), id="k0+1", redriven=True)
    first, second = run(0, 0, 10, how="failed"), replace(run(0, 100, 110), job="k0+1")
    assert broken(account([job(0, "p"), again], [first, second], (0, "E"))) == {}
    assert outcomes(account([job(0, "p"), again], [first], (0, "E"))), "it was sent back and is lost"
    twice = replace(run(0, 200, 210), job="k0+1")
    assert repetitions(account([job(0, "p"), again], [first, second, twice], (0, "E")))


def test_jobs_that_were_sent_back_keep_their_order_among_themselves() -> None:
    jobs = [replace(job(seq), id=f"k{seq}+1", redriven=True) for seq in range(2)]
    runs = [replace(run(seq, 100 - seq * 50, 110 - seq * 50), job=f"k{seq}+1") for seq in range(2)]
    assert order(account(jobs, runs))
    assert order(account([replace(jobs[0], redriven=False), jobs[1]], runs)) == []


def test_a_redrive_sends_all_that_it_has_found() -> None:
    redrive = Operation(False, "chaos", frozenset({"k0", "k1+1", "k2+3"}), Span(0, MS))
    purge = Operation(True, "chaos", frozenset({"k1+1"}), Span(-MS, 0))
    assert len(commands(account([], [], commands=[redrive]))) == 2, "one was sent back often enough"
    assert commands(account([], [], commands=[redrive], sent={"k0+1", "k1+2"})) == []
    assert len(commands(account([], [], commands=[purge, redrive]))) == 1
    assert commands(account([], [], commands=[redrive], removals={"chaos": [MS]})) == []
    assert len(commands(account([], [], commands=[redrive], removals={"chaos": [-MS], "other": [MS]}))) == 2


def test_what_was_purged_is_not_sent_back_later() -> None:
    purge = Operation(True, "chaos", frozenset({"k0"}), Span(0, MS))
    again = replace(job(0), id="k0+1", redriven=True, at=60 * SECOND)
    assert commands(account([again], [], commands=[purge]))
    assert commands(account([replace(again, at=-MS)], [], commands=[purge])) == [], "it was sent back before"


def test_a_stop_without_its_last_commit_needs_brokers_that_were_away() -> None:
    uncommitted = {A: Span(20 * SECOND, 25 * SECOND)}
    assert stops(account([], [], uncommitted=uncommitted))
    assert stops(account([], [], uncommitted=uncommitted, outages=[Span(0, 10 * SECOND)])), "it was long over"
    assert stops(account([], [], uncommitted=uncommitted, cuts={B: [Span(0, 22 * SECOND)]})), "another was cut off"
    for away in ({"outages": [Span(0, 22 * SECOND)]}, {"cuts": {A: [Span(0, 22 * SECOND)]}}):
        assert stops(account([], [], uncommitted=uncommitted, **away)) == []


def test_a_dead_letter_is_not_owed_where_the_record_was_taken_away_before_it_could_be_had() -> None:
    failed = [run(0, 0, 10, how="failed")]
    assert outcomes(account([job(0, "p")], failed, gone={"k0": 500 * MS}))
    refused = [Span(0, 400 * MS)]
    assert outcomes(account([job(0, "p")], failed, refusals=refused))
    assert outcomes(account([job(0, "p")], failed, refusals=refused, gone={"k0": 500 * MS})) == []


def test_what_lies_twice_in_its_queue_runs_twice() -> None:
    runs = [run(0, 0, 10), run(0, 20, 30)]
    assert repetitions(account([job(0)], runs))
    assert repetitions(account([job(0)], runs, twice={"k0"})) == []
    failures = [Span(0, SECOND)]
    assert repetitions(account([job(0)], runs, failures=failures)), "what still lies there lies there once"
    assert repetitions(account([job(0)], runs, failures=failures, gone={"k0": 0})) == []


def test_a_key_that_is_being_worked_through_has_no_stall() -> None:
    """What was sent back lies behind all that was published."""
    late = int(STALL * 1000) + 1000
    again = replace(job(0), id="k0+1", redriven=True, at=20 * MS)
    runs = [run(0, 0, 10), run(1, late - 10, late), replace(run(0, late + 10, late + 20), job="k0+1")]
    found = stalls(account([job(0), replace(job(1), at=(late - 20) * MS), again], runs))
    assert found == []
    assert stalls(account([job(0), again], [runs[0], runs[2]]))


def test_a_letter_whose_job_was_sent_back_and_taken_away_is_not_owed_by_the_next_redrive() -> None:
    earlier = Operation(purge=False, queue="chaos", letters=frozenset({"k0"}), span=Span(0, SECOND))
    later = replace(earlier, span=Span(5 * SECOND, 6 * SECOND))
    assert commands(account([job(0)], [], commands=[later]))
    removals = {"chaos": [2 * SECOND]}
    assert commands(account([job(0)], [], commands=[later], removals=removals))
    assert commands(account([job(0)], [], commands=[later], tries=[earlier], removals=removals)) == []


def test_a_letter_that_was_written_within_a_redrive_may_have_been_sent_by_it() -> None:
    earlier = Operation(purge=False, queue="chaos", letters=frozenset(), span=Span(0, SECOND))
    later = replace(earlier, letters=frozenset({"k0"}), span=Span(5 * SECOND, 6 * SECOND))
    removals = {"chaos": [2 * SECOND]}
    assert commands(account([job(0, "p")], [FAILED], commands=[earlier, later], removals=removals)) == []
    assert commands(account([job(0, "p")], [FAILED], commands=[earlier, later])), "nothing was taken away"
    behind = run(0, 1500, 1510, how="failed")
    assert commands(account([job(0, "p")], [behind], commands=[earlier, later], removals=removals)), "it came later"
