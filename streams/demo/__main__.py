"""`python -m streams.demo`: the demonstration behind `make run`."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from pathlib import Path

from pydantic import ValidationError

from producers import ProducersError
from schemas.generator.output import show_anything
from streams.demo.errors import DemoFailed, Interrupted
from streams.demo.screen import Screen
from streams.demo.show import show

#: What shells say of a program that Ctrl-C has ended.
_INTERRUPTED = 130


def main() -> int:
    """Run the demonstration; returns the exit code."""
    show_anything()
    screen, options = Screen(), _parse()
    try:
        asyncio.run(show(screen, options.runs, options.data, options.seconds))
    except Interrupted as interruption:
        screen.error(str(interruption))
        return _INTERRUPTED
    except (DemoFailed, ProducersError, ValidationError) as failure:
        screen.error(str(failure))
        return 1
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m streams.demo", description=__doc__)
    parser.add_argument(
        "--seconds",
        type=float,
        default=os.environ.get("SECONDS") or None,
        help="how long jobs go on once all is started (SECONDS; until Ctrl-C); the examples are always finished",
    )
    parser.add_argument("--runs", type=Path, default=Path("build/run"), help="logs and pictures (%(default)s)")
    parser.add_argument("--data", type=Path, help="data of the embedded broker (.data/kafka)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
