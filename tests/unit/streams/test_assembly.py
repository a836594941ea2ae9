"""What the composition root ties together."""

from __future__ import annotations

from typing import Any

import pytest

from streams.application.assembly import build_app
from streams.settings import Settings


@pytest.mark.parametrize(("concurrency", "most"), [(700, 700), (1, 2)])
def test_the_consumer_knows_how_many_jobs_of_a_queue_run_at_once(concurrency: int, most: int) -> None:
    """Of tests.jobs.trouble one queue has a concurrency of its own, which is 2."""
    settings = Settings(concurrency=concurrency, jobs="tests.jobs.trouble", shipped_jobs=False)
    app: Any = build_app(settings)
    assert app.transport.wiring.concurrency == most


def test_what_may_be_parked_is_as_it_is_set() -> None:
    settings = Settings(parked_jobs=7, parked_bytes=700, jobs="tests.jobs.trouble", shipped_jobs=False)
    app: Any = build_app(settings)
    budgets = app.transport.wiring.assignment._backpressure.budgets.values()
    assert {(budget.limit_jobs, budget.limit_bytes) for budget in budgets} == {(7, 700)}
