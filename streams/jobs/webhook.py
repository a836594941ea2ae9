"""Webhook delivery."""

from __future__ import annotations

import re
import time
from functools import lru_cache

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from schemas.models.webhook import DeliverWebhook
from streams import JobContext, Queue
from streams.jobs.support.errors import NotConfigured, Refused
from streams.jobs.support.http_post import checked_url, post
from streams.jobs.support.plain_ids import plain_id
from streams.jobs.support.signature import secret_key, sign

webhooks = Queue("webhook", partitions=12)

#: Headers that the delivery itself decides.
_OWN = frozenset({"host", "content-length", "transfer-encoding", "connection", "upgrade", "expect", "te", "trailer"})

#: Controls but the tab, and halves of surrogate pairs, which no header can hold.
_NO_LINE = re.compile("[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]")


class WebhookSettings(BaseSettings):
    """How webhooks are delivered (`STREAMS_WEBHOOK_*`)."""

    model_config = SettingsConfigDict(
        env_prefix="STREAMS_WEBHOOK_", frozen=True, env_ignore_empty=True, hide_input_in_errors=True
    )

    #: Secrets that sign deliveries, by the name that jobs use: {"shop": "whsec_<base64>"}.
    secrets: dict[str, SecretStr] = Field(default_factory=dict)
    #: Whether deliveries may go to loopback and private addresses.
    allow_private: bool = False
    #: Seconds for one delivery, from the name's resolution to the answer.
    timeout: float = Field(default=20.0, gt=0, allow_inf_nan=False)

    @field_validator("secrets")
    @classmethod
    def _secrets_are_usable(cls, secrets: dict[str, SecretStr]) -> dict[str, SecretStr]:
        for name, secret in secrets.items():
            try:
                secret_key(secret.get_secret_value())
            except ValueError as error:
                raise ValueError(f"secret {name!r} must be whsec_ and base64 of 24 to 64 bytes: {error}") from None
        return secrets


@lru_cache(maxsize=1)
def webhook_settings() -> WebhookSettings:
    """The settings, read from the environment once."""
    return WebhookSettings()


@webhooks.job(DeliverWebhook, timeout=30)
async def deliver_webhook(job: DeliverWebhook, ctx: JobContext) -> None:
    """Post an event. Every run of the same job sends the same webhook-id, by which a receiver knows a repetition."""
    settings = webhook_settings()
    url, body = checked_url(job.url), _bytes(job.body)
    headers = {**_custom(job.headers), **_standard(job, ctx, settings, body)}
    status = await post(url, headers, body, timeout=settings.timeout, allow_private=settings.allow_private)
    ctx.logger.debug("%s answered %d", url.host, status)


def _standard(job: DeliverWebhook, ctx: JobContext, settings: WebhookSettings, body: bytes) -> dict[str, str]:
    webhook_id, now = plain_id(ctx.id), int(time.time())
    headers = {"webhook-id": webhook_id, "webhook-timestamp": str(now), "webhook-event": _line("event", job.event)}
    if job.secret_name is not None:
        headers["webhook-signature"] = sign(_key(job.secret_name, settings), webhook_id, now, body)
    return headers


def _key(name: str, settings: WebhookSettings) -> bytes:
    secret = settings.secrets.get(name)
    if secret is None:
        raise NotConfigured(f"STREAMS_WEBHOOK_SECRETS has no secret {name!r}: add it, or correct the job's secret_name")
    return secret_key(secret.get_secret_value())


def _custom(given: dict[str, str]) -> dict[str, str]:
    # Not compressed: the beginning of an answer that says no is shown as it is.
    headers = {
        "content-type": "application/json",
        "user-agent": "kafka-jobs-webhook",
        "accept-encoding": "identity",
    }
    for name, value in given.items():
        lowered = name.lower()
        if lowered in _OWN or lowered.startswith(("webhook-", "proxy-")):
            raise Refused(f"headers must not hold {name!r}: the delivery sets it itself")
        if not name.isascii() or not name.replace("-", "").replace("_", "").isalnum():
            raise Refused(f"headers has a name that HTTP does not know: {name[:100]!r}")
        # Not shown: it may be what the receiver knows its senders by.
        headers[lowered] = _line(f"headers[{name!r}]", value, shown=False)
    return headers


def _line(field: str, value: str, *, shown: bool = True) -> str:
    if _NO_LINE.search(value):
        raise Refused(f"{field} must be one line of text" + (f", not {value[:100]!r}" if shown else ""))
    return value


def _bytes(body: str) -> bytes:
    try:
        return body.encode()
    except UnicodeEncodeError as error:
        raise Refused(f"body is no text: {error.reason}") from None
