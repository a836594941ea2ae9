"""One redrive or purge of a queue's dead letters at a time.

Who is at work is the one member of a consumer group, `<namespace>.dead.<queue>.at-work`. The broker counts it out when
it ends, or soon after it was killed. It commits nothing: the notes lie with another group, which never has members.
"""

from __future__ import annotations

import getpass
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from producers.cluster import Cluster
from streams.dead.errors import BrokerSilent, SomebodyElse
from streams.dead.topic.reader import REQUEST_TIMEOUT, logger

#: Seconds until a member that was killed is counted out; brokers take no less by default.
_SESSION = 6.0
#: Seconds to wait for one that may be about to be: a broker looks a little later.
_PATIENCE = _SESSION + 4.0
#: Seconds for joining: brokers wait up to 3 for more members, and a new one may have to find a coordinator.
_JOINING = 20.0
#: The longest that a client may be busy between two polls, none of which follow once it has joined. Milliseconds.
_NEVER_POLLS = 86_400_000
_STEP = 0.1

#: The group has no coordinator yet, or a new one. Nobody is at work in a group that there is not.
_PASSING = {
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.NOT_COORDINATOR,
    KafkaError._DESTROY_BROKER,
    KafkaError._TIMED_OUT,
    KafkaError._TRANSPORT,
}


@contextmanager
def alone(cluster: Cluster, admin: AdminClient, group: str, topic: str) -> Iterator[None]:
    """Be the only one at work until the end of the block.

    Waits for some seconds for one that was killed. Raises SomebodyElse, which says who is at work, and BrokerSilent.
    """
    group = f"{group}.at-work"
    _await_nobody(admin, group)
    consumer = Consumer(_config(cluster, group), logger=logger)
    try:
        _join(consumer, admin, group, topic)
        yield
    finally:
        consumer.close()


def _config(cluster: Cluster, group: str) -> dict[str, Any]:
    return {
        **cluster.client_config(),
        "group.id": group,
        "client.id": _name(),
        "session.timeout.ms": int(_SESSION * 1000),
        "heartbeat.interval.ms": 1000,
        "max.poll.interval.ms": _NEVER_POLLS,
        # One of several that join at once has it all: the partition by which they are told apart.
        "partition.assignment.strategy": "range",
        "enable.auto.commit": False,
    }


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user may have no name
        return f"user {os.getuid()}"


def _await_nobody(admin: AdminClient, group: str) -> None:
    give_up = time.monotonic() + _PATIENCE
    while there := _members(admin, group):
        if time.monotonic() > give_up:
            raise _somebody(there)
        time.sleep(_STEP)


def _join(consumer: Consumer, admin: AdminClient, group: str, topic: str) -> None:
    """Become the member that has the topic's first partition."""
    mine: list[int] = []

    def assigned(consumer: Consumer, partitions: list[Any]) -> None:
        mine.extend(each.partition for each in partitions)
        # It is here to be seen, and reads nothing.
        consumer.assign(partitions)
        consumer.pause(partitions)

    consumer.subscribe([topic], on_assign=assigned)
    give_up = time.monotonic() + _JOINING
    while not mine and time.monotonic() < give_up:
        consumer.poll(_STEP)
    if 0 not in mine:
        others = [each for each in _members(admin, group) if not each.startswith(f"{_name()} ")]
        raise _somebody(others) if others or mine else BrokerSilent(f"the broker lets nobody join group {group!r}")


def _name() -> str:
    """How others see who is at work."""
    return f"{_user()} on {socket.gethostname()}, process {os.getpid()}"


def _members(admin: AdminClient, group: str) -> list[str]:
    """Who is in a group."""
    give_up = time.monotonic() + REQUEST_TIMEOUT
    while True:
        try:
            found = admin.describe_consumer_groups([group], request_timeout=REQUEST_TIMEOUT)[group].result()
            return [f"{member.client_id} ({member.host})" for member in found.members]
        except KafkaException as error:
            code = error.args[0].code()
            if code == KafkaError.GROUP_ID_NOT_FOUND:
                return []
            if code not in _PASSING or time.monotonic() > give_up:
                raise BrokerSilent(
                    f"it cannot be seen whether another redrive or purge is at work ({error.args[0].str()}): this user"
                    f" needs Describe and Read on group {group!r}"
                ) from error
            time.sleep(_STEP)


def _somebody(who: list[str]) -> SomebodyElse:
    return SomebodyElse(
        f"another redrive or purge of these letters is at work: {', '.join(who) or 'one that began at the same time'}."
        " Nothing was done here: wait until it has ended, and look at what is left"
    )
