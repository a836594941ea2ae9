"""How long a job waits whose schema, type or handler no worker knows yet: a pure decision.

Producers may be deployed before workers. A worker cannot tell such a job from one that nobody will ever know, so the
job waits in its retry topic for a while, and its key with it. Whoever takes its partition over tries it at once.
"""

from __future__ import annotations

from streams.core.retry.backoff import jittered
from streams.core.retry.policy import GiveUp, RetryAt

#: What a worker of a later version may know. Exactly these: their subclasses say that no worker ever will.
MAY_BE_KNOWN_LATER = frozenset({
    "schemas.errors.UnknownSchema",
    "schemas.errors.UnknownJobType",
    "schemas.errors.UnknownVersion",
    "streams.errors.NoHandler",
})  # fmt: skip

#: A job waits for as long as it has waited already, within these bounds. Milliseconds.
_SHORTEST, _LONGEST = 1_000, 300_000


def wait_or_give_up(
    *, attempt: int, now_ms: int, since_ms: int, patience_ms: int, random_share: float, expires_ms: int | None = None
) -> RetryAt | GiveUp:
    """Decide about a job that this worker does not know.

    attempt       attempts made so far; waiting is none
    since_ms      epoch milliseconds when a worker first met it
    patience_ms   how long it may wait from then on; it is tried once more at the end
    random_share  chance, from 0 up to 1
    expires_ms    epoch milliseconds from which on it must not start any more
    """
    end_ms = since_ms + patience_ms
    if now_ms >= end_ms:
        return GiveUp(
            f"(no worker knew it within {patience_ms / 1000:g} s, see STREAMS_SCHEMA_WAIT)" if patience_ms else ""
        )
    wait = min(_LONGEST, max(_SHORTEST, now_ms - since_ms))
    due_ms = min(end_ms, now_ms + round(jittered(wait, "equal", random_share)))
    if expires_ms is not None and due_ms >= expires_ms:
        return GiveUp("(it expires before a worker may know it)")
    return RetryAt(due_ms, attempt)
