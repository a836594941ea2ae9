"""Generates the typed models of job types from their Avro schemas.

    python -m schemas.generate                                   the models that come with the project
    python -m schemas.generate --schemas DIR --models DIR        your own
    python -m schemas.generate ... --check                       fails when a model is not current; writes nothing

Your own job types, in three steps:

1. Write `myapp/schemas/<queue>/<Type>.v1.avsc`, an Avro record called `<Type>` in a namespace that ends with the
   queue's name, such as `myapp.invoice`. A released file is never edited: a change is a new file, `<Type>.v2.avsc`.
2. `python -m schemas.generate --schemas myapp/schemas --models myapp/models` writes `myapp/models/<queue>.py`: a frozen
   dataclass for the highest version of every type.
3. Import and use it: `from myapp.models.invoice import SendInvoice`; `producer.publish(SendInvoice(...))`;
   `@invoices.job(SendInvoice)`. A model knows its job type (JOB_TYPE), and its module where the schemas lie (SCHEMAS,
   relative to the module), so nothing else has to be registered. Ship the .avsc files with your package.

Needs the `dev` extra (datamodel-code-generator).
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from schemas.catalog import SHIPPED_SCHEMAS
from schemas.compatibility import incompatibilities
from schemas.errors import SchemaInvalid
from schemas.job_schema import JobSchema, read_schema, schema_files

_SHIPPED_MODELS_DIR = Path(__file__).parent / "models"
_NAMED = frozenset({"record", "enum", "fixed"})
_NESTING = frozenset({"type", "items", "values", "fields"})
_HEADER = '''# ruff: noqa
"""Models of the {queue} queue's jobs.

Generated from the schemas in {schemas} by python -m schemas.generate; do not edit.
"""'''


def render(schemas: Path, models: Path) -> dict[Path, str]:
    """The text of every model file, by path; raises SchemaInvalid."""
    queues: dict[str, list[JobSchema]] = {}
    for path in schema_files(schemas):
        queues.setdefault(path.parent.name, []).append(read_schema(path))
    return {
        models / f"{queue}.py": _module(queue, _highest(versions), os.path.relpath(schemas / queue, models))
        for queue, versions in queues.items()
    }


def outdated(schemas: Path, models: Path) -> list[Path]:
    """The model files that are missing, changed, or left over from a removed queue."""
    expected = render(schemas, models)
    changed = [path for path, text in expected.items() if not path.exists() or path.read_text("utf-8") != text]
    return changed + [path for path in models.glob("[!_]*.py") if path not in expected]


def write(schemas: Path, models: Path) -> list[Path]:
    """Writes all model files that are not current, and returns their paths."""
    changed = outdated(schemas, models)
    models.mkdir(parents=True, exist_ok=True)
    (models / "__init__.py").touch()
    expected = render(schemas, models)
    for path in changed:
        if path in expected:
            path.write_text(expected[path], "utf-8")
        else:
            path.unlink()
    return changed


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m schemas.generate", description="Generate models of job types.")
    parser.add_argument("--schemas", type=Path, default=SHIPPED_SCHEMAS, help="directory of <queue>/<Type>.v<N>.avsc")
    parser.add_argument("--models", type=Path, default=_SHIPPED_MODELS_DIR, help="directory for <queue>.py")
    parser.add_argument("--check", action="store_true", help="only check that the models are current")
    options = parser.parse_args(arguments)
    try:
        if found := incompatibilities(options.schemas):
            # Jobs of an earlier version may still be in the queue: a reader that cannot read them would bury them.
            parser.exit(2, "".join(f"{each}\n" for each in found))
        changed = (outdated if options.check else write)(options.schemas, options.models)
    except SchemaInvalid as error:
        parser.exit(2, f"{error}\n")
    for path in changed:
        sys.stdout.write(f"{'not current' if options.check else 'written'}: {path}\n")
    return 1 if options.check and changed else 0


def _highest(versions: list[JobSchema]) -> list[JobSchema]:
    highest = {schema.name: schema for schema in sorted(versions, key=lambda schema: schema.version)}
    return [schema for _, schema in sorted(highest.items())]


def _module(queue: str, schemas: list[JobSchema], location: str) -> str:
    code = _generated(_merged(schemas), _HEADER.format(queue=queue, schemas=location))
    return _with_links(code, {schema.name.rpartition(".")[2]: schema.name for schema in schemas}, location)


def _generated(schemas: list[Any], header: str) -> str:
    # The generator is a development tool: importing this module must not need it.
    import datamodel_code_generator as dcg  # noqa: PLC0415
    from datamodel_code_generator.enums import DataModelType  # noqa: PLC0415
    from datamodel_code_generator.format import Formatter, PythonVersion  # noqa: PLC0415

    code = dcg.generate(
        json.dumps(schemas),  # A union of all types of the queue: one file of classes.
        input_file_type=dcg.InputFileType.Avro,
        output_model_type=DataModelType.DataclassesDataclass,
        dataclass_arguments={"frozen": True, "kw_only": True},
        target_python_version=PythonVersion.PY_310,
        custom_file_header=header,
        skip_root_model=True,
        strict_nullable=True,
        use_schema_description=True,
        use_field_description=True,
        use_inline_field_description=True,
        use_single_line_docstring=True,
        use_standard_primitive_types=True,
        output_datetime_class=dcg.DatetimeClassType.Datetime,
        type_mappings=["string+date-time-local=date-time"],
        additional_imports=["typing.ClassVar", "typing.Final"],
        disable_timestamp=True,
        use_double_quotes=True,
        formatters=[Formatter.BUILTIN],
    )
    if not isinstance(code, str):
        raise SchemaInvalid("the generator made several modules of one queue; use one namespace in a queue")
    return code


def _with_links(code: str, job_types: dict[str, str], location: str) -> str:
    """Adds to every model its job type, and to the module where its schemas lie."""
    lines = code.splitlines()
    tree = ast.parse(code)
    for node in reversed(tree.body):
        if isinstance(node, ast.ClassDef) and node.name in job_types:
            after = node.body[0].end_lineno if ast.get_docstring(node) is not None else node.body[0].lineno - 1
            blank = [""] if ast.get_docstring(node) is not None else []
            lines[after:after] = [*blank, f'    JOB_TYPE: ClassVar[str] = "{job_types[node.name]}"']
    last_import = max(node.end_lineno or 0 for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom))
    lines[last_import:last_import] = ["", f'SCHEMAS: Final = "{location}"']
    return "\n".join(lines) + "\n"


def _merged(schemas: list[JobSchema]) -> list[Any]:
    """The schemas as one union, in which a type that several of them define is defined once; raises SchemaInvalid."""
    defined: dict[str, Any] = {}

    def once(node: Any) -> Any:
        if not _is_definition(node):
            return _rebuilt(node, once)
        name, signature = node["name"], _rebuilt(node, _by_name)
        if defined.setdefault(name, signature) is signature:
            return _rebuilt(node, once)
        if defined[name] != signature:
            raise SchemaInvalid(f"{name} is defined differently in two job types of its queue; make them the same")
        return name

    return [once(schema.parsed) for schema in schemas]


def _is_definition(node: Any) -> bool:
    return isinstance(node, dict) and isinstance(node.get("type"), str) and node["type"] in _NAMED


def _by_name(node: Any) -> Any:
    return node["name"] if _is_definition(node) else _rebuilt(node, _by_name)


def _rebuilt(node: Any, convert: Callable[[Any], Any]) -> Any:
    """A copy whose parts, other than defaults, went through `convert`; without what fastavro has added."""
    if isinstance(node, list):
        return [convert(part) for part in node]
    if not isinstance(node, dict):
        return node
    return {
        key: convert(value) if key in _NESTING else value for key, value in node.items() if not key.startswith("__")
    }


if __name__ == "__main__":
    sys.exit(main())
