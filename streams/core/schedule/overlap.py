"""What becomes of a firing while the schedule's earlier job is unfinished: a pure decision from the policy."""

from __future__ import annotations

from enum import StrEnum


class Overlap(StrEnum):
    """What a schedule does with a firing whose earlier job is unfinished."""

    BESIDE = "beside"  # it runs beside it
    SKIP = "skip"  # it is left out
    QUEUE = "queue"  # it waits until the earlier job is finished; one waits at the most
    CANCEL = "cancel"  # the earlier job is cancelled, and it takes its place


class FiringDecision(StrEnum):
    """What is done with a firing that has fallen due."""

    PUBLISH = "publish"  # to its queue, now
    WAIT = "wait"  # until the earlier job is finished
    LEAVE_OUT = "leave out"
    REPLACE = "replace"  # cancel what there is of earlier firings, then publish


def decide(policy: Overlap, *, unfinished: bool, waiting: bool) -> FiringDecision:
    """What is done with a firing.

    unfinished  the job of an earlier firing is published and has no outcome yet
    waiting     an earlier firing waits for that already
    """
    if policy is Overlap.BESIDE or not (unfinished or waiting):
        return FiringDecision.PUBLISH
    if policy is Overlap.CANCEL:
        return FiringDecision.REPLACE
    if policy is Overlap.QUEUE and not waiting:
        return FiringDecision.WAIT
    # Of `queue`: the one that waits stands for this one.
    return FiringDecision.LEAVE_OUT
