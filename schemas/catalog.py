"""The job types a process knows: their schemas, and the models generated from them."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Protocol

from schemas.avro.binding import Binding
from schemas.avro.resolution import resolve
from schemas.errors import ModelInvalid, SchemaInvalid, UnknownJobType
from schemas.job_schema import JobSchema, read_schema, schema_files

SHIPPED_SCHEMAS = Path(__file__).parent / "jobs"
SHIPPED_MODELS = "schemas.models"


class Payload(Protocol):
    """What every generated model has."""

    JOB_TYPE: ClassVar[str]


class Catalog:
    """The job types known to this process. Models of users add themselves when they are first used."""

    def __init__(self) -> None:
        self._versions: dict[str, dict[int, JobSchema]] = {}
        self._fingerprints: dict[bytes, JobSchema] = {}
        self._bindings: dict[str, Binding] = {}
        self._loaded: set[Path] = set()

    @classmethod
    def load(cls, *roots: Path) -> Catalog:
        """A catalog of the schema files in some directories; raises SchemaInvalid."""
        catalog = cls()
        for root in roots:
            catalog.add_schemas(root)
        return catalog

    def add_schemas(self, root: Path) -> None:
        """Adds all schema files below a directory, <queue>/<Type>.v<N>.avsc; once, however often it is called."""
        for path in schema_files(root):
            self._add_file(path)

    def add_model(self, model: type) -> str:
        """Adds a model and the schemas of its queue, and returns its job type; raises ModelInvalid or SchemaInvalid."""
        job_type = self.job_type_of(model)
        known = self._bindings.get(job_type)
        if known is None:
            self._add_queue_of(model)
            self._bindings[job_type] = Binding(self.current(job_type).parsed, model)
        elif known.model is not model:
            raise ModelInvalid(f"job type {job_type!r} has two models, {_path(known.model)} and {_path(model)}")
        return job_type

    @staticmethod
    def job_type_of(model: type) -> str:
        """The job type of a model, an Avro full name; raises ModelInvalid for a class that is none."""
        if model is type:
            raise ModelInvalid("a class is no payload: publish an instance of it, with a value for each field")
        job_type = model.__dict__.get("JOB_TYPE")
        if not isinstance(job_type, str):
            raise ModelInvalid(
                f"{_path(model)} is no generated model; write a schema and run python -m schemas.generate"
            )
        return job_type

    def model(self, job_type: str) -> type:
        """The model of a job type; raises UnknownJobType."""
        return self.binding(job_type).model

    def binding(self, job_type: str) -> Binding:
        """The model of a job type with its current schema; raises UnknownJobType."""
        try:
            return self._bindings[job_type]
        except KeyError:
            raise UnknownJobType(job_type) from None

    def binding_of(self, model: type) -> Binding:
        """As binding(), for a model, which is added where it is new; raises ModelInvalid or SchemaInvalid."""
        return self.binding(self.add_model(model))

    def current(self, job_type: str) -> JobSchema:
        """The current schema of a job type; raises UnknownJobType."""
        try:
            versions = self._versions[job_type]
        except KeyError:
            raise UnknownJobType(job_type) from None
        return versions[max(versions)]

    def versions(self, job_type: str) -> list[JobSchema]:
        """All released versions of a job type, oldest first; raises UnknownJobType."""
        self.current(job_type)
        return [schema for _, schema in sorted(self._versions[job_type].items())]

    def by_fingerprint(self, fingerprint: bytes) -> JobSchema | None:
        """The schema with a CRC-64-AVRO fingerprint of 8 bytes little-endian, if it is known."""
        return self._fingerprints.get(fingerprint)

    def __iter__(self) -> Iterator[str]:
        """The job types that have a model, sorted."""
        return iter(sorted(self._bindings))

    def _add_queue_of(self, model: type) -> None:
        module = sys.modules[model.__module__]
        where = getattr(module, "SCHEMAS", None)
        if not isinstance(where, str) or module.__file__ is None:
            raise ModelInvalid(
                f"{_path(model)}: its module has no SCHEMAS; generate it with python -m schemas.generate"
            )
        folder = (Path(module.__file__).parent / where).resolve()
        for path in sorted(folder.glob("*.avsc")):
            self._add_file(path)
        if model.__dict__["JOB_TYPE"] not in self._versions:
            raise SchemaInvalid(f"{folder}: no schema of {model.__dict__['JOB_TYPE']!r}, as {_path(model)} says")

    def _add_file(self, path: Path) -> None:
        if path.resolve() in self._loaded:
            return
        schema = read_schema(path)
        versions = self._versions.setdefault(schema.name, {})
        if schema.version in versions:
            raise SchemaInvalid(f"{path}: version {schema.version} of {schema.name} is already defined elsewhere")
        versions[schema.version] = schema
        # Versions that differ in defaults or documentation only share a fingerprint; the latest reads them all.
        known = self._fingerprints.get(schema.fingerprint)
        if known is not None:
            _check_one_meaning(path, known, schema)
        if known is None or known.version < schema.version:
            self._fingerprints[schema.fingerprint] = schema
        self._loaded.add(path.resolve())


def _check_one_meaning(path: Path, one: JobSchema, other: JobSchema) -> None:
    """Raise SchemaInvalid where nobody could tell of which of two versions a value is."""
    older, newer = sorted((one, other), key=lambda schema: schema.version)
    if shifted := resolve(older.parsed, newer.parsed).shifted:
        raise SchemaInvalid(
            f"{path}: versions {older.version} and {newer.version} of {newer.name} mean other values by the same bytes"
            f" ({'; '.join(shifted)}), and have one fingerprint, since Avro's leaves out logical types; take the change"
            " back, and give the new type a field of its own"
        )


@lru_cache(maxsize=1)
def shipped() -> Catalog:
    """The catalog of the job types that come with the project, one a process; models of users add themselves to it."""
    catalog = Catalog.load(SHIPPED_SCHEMAS)
    for queue in sorted({path.parent.name for path in schema_files(SHIPPED_SCHEMAS)}):
        for model in models_of(importlib.import_module(f"{SHIPPED_MODELS}.{queue}")):
            catalog.add_model(model)
    return catalog


def models_of(module: Any) -> list[type]:
    """The models that a generated module defines."""
    defined = (value for value in vars(module).values() if isinstance(value, type))
    return [cls for cls in defined if cls.__module__ == module.__name__ and "JOB_TYPE" in cls.__dict__]


def _path(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"
