"""What goes wrong in a worker.

StreamsError
├── DefinitionError         a queue or a handler is declared wrongly: raised when its module is imported
├── SetupError              the worker cannot start: settings, topics, job modules
└── JobError                why a job ended as a dead letter, when its own handler did not raise
    ├── JobExpired          its expiry passed before it ran
    ├── JobTimeout          its handler ran longer than it may
    ├── NoHandler           nobody handles its type on this queue
    ├── HandlerCrashed      the process that ran its handler died
    └── FollowUpRefused     a job that it published can never be delivered
"""

from __future__ import annotations


class StreamsError(Exception):
    """Base of every error of the worker."""


class DefinitionError(StreamsError):
    """A queue or a handler is declared wrongly; the message says how to declare it."""


class SetupError(StreamsError):
    """The worker cannot start; the message says what to change."""


class JobError(StreamsError):
    """A job cannot be done, for a reason other than an exception of its handler."""


class JobExpired(JobError):
    """The job's expiry passed before it ran."""


class JobTimeout(JobError):
    """The handler ran longer than its timeout."""


class NoHandler(JobError):
    """No handler of this queue takes the job's type."""


class FollowUpRefused(JobError):
    """A follow-up job can never be delivered: its queue is not there, or it is too large."""


class HandlerCrashed(JobError):
    """The process that ran a CPU-bound handler died."""
