"""The payload of a dead letter in JSON form, as far as it can be decoded."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

from schemas import headers as names
from schemas.codec import Codec
from schemas.errors import RegistryUnavailable, SchemasError
from schemas.generator.names import field_of

#: Bytes that are shown of a value that cannot be decoded.
_HEAD = 64


@dataclass(frozen=True, slots=True)
class Payload:
    """What a letter's value holds."""

    #: The job type that the value itself says; None if it cannot be decoded.
    type: str | None
    #: The fields, as `json.dumps` takes them and `enqueue` reads them.
    fields: Any
    #: Why it cannot be decoded; None if it can.
    reason: str | None = None
    #: The beginning of what cannot be decoded, in hexadecimal.
    head: str = ""


class Payloads:
    """Decodes values with a codec, and gets the schemas that it lacks from the registry. Blocks while it does."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self._silent = False

    def type_of(self, value: bytes | None, headers: Mapping[str, bytes | None]) -> str | None:
        """Returns the job type of a value's schema, else the one in the header ce_type."""
        self._load_schema(value)
        found = self._codec.job_type_of_value(value)
        if found is not None:
            return found
        stated = headers.get(names.CE_TYPE)
        return None if stated is None else stated.decode("utf-8", "backslashreplace")

    def decode(self, value: bytes | None) -> Payload:
        """Returns what a value holds, or why it cannot be decoded."""
        try:
            self._load_schema(value)
            job_type, instance = self._codec.decode(value)
            return Payload(job_type, as_json(instance))
        except (SchemasError, RecursionError) as error:
            unheard = " (the schema registry did not answer)" if self._silent else ""
            return Payload(None, None, f"{type(error).__name__}: {error}{unheard}", (value or b"")[:_HEAD].hex(" "))

    def _load_schema(self, value: bytes | None) -> None:
        schema_id = self._codec.missing_schema_id(value)
        # A registry that is down would be waited for anew with every letter.
        if schema_id is None or self._silent:
            return
        try:
            asyncio.run(self._codec.load_schema(schema_id))
        except RegistryUnavailable:
            self._silent = True
        except SchemasError:
            pass  # Said by `decode`.


def as_json(value: Any) -> Any:
    """A model instance, or what one holds, in the JSON form that `schemas.avro.json_form` reads."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field_of(each.name): as_json(getattr(value, each.name)) for each in dataclasses.fields(value)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, dict):
        return {key: as_json(item) for key, item in value.items()}
    if isinstance(value, list):
        return [as_json(item) for item in value]
    return _scalar(value)


def _scalar(value: Any) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, Decimal | UUID):
        return str(value)
    return value.isoformat() if hasattr(value, "isoformat") else value
