"""What the benchmarks and the handlers of the measured worker call things; jobs.py is for a worker to import."""

from __future__ import annotations

#: What the environment tells the handlers that fail.
FAILING_PERCENT = "BENCH_FAILING_PERCENT"  # how many of the jobs fail once
HOT_IS_ILL = "BENCH_HOT_IS_ILL"  # "1" if the first job of the hot key fails until it is healed
COUNTED = "BENCH_COUNTED"  # the key whose jobs are counted; empty: all other keys' but those that steer
WAIT = "BENCH_WAIT"  # seconds between the first attempt of a job that fails once and the second
UNGUARDED = "BENCH_UNGUARDED"  # "1" if the worker is not to guard against jobs that kill it
WAITS = "BENCH_WAITS"  # after how many timed jobs to report how long each has waited

#: Keys that mean something to the handlers.
FAILING_KEY = "failing"  # with a number behind it: a key whose jobs fail once
ILL_KEY = "ill"  # with a number behind it: a key whose jobs fail for ever
HOT_KEY, HELLO_KEY, HEAL_KEY, TIMED_KEY = "hot", "hello", "heal", "timed"
