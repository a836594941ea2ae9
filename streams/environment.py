"""Reads a worker's settings from the environment, and says in plain words what is wrong with which variable."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings

from producers.settings import ProducerSettings
from schemas.registry import RegistrySettings
from streams.errors import SetupError
from streams.settings import Settings

logger = logging.getLogger("streams.environment")

_PREFIX = "STREAMS_"

#: The settings of the shipped jobs, which are not loaded where the shipped queues are not served.
_OF_SHIPPED_JOBS = ("STREAMS_SMTP_", "STREAMS_IMAGE_", "STREAMS_WEBHOOK_")

#: What pydantic's kinds of errors say that they expected.
_EXPECTED = {
    "bool_parsing": "true or false",
    "enum": "{expected}",
    "finite_number": "a number",
    "float_parsing": "a number",
    "greater_than": "more than {gt}",
    "greater_than_equal": "{ge} or more",
    "int_parsing": "a whole number",
    "less_than_equal": "{le} or less",
    "literal_error": "{expected}",
    "string_pattern_mismatch": "text that matches {pattern}",
    "string_too_long": "{max_length} characters or fewer",
}


def read_settings() -> Settings:
    """The settings of a worker; raises SetupError with a line for every variable that cannot be used."""
    problems = [*_problems(ProducerSettings), *_problems(RegistrySettings)]
    # Settings without the producer's, so that the others' problems are found beside these.
    problems += _problems(Settings, lambda: Settings(producer=ProducerSettings.model_construct()))
    if problems:
        raise SetupError("\n".join(dict.fromkeys(problems)))
    return Settings(producer=ProducerSettings())


def warn_of_unknown(environment: Mapping[str, str], settings: Settings) -> None:
    """Log which STREAMS_* variables nothing reads. Job modules may have settings of their own: import them before."""
    known = set(_known_variables())
    foreign = () if settings.shipped_jobs else _OF_SHIPPED_JOBS
    for name in sorted(map(str.upper, environment)):
        if name.startswith(_PREFIX) and name not in known and not name.startswith(foreign):
            logger.warning("%s is set, and nothing reads a variable of that name%s", name, _suggestion(name, known))


def _suggestion(name: str, known: Iterable[str]) -> str:
    ours = [each.removeprefix(_PREFIX) for each in known if each.startswith(_PREFIX)]
    near = difflib.get_close_matches(name.removeprefix(_PREFIX), sorted(ours), n=1)
    return f"; did you mean {_PREFIX}{near[0]}?" if near else ""


def _known_variables() -> Iterator[str]:
    kinds: list[type[BaseSettings]] = [BaseSettings]
    for kind in kinds:
        kinds += kind.__subclasses__()
        fields = kind.model_fields.items()
        yield from (_variable(kind, name) for name, field in fields if not _is_settings(field.annotation))


def _is_settings(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseSettings)


def _variable(kind: type[BaseSettings], name: str) -> str:
    field = kind.model_fields.get(name)
    if field is None:
        return name  # an alias, which is the variable's name
    if isinstance(field.validation_alias, str):
        return field.validation_alias
    return f"{kind.model_config.get('env_prefix', '')}{name}".upper()


def _problems(kind: type[BaseSettings], make: Callable[[], Any] | None = None) -> list[str]:
    """A line for every variable of these settings that cannot be used."""
    try:
        (make or kind)()
    except ValidationError as error:
        return list(_explain(kind, error.errors()))
    return []


def _explain(kind: type[BaseSettings], errors: Iterable[ErrorDetails]) -> Iterator[str]:
    alternatives: dict[str, list[str]] = {}
    for error in errors:
        if error["type"] == "value_error":
            yield str(error["ctx"]["error"])  # the words are ours, and name the variable
        else:
            given = f"{_variable(kind, str(error['loc'][0]))}={error['input']!r}"
            alternatives.setdefault(given, []).append(_expected(error))
    for given, expected in alternatives.items():
        yield f"{given}: expected {' or '.join(expected)}"


def _expected(error: ErrorDetails) -> str:
    template = _EXPECTED.get(error["type"])
    return error["msg"] if template is None else template.format(**error.get("ctx", {}))
