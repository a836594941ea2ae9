"""The line of tasks that publish on one event loop."""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from producers.delivery.line import Line

MANY = 2_000
#: Of the loop; more than a batch of the line needs to come and go.
TURNS_OF_A_BATCH = 4


class Sender:
    """Sends numbers as AsyncJobProducer sends jobs; while it has no `room` the first in line waits."""

    def __init__(self) -> None:
        self.line = Line(asyncio.get_running_loop())
        self.sent: list[int] = []
        self.room = asyncio.Event()
        self.room.set()

    async def send(self, number: int) -> None:
        if self.line.may_pass() and self.room.is_set():
            self.sent.append(number)
            return
        async with self.line.place():
            while not self.room.is_set():
                await self.room.wait()
            self.sent.append(number)


class Turns:
    """Counts how often the loop does its other work."""

    def __init__(self) -> None:
        self.count = 0
        self._over = False
        self._turn()

    def _turn(self) -> None:
        self.count += 1
        if not self._over:
            asyncio.get_running_loop().call_soon(self._turn)

    def stop(self) -> None:
        self._over = True


async def test_tasks_go_in_the_order_of_their_calls_and_many_in_a_turn() -> None:
    sender, turns = Sender(), Turns()
    await asyncio.gather(*(sender.send(number) for number in range(MANY)))
    turns.stop()
    assert sender.sent == [*range(MANY)]
    assert MANY / 256 <= turns.count <= TURNS_OF_A_BATCH * MANY / 256


async def test_who_sends_without_end_lets_the_loop_do_its_other_work() -> None:
    sender, turns = Sender(), Turns()
    for number in range(MANY):
        await sender.send(number)
    turns.stop()
    assert sender.sent == [*range(MANY)]
    assert turns.count >= MANY / 256


async def test_a_line_ends_though_each_task_comes_back_at_once() -> None:
    """One of which a single task goes in each turn of the loop would stay for ever."""
    width = 300
    sender, turns = Sender(), Turns()

    async def publish(first: int) -> None:
        for number in range(first, 10 * MANY, width):
            await sender.send(number)
            await asyncio.sleep(0)
            sender.line.turned()

    await asyncio.gather(*(publish(first) for first in range(width)))
    turns.stop()
    assert sorted(sender.sent) == [*range(10 * MANY)]
    assert turns.count <= TURNS_OF_A_BATCH * 10 * MANY / 256


@pytest.mark.parametrize("seed", range(20))
async def test_the_order_holds_through_full_buffers_and_cancellations(seed: int) -> None:
    random = Random(seed)
    sender = Sender()
    tasks: list[asyncio.Task[None]] = []
    cancelled = 0
    for number in range(MANY):
        tasks.append(asyncio.create_task(sender.send(number)))
        chance = random.random()
        if chance < 0.02:
            sender.room.clear()
        elif chance < 0.04:
            sender.room.set()
        elif chance < 0.06:
            waiting = [each for each in tasks if not each.done()]
            cancelled += bool(waiting) and random.choice(waiting).cancel()
        elif chance < 0.5:
            await asyncio.sleep(0)
    sender.room.set()
    await asyncio.wait(tasks, timeout=20)
    assert sender.sent == sorted(sender.sent)
    assert set(sender.sent) == {number for number, task in enumerate(tasks) if not task.cancelled()}
    assert not sender.line.busy()
    assert cancelled, "the test cancels some"


async def test_a_place_is_left_by_who_is_cancelled_as_it_is_called() -> None:
    sender = Sender()
    sender.room.clear()
    first, second = (asyncio.create_task(sender.send(number)) for number in range(2))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    first.cancel()
    sender.room.set()
    await asyncio.wait_for(second, 20)
    assert sender.sent == [1]
