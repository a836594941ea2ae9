"""Every setting of a worker, read once from the environment and passed down."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from producers.cluster import Cluster
from producers.routing.topics import TopicNames, queue_topic, scheduled_topic
from producers.settings import ProducerSettings
from schemas.limits import DEFAULT_LIMITS, Limits
from streams.settings.processors import usable_processors


class Settings(BaseSettings):
    """A worker's settings (`STREAMS_*`), with the cluster's (`KAFKA_*`). The README has the table.

    Raises pydantic's ValidationError, which names the variable, when a value is unusable.
    """

    model_config = SettingsConfigDict(env_prefix="STREAMS_", frozen=True, env_ignore_empty=True)

    # Settings of their own: no variable is meant for the whole.
    producer: Annotated[ProducerSettings, NoDecode] = Field(default_factory=ProducerSettings)
    #: First part of every topic's name.
    namespace: str = Field(default="jobs", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")
    #: The pool this worker serves; its consumer group is `<namespace>.<pool>`.
    pool: str = Field(default="default", pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$")
    #: Packages or modules with job modules, comma-separated, beside `streams.jobs`.
    jobs: str = ""
    #: Whether the queues that ship with the project are served.
    shipped_jobs: bool = True
    #: Jobs at once of one queue in this worker.
    concurrency: int = Field(default=200, ge=1, le=100_000)
    #: Processes for CPU-bound handlers.
    processes: int = Field(default_factory=usable_processors, ge=1, le=1024)
    #: Jobs after which such a process is replaced by a new one.
    process_max_jobs: int = Field(default=1000, ge=1)
    #: Bytes of memory beyond which it is replaced, once it has twice what it had after its first job.
    process_max_memory: int = Field(default=512 * 1024 * 1024, ge=1)
    #: Jobs of one queue held in memory, running or waiting.
    buffer_jobs: int = Field(default=10_000, ge=1)
    #: Bytes of one queue held in memory: values, keys and headers.
    buffer_bytes: int = Field(default=32 * 1024 * 1024, ge=1)
    #: Jobs of one queue that wait in memory for their retry, or behind one that does. A hundred thousand behind one key
    #: that fails leave some for the failures of others.
    parked_jobs: int = Field(default=120_000, ge=1)
    #: Bytes of them, as of `buffer_bytes`.
    parked_bytes: int = Field(default=256 * 1024 * 1024, ge=1)
    #: Seconds after its first failure within which a job comes back without a record in its retry topic, and has others
    #: wait behind it without one. A crash meanwhile has it run from its first attempt again. 0: every failure is
    #: written.
    retry_hold: float = Field(default=2.0, ge=0, le=60, allow_inf_nan=False)
    #: Bounds on what others have written: see Limits, which each of them is one of.
    max_batch_bytes: int = Field(default=DEFAULT_LIMITS.batch_bytes, ge=1024 * 1024)
    max_headers: int = Field(default=DEFAULT_LIMITS.headers, ge=1, le=100_000)
    max_depth: int = Field(default=DEFAULT_LIMITS.depth, ge=1, le=200)
    max_items: int = Field(default=DEFAULT_LIMITS.items, ge=1)
    max_schema_nodes: int = Field(default=DEFAULT_LIMITS.schema_nodes, ge=1)
    #: Seconds between two commits, at the least. A crash repeats what finished since the last.
    commit_interval: float = Field(default=0.02, gt=0, le=60, allow_inf_nan=False)
    #: Seconds that running jobs may go on after SIGTERM before they are cancelled.
    stop_timeout: float = Field(default=30.0, ge=0, allow_inf_nan=False)
    #: Seconds that a rebalance waits for running jobs before it goes on without them.
    handover_timeout: float = Field(default=5.0, ge=0, le=50, allow_inf_nan=False)
    #: Seconds without a heartbeat after which the broker gives a worker's partitions to others.
    session_timeout: float = Field(default=8.0, ge=1, le=300, allow_inf_nan=False)
    #: Copies of each topic that the worker creates; -1 is the broker's default.
    replication_factor: Literal[-1] | Annotated[int, Field(ge=1, le=32_767)] = -1
    #: Seconds that a job waits in its retry topic whose schema, type or handler no worker knows yet; 0: not at all.
    schema_wait: float = Field(default=3600.0, ge=0, le=10_000_000, allow_inf_nan=False)
    #: Partitions of the topic of delayed jobs, where a worker makes it.
    scheduled_partitions: int = Field(default=4, ge=1, le=10_000)
    #: Directory for what is made again from the log if it is lost: files of delayed jobs. A temporary one if unset.
    data_dir: Path | None = None
    #: Log one line for every job that is done, not only for dead letters.
    log_jobs: bool = False
    #: Port of the health check on web_host; none when unset.
    web_port: int | None = Field(default=None, ge=1, le=65535)
    web_host: str = "127.0.0.1"

    @field_validator("pool")
    @classmethod
    def _leave_time_alone(cls, pool: str) -> str:
        if pool == "time":
            raise ValueError("no pool can be called time: that is the group by which workers share the delayed jobs")
        return pool

    @property
    def cluster(self) -> Cluster:
        """Where the cluster is, and how to log in to it."""
        return self.producer

    @property
    def limits(self) -> Limits:
        """What one record may make of a worker."""
        return Limits(
            batch_bytes=self.max_batch_bytes,
            headers=self.max_headers,
            depth=self.max_depth,
            items=self.max_items,
            schema_nodes=self.max_schema_nodes,
        )

    @property
    def group(self) -> str:
        """The consumer group of the workers of this pool."""
        return f"{self.namespace}.{self.pool}"

    @property
    def time_group(self) -> str:
        """The consumer group by which workers of all pools share the topic of delayed jobs."""
        return f"{self.namespace}.time"

    @property
    def scheduled_topic(self) -> str:
        """Where delayed jobs wait."""
        return scheduled_topic(self.namespace)

    @property
    def job_packages(self) -> tuple[str, ...]:
        """Names of the packages that declare queues."""
        named = tuple(name.strip() for name in self.jobs.split(",") if name.strip())
        return (("streams.jobs",) if self.shipped_jobs else ()) + named

    def topic(self, queue: str) -> str:
        """Returns the name of a queue's own topic; raises OptionInvalid for what no queue can be called."""
        return queue_topic(self.namespace, queue)

    def topics(self, queue: str) -> TopicNames:
        """Returns the names of a queue's topics; raises OptionInvalid for what no queue can be called."""
        return TopicNames.of(self.namespace, queue)
