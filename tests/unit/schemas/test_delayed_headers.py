"""The headers of delayed jobs: what was written is read, what cannot be read is named, and the job stays as it was."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import HeaderInvalid
from schemas.headers import (
    CE_ID,
    COMMAND,
    DELAYED_UNTIL,
    EXPIRES_AT,
    FIRED,
    KEY,
    LOG,
    MOVED_FROM,
    NOT_BEFORE,
    OWNER,
    PARKED,
    POSITION,
    QUEUE,
    SCHEDULED_FOR,
    TEXT_LIMIT,
    DelayedJob,
    Headers,
    Origin,
    RetryState,
    command_key,
    delayed_until,
    fired_mark,
    is_delayed_id,
    read_delayed,
    read_reschedule,
    reschedule,
    scheduled_for,
    still_waiting,
    when_due,
    with_delay,
    with_retry,
)

PLACE = Origin("jobs.email", 3, 77)
OF_DELAY = {NOT_BEFORE, QUEUE, KEY, SCHEDULED_FOR, MOVED_FROM, DELAYED_UNTIL, PARKED, POSITION, OWNER, LOG}
NAMES = [NOT_BEFORE, QUEUE, KEY, SCHEDULED_FOR, MOVED_FROM, CE_ID, EXPIRES_AT, "mine"]
HEADERS = st.lists(st.tuples(st.sampled_from(NAMES), st.none() | st.binary(max_size=20)), max_size=12)
TIMES = st.integers(0, 10**14 - 1)
IDS = st.text(min_size=1, max_size=40).map(lambda text: text.encode("utf-8", "replace")).filter(is_delayed_id)
QUEUES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,40}", fullmatch=True)
KEYS = st.none() | st.binary(min_size=1, max_size=40)

JOB = DelayedJob(b"job-1", "email", b"customer-7", 5_000, None)
WAITS = with_delay([(CE_ID, b"job-1"), ("mine", b"x")], queue="email", key=b"customer-7", due_ms=5_000)


def changed(name: str, *values: bytes | None) -> list[tuple[str, bytes | None]]:
    """The headers of a job that waits, one of them with other values, or none."""
    return [header for header in WAITS if header[0] != name] + [(name, value) for value in values]


# -- a job that waits -------------------------------------------------------------------------------------------------


@given(HEADERS, IDS, QUEUES, KEYS, TIMES)
def test_what_was_written_is_read(
    original: list[tuple[str, bytes | None]], job_id: bytes, queue: str, key: bytes | None, due_ms: int
) -> None:
    written = with_delay(original, queue=queue, key=key, due_ms=due_ms)
    assert read_delayed(job_id, written) == DelayedJob(job_id, queue, key, due_ms, None)
    assert with_delay(written, queue=queue, key=key, due_ms=due_ms) == written


@given(HEADERS, IDS, KEYS, TIMES)
def test_a_job_that_waits_keeps_all_headers_but_those_of_its_delay(
    original: list[tuple[str, bytes | None]], job_id: bytes, key: bytes | None, due_ms: int
) -> None:
    waits = with_delay(original, queue="email", key=key, due_ms=due_ms)
    goes = when_due(read_delayed(job_id, waits), waits, due_ms)
    expected = [header for header in original if header[0] not in OF_DELAY]
    if CE_ID not in dict(expected):
        expected.append((CE_ID, job_id))
    assert goes == [*expected, (SCHEDULED_FOR, b"%d" % due_ms)]


def test_a_job_that_waits_says_where_it_goes_and_when() -> None:
    assert WAITS == [
        (CE_ID, b"job-1"),
        ("mine", b"x"),
        ("job-not-before", b"5000"),
        ("job-queue", b"email"),
        ("job-key", b"customer-7"),
    ]
    assert KEY not in dict(with_delay([], queue="email", key=None, due_ms=1))


def test_an_empty_key_is_none() -> None:
    assert read_delayed(b"job-1", changed(KEY, b"")).key is None
    assert read_delayed(b"job-1", changed(KEY, None)).key is None


def test_of_several_headers_of_a_name_the_last_counts() -> None:
    assert read_delayed(b"job-1", [*WAITS, (NOT_BEFORE, b"6"), (QUEUE, b"other")]) == JOB._replace(
        due_ms=6, queue="other"
    )


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        (QUEUE, [], "the name of a queue"),
        (QUEUE, [None], "the name of a queue"),
        (QUEUE, [b""], "the name of a queue"),
        (QUEUE, [b"q" * (TEXT_LIMIT + 1)], "of 1 to 1024 bytes"),
        (QUEUE, ["é".encode()], "the name of a queue"),
        (QUEUE, [b"\xff"], "the name of a queue"),
        (NOT_BEFORE, [], "which says when the job falls due"),
        (NOT_BEFORE, [None], "epoch milliseconds"),
        (NOT_BEFORE, [b""], "epoch milliseconds"),
        (NOT_BEFORE, [b"soon"], "epoch milliseconds"),
        (NOT_BEFORE, [b"-1"], "epoch milliseconds"),
        (NOT_BEFORE, [b"1.5"], "epoch milliseconds"),
        (NOT_BEFORE, [b" 1"], "epoch milliseconds"),
        (NOT_BEFORE, ["٣".encode()], "epoch milliseconds"),
        (NOT_BEFORE, [b"1" * 15], "of at most 14 digits"),
    ],
)
def test_a_header_that_cannot_be_read_is_named(name: str, values: list[bytes | None], expected: str) -> None:
    with pytest.raises(HeaderInvalid, match=expected) as caught:
        read_delayed(b"job-1", changed(name, *values))
    assert caught.value.name == name


@pytest.mark.parametrize(
    "key", [b"", b"\xff", b"i" * (TEXT_LIMIT + 1), b"command/job-1", b"command/", b"schedule/nightly", b"schedule/"]
)
def test_a_key_that_is_no_id_is_refused(key: bytes) -> None:
    assert not is_delayed_id(key)
    with pytest.raises(HeaderInvalid, match="an id of 1 to 1024 bytes of UTF-8 text that begins with neither") as found:
        read_delayed(key, WAITS)
    assert found.value.name == "key"


@pytest.mark.parametrize(
    "job_id", [b"1", b"i" * TEXT_LIMIT, "é".encode(), b"command", b"schedule", b"Command/1", b"a/command/1"]
)
def test_other_ids_are_taken(job_id: bytes) -> None:
    assert is_delayed_id(job_id)
    assert read_delayed(job_id, WAITS) == JOB._replace(id=job_id)


# -- a job that goes to its queue -------------------------------------------------------------------------------------


def test_a_job_without_an_id_gets_the_one_by_which_it_waited() -> None:
    assert dict(when_due(JOB, changed(CE_ID), 5_000))[CE_ID] == b"job-1"
    kept = when_due(JOB, changed(CE_ID, b"its own"), 5_000)
    assert [value for name, value in kept if name == CE_ID] == [b"its own"]
    broken = when_due(JOB, changed(CE_ID, None), 5_000)
    assert [value for name, value in broken if name == CE_ID] == [None], "it is what the job came with"


def test_when_it_fell_due_stands_in_place_of_when_it_is_to() -> None:
    earlier = [*WAITS, (SCHEDULED_FOR, b"1")]
    goes = when_due(JOB, earlier, 7_000)
    assert [value for name, value in goes if name == SCHEDULED_FOR] == [b"7000"]
    assert NOT_BEFORE not in dict(goes)


@pytest.mark.parametrize("due_ms", [0, 5_000, 10**14 - 1])
def test_when_it_fell_due_can_be_read(due_ms: int) -> None:
    assert scheduled_for(when_due(JOB, WAITS, due_ms)) == due_ms


@pytest.mark.parametrize(
    "headers", [WAITS, *([(SCHEDULED_FOR, value)] for value in (None, b"", b"soon", b"-1", b"1" * 15))]
)
def test_of_other_jobs_it_is_not_told(headers: Headers) -> None:
    assert scheduled_for(headers) is None


@given(st.integers(0, 10**17), st.integers(0, 10**17), st.integers(0, 10**17))
def test_an_expiry_moves_along_with_what_a_job_waits_for(stated: int, due_ms: int, expires: int) -> None:
    job = JOB._replace(due_ms=stated)
    goes = when_due(job, changed(EXPIRES_AT, b"%d" % expires), due_ms)
    (found,) = [value for name, value in goes if name == EXPIRES_AT]
    assert found == b"%d" % max(0, expires + due_ms - stated)


def test_of_several_expiries_the_last_moves_and_no_other_stays() -> None:
    goes = when_due(JOB, [*WAITS, (EXPIRES_AT, b"6000"), (EXPIRES_AT, b"7000")], 5_500)
    assert [value for name, value in goes if name == EXPIRES_AT] == [b"7500"]


@pytest.mark.parametrize("expires", [None, b"", b"soon", b"-1", b"1" * 19])
def test_an_expiry_that_cannot_be_read_stays(expires: bytes | None) -> None:
    goes = when_due(JOB, changed(EXPIRES_AT, expires), 9_000)
    assert [value for name, value in goes if name == EXPIRES_AT] == [expires]


def test_a_job_that_does_not_expire_does_not_begin_to() -> None:
    assert EXPIRES_AT not in dict(when_due(JOB, WAITS, 9_000))


# -- commands and ends ------------------------------------------------------------------------------------------------


@given(TIMES)
def test_a_command_is_read(due_ms: int) -> None:
    assert read_reschedule(reschedule(due_ms)) == due_ms


@pytest.mark.parametrize(
    ("headers", "name"),
    [
        ([], COMMAND),
        ([(COMMAND, None), (NOT_BEFORE, b"1")], COMMAND),
        ([(COMMAND, b"explode"), (NOT_BEFORE, b"1")], COMMAND),
        ([(COMMAND, b"reschedule")], NOT_BEFORE),
        ([(COMMAND, b"reschedule"), (NOT_BEFORE, None)], NOT_BEFORE),
        ([(COMMAND, b"reschedule"), (NOT_BEFORE, b"soon")], NOT_BEFORE),
        ([(COMMAND, b"reschedule"), (NOT_BEFORE, b"1" * 19)], NOT_BEFORE),
    ],
)
def test_a_command_that_cannot_be_read_is_named(headers: Headers, name: str) -> None:
    with pytest.raises(HeaderInvalid) as caught:
        read_reschedule(headers)
    assert caught.value.name == name


@given(IDS)
def test_a_command_lies_under_a_key_that_no_job_has(job_id: bytes) -> None:
    key = command_key(job_id)
    assert key == b"command/" + job_id
    assert not is_delayed_id(key)


def test_an_end_names_who_says_so_and_where_the_job_came_from() -> None:
    assert fired_mark(b"me", None) == [(FIRED, b"me")]
    assert fired_mark(b"me", b"jobs.email/0/1") == [(FIRED, b"me"), (MOVED_FROM, b"jobs.email/0/1")]


# -- in a retry topic -------------------------------------------------------------------------------------------------


def retried(headers: Headers | None, *, attempt: int, due_ms: int) -> list[tuple[str, bytes | None]]:
    return with_retry(headers, origin=PLACE, state=RetryState(77, attempt, due_ms), failure=None, now_ms=10)


@given(HEADERS, TIMES, st.integers(1, 3))
def test_an_untried_job_keeps_its_delay_however_often_it_is_written(
    original: list[tuple[str, bytes | None]], due_ms: int, times: int
) -> None:
    written: list[tuple[str, bytes | None]] = [*original, (NOT_BEFORE, b"%d" % due_ms)]
    for _ in range(times):
        written = retried(written, attempt=0, due_ms=0)
    assert delayed_until(written) == due_ms
    assert [name for name, _ in written].count(DELAYED_UNTIL) == 1
    assert NOT_BEFORE not in dict(written), "else it would be due, and not behind another"


def test_a_job_that_has_run_has_no_delay_any_more() -> None:
    untried = retried([(NOT_BEFORE, b"9000")], attempt=0, due_ms=0)
    for headers in ([(NOT_BEFORE, b"9000")], untried):
        written = retried(headers, attempt=1, due_ms=50)
        assert delayed_until(written) is None
        assert DELAYED_UNTIL not in dict(written)
        assert dict(written)[NOT_BEFORE] == b"50"


def test_when_a_retry_was_due_is_no_delay() -> None:
    waited = retried([], attempt=1, due_ms=50)
    assert DELAYED_UNTIL not in dict(retried(waited, attempt=1, due_ms=0))


def test_a_job_that_was_never_delayed_is_none_in_a_retry_topic() -> None:
    written = retried([("mine", b"x")], attempt=0, due_ms=0)
    assert dict(written)[PARKED] == b"1"
    assert DELAYED_UNTIL not in dict(written)
    assert delayed_until(written) is None


def test_what_a_publisher_calls_a_delay_of_a_retry_topic_is_none() -> None:
    """Only a retry record has it: elsewhere job-not-before is what counts."""
    written = retried([(DELAYED_UNTIL, b"9000")], attempt=0, due_ms=0)
    assert delayed_until(written) is None


@pytest.mark.parametrize("value", [None, b"", b"soon", b"1" * 19])
def test_a_delay_that_cannot_be_read_is_none(value: bytes | None) -> None:
    assert delayed_until([(DELAYED_UNTIL, value)]) is None


def test_a_job_that_is_written_again_waits_as_before() -> None:
    job = read_delayed(b"job-1", [*WAITS, (MOVED_FROM, b"jobs.email/0/1"), (EXPIRES_AT, b"6000")])
    again = still_waiting(job, [*WAITS, (MOVED_FROM, b"jobs.email/0/1"), (EXPIRES_AT, b"6000")], 9_000)
    assert read_delayed(b"job-1", again) == job._replace(due_ms=9_000)
    assert dict(again)[EXPIRES_AT] == b"10000"


def test_an_expiry_stays_one_that_can_be_read() -> None:
    (expires,) = [value for name, value in when_due(JOB, [(EXPIRES_AT, b"9" * 18)], 10_000) if name == EXPIRES_AT]
    assert expires == b"9" * 18
