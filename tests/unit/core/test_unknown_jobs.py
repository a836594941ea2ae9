"""How long a job waits that no worker knows yet."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streams.core.retry.policy import GiveUp, RetryAt
from streams.core.retry.unknown_jobs import MAY_BE_KNOWN_LATER, wait_or_give_up

NOW = 1_700_000_000_000
HOUR = 3_600_000


@given(st.integers(0, HOUR - 1), st.floats(0, 1, exclude_max=True), st.integers(0, 5))
def test_it_comes_back_ever_later_without_an_attempt(waited: int, random_share: float, attempt: int) -> None:
    decision = wait_or_give_up(
        attempt=attempt, now_ms=NOW, since_ms=NOW - waited, patience_ms=HOUR, random_share=random_share
    )
    assert isinstance(decision, RetryAt)
    assert decision.attempt == attempt
    assert NOW < decision.due_ms <= NOW - waited + HOUR
    assert decision.due_ms - NOW <= max(1000, min(waited, 300_000))


def test_some_dozens_of_tries_fill_an_hour() -> None:
    now, tries = NOW, 0
    while isinstance(
        decision := wait_or_give_up(attempt=0, now_ms=now, since_ms=NOW, patience_ms=HOUR, random_share=0), RetryAt
    ):
        now, tries = decision.due_ms, tries + 1
    assert now == NOW + HOUR
    assert tries < 50


def test_who_has_waited_long_enough_or_will_have_expired_is_given_up() -> None:
    late = wait_or_give_up(attempt=0, now_ms=NOW + HOUR, since_ms=NOW, patience_ms=HOUR, random_share=0)
    assert late == GiveUp("(no worker knew it within 3600 s, see STREAMS_SCHEMA_WAIT)")
    assert wait_or_give_up(attempt=0, now_ms=NOW, since_ms=NOW, patience_ms=0, random_share=0) == GiveUp("")
    expires = wait_or_give_up(attempt=0, now_ms=NOW, since_ms=NOW, patience_ms=HOUR, random_share=0, expires_ms=NOW + 1)
    assert expires == GiveUp("(it expires before a worker may know it)")


def test_the_errors_that_wait_are_there() -> None:
    """They are named by text, since this package imports nothing of the others."""
    import schemas.errors
    import streams.errors

    modules = {"schemas.errors": schemas.errors, "streams.errors": streams.errors}
    for name in MAY_BE_KNOWN_LATER:
        module, _, error = name.rpartition(".")
        assert issubclass(getattr(modules[module], error), Exception)
