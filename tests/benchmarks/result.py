"""One line of the benchmarks' table."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Result:
    """A figure that was measured, and what it was meant to be."""

    name: str
    value: float
    unit: str
    goal: str  # in words, such as ">= 60 %"; empty where a figure is only reported
    ok: bool | None  # whether the goal was met; None where there is none
