# ruff: noqa
"""Models of the ordered queue's jobs.

Generated from the schemas in ../schemas/ordered by python -m schemas.generate; do not edit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

SCHEMAS: Final = "../schemas/ordered"


@dataclass(frozen=True, kw_only=True)
class Step:
    """Notes its start and its end in the ledger."""

    JOB_TYPE: ClassVar[str] = "tests.ordered.Step"

    seq: int
    """Its place among the jobs of its key, from 0 on."""

    seconds: float
    """How long it runs."""
