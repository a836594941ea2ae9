"""What a handler knows of its job, and how it publishes follow-up jobs."""

from __future__ import annotations

import logging
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Unpack

import uuid_utils

from producers.publish_options import OF_ONE, PublishOptions, check_names
from schemas.headers import Headers, scheduled_for
from streams.logs.safe_text import shown_id

logger = logging.getLogger("streams.job")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class FollowUp:
    """A job to publish when the handler has returned."""

    payload: Any
    #: As the handler has given them, and always the job's id.
    options: PublishOptions


class JobLogger(logging.LoggerAdapter[logging.Logger]):
    """A logger whose lines carry the job's id, queue, key and attempt."""

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        job: Mapping[str, Any] = self.extra or {}
        kwargs["extra"] = {**job, **(kwargs.get("extra") or {})}
        # The line goes through %-formatting with the handler's arguments.
        shown = shown_id(job["job_id"]).replace("%", "\\x25")
        return f"[{job['job_queue']} {shown}] {msg}", kwargs


class JobContext:
    """A job's identity, and its ties to other jobs. It may be sent to another process.

    id       never changes, through retries, dead letters and redrives
    queue    the queue it came from
    attempt  how many attempts were made before this one
    parent   id of the job that published this one
    """

    __slots__ = ("_ended", "_follow_ups", "_headers", "_key", "attempt", "id", "parent", "queue")

    def __init__(  # noqa: PLR0917 - made for every job, and keywords cost time
        self,
        id: str,  # noqa: A002 - the word for it, everywhere
        queue: str,
        key: bytes | None = None,
        headers: Headers = (),
        attempt: int = 0,
        parent: str | None = None,
    ) -> None:
        self.id = id
        self.queue = queue
        self._key = key
        self._headers = headers
        self.attempt = attempt
        self.parent = parent
        self._follow_ups: list[FollowUp] | None = None
        self._ended = False

    @property
    def key(self) -> str | None:
        """The ordering key; None when the job is a lane of its own."""
        return None if self._key is None else self._key.decode("utf-8", "backslashreplace")

    @property
    def headers(self) -> dict[str, bytes | None]:
        """The record's headers; where a name stands twice, the last. A new dict each time."""
        return dict(self._headers)

    @property
    def scheduled_for(self) -> datetime | None:
        """When the job fell due, if it was delayed, in UTC."""
        due_ms = scheduled_for(self._headers)
        return None if due_ms is None else _EPOCH + timedelta(milliseconds=due_ms)

    @property
    def logger(self) -> JobLogger:
        """A logger whose lines carry the job's id, queue, key and attempt."""
        job = {"job_id": self.id, "job_queue": self.queue, "job_key": self.key, "job_attempt": self.attempt}
        return JobLogger(logger, job)

    def publish(self, payload: Any, **options: Unpack[PublishOptions]) -> str:
        """Publish a follow-up job once this handler has returned; returns its id.

        A handler that fails publishes nothing. This job is finished only when the broker holds all its follow-ups;
        a job that runs again after a crash publishes them again. Options are those of `JobProducer.publish`. Raises
        TypeError for an option that there is not, and RuntimeError once the run is over, as in a task that outlives it:
        nothing would publish the job any more.
        """
        if self._ended:
            raise RuntimeError(
                f"job {shown_id(self.id)} has ended, so this follow-up would never be published: publish before the"
                " handler returns"
            )
        check_names("publish", OF_ONE, options)
        job_id = options.get("id")
        if job_id is None:
            job_id = str(uuid_utils.uuid7())
        if self._follow_ups is None:
            self._follow_ups = []
        self._follow_ups.append(FollowUp(payload, {**options, "id": job_id}))
        return job_id

    @property
    def follow_ups(self) -> list[FollowUp] | None:
        """What the handler has published so far, if anything."""
        return self._follow_ups

    def end(self) -> None:
        """Take no more follow-up jobs: the run is over."""
        self._ended = True

    def adopt(self, follow_ups: list[FollowUp]) -> None:
        """Take over what a handler has published in another process."""
        self._follow_ups = follow_ups
