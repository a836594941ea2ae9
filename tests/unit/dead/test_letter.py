"""Letters, whatever their headers hold, and how they are shown."""

from __future__ import annotations

import json
import unicodedata
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.headers import Headers, Origin
from streams.dead import Letter
from streams.dead.cli.text import as_line, as_object, lines, whole
from streams.dead.payload import Payload, Payloads, as_json
from streams.dead.topic.reader import as_letter
from streams.logs.safe_text import plain
from tests.unit.dead.letters import NOW, letter
from tests.unit.schemas.demo.models.demo import Everything
from tests.unit.schemas.samples import demo_codec, everything

NAMES = [
    "ce_id", "ce_type", "job-origin", "job-attempt", "job-redrives", "job-expires-at", "job-first-failed-at",
    "job-last-failed-at", "job-error-type", "job-error-message", "job-error-stack", "x-\x1b",
]  # fmt: skip
EVIL = [b"\x1b]0;title\x07", b"\xff\xfe", b"9" * 18, b"9" * 400, b"a\nb\rc", "\u202e\u2028\x85".encode(), b"///", b""]
HEADERS = st.lists(
    st.tuples(st.sampled_from(NAMES), st.one_of(st.none(), st.sampled_from(EVIL), st.binary(max_size=9))), max_size=15
)
KEYS = st.one_of(st.none(), st.sampled_from(EVIL), st.binary(max_size=9))


def harmless(text: str) -> bool:
    return all(unicodedata.category(each) not in {"Cc", "Cf", "Cs", "Zl", "Zp"} for each in text)


@given(HEADERS, KEYS, KEYS)
def test_hostile_bytes_neither_raise_nor_reach_a_terminal(
    headers: Headers, key: bytes | None, value: bytes | None
) -> None:
    hostile = Letter(Origin("jobs.q.dead", 0, 0), key, value, headers, NOW)
    payloads = Payloads(demo_codec())
    typed = Letter(*(hostile.place, key, value, headers, NOW), payloads.type_of(value, dict(headers)))
    payload = payloads.decode(value)
    text = [*lines([typed]), *whole(typed, payload), as_line(as_object(typed, payload))]
    assert all(harmless(line) for line in text)
    assert json.loads(text[-1])["offset"] == 0


def test_columns_are_aligned() -> None:
    some = [letter(("ce_id", text.encode()), key=text.encode()) for text in ("a", "日本語", "e\u0301", "long" * 30)]
    title, *rows = lines(some)
    at = title.index("REDRIVES")
    for row in rows:
        columns = 0
        for index, each in enumerate(row):
            if columns == at:
                assert row[index] == "0", row
                break
            columns += 0 if unicodedata.combining(each) else 2 if each > "\u1100" and each != "…" else 1


def test_lines_are_cut_to_the_terminal() -> None:
    long = letter(("job-error-message", b"m" * 500))
    assert [len(line) for line in lines([long], width=60)] == [60, 60]


def test_a_time_beyond_the_calendar() -> None:
    assert "999999999999999999 ms" in "".join(lines([letter(("job-last-failed-at", b"9" * 18))]))


def test_the_id_is_the_same_before_and_after_death() -> None:
    assert letter(("ce_id", b"one"), ("job-origin", b"jobs.q/1/42")).id == "one"
    assert letter(("job-origin", b"jobs.q/1/42")).id == "jobs.q-1-42"
    assert letter(offset=3).id == "jobs.q.dead-1-3"


def test_header_names_that_are_no_text_are_left_out() -> None:
    class Unreadable:
        """A message of a client that wrote what librdkafka's binding cannot read."""

        def topic(self) -> str:
            return "jobs.q.dead"

        def error(self) -> None:
            return None

        def partition(self) -> int:
            return 2

        def offset(self) -> int:
            return 5

        def key(self) -> Any:
            return b"k"

        def value(self) -> Any:
            return b"v"

        def headers(self) -> Any:
            return b"\xff".decode()

        def timestamp(self) -> Any:
            return (0, -1)

    found = as_letter(Unreadable(), "jobs.q.dead")
    assert (found.place, found.headers, found.timestamp) == (Origin("jobs.q.dead", 2, 5), (), None)


def test_a_payload_in_json_is_what_enqueue_reads() -> None:
    codec = demo_codec()
    payload = Payloads(codec).decode(codec.encode(everything(), "jobs.demo"))
    assert payload.type == Everything.JOB_TYPE
    again = codec.from_json(str(payload.type), json.loads(json.dumps(payload.fields)))
    assert as_json(again) == payload.fields
    assert payload.fields["class"] == "economy"
    # The word and the shape are of unions, of which JSON takes the first branch that fits.
    assert replace(again, word="", shape=None) == replace(everything(), word="", shape=None)


@pytest.mark.parametrize(("value", "reason"), [(b"\xff" * 100, "UnknownFraming"), (None, "MissingPayload")])
def test_what_cannot_be_decoded_says_why(value: bytes | None, reason: str) -> None:
    payload = Payloads(demo_codec()).decode(value)
    assert (payload.reason or "").startswith(reason)
    assert payload.head == " ".join(["ff"] * 64 if value else [])
    text = "\n".join(whole(letter(), payload))
    assert "cannot be decoded" in text


def test_plain_text_stays_as_it_is() -> None:
    assert plain("Grüße, 日本語 + 42 %") == "Grüße, 日本語 + 42 %"
    assert plain("\x1b[31m\n\u202e") == "\\x1b[31m\\n\\u202e"


def test_a_letter_shows_its_payload_type_first() -> None:
    shown = as_object(letter(type="stated"), Payload("decoded", {}))
    assert shown["type"] == "decoded"
