"""Reads a worker's settings from the environment, and says in plain words what is wrong with which variable."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsError

from producers.settings import ProducerSettings
from schemas.registry import RegistrySettings
from streams.errors import SetupError
from streams.settings import Settings
from streams.settings.faust_variables import foreign

logger = logging.getLogger(__name__)

_PREFIX = "STREAMS_"

#: The settings of the shipped jobs, which are not loaded where the shipped queues are not served.
_OF_SHIPPED_JOBS = ("STREAMS_SMTP_", "STREAMS_IMAGE_", "STREAMS_WEBHOOK_")

#: What pydantic's kinds of errors say that they expected.
_EXPECTED = {
    "bool_parsing": "true or false",
    "dict_type": "a JSON object",
    "enum": "{expected}",
    "finite_number": "a number",
    "float_parsing": "a number",
    "greater_than": "more than {gt}",
    "greater_than_equal": "{ge} or more",
    "int_parsing": "a whole number",
    "less_than_equal": "{le} or less",
    "literal_error": "{expected}",
    "string_type": "a JSON object of texts",
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


def warn_of_foreign(environment: Mapping[str, str]) -> None:
    """Log which variables Faust's command goes by, past this project's settings."""
    for name in foreign(environment):
        logger.warning("%s is set, which is no setting of this project, and Faust's command goes by it: unset it, or"
                       " use python -m streams, which does not", name)  # fmt: skip


def check_shipped_jobs(settings: Settings) -> None:
    """Raise SetupError with a line for every variable of the shipped jobs that cannot be used, if they are served.

    They would find out with the first job. Their modules must have been imported.
    """
    kinds = [kind for kind in _kinds() if kind.__module__.startswith("streams.jobs.")]
    problems = [problem for kind in kinds for problem in _problems(kind)] if settings.shipped_jobs else []
    if problems:
        raise SetupError("\n".join(dict.fromkeys(problems)))


def _suggestion(name: str, known: Iterable[str]) -> str:
    ours = [each.removeprefix(_PREFIX) for each in known if each.startswith(_PREFIX)]
    near = difflib.get_close_matches(name.removeprefix(_PREFIX), sorted(ours), n=1)
    return f"; did you mean {_PREFIX}{near[0]}?" if near else ""


def _kinds() -> Iterator[type[BaseSettings]]:
    """All settings that any module has declared."""
    kinds: list[type[BaseSettings]] = [BaseSettings]
    for kind in kinds:
        kinds += kind.__subclasses__()
        yield kind


def _known_variables() -> Iterator[str]:
    for kind in _kinds():
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
    except SettingsError as error:
        return [_unreadable(kind, error)]
    return []


def _unreadable(kind: type[BaseSettings], error: SettingsError) -> str:
    """A line for a variable that should hold JSON and does not; what it holds may be a secret."""
    field = next((name for name in kind.model_fields if f'"{name}"' in str(error)), "")
    return f'{_variable(kind, field)} is no JSON ({error.__cause__}): expected an object, such as {{"name": "value"}}'


def _explain(kind: type[BaseSettings], errors: Iterable[ErrorDetails]) -> Iterator[str]:
    alternatives: dict[str, list[str]] = {}
    for error in errors:
        if error["type"] == "value_error":
            yield _named(kind, error)
        else:
            alternatives.setdefault(_given(kind, error), []).append(_expected(error))
    for given, expected in alternatives.items():
        yield f"{given}: expected {' or '.join(expected)}{_origin(given)}"


def _origin(given: str) -> str:
    """Who has set a variable, where it is nobody in their senses."""
    if "='tcp://" not in given:
        return ""
    service = given.partition("=")[0].rpartition("_")[0].lower().replace("_", "-")
    return (
        f" (Kubernetes sets it for a service that is called {service}: give that another name, or the pod"
        " enableServiceLinks: false)"
    )


def _named(kind: type[BaseSettings], error: ErrorDetails) -> str:
    """The words of a check of ours, which names the variable unless it is that of one."""
    words = str(error["ctx"]["error"])
    variable = _variable(kind, str(error["loc"][0])) if error["loc"] else ""
    return words if not variable or variable in words else f"{variable}: {words}"


def _given(kind: type[BaseSettings], error: ErrorDetails) -> str:
    name = str(error["loc"][0])
    field = kind.model_fields.get(name)
    secret = field is not None and "Secret" in str(field.annotation)
    return f"{_variable(kind, name)}={'...' if secret else repr(error['input'])}"


def _expected(error: ErrorDetails) -> str:
    template = _EXPECTED.get(error["type"])
    return error["msg"] if template is None else template.format(**error.get("ctx", {}))
