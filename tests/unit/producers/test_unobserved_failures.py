import logging

import pytest

from producers import DeliveriesFailed, DeliveryFailed, JobHandle, ProducerSettings
from producers.delivery.client_config import client_config
from producers.delivery.kafka_client import KafkaClient
from producers.delivery.unobserved_failures import UnobservedFailures

CLIENT = KafkaClient(client_config(ProducerSettings(), {}))


def failed(number: int) -> tuple[JobHandle, DeliveryFailed]:
    handle = JobHandle(str(number), "jobs.email", CLIENT)
    return handle, DeliveryFailed(str(number), "jobs.email", "cause", "remedy", may_be_written=False)


def test_one_failure_is_raised_once() -> None:
    failures = UnobservedFailures()
    failures.add(*failed(1))
    with pytest.raises(DeliveryFailed, match=r"job 1 was not delivered to jobs\.email: cause; remedy"):
        failures.raise_any()
    failures.raise_any()


def test_several_are_raised_together() -> None:
    failures = UnobservedFailures()
    for number in range(3):
        failures.add(*failed(number))
    with pytest.raises(DeliveriesFailed, match="3 jobs were not delivered; the first: job 0") as caught:
        failures.raise_any()
    assert [failure.job_id for failure in caught.value.failures] == ["0", "1", "2"]


def test_what_was_told_already_is_not_raised_again() -> None:
    failures = UnobservedFailures()
    handle, failure = failed(1)
    failures.add(handle, failure)
    failures.observe(handle)
    failures.raise_any()


def test_ten_thousand_failures_are_counted_but_not_all_kept() -> None:
    failures = UnobservedFailures()
    for number in range(10_000):
        failures.add(*failed(number))
    with pytest.raises(DeliveriesFailed) as caught:
        failures.raise_any()
    assert caught.value.count == 10_000
    assert len(caught.value.failures) == 1_000


def test_failures_are_logged_but_not_one_line_each(caplog: pytest.LogCaptureFixture) -> None:
    failures = UnobservedFailures()
    with caplog.at_level(logging.ERROR, "producers"):
        for number in range(100):
            failures.add(*failed(number))
    assert len(caplog.records) == 1
    assert "job 0 was not delivered" in caplog.text
