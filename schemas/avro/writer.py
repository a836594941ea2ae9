"""Compiled writers: from a model instance to the bytes of a record's value."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from typing import Any

from fastavro import schemaless_writer

from schemas.avro.binding import Binding
from schemas.avro.compiled.fast_encoder import Encode, compile_encoder
from schemas.avro.compiled.from_datum import Convert
from schemas.avro.compiled.to_datum import DumperCompiler, Unfit
from schemas.avro.hostile_bytes import BoundsCheck
from schemas.errors import AboveBounds, CorruptPayload, PayloadInvalid
from schemas.limits import DEFAULT_LIMITS

Write = Callable[[Any], bytes]


def compile_writer(binding: Binding, prefix: bytes) -> Write:
    """Compiles the function from an instance of the model to a value; the function raises PayloadInvalid."""
    strict = DumperCompiler(binding, strict=True).compile()
    encode = compile_encoder(binding, prefix)
    if encode is not None:
        return _plain_writer(binding, encode, strict)
    return _fastavro_writer(binding, prefix, strict)


def _plain_writer(binding: Binding, encode: Encode, strict: Convert) -> Write:
    def write(payload: Any) -> bytes:
        try:
            return encode(payload)
        except Exception as error:
            raise _invalid(binding, strict, payload, error) from error

    return write


def _fastavro_writer(binding: Binding, prefix: bytes, strict: Convert) -> Write:
    schema = binding.schema
    dump = DumperCompiler(binding, strict=False).compile()
    guard = BoundsCheck(schema, replace(DEFAULT_LIMITS, items=sys.maxsize)) if binding.recursive else None

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


def _check_depth(binding: Binding, guard: BoundsCheck, value: bytes, start: int, payload: Any) -> None:
    try:
        guard(value, start)
    except (AboveBounds, CorruptPayload) as error:
        # No worker would read it.
        raise PayloadInvalid(binding.name(), "", f"a payload less deeply nested ({error})", payload) from error
