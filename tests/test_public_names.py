"""What `schemas` and `streams.dead` offer, and that every public name says what it is."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from types import ModuleType

import pytest

import producers
import schemas
import streams
import streams.dead

SCHEMAS = {
    *("Catalog", "Codec", "CorruptPayload", "HeaderInvalid", "JobSchema", "Metadata", "MissingPayload", "ModelInvalid"),
    *("Origin", "Payload", "PayloadInvalid", "Registry", "RegistryRefused", "RegistrySettings", "RegistryUnavailable"),
    *("SchemaInvalid", "SchemaMismatch", "SchemasError", "SubjectStrategy", "TrailingBytes", "TruncatedPayload"),
    *("Undecodable", "UnknownFraming", "UnknownJobType", "UnknownSchema", "shipped"),
}
DEAD = {
    *("BrokerSilent", "DeadError", "DeadLetters", "DeliveryStopped", "FilterInvalid", "Filters", "Letter", "MapFull"),
    *("NotesUnreadable", "Part", "Payload", "Plan", "Progress", "Purged", "Skipped", "SomebodyElse", "UnknownQueue"),
    "parse_time",
}


@pytest.mark.parametrize(("package", "public"), [(schemas, SCHEMAS), (streams.dead, DEAD)])
def test_public_names(package: ModuleType, public: set[str]) -> None:
    assert list(package.__all__) == sorted(public)
    for name in public:
        assert hasattr(package, name)


@pytest.mark.parametrize("package", [schemas, producers, streams, streams.dead])
def test_every_public_name_says_what_it_is(package: ModuleType) -> None:
    values = {name: getattr(package, name) for name in package.__all__ if name != "app"}
    silent = [name for name, value in values.items() if callable(value) and not inspect.getdoc(value)]
    silent += [
        f"{name}.{member}"
        for name, value in values.items()
        if inspect.isclass(value)
        for member, function in vars(value).items()
        if not member.startswith("_") and inspect.isfunction(function) and not inspect.getdoc(getattr(value, member))
    ]
    assert silent == []


def test_loggers_are_called_as_their_modules_but_for_two_that_users_filter_by() -> None:
    found = {
        name
        for path in (Path(streams.__file__).parent).rglob("*.py")
        for name in re.findall(r'^_?logger = logging\.getLogger\("([^"]+)"\)', path.read_text("utf-8"), re.MULTILINE)
    }
    assert found == {"streams.outcome", "streams.job"}
