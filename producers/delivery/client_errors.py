"""What the Kafka client says of its connections, in words that name the remedy."""

import logging
import re
import time

from confluent_kafka import KafkaError

from producers.delivery.delivery_errors import REFUSALS

_LINE = re.compile(r"(?P<kind>[A-Z_]+) \[[^\]]*#(?:producer|consumer)-\d+\] ")


def is_worth_reading(record: logging.LogRecord) -> bool:
    """Whether a line is shown; a filter for loggers and handlers. Lines of others always are.

    Not worth it are the client's own steps, and that a cluster which has just started has no id for a producer yet
    (GETPID): the client asks again.
    """
    line = _LINE.match(record.getMessage())
    if line is None:
        return True
    return record.levelno >= (logging.ERROR if line["kind"] == "GETPID" else logging.WARNING)


_LOGGER = logging.getLogger("producers")
_LIBRDKAFKA = _LOGGER.getChild("librdkafka")
_LIBRDKAFKA.addFilter(is_worth_reading)

#: The state of a connection that is open, and on which nobody has understood anything yet.
_FIRST_WORDS = "in state APIVERSION_QUERY"

#: Seconds for which an error is held to be the reason for what fails. One that lasts comes again with each try to
#: connect, every second or so.
_RECENT = 10.0

#: Seconds between two lines about brokers that refuse the login, or cannot be reached.
_SECONDS_BETWEEN_LINES = 60.0

#: Seconds between two of the client's own lines about a connection that failed: it tells of each try to connect again.
_SECONDS_BETWEEN_FAILS = 10.0

_LOGIN = frozenset({KafkaError._AUTHENTICATION, KafkaError.SASL_AUTHENTICATION_FAILED})


class ClientErrors:
    """What one client has reported beside its delivery reports. Any thread may call this; nothing raises or blocks."""

    def __init__(self, servers: str) -> None:
        self._servers = servers
        #: The error that has ended the client; it never sends again.
        self.fatal: KafkaError | None = None
        self._refused: _Said | None = None
        self._unreached: _Said | None = None
        self._next_line = 0.0
        self._next_fail = 0.0

    def end(self, error: KafkaError) -> None:
        """Take in what has ended the client."""
        self.fatal = error

    def note(self, error: KafkaError) -> None:
        """Take in an error. This is the client's error_cb, so those who poll call it; what is fatal is raised there."""
        if (remedy := _remedy_of_refusal(error)) is not None:
            self._refuse(error.str(), remedy)
            return
        if error.code() != KafkaError._ALL_BROKERS_DOWN or self._unreached is None:
            self._unreached = _Said(f"a broker cannot be reached ({error.str()})")
        if error.code() == KafkaError._ALL_BROKERS_DOWN and not (self._refused and self._refused.recent()):
            advice = "check KAFKA_BOOTSTRAP_SERVERS, and that they run"
            self._log(_Said(f"no broker at {self._servers} can be reached: {advice}"))

    def log(self, level: int, message: str, *arguments: object) -> None:
        """Take in a line of the client's log, and hand it on; this is the client's logger.

        A broker that hangs up on the client's first words, as one that wants TLS does, is in no error, only there.
        """
        line = message % arguments if arguments else message
        if not line.startswith("FAIL ") or self._may_tell_fail():
            _LIBRDKAFKA.log(level, message, *arguments)
        # Connections that the client itself ends are no refusal: it gives up brokers that the cluster does not name.
        if _FIRST_WORDS in line and "FAIL" in line and "_DESTROY_BROKER" not in line:
            said = line.rpartition(": ")[2] if "Disconnected" not in line else line[line.index("Disconnected") :]
            self._refuse(said, "KAFKA_SECURITY_PROTOCOL: the port may want TLS, or be none of Kafka's")

    def _may_tell_fail(self) -> bool:
        now = time.monotonic()
        if now < self._next_fail:
            return False
        self._next_fail = now + _SECONDS_BETWEEN_FAILS
        return True

    def _refuse(self, reason: str, remedy: str) -> None:
        self._refused = _Said(f"the brokers at {self._servers} do not let this producer in ({reason}): check {remedy}")
        self._log(self._refused)

    @property
    def complained(self) -> float:
        """When the client has last told that it does not reach a broker, or is not let in; monotonic, 0 if never."""
        return max((said.at for said in (self._refused, self._unreached) if said is not None), default=0.0)

    def reason(self) -> str | None:
        """Return why nothing is delivered, as far as the client has told lately."""
        if self.fatal is not None:
            said = f"the Kafka client has failed for good, another takes its place ({self.fatal.str()})"
            return said + _advice(self.fatal)
        for each in (self._refused, self._unreached):
            if each is not None and each.recent():
                return each.sentence
        return None

    def _log(self, said: "_Said") -> None:
        if said.at >= self._next_line:
            self._next_line = said.at + _SECONDS_BETWEEN_LINES
            _LOGGER.error("%s; until then jobs stay in the buffer, and time out there", said.sentence)


class _Said:
    """A sentence, and when it was said."""

    def __init__(self, sentence: str) -> None:
        self.sentence = sentence
        self.at = time.monotonic()

    def recent(self) -> bool:
        return time.monotonic() - self.at < _RECENT


def _advice(error: KafkaError) -> str:
    return f": {REFUSALS[error.code()]}" if error.code() in REFUSALS else ""


def _remedy_of_refusal(error: KafkaError) -> str | None:
    """Which settings to check where brokers refuse the connection; None where that is not what has happened."""
    if error.code() in _LOGIN:
        return "KAFKA_SASL_MECHANISM, KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD"
    if error.code() == KafkaError._SSL or "SSL" in error.str():
        return "KAFKA_SECURITY_PROTOCOL, KAFKA_SSL_CA_LOCATION and the other KAFKA_SSL_* settings"
    # What librdkafka adds where a broker hangs up on words that it does not understand.
    if "security.protocol" in error.str():
        return "KAFKA_SECURITY_PROTOCOL: the port wants TLS, or a login, or neither"
    return None
