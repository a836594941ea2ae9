"""Retry decisions: what the policy promises, for any policy and any failure."""

from __future__ import annotations

import copy
import math
import pickle
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import streams.errors
from streams.core.retry.backoff import LONGEST, Exponential, Fixed, PolicyInvalid
from streams.core.retry.failure import Failure, NeverRetried, name_of
from streams.core.retry.policy import (
    DEFAULT_RETRY,
    NO_RETRY,
    GiveUp,
    Jitter,
    RetryAt,
    RetryPolicy,
    decide,
)
from streams.errors import JobTimeout, PermanentError, Retry, Snooze

NOW = 1_700_000_000_000

jitters: st.SearchStrategy[Jitter] = st.sampled_from(["full", "equal", "none"])
lucks = st.floats(0, 1, exclude_max=True)
backoffs = st.one_of(
    st.builds(Fixed, st.floats(0, 100)),
    st.builds(Exponential, first=st.floats(0, 100), factor=st.floats(1, 1000)),
    st.builds(lambda step: lambda attempt: attempt * step, st.floats(0, 10)),
)
policies = st.builds(
    RetryPolicy,
    max_attempts=st.integers(1, 10_000),
    backoff=backoffs,
    cap=st.floats(100, 1e6),
    jitter=jitters,
    # No policy may have a deadline that its first wait does not fit into.
    deadline=st.none() | st.floats(100, 1e6),
)
failures = st.sampled_from([OSError("refused"), KeyError("x"), Retry(3), Snooze(3), Retry(0), Snooze(0)]).map(
    Failure.of
)


class ShopError(Exception):
    pass


class CardError(ShopError, ConnectionError):
    pass


class OutOfStock(PermanentError):
    pass


def after(policy: RetryPolicy, error: BaseException, *, attempt: int = 0, **options: Any) -> RetryAt | GiveUp:
    given_ = {"now_ms": NOW, "since_ms": NOW, "random_share": 0.5, **options}
    return decide(policy, Failure.of(error), attempt=attempt, **given_)


# -- for any policy ---------------------------------------------------------------------------------------------------


@given(
    policies,
    failures,
    st.integers(0, 10_001),
    st.integers(0, 2**41),
    st.none() | st.integers(0, 2**41),
    lucks,
    st.none() | st.integers(0, 10**9),
)
def test_a_decision_keeps_its_bounds(
    policy: RetryPolicy,
    failed: Failure,
    attempt: int,
    now_ms: int,
    since_ms: int | None,
    random_share: float,
    own: int | None,
) -> None:
    """Never before now, never beyond the deadline, never more attempts than the maximum, and one attempt at a time."""
    decision = decide(
        policy, failed, attempt=attempt, now_ms=now_ms, since_ms=since_ms, random_share=random_share, max_attempts=own
    )
    most = policy.max_attempts if own is None else own
    if isinstance(decision, GiveUp):
        assert policy.deadline is not None or (attempt + 1 >= most and not failed.snooze)
        return
    assert decision.due_ms >= now_ms
    assert decision.attempt == attempt + (not failed.snooze)
    assert failed.snooze or decision.attempt < most
    if policy._deadline is not None:
        assert decision.due_ms <= (now_ms if since_ms is None else since_ms) + policy._deadline * 1000
    if failed.retry_in is not None:
        assert decision.due_ms == now_ms + failed.retry_in * 1000
    else:
        assert decision.due_ms <= now_ms + policy._cap * 1000 + 0.5


@given(st.integers(1, 400), policies, failures.filter(lambda failed: not failed.snooze), lucks)
def test_a_job_that_always_fails_comes_to_an_end(
    most: int, policy: RetryPolicy, failed: Failure, random_share: float
) -> None:
    attempt = runs = 0
    now_ms = NOW
    while True:
        runs += 1
        decision = decide(
            policy, failed, attempt=attempt, now_ms=now_ms, since_ms=NOW, random_share=random_share, max_attempts=most
        )
        if isinstance(decision, GiveUp):
            break
        attempt, now_ms = decision.attempt, decision.due_ms
        assert attempt == runs
    assert runs == most or (policy.deadline is not None and runs < most)


@given(st.floats(0, 1000), st.floats(1, 1000), st.integers(1, 10**9))
def test_exponential_waits_do_not_shrink(first: float, factor: float, attempt: int) -> None:
    backoff = Exponential(first=first, factor=factor)
    assert backoff(1) == first
    assert first <= backoff(attempt) <= backoff(attempt + 1) <= LONGEST


@given(st.integers(1, 8), st.floats(0, 1000), st.integers(1, 9))
def test_exponential_waits_grow_by_their_factor(factor: int, first: float, attempt: int) -> None:
    backoff = Exponential(first=first, factor=factor)
    if backoff(attempt + 1) < LONGEST:
        assert math.isclose(backoff(attempt + 1), factor * backoff(attempt))


def test_a_whole_factor_costs_no_time() -> None:
    """A header may say that a billion attempts were made; the power would be a number of gigabytes."""
    assert Exponential(first=1, factor=3)(10**9) == LONGEST


@given(policies, st.integers(1, 10_000), lucks)
def test_chance_keeps_within_its_share(policy: RetryPolicy, attempt: int, random_share: float) -> None:
    whole = min(policy.backoff(attempt), policy._cap)
    least = {"none": whole, "equal": whole / 2, "full": 0.0}[policy.jitter]
    wait = policy.wait(attempt, random_share)
    assert least <= wait <= whole
    assert policy.wait(attempt, 0.0) == least
    if policy.jitter != "none" and whole > 1:
        assert policy.wait(attempt, 0.0) < policy.wait(attempt, 0.5) < policy.wait(attempt, 0.999)


# -- the defaults -----------------------------------------------------------------------------------------------------


def test_the_default_policy() -> None:
    """The README states it."""
    assert DEFAULT_RETRY.max_attempts == 8
    waits = [(DEFAULT_RETRY.wait(made, 0.0), DEFAULT_RETRY.wait(made, 1.0)) for made in range(1, 8)]
    assert waits == [(0.5, 1), (2, 4), (8, 16), (32, 64), (128, 256), (512, 1024), (1800, 3600)]


def test_times_may_be_timedeltas() -> None:
    hour = timedelta(hours=1)
    assert RetryPolicy(backoff=Fixed(hour), cap=hour, deadline=3 * hour) == RetryPolicy(
        backoff=Fixed(3600), cap=3600, deadline=10_800
    )
    patient = RetryPolicy(backoff=Exponential(first=hour), cap=2 * hour, deadline=5 * hour, jitter="none")
    assert after(patient, OSError()) == RetryAt(NOW + 3_600_000, 1)
    assert after(patient, OSError(), attempt=1) == RetryAt(NOW + 7_200_000, 2)
    with pytest.raises(PolicyInvalid, match="deadline"):
        RetryPolicy(deadline=timedelta(0))


def test_no_retry_is_none() -> None:
    assert after(NO_RETRY, OSError()) == GiveUp("(not retried: it may run once)")
    assert isinstance(after(NO_RETRY, Snooze(1)), RetryAt)


def test_policies_are_values() -> None:
    assert RetryPolicy(max_attempts=3) == RetryPolicy(max_attempts=3) != DEFAULT_RETRY
    assert hash(RetryPolicy()) == hash(DEFAULT_RETRY)
    assert pickle.loads(pickle.dumps(DEFAULT_RETRY)) == DEFAULT_RETRY
    assert copy.copy(RetryPolicy(never=(KeyError,)))._refused == {"KeyError"}
    with pytest.raises(AttributeError):
        DEFAULT_RETRY.cap = 3  # type: ignore[misc]


# -- what a failure says ----------------------------------------------------------------------------------------------


def test_at_the_last_attempt_a_job_is_given_up() -> None:
    policy = RetryPolicy(max_attempts=3, backoff=Fixed(2), jitter="none")
    assert after(policy, OSError(), attempt=1) == RetryAt(NOW + 2000, 2)
    assert after(policy, OSError(), attempt=2) == GiveUp("(gave up after 3 attempts)")
    assert after(policy, OSError(), attempt=50) == GiveUp("(gave up after 51 attempts)")


def test_a_jobs_own_maximum_replaces_the_policys() -> None:
    policy = RetryPolicy(max_attempts=3)
    assert after(policy, OSError(), attempt=1, max_attempts=2) == GiveUp("(gave up after 2 attempts)")
    assert isinstance(after(policy, OSError(), attempt=7, max_attempts=9), RetryAt)
    assert after(policy, OSError(), max_attempts=0) == GiveUp("(not retried: it may run once)")


@pytest.mark.parametrize(
    ("error", "retried"),
    [(CardError(), True), (ShopError(), True), (ConnectionError(), False), (KeyError(), False)],
)
def test_only_what_is_listed_is_retried(error: Exception, retried: bool) -> None:
    assert isinstance(after(RetryPolicy(retry_on=(ShopError,)), error), RetryAt) == retried


@pytest.mark.parametrize(
    ("error", "retried"),
    [(CardError(), False), (ConnectionError(), False), (ShopError(), True), (KeyError(), True)],
)
def test_what_is_never_retried_wins(error: Exception, retried: bool) -> None:
    policy = RetryPolicy(never=(ConnectionError,), retry_on=(ShopError, OSError, KeyError))
    assert isinstance(after(policy, error), RetryAt) == retried


@pytest.mark.parametrize("error", [PermanentError("gone"), OutOfStock("gone")])
def test_a_permanent_error_is_never_retried(error: PermanentError) -> None:
    decision = after(RetryPolicy(retry_on=(PermanentError, OutOfStock)), error)
    assert decision == GiveUp("(PermanentError is never retried)")


def test_a_dead_letter_says_which_list_refused_it() -> None:
    policy = RetryPolicy(never=(ConnectionError,), retry_on=(ShopError, OSError, JobTimeout))
    assert after(policy, ConnectionResetError()) == GiveUp(
        "(never retried: its policy's `never` names ConnectionError)"
    )
    shop = name_of(ShopError)
    assert after(policy, KeyError()) == GiveUp(
        f"(not retried: its policy's `retry_on` names JobTimeout, OSError, {shop} alone)"
    )


def test_who_covers_timeouts_covers_the_workers_own() -> None:
    assert isinstance(after(RetryPolicy(retry_on=(TimeoutError,)), JobTimeout("too long")), RetryAt)


@pytest.mark.parametrize("kind", [PermanentError, streams.errors.JobExpired, streams.errors.FollowUpRefused])
def test_what_is_marked_is_never_retried(kind: type[Exception]) -> None:
    class Ours(kind, ValueError):  # type: ignore[misc, valid-type]
        pass

    for error in (kind("gone"), Ours("gone")):
        assert after(RetryPolicy(retry_on=(kind,)), error) == GiveUp(f"({kind.__name__} is never retried)")


def test_no_other_error_of_ours_is_marked() -> None:
    marked = {
        name for name, kind in vars(streams.errors).items() if isinstance(kind, type) and NeverRetried in kind.__bases__
    }
    assert marked == {"PermanentError", "JobExpired", "FollowUpRefused"}


def test_a_failure_without_kinds_is_of_its_type() -> None:
    failed = Failure(name_of(JobTimeout), "too long", "")
    decision = decide(RetryPolicy(never=(JobTimeout,)), failed, attempt=0, now_ms=NOW, since_ms=None, random_share=0.0)
    assert isinstance(decision, GiveUp)


def test_a_retry_at_a_time_of_its_own_counts_and_knows_no_lists() -> None:
    policy = RetryPolicy(max_attempts=2, cap=60, retry_on=(KeyError,), never=(Exception,))
    assert after(policy, Retry(90.5)) == RetryAt(NOW + 90_500, 1)
    assert after(policy, Retry(90.5), attempt=1) == GiveUp("(gave up after 2 attempts)")


def test_a_snooze_does_not_count() -> None:
    policy = RetryPolicy(max_attempts=2, never=(Exception,))
    assert after(policy, Snooze(7), attempt=0) == RetryAt(NOW + 7000, 0)
    assert after(policy, Snooze(7), attempt=1) == RetryAt(NOW + 7000, 1)
    assert after(policy, Snooze(7), attempt=4, max_attempts=3) == RetryAt(NOW + 7000, 4)


def test_a_deadline_within_which_nothing_would_be_tried_again() -> None:
    for deadline, backoff in ((1, Fixed(60)), (5, Exponential(first=20))):
        with pytest.raises(PolicyInvalid, match="longer than the deadline"):
            RetryPolicy(backoff=backoff, deadline=deadline)
    assert RetryPolicy(backoff=Fixed(60), deadline=31).deadline == 31, "half of the wait may be all"
    assert RetryPolicy(backoff=Fixed(60), deadline=1, max_attempts=1).deadline == 1


@pytest.mark.parametrize("error", [OSError(), Retry(2), Snooze(2)])
def test_what_expires_before_its_next_attempt_is_given_up_at_once(error: Exception) -> None:
    """Its key would wait for nothing."""
    policy = RetryPolicy(backoff=Fixed(2), jitter="none")
    assert isinstance(after(policy, error, expires_ms=NOW + 2_001), RetryAt)
    decision = after(policy, error, expires_ms=NOW + 2_000)
    assert isinstance(decision, GiveUp)
    assert "it expires before the next" in decision.reason_suffix


@pytest.mark.parametrize("error", [OSError(), Retry(2), Snooze(2)])
def test_nothing_is_tried_beyond_its_deadline(error: Exception) -> None:
    policy = RetryPolicy(backoff=Fixed(2), jitter="none", deadline=10)
    assert isinstance(after(policy, error, since_ms=NOW - 8_000), RetryAt)
    decision = after(policy, error, since_ms=NOW - 8_001)
    assert isinstance(decision, GiveUp)
    assert "the next run would come after its deadline of 10 s" in decision.reason_suffix
    assert isinstance(after(policy, error, since_ms=None), RetryAt)


# -- functions of users -----------------------------------------------------------------------------------------------


def raises(attempt: int) -> float:
    raise LookupError("no row")


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError


def unspeakable(attempt: int) -> float:
    raise Unspeakable


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (lambda attempt: -1, "seconds from 0"),
        (lambda attempt: float("nan"), "not nan"),
        (lambda attempt: float("inf"), "not inf"),
        (lambda attempt: None, "not None"),
        (lambda attempt: "3", "not '3'"),
        (lambda attempt: True, "not True"),
        (lambda attempt: 10**400, "seconds from 0"),
        (lambda: 1, "raised TypeError"),
        (raises, "raised LookupError: no row"),
        (unspeakable, "raised Unspeakable"),
        (sys.exit, "raised SystemExit"),
        (lambda attempt: "x" * 10**6, "not 'xxx"),
    ],
)
def test_a_function_that_cannot_say_ends_the_job(function: Callable[..., Any], says: str) -> None:
    decision = after(RetryPolicy(backoff=function), OSError())
    assert isinstance(decision, GiveUp)
    assert "not retried: the policy's backoff function" in decision.reason_suffix
    assert says in decision.reason_suffix
    assert len(decision.reason_suffix) < 1000


def test_a_function_is_told_how_many_attempts_were_made_and_is_capped() -> None:
    policy = RetryPolicy(backoff=lambda attempt: attempt * 10.0, jitter="none", cap=25)
    assert [policy.wait(made, 1.0) for made in range(1, 5)] == [10, 20, 25, 25]
    assert after(policy, OSError(), attempt=1) == RetryAt(NOW + 20_000, 2)


async def asynchronous(attempt: int) -> float:
    return float(attempt)


# -- misuse -----------------------------------------------------------------------------------------------------------

NO_SECONDS: list[Any] = [-1, -0.001, float("nan"), float("inf"), LONGEST * 2, 10**400, "3", None, True, [], 1j]


@pytest.mark.parametrize("value", NO_SECONDS)
def test_seconds_that_are_none(value: Any) -> None:
    for make in (
        Fixed,
        lambda seconds: Exponential(first=seconds),
        lambda seconds: RetryPolicy(cap=seconds),
        Retry,
        Snooze,
    ):
        with pytest.raises(PolicyInvalid, match="must be a number of seconds from 0 to"):
            make(value)


@pytest.mark.parametrize("value", [0, *(each for each in NO_SECONDS if each is not None)])
def test_a_deadline_that_is_none(value: Any) -> None:
    with pytest.raises(PolicyInvalid, match="deadline must be a number of seconds from"):
        RetryPolicy(deadline=value)


@pytest.mark.parametrize("count", [0, -1, 10_001, 1.5, "3", None, True, float("inf")])
def test_attempts_that_are_none(count: Any) -> None:
    with pytest.raises(PolicyInvalid, match=r"max_attempts must be a whole number from 1 \(no retry\) to 10000"):
        RetryPolicy(max_attempts=count)


@pytest.mark.parametrize("factor", [0.99, 0, -2, float("nan"), float("inf"), 1001, "4", None, True])
def test_a_factor_that_is_none(factor: Any) -> None:
    with pytest.raises(PolicyInvalid, match=r"factor must be a number from 1 .*use Fixed"):
        Exponential(factor=factor)


@pytest.mark.parametrize(
    ("options", "remedy"),
    [
        ({"backoff": 5}, r"Fixed\(seconds\), Exponential"),
        ({"backoff": Fixed}, r"Fixed\(seconds\), Exponential"),
        ({"backoff": asynchronous}, "without async"),
        ({"backoff": None}, r"Fixed\(seconds\), Exponential"),
        ({"backoff": Exponential(first=10), "cap": 5}, "raise cap"),
        ({"backoff": Fixed(7200)}, "raise cap"),
        ({"jitter": "some"}, '"equal", "full" or "none"'),
        ({"jitter": None}, '"equal", "full" or "none"'),
        ({"jitter": ["none"]}, '"equal", "full" or "none"'),
        ({"retry_on": KeyError}, "tuple of exception types"),
        ({"retry_on": [KeyError]}, "tuple of exception types"),
        ({"retry_on": ()}, "NO_RETRY"),
        ({"retry_on": (int,)}, "tuple of exception types"),
        ({"never": (KeyError("x"),)}, "tuple of exception types"),
        ({"never": ("KeyError",)}, "tuple of exception types"),
        ({"never": None}, "tuple of exception types"),
    ],
)
def test_a_policy_that_cannot_work(options: dict[str, Any], remedy: str) -> None:
    with pytest.raises(PolicyInvalid, match=remedy):
        RetryPolicy(**options)


# -- the exceptions of handlers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Retry, Snooze])
def test_what_comes_back_says_when(kind: type[Retry] | type[Snooze]) -> None:
    error = kind(in_=timedelta(minutes=2), reason="the shop is closed")
    assert (error.in_, error.reason, str(error)) == (120.0, "the shop is closed", "the shop is closed")
    assert str(kind(in_=3)) == f"{kind.__name__} in 3 s"
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), again.in_, again.reason) == (kind, 120.0, "the shop is closed")
    with pytest.raises(TypeError, match="reason must be text"):
        kind(3, reason=7)  # type: ignore[arg-type]


class Later(Snooze):
    """Forgets what its base needs."""

    def __init__(self, when: Any = None) -> None:
        if when is not None:
            self.in_ = when


@pytest.mark.parametrize("error", [Later(), Later(-5), Later(math.nan), Later("soon")])
def test_what_does_not_say_when_fails_like_any_other(error: Later) -> None:
    failed = Failure.of(error)
    assert (failed.retry_in, failed.snooze) == (None, False)
    assert after(RetryPolicy(backoff=Fixed(2), jitter="none"), error) == RetryAt(NOW + 2000, 1)
    assert Failure.of(Later(5)).retry_in == 5.0


def test_a_failure_is_plain_data() -> None:
    """It may come from another process, which need not have the classes of this one."""
    failed = Failure.of(CardError("declined"))
    assert failed.kinds[:2] == (f"{__name__}.CardError", f"{__name__}.ShopError")
    assert failed.kinds[-2:] == ("Exception", "BaseException")
    assert {"ConnectionError", "OSError"} < set(failed.kinds)
    assert "object" not in failed.kinds
    assert (failed.retry_in, failed.snooze) == (None, False)
    assert pickle.loads(pickle.dumps(failed)) == failed
    told = pickle.loads(pickle.dumps(Failure.of(Snooze(4))))
    assert (told.retry_in, told.snooze) == (4.0, True)
    told = Failure.of(Retry(5))
    assert (told.retry_in, told.snooze, told.error_type) == (5.0, False, "streams.errors.Retry")


# -- exception groups -------------------------------------------------------------------------------------------------


def group(*errors: Exception) -> Failure:
    """What a task group raises, within another one."""
    return Failure.of(ExceptionGroup("unhandled errors in a TaskGroup", [ExceptionGroup("inner", [*errors])]))


def outcome(policy: RetryPolicy, failed: Failure, attempt: int = 0) -> RetryAt | GiveUp:
    return decide(policy, failed, attempt=attempt, now_ms=NOW, since_ms=NOW, random_share=0.0)


QUICK = RetryPolicy(max_attempts=3, backoff=Fixed(1), jitter="none", never=(FileNotFoundError,))


@pytest.mark.parametrize(
    ("errors", "expected"),
    [
        ([PermanentError("no")], GiveUp("(PermanentError is never retried)")),
        ([OSError(), PermanentError("no"), Snooze(5)], GiveUp("(PermanentError is never retried)")),
        ([OSError(), FileNotFoundError()], GiveUp("(never retried: its policy's `never` names FileNotFoundError)")),
        ([OSError(), KeyError()], RetryAt(NOW + 1000, 1)),
        ([Snooze(5), Snooze(7)], RetryAt(NOW + 7000, 0)),
        ([Snooze(9), Retry(5)], RetryAt(NOW + 9000, 1)),
        ([Snooze(9), OSError(), Retry(5)], RetryAt(NOW + 1000, 1)),
    ],
    ids=str,
)
def test_what_is_in_a_group_decides_and_the_most_severe_wins(
    errors: list[Exception], expected: RetryAt | GiveUp
) -> None:
    assert outcome(QUICK, group(*errors)) == expected


@pytest.mark.parametrize(
    ("named", "errors", "retried"),
    [
        (OSError, [ConnectionError(), FileNotFoundError()], True),
        (OSError, [ConnectionError(), KeyError()], False),
        (OSError, [ConnectionError(), Snooze(5)], True),
        (ExceptionGroup, [KeyError()], True),
        (KeyError, [ConnectionError()], False),
    ],
)
def test_a_group_is_retried_where_the_policy_names_all_of_it(
    named: type[BaseException], errors: list[Exception], retried: bool
) -> None:
    decision = outcome(RetryPolicy(retry_on=(named,), backoff=Fixed(1)), group(*errors))
    assert isinstance(decision, RetryAt) == retried


def test_a_group_names_what_is_in_it() -> None:
    failed = group(PermanentError("no such customer\nmore of it"), KeyError("x"), KeyError("x"))
    assert failed.error_type == "ExceptionGroup"
    assert failed.message == (
        "unhandled errors in a TaskGroup (1 sub-exception): streams.errors.PermanentError: no such customer;"
        " KeyError: 'x'"
    )


def test_a_large_group_is_told_in_few_words() -> None:
    failed = Failure.of(ExceptionGroup("all", [ValueError(f"{number} {'x' * 1000}") for number in range(1000)]))
    assert len(failed.message) < 1500
    assert failed.message.endswith("and 995 others")
    assert failed.parts == (("ValueError", "Exception", "BaseException"),)


def test_groups_within_groups_have_no_limit() -> None:
    error: Exception = PermanentError("at the bottom")
    for _ in range(10_000):
        error = ExceptionGroup("around", [error])
    failed = Failure.of(error)
    assert outcome(QUICK, failed) == GiveUp("(PermanentError is never retried)")
    assert failed.message.endswith("PermanentError: at the bottom")


def test_a_group_is_plain_data_for_another_process() -> None:
    failed = group(Snooze(5), OSError("refused"))
    assert pickle.loads(pickle.dumps(failed)) == failed
