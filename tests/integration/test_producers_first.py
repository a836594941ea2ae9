"""Producers that are deployed before workers: what they publish waits for a worker that knows it."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path
from typing import Any

import fastavro
from confluent_kafka import Producer

from schemas import Catalog, generate
from schemas.codec import SINGLE_OBJECT
from schemas.job_schema import JobSchema
from tests.integration.conftest import Fleet
from tests.topics import count, read_all
from tests.waiting import until
from tests.workers import ROOT

PROBE: dict[str, Any] = {
    "type": "record", "name": "Probe", "namespace": "shop.probe", "fields": [{"name": "what", "type": "string"}],
}  # fmt: skip
MODULE = """
from {package}.models.probe import Probe
from streams import JobContext, Queue
from tests.ledger import noted

probe = Queue("probe", partitions=1)

@probe.job(Probe, timeout=20)
async def handle(job: Probe, ctx: JobContext) -> None:
    with noted(ctx.id, ctx.key, 0, ctx.attempt):
        ctx.logger.info("HANDLED %r", job)
"""


def deploy(directory: Path, package: str, *versions: dict[str, Any]) -> list[JobSchema]:
    """A package of jobs whose type has these versions."""
    schemas = directory / package / "schemas" / "probe"
    schemas.mkdir(parents=True)
    for number, version in enumerate(versions, 1):
        (schemas / f"Probe.v{number}.avsc").write_text(json.dumps(version))
    assert generate.main(["--schemas", str(schemas.parent), "--models", str(directory / package / "models")]) == 0
    (directory / package / "__init__.py").touch()
    (directory / package / "jobs.py").write_text(MODULE.format(package=package))
    return Catalog.load(schemas.parent).versions("shop.probe.Probe")


def test_jobs_of_a_version_that_workers_do_not_have_yet(
    fleet: Fleet, kafka: str, namespace: str, tmp_path: Path
) -> None:
    added = {**PROBE, "fields": [*PROBE["fields"], {"name": "extra", "type": "string", "default": ""}]}
    deploy(tmp_path, "older", PROBE)
    first, second = deploy(tmp_path, "newer", PROBE, added)
    workers = fleet("older.jobs", environment={"PYTHONPATH": f"{ROOT}:{tmp_path}"})
    (older,) = workers.start()
    topic = f"{namespace}.probe"
    publish(kafka, topic, second, {"what": "a", "extra": "new"}, key="k", job_id="new")
    publish(kafka, topic, first, {"what": "b"}, key="k", job_id="behind")
    publish(kafka, topic, first, {"what": "c"}, key="other", job_id="aside")
    workers.await_done({"aside"}, within=30)
    until(lambda: count(kafka, f"{topic}.retry") >= 2, within=30, what="the job and the one behind it wait")
    assert older.count(r"retry probe new .*UnknownSchema: no schema has the fingerprint .*waits up to 3600 s") >= 1
    workers.stop()
    waiting = read_all(kafka, f"{topic}.retry")[0]
    assert waiting.header("job-error-type") == "schemas.errors.UnknownSchema"
    assert waiting.header("job-attempt") == "0"
    (newer,) = workers.start(jobs="newer.jobs")
    workers.await_done({"new", "behind"}, within=30)
    workers.stop()
    assert [run.job for run in workers.ledger.runs()] == ["aside", "new", "behind"]
    assert newer.count(r"HANDLED Probe\(what='a', extra='new'\)") == 1
    assert count(kafka, f"{topic}.dead") == 0


def publish(bootstrap: str, topic: str, schema: JobSchema, payload: dict[str, Any], *, key: str, job_id: str) -> None:
    """Publish as a producer does that has this version of the schema, and is no part of this process."""
    body = BytesIO()
    fastavro.schemaless_writer(body, schema.parsed, payload)
    producer = Producer({"bootstrap.servers": bootstrap, "partitioner": "murmur2_random"})
    value = SINGLE_OBJECT + schema.fingerprint + body.getvalue()
    producer.produce(topic, value, key.encode(), headers=[("ce_id", job_id.encode())])
    assert producer.flush(30) == 0
