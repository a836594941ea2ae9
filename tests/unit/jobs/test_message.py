from __future__ import annotations

from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.models.email import SendEmail
from streams.jobs.support.errors import NotConfigured, Refused
from streams.jobs.support.mail_text import parse_address
from streams.jobs.support.message import build_message

NOW = datetime(2026, 1, 31, 8, 15, 30, tzinfo=UTC)


def email(**fields: Any) -> SendEmail:
    return SendEmail(**{"to": ["ada@example.com"], "subject": "Hello", "text": "Good morning", **fields})


def received(job: SendEmail, job_id: str = "job-1", sender: str | None = "shop@example.com") -> EmailMessage:
    """The message as the other side parses it."""
    message = message_from_bytes(build_message(job, job_id, sender, NOW).as_bytes(), policy=policy.default)
    assert isinstance(message, EmailMessage)
    return message


def test_headers_and_parts() -> None:
    message = received(
        email(to=["Ada Lovelace <ada@example.com>", "bob@example.org"], html="<p>Hi</p>", reply_to="help@example.com")
    )
    assert message["To"] == "Ada Lovelace <ada@example.com>, bob@example.org"
    assert message["From"] == "shop@example.com"
    assert message["Reply-To"] == "help@example.com"
    assert message["Subject"] == "Hello"
    assert message["Date"].datetime == NOW
    assert message["X-Job-Id"] == "job-1"
    assert message.get_content_type() == "multipart/alternative"
    text, html = message.get_body(("plain",)), message.get_body(("html",))
    assert text is not None
    assert text.get_content().strip() == "Good morning"
    assert html is not None
    assert html.get_content().strip() == "<p>Hi</p>"


def test_without_html_it_is_plain_text() -> None:
    assert received(email()).get_content_type() == "text/plain"


def test_every_run_of_a_job_has_the_same_message_id() -> None:
    assert received(email())["Message-ID"] == received(email())["Message-ID"] == "<job-1@example.com>"
    assert received(email(), job_id="job-2")["Message-ID"] == "<job-2@example.com>"


def test_the_job_names_the_sender_or_the_settings_do() -> None:
    assert received(email(sender="Ann <ann@example.net>"))["From"] == "Ann <ann@example.net>"
    with pytest.raises(NotConfigured, match="STREAMS_SMTP_SENDER"):
        build_message(email(), "job-1", None, NOW)


#: What no header can hold as it is, and what some mail libraries would make line ends of.
UNFIT = [
    "Hello\r\nBcc: all@example.com",
    "Hello\nBcc: x@example.com",
    "=?utf-8?q?Hello=0D=0ABcc:_all@example.com?=",
    "Re: =?UTF-8?B?SGVsbG8NCkJjYzogeEBleGFtcGxlLmNvbQ==?= all",
    "=?utf-8*en?q?=0ABcc:x@example.com",
    *(f"Hello{wrong}Bcc: x@example.com" for wrong in "\0\x0b\x0c\x1b\x1c\x1e\x7f\x85\x9b\u2028\u2029\u202e\ud800"),
    "x" * 1_000,
]


@pytest.mark.parametrize("text", UNFIT)
@pytest.mark.parametrize(
    ("field", "place"),
    [("subject", "{}"), ("sender", "{} <a@example.com>"), ("reply_to", "{} <a@example.com>"), ("to", "{} <a@b.c>")],
)
def test_no_text_adds_headers_nor_is_tried_again(field: str, place: str, text: str) -> None:
    value = place.format(text)
    with pytest.raises(Refused, match=rf"^{field}(\[0\])? must be "):
        build_message(email(**{field: [value] if field == "to" else value}), "job-1", "shop@example.com", NOW)


@pytest.mark.parametrize("field", ["text", "html"])
@pytest.mark.parametrize("wrong", ["\0", "\ud800"])
def test_a_body_that_no_mail_can_hold(field: str, wrong: str) -> None:
    with pytest.raises(Refused, match=f"^{field} must be text"):
        build_message(email(**{field: f"a{wrong}b"}), "job-1", "shop@example.com", NOW)


def test_what_only_looks_odd_is_sent_as_it_is() -> None:
    for subject in ("Really =? yes", "a\tb", "\U0001f469\u200d\U0001f680 caf\u00e9", "x" * 998, "2 =? 3 ?= 4"):
        assert received(email(subject=subject))["Subject"] == subject


def test_a_domain_is_written_as_mail_servers_know_it() -> None:
    message = received(email(to=["J\u00f6rg <a@b\u00fccher.example>"], sender="a@b\u00fccher.example"))
    assert message["To"] == "J\u00f6rg <a@xn--bcher-kva.example>"
    assert message["Message-ID"] == "<job-1@xn--bcher-kva.example>"
    for sender in ("a@" + "\u00fc" * 70 + ".example", "a@\u00fc..example"):
        with pytest.raises(Refused, match="sender is no e-mail address"):
            build_message(email(sender=sender), "job-1", None, NOW)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "nobody",
        "@example.com",
        "ada@",
        "ada@@example.com",
        "ada@exam ple.com",
        "ada@example.com\r\nBcc: all@example.com",
        "ada@example.com, bob@example.com",
        "Ada <ada@example.com>\r\nX: y",
        "Ada\r\nX: y <ada@example.com>",
        "ada@example.com>",
        "ada@-example.com",
        "ada@example..com",
        "a" * 250 + "@example.com",
        '"\0"@example.com',
    ],
)
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(
        Refused, match=r"to\[1\] (is no e-mail address: .* expected 'ada@example.com'|must be one line)"
    ):
        build_message(email(to=["ada@example.com", address]), "job-1", "shop@example.com", NOW)


def test_no_recipient_at_all() -> None:
    with pytest.raises(Refused, match="to is empty"):
        build_message(email(to=[]), "job-1", "shop@example.com", NOW)


@pytest.mark.parametrize(
    "address",
    ["ada@example.com", "o'hara+tag@sub.example.co.uk", '"Lovelace, Ada" <ada@example.com>', "root@localhost"],
)
def test_addresses_that_are_fine(address: str) -> None:
    assert "@" in parse_address(address, "to").addr_spec


@given(st.text(st.characters(codec="utf-8"), max_size=60), st.text(st.characters(codec="utf-8"), min_size=1))
def test_no_text_adds_a_header_or_escapes_as_another_error(text: str, job_id: str) -> None:
    try:
        message = build_message(email(subject=text, to=[text + "@example.com"], text=text), job_id, "a@b.c", NOW)
    except Refused:
        return
    # SMTPUTF8 as the mail client does it, when an address needs it.
    lines = message.as_bytes(policy=policy.SMTPUTF8).split(b"\r\n\r\n", 1)[0].split(b"\r\n")
    names = {line.split(b":", 1)[0].lower() for line in lines if not line.startswith((b" ", b"\t"))}
    assert names <= {
        b"from",
        b"to",
        b"subject",
        b"date",
        b"message-id",
        b"x-job-id",
        b"content-type",
        b"content-transfer-encoding",
        b"mime-version",
    }
