"""Where the Kafka cluster is and how to log in to it."""

from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

ClientConfig = dict[str, str | int | float | bool]
SecurityProtocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
SaslMechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]


class Cluster(BaseSettings):
    """The Kafka cluster, read from the environment (`KAFKA_*`).

    Raises pydantic's ValidationError, which names the variable, when a value is unusable or login data is incomplete.
    """

    # What an error shows of its input could be a password.
    model_config = SettingsConfigDict(
        env_prefix="KAFKA_", frozen=True, env_ignore_empty=True, hide_input_in_errors=True
    )

    bootstrap_servers: str = Field(default="127.0.0.1:9092", min_length=1)
    security_protocol: SecurityProtocol = "PLAINTEXT"
    sasl_mechanism: SaslMechanism | None = None
    sasl_username: str | None = None
    sasl_password: SecretStr | None = None
    ssl_ca_location: str | None = None
    ssl_certificate_location: str | None = None
    ssl_key_location: str | None = None
    ssl_key_password: SecretStr | None = None

    @field_validator("bootstrap_servers")
    @classmethod
    def _servers_are_addresses(cls, servers: str) -> str:
        for server in servers.split(","):
            if not _is_address(server.strip()):
                raise ValueError(
                    f"KAFKA_BOOTSTRAP_SERVERS={servers!r}: expected host:port, several separated by commas"
                )
        return servers

    @property
    def uses_sasl(self) -> bool:
        """Whether clients log in with a user name and password."""
        return self.security_protocol.startswith("SASL_")

    @property
    def uses_tls(self) -> bool:
        """Whether connections are encrypted."""
        return self.security_protocol.endswith("SSL")

    @model_validator(mode="after")
    def _login_is_complete(self) -> "Cluster":
        login = {
            "KAFKA_SASL_MECHANISM": self.sasl_mechanism,
            "KAFKA_SASL_USERNAME": self.sasl_username,
            "KAFKA_SASL_PASSWORD": self.sasl_password,
        }
        missing = [name for name, value in login.items() if value is None]
        if self.uses_sasl and missing:
            raise ValueError(f"KAFKA_SECURITY_PROTOCOL={self.security_protocol} also needs {', '.join(missing)}")
        if not self.uses_sasl and len(missing) < len(login):
            # Credentials that are never sent would look like a login that works.
            raise ValueError("KAFKA_SASL_* is set: set KAFKA_SECURITY_PROTOCOL to SASL_SSL or SASL_PLAINTEXT too")
        if self.ssl_key_location is None and self.ssl_certificate_location is not None:
            raise ValueError("KAFKA_SSL_CERTIFICATE_LOCATION also needs KAFKA_SSL_KEY_LOCATION")
        return self

    def client_config(self) -> ClientConfig:
        """Return the configuration of a confluent-kafka client; it holds the passwords in clear text."""
        optional = {
            "sasl.mechanism": self.sasl_mechanism,
            "sasl.username": self.sasl_username,
            "sasl.password": _reveal(self.sasl_password),
            "ssl.ca.location": self.ssl_ca_location,
            "ssl.certificate.location": self.ssl_certificate_location,
            "ssl.key.location": self.ssl_key_location,
            "ssl.key.password": _reveal(self.ssl_key_password),
        }
        config: ClientConfig = {
            "bootstrap.servers": self.bootstrap_servers,
            "security.protocol": self.security_protocol,
        }
        config.update((name, value) for name, value in optional.items() if value is not None)
        return config


def _is_address(server: str) -> bool:
    try:
        parts = urlsplit(f"//{server}")
        return bool(parts.hostname) and parts.port != 0 and parts.netloc == server and " " not in server
    except ValueError:
        return False


def _reveal(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()
