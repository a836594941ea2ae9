"""A context for handlers that are called directly."""

from __future__ import annotations

import pytest

from streams import JobContext


@pytest.fixture
def ctx() -> JobContext:
    """The context of a first attempt."""
    return JobContext("0190-job", "queue")
