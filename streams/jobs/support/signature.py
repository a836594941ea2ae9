"""Signs webhooks as https://www.standardwebhooks.com describes."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

_PREFIX = "whsec_"
#: The specification asks for 24 to 64 bytes.
_SHORTEST, _LONGEST = 24, 64


def secret_key(secret: str) -> bytes:
    """The key in a `whsec_…` secret. Raises ValueError, which never shows the secret."""
    try:
        if not secret.startswith(_PREFIX):
            raise ValueError(f"it does not start with {_PREFIX}")
        key = base64.b64decode(secret[len(_PREFIX) :], validate=True)
    except binascii.Error:
        raise ValueError(f"what follows {_PREFIX} is not base64") from None
    if not _SHORTEST <= len(key) <= _LONGEST:
        raise ValueError(f"it holds {len(key)} bytes instead of {_SHORTEST} to {_LONGEST}")
    return key


def sign(key: bytes, webhook_id: str, timestamp: int, body: bytes) -> str:
    """The webhook-signature header: HMAC-SHA256 over id, time in seconds and body."""
    content = f"{webhook_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()
