"""A plain Faust agent, one event at a time, with Faust's own settings: what the no-op jobs are compared with."""

from __future__ import annotations

import os
from io import BytesIO
from typing import Any

import faust
from fastavro import schemaless_reader

from tests.benchmarks.bare_loop import BODY, GROUP, TOPIC, do_nothing, writer_schema

app = faust.App(
    os.environ[GROUP],
    broker=f"kafka://{os.environ['KAFKA_BOOTSTRAP_SERVERS']}",
    autodiscover=False,
    web_enabled=False,
    topic_disable_leader=True,
    consumer_auto_offset_reset="earliest",
    datadir=os.environ["BENCH_SCRATCH"],
)
_topic = app.topic(os.environ[TOPIC], key_type=bytes, value_type=bytes, value_serializer="raw", key_serializer="raw")
_schema = writer_schema()


@app.agent(_topic)
async def run_jobs(stream: Any) -> None:
    """Decode each event and call the function."""
    async for event in stream.events():
        body = BytesIO(event.value)
        body.seek(BODY)
        do_nothing(schemaless_reader(body, _schema, None))
