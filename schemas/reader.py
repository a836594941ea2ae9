"""Compiled readers: from the bytes of one writer's schema to a model instance."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Any

from fastavro import schemaless_reader
from fastavro.read import SchemaResolutionError
from fastavro.schema import SchemaParseException, parse_schema
from fastavro.types import Schema

from schemas.binding import Binding
from schemas.decode import Decode, compile_decoder
from schemas.errors import CorruptPayload, SchemaMismatch, TrailingBytes, TruncatedPayload, Undecodable
from schemas.guard import DepthCheck, is_recursive, walk
from schemas.load import MISSING, LoaderCompiler

Read = Callable[[bytes], tuple[str, Any]]


def compile_reader(writer: dict[str, Any], binding: Binding, start: int) -> Read:
    """Compiles the function from a value, whose body begins at `start`, to its job type and model instance.

    The function raises Undecodable and nothing else. Raises SchemaMismatch when the schemas do not fit at all.
    """
    same = writer is binding.schema
    guard = DepthCheck(writer) if is_recursive(writer) else None
    if same:
        decode = compile_decoder(binding, start)
        read = _reader(binding, start, guard, writer)
        return read if decode is None else _quick_reader(binding, decode, read)
    try:
        return _reader(binding, start, guard, _without_logical_types(writer), _with_missing(binding.schema))
    except (SchemaParseException, LookupError, ValueError, TypeError) as error:
        raise SchemaMismatch(f"{binding.name()}: the writer's schema cannot be used: {error}") from error


def _quick_reader(binding: Binding, decode: Decode, otherwise: Read) -> Read:
    """Reads what is beyond doubt by itself, and leaves the rest, and every error, to fastavro."""
    name = binding.name()

    def read(value: bytes) -> tuple[str, Any]:
        try:
            return name, decode(value)
        except Exception:
            return otherwise(value)

    return read


def _reader(
    binding: Binding, start: int, guard: DepthCheck | None, writer: Schema, reader: Schema | None = None
) -> Read:
    load = LoaderCompiler(binding, resolved=reader is not None).compile()
    name = binding.name()
    # An empty dict costs nothing in a call, whereas asking fastavro for tags slows it down.
    options: dict[str, Any] = {"return_named_type": True} if binding.tagged else {}

    def read(value: bytes) -> tuple[str, Any]:
        stream = BytesIO(value)
        stream.seek(start)
        try:
            if guard is not None:
                guard(value, start)
            datum = schemaless_reader(stream, writer, reader, **options)
            if stream.tell() == len(value):
                return name, load(datum)
        except Undecodable:
            raise
        # Whatever the bytes are, the caller has a dead letter to write, not a crash to survive: fastavro alone raises
        # a dozen kinds, from IndexError for a bad branch to OverflowError for the year 300000000.
        except Exception as error:
            raise _undecodable(error, name) from error
        raise TrailingBytes(f"{name}: the payload ends at byte {stream.tell()}, the value at byte {len(value)}")

    return read


def _undecodable(error: Exception, name: str) -> Undecodable:
    if isinstance(error, SchemaResolutionError):
        return SchemaMismatch(f"{name}: the value does not fit the current schema: {error}")
    # Where a number is cut off, fastavro takes the first of no bytes. Other IndexErrors are of unions and enums.
    if isinstance(error, EOFError) or (isinstance(error, IndexError) and "string index" in str(error)):
        return TruncatedPayload(f"{name}: the value ends before its payload does")
    return CorruptPayload(f"{name}: {type(error).__name__}: {error}")


def _without_logical_types(schema: dict[str, Any]) -> Schema:
    """fastavro decodes by the writer's logical types, a handler wants those of its own: so none, and then its own."""
    plain = _copy(schema)
    for node in walk(plain):
        if isinstance(node, dict):
            node.pop("logicalType", None)
    return parse_schema(plain)


def _with_missing(schema: dict[str, Any]) -> Schema:
    """fastavro hands out one default object, in its JSON form, to all; a mark lets the model make its own."""
    marked = parse_schema(_without_logical_types(schema))
    for node in walk(marked):
        if isinstance(node, dict) and node["type"] == "record":
            for field in node["fields"]:
                if "default" in field:
                    field["default"] = MISSING
    return marked


def _copy(node: Any) -> Any:
    """A deep copy without what fastavro has added, so that it is parsed anew."""
    if isinstance(node, list):
        return [_copy(part) for part in node]
    if not isinstance(node, dict):
        return node
    return {key: _copy(value) for key, value in node.items() if not key.startswith("__")}
