from __future__ import annotations

import base64

import pytest
from pydantic import ValidationError

from streams.jobs.support.signature import secret_key, sign
from streams.jobs.webhook import WebhookSettings

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def test_the_vector_of_the_reference_implementations() -> None:
    signature = sign(secret_key(SECRET), "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize("secret", ["", SECRET[6:], "whsec_???", "whsec_c2hvcnQ=", "whsec_" + "A" * 100])
def test_a_bad_secret_stops_at_the_settings_and_is_not_shown(secret: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMS_WEBHOOK_SECRETS", f'{{"shop": "{secret}"}}')
    with pytest.raises(ValidationError, match="secret 'shop' must be whsec_") as error:
        WebhookSettings()
    assert not secret or secret not in str(error.value)


def test_a_good_secret_is_not_shown_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMS_WEBHOOK_SECRETS", f'{{"shop": "{SECRET}"}}')
    settings = WebhookSettings()
    assert settings.secrets["shop"].get_secret_value() == SECRET
    assert SECRET not in repr(settings)
    assert len(secret_key("whsec_" + base64.b64encode(b"k" * 32).decode())) == 32
