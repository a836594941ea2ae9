"""A worker on a cluster with access rules: what the README says that it needs is enough."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._acl import AclBinding, AclOperation, AclPermissionType
from confluent_kafka.admin._resource import ResourcePatternType, ResourceType

from producers import JobProducer, ProducerSettings
from tests.brokers import SecureBroker
from tests.brokers.secure import USER
from tests.integration.conftest import Fleet
from tests.models.ordered import Step
from tests.publishing import Steps
from tests.readme import PROSE
from tests.topics import count
from tests.waiting import until

RULES = {
    "": {"Read", "Describe", "Create"},
    ".retry": {"Read", "Write", "Describe", "Create"},
    ".dead": {"Write", "Describe", "Create"},
}
ASKS = """
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
"""


@pytest.fixture
def strict(tmp_path: Path) -> Iterator[SecureBroker]:
    """A broker where a worker may do nothing that nobody has allowed; the tests themselves may do all."""
    with closing(SecureBroker(tmp_path, properties=ASKS)) as broker:
        broker.start()
        yield broker


def test_the_readme_says_so() -> None:
    text = " ".join(PROSE.split())
    assert (
        "Read on its group (`jobs.default`: namespace and pool) and Read, Describe and Create on each queue's topic;"
        " Read, Write, Describe and Create on its retry topic; Write, Describe and Create on its dead letters'."
    ) in text


def test_what_a_worker_needs(strict: SecureBroker, fleet: Fleet, namespace: str) -> None:
    for queue in ("failing", "loose"):
        for suffix, operations in RULES.items():
            allow(strict, ResourceType.TOPIC, f"{namespace}.{queue}{suffix}", operations)
    allow(strict, ResourceType.GROUP, f"{namespace}.default", {"Read"})
    workers = fleet("tests.jobs.failing", bootstrap=strict.bootstrap, environment=strict.with_password("PLAIN"))
    (worker,) = workers.start()
    assert worker.count("no job can be delayed: cannot create topic") == 1
    with Steps(strict.bootstrap, namespace) as steps:
        steps.publish("a", 0, queue="failing", fails=2)
        steps.publish("a", 0, queue="failing")
        permanent = steps.publish("b", 0, queue="failing", fails=-1)
    workers.await_done(steps.ids - {permanent}, within=30)
    until(lambda: count(strict.bootstrap, f"{namespace}.failing.dead") == 1, within=30, what="a dead letter")
    worker.stop()
    workers.start()
    workers.stop()


def test_what_delayed_jobs_need(strict: SecureBroker, fleet: Fleet, namespace: str) -> None:
    text = " ".join(PROSE.split())
    assert (
        "workers need Write and Describe on the transactional ids `jobs.scheduled-<partition>`, Read on the group"
        " `jobs.time`, Read, Write, Describe and Create on `jobs.scheduled`, Write, Describe and Create on its dead"
        " letters', and Write on the queues where delayed jobs go"
    ) in text
    for queue in ("failing", "loose"):
        for suffix, operations in RULES.items():
            allow(strict, ResourceType.TOPIC, f"{namespace}.{queue}{suffix}", operations)
    allow(strict, ResourceType.GROUP, f"{namespace}.default", {"Read"})
    allow(strict, ResourceType.GROUP, f"{namespace}.time", {"Read"})
    allow(strict, ResourceType.TOPIC, f"{namespace}.scheduled", RULES[".retry"])
    allow(strict, ResourceType.TOPIC, f"{namespace}.scheduled.dead", RULES[".dead"])
    workers = fleet("tests.jobs.failing", bootstrap=strict.bootstrap, environment=strict.with_password("PLAIN"))
    (worker,) = workers.start()
    job = Step(seq=0, seconds=0)
    with JobProducer(ProducerSettings(bootstrap_servers=strict.bootstrap, namespace=namespace)) as producer:
        producer.publish(job, queue="failing", id="late", delay=0.1)
    until(
        lambda: worker.count("this user may not write in transactions .*: allow it Write and Describe"),
        within=30,
        what="the rule that lacks is named",
    )
    allow(strict, ResourceType.TOPIC, f"{namespace}.failing", {"Write"})
    for partition in range(4):
        name = f"{namespace}.scheduled-{partition}"
        allow(strict, ResourceType.TRANSACTIONAL_ID, name, {"Write", "Describe"})
    workers.await_done({"late"}, within=60)
    workers.stop()


def allow(broker: SecureBroker, kind: ResourceType, name: str, operations: set[str]) -> None:
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    rules = [
        AclBinding(
            kind, name, ResourcePatternType.LITERAL, f"User:{USER}", "*",
            AclOperation[operation.upper()], AclPermissionType.ALLOW,
        )
        for operation in operations
    ]  # fmt: skip
    for allowed in admin.create_acls(rules).values():
        allowed.result(timeout=30)
