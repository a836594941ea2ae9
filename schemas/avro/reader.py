"""Compiled readers: from the bytes of one writer's schema to a model instance."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Any, NamedTuple

from fastavro import schemaless_reader
from fastavro.schema import SchemaParseException, parse_schema
from fastavro.types import Schema

from schemas.avro.binding import Binding
from schemas.avro.compiled.fast_decoder import Decode, compile_decoder
from schemas.avro.compiled.from_datum import Convert, LoaderCompiler
from schemas.avro.hostile_bytes import BoundsCheck
from schemas.avro.resolution import Refusal, Refused, reads_alike, resolve, wire_schema
from schemas.avro.schema_nodes import is_recursive
from schemas.errors import (
    CorruptPayload,
    SchemaMismatch,
    TrailingBytes,
    TruncatedPayload,
    Undecodable,
    UnknownVersion,
)
from schemas.limits import DEFAULT_LIMITS, Limits

Read = Callable[[bytes], tuple[str, Any]]


def compile_reader(
    writer: dict[str, Any], binding: Binding, start: int, *, known: bool = True, limits: Limits = DEFAULT_LIMITS
) -> Read:
    """Compiles the function from a value, whose body begins at `start`, to its job type and model instance.

    known  whether the writer's schema is a released version that this process has; what does not fit is an
           UnknownVersion otherwise

    The function raises Undecodable and nothing else. Raises SchemaMismatch when the schemas do not fit at all.
    """
    guard = _Guard(BoundsCheck(writer, limits), 0 if is_recursive(writer) else start + limits.items)
    if reads_alike(writer, binding.schema):
        decode = compile_decoder(binding, start)
        read = _reader(binding, start, guard, binding.schema)
        return read if decode is None else _quick_reader(binding, decode, read, guard.harmless)
    mismatch = SchemaMismatch if known else UnknownVersion
    try:
        convert = resolve(writer, binding.schema, tagged=binding.tagged).convert
        if isinstance(convert, Refusal):
            return _hopeless(binding, convert, mismatch)
        return _reader(binding, start, guard, parse_schema(wire_schema(writer)), convert, mismatch=mismatch)
    except (SchemaParseException, LookupError, ValueError, TypeError, RecursionError) as error:
        raise mismatch(f"{binding.name()}: the writer's schema cannot be used: {error}") from error


class _Guard(NamedTuple):
    """Looks at values before they are decoded."""

    check: BoundsCheck
    #: Values of up to so many bytes need no look.
    harmless: int


def _quick_reader(binding: Binding, decode: Decode, otherwise: Read, harmless: int) -> Read:
    """Reads what is beyond doubt by itself, and leaves the rest, and every error, to fastavro."""
    name = binding.name()

    def read(value: bytes) -> tuple[str, Any]:
        if len(value) > harmless:
            return otherwise(value)
        try:
            return name, decode(value)
        except Exception:
            return otherwise(value)

    return read


def _hopeless(binding: Binding, refusal: Refusal, mismatch: type[SchemaMismatch]) -> Read:
    def read(value: bytes) -> tuple[str, Any]:
        try:
            return binding.name(), refusal(value)
        except Refused as error:
            raise mismatch(f"{binding.name()}: {error}") from None

    return read


def _reader(
    binding: Binding,
    start: int,
    guard: _Guard | None,
    writer: Schema,
    convert: Convert | None = None,
    *,
    mismatch: type[SchemaMismatch] = SchemaMismatch,
) -> Read:
    load = LoaderCompiler(binding, resolved=convert is not None).compile()
    name = binding.name()
    # An empty dict costs nothing in a call, whereas asking fastavro for tags slows it down.
    options: dict[str, Any] = {"return_named_type": True} if convert or binding.tagged else {}

    def read(value: bytes) -> tuple[str, Any]:
        stream = BytesIO(value)
        stream.seek(start)
        try:
            if guard is not None and len(value) > guard.harmless:
                guard.check(value, start)
            datum = schemaless_reader(stream, writer, None, **options)
            if stream.tell() == len(value):
                return name, load(datum if convert is None else convert(datum))
        except Undecodable:
            raise
        except Refused as error:
            raise mismatch(f"{name}: {error}") from error
        # Whatever the bytes are, the caller has a dead letter to write, not a crash to survive: fastavro alone raises
        # a dozen kinds, from IndexError for a bad branch to OverflowError for the year 300000000.
        except Exception as error:
            raise _undecodable(error, name) from error
        raise TrailingBytes(f"{name}: the payload ends at byte {stream.tell()}, the value at byte {len(value)}")

    return read


def _undecodable(error: Exception, name: str) -> Undecodable:
    # Where a number is cut off, fastavro takes the first of no bytes. Other IndexErrors are of unions and enums.
    if isinstance(error, EOFError) or (isinstance(error, IndexError) and "string index" in str(error)):
        return TruncatedPayload(f"{name}: the value ends before its payload does")
    return CorruptPayload(f"{name}: {type(error).__name__}: {error}")
