"""A schema registry that speaks Confluent's API: where schemas are registered and found by id."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from schemas.errors import RegistryRefused, RegistryUnavailable, UnknownSchema, UnusableSchema

if TYPE_CHECKING:
    from confluent_kafka.schema_registry import Schema
    from confluent_kafka.schema_registry.error import SchemaRegistryError

#: No such subject, version or schema. Which of them is told for an unknown id differs: Confluent and Karapace say the
#: last, Apicurio any, by its version.
_NOT_FOUND = frozenset({40401, 40402, 40403})


#: In an address, who logs in, and what may hold a token.
_USER = re.compile(r"(?<=//)[^\s/]*@")
_QUERY = re.compile(r"(\w+://[^\s'\"?]*)\?[^\s'\"]*")

_LOGIN = "; check SCHEMA_REGISTRY_BASIC_AUTH_USER_INFO"
#: What to do about an answer, by its status.
_REMEDIES = {401: _LOGIN, 403: _LOGIN, 404: "; check that SCHEMA_REGISTRY_URL is the address of its API"}


class SubjectStrategy(StrEnum):
    """How the subject is named under which a schema is registered (Confluent's three subject name strategies)."""

    TOPIC = "topic"  # <topic>-value
    RECORD = "record"  # <full name>
    TOPIC_RECORD = "topic_record"  # <topic>-<full name>

    def subject(self, topic: str, job_type: str) -> str:
        """The subject of a job type on a topic."""
        if self is SubjectStrategy.TOPIC:
            return f"{topic}-value"
        return job_type if self is SubjectStrategy.RECORD else f"{topic}-{job_type}"


class RegistrySettings(BaseSettings):
    """Where the schema registry is, from SCHEMA_REGISTRY_* in the environment; without a URL there is none."""

    # What an error shows of its input could be a password.
    model_config = SettingsConfigDict(
        env_prefix="SCHEMA_REGISTRY_", frozen=True, env_ignore_empty=True, hide_input_in_errors=True
    )

    url: str | None = None  # several, separated by commas, are tried in turn
    basic_auth_user_info: SecretStr | None = None  # user:password
    ssl_ca_location: str | None = None
    auto_register: bool = True  # False: only schemas registered already may be published with
    subject_strategy: SubjectStrategy = SubjectStrategy.RECORD
    timeout: float = Field(default=5.0, gt=0, allow_inf_nan=False)  # of a request, in seconds

    def client_config(self) -> dict[str, Any]:
        """The settings as confluent-kafka's client wants them. Raises ValueError for what is no address."""
        url = self.url or ""
        _check(url)
        config: dict[str, Any] = {
            # Without who logs in: the library under the client logs the address of every request.
            "url": _USER.sub("", url),
            "timeout": self.timeout,
            # Whoever calls decides how to wait: a worker pauses intake, a producer reports.
            "max.retries": 0,
        }
        if self.basic_auth_user_info is not None:
            config["basic.auth.user.info"] = self.basic_auth_user_info.get_secret_value()
        elif user := _USER.search(url):
            config["basic.auth.user.info"] = unquote(user[0].removesuffix("@"))
        if self.ssl_ca_location is not None:
            config["ssl.ca.location"] = self.ssl_ca_location
        return config


def _check(url: str) -> None:
    """Refuse what is no address without showing it: whoever else complains of it would show a password in it."""
    for each in filter(None, url.split(",")):
        address = urlsplit(each.strip())
        # Behind a user and a password there is no @; one that is there was meant to be in them.
        behind = address.path + address.query + address.fragment
        if ("@" in behind and address.netloc) or re.search(r"\s", each.strip()):
            raise ValueError(
                "Invalid url: the user and the password in it must have '/', '?', '#', '@' and blanks percent-encoded;"
                " or set SCHEMA_REGISTRY_BASIC_AUTH_USER_INFO=user:password instead"
            )
        if address.scheme not in ("http", "https") or not address.netloc:
            raise ValueError("Invalid url: an address of a registry begins with http:// or https://")


class Registry:
    """Looks up and registers schemas. Every call blocks for the timeout at most; answers are kept for good."""

    def __init__(self, settings: RegistrySettings) -> None:
        """Connects to nothing yet; raises ValueError for a URL or credentials that cannot be right."""
        # The client takes as long to import as most of a worker, and most have no registry.
        from confluent_kafka.schema_registry import Schema, SchemaRegistryClient  # noqa: PLC0415
        from confluent_kafka.schema_registry.error import SchemaRegistryError  # noqa: PLC0415

        self._settings = settings
        self._schema, self._error = Schema, SchemaRegistryError
        self._where = without_secrets(settings.url or "")
        try:
            self._client = SchemaRegistryClient(settings.client_config())
        except ValueError as error:
            raise ValueError(without_secrets(str(error))) from None
        self._ids: dict[tuple[str, str], int] = {}

    @classmethod
    def from_environment(cls) -> Registry | None:
        """The registry that SCHEMA_REGISTRY_URL names, or None when it is not set."""
        settings = RegistrySettings()
        return cls(settings) if settings.url else None

    def schema_id(self, topic: str, job_type: str, text: str) -> int:
        """The id of a schema, which is registered first where settings allow that.

        Raises RegistryUnavailable, or RegistryRefused when the registry says no, as to an incompatible schema.
        """
        subject = self._settings.subject_strategy.subject(topic, job_type)
        known = self._ids.get((subject, text))
        if known is None:
            known = self._ids[subject, text] = self._ask_for_id(subject, self._schema(text, "AVRO"))
        return known

    def schema_text(self, schema_id: int) -> str:
        """The Avro schema with an id; raises RegistryUnavailable, or UnknownSchema when there is none."""
        try:
            schema = self._client.get_schema(schema_id)
        except self._error as error:
            if self._is_permanent(error):
                raise UnknownSchema(f"schema id {schema_id} is not known to the schema registry") from error
            raise self._unavailable(error) from None
        except Exception as error:
            raise self._unavailable(error) from None
        if not schema.schema_str:
            raise RegistryUnavailable(f"the schema registry at {self._where} answered without a schema")
        if schema.schema_type not in {None, "AVRO"}:
            raise UnusableSchema(f"schema id {schema_id} of the registry is {schema.schema_type}; a job's is AVRO")
        if schema.references:
            raise UnusableSchema(
                f"schema id {schema_id} of the registry refers to other schemas; write it in one piece"
            )
        return schema.schema_str

    def _is_permanent(self, error: SchemaRegistryError) -> bool:
        """Whether a registry has said that it has no such schema.

        The plain 404 of other registries, as of Apicurio's before 2.1, is also what a wrong URL gets: it counts where
        the registry answers otherwise.
        """
        if error.error_code in _NOT_FOUND:
            return True
        return error.http_status_code == error.error_code == 404 and self._answers()

    def _answers(self) -> bool:
        try:
            return isinstance(self._client.get_subjects(), list)
        except Exception:
            return False

    def close(self) -> None:
        """Closes the connections."""
        self._client.close()

    def _ask_for_id(self, subject: str, schema: Schema) -> int:
        try:
            if self._settings.auto_register:
                return self._client.register_schema(subject, schema)
            found = self._client.lookup_schema(subject, schema).schema_id
        except self._error as error:
            raise self._refused(subject, error) from None
        except Exception as error:
            raise self._unavailable(error) from None
        if found is None:
            raise RegistryUnavailable(f"the schema registry at {self._where} gave no id for {subject!r}")
        return found

    def _refused(self, subject: str, error: SchemaRegistryError) -> RegistryUnavailable | RegistryRefused:
        if error.error_code in _NOT_FOUND and not self._settings.auto_register:
            return RegistryRefused(
                f"subject {subject!r} does not have this schema; register it, or set SCHEMA_REGISTRY_AUTO_REGISTER=true"
            )
        if error.http_status_code in {401, 403}:
            return RegistryRefused(f"{error}{_LOGIN}")
        if error.http_status_code in {409, 422}:
            return RegistryRefused(f"subject {subject!r}: {error}; make a new version that old readers can read")
        return self._unavailable(error)

    def _unavailable(self, error: Exception) -> RegistryUnavailable:
        # Everything but a plain "no such schema" may pass, wrong credentials too: no good job is given up for it.
        remedy = _REMEDIES.get(getattr(error, "http_status_code", 0), "")
        what = without_secrets(f"{type(error).__name__}: {error}")
        return RegistryUnavailable(f"the schema registry at {self._where}: {what}{remedy}")


def without_secrets(text: str) -> str:
    """A text in which addresses have neither user nor password, nor a query."""
    return _QUERY.sub(r"\1?***", _USER.sub("***@", text))
