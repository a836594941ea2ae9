"""Background jobs on Apache Kafka: what a job module needs, and `app` for `faust -A streams worker`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from streams import neighbours as _neighbours  # noqa: F401 - raises where the imports below would find somebody else's packages

# isort: split
from pydantic import ValidationError

from streams.api.context import JobContext, JobLogger
from streams.api.queue import Queue
from streams.core.retry.backoff import Exponential, Fixed
from streams.core.retry.policy import DEFAULT_RETRY, NO_RETRY, RetryPolicy
from streams.errors import (
    DefinitionError,
    FollowUpRefused,
    HandlerCrashed,
    HandlerExited,
    JobError,
    JobExpired,
    JobTimeout,
    KilledItsWorkers,
    NoHandler,
    PermanentError,
    Retry,
    SetupError,
    Snooze,
    StreamsError,
)

if TYPE_CHECKING:
    from streams.application.faust_app import JobsApp

    app: JobsApp

__all__ = [
    "DEFAULT_RETRY",
    "NO_RETRY",
    "DefinitionError",
    "Exponential",
    "Fixed",
    "FollowUpRefused",
    "HandlerCrashed",
    "HandlerExited",
    "JobContext",
    "JobError",
    "JobExpired",
    "JobLogger",
    "JobTimeout",
    "KilledItsWorkers",
    "NoHandler",
    "PermanentError",
    "Queue",
    "Retry",
    "RetryPolicy",
    "SetupError",
    "Snooze",
    "StreamsError",
    "app",
]


#: Whether `app` is being built.
_making = False


def __getattr__(name: str) -> Any:
    """Build `app` when it is asked for; raises SetupError where the environment does not allow it.

    Tests of handlers and the processes of CPU-bound jobs import this package too, and must neither read the environment
    nor load Faust.
    """
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from streams.application import cli  # noqa: PLC0415 - importing it adds its commands to the command line
    from streams.application.assembly import build_app  # noqa: PLC0415 - see above

    if _making:
        raise DefinitionError(
            "a job module imports streams.app, which is made of the job modules: leave the import to other programs,"
            " and use what a handler's ctx has"
        )
    globals()["_making"] = True
    try:
        app = build_app()
    except (SetupError, ValidationError) as error:
        raise cli.CannotStart(str(error)) from error
    finally:
        globals()["_making"] = False
    globals()["app"] = app
    return app
