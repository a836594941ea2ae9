"""The options of a job: what every way of publishing takes beside the payload."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TypedDict

Seconds = float | timedelta
UserHeaders = Mapping[str, str | bytes]


class SharedOptions(TypedDict, total=False):
    """The options that publish_many() gives to each of its jobs. None is as good as leaving one out."""

    #: Where the job goes; by default the last part of its type's namespace, email of jobs.email.SendEmail.
    queue: str | None
    #: The application's own headers, which handlers find in ctx.headers; none that begins with ce_ or job-.
    headers: UserHeaders | None
    #: Seconds (or a timedelta) that each run may take, in place of the handler's own timeout.
    timeout: Seconds | None
    #: Seconds (or a timedelta) from now, or from when it falls due, within which the job has to start; later it is a
    #: dead letter.
    expires_in: Seconds | None
    #: Seconds (or a timedelta), up to ten years, before the job falls due: it waits that long, and goes to its queue.
    delay: Seconds | None
    #: When the job falls due, in place of a delay: a datetime with a time zone. What is past falls due at once.
    run_at: datetime | None
    #: Runs at the most, the first included, in place of the retry policy's number.
    max_attempts: int | None


class PublishOptions(SharedOptions, total=False):
    """The options of one job, as publish() takes them, and a handler's ctx.publish(): those above, and two more.

    A new option is a line here and, where it becomes a header of the job's, one in producers.record.
    """

    #: The ordering key: jobs of one key run one after another, in the order published. Without one, a job waits for no
    #: other.
    key: str | None
    #: The job's id, 1 to 1,024 bytes; a new UUIDv7 by default. Give one to a job that may be published twice.
    id: str | None


OF_ONE = frozenset(PublishOptions.__annotations__)
OF_EACH = frozenset(SharedOptions.__annotations__)


def check_names(call: str, known: frozenset[str], options: Mapping[str, object]) -> None:
    """Raise TypeError, as for any keyword that a call does not take, which names those that it does."""
    if not known.issuperset(options):
        unknown = next(name for name in options if name not in known)
        raise TypeError(f"{call}() takes no option {unknown!r}; its options are {', '.join(sorted(known))}")
