"""When a delayed job falls due: what the options `delay` and `run_at` of a publish mean."""

from datetime import datetime, timedelta
from typing import Any

from producers.errors import OptionInvalid
from producers.publish_options import PublishOptions, Seconds

#: No job waits for longer: ten years. Milliseconds.
LONGEST_DELAY_MS = 10 * 366 * 86_400_000

_A_DELAY = "seconds from 0 to ten years, as a number or a timedelta"
_AWARE = (
    "a datetime with a time zone, such as datetime.now(UTC) + timedelta(hours=1) or"
    ' datetime(2027, 3, 1, 9, tzinfo=ZoneInfo("Europe/Berlin"))'
)


def due_ms(options: PublishOptions, now_ms: int) -> int | None:
    """Return when a job with these options falls due, in epoch milliseconds; None for one that is not delayed.

    Raises OptionInvalid.
    """
    delay, run_at = options.get("delay"), options.get("run_at")
    if run_at is None:
        return None if delay is None else now_ms + delay_ms("delay", delay)
    if delay is not None:
        raise OptionInvalid("run_at", "either delay or run_at, and not both", run_at)
    return moment_ms("run_at", run_at, now_ms)


def delay_ms(option: str, delay: Seconds) -> int:
    """Return a delay in milliseconds, rounded up so that nothing is early; raises OptionInvalid."""
    seconds: Any = delay.total_seconds() if isinstance(delay, timedelta) else delay
    if (
        isinstance(seconds, bool)
        or not isinstance(seconds, (int, float))
        or not 0 <= seconds * 1000 <= LONGEST_DELAY_MS
    ):
        raise OptionInvalid(option, _A_DELAY, delay)
    # What a float adds to 2.007 s is no part of a millisecond.
    return -int(-round(seconds * 1000, 6) // 1)


def moment_ms(option: str, moment: datetime, now_ms: int) -> int:
    """Return a moment in epoch milliseconds, rounded up; raises OptionInvalid for one without zone, or too far off."""
    if not isinstance(moment, datetime) or moment.utcoffset() is None:
        raise OptionInvalid(option, _AWARE, moment)
    since = moment - _EPOCH
    found = -(-since // _MILLISECOND)
    if found - now_ms > LONGEST_DELAY_MS:
        raise OptionInvalid(option, "a time within the next ten years", moment)
    return max(0, found)


_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
_MILLISECOND = timedelta(milliseconds=1)
