"""What goes wrong in a worker.

StreamsError
├── DefinitionError         a queue or a handler is declared wrongly: raised when its module is imported
├── SetupError              the worker cannot start: settings, topics, job modules
├── OutOfThreads            the system gives the worker no thread, and it ends
├── PermanentError          raised by a handler: the job can never be done, so it is not tried again
├── Retry                   raised by a handler: try the job again at a time of its choosing
├── Snooze                  raised by a handler: the same, and the run was no attempt
└── JobError                why a job ended as a dead letter, when its own handler did not raise
    ├── JobExpired          its expiry passed before it ran
    ├── JobTimeout          its handler ran longer than it may; a TimeoutError, too
    ├── NoHandler           nobody handles its type on this queue
    ├── HandlerCrashed      the process that ran its handler died
    ├── HandlerExited       a task of its handler called exit()
    ├── KilledItsWorkers    its worker died each time that it ran
    └── FollowUpRefused     a job that it published can never be delivered

Their names are on the wire: dead letters and retry records carry them in `job-error-type`, such as
streams.errors.JobTimeout, and operators' filters and workers of other versions go by them. So neither this module nor a
class in it is ever renamed. What derives from NeverRetried, too, is never tried again, whatever the policy.
"""

from __future__ import annotations

from streams.core.retry.failure import NeverRetried, RequeueRequest


class StreamsError(Exception):
    """Base of every error of the worker."""


class DefinitionError(StreamsError):
    """A queue or a handler is declared wrongly; the message says how to declare it."""


class SetupError(StreamsError):
    """The worker cannot start; the message says what to change."""


class OutOfThreads(StreamsError):
    """The system has given the worker no thread for a minute: raise its limits, or lower the worker's concurrency."""


class PermanentError(NeverRetried, StreamsError):
    """The job can never be done: raise it, or a subclass, in a handler to have it never tried again."""


class Retry(StreamsError, RequeueRequest):
    """Raise it in a handler to have the job tried again in `in_` seconds (or a timedelta), if attempts are left.

    The policy's backoff, its cap and its lists of exceptions do not apply; its number of attempts and its deadline do.
    Raises ValueError for a time that a job cannot wait.
    """

    counted = True


class Snooze(StreamsError, RequeueRequest):
    """Raise it in a handler to have the job come back in `in_` seconds (or a timedelta) without counting an attempt.

    Only the policy's deadline ends it. Raises ValueError for a time that a job cannot wait.
    """

    counted = False


class JobError(StreamsError):
    """A job cannot be done, for a reason other than an exception of its handler."""


class JobExpired(NeverRetried, JobError):
    """The job's expiry passed before it ran."""


class KilledItsWorkers(JobError):
    """The job's worker died each time that it ran, and once while it ran alone: a dead letter without another try."""


class JobTimeout(JobError, TimeoutError):
    """The handler ran longer than its timeout. A TimeoutError, so that a policy which names that one covers it."""


class NoHandler(JobError):
    """No handler of this queue takes the job's type."""


class FollowUpRefused(NeverRetried, JobError):
    """A follow-up job can never be delivered: its queue is not there, or it is too large."""


class HandlerCrashed(JobError):
    """The process that ran a CPU-bound handler died."""


class HandlerExited(JobError):
    """A task that a handler has made called exit(): that would end the worker, and ends the task."""
