"""A delayed job as whoever asks is told of it, and what is said where there is none."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from producers import DelayedJobsUnreachable, NotWaiting, ProducersError, WaitingJob

JOB = WaitingJob("job-1", "email", "jobs.email.SendEmail", "k", 1_767_225_600_123)


def test_when_it_is_due_is_a_time_with_a_zone() -> None:
    assert JOB.due == datetime(2026, 1, 1, 0, 0, 0, 123_000, tzinfo=UTC)
    assert JOB.due.utcoffset() == timedelta(0)
    assert JOB._replace(due_ms=0).due == datetime(1970, 1, 1, tzinfo=UTC)


def test_at_another_time_it_is_the_same_job() -> None:
    assert JOB.due_at(5) == WaitingJob("job-1", "email", "jobs.email.SendEmail", "k", 5)
    assert JOB.due_ms == 1_767_225_600_123


def test_who_asks_for_a_job_that_does_not_wait_is_told_where_it_may_be() -> None:
    with pytest.raises(
        LookupError, match=r"no delayed job 'job-1' waits: it has gone to its queue, was cancelled"
    ) as e:
        raise NotWaiting("job-1")
    assert isinstance(e.value, ProducersError)
    assert "delayed list" in str(e.value)
    assert NotWaiting("job-1").job_id == "job-1"


def test_who_cannot_read_them_is_told_what_to_look_at() -> None:
    error = DelayedJobsUnreachable("jobs.scheduled", "Connection refused", "kafka-1:9092")
    assert isinstance(error, ProducersError)
    assert error.topic == "jobs.scheduled"
    assert str(error).startswith(
        "jobs.scheduled cannot be read at kafka-1:9092: Connection refused; check KAFKA_BOOTSTRAP_SERVERS"
    )
