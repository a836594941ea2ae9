"""The Faust application: `faust -A streams worker`."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

import faust
from faust.app.base import BootStrategy

from schemas.codec import Codec
from streams.aio.abandonable import abandonable
from streams.aio.blocking_calls import KAFKA
from streams.aio.contained_tasks import contain_exits
from streams.aio.first_error import FirstError
from streams.api.queue import Queue
from streams.application.health import HealthServer
from streams.application.signals import StopSignals
from streams.kafka.admin.topic_changes import PATIENCE
from streams.kafka.admin.topic_settings import warn_of_settings
from streams.kafka.admin.topics import ensure_topics
from streams.logs.library_filters import NowAndThen, tells_something
from streams.settings import Settings
from streams.timers.timekeeper import Timekeeper
from streams.worker.service import WorkerService

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
        """Run until a signal; the exit code is 1 where the broker has not taken the last commit.

        The process ends, whatever has become of its threads: one that asks for a broker may do so for ever.
        """
        try:
            super().execute_from_commandline()
        except SystemExit as ending:
            app: Any = self.app
            if not ending.code and not app.in_order:
                raise SystemExit(1) from None
            raise
        finally:
            _end_within(_LAST_SECONDS)

    def on_worker_shutdown(self) -> None:
        """Begin to stop; see `_failures_told`."""
        with self._failures_told():
            super().on_worker_shutdown()

    def stop_and_shutdown(self) -> None:
        """Stop, and end the loop; see `_failures_told`."""
        with self._failures_told():
            super().stop_and_shutdown()

    @contextmanager
    def _failures_told(self) -> Iterator[None]:
        """Say why the worker does not stop in order, which mode keeps to itself; what made it stop has been told."""
        try:
            yield
        except Exception as error:
            if error is not self.crash_reason:
                logger.critical("the worker could not stop in order: what has not been committed runs again",
                                exc_info=error)  # fmt: skip
            raise

    def _say(self, *arguments: Any, **options: Any) -> None:
        """Say something to the terminal, if it is still there: whoever closes it does not mean to break the worker."""
        with suppress(OSError):
            super()._say(*arguments, **options)

    def _setproctitle(self, *arguments: Any, **options: Any) -> None:
        """Show what it does in lists of processes, if it can: the directory that it names may have been removed, as
        those of old releases are."""
        with suppress(OSError):
            super()._setproctitle(*arguments, **options)

    def _setup_spinner_handler(self, logger: logging.Logger, level: int) -> None:
        """No spinner: it draws with every line of the log, which would be an error once its terminal is closed."""
        self.spinner = None

    def _on_startup_end_spinner(self) -> None:
        super()._on_startup_end_spinner()
        if self.stdout.isatty() and not self.log.logger.isEnabledFor(logging.INFO):
            self.say("ready")

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
    """Faust's App with the life of the worker's service tied to its own."""

    BootStrategy = _Boot

    def __init__(
        self,
        settings: Settings,
        queues: Sequence[Queue],
        codec: Codec,
        service: WorkerService,
        failure: FirstError,
        *,
        timekeeper: Timekeeper | None = None,
        unfit: str = "",
    ) -> None:
        self.settings = settings
        #: Of all schemas that this process knows.
        self.codec = codec
        #: Why it cannot be a worker; other commands may use it all the same.
        self.unfit = unfit
        #: Whether the last stop, if any, has left nothing to run again.
        self.in_order = True
        self._queues = queues
        self._jobs = service
        self._timekeeper = timekeeper
        self._failure = failure
        self._failing: asyncio.Task[None] | None = None
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
        await abandonable(ensure_topics, self.settings, self._queues, PATIENCE)
        await abandonable(warn_of_settings, self.settings, self._queues)
        _spare_the_collector()
        contain_exits(asyncio.get_running_loop())
        self._failing = asyncio.ensure_future(self._crash_on_failure())
        self._jobs.start()
        if self._timekeeper is not None:
            self._timekeeper.start(asyncio.get_running_loop())
        await super().on_start()

    async def _crash_on_failure(self) -> None:
        """Stop the worker because of a fault of its own, once there is one."""
        await self.crash(await self._failure.wait())

    async def on_stop(self) -> None:
        """Finish what runs, within bounds, and commit; then let go of everything else."""
        if self._timekeeper is not None:
            self._timekeeper.stop()
        await super().on_stop()
        await self._jobs.stop()
        if self._timekeeper is not None:
            await KAFKA.run(self._timekeeper.ended, _LAST_SECONDS)
        if self._failing is not None:
            self._failing.cancel()
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
