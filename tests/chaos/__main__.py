"""Chaos by hand: `python -m tests.chaos [--seconds N] [--seed N] [--broker KIND]`, or `make chaos SECONDS=n SEED=n`."""

from __future__ import annotations

import argparse
import logging
import random
import sys
import tempfile
import uuid
from contextlib import closing
from pathlib import Path

from tests.brokers import private_broker
from tests.chaos.rules import broken, summary
from tests.chaos.run import Chaos

#: Breaches of one rule that are shown.
_SHOWN = 20


def main() -> int:
    """Run once; 1 if a rule was broken."""
    options = _parse()
    print(f"seed {options.seed}, {options.seconds:g} s", flush=True)
    # What clients say of a broker that is away is no news here.
    logging.getLogger("producers").setLevel(logging.CRITICAL)
    directory = Path(tempfile.mkdtemp(prefix="chaos-"))
    with closing(private_broker(options.broker)) as broker:
        broker.start()
        chaos = Chaos(
            broker, f"chaos-{uuid.uuid4().hex[:8]}", directory, seed=options.seed, seconds=options.seconds,
            fault=options.fault, say=lambda line: print(line, flush=True),
        )  # fmt: skip
        account, faults = chaos.run()
    print(summary(account))
    found = broken(account) | ({"workers": faults} if faults else {})
    for rule, said in found.items():
        print(f"\n{rule}: {len(said)}", *said[:_SHOWN], sep="\n  ")
    print(f"seed {options.seed}: {'no rule broken' if not found else 'BROKEN: ' + ', '.join(found)}; logs: {directory}")
    return int(bool(found))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description="Disturb workers and broker.")
    parser.add_argument("--seconds", type=float, default=600, help="how long to disturb (%(default)g)")
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000), help="by default another each time")
    parser.add_argument("--broker", choices=("container", "embedded"), help="a container if there is one")
    parser.add_argument("--fault", default="", help="a mechanism to switch off: see tests/chaos/faults.py")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
