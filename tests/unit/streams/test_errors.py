"""The errors of a worker, whose names are on the wire."""

from __future__ import annotations

from streams import errors
from streams.core.retry.failure import name_of

#: What dead letters of released versions carry in `job-error-type`. Names are added here, and none is changed.
ON_THE_WIRE = {
    "streams.errors.DefinitionError",
    "streams.errors.FollowUpRefused",
    "streams.errors.HandlerCrashed",
    "streams.errors.HandlerExited",
    "streams.errors.JobError",
    "streams.errors.JobExpired",
    "streams.errors.JobTimeout",
    "streams.errors.KilledItsWorkers",
    "streams.errors.NoHandler",
    "streams.errors.OutOfThreads",
    "streams.errors.PermanentError",
    "streams.errors.Retry",
    "streams.errors.SetupError",
    "streams.errors.Snooze",
    "streams.errors.StreamsError",
}


def test_no_error_changes_its_name() -> None:
    ours = {
        name_of(kind)
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, Exception) and kind.__module__ == errors.__name__
    }
    assert ours == ON_THE_WIRE


def test_the_file_says_so() -> None:
    assert "on the wire" in (errors.__doc__ or "")
