"""Queues and handlers as job modules declare them; what cannot work is said at once, with the remedy."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from schemas.errors import ModelInvalid
from schemas.models.email import SendEmail
from schemas.models.webhook import DeliverWebhook
from streams import DEFAULT_RETRY, NO_RETRY, DefinitionError, JobContext, Queue, RetryPolicy
from streams.api.queue import DEFAULT_TIMEOUT, HandlerKind


async def asynchronous(job: SendEmail, ctx: JobContext) -> None: ...


async def either(job: SendEmail | DeliverWebhook, ctx: JobContext) -> None: ...


def plain(job: SendEmail, ctx: JobContext) -> None: ...


class Service:
    async def method(self, job: SendEmail, ctx: JobContext) -> None: ...

    async def __call__(self, job: SendEmail, ctx: JobContext) -> None: ...


def decorated(handler: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(handler)
    def wrapper(*args: Any) -> Any:
        return handler(*args)

    return wrapper


@pytest.mark.parametrize(
    ("handler", "cpu_bound", "kind"),
    [
        (asynchronous, False, HandlerKind.ASYNC),
        (Service().method, False, HandlerKind.ASYNC),
        (Service(), False, HandlerKind.ASYNC),
        (functools.partial(asynchronous), False, HandlerKind.ASYNC),
        (plain, False, HandlerKind.THREAD),
        (lambda job, ctx: None, False, HandlerKind.THREAD),
        (lambda *args: None, False, HandlerKind.THREAD),
        (plain, True, HandlerKind.PROCESS),
    ],
)
def test_a_handler_runs_where_its_kind_says(handler: Callable[..., Any], cpu_bound: bool, kind: HandlerKind) -> None:
    queue = Queue("email")
    assert queue.job(SendEmail, cpu_bound=cpu_bound)(handler) is handler
    (definition,) = queue
    assert definition.kind is kind
    assert definition.job_type == "jobs.email.SendEmail"
    assert definition.model is SendEmail
    assert definition is queue.get("jobs.email.SendEmail")
    assert queue.cpu_bound is cpu_bound


def test_defaults() -> None:
    queue = Queue("email")
    queue.job(SendEmail)(asynchronous)
    assert (queue.partitions, queue.pool, queue.concurrency, queue.cpu_bound) == (12, "default", None, False)
    assert queue.get("jobs.email.SendEmail").timeout == DEFAULT_TIMEOUT  # type: ignore[union-attr]
    assert queue.get("jobs.email.Nothing") is None
    assert repr(queue) == "Queue('email', partitions=12, pool='default')"


@pytest.mark.parametrize(("timeout", "seconds"), [(30, 30.0), (0.5, 0.5), (timedelta(minutes=2), 120.0)])
def test_a_timeout_is_seconds_or_a_timedelta(timeout: float | timedelta, seconds: float) -> None:
    queue = Queue("email")
    queue.job(SendEmail, timeout=timeout)(asynchronous)
    assert [definition.timeout for definition in queue] == [seconds]


def test_a_job_has_its_own_policy_or_its_queues() -> None:
    patient = RetryPolicy(max_attempts=100)
    queue = Queue("mixed", retry=patient)
    queue.job(SendEmail)(either)
    queue.job(DeliverWebhook, retry=NO_RETRY)(either)
    assert [definition.retry for definition in queue] == [patient, NO_RETRY]
    assert Queue("email").retry is DEFAULT_RETRY
    assert (Queue("email").order, Queue("email", order="none").order) == ("key", "none")


def test_several_types_share_a_queue() -> None:
    queue = Queue("mixed")
    queue.job(SendEmail)(either)
    queue.job(DeliverWebhook)(either)
    assert {definition.job_type for definition in queue} == {"jobs.email.SendEmail", "jobs.webhook.DeliverWebhook"}


# -- misuse -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "e mail", "a.b", "é", "-a", "_a", "a" * 101, "a/b", "a\n", None, 7])
def test_a_name_that_no_topic_can_have(name: Any) -> None:
    with pytest.raises(DefinitionError, match=r"queue.*letters, digits"):
        Queue(name)
    with pytest.raises(DefinitionError, match=r"pool.*letters, digits"):
        Queue("email", pool=name)


@pytest.mark.parametrize("name", ["scheduled", "state", "control"])
def test_a_name_of_the_systems_own(name: str) -> None:
    with pytest.raises(DefinitionError, match="another name"):
        Queue(name)
    Queue("email", pool=name)


@pytest.mark.parametrize("count", [0, -1, 1.5, "3", True])
def test_a_count_that_is_none(count: Any) -> None:
    with pytest.raises(DefinitionError, match="partitions must be a whole number from 1 on"):
        Queue("email", partitions=count)
    with pytest.raises(DefinitionError, match="concurrency must be a whole number from 1 on"):
        Queue("email", concurrency=count)


def test_a_count_that_kafka_cannot_tell_of() -> None:
    with pytest.raises(DefinitionError, match="partitions must be 2,147,483,647 at the most"):
        Queue("email", partitions=2**31)


@pytest.mark.parametrize(
    "timeout", [0, -1, float("inf"), float("nan"), 10**400, "30", True, None, timedelta(0), timedelta(seconds=-1)]
)
def test_a_timeout_that_is_none(timeout: Any) -> None:
    with pytest.raises(DefinitionError, match="timeout must be a number of seconds above 0"):
        Queue("email").job(SendEmail, timeout=timeout)


@pytest.mark.parametrize("policy", [3, "none", False, RetryPolicy])
def test_a_policy_that_is_none(policy: Any) -> None:
    with pytest.raises(DefinitionError, match=r"RetryPolicy\(max_attempts=5\), or NO_RETRY"):
        Queue("email", retry=policy)
    with pytest.raises(DefinitionError, match=r"RetryPolicy\(max_attempts=5\), or NO_RETRY"):
        Queue("email").job(SendEmail, retry=policy)


@pytest.mark.parametrize("order", ["keys", None, True, ["key"]])
def test_an_order_that_is_none(order: Any) -> None:
    with pytest.raises(DefinitionError, match=r'"key" .* or "none"'):
        Queue("email", order=order)


def yields(job: SendEmail, ctx: JobContext) -> Iterator[None]:
    yield


async def yields_async(job: SendEmail, ctx: JobContext) -> AsyncIterator[None]:
    yield


class Yields:
    def __call__(self, job: SendEmail, ctx: JobContext) -> Iterator[None]:
        yield


def no_context(job: SendEmail) -> None: ...


def too_many(job: SendEmail, ctx: JobContext, third: int) -> None: ...


def by_name_only(*, job: SendEmail, ctx: JobContext) -> None: ...


async def no_context_async(job: SendEmail) -> None: ...


@pytest.mark.parametrize(
    ("handler", "cpu_bound", "remedy"),
    [
        ("send", False, "a handler is a function"),
        (None, False, "a handler is a function"),
        (yields, False, "yields; a handler returns"),
        (yields_async, False, "yields; a handler returns"),
        (functools.partial(yields), False, "yields; a handler returns"),
        (Yields(), False, "yields; a handler returns"),
        (functools.partial(Yields()), False, "yields; a handler returns"),
        (no_context, False, r"must take the job and its context: `def no_context\(job, ctx\)`"),
        (no_context_async, False, "must take the job and its context"),
        (too_many, False, "must take the job and its context"),
        (by_name_only, False, "must take the job and its context"),
        (int, False, "must take the job and its context"),
        (asynchronous, True, "make it a plain `def`, or drop cpu_bound"),
        (lambda job, ctx: None, True, "move it to the top level"),
        (functools.partial(plain), True, "move it to the top level"),
        (Service().method, True, "plain `def`"),
    ],
)
def test_a_handler_that_cannot_work(handler: Any, cpu_bound: bool, remedy: str) -> None:
    queue = Queue("email")
    with pytest.raises(DefinitionError, match=remedy):
        queue.job(SendEmail, cpu_bound=cpu_bound)(handler)
    assert list(queue) == []


def test_a_cpu_bound_handler_within_a_function() -> None:
    def inner(job: SendEmail, ctx: JobContext) -> None: ...

    with pytest.raises(DefinitionError, match="move it to the top level"):
        Queue("email").job(SendEmail, cpu_bound=True)(inner)


def test_a_cpu_bound_handler_of_the_main_module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain, "__module__", "__main__")
    with pytest.raises(DefinitionError, match="another process must be able to import it"):
        Queue("email").job(SendEmail, cpu_bound=True)(plain)


def test_two_handlers_of_one_type_on_a_queue() -> None:
    queue = Queue("email")
    queue.job(SendEmail)(asynchronous)
    with pytest.raises(DefinitionError, match=r"two handlers .*test_queue.asynchronous and .*plain; keep one"):
        queue.job(SendEmail)(plain)
    assert [definition.handler for definition in queue] == [asynchronous]


def test_the_decorator_without_its_model() -> None:
    with pytest.raises(DefinitionError, match=r"@queue.job\(SendEmail\)"):
        Queue("email").job(asynchronous)  # type: ignore[arg-type]


@pytest.mark.parametrize("model", [int, Service])
def test_a_class_that_is_no_model(model: type) -> None:
    with pytest.raises((DefinitionError, ModelInvalid), match=r"schemas\.generate"):
        Queue("email").job(model)


def test_a_handler_that_says_it_takes_another_model() -> None:
    def takes_a_webhook(job: DeliverWebhook, ctx: JobContext) -> None: ...

    with pytest.raises(DefinitionError, match=r"declared for SendEmail and annotated as taking DeliverWebhook"):
        Queue("email").job(SendEmail)(takes_a_webhook)
    Queue("webhook").job(DeliverWebhook)(takes_a_webhook)


def test_annotations_that_say_nothing_of_a_model_are_no_fault() -> None:
    def takes_anything(job: object, ctx: OnlyForTypeCheckers) -> None: ...  # type: ignore[name-defined] # noqa: F821

    Queue("email").job(SendEmail)(takes_anything)
