"""The samples of docs/producers.md, copied from there and run: a worker does the jobs of each."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiokafka.partitioner import murmur2

from tests.pages import Page
from tests.topics import Record, read_all
from tests.waiting import until
from tests.workers import ROOT, Worker, Workers

PAGE = Page(ROOT / "docs" / "producers.md")
PARTITIONS = 12
#: So many that no other placement comes to the same by chance.
KEYS = ["ada", "bob", *(f"customer-{number}" for number in range(10))]

#: Of the slowest build, with nothing in any cache and all others beside it.
BUILD_SECONDS = 900.0
SECONDS = 120.0

JOBS = f"""
from billing.models.invoices import SendInvoice
from streams import JobContext, Queue

invoices = Queue("invoices", partitions={PARTITIONS})


@invoices.job(SendInvoice)
async def send(job: SendInvoice, ctx: JobContext) -> None:
    ctx.logger.info("%s owes %d, due in %d", job.customer, job.cents, job.due.year)
"""


@dataclass(frozen=True)
class Sample:
    """What it is called in ids, the programs that must be there, and how its commands on the page begin."""

    language: str
    needs: tuple[str, ...]
    starts: tuple[str, ...]

    def missing(self) -> list[str]:
        return [program for program in self.needs if shutil.which(program) is None]


SAMPLES = [
    Sample("java", ("java", "mvn"), ("mvn ", "java ")),
    Sample("node", ("node", "npm"), ("npm ", "node ")),
    Sample("go", ("go",), ("go mod", "go run")),
    Sample("shell", ("kcat",), ("sh ",)),
]


@contextmanager
def written(directory: Path) -> Iterator[Path]:
    """A directory with all files of the page, the models of its schema and a module of jobs."""
    for name, text in PAGE.files.items():
        file = directory / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    generate = ["-m", "schemas.generate", "--schemas", "billing/schemas", "--models", "billing/models"]
    subprocess.run([sys.executable, *generate], cwd=directory, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True)
    (directory / "invoice_jobs.py").write_text(JOBS)
    yield directory


def command(start: str) -> str:
    (found,) = [line for line in PAGE.commands if line.startswith(start)]
    return found


class Publishers:
    """All samples that can be run here, side by side."""

    def __init__(self, home: Path, environment: dict[str, str], await_worker: Callable[[], object]) -> None:
        self._home, self._environment, self._await_worker = home, environment, await_worker
        self._pool = ThreadPoolExecutor(len(SAMPLES))
        self.runs: dict[str, Future[None]] = {
            sample.language: self._pool.submit(self._run, sample) for sample in SAMPLES if not sample.missing()
        }

    def _run(self, sample: Sample) -> None:
        *builds, last = (command(start) for start in sample.starts)
        for build in builds:
            self._call(build, BUILD_SECONDS)
        self._await_worker()
        self._call(last.replace("ada bob", " ".join(KEYS)), BUILD_SECONDS)

    def _call(self, line: str, seconds: float) -> None:
        done = subprocess.run(
            line, shell=True, cwd=self._home, env=self._environment, capture_output=True, text=True, check=False,
            timeout=seconds, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"

    def close(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)


@dataclass
class Stage:
    """The worker, what was published for it, and the topic."""

    worker: Worker
    publishers: Publishers
    bootstrap: str
    topic: str


@pytest.fixture(scope="module")
def stage(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    home = tmp_path_factory.mktemp("foreign")
    namespace = f"test-foreign-{os.getpid()}-{home.stat().st_ino}"
    path = os.pathsep.join((str(home), str(ROOT)))
    with written(home):
        workers = Workers(
            "invoice_jobs", namespace, kafka, home, environment={"PYTHONPATH": path}, log_jobs="true"
        )  # fmt: skip
        environment = dict(os.environ) | {"KAFKA_BOOTSTRAP_SERVERS": kafka, "STREAMS_NAMESPACE": namespace}
        with closing(workers), ThreadPoolExecutor(1) as starting:
            started = starting.submit(workers.start)
            with closing(Publishers(home, environment, started.result)) as publishers:
                (worker,) = started.result()
                yield Stage(worker, publishers, kafka, f"{namespace}.invoices")
            workers.stop()


@pytest.mark.timeout(1_200)
@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.language)
def test_a_sample_s_jobs_are_done_and_lie_where_java_places_their_keys(stage: Stage, sample: Sample) -> None:
    if missing := sample.missing():
        pytest.skip(f"{' and '.join(missing)} not installed")
    stage.publishers.runs[sample.language].result(BUILD_SECONDS)
    ids = [f"{sample.language}-{key}" for key in KEYS]

    def all_done() -> bool:
        lines = [line for line in stage.worker.output.splitlines() if "done" in line]
        return all(any(job in line for line in lines) for job in ids)

    until(all_done, within=SECONDS, what=lambda: f"all of {ids} done:\n{stage.worker.tail()}")
    records = {record.header("ce_id"): record for record in read_all(stage.bootstrap, stage.topic)}
    assert [records[job].partition for job in ids] == [place(records[job]) for job in ids]
    prefix = next(shown for line, shown in PAGE.commands.items() if "fingerprints" in line).split()[0]
    assert {(records[job].value or b"")[:10].hex() for job in ids} == {prefix}


def place(record: Record) -> int:
    assert record.key is not None
    return int((murmur2(record.key) & 0x7FFFFFFF) % PARTITIONS)
