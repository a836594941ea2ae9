"""Fixtures of the tests that run whole workers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from tempfile import mkdtemp

import pytest

from tests.deads import Morgue
from tests.workers import Workers

#: Starts nothing yet: job module, and STREAMS_* settings by their names in lower case; others as `environment`.
Fleet = Callable[..., Workers]


@pytest.fixture
def fleet(request: pytest.FixtureRequest, namespace: str, tmp_path: Path) -> Iterator[Fleet]:
    """Makes workers for job modules, on the shared broker unless told otherwise; the end of the test kills them."""
    with ExitStack() as stack:

        def make(
            jobs: str,
            *,
            bootstrap: str | None = None,
            environment: Mapping[str, str] | None = None,
            **settings: object,
        ) -> Workers:
            # A test with a broker of its own needs no shared one.
            bootstrap = bootstrap or str(request.getfixturevalue("kafka"))
            directory = Path(mkdtemp(prefix="workers-", dir=tmp_path))
            workers = Workers(jobs, namespace, bootstrap, directory, environment=environment, **settings)
            return stack.enter_context(closing(workers))

        yield make


@pytest.fixture
def morgue(kafka: str, namespace: str) -> Morgue:
    """The topics of a queue with two partitions."""
    return Morgue(kafka, namespace).create()
