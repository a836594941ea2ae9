"""Calls to the cluster that nobody waits for any longer, and settings that its client refuses."""

from __future__ import annotations

import asyncio
import threading

import pytest

from producers.cluster import Cluster
from streams.aio.abandonable import abandonable
from streams.errors import SetupError
from streams.kafka.admin.client import Admin
from tests.unit.streams.rig import until


async def test_a_call_runs_beside_the_loop() -> None:
    go, seen = threading.Event(), list[str]()

    def work(word: str) -> None:
        go.wait(20)
        seen.append(word)

    call = asyncio.ensure_future(abandonable(work, "done"))
    await asyncio.sleep(0)
    go.set()
    await call
    assert seen == ["done"]


@pytest.mark.parametrize("error", [SetupError("no"), SystemExit(2)])
async def test_it_raises_what_the_call_raises(error: BaseException) -> None:
    def work() -> None:
        raise error

    with pytest.raises(type(error)):
        await abandonable(work)


@pytest.mark.parametrize("fails", [False, True])
def test_nobody_waits_for_one_that_is_cancelled(fails: bool) -> None:
    """Not the loop at its end, either; and its own end harms nothing."""
    go, threads = threading.Event(), list[threading.Thread]()

    def work() -> None:
        threads.append(threading.current_thread())
        go.wait(20)
        if fails:
            raise ValueError("too late")

    async def abandon() -> None:
        call = asyncio.ensure_future(abandonable(work))
        await until(lambda: threads)
        call.cancel()
        await asyncio.wait([call])
        assert call.cancelled()

    asyncio.run(abandon())
    assert threads[0].is_alive()
    assert threads[0].daemon, "the process may end before it"
    go.set()
    threads[0].join(20)


def test_settings_that_the_client_refuses() -> None:
    with pytest.raises(SetupError, match=r"ssl\.ca\.location.*check KAFKA_\*"):
        Admin(Cluster(bootstrap_servers="a:1", security_protocol="SSL", ssl_ca_location="/nowhere/ca.pem"))
