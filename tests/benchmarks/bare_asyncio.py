"""Tasks that sleep, without Kafka: what the 20 ms jobs are compared with.

`python -m tests.benchmarks.bare_asyncio TASKS` runs until it has counted its jobs.
"""

from __future__ import annotations

import asyncio
import sys

from tests.benchmarks.tally import Tally

SLEEP_SECONDS = 0.02


async def work(tally: Tally, jobs: int) -> None:
    """Sleep and count, one job after another."""
    for _ in range(jobs):
        tally.start()
        await asyncio.sleep(SLEEP_SECONDS)
        tally.end()


async def main(tasks: int) -> None:
    """Share the jobs among the tasks."""
    tally = Tally()
    await asyncio.gather(*(work(tally, tally.jobs // tasks) for _ in range(tasks)))


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
