"""What goes wrong with dead letters.

StreamsError
└── DeadError               whatever is below; the message says what to do
    ├── FilterInvalid       a filter or an option cannot be meant
    ├── UnknownQueue        there is no such queue, or it has no dead-letter topic yet
    ├── BrokerSilent        no broker answers, or one has stopped answering
    ├── NotesUnreadable     the notes of what is handled are none of ours
    ├── SomebodyElse        another redrive or purge has changed the notes meanwhile
    ├── MapFull             what would be handled lies too scattered to be noted
    └── DeliveryStopped     the queue's topic takes no more
"""

from __future__ import annotations

from streams.errors import StreamsError


class DeadError(StreamsError):
    """Base of what goes wrong with dead letters."""


class FilterInvalid(DeadError):
    """A filter or an option cannot be meant; nothing was done."""


class UnknownQueue(DeadError):
    """There is no such queue, or it has no dead-letter topic yet."""


class BrokerSilent(DeadError):
    """No broker answers, or one has stopped answering."""


class NotesUnreadable(DeadError):
    """The notes of what is handled cannot be read."""


class SomebodyElse(DeadError):
    """Another redrive or purge of these letters is under way."""


class MapFull(DeadError):
    """What would be handled lies too scattered to be noted; it was not begun."""


class DeliveryStopped(DeadError):
    """The queue's topic takes no more letters."""
