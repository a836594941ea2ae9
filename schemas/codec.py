"""Turns payloads into the values of Kafka records, and back.

Two framings are read always: Confluent's wire format (byte 0, 4-byte schema id, body) and Avro's single-object encoding
(C3 01, 8-byte fingerprint, body). The first is written when there is a schema registry, the second when there is none.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from schemas.avro.reader import Read, compile_reader
from schemas.avro.writer import Write, compile_writer
from schemas.catalog import Catalog
from schemas.errors import (
    MissingPayload,
    SchemaInvalid,
    SchemaMismatch,
    SchemasError,
    Undecodable,
    UnknownFraming,
    UnknownJobType,
    UnknownSchema,
    UnusableSchema,
)
from schemas.job_schema import fingerprint_of, parse_writer_schema
from schemas.limits import DEFAULT_LIMITS, Limits
from schemas.registry import Registry

SINGLE_OBJECT = b"\xc3\x01"
CONFLUENT = b"\x00"
_SINGLE_OBJECT_PREFIX = 10
_CONFLUENT_PREFIX = 5
_LAST_ID = 2**31 - 1
# How long a registry's "no such schema" is believed, in seconds: a schema may be registered a little after its record.
_DISBELIEF = 30.0
# How many such answers are kept; more are dropped once they are no longer believed.
_MOST_UNKNOWN = 10_000

RunBlocking = Callable[..., Awaitable[Any]]


class Codec:
    """Encodes and decodes the payloads of a catalog's job types. One serves a whole process; it is safe in threads."""

    def __init__(
        self,
        catalog: Catalog,
        registry: Registry | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        run_blocking: RunBlocking = asyncio.to_thread,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        """A codec for the job types of a catalog.

        run_blocking  makes a call to the registry in a thread, as asyncio.to_thread does
        """
        self.catalog = catalog
        self.registry = registry
        self._clock = clock
        self._run_blocking = run_blocking
        self._readers: dict[bytes, Read] = {}
        self._job_types: dict[bytes, str] = {}
        self._writers: dict[type | tuple[type, str], Write] = {}
        self._limits = limits
        #: Schemas that cannot be had: until when that is believed, and why.
        self._unknown: dict[int, tuple[float, UnknownSchema]] = {}

    def encode(self, payload: object, topic: str) -> bytes:
        """The value of a record for a topic.

        Raises PayloadInvalid or ModelInvalid. With a registry the first payload of a type (and topic) blocks while its
        schema is registered, see `prepare`, and may raise RegistryUnavailable or RegistryRefused.
        """
        model = type(payload)
        key = model if self.registry is None else (model, topic)
        write = self._writers.get(key)
        if write is None:
            write = self._writers[key] = compile_writer(self.catalog.binding_of(model), self._prefix(model, topic))
        return write(payload)

    def is_prepared(self, model: type, topic: str) -> bool:
        """Whether `encode` will not block on the registry for payloads of this model and topic."""
        return self.registry is None or (model, topic) in self._writers

    async def prepare(self, model: type, topic: str) -> None:
        """Registers or looks up a model's schema in a thread, so that `encode` does not block; errors as there."""
        if self.is_prepared(model, topic):
            return
        prefix = await self._run_blocking(self._prefix, model, topic)
        self._writers[model, topic] = compile_writer(self.catalog.binding_of(model), prefix)

    def missing_schema_id(self, value: bytes | None) -> int | None:
        """The registry's id of the schema that must be loaded before this value can be decoded, if any; no I/O."""
        if self.registry is None or not value or value[:1] != CONFLUENT or len(value) < _CONFLUENT_PREFIX:
            return None
        if value[:_CONFLUENT_PREFIX] in self._readers:
            return None
        schema_id = int.from_bytes(value[1:_CONFLUENT_PREFIX], "big")
        unknown = self._unknown.get(schema_id)
        return schema_id if unknown is None or unknown[0] <= self._clock() else None

    async def load_schema(self, schema_id: int) -> None:
        """Fetches a schema from the registry and keeps it.

        Raises RegistryUnavailable when the registry is down or slow (wait, then call again) and UnknownSchema when it
        knows no such schema; `decode` raises the same then, and the registry is not asked again for a while.
        """
        if self.registry is None:
            raise _no_registry(schema_id)
        if schema_id > _LAST_ID:
            self._disbelieve(schema_id, error := _no_id(schema_id))
            raise error
        prefix = CONFLUENT + schema_id.to_bytes(4, "big")
        try:
            # What is made of it is made in the thread, too: others wrote it.
            self._readers[prefix] = await self._run_blocking(self._fetch_reader, schema_id, prefix)
        except UnknownSchema as error:
            self._disbelieve(schema_id, error)
            raise
        self._unknown.pop(schema_id, None)

    def _disbelieve(self, schema_id: int, why: UnknownSchema) -> None:
        now = self._clock()
        if len(self._unknown) >= _MOST_UNKNOWN:
            self._unknown = {known: entry for known, entry in self._unknown.items() if entry[0] > now}
        self._unknown[schema_id] = now + _DISBELIEF, why

    def _fetch_reader(self, schema_id: int, prefix: bytes) -> Read:
        assert self.registry is not None  # noqa: S101 - its caller has looked
        return self._confluent_reader(schema_id, prefix, self.registry.schema_text(schema_id))

    def decode(self, value: bytes | None) -> tuple[str, Any]:
        """The job type and model instance of a record's value; raises Undecodable, whatever the bytes are.

        A value whose `missing_schema_id` is not None needs `load_schema` first.
        """
        if not value:
            raise MissingPayload
        read = self._readers.get(value[:_SINGLE_OBJECT_PREFIX]) or self._readers.get(value[:_CONFLUENT_PREFIX])
        return (read or self._reader(value))(value)

    def job_type_of_value(self, value: bytes | None) -> str | None:
        """The job type of a value, from its prefix alone and only as far as its schema is already known."""
        if value and value[:2] == SINGLE_OBJECT:
            schema = self.catalog.by_fingerprint(value[2:_SINGLE_OBJECT_PREFIX])
            return schema.name if schema else None
        return self._job_types.get((value or b"")[:_CONFLUENT_PREFIX])

    def from_text(self, job_type: str, text: str) -> Any:
        """As from_json, from text: with every digit that was typed; raises ValueError for what is not JSON, too."""
        from schemas.avro.json_form import parse  # noqa: PLC0415

        return self.from_json(job_type, parse(job_type, text))

    def from_json(self, job_type: str, fields: Any) -> Any:
        """A model instance from the JSON form of a payload; raises PayloadInvalid or UnknownJobType. See json_form."""
        from schemas.avro.json_form import from_json  # noqa: PLC0415

        return from_json(self.catalog.binding(job_type), fields)

    def _prefix(self, model: type, topic: str) -> bytes:
        schema = self.catalog.current(self.catalog.add_model(model))
        if self.registry is None:
            return SINGLE_OBJECT + schema.fingerprint
        return CONFLUENT + self.registry.schema_id(topic, schema.name, schema.text).to_bytes(4, "big")

    def _reader(self, value: bytes) -> Read:
        if value[:2] == SINGLE_OBJECT and len(value) >= _SINGLE_OBJECT_PREFIX:
            return self._single_object_reader(value[:_SINGLE_OBJECT_PREFIX])
        if value[:1] == CONFLUENT and len(value) >= _CONFLUENT_PREFIX:
            schema_id = int.from_bytes(value[1:_CONFLUENT_PREFIX], "big")
            if not 0 < schema_id <= _LAST_ID:
                raise _no_id(schema_id)
            raise _no_registry(schema_id) if self.registry is None else self._not_loaded(schema_id)
        raise UnknownFraming(value)

    def _not_loaded(self, schema_id: int) -> UnknownSchema:
        """Why a schema of the registry is not at hand, as the registry has said."""
        unknown = self._unknown.get(schema_id)
        if unknown is not None:
            return type(unknown[1])(*unknown[1].args)
        return UnknownSchema(f"schema id {schema_id} of the schema registry could not be had, since it did not answer")

    def _single_object_reader(self, prefix: bytes) -> Read:
        schema = self.catalog.by_fingerprint(prefix[2:])
        if schema is None:
            raise UnknownSchema(
                f"no schema has the fingerprint {prefix[2:].hex()}; this process must know the schema file it was"
                " written with (STREAMS_JOBS names the modules that bring theirs), or use a schema registry"
            )
        self._readers[prefix] = read = self._compiled(schema.name, schema.parsed, len(prefix))
        return read

    def _awaiting_model(self, prefix: bytes, job_type: str, writer: dict[str, Any]) -> Read:
        """Looks for the model anew with each value: its handler may be declared later."""

        def read(value: bytes) -> tuple[str, Any]:
            self._readers[prefix] = compiled = self._compiled(job_type, writer, len(prefix))
            return compiled(value)

        return read

    def _compiled(self, job_type: str, writer: dict[str, Any], start: int) -> Read:
        try:
            binding = self.catalog.binding(job_type)
            known = self.catalog.by_fingerprint(fingerprint_of(writer)) is not None
            return compile_reader(writer, binding, start, known=known, limits=self._limits)
        except Undecodable:
            raise
        except SchemasError as error:
            raise SchemaMismatch(f"{job_type}: {error}") from error

    def _confluent_reader(self, schema_id: int, prefix: bytes, text: str) -> Read:
        """A reader for a schema of the registry; when there can be none, one that says so for each of its values."""
        try:
            writer = parse_writer_schema(text, self._limits)
            self._job_types[prefix] = job_type = str(writer["name"])
            return self._compiled(job_type, writer, _CONFLUENT_PREFIX)
        except UnknownJobType:
            return self._awaiting_model(prefix, job_type, writer)
        except SchemaInvalid as error:
            return _refusal(UnusableSchema(f"schema id {schema_id} of the registry: {error}"))
        except Undecodable as error:
            return _refusal(error)
        except Exception as error:  # Others wrote it, and no job of theirs is to end the worker.
            why = f"schema id {schema_id} of the registry cannot be used: {type(error).__name__}: {error}"
            return _refusal(UnusableSchema(why))


def _refusal(error: Undecodable) -> Read:
    """Stands for the reader of a schema that cannot be read with."""

    def refuse(value: bytes) -> tuple[str, Any]:
        raise error.with_traceback(None)

    return refuse


def _no_id(schema_id: int) -> UnusableSchema:
    return UnusableSchema(f"no registry has a schema {schema_id}: ids are numbers from 1 to {_LAST_ID}")


def _no_registry(schema_id: int) -> UnknownSchema:
    return UnknownSchema(f"written with schema id {schema_id} of a schema registry; set SCHEMA_REGISTRY_URL to it")
