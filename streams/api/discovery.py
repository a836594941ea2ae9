"""Imports the modules that declare queues, and finds the queues in them."""

from __future__ import annotations

import importlib
import pkgutil
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType

from streams.api.queue import Queue
from streams.errors import DefinitionError, SetupError

#: Where files lie that declare nothing: this project's own, and those that import.
_OURS = {Path(__file__).parent, Path(__file__).parents[1], Path(importlib.__file__).parent}


def load_queues(packages: Iterable[str]) -> list[Queue]:
    """Import packages with all their modules and return the queues they declare, by name.

    An error in a module is raised as it is, with its traceback. Raises SetupError for a package that is not there, for
    two queues of one name, and for what a module declares and cannot work, with its line.
    """
    found: dict[str, tuple[Queue, str]] = {}
    for package in packages:
        declared = [(value, module.__name__) for module in _modules(package) for value in _queues(module)]
        if not declared:
            raise SetupError(
                f"module {package!r} (STREAMS_JOBS) declares no queue: declare one, or take it off the list"
            )
        for queue, module_name in declared:
            _add(found, queue, module_name)
    return [found[name][0] for name in sorted(found)]


def _modules(package: str) -> Iterator[ModuleType]:
    if not all(part.isidentifier() for part in package.split(".")):
        raise SetupError(f"{package!r} cannot be the name of a module (STREAMS_JOBS): write it as in `import`")
    try:
        module = _import(package)
    except ModuleNotFoundError as error:
        if error.name is None or not (package == error.name or package.startswith(f"{error.name}.")):
            raise
        raise SetupError(
            f"there is no module {package!r} to import (STREAMS_JOBS): check its name and PYTHONPATH"
        ) from error
    yield module
    for info in pkgutil.walk_packages(getattr(module, "__path__", ()), f"{package}.", onerror=_raise):
        yield _import(info.name)


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except DefinitionError as error:
        raise SetupError(f"{_line_of(error)}: {error}") from error


def _line_of(error: DefinitionError) -> str:
    """The file and the line that declare what cannot work: the last that are not this package's own."""
    told = [each for each in traceback.extract_tb(error.__traceback__) if not each.filename.startswith("<")]
    theirs = [each for each in told if Path(each.filename).parent not in _OURS]
    return f'File "{theirs[-1].filename}", line {theirs[-1].lineno}'


def _queues(module: ModuleType) -> list[Queue]:
    return [value for value in vars(module).values() if isinstance(value, Queue)]


def _raise(name: str) -> None:
    raise  # noqa: PLE0704 - called by walk_packages while it handles the error


def _add(found: dict[str, tuple[Queue, str]], queue: Queue, module: str) -> None:
    earlier = found.setdefault(queue.name, (queue, module))
    if earlier[0] is not queue:
        if earlier[1] == module:
            raise SetupError(f"{module} declares two queues {queue.name!r}: remove one, or give it another name")
        raise SetupError(
            f"{earlier[1]} and {module} both declare a queue {queue.name!r}: declare it in one of them and import it"
            " in the other, or leave the shipped queues out with STREAMS_SHIPPED_JOBS=false"
        )
