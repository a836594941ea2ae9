"""No-op jobs of services that use a schema registry: written with the worker's own schema, and with a later one."""

from __future__ import annotations

import json
import tempfile
from contextlib import ExitStack, closing
from dataclasses import asdict
from io import BytesIO
from pathlib import Path
from typing import Any

import fastavro

from schemas import Codec, Registry, RegistrySettings, shipped
from schemas.models.email import SendEmail
from tests.benchmarks import backlog
from tests.benchmarks.contenders import ROOT, measure, note, worker
from tests.benchmarks.figures import Figure, Goal, Scale, shares
from tests.benchmarks.noop import BACKLOG, PARTITIONS
from tests.registries import RegistryServer

QUEUE = "noop"
_SCHEMA = ROOT / "schemas" / "jobs" / "email" / "SendEmail.v1.avsc"


class _LaterCodec(Codec):
    """That of a service of a later version, whose schema has one field more."""

    def __init__(self, registry: Registry) -> None:
        super().__init__(shipped(), registry)
        self._later: dict[str, Any] = json.loads(_SCHEMA.read_text("utf-8"))
        self._later["fields"].append({"name": "priority", "type": "int", "default": 0})
        self._parsed = fastavro.parse_schema(self._later)

    def encode(self, payload: object, topic: str) -> bytes:
        assert isinstance(payload, SendEmail)
        assert self.registry is not None
        number = self.registry.schema_id(topic, "jobs.email.SendEmail", json.dumps(self._later))
        body = BytesIO()
        fastavro.schemaless_writer(body, self._parsed, {**asdict(payload), "priority": 1})
        return b"\x00" + number.to_bytes(4, "big") + body.getvalue()


def run(bootstrap: str, scale: Scale) -> list[Figure]:
    """Measure jobs without a registry, with one, and of a later schema, in turn."""
    jobs = scale.jobs(BACKLOG)
    found: dict[str, list[float]] = {"without": [], "same": [], "later": []}
    with ExitStack() as stack:
        data = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(closing(RegistryServer(data)))
        server.start()
        registry = Registry(RegistrySettings(url=server.url))
        codecs = {"without": None, "same": Codec(shipped(), registry), "later": _LaterCodec(registry)}
        namespaces = {kind: stack.enter_context(backlog.queue(bootstrap, QUEUE, PARTITIONS)) for kind in found}
        for kind, codec in codecs.items():
            backlog.publish(bootstrap, namespaces[kind], QUEUE, jobs, codec=codec)
        for number in range(1, scale.runs + 1):
            note(f"registry, run {number} of {scale.runs}")
            for kind, rates in found.items():
                settings = {} if kind == "without" else {"SCHEMA_REGISTRY_URL": server.url}
                rates.append(measure(worker(f"registry {kind}", bootstrap, namespaces[kind], **settings), jobs).rate)
    name = "no-op jobs with a schema registry"
    return [
        Figure(name, "jobs/s", found["same"]),
        Figure(f"{name}, to none", "%", shares(found["same"], found["without"]), Goal(">=", 90)),
        Figure(f"{name}, of a later schema, to none", "%", shares(found["later"], found["without"]), Goal(">=", 50)),
    ]
