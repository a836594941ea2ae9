"""Dead letters: find them, show them, send them back to their queue, be done with them.

The dead-letter topic is a log, and letters stay in it until its retention ends. Which of them are *handled*,
redriven or purged, is kept the way workers keep their offsets: as commits of a consumer group of the queue's own,
`<namespace>.dead.<queue>`, whose offset is the watermark and whose metadata is the map of what is handled beyond
it.

A redrive publishes a chunk, waits until the broker has it all, and then notes it. One that is killed repeats at most
the chunk that it was at: its jobs run twice, under the same ids. Two at once are told from each other by a claim in
the metadata: the one that finds other notes than it has last seen stops before it publishes more.
"""

from streams.dead.dead_letters import DeadLetters
from streams.dead.errors import (
    BrokerSilent,
    DeadError,
    DeliveryStopped,
    FilterInvalid,
    MapFull,
    NotesUnreadable,
    SomebodyElse,
    UnknownQueue,
)
from streams.dead.filters import Filters, parse_time
from streams.dead.letter import Letter
from streams.dead.payload import Payload
from streams.dead.redrive.plan import Part, Plan, Skipped
from streams.dead.redrive.purge import Purged
from streams.dead.redrive.redrive import Progress

__all__ = [
    "BrokerSilent",
    "DeadError",
    "DeadLetters",
    "DeliveryStopped",
    "FilterInvalid",
    "Filters",
    "Letter",
    "MapFull",
    "NotesUnreadable",
    "Part",
    "Payload",
    "Plan",
    "Progress",
    "Purged",
    "Skipped",
    "SomebodyElse",
    "UnknownQueue",
    "parse_time",
]
