"""Schedules for tests: a plain one, and strategies for any."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from hypothesis import strategies as st

from streams.core.schedule.definition import MADE_BY_CODE, Schedule, Source
from streams.core.schedule.missed import MissedPolicy, OnMissed
from streams.core.schedule.overlap import Overlap

START, END = datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)


def schedule(**members: Any) -> Schedule:
    usual: dict[str, Any] = {
        "id": "reports/daily",
        "queue": "reports",
        "job_type": "jobs.reports.Report",
        "payload": {"name": "daily"},
        "cron": "0 9 * * mon-fri",
        "tz": "Europe/Berlin",
    }
    return Schedule(**{**usual, **members})


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=10,
)
moments = st.datetimes(datetime(2000, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC))
seconds = st.integers(1, 10**10).map(lambda ms: ms / 1000)
_CRONS = ["0 9 * * mon-fri", "*/15 * * * *", "@daily", "15 30 2 L * *"]
whens = st.one_of(
    st.fixed_dictionaries({"cron": st.sampled_from(_CRONS), "tz": st.sampled_from(["UTC", "Europe/Berlin"])}),
    st.fixed_dictionaries({"every": st.floats(0.1, 1e8)}),
)
policies = st.builds(MissedPolicy, st.sampled_from(OnMissed), st.integers(1, 1000), st.none() | st.integers(1, 10**10))


@st.composite
def schedules(draw: st.DrawFn) -> Schedule:
    bounds = sorted([draw(moments), draw(moments)])
    source = draw(st.sampled_from(Source))
    code = [MADE_BY_CODE] if source is Source.CODE else []
    optional = {
        "key": texts,
        "start": st.just(bounds[0]),
        "end": st.just(bounds[1]),
        "count": st.integers(1, 10**6),
        "jitter": seconds,
        "missed": policies,
        "overlap": st.sampled_from(Overlap),
        "timeout": seconds,
        "expires_in": seconds,
        "max_attempts": st.integers(1, 10_000),
        "release": st.integers(0, 100),
        "history": st.lists(st.from_regex(r"[0-9a-f]{16}", fullmatch=True), max_size=5).map(tuple),
    }
    return Schedule(
        id=draw(st.from_regex(r"[A-Za-z0-9._/-]{1,200}", fullmatch=True)),
        queue="reports",
        job_type="jobs.reports.Report",
        payload=draw(st.one_of(json_values, *map(st.just, code))),
        source=source,
        **draw(whens),
        **draw(st.fixed_dictionaries({}, optional=optional)),
    )
