"""Chaos by hand: `python -m tests.chaos [--seconds N] [--seed N] [--brokers 3]`, or `make chaos SECONDS=n SEED=n`."""

from __future__ import annotations

import argparse
import logging
import random
import signal
import sys
import tempfile
import uuid
from contextlib import closing
from pathlib import Path

from tests.brokers import Broker, Cluster, private_broker
from tests.chaos.rules import broken, summary
from tests.chaos.run import Chaos
from tests.chaos.schedule import ALL, Kind
from tests.disk import can_mount

#: Breaches of one rule that are shown.
_SHOWN = 20
#: Megabytes of each disk that can be full.
_DISK = 800


def main() -> int:
    """Run once; 1 if a rule was broken."""
    options = _parse()
    # A shell's job in the background ignores Ctrl-C, and would have the workers do so until they handle it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    print(f"seed {options.seed}, {options.seconds:g} s", flush=True)
    directory = Path(tempfile.mkdtemp(prefix="chaos-"))
    _log_to(directory / "publisher.log")
    with closing(_brokers(options)) as broker:
        broker.start()
        chaos = Chaos(
            broker, f"chaos-{uuid.uuid4().hex[:8]}", directory, seed=options.seed, seconds=options.seconds,
            fault=options.fault, kinds=options.only - options.without, debug="topic,eos,broker",
            patience=options.patience,
            say=lambda line: print(line, flush=True),
        )  # fmt: skip
        account, faults = chaos.run()
    print(summary(account))
    found = broken(account) | ({"workers": faults} if faults else {})
    for rule, said in found.items():
        print(f"\n{rule}: {len(said)}", *said[:_SHOWN], sep="\n  ")
    print(f"seed {options.seed}: {'no rule broken' if not found else 'BROKEN: ' + ', '.join(found)}; logs: {directory}")
    return int(bool(found))


def _log_to(path: Path) -> None:
    """Keep what the publisher says: of a broker that is away, and what becomes of its records."""
    logger = logging.getLogger("producers")
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    handler = logging.FileHandler(path)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    logger.addHandler(handler)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description="Disturb workers and broker.")
    parser.add_argument("--seconds", type=float, default=600, help="how long to disturb (%(default)g)")
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000), help="by default another each time")
    parser.add_argument("--broker", choices=("container", "embedded"), help="a container if there is one")
    parser.add_argument("--brokers", type=int, choices=(1, 3), help="a cluster of so many embedded ones")
    parser.add_argument("--only", type=_kinds, default=ALL, help=f"of {', '.join(kind.title for kind in Kind)}")
    parser.add_argument("--without", type=_kinds, default=frozenset(), help="kinds to leave out, separated by commas")
    parser.add_argument("--patience", type=float, default=1.0, help="more for a machine that does other things, too")
    parser.add_argument("--fault", default="", help="a mechanism to switch off: see tests/chaos/faults.py")
    return parser.parse_args()


def _brokers(options: argparse.Namespace) -> Broker | Cluster:
    if options.brokers:
        return Cluster(options.brokers, megabytes=_DISK if can_mount() else 0)
    return private_broker(options.broker)


def _kinds(names: str) -> frozenset[Kind]:
    by_title = {kind.title: kind for kind in Kind}
    return frozenset(by_title[name.strip()] for name in names.split(","))


if __name__ == "__main__":
    sys.exit(main())
