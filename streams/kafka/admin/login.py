"""The cluster's login in aiokafka's words; `producers.cluster` has the settings, and confluent-kafka's words."""

from __future__ import annotations

import ssl
from typing import Any

from producers.cluster import Cluster


def consumer_login(cluster: Cluster) -> dict[str, Any]:
    """Keyword arguments for aiokafka's clients: security protocol, TLS context, SASL. Reads the certificate files."""
    login: dict[str, Any] = {"security_protocol": cluster.security_protocol}
    if cluster.uses_tls:
        login["ssl_context"] = _tls(cluster)
    if cluster.uses_sasl and cluster.sasl_password is not None:
        login["sasl_mechanism"] = cluster.sasl_mechanism
        login["sasl_plain_username"] = cluster.sasl_username
        login["sasl_plain_password"] = cluster.sasl_password.get_secret_value()
    return login


def _tls(cluster: Cluster) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=cluster.ssl_ca_location)
    if cluster.ssl_certificate_location is not None:
        password = cluster.ssl_key_password
        context.load_cert_chain(
            cluster.ssl_certificate_location,
            cluster.ssl_key_location,
            password.get_secret_value() if password is not None else None,
        )
    return context
