"""The Faust application: `faust -A streams worker`."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import sys
import threading
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import faust
from faust.app.base import BootStrategy

from schemas.catalog import shipped
from schemas.codec import Codec
from schemas.limits import Limits
from schemas.registry import Registry
from streams.aio.abandonable import abandonable
from streams.aio.blocking_calls import REGISTRY
from streams.aio.contained_tasks import contain_exits
from streams.api.discovery import load_queues
from streams.api.queue import Queue
from streams.application.assembly import Engine
from streams.application.health import HealthServer, add_health
from streams.application.signals import StopSignals
from streams.errors import SetupError
from streams.kafka.admin.topic_settings import warn_of_settings
from streams.kafka.admin.topics import ensure_topics
from streams.kafka.consumer.faust_consumer import Transport, Wiring
from streams.kafka.retry_topic.reader import RetryTopicReader
from streams.logs.library_filters import NowAndThen, tells_something
from streams.settings import Settings
from streams.settings.environment import check_shipped_jobs, read_settings, warn_of_foreign, warn_of_unknown

logger = logging.getLogger(__name__)


#: How long the process may take to leave its group and end, once its jobs have ended. Seconds.
_LAST_SECONDS = 15.0


_FOR_EVER = 1e9


class _Boot(BootStrategy):
    """Starts no producer of Faust's, since outcomes need one that waits for the broker's word, and no web server unless
    a port is set, whatever the command line's default says."""

    enable_kafka_producer = False

    def _should_enable_web(self) -> bool:
        app: Any = self.app
        return app.settings.web_port is not None


class Worker(faust.Worker):
    """Faust's process around the application; a second signal ends it at once, and above the level of debug its log
    leaves the libraries' steps out.

    Its name stands in the log: [^Worker].
    """

    def _install_signal_handlers_unix(self) -> None:
        super()._install_signal_handlers_unix()
        StopSignals(self.loop, self._schedule_shutdown).install()

    def execute_from_commandline(self) -> NoReturn:
        """Run until a signal; the exit code is 1 where the broker has not taken the last commit."""
        try:
            super().execute_from_commandline()
        except SystemExit as ending:
            app: Any = self.app
            if not ending.code and not app.in_order:
                raise SystemExit(1) from None
            raise

    def _enter_debugger(self) -> None:
        """Say that SIGUSR2 does nothing: Faust's debugger would wait for a terminal, and all jobs with it."""
        logger.warning("SIGUSR2 does nothing here; SIGUSR1 shows what each thread and task is at")

    def on_setup_root_logger(self, logger: logging.Logger, level: int) -> None:
        super().on_setup_root_logger(logger, level)
        if level > logging.DEBUG:
            for handler in logger.handlers:
                handler.addFilter(tells_something)
                handler.addFilter(NowAndThen())


class JobsApp(faust.App):
    """Faust's App with the engine's life tied to its own."""

    BootStrategy = _Boot

    def __init__(self, settings: Settings, engine: Engine, *, unfit: str = "") -> None:
        self.settings: Settings = settings
        #: Encodes and decodes jobs' payloads.
        self.codec: Codec = engine.codec
        #: Why it cannot be a worker; other commands may use it all the same.
        self.unfit = unfit
        #: Whether the last stop, if any, has left nothing to run again.
        self.in_order = True
        self.engine = engine
        super().__init__(
            settings.group,
            broker=[f"kafka://{server.strip()}" for server in settings.cluster.bootstrap_servers.split(",")],
            Worker=Worker,
            autodiscover=False,
            topic_allow_declare=False,
            topic_disable_leader=True,
            table_standby_replicas=1,
            stream_wait_empty=True,
            # What Faust waits for partitions to be opened after a rebalance. When that is over it gives the opening up
            # for good and says nothing, so it must not be over: a broker may be away for however long.
            broker_request_timeout=_FOR_EVER,
            broker_session_timeout=settings.session_timeout,
            web_enabled=settings.web_port is not None,
            web_host=settings.web_host,
            web_bind=settings.web_host,
            web_port=settings.web_port or 6066,
            web_tables_enabled=False,
            web_router_enabled=False,
            # Else some eighty variables (APP_VERSION, WEB_PORT, BROKER_URL ...) would win over these arguments, and
            # others' programs, or Kubernetes for a service of such a name, set them.
            env={},
        )
        # With FAUST_STRICT its settings may be read only from here on.
        self.finalize()

    def _new_web(self) -> HealthServer:
        return HealthServer(self)

    def _init_fixups(self) -> Any:
        """None: Faust's one for Django goes by DJANGO_SETTINGS_MODULE."""
        return []

    def _create_directories(self) -> None:
        """Nothing: no table is kept on disk."""

    async def on_start(self) -> None:
        """Make sure of the topics before anything subscribes to them."""
        await abandonable(ensure_topics, self.settings, self.engine.queues)
        await abandonable(warn_of_settings, self.settings, self.engine.queues)
        _spare_the_collector()
        contain_exits(asyncio.get_running_loop())
        self.engine.start(self.fail)
        await super().on_start()

    def fail(self, error: BaseException) -> None:
        """Stop the worker because of a fault of its own."""
        self.failing = asyncio.ensure_future(self.crash(error))

    async def on_stop(self) -> None:
        """Finish what runs, within bounds, and commit; then let go of everything else."""
        await super().on_stop()
        await self.engine.stop()
        self._say_goodbye()
        _end_within(_LAST_SECONDS)

    def _say_goodbye(self) -> None:
        """Say how it ended: the last line, since what clients say of leaving tells nobody anything."""
        consumer: Any = self._consumer
        self.in_order = consumer is None or consumer.committed_last
        if self.in_order:
            logger.info("stopped: what has finished is committed, all else is left to other workers")
        else:
            logger.error("stopped, and the broker has not taken the last commit: what has finished since the one before"
                         " runs again, as do the jobs that were cancelled")  # fmt: skip
        for name in ("aiokafka", "streams.kafka.producer.client"):
            logging.getLogger(name).setLevel(logging.CRITICAL)


def _end_within(seconds: float) -> None:
    """End the process even when a job has left a thread or a task that will not end; everything is committed by now."""
    last = threading.Timer(seconds, os._exit, (1,))
    last.daemon = True
    last.start()


def _spare_the_collector() -> None:
    """Leave what was imported out of garbage collections, and make them rarer.

    A worker holds thousands of records that are no garbage; with the default of 700 new objects a fifth of its time
    went into looking at them.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


def build_app(settings: Settings | None = None) -> JobsApp:
    """Build the worker's application from the environment; raises SetupError and whatever a job module raises."""
    settings = settings or read_settings()
    if (here := str(Path.cwd())) not in sys.path:
        # Job modules are looked for where the worker was started, as `faust -A` itself does.
        sys.path.insert(0, here)
    try:
        queues = load_queues(settings.job_packages)
    finally:
        warn_of_unknown(os.environ, settings)
        warn_of_foreign(os.environ)
    check_shipped_jobs(settings)
    served = [queue for queue in queues if queue.pool == settings.pool]
    engine = Engine(settings, served, _codec(queues, settings.limits))
    app = JobsApp(settings, engine, unfit="" if served else _nothing_served(queues, settings.pool))
    logs = RetryTopicReader(settings.cluster, partial(ensure_topics, settings, served))
    wiring = Wiring(settings, engine.assignment, logs, engine.quarantine, engine.lease, engine.cancel_running)
    app.transport = Transport(app.conf.broker_consumer, app, wiring)
    for queue in served:
        _add_agent(app, queue)
    if settings.web_port is not None:
        add_health(app)
    return app


def _nothing_served(queues: list[Queue], pool: str) -> str:
    pools = ", ".join(sorted({queue.pool for queue in queues})) or "none"
    return (
        f"no queue belongs to pool {pool!r}; pools with queues: {pools}. Set STREAMS_POOL to one of them, name the"
        f" package of your queues in STREAMS_JOBS, or declare a queue of this pool: Queue(…, pool={pool!r})"
    )


def _codec(queues: list[Queue], limits: Limits) -> Codec:
    catalog = shipped()
    for queue in queues:
        for job in queue:
            catalog.add_model(job.model)
    try:
        return Codec(catalog, Registry.from_environment(), run_blocking=REGISTRY.run, limits=limits)
    except ValueError as error:
        raise SetupError(
            f"no schema registry can be reached with these SCHEMA_REGISTRY_* variables: {error}"
        ) from error


def _add_agent(app: JobsApp, queue: Queue) -> None:
    topic = app.topic(app.settings.topic(queue.name), key_type=bytes, value_type=bytes)

    async def consume(stream: Any) -> None:
        events: AsyncIterator[Any] = stream.noack().events()
        async for event in events:
            _take(app, event.value)

    app.agent(topic, name=f"{app.settings.namespace}.{queue.name}", concurrency=1)(consume)


def _take(app: JobsApp, batch: Any) -> None:
    try:
        app.engine.take(batch)
    except Exception as error:
        logger.critical("a batch of %s could not be taken in: the worker stops", batch.tp, exc_info=error)
        app.fail(error)
