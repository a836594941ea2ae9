"""Reads offsets from delivery reports, and finds those that the client has made up."""

from __future__ import annotations

from confluent_kafka import Message


class ReportedOffsets:
    """The offsets of one client's delivery reports; to be asked for every report, in their order.

    A broker that has a batch already, and no longer knows where, calls it a duplicate: it is delivered, at an unknown
    offset. Librdkafka counts up from the first offset of a batch, which is -1 here: the first record is reported
    without an offset, and the others at 0, 1, 2 and so on, where they are not.
    """

    def __init__(self) -> None:
        #: By topic and partition: the offset that the next record of such a batch would be given.
        self._made_up: dict[tuple[str | None, int | None], int] = {}

    def of(self, message: Message) -> int | None:
        """The offset of a record that was delivered; None if it is not known.

        Now and then None for a true one: in a partition's first records, which may lie where a made-up offset says.
        """
        place, offset = (message.topic(), message.partition()), message.offset()
        if offset is None or offset < 0:
            self._made_up[place] = 0
            return None
        if self._made_up and self._made_up.pop(place, None) == offset:
            self._made_up[place] = offset + 1
            return None
        return offset
