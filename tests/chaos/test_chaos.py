"""Two minutes of chaos, and a short one of three brokers; a longer one by hand: make chaos SECONDS=1800 SEED=7."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.brokers import Broker, Cluster
from tests.chaos.rules import broken, summary
from tests.chaos.run import Chaos
from tests.chaos.schedule import Disturbance, Kind

SECONDS = 120
#: The same each time, so that a change is what makes a difference; CHAOS_SEED names another.
SEED = int(os.environ.get("CHAOS_SEED") or 20)


@pytest.mark.timeout(900)
def test_no_rule_is_broken(own_broker: Broker, namespace: str, tmp_path: Path, show: Callable[[str], None]) -> None:
    lines: list[str] = []
    show(f"seed {SEED} (make chaos SEED={SEED} SECONDS={SECONDS})")
    account, faults = Chaos(own_broker, namespace, tmp_path, seed=SEED, seconds=SECONDS, say=lines.append).run()
    show(summary(account))
    print(*lines, sep="\n")
    assert not faults
    assert not broken(account)


#: One of each, by turns, in a short time; and what the other run has not.
THREE_SECONDS = 25
THREE = (
    Disturbance(1.0, Kind.BROKER_KILL, 2.0, 0.1), Disturbance(1.0, Kind.LEADERS_MOVE),
)  # fmt: skip
NETWORK = (
    Disturbance(1.0, Kind.NET_CUT, 1.0, 0.9), Disturbance(3.0, Kind.NET_HALF_OPEN, 3.0, 0.1),
    Disturbance(1.0, Kind.NET_HOLD, 3.0, 0.5), Disturbance(1.0, Kind.NET_DROP, 1.0, 0.9),
)  # fmt: skip


@pytest.mark.timeout(600)
def test_three_brokers_behind_a_network_that_fails(namespace: str, tmp_path: Path, show: Callable[[str], None]) -> None:
    lines: list[str] = []
    with closing(Cluster()) as cluster:
        cluster.start()
        chaos = Chaos(
            cluster, namespace, tmp_path, seed=SEED, seconds=THREE_SECONDS, kinds=(), of_broker=THREE,
            of_network=NETWORK, say=lines.append,
        )  # fmt: skip
        account, faults = chaos.run()
    show(summary(account))
    print(*lines, sep="\n")
    assert not faults
    assert not broken(account)
