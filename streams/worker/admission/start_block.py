"""Why an executor starts no jobs. Any number of reasons may hold at once."""

from __future__ import annotations

from enum import Enum


class StartBlock(Enum):
    """Why an executor starts no jobs."""

    REBALANCE = "rebalance"
    STOP = "the worker stops"
    ISOLATION = "a job that may kill the worker runs alone"
