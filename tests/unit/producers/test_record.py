import asyncio
from datetime import timedelta
from typing import Any, NoReturn
from uuid import UUID

import pytest

from producers import (
    AsyncJobProducer,
    JobProducer,
    JobRecord,
    OptionInvalid,
    PayloadInvalid,
    PayloadTooLarge,
    PublishOptions,
    SharedOptions,
    compose,
)
from producers.record import _HEADER_OF, _NO_HEADERS
from schemas.catalog import shipped
from schemas.codec import Codec
from schemas.errors import ModelInvalid
from schemas.headers import build, parse, shared_headers
from schemas.models.email import SendEmail
from streams.api.context import JobContext

CODEC = Codec(shipped())
EMAIL = SendEmail(to=["someone@example.org"], subject="Hello", text="Body")
NOW = 1_767_225_600_123  # 2026-01-01T00:00:00.123Z


def record(payload: Any = EMAIL, **options: Any) -> JobRecord:
    sender: dict[str, Any] = {"namespace": "jobs", "source": "shop", "now_ms": NOW}
    sender |= {name: options.pop(name) for name in ("namespace", "parent", "max_bytes") if name in options}
    given: Any = options
    return compose(CODEC, payload, given, **sender)


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


def test_options_become_headers_in_one_order_whatever_that_of_the_call() -> None:
    asked = {"headers": {"tenant": "7"}, "max_attempts": 3, "timeout": 1.5, "expires_in": 60}
    for options in (asked, dict(reversed(asked.items()))):
        made = record(id="order-1", parent="p", **options)
        assert made.headers == [
            *build(shared_headers("jobs.email.SendEmail", "shop"), "order-1", NOW),
            ("job-expires-at", b"%d" % (NOW + 60_000)),
            ("job-timeout-ms", b"1500"),
            ("job-max-attempts", b"3"),
            ("job-parent", b"p"),
            ("tenant", b"7"),
        ]


def test_every_option_is_heeded() -> None:
    assert _HEADER_OF.keys() | _NO_HEADERS == PublishOptions.__optional_keys__
    assert not _HEADER_OF.keys() & _NO_HEADERS
    assert PublishOptions.__optional_keys__ == {*SharedOptions.__optional_keys__, "key", "id"}
    assert not PublishOptions.__required_keys__


def test_an_option_that_is_none_is_one_that_is_left_out() -> None:
    nothing = dict.fromkeys(PublishOptions.__optional_keys__)
    made, plain = record(**nothing), record()
    assert [name for name, _ in made.headers] == [name for name, _ in plain.headers]
    assert (made.topic, made.key) == (plain.topic, None)


KNOWN = "its options are delay, expires_in, headers, id, key, max_attempts, queue, run_at, timeout"


@pytest.mark.parametrize("name", ["tiemout", "parent", "namespace", "max_bytes", "payload_"])
def test_an_option_that_there_is_not_is_named_with_those_that_there_are(name: str) -> None:
    options: Any = {"key": "k", name: "x"}
    said = rf"publish\(\) takes no option '{name}'; {KNOWN}"
    with pytest.raises(TypeError, match=said):
        compose(CODEC, EMAIL, options, namespace="jobs", source="shop", now_ms=NOW)
    with pytest.raises(TypeError, match=said):
        JobProducer(codec=CODEC).publish(EMAIL, **options)
    with pytest.raises(TypeError, match=said):
        asyncio.run(_publish(options))
    with pytest.raises(TypeError, match=said):
        JobContext("job-1", "email").publish(EMAIL, **options)


async def _publish(options: Any) -> None:
    await AsyncJobProducer(codec=CODEC).publish(EMAIL, **options)


@pytest.mark.parametrize("name", ["key", "id"])
def test_an_option_of_a_single_job_is_none_of_many(name: str) -> None:
    options: Any = {name: "x"}
    said = (
        rf"publish_many\(\) takes no option '{name}'; its options are delay, expires_in, headers, max_attempts, queue,"
        " run_at, timeout"
    )
    with pytest.raises(TypeError, match=said):
        JobProducer(codec=CODEC).publish_many([EMAIL], **options)
    with pytest.raises(TypeError, match=said):
        asyncio.run(AsyncJobProducer(codec=CODEC).publish_many([EMAIL], **options))


def test_a_worker_reads_what_was_asked_for() -> None:
    made = record(
        timeout=timedelta(seconds=2), expires_in=0.5, parent="job-0", headers={"traceparent": "0", "x": b"\xff"}
    )
    read = parse(made.headers, made.topic, 0, 0)
    assert (read.id, read.timeout_ms, read.expires_at, read.parent) == (made.id, 2_000, NOW + 500, "job-0")
    assert read.headers["traceparent"] == b"0"
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
        ({"timeout": 10**400}, "timeout: expected seconds"),
        ({"max_attempts": 0}, "max_attempts: expected a whole number from 1"),
        ({"max_attempts": 2.5}, "max_attempts: expected a whole number from 1"),
        ({"max_attempts": True}, "max_attempts: expected a whole number from 1"),
        ({"expires_in": -1}, "expires_in: expected seconds"),
        ({"expires_in": float("inf")}, "expires_in: expected seconds"),
        ({"expires_in": 1e300}, "expires_in: expected seconds"),
        ({"headers": [("n", "x")]}, "headers: expected a mapping"),
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
    with pytest.raises(ModelInvalid, match="publish an instance of it"):
        record(SendEmail)
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
