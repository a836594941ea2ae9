from __future__ import annotations

import pytest
from pydantic import ValidationError

from streams.jobs.support.smtp import SmtpSettings, Tls, smtp_settings


def test_read_from_the_environment_once(monkeypatch: pytest.MonkeyPatch) -> None:
    smtp_settings.cache_clear()
    monkeypatch.setenv("STREAMS_SMTP_HOST", "mail.example.com")
    monkeypatch.setenv("STREAMS_SMTP_TLS", "starttls")
    monkeypatch.setenv("STREAMS_SMTP_USERNAME", "ada")
    monkeypatch.setenv("STREAMS_SMTP_PASSWORD", "secret")
    settings = smtp_settings()
    assert (settings.host, settings.tls) == ("mail.example.com", Tls.STARTTLS)
    assert "secret" not in repr(settings)
    assert smtp_settings() is settings
    smtp_settings.cache_clear()


def test_a_password_is_not_sent_in_the_clear(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMS_SMTP_PASSWORD", "topsecret")
    with pytest.raises(ValidationError, match="go together") as one_is_missing:
        SmtpSettings()
    monkeypatch.setenv("STREAMS_SMTP_USERNAME", "ada")
    monkeypatch.setenv("STREAMS_SMTP_HOST", "mail.example.com")
    with pytest.raises(ValidationError, match="set STREAMS_SMTP_TLS to starttls or tls") as in_the_clear:
        SmtpSettings()
    assert "topsecret" not in f"{one_is_missing.value} {in_the_clear.value}"
