# ruff: noqa
"""Models of the demo queue's jobs.

Generated from the schemas in ../schemas/demo by python -m schemas.generate; do not edit.
"""

from __future__ import annotations

import datetime as datetime_module
from dataclasses import dataclass, field
from datetime import date, datetime, time
from decimal import Decimal
from enum import Enum
from typing import ClassVar, Final, TypeAlias
from uuid import UUID

SCHEMAS: Final = "../schemas/demo"

Digest: TypeAlias = bytes


class Color(Enum):
    RED = "RED"
    BLUE = "BLUE"


@dataclass(frozen=True, kw_only=True)
class Point:
    x: float
    y: float = 1.5


@dataclass(frozen=True, kw_only=True)
class Circle:
    x: float
    r: float


@dataclass(frozen=True, kw_only=True)
class Node:
    value: int
    next: Node | None = None


@dataclass(frozen=True, kw_only=True)
class Everything:
    """Every kind of type a payload may have."""

    JOB_TYPE: ClassVar[str] = "tests.demo.Everything"

    id: UUID
    at: datetime
    """Aware."""

    day: date
    clock: time
    price: Decimal
    digest: Digest
    point: Point
    tree: Node
    until: datetime | None = None
    local: datetime | None = None
    raw: bytes = b"\xff\x01"
    class_: str = "first"
    numbers: list[int] = field(default_factory=list)
    ratios: dict[str, float | None] = field(default_factory=dict)
    color: Color = Color.RED
    accent: Color | None = None
    path: list[Point] = field(default_factory=list)
    places: dict[str, Point] = field(default_factory=dict)
    either: str | int | bool | None = None
    word: str | Color = "none"
    shape: Point | Circle | None = None
    flag: bool = False


class Kind(Enum):
    OLD = "OLD"
    NEW = "NEW"


@dataclass(frozen=True, kw_only=True)
class Growing:
    JOB_TYPE: ClassVar[str] = "tests.demo.Growing"
    title: str
    count: float
    kept: Kind
    when: datetime
    tags: list[str] = field(default_factory=lambda: ["fresh"])
    mark: bytes = b"\xff"
    since: date = datetime_module.date.fromisoformat("1970-01-02")
    note: str | None = None
