"""What the jobs of a chaos run are to do, and when what is disturbed: the same for the same seed."""

from __future__ import annotations

import random
from itertools import islice

import pytest

from tests.chaos import plan, schedule
from tests.chaos.plan import Plan


@pytest.mark.parametrize(
    ("letters", "most", "in_pool", "last", "dies"),
    [
        ("", None, False, 0, False),
        ("f", None, False, 1, False),
        ("ffff", None, False, 3, True),
        ("f", 1, False, 0, True),
        ("fp", None, False, 1, True),
        ("z", None, False, 0, False),
        ("fz", None, False, 1, False),
        ("c", None, False, 0, True),
        ("c", None, True, 1, False),
        ("k", None, False, 0, False),
        ("rt", None, False, 2, False),
    ],
)
def test_how_a_plan_ends(letters: str, most: int | None, in_pool: bool, last: int, dies: bool) -> None:
    planned = Plan(letters, most, in_pool)
    assert (planned.last, planned.dies) == (last, dies)


STREAMS = (schedule.of_workers, schedule.of_broker, schedule.of_network, schedule.of_topics, schedule.of_operators)


def test_kinds_that_are_left_out_do_not_come() -> None:
    wanted = {schedule.Kind.KILL, schedule.Kind.BROKER_KILL}
    assert {each.kind for stream in STREAMS for each in stream(random.Random(3), 3600, wanted)} == wanted


def test_a_seed_is_a_run() -> None:
    def drawn(seed: int) -> list[object]:
        jobs = islice(plan.jobs(random.Random(seed)), 500)
        return [*jobs, *(each for stream in STREAMS for each in stream(random.Random(seed), 300))]

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)


def test_everything_comes_in_a_long_run() -> None:
    chance = random.Random(3)
    kinds = {each.kind for stream in STREAMS for each in stream(chance, 3600)}
    assert kinds == set(schedule.Kind)
    letters = {letter for job in islice(plan.jobs(chance), 5000) for letter in job.plan.letters}
    assert {"f", "r", "z", "t", "p", "c"} <= letters
