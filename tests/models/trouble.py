# ruff: noqa
"""Models of the trouble queue's jobs.

Generated from the schemas in ../schemas/trouble by python -m schemas.generate; do not edit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

SCHEMAS: Final = "../schemas/trouble"


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """Ends badly, in a chosen way."""

    JOB_TYPE: ClassVar[str] = "tests.trouble.Trouble"

    how: str
    """The name of the way."""

    follow_up: bool = False
    """Whether it publishes a job before it ends."""
