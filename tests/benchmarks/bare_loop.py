"""The least that can be done with a job: consume, decode, call. What the no-op jobs are compared with.

`python -m tests.benchmarks.bare_loop` runs until it has counted its jobs.
"""

from __future__ import annotations

import os
from io import BytesIO
from typing import Any

from confluent_kafka import Consumer, KafkaException
from fastavro import schemaless_reader

from producers import Cluster
from schemas.catalog import Catalog, shipped
from schemas.models.email import SendEmail
from tests.benchmarks.tally import Tally

GROUP = "BENCH_GROUP"
TOPIC = "BENCH_TOPIC"
BODY = 10  # where the Avro body begins: after the two marker bytes and the fingerprint
_BATCH = 1000

_tally = Tally()


def writer_schema() -> dict[str, Any]:
    """The schema of the jobs, as fastavro has parsed it."""
    return shipped().current(Catalog.job_type_of(SendEmail)).parsed


def do_nothing(job: Any) -> None:
    """Count."""
    _tally.end()


def main() -> None:
    """Run the jobs of a topic."""
    schema = writer_schema()
    consumer = Consumer(
        {**Cluster().client_config(), "group.id": os.environ[GROUP], "auto.offset.reset": "earliest"}, logger=None
    )
    consumer.subscribe([os.environ[TOPIC]])
    while _tally.done < _tally.jobs:
        for message in consumer.consume(_BATCH, 1.0):
            error = message.error()
            if error is not None:
                raise KafkaException(error)
            body = BytesIO(message.value() or b"")
            body.seek(BODY)
            do_nothing(schemaless_reader(body, schema, None))
    consumer.close()


if __name__ == "__main__":
    main()
