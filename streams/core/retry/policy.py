"""Whether a failed job is tried again, and when: a pure decision from a policy and what is known of the failure."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from inspect import iscoroutinefunction
from itertools import pairwise
from typing import Any, Literal, NamedTuple

from streams.core.retry.backoff import (
    JITTERS,
    Backoff,
    Exponential,
    Fixed,
    PolicyInvalid,
    jittered,
    to_seconds,
)
from streams.core.retry.failure import Failure, NeverRetried, name_of

Jitter = Literal["full", "equal", "none"]

_MOST_ATTEMPTS = 10_000

#: Characters that a user's function can add to the reason of a dead letter.
_LONGEST_REASON = 500

#: Exceptions of this package are named without their module, as job modules import them.
_PACKAGE = f"{__name__.partition('.')[0]}."

#: What an exception derives from that is never retried, by any policy.
_NEVER = name_of(NeverRetried)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """When jobs of a type are tried again after a failure, and when they are given up. Raises PolicyInvalid.

    max_attempts  runs at the most, the first included; the header job-max-attempts replaces it
    backoff       Fixed(seconds), Exponential(first=..., factor=...), or a function from the number of attempts made (1
                  after the first) to seconds; a function that raises, or returns no seconds, ends the job as a dead
                  letter
    cap           seconds (or a timedelta); no backoff is longer
    jitter        "equal": each wait is drawn between half of it and all; "full": from nothing on; "none"
    retry_on      exception types that are retried, with their subclasses; None: all
    never         exception types that are not, whatever `retry_on` says
    deadline      seconds (or a timedelta) from the job's publication after which it is not tried again; None: no end
    """

    max_attempts: int = 8
    backoff: Backoff = Exponential()  # noqa: RUF009 - frozen
    cap: float | timedelta = 3600.0
    jitter: Jitter = "equal"
    retry_on: tuple[type[BaseException], ...] | None = None
    never: tuple[type[BaseException], ...] = ()
    deadline: float | timedelta | None = None
    _retried: frozenset[str] | None = field(init=False, repr=False, compare=False)
    _refused: frozenset[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check_attempts(self.max_attempts)
        object.__setattr__(self, "cap", to_seconds("cap", self.cap))
        _check_backoff(self.backoff, self._cap)
        if not isinstance(self.jitter, str) or self.jitter not in JITTERS:
            raise PolicyInvalid(f'jitter must be "equal", "full" or "none", not {self.jitter!r}')
        if self.deadline is not None:
            object.__setattr__(self, "deadline", to_seconds("deadline", self.deadline, least=0.001))
        _check_deadline(self)
        retried = None if self.retry_on is None else _names("retry_on", self.retry_on)
        object.__setattr__(self, "_retried", retried)
        object.__setattr__(self, "_refused", _names("never", self.never))

    @property
    def _cap(self) -> float:
        seconds: Any = self.cap  # Of whatever it was made.
        return float(seconds)

    @property
    def _deadline(self) -> float | None:
        seconds: Any = self.deadline
        return None if seconds is None else float(seconds)

    def wait(self, attempt: int, random_share: float) -> float:
        """Seconds to wait after this many attempts; raises PolicyInvalid when a backoff function fails to say."""
        seconds = to_seconds("the policy's backoff function: its result", self.backoff(attempt))
        return jittered(min(seconds, self._cap), self.jitter, random_share)

    def refusal(self, failed: Failure) -> str:
        """Why failures of this kind are not retried; empty if they are. A handler that says when is not asked why."""
        if failed.retry_in is not None:
            return ""
        kinds = failed.kinds or (failed.error_type,)
        for each in (kinds, *failed.parts):
            for kind, parent in pairwise((*each, "")):
                if parent == _NEVER:
                    return f"{_short(kind)} is never retried"
                if kind in self._refused:
                    return f"never retried: its policy's `never` names {_short(kind)}"
        if self._retried is not None and not _covered(self._retried, kinds, failed.parts):
            return f"not retried: its policy's `retry_on` names {', '.join(sorted(map(_short, self._retried)))} alone"
        return ""


def _covered(named: frozenset[str], kinds: tuple[str, ...], parts: tuple[tuple[str, ...], ...]) -> bool:
    """Whether a policy names an exception, or all that a group holds."""
    return not named.isdisjoint(kinds) or (bool(parts) and not any(map(named.isdisjoint, parts)))


class RetryAt(NamedTuple):
    """Try the job again: not before `due_ms` (epoch milliseconds), and with so many attempts made."""

    due_ms: int
    attempt: int


class GiveUp(NamedTuple):
    """Give the job up. The suffix is for the end of the reason in its dead letter: empty, or why there is no retry."""

    reason_suffix: str


def decide(
    policy: RetryPolicy,
    failed: Failure,
    *,
    attempt: int,
    now_ms: int,
    since_ms: int | None,
    random_share: float,
    max_attempts: int | None = None,
    expires_ms: int | None = None,
) -> RetryAt | GiveUp:
    """Decide what becomes of a job that has failed or wants to come back.

    attempt       attempts made before this run (header job-attempt)
    since_ms      epoch milliseconds when the job was published, or first failed; None: it is unknown, or now
    random_share  drawn from 0 up to 1, for the jitter
    max_attempts  the job's own (header job-max-attempts), in place of the policy's
    expires_ms    epoch milliseconds from which on it must not start any more (header job-expires-at)

    Raises nothing, whatever a policy's function does.
    """
    made = attempt if failed.snooze else attempt + 1
    refusal = policy.refusal(failed)
    if refusal:
        return GiveUp(f"({refusal})")
    most = policy.max_attempts if max_attempts is None else max_attempts
    if not failed.snooze and made >= most:
        return GiveUp(f"(gave up after {made} attempts)" if made > 1 else "(not retried: it may run once)")
    try:
        wait = policy.wait(made, random_share) if failed.retry_in is None else failed.retry_in
    except BaseException as error:  # It is a user's function, and may even have called exit().
        return GiveUp(f"(not retried: {_said(error)[:_LONGEST_REASON]})")
    due_ms = now_ms + max(0, round(wait * 1000))
    if policy._deadline is not None:
        start = now_ms if since_ms is None else since_ms
        if due_ms > start + policy._deadline * 1000:
            return GiveUp(f"({_after(made)}: the next run would come after its deadline of {policy._deadline:g} s)")
    if expires_ms is not None and due_ms >= expires_ms:
        # Its key would wait for it in vain.
        return GiveUp(f"({_after(made)}: it expires before the next run)")
    return RetryAt(due_ms, made)


def _after(made: int) -> str:
    """That it is given up, after so many attempts: none, where it has only come back again and again."""
    return "gave up" if made == 0 else f"gave up after {made} attempt{'s' if made > 1 else ''}"


def _short(kind: str) -> str:
    """The name of an exception of ours as a job module imports it."""
    return kind.rpartition(".")[2] if kind.startswith(_PACKAGE) else kind


def _said(error: BaseException) -> str:
    """What a user's function has raised, or what is wrong with what it returned."""
    if isinstance(error, PolicyInvalid):
        return str(error)
    try:
        return f"the policy's backoff function raised {type(error).__name__}: {error}"
    except BaseException:
        return f"the policy's backoff function raised {type(error).__name__}"


def _check_attempts(count: int) -> None:
    if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= _MOST_ATTEMPTS:
        raise PolicyInvalid(
            f"max_attempts must be a whole number from 1 (no retry) to {_MOST_ATTEMPTS}, not {count!r}; give a"
            " deadline in seconds for an end by time"
        )


def _check_backoff(backoff: Backoff, cap: float) -> None:
    if isinstance(backoff, type) or not callable(backoff):
        raise PolicyInvalid(
            "backoff must be Fixed(seconds), Exponential(first=..., factor=...) or a function from the attempts made"
            f" to seconds, not {backoff!r}"
        )
    if iscoroutinefunction(backoff):
        raise PolicyInvalid(f"backoff must be a plain function, without async, not {backoff!r}")
    if isinstance(backoff, (Fixed, Exponential)) and backoff(1) > cap:
        raise PolicyInvalid(
            f"the first wait of {backoff!r} is longer than the cap of {cap:g} s: raise cap, or shorten the wait"
        )


def _check_deadline(policy: RetryPolicy) -> None:
    if policy._deadline is None or not isinstance(policy.backoff, (Fixed, Exponential)) or policy.max_attempts == 1:
        return
    first = jittered(policy.backoff(1), policy.jitter, 0.0)
    if first > policy._deadline:
        raise PolicyInvalid(
            f"the first wait of {policy.backoff!r} is longer than the deadline of {policy._deadline:g} s, so nothing"
            " would ever be tried again: raise the deadline, shorten the wait, or use NO_RETRY"
        )


def _names(what: str, kinds: tuple[type[BaseException], ...]) -> frozenset[str]:
    if not isinstance(kinds, tuple) or not all(isinstance(k, type) and issubclass(k, BaseException) for k in kinds):
        raise PolicyInvalid(f"{what} must be a tuple of exception types, such as (TimeoutError,), not {kinds!r}")
    if what == "retry_on" and not kinds:
        raise PolicyInvalid("retry_on names no exception: leave it out to retry all, or use NO_RETRY to retry none")
    return frozenset(name_of(kind) for kind in kinds)


#: What a job gets that says nothing else: eight attempts within about an hour and a half.
DEFAULT_RETRY = RetryPolicy()

NO_RETRY = RetryPolicy(max_attempts=1)
