"""What becomes of a firing while an earlier job is unfinished."""

from __future__ import annotations

import pytest

from streams.core.schedule.overlap import FiringDecision, Overlap, decide

PUBLISH, WAIT, LEAVE_OUT, REPLACE = FiringDecision


@pytest.mark.parametrize(
    ("policy", "alone", "unfinished", "one_waits", "both"),
    [
        (Overlap.BESIDE, PUBLISH, PUBLISH, PUBLISH, PUBLISH),
        (Overlap.SKIP, PUBLISH, LEAVE_OUT, LEAVE_OUT, LEAVE_OUT),
        (Overlap.QUEUE, PUBLISH, WAIT, LEAVE_OUT, LEAVE_OUT),
        (Overlap.CANCEL, PUBLISH, REPLACE, REPLACE, REPLACE),
    ],
)
def test_every_policy_in_every_case(
    policy: Overlap,
    alone: FiringDecision,
    unfinished: FiringDecision,
    one_waits: FiringDecision,
    both: FiringDecision,
) -> None:
    assert decide(policy, unfinished=False, waiting=False) is alone
    assert decide(policy, unfinished=True, waiting=False) is unfinished
    assert decide(policy, unfinished=False, waiting=True) is one_waits
    assert decide(policy, unfinished=True, waiting=True) is both


def test_the_table_has_every_policy() -> None:
    assert [each.value for each in Overlap] == ["beside", "skip", "queue", "cancel"]
