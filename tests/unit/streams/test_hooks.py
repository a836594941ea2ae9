"""Hooks around a run: entered and left where the handler runs, whatever becomes of it."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

import pytest

from schemas.models.webhook import DeliverWebhook
from streams.api.context import JobContext
from streams.api.hooks import Around
from streams.api.queue import Queue
from streams.core.retry.backoff import Fixed
from streams.core.retry.policy import NO_RETRY, RetryPolicy
from streams.errors import DefinitionError
from tests.unit.streams.rig import P0, TOPIC, Rig, record, rig, until

SPAN = contextvars.ContextVar("SPAN", default="none")


class Story:
    """What happens, in its order, and where: by thread and by what the context holds."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.threads: set[int] = set()

    def tell(self, what: str) -> None:
        self.told.append(what)
        self.threads.add(threading.get_ident())

    def hook(self, name: str) -> Around:
        @contextmanager
        def plain(job: Any, ctx: JobContext) -> Iterator[None]:
            self.tell(f"{name} in {job.event}")
            token = SPAN.set(name)
            try:
                yield
            except BaseException as error:
                self.tell(f"{name} sees {type(error).__name__}")
                raise
            finally:
                SPAN.reset(token)
                self.tell(f"{name} out")

        return plain

    def async_hook(self, name: str) -> Around:
        plain = self.hook(name)

        @asynccontextmanager
        async def asynchronous(job: Any, ctx: JobContext) -> AsyncIterator[None]:
            await asyncio.sleep(0)
            with plain(job, ctx):  # type: ignore[union-attr]
                yield
            await asyncio.sleep(0)

        return asynchronous


async def run(handler: Any, around: Any, *, retry: RetryPolicy = NO_RETRY, timeout: float = 30) -> Rig:
    async with rig(handler, around=around, retry=retry, timeout=timeout) as it:
        it.open(P0)
        it.take([record(0, "a", "job")])
        await it.idle()
        return it


@pytest.mark.parametrize("plain", [False, True])
async def test_hooks_are_entered_and_left_where_the_handler_runs(plain: bool) -> None:
    story = Story()

    def work(job: Any, ctx: JobContext) -> None:
        story.tell(f"run in {SPAN.get()}")

    async def on_loop(job: Any, ctx: JobContext) -> None:
        await asyncio.sleep(0)
        work(job, ctx)

    it = await run(work if plain else on_loop, [story.hook("outer"), story.hook("inner")])
    assert story.told == ["outer in job", "inner in job", "run in inner", "inner out", "outer out"]
    assert len(story.threads) == 1
    assert (threading.get_ident() in story.threads) != plain
    assert not it.letters.sent


async def test_an_async_hook_around_an_async_handler() -> None:
    story = Story()

    async def handler(job: Any, ctx: JobContext) -> None:
        story.tell(f"run in {SPAN.get()}")

    await run(handler, (story.hook("outer"), story.async_hook("inner")))
    assert story.told == ["outer in job", "inner in job", "run in inner", "inner out", "outer out"]


@pytest.mark.parametrize("plain", [False, True])
async def test_a_failure_passes_through_them_on_every_run(plain: bool) -> None:
    story = Story()

    def work(job: Any, ctx: JobContext) -> None:
        raise ValueError("as it was")

    async def on_loop(job: Any, ctx: JobContext) -> None:
        work(job, ctx)

    policy = RetryPolicy(max_attempts=2, backoff=Fixed(0))
    it = await run(work if plain else on_loop, story.hook("hook"), retry=policy)
    assert story.told == ["hook in job", "hook sees ValueError", "hook out"] * 2
    (letter,) = it.letters.to(f"{TOPIC}.dead")
    message = dict(letter.headers)["job-error-message"].decode()
    assert message.startswith("as it was")
    assert "hook" not in message


async def test_a_timeout_leaves_the_hook_of_an_async_handler() -> None:
    story = Story()

    async def handler(job: Any, ctx: JobContext) -> None:
        await asyncio.Event().wait()

    it = await run(handler, story.async_hook("hook"), timeout=0.05)
    assert story.told == ["hook in job", "hook sees CancelledError", "hook out"]
    assert it.letters.header("job-error-type") == ["streams.errors.JobTimeout"]


async def test_a_thread_that_is_left_behind_leaves_its_hook_when_its_handler_ends() -> None:
    story, go = Story(), threading.Event()

    def handler(job: Any, ctx: JobContext) -> None:
        go.wait(20)

    await run(handler, story.hook("hook"), timeout=0.05)
    assert story.told == ["hook in job"]
    go.set()
    await until(lambda: story.told == ["hook in job", "hook out"])


@contextmanager
def fails_before(job: Any, ctx: JobContext) -> Iterator[None]:
    if job.event:
        raise ConnectionError("no database")
    yield


@contextmanager
def fails_after(job: Any, ctx: JobContext) -> Iterator[None]:
    yield
    raise ConnectionError("no database")


@contextmanager
def fails_instead(job: Any, ctx: JobContext) -> Iterator[None]:
    try:
        yield
    finally:
        raise ConnectionError("no database")


@asynccontextmanager
async def fails_async(job: Any, ctx: JobContext) -> AsyncIterator[None]:
    yield
    raise ConnectionError("no database")


def no_manager(job: Any, ctx: JobContext) -> Any:
    return None


async def fine(job: Any, ctx: JobContext) -> None: ...


def fine_too(job: Any, ctx: JobContext) -> None: ...


async def bad(job: Any, ctx: JobContext) -> None:
    raise ValueError("bad")


@pytest.mark.parametrize(
    ("hook", "handler", "error"),
    [
        (fails_before, fine, "ConnectionError"),
        (fails_before, fine_too, "ConnectionError"),
        (fails_after, fine, "ConnectionError"),
        (fails_after, fine_too, "ConnectionError"),
        (fails_instead, bad, "ConnectionError"),
        (fails_async, fine, "ConnectionError"),
        (no_manager, fine, "streams.errors.DefinitionError"),
        (no_manager, fine_too, "streams.errors.DefinitionError"),
    ],
)
async def test_a_hook_that_fails_is_the_jobs_failure_and_named(hook: Any, handler: Any, error: str) -> None:
    it = await run(handler, hook)
    assert it.letters.header("job-error-type") == [error]
    expected = f"raised by the hook {__name__}.{hook.__name__} around the run"
    assert expected in it.letters.header("job-error-message")[0]


async def test_an_outer_hook_is_left_when_an_inner_one_fails() -> None:
    story = Story()
    await run(fine, [story.hook("outer"), fails_before])
    assert story.told == ["outer in job", "outer sees ConnectionError", "outer out"]


async def test_a_hook_may_make_a_failure_good() -> None:
    @contextmanager
    def forgiving(job: Any, ctx: JobContext) -> Iterator[None]:
        with suppress(ValueError):
            yield

    assert not (await run(bad, forgiving)).letters.sent


async def test_a_hook_publishes_follow_ups_and_counts_towards_the_timeout() -> None:
    @contextmanager
    def follows(job: Any, ctx: JobContext) -> Iterator[None]:
        yield
        ctx.publish(DeliverWebhook(url=job.url, event="next", body=""), queue="webhook")

    assert (await run(fine_too, follows)).letters.to(TOPIC)

    @contextmanager
    def slow(job: Any, ctx: JobContext) -> Iterator[None]:
        time.sleep(0.3)
        yield

    assert (await run(fine_too, slow, timeout=0.05)).letters.header("job-error-type") == ["streams.errors.JobTimeout"]


def bare_generator(job: Any, ctx: JobContext) -> Iterator[None]:
    yield


async def bare_async(job: Any, ctx: JobContext) -> AsyncIterator[None]:
    yield


@contextmanager
def takes_nothing() -> Iterator[None]:
    yield


class AsyncOnly:
    def __init__(self, job: Any, ctx: JobContext) -> None: ...

    async def __aenter__(self) -> None: ...

    async def __aexit__(self, *error: object) -> None: ...


@pytest.mark.parametrize(
    ("around", "remedy"),
    [
        ("connections", "a function under contextlib.contextmanager"),
        ([fails_after, None], "a function under contextlib.contextmanager"),
        (bare_generator, "put @contextlib.contextmanager above it"),
        (bare_async, "put @contextlib.asynccontextmanager above it"),
        (takes_nothing, "cannot be called with a job and its context"),
    ],
)
def test_what_cannot_be_a_hook(around: Any, remedy: str) -> None:
    with pytest.raises(DefinitionError, match=remedy):
        Queue("email", around=around)


@pytest.mark.parametrize("hook", [fails_async, AsyncOnly])
def test_an_async_hook_around_a_plain_handler(hook: Any) -> None:
    queue = Queue("webhook", around=hook)
    with pytest.raises(DefinitionError, match=r"is async and .*fine_too is not"):
        queue.job(DeliverWebhook)(fine_too)
    queue.job(DeliverWebhook)(fine)


def test_another_process_must_find_the_hook_around_a_cpu_bound_handler() -> None:
    @contextmanager
    def local(job: Any, ctx: JobContext) -> Iterator[None]:
        yield

    queue = Queue("webhook", around=local)
    with pytest.raises(
        DefinitionError, match=r"must be able to import .*local, the hook around it: move it to the top"
    ):
        queue.job(DeliverWebhook, cpu_bound=True)(fine_too)


def test_queues_without_hooks_call_their_handlers_as_they_are() -> None:
    assert Queue("webhook").around == ()
