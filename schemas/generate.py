"""Generates the typed models of job types from their Avro schemas.

    python -m schemas.generate                                   the models that come with the project
    python -m schemas.generate --schemas DIR --models DIR        your own
    python -m schemas.generate ... --check                       fails when a model is not current; changes nothing

Your own job types, in three steps:

1. Write `myapp/schemas/<queue>/<Type>.v1.avsc`, an Avro record called `<Type>` in a namespace that ends with the
   queue's name, such as `myapp.invoice`. A released file is never edited: a change is a new file, `<Type>.v2.avsc`.
2. `python -m schemas.generate --schemas myapp/schemas --models myapp/models` writes `myapp/models/<queue>.py`: a frozen
   dataclass for the highest version of every type.
3. Import and use it: `from myapp.models.invoice import SendInvoice`; `producer.publish(SendInvoice(...))`;
   `@invoices.job(SendInvoice)`. A model knows its job type (JOB_TYPE), and its module where the schemas lie (SCHEMAS,
   relative to the module), so nothing else has to be registered. Ship the .avsc files with your package.

Only files that it has written itself, and that nobody has changed since, are replaced or removed.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from schemas.avro.schema_nodes import named_types
from schemas.catalog import SHIPPED_SCHEMAS
from schemas.compatibility import incompatibilities
from schemas.errors import SchemaInvalid
from schemas.generator import files as model_files
from schemas.generator.files import Changes
from schemas.generator.names import check_module_name, check_names
from schemas.generator.output import show_anything
from schemas.generator.source import module_source
from schemas.generator.tryout import try_out
from schemas.job_schema import JobSchema, read_schema, schema_files

_SHIPPED_MODELS_DIR = Path(__file__).parent / "models"
_NAMED = ("record", "enum", "fixed")
_NESTING = frozenset({"type", "items", "values", "fields"})
_PLACE = "<queue>/<Type>.v<N>.avsc"
_REMEDY = "--schemas names a directory with a folder for each queue, and its files in it"


def render(schemas: Path, models: Path) -> dict[Path, str]:
    """The text of every model file, by path, tried out; raises SchemaInvalid."""
    queues: dict[str, list[JobSchema]] = {}
    for path in _files(schemas):
        check_module_name(path.parent.name)
        queues.setdefault(path.parent.name, []).append(read_schema(path))
    _check_queues(queues)
    return {
        models / f"{queue}.py": _module(queue, _highest(versions), _relative(schemas / queue, models))
        for queue, versions in queues.items()
    }


def write(schemas: Path, models: Path) -> list[Path]:
    """Writes all model files that are not current, removes those of queues that are gone, and returns their paths.

    Raises SchemaInvalid, and then nothing has changed, unless the file system gave up in the middle.
    """
    todo = _changes(schemas, models)
    model_files.apply(todo)
    return [path for _, path in todo]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m schemas.generate", description="Generate models of job types.")
    parser.add_argument("--schemas", type=Path, help="directory of <queue>/<Type>.v<N>.avsc")
    parser.add_argument("--models", type=Path, help="directory for <queue>.py")
    parser.add_argument("--check", action="store_true", help="only check that the models are current")
    options = parser.parse_args(arguments)
    if (options.schemas is None) != (options.models is None):
        # The default of the other would be the installed package's own.
        parser.exit(2, "name both --schemas and --models, or neither for those that come with the project\n")
    show_anything()
    try:
        return _run(options.schemas or SHIPPED_SCHEMAS, options.models or _SHIPPED_MODELS_DIR, check=options.check)
    except SchemaInvalid as error:
        parser.exit(2, f"{error}\n")


def _run(schemas: Path, models: Path, *, check: bool) -> int:
    todo = _changes(schemas, models)
    # Jobs of an earlier version may still be in the queue: a reader that cannot read them would bury them.
    if found := incompatibilities(schemas):
        raise SchemaInvalid("\n".join(found))
    if not check:
        model_files.apply(todo)
    for done, path in todo:
        sys.stdout.write(f"{'not current' if check else done}: {path}\n")
    return 1 if check and list(todo) else 0


def _changes(schemas: Path, models: Path) -> Changes:
    expected = render(schemas, models)
    todo = model_files.changes(expected, schemas, models)
    package = models / "__init__.py"
    if todo.write and not package.exists():
        todo.write[package] = ""
    return todo


def _files(schemas: Path) -> list[Path]:
    """The schema files of a directory; raises SchemaInvalid where there is none, or one that would not be found."""
    files = list(schema_files(schemas))
    strays = sorted(
        path for path in schemas.rglob("*") if path.suffix.lower() == ".avsc" and path not in files and path.is_file()
    )
    if strays:
        raise SchemaInvalid(f"{strays[0]} is not where schemas are looked for, {schemas / _PLACE}; {_REMEDY}")
    if not files:
        raise SchemaInvalid(f"there is no {schemas / _PLACE}; {_REMEDY}")
    return files


def _check_queues(queues: dict[str, list[JobSchema]]) -> None:
    """Raises SchemaInvalid where a folder is not called as the queue to which its jobs go."""
    for folder, versions in queues.items():
        for schema in versions:
            queue = schema.name.split(".")[-2]
            if queue != folder:
                raise SchemaInvalid(
                    f"{schema.name} is in the folder {folder!r}, and its namespace ends with {queue!r}: its jobs would"
                    f" go to the queue {queue!r}; give both one name"
                )


def _relative(folder: Path, models: Path) -> str:
    return Path(os.path.relpath(folder, models)).as_posix()


def _highest(versions: list[JobSchema]) -> list[JobSchema]:
    highest = {schema.name: schema for schema in sorted(versions, key=lambda schema: schema.version)}
    return [schema for _, schema in sorted(highest.items())]


def _module(queue: str, schemas: list[JobSchema], location: str) -> str:
    job_types = {schema.name: schema.parsed for schema in schemas}
    named = _named(schemas)
    try:
        check_names(named)
        source = module_source(queue, named, list(job_types), location)
        try_out(source, job_types)
    except SchemaInvalid as error:
        raise SchemaInvalid(f"schemas of queue {queue!r}: {error}") from error
    return model_files.marked(source, location)


def _named(schemas: Iterable[JobSchema]) -> dict[str, Any]:
    """The named types of all these; raises SchemaInvalid where two of them define one differently."""
    found: dict[str, Any] = {}
    for schema in schemas:
        for name, node in named_types(schema.parsed).items():
            if _signature(found.setdefault(name, node)) != _signature(node):
                raise SchemaInvalid(f"{name} is defined differently in two job types of its queue; make them the same")
    return found


def _signature(node: Any) -> Any:
    """A definition in which other definitions are their names; without what fastavro has added."""
    if isinstance(node, list):
        return [_by_name(part) for part in node]
    if not isinstance(node, dict):
        return node
    return {key: _by_name(part) if key in _NESTING else part for key, part in node.items() if not key.startswith("__")}


def _by_name(node: Any) -> Any:
    is_definition = isinstance(node, dict) and "name" in node and node["type"] in _NAMED
    return node["name"] if is_definition else _signature(node)


if __name__ == "__main__":
    sys.exit(main())
