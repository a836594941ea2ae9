"""The account of a chaos run goes red when a mechanism is switched off, and stays green in the same run with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest

from tests.brokers import Broker, Kind, private_broker
from tests.chaos.account import Account
from tests.chaos.plan import Plan, Planned
from tests.chaos.rules import broken, summary
from tests.chaos.run import Chaos
from tests.chaos.schedule import Disturbance
from tests.chaos.schedule import Kind as Event


@dataclass(frozen=True)
class Experiment:
    """What is done to workers that lack a mechanism, and the rules that must be broken then."""

    rules: set[str]
    jobs: Callable[[int], Planned]
    workers: Sequence[Disturbance] = ()
    broker: Sequence[Disturbance] = ()
    seconds: float = 8.0


def every(times: int, letters: str) -> Callable[[int], Planned]:
    """Short jobs of thirty keys, of which one in so many is planned otherwise: in all keys, if it is a prime."""

    def job(number: int) -> Planned:
        return Planned("chaos", f"key-{number % 30}", 0.002, Plan(letters if number % times == 0 else ""))

    return job


#: One of each of the queue's six partitions, so that whichever worker is disturbed has some.
EVERYWHERE = ("key-1", "key-0", "key-2", "key-4", "key-14", "key-3")


def slow(number: int) -> Planned:
    """Jobs that pile up in their keys."""
    return Planned("chaos", EVERYWHERE[number % len(EVERYWHERE)], 0.1, Plan())


def with_a_long_one(number: int) -> Planned:
    """Short jobs, and among them some that keep the watermark where it is."""
    if number % 50 == 0:
        return Planned("chaos-thread", f"long-{number}", 6.0, Plan())
    return Planned("chaos-thread", f"key-{number % 30}", 0.002, Plan())


KILL = Disturbance(5.0, Event.KILL)
STOP = Disturbance(5.0, Event.STOP)

EXPERIMENTS = {
    "parking": Experiment({"order"}, every(7, "f")),
    "loading": Experiment({"outcomes"}, every(7, "fff"), workers=[KILL]),
    # The first retry of a job is held, the second is not.
    "finish rule": Experiment(
        {"outcomes"}, every(7, "ff"), workers=[KILL], broker=[Disturbance(2.0, Event.REFUSE_RETRIES, 4.0)]
    ),
    "note of failures": Experiment({"repetitions"}, every(2, "f"), workers=[STOP]),
    "fencing": Experiment({"repetitions"}, slow, workers=[Disturbance(4.0, Event.FREEZE, 10.0)], seconds=16.0),
    "map": Experiment({"repetitions"}, with_a_long_one, workers=[KILL]),
}


@pytest.fixture(scope="module")
def disturbed(broker_kind: Kind | None) -> Iterator[Broker]:
    """A broker for all of these runs, each of which has a namespace of its own."""
    with closing(private_broker(None if broker_kind == "external" else broker_kind)) as broker:
        broker.start()
        yield broker


@pytest.mark.parametrize("fault", EXPERIMENTS)
def test_a_mechanism_that_is_switched_off_is_missed(
    disturbed: Broker, namespace: str, tmp_path: Path, show: Callable[[str], None], fault: str
) -> None:
    experiment = EXPERIMENTS[fault]
    found = broken(_run(experiment, disturbed, namespace, tmp_path, fault=fault, settle=12))
    for rule, said in found.items():
        show(f"{rule}: {len(said)}, such as {said[0][:300]}")
    assert experiment.rules <= found.keys()


@pytest.mark.parametrize("fault", EXPERIMENTS)
def test_with_the_mechanism_nothing_is_found(
    disturbed: Broker, namespace: str, tmp_path: Path, show: Callable[[str], None], fault: str
) -> None:
    assert not broken(_run(EXPERIMENTS[fault], disturbed, namespace, tmp_path, show=show))


def _run(
    experiment: Experiment, broker: Broker, namespace: str, directory: Path, *, fault: str = "", settle: float = 90,
    show: Callable[[str], None] = lambda line: None,
) -> Account:  # fmt: skip
    chaos = Chaos(
        broker, namespace, directory, seed=1, seconds=experiment.seconds, fault=fault,
        jobs=map(experiment.jobs, count()), kinds=(), of_workers=experiment.workers, of_broker=experiment.broker,
    )  # fmt: skip
    account, _ = chaos.run(settle=settle)
    show(summary(account))
    return account
