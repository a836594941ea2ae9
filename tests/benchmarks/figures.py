"""What was measured in several runs, and what it was meant to be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

from tests.benchmarks.result import Result


@dataclass(frozen=True)
class Goal:
    """A limit for a figure."""

    bound: Literal[">=", "<=", "<"]
    limit: float

    def met_by(self, value: float) -> bool:
        """Whether a figure is on the right side of the limit."""
        if self.bound == ">=":
            return value >= self.limit
        return value <= self.limit if self.bound == "<=" else value < self.limit


@dataclass(frozen=True)
class Figure:
    """A figure of every run. Its value is their median."""

    name: str
    unit: str
    samples: Sequence[float]
    goal: Goal | None = None

    def result(self) -> Result:
        """The line for the table."""
        value = median(self.samples)
        if self.goal is None:
            return Result(self.name, value, self.unit, "", None)
        goal = f"{self.goal.bound} {number(self.goal.limit)} {self.unit}"
        return Result(self.name, value, self.unit, goal, self.goal.met_by(value))

    def spread(self) -> str:
        """The lowest and the highest of all runs."""
        return f"{number(min(self.samples))} to {number(max(self.samples))}"


@dataclass(frozen=True)
class Scale:
    """How much a benchmark does."""

    runs: int
    quick: bool

    def jobs(self, full: int) -> int:
        """How many jobs to run where a full benchmark runs this many."""
        return full // 10 if self.quick else full


def number(value: float) -> str:
    """Three digits that count, and no more than a reader needs."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def shares(parts: Sequence[float], wholes: Sequence[float], factor: float = 100.0) -> list[float]:
    """One figure over another, run by run; in percent unless told."""
    return [factor * part / whole for part, whole in zip(parts, wholes, strict=True)]
