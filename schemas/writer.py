"""Compiled writers: from a model instance to the bytes of a record's value."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Any

from fastavro import schemaless_writer

from schemas.binding import Binding
from schemas.dump import DumperCompiler, Unfit
from schemas.errors import CorruptPayload, PayloadInvalid
from schemas.guard import DepthCheck
from schemas.load import Convert

Write = Callable[[Any], bytes]


def compile_writer(binding: Binding, prefix: bytes) -> Write:
    """Compiles the function from an instance of the model to a value; the function raises PayloadInvalid."""
    schema = binding.schema
    dump = DumperCompiler(binding, strict=False).compile()
    strict = DumperCompiler(binding, strict=True).compile()
    guard = DepthCheck(schema) if binding.recursive else None

    def write(payload: Any) -> bytes:
        stream = BytesIO()
        stream.write(prefix)
        try:
            schemaless_writer(stream, schema, dump(payload))
        except Exception as error:
            raise _invalid(binding, strict, payload, error) from error
        value = stream.getvalue()
        if guard is not None:
            _check_depth(binding, guard, value, len(prefix), payload)
        return value

    return write


def _invalid(binding: Binding, strict: Convert, payload: Any, error: Exception) -> PayloadInvalid:
    """Goes through the payload again to say which field it is."""
    try:
        strict(payload)
    except Unfit as unfit:
        return PayloadInvalid(binding.name(), unfit.path, unfit.expected, unfit.got)
    except RecursionError as endless:
        error = endless
    return PayloadInvalid(binding.name(), "", f"a payload Avro can write ({type(error).__name__}: {error})", payload)


def _check_depth(binding: Binding, guard: DepthCheck, value: bytes, start: int, payload: Any) -> None:
    try:
        guard(value, start)
    except CorruptPayload as error:
        # No worker would read it.
        raise PayloadInvalid(binding.name(), "", f"a payload less deeply nested ({error})", payload) from error
