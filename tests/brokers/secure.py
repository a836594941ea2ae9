"""A broker that clients have to log in to, over TLS: with a password on one listener, a certificate on another."""

from __future__ import annotations

from pathlib import Path

import trustme
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._scram import ScramCredentialInfo, ScramMechanism, UserScramCredentialUpsertion
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from tests.brokers.embedded import EmbeddedBroker, free_port

USER = "worker"
PASSWORD = "let me, in"

_PROPERTIES = """
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,PASSWORDS:SASL_SSL,CERTIFICATES:SSL
ssl.keystore.type=PEM
ssl.keystore.location={keystore}
ssl.truststore.type=PEM
ssl.truststore.location={authority}
listener.name.certificates.ssl.client.auth=required
listener.name.passwords.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512
listener.name.passwords.plain.sasl.jaas.config=\\
  org.apache.kafka.common.security.plain.PlainLoginModule required user_{user}="{password}";
listener.name.passwords.scram-sha-256.sasl.jaas.config=\\
  org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.passwords.scram-sha-512.sasl.jaas.config=\\
  org.apache.kafka.common.security.scram.ScramLoginModule required;
"""


class SecureBroker(EmbeddedBroker):
    """An embedded broker with secure listeners, and a plain one for the tests themselves."""

    def __init__(self, directory: Path, properties: str = "") -> None:
        """`directory` is for keys and certificates; `properties` are more of the broker's."""
        self._authority = trustme.CA()
        self.authority = directory / "authority.pem"
        self._authority.cert_pem.write_to_path(str(self.authority))
        keystore, file = directory / "broker.pem", directory / "secure.properties"
        certificate = self._authority.issue_cert("127.0.0.1")
        keystore.write_bytes(_unencrypted(certificate) + certificate.cert_chain_pems[0].bytes())
        listeners = _PROPERTIES.format(keystore=keystore, authority=self.authority, user=USER, password=PASSWORD)
        file.write_text(listeners + properties)
        self.passwords, self.certificates = (f"127.0.0.1:{free_port()}" for _ in range(2))
        super().__init__(
            f"--properties={file}",
            f"--listener=PASSWORDS://{self.passwords}",
            f"--listener=CERTIFICATES://{self.certificates}",
        )

    def start(self) -> None:
        super().start()
        admin = AdminClient({"bootstrap.servers": self.bootstrap})
        for mechanism in (ScramMechanism.SCRAM_SHA_256, ScramMechanism.SCRAM_SHA_512):
            login = UserScramCredentialUpsertion(USER, ScramCredentialInfo(mechanism, 4096), PASSWORD.encode())
            admin.alter_user_scram_credentials([login])[USER].result(timeout=30)

    def with_password(self, mechanism: str, password: str = PASSWORD) -> dict[str, str]:
        """The environment of a client that logs in with a password."""
        return {
            "KAFKA_BOOTSTRAP_SERVERS": self.passwords,
            "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
            "KAFKA_SASL_MECHANISM": mechanism,
            "KAFKA_SASL_USERNAME": USER,
            "KAFKA_SASL_PASSWORD": password,
            "KAFKA_SSL_CA_LOCATION": str(self.authority),
        }

    def with_certificate(self, directory: Path) -> dict[str, str]:
        """The environment of a client that shows a certificate; it and its key are written to a directory."""
        certificate = self._authority.issue_cert("client@example.org")
        chain, key = directory / "client.pem", directory / "client.key"
        certificate.cert_chain_pems[0].write_to_path(str(chain))
        certificate.private_key_pem.write_to_path(str(key))
        return {
            "KAFKA_BOOTSTRAP_SERVERS": self.certificates,
            "KAFKA_SECURITY_PROTOCOL": "SSL",
            "KAFKA_SSL_CA_LOCATION": str(self.authority),
            "KAFKA_SSL_CERTIFICATE_LOCATION": str(chain),
            "KAFKA_SSL_KEY_LOCATION": str(key),
        }


def _unencrypted(certificate: trustme.LeafCert) -> bytes:
    """The key in the one form that Kafka reads (PKCS #8)."""
    key = load_pem_private_key(certificate.private_key_pem.bytes(), None)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
