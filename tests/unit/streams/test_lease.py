"""A worker that has not heard from its group for a session starts nothing, and one that was expelled lets go."""

from __future__ import annotations

import asyncio
import threading
from time import monotonic

from streams.worker.admission.lease import GroupLease
from tests.unit.streams.rig import P0, record, records, rig, until
from tests.unit.streams.test_consumer import Handler, stage


async def turns() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_without_a_heartbeat_there_is_no_bound() -> None:
    assert GroupLease(session=1).until == float("inf")


async def test_a_heartbeat_counts_from_when_it_was_sent() -> None:
    lease = GroupLease(session=8)
    lease.renew(sent=100)
    assert lease.until == 108


async def test_a_heartbeat_of_another_thread_wakes_who_waits() -> None:
    lease = GroupLease(session=60)
    waiting = [asyncio.ensure_future(lease.renewed()) for _ in range(3)]
    await turns()
    waiting[0].cancel()
    threading.Thread(target=lease.renew, args=(monotonic(),)).start()
    await asyncio.wait_for(asyncio.gather(*waiting[1:]), 10)


async def test_no_job_starts_after_the_session_until_the_group_answers() -> None:
    handler = Handler()
    async with rig(handler) as it:
        it.open(P0)
        it.lease.renew(monotonic() - 120)
        it.take(records(0, 30))
        await turns()
        assert not handler.ran
        it.lease.renew(monotonic())
        await it.idle()
        assert len(handler.ran) == 30


async def test_an_expelled_worker_cancels_what_it_runs_at_once() -> None:
    handler = Handler()
    # Waiting for the job, as before an ordinary rebalance, would take as long as the test may.
    async with stage(handler, handover_timeout=50) as on:
        await on.assign(P0)
        on.rig.take([record(0, event="slow")])
        await until(lambda: handler.ran)
        on.group.gone = True
        await asyncio.wait_for(on.revoke(), 10)
        await until(lambda: not on.rig.executor.active)
        assert not on.group.commits


async def test_an_expelled_worker_keeps_nothing_however_soon_it_is_back() -> None:
    handler = Handler()
    async with stage(handler) as on:
        await on.assign(P0)
        before = on.rig.assignment._partitions[P0]
        on.group.gone = True
        await asyncio.wait_for(on.revoke(), 10)
        await on.assign(P0)
        assert on.rig.assignment._partitions[P0] is not before
