"""Fetches by the id of a topic (KIP-516) where it is known, so that a broker refuses them when it is another topic.

A fetch by name, which is all that aiokafka knows, reads on in a topic that was made anew as if it were the old one: its
offsets are the same. It knows the inside of aiokafka's fetcher.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

from aiokafka.consumer import fetcher
from aiokafka.errors import OffsetOutOfRangeError, UnknownTopicOrPartitionError
from aiokafka.protocol.api import Request
from aiokafka.protocol.fetch import FetchRequest

from streams.kafka.fetch.wire import FetchAnswer, FetchByIdStruct, PartitionAnswer, read_answer

logger = logging.getLogger(__name__)

#: What brokers answer that do not have a topic of this id (any more, or yet): UNKNOWN_TOPIC_ID, INCONSISTENT_TOPIC_ID.
_NOT_THIS_LOG = frozenset({100, 103})

#: How long a broker that has nothing waits with its answer where some partitions were not asked for, because records
#: of them lie here untaken. They can be asked for behind that answer only. Milliseconds.
_PARTIAL_WAIT_MS = 15

#: A fetch in no session, which names no epoch of a leader: all partitions are in each.
_NO_SESSION, _FINAL_EPOCH, _UNKNOWN = 0, -1, -1


@dataclass
class Fetches:
    """Which logs one consumer fetches, by their ids, and what brokers answer. Used in the consumer's thread alone."""

    #: Called with a partition whose log the broker does not have.
    on_refused: Callable[[tuple[str, int]], None]
    #: Whether something that was fetched has not been taken yet.
    has_untaken: Callable[[], bool]
    #: The id of the log of each partition, where it is known.
    logs: dict[tuple[str, int], bytes] = field(default_factory=dict)
    #: Where partitions were read on that do not begin before that any more.
    _beyond: dict[tuple[str, int], int] = field(default_factory=dict)

    def read(self, tp: tuple[str, int], log: bytes | None) -> None:
        """Fetch a partition from this log and no other; from any of its name if it is None."""
        self._beyond.pop(tp, None)
        if log is None:
            self.logs.pop(tp, None)
        else:
            self.logs[tp] = log

    def reads(self, tp: tuple[str, int], log: bytes) -> bool:
        """Returns whether a partition is fetched from this log."""
        return self.logs.get(tp) == log

    def wait(self, usual: int) -> int:
        """How long a broker that has nothing may wait with its answer, in milliseconds."""
        return min(usual, _PARTIAL_WAIT_MS) if self.has_untaken() else usual

    def note(self, topic: str, partition: int, code: int, offset: int) -> int:
        """Note the answer for a partition that was to be fetched from an offset.

        Returns the error code that aiokafka is to see.
        """
        tp = topic, partition
        if code in _NOT_THIS_LOG:
            self.on_refused(tp)
            return int(UnknownTopicOrPartitionError.errno)
        if code == OffsetOutOfRangeError.errno:
            self._beyond[tp] = offset
        elif not code and self._beyond:
            _log_gap(tp, self._beyond.pop(tp, offset), offset)
        return code


def _log_gap(tp: tuple[str, int], position: int, start: int) -> None:
    """Log that jobs have left the log unread. Markers of transactions and what was compacted lie within a log: they are
    passed over without an error, and so never logged."""
    if position < start:
        logger.error(
            "%s-%d: offsets %d to %d have left the log before they were read: at most %d jobs never run. Either they"
            " were older than the topic's retention (retention.ms, retention.bytes), or somebody has deleted them"
            " (kafka-delete-records.sh). Reading on from offset %d",
            *tp, position, start - 1, start - position, start,
        )  # fmt: skip


def install(fetches: Fetches) -> None:
    """Have the fetchers of aiokafka that are made from now on ask in this way."""

    def request(*args: Any, rack_id: str) -> FetchByIdOrName:
        wait, *limits, topics = args
        return FetchByIdOrName(fetches, fetches.wait(wait), *limits, topics=topics, rack_id=rack_id)

    fetcher.FetchRequest = request


_Topics = list[tuple[str, list[tuple[int, int, int]]]]


class FetchByIdOrName(Request[FetchByIdStruct]):  # type: ignore[misc] # aiokafka is untyped
    """aiokafka's fetch request: by the ids of the topics, if all are known and the broker takes them, else by names."""

    API_KEY = 1

    def __init__(self, fetches: Fetches, *limits: int, topics: _Topics, rack_id: str) -> None:
        self._fetches = fetches
        # The time to wait, the least and the most bytes, the level of isolation.
        self._limits = limits
        self.topics = topics
        self._rack_id = rack_id
        self._offsets = {(topic, part[0]): part[1] for topic, partitions in topics for part in partitions}

    def prepare(self, versions: dict[int, tuple[int, int]]) -> Any:
        """The request in a version that the broker understands."""
        ids = self._fetches.logs
        _, newest = versions.get(self.API_KEY, (0, 0))
        if newest >= FetchByIdStruct.API_VERSION and all(tp in ids for tp in self._offsets):
            return self.build(FetchByIdStruct)
        request = FetchRequest(*self._limits, self.topics, rack_id=self._rack_id).prepare(versions)
        by_name: Any = type(request).RESPONSE_TYPE
        request.RESPONSE_TYPE = _Decoder(lambda data: self._by_name(by_name.decode(data)))
        return request

    def build(self, request_struct_class: type[FetchByIdStruct]) -> FetchByIdStruct:
        """The request by ids."""
        ids = self._fetches.logs
        by_id: dict[bytes, list[Any]] = defaultdict(list)
        names: dict[bytes, str] = {}
        for topic, partitions in self.topics:
            for partition, offset, size in partitions:
                log = ids[topic, partition]
                names[log] = topic
                by_id[log].append((partition, _UNKNOWN, offset, _UNKNOWN, _UNKNOWN, size, {}))
        request = request_struct_class(
            -1, *self._limits, _NO_SESSION, _FINAL_EPOCH, [(log, parts, {}) for log, parts in by_id.items()], [],
            self._rack_id, {},
        )  # fmt: skip
        request.RESPONSE_TYPE = _Decoder(lambda data: self._by_id(read_answer(data), names))
        return request

    def _by_id(self, answer: FetchAnswer, names: Mapping[bytes, str]) -> _Answer:
        if answer.error_code:
            return _Answer([(topic, [self._failed(topic, part[0], answer.error_code) for part in partitions])
                            for topic, partitions in self.topics])  # fmt: skip
        topics = [(names[log], log, parts) for log, parts in answer.topics if log in names]
        reads = self._fetches.reads
        # What comes late may be of a log that is not read any more, and its offsets are those of the one that is.
        return _Answer([(topic, [self._read(topic, part) for part in parts if reads((topic, part[0]), log)])
                        for topic, log, parts in topics])  # fmt: skip

    def _failed(self, topic: str, partition: int, code: int) -> PartitionAnswer:
        code = self._fetches.note(topic, partition, code, self._offsets[topic, partition])
        return partition, code, _UNKNOWN, _UNKNOWN, _UNKNOWN, [], _UNKNOWN, b""

    def _read(self, topic: str, part: PartitionAnswer) -> PartitionAnswer:
        partition, code = part[:2]
        return partition, self._fetches.note(topic, partition, code, self._offsets[topic, partition]), *part[2:]

    def _by_name(self, answer: Any) -> Any:
        for topic, partitions in answer.topics:
            for partition, code, *_ in partitions:
                self._fetches.note(topic, partition, code, self._offsets[topic, partition])
        return answer


@dataclass
class _Answer:
    """An answer as aiokafka reads it: in the newest version that it knows."""

    topics: list[Any]
    API_VERSION: int = 11


@dataclass
class _Decoder:
    """Stands in for the type of a response where aiokafka decodes one."""

    #: Decodes an answer, and returns it as aiokafka is to see it.
    decode: Callable[[BytesIO], Any]
