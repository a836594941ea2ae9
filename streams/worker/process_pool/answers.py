"""What a process sends of a run, read by the worker: data, and nothing that could do anything there.

A handler publishes whatever objects it likes, and to unpickle an object may call any function. So of what a process
sends only classes are looked up, and of these only such as payloads are made of.
"""

from __future__ import annotations

import dataclasses
import enum
import io
import pickle
import sys
from typing import Any
from zoneinfo import ZoneInfo

#: Modules of payloads' own values, beside models: dates, decimals, UUIDs.
_PLAIN = frozenset({"datetime", "decimal", "uuid", "zoneinfo"})
_BUILT_IN = frozenset({"set", "frozenset", "bytearray", "complex"})


class Unreadable(Exception):
    """What is to be sent is not only data."""


def read_answer(body: bytes) -> Any:
    """What a process has sent. Raises Unreadable."""
    try:
        return _Unpickler(io.BytesIO(body)).load()
    except Unreadable:
        raise
    except BaseException as error:
        raise Unreadable(f"{type(error).__name__} where it was read") from error


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("builtins", "getattr"):
            return _part_of  # By which time zones are found.
        if module not in sys.modules:
            raise Unreadable(f"{module} is not imported here")
        found = super().find_class(module, name)
        if not _is_data(found):
            raise Unreadable(f"{module}.{name} is no class of payloads")
        return found


def _is_data(found: Any) -> bool:
    if not isinstance(found, type):
        return False
    module, name = found.__module__, found.__qualname__
    if module in _PLAIN or (module == "builtins" and name in _BUILT_IN):
        return True
    return dataclasses.is_dataclass(found) or issubclass(found, enum.Enum)


def _part_of(owner: Any, name: str) -> Any:
    if owner is ZoneInfo and name == "_unpickle":
        return getattr(owner, name)
    raise Unreadable(f"{name} of {owner!r} is no class of payloads")
