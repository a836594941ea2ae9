"""What the parts of a schema are called in Python.

Avro's names are identifiers, but not all of them can be those of a class, an attribute or a member.
"""

from __future__ import annotations

import keyword
import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

from schemas.errors import SchemaInvalid

#: Names that a generated module or class gives itself.
CLASSES = "CLASSES"
SCHEMAS = "SCHEMAS"
JOB_TYPE = "JOB_TYPE"

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
#: Names of members that Enum keeps for itself.
_OF_ENUM = frozenset({"mro", "name", "value"})


def attribute_of(field: str) -> str:
    """The attribute that holds a field of a record; Python's keywords get an underscore, `from_` a second one."""
    return f"{field}_" if _is_taken(field.rstrip("_")) else field


def field_of(attribute: str) -> str:
    """The field that an attribute holds."""
    return attribute[:-1] if _is_taken(attribute.rstrip("_")) else attribute


def _is_taken(name: str) -> bool:
    return keyword.iskeyword(name) or name == JOB_TYPE


def member_of(symbol: str) -> str:
    """The member of an enum class that stands for a symbol."""
    sunder = symbol.startswith("_") and symbol.endswith("_")
    return f"{symbol}_" if keyword.iskeyword(symbol) or symbol in _OF_ENUM or sunder else symbol


def class_of(name: str) -> str:
    """The class of a record or an enum, by its full name, where no other wants that: OrderItem for order_item."""
    simple = name.rpartition(".")[2]
    called = simple if simple[0].isupper() else _camel(simple) or simple
    return f"{called}_" if keyword.iskeyword(called) or called in {CLASSES, SCHEMAS} else called


def class_names(names: Iterable[str], job_types: Iterable[str], taken: Iterable[str]) -> dict[str, str]:
    """A class for each full name, no two alike: job types come first, and others are told apart by their namespaces.

    taken  names that no class may have
    """
    used, found = set(taken), dict[str, str]()
    others = sorted(set(names) - set(job_types))
    wanted = Counter(map(class_of, others))
    for name in (*sorted(job_types), *others):
        alone = wanted[class_of(name)] < 2 or name in job_types
        found[name] = next(choice for choice in _choices(name, alone=alone) if choice not in used)
        used.add(found[name])
    return found


def _choices(name: str, *, alone: bool) -> Iterable[str]:
    """Names for a class, the best first."""
    parts = name.split(".")
    if alone:
        yield class_of(name)
    for count in range(2, len(parts) + 1):
        yield class_of("".join(map(_camel, parts[-count:])) or name)
    for count in range(1, 10_000):
        yield f"{class_of(name)}{count}"


def _camel(name: str) -> str:
    joined = "".join(part[:1].upper() + part[1:] for part in name.split("_"))
    return joined if joined.isidentifier() else ""


def check_module_name(queue: str) -> None:
    """Raises SchemaInvalid for a folder whose models no module could be called after."""
    if not queue.isidentifier() or keyword.iskeyword(queue) or queue.startswith("__"):
        raise SchemaInvalid(
            f"the folder {queue!r} cannot give its name to a Python module; use letters, digits and underscores, and"
            " let the namespace of its schemas end so"
        )


def check_names(named: dict[str, Any]) -> None:
    """Raises SchemaInvalid for names that no Python class can have for a part.

    named  records, enums and fixeds by full name
    """
    for name, node in named.items():
        if node["type"] == "record":
            parts = {field["name"]: attribute_of(field["name"]) for field in node["fields"]}
            _check_parts("field", name, parts)
        elif node["type"] == "enum":
            _check_parts("symbol", name, {symbol: member_of(symbol) for symbol in node["symbols"]})
            if not node["symbols"]:
                raise SchemaInvalid(f"{name} has no symbol, so it has no value; give it one, or use a text")


def _check_parts(what: str, owner: str, parts: dict[str, str]) -> None:
    for part, called in parts.items():
        if not _NAME.fullmatch(part):
            raise SchemaInvalid(f"{what} {part!r} of {owner}: names are of letters, digits and underscores; rename it")
        if part.startswith("__"):
            raise SchemaInvalid(
                f"{what} {part!r} of {owner}: Python keeps names that begin with two underscores for itself; rename it"
            )
        alike = [repr(other) for other, name in parts.items() if name == called]
        if len(alike) > 1:
            raise SchemaInvalid(f"{what}s {' and '.join(alike)} of {owner} would both be {called!r}; rename one")
