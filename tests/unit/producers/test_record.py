from datetime import timedelta
from typing import Any, NoReturn
from uuid import UUID

import pytest

from producers import JobRecord, OptionInvalid, PayloadInvalid, PayloadTooLarge, compose
from schemas.catalog import shipped
from schemas.codec import Codec
from schemas.errors import ModelInvalid
from schemas.headers import build, parse
from schemas.models.email import SendEmail

CODEC = Codec(shipped())
EMAIL = SendEmail(to=["someone@example.org"], subject="Hello", text="Body")
NOW = 1_767_225_600_123  # 2026-01-01T00:00:00.123Z


def record(payload: Any = EMAIL, **options: Any) -> JobRecord:
    return compose(CODEC, payload, **{"namespace": "jobs", "source": "shop", "now_ms": NOW, **options})


def test_the_value_is_the_payload_and_nothing_else() -> None:
    assert CODEC.decode(record().value) == ("jobs.email.SendEmail", EMAIL)


def test_the_queue_is_that_of_the_type_unless_named() -> None:
    assert record().topic == "jobs.email"
    assert record(queue="newsletter", namespace="shop").topic == "shop.newsletter"


def test_headers_are_cloudevents_in_binary_mode() -> None:
    assert dict(record(id="order-1").headers) == {
        "ce_specversion": b"1.0",
        "ce_id": b"order-1",
        "ce_type": b"jobs.email.SendEmail",
        "ce_source": b"shop",
        "ce_time": b"2026-01-01T00:00:00.123Z",
        "content-type": b"application/avro",
    }


def test_headers_are_those_the_schemas_package_writes() -> None:
    ours = record(id="order-1", timeout=1.5, expires_in=60, max_attempts=3, parent="p", headers={"tenant": "7"}).headers
    theirs = build(
        id="order-1",
        type="jobs.email.SendEmail",
        source="shop",
        now_ms=NOW,
        expires_at=NOW + 60_000,
        timeout_ms=1_500,
        max_attempts=3,
        parent="p",
        extra=[("tenant", b"7")],
    )
    assert sorted(ours) == sorted(theirs)


def test_a_worker_reads_what_was_asked_for() -> None:
    made = record(
        timeout=timedelta(seconds=2), expires_in=0.5, parent="job-0", headers={"traceparent": "0", "x": b"\xff"}
    )
    read = parse(made.headers, made.topic, 0, 0)
    assert (read.id, read.timeout_ms, read.expires_at, read.parent) == (made.id, 2_000, NOW + 500, "job-0")
    assert read.traceparent == "0"
    assert read.headers["x"] == b"\xff"


def test_an_id_is_a_uuid_of_version_7_by_default() -> None:
    ids = [record().id for _ in range(1_000)]
    assert {UUID(made).version for made in ids} == {7}
    assert ids == sorted(set(ids))


def test_a_key_is_utf8_and_none_means_none() -> None:
    assert record(key="Zoë").key == "Zoë".encode()
    assert record().key is None


class Odd(str):
    """Text that does as it likes."""

    __slots__ = ()

    def encode(self, *_: object) -> NoReturn:
        raise RuntimeError("no encoding")

    def startswith(self, *_: object) -> NoReturn:
        raise RuntimeError("no start")


def test_text_is_text_whatever_its_class_does() -> None:
    odd = record(key=Odd("k"), id=Odd("one"), headers={Odd("tenant"): Odd("7")})
    assert odd.key == b"k"
    assert dict(odd.headers)["ce_id"] == b"one"
    assert dict(odd.headers)["tenant"] == b"7"


def test_headers_of_one_job_do_not_leak_into_the_next() -> None:
    first = record(headers={"tenant": "7"})
    assert "tenant" not in dict(record().headers)
    assert "tenant" in dict(first.headers)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"key": ""}, "key: expected text"),
        ({"key": b"k"}, "key: expected text"),
        ({"key": 7}, "key: expected text"),
        ({"key": "\ud800"}, "key: expected text"),
        ({"id": ""}, "id: expected 1 to 1024 bytes"),
        ({"id": 7}, "id: expected 1 to 1024 bytes"),
        ({"id": "ä" * 513}, "id: expected 1 to 1024 bytes"),
        ({"parent": ""}, "parent: expected"),
        ({"queue": "a.b"}, "queue: expected"),
        ({"timeout": 0}, "timeout: expected seconds"),
        ({"timeout": "5"}, "timeout: expected seconds"),
        ({"timeout": float("nan")}, "timeout: expected seconds"),
        ({"timeout": True}, "timeout: expected seconds"),
        ({"max_attempts": 0}, "max_attempts: expected a whole number from 1"),
        ({"max_attempts": 2.5}, "max_attempts: expected a whole number from 1"),
        ({"max_attempts": True}, "max_attempts: expected a whole number from 1"),
        ({"expires_in": -1}, "expires_in: expected seconds"),
        ({"expires_in": float("inf")}, "expires_in: expected seconds"),
        ({"expires_in": 1e300}, "expires_in: expected seconds"),
        ({"headers": {"ce_id": "x"}}, "headers: expected names other than"),
        ({"headers": {"Job-Attempt": "x"}}, "headers: expected names other than"),
        ({"headers": {"content-type": "x"}}, "headers: expected names other than"),
        ({"headers": {"": "x"}}, "headers: expected names"),
        ({"headers": {"n": 1}}, "header 'n': expected text or bytes"),
        ({"headers": {"n": "\ud800"}}, "header 'n': expected text that UTF-8"),
    ],
)
def test_a_bad_option_is_named(options: dict[str, Any], named: str) -> None:
    with pytest.raises(OptionInvalid, match=named):
        record(**options)


def test_a_payload_that_does_not_fit_names_the_field() -> None:
    with pytest.raises(PayloadInvalid, match=r"jobs\.email\.SendEmail: field 'subject'"):
        record(SendEmail(to=["a@b.c"], subject=7, text=""))  # type: ignore[arg-type]


def test_something_that_is_no_model_is_refused() -> None:
    with pytest.raises(ModelInvalid, match="is no generated model"):
        record({"to": ["a@b.c"]})


def test_an_oversized_record_names_the_limit() -> None:
    with pytest.raises(PayloadTooLarge, match=r"1,000,000.*KAFKA_MESSAGE_MAX_BYTES"):
        record(SendEmail(to=["a@b.c"], subject="", text="x" * 1_000_000))


@pytest.mark.parametrize("option", [{"key": "k" * 5_000}, {"headers": {"n": "v" * 5_000}}])
def test_key_and_headers_count_too(option: dict[str, Any]) -> None:
    assert record(max_bytes=10_000, **option)
    with pytest.raises(PayloadTooLarge) as caught:
        record(max_bytes=5_000, **option)
    assert caught.value.limit == 5_000
    assert caught.value.size > 5_000


def test_seconds_are_rounded_to_milliseconds_but_not_to_none() -> None:
    assert dict(record(timeout=0.0001).headers)["job-timeout-ms"] == b"1"


def test_a_record_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        record().topic = "elsewhere"  # type: ignore[misc]
