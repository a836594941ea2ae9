"""The names of the headers that carry a job's metadata, and the bounds on what they hold."""

from __future__ import annotations

from collections.abc import Sequence

CE_SPECVERSION = "ce_specversion"
CE_ID = "ce_id"
CE_TYPE = "ce_type"
CE_SOURCE = "ce_source"
CE_TIME = "ce_time"
CONTENT_TYPE = "content-type"

# Handed on to the handler and never looked at: what a tracer of the application's own makes of them is its business.
TRACEPARENT = "traceparent"
TRACESTATE = "tracestate"

ATTEMPT = "job-attempt"
NOT_BEFORE = "job-not-before"  # in a retry topic, when the job is due; elsewhere when a delayed job goes to its queue
EXPIRES_AT = "job-expires-at"
TIMEOUT_MS = "job-timeout-ms"
MAX_ATTEMPTS = "job-max-attempts"
PARENT = "job-parent"
ORIGIN = "job-origin"
PARKED = "job-parked"
QUEUE = "job-queue"  # of a delayed job: where it goes when it falls due
KEY = "job-key"  # of a delayed job: its ordering key
SCHEDULED_FOR = "job-scheduled-for"  # of a job that was delayed: when it fell due
DELAYED_UNTIL = "job-delayed-until"  # in a retry topic, of an untried job: the job-not-before that it came with
COMMAND = "job-command"
FIRED = "job-fired"
MOVED_FROM = "job-moved-from"  # of a delayed job that came to its queue's topic first: where it lay there
POSITION = "job-position"
OWNER = "job-owner"
LOG = "job-log"
REDRIVES = "job-redrives"
REFUSED = "job-refused"
ERROR_TYPE = "job-error-type"
ERROR_MESSAGE = "job-error-message"
ERROR_STACK = "job-error-stack"
FIRST_FAILED_AT = "job-first-failed-at"
LAST_FAILED_AT = "job-last-failed-at"

# Kept for deduplication to come. Their form is checked already, so that what producers set until then can be read by
# later workers; they have no effect, which a worker says when it meets one.
DEDUP_KEY = "job-dedup-key"
DEDUP_TTL_MS = "job-dedup-ttl-ms"

RESERVED_PREFIXES = ("ce_", "job-")
RESERVED_NAMES = frozenset({CONTENT_TYPE})
AVRO_CONTENT_TYPE = b"application/avro"
TEXT_LIMIT = 1024
MESSAGE_LIMIT = 2 * 1024
STACK_LIMIT = 16 * 1024
Headers = Sequence[tuple[str, bytes | None]]


def is_reserved(name: str) -> bool:
    """Whether a header name belongs to the system, so that an application may not set it itself."""
    lowered = name.lower()
    return lowered.startswith(RESERVED_PREFIXES) or lowered in RESERVED_NAMES
