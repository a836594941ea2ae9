"""The benchmarks: `python -m tests.benchmarks [--only NAME] [--runs N] [--quick] [--strict]`.

Prints a table and writes build/bench.json. Runs on the broker in KAFKA_BOOTSTRAP_SERVERS, else on an embedded one.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict

from tests.benchmarks import (
    concurrency,
    delayed,
    failures,
    hostile,
    hot_key,
    latency,
    memory,
    noop,
    outstanding,
    publish_and_wait,
    publishing,
    registry,
    soak,
    start,
)
from tests.benchmarks.contenders import ROOT, note
from tests.benchmarks.figures import Figure, Scale, number
from tests.benchmarks.result import Result
from tests.brokers import shared_broker

OUTPUT = ROOT / "build" / "bench.json"
#: A result, and how far its runs were apart.
Row = tuple[Result, str]


def _rows(benchmark: Callable[[str, Scale], list[Figure]]) -> Callable[[str, Scale], list[Row]]:
    return lambda bootstrap, scale: [(figure.result(), figure.spread()) for figure in benchmark(bootstrap, scale)]


def _publishing(bootstrap: str, scale: Scale) -> list[Row]:
    note("publishing")
    return [(result, "") for result in publishing.run(bootstrap, scale.runs)]


BENCHMARKS: dict[str, Callable[[str, Scale], list[Row]]] = {
    "noop": _rows(noop.run),
    "registry": _rows(registry.run),
    "concurrency": _rows(concurrency.run),
    "publishing": _publishing,
    "publish-and-wait": _rows(publish_and_wait.run),
    "latency": _rows(latency.run),
    "start": _rows(start.run),
    "memory": _rows(memory.run),
    "failures": _rows(failures.run),
    "hostile": _rows(hostile.run),
    "hot-key": _rows(hot_key.run),
    "delayed": _rows(delayed.run),
    "outstanding": _rows(outstanding.run),
    "soak": _rows(soak.run),
}
#: Takes half an hour, and is run where it is named.
_BY_NAME_ONLY = {"soak"}


def main() -> int:
    """Run the benchmarks; with --strict a missed goal is an error."""
    options = _parse()
    scale = Scale(options.runs, options.quick)
    rows: list[Row] = []
    _mention_load()
    with closing(shared_broker("external" if os.environ.get("KAFKA_BOOTSTRAP_SERVERS") else "embedded")) as broker:
        broker.start()
        for name in options.only or [name for name in BENCHMARKS if name not in _BY_NAME_ONLY]:
            rows += BENCHMARKS[name](broker.bootstrap, scale)
    results = [result for result, _ in rows]
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    OUTPUT.write_text(json.dumps([asdict(result) for result in results], indent=2, ensure_ascii=False) + "\n")
    print(_table(rows, scale.runs))
    note(f"written to {OUTPUT.relative_to(ROOT)}")
    return int(options.strict and any(result.ok is False for result in results))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description="Measure the system.")
    parser.add_argument("--only", choices=BENCHMARKS, action="append", help="one benchmark; may be given again")
    parser.add_argument("--runs", type=_count, default=3, help="runs of each contender (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="a tenth of the jobs: to try the benchmarks, not to judge")
    parser.add_argument("--strict", action="store_true", help="exit with 1 when a goal is missed")
    return parser.parse_args()


def _count(text: str) -> int:
    count = int(text)
    if count < 1:
        raise ValueError(text)
    return count


def _mention_load() -> None:
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    if load > cores / 2:
        note(f"others use this machine (load {load:.1f}, {cores} cores): its figures will be worse than an idle one's")


def _table(rows: list[Row], runs: int) -> str:
    lines = [("benchmark", "value", "goal", "verdict", f"range of {runs} run{'s' * (runs > 1)}")]
    lines += [
        (result.name, f"{number(result.value)} {result.unit}", result.goal, _verdict(result), spread)
        for result, spread in rows
    ]
    widths = [max(len(line[column]) for line in lines) for column in range(5)]
    lines.insert(1, tuple("-" * width for width in widths))  # type: ignore[arg-type]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def _verdict(result: Result) -> str:
    return {True: "met", False: "MISSED", None: ""}[result.ok]


if __name__ == "__main__":
    sys.exit(main())
