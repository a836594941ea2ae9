"""What the examples have shown, checked before it is said."""

from __future__ import annotations

import time
from itertools import pairwise
from pathlib import Path

from PIL import Image

from producers import ProducerSettings
from schemas.catalog import shipped
from schemas.codec import Codec
from streams.dead import DeadError, DeadLetters, Filters, Letter
from streams.demo.errors import DemoFailed
from streams.demo.examples import FAILING_KEY, FAILURES, ORDERED_KEY, PICTURE, SMALL_PICTURE
from streams.demo.outcomes import Outcomes
from streams.demo.publishing import Published
from streams.demo.stage.servers import Endpoint, Mailbox
from streams.settings import Settings

#: How long a dead letter may take to appear, and how often it is looked for. Seconds.
_LETTER_WITHIN, _LOOK_AFTER = 20.0, 0.2


def order_kept(ordered: list[Published], everybody: list[Published], endpoint: Endpoint, outcomes: Outcomes) -> str:
    """Say that jobs of one key ran in order and others overtook them. Raises DemoFailed if not."""
    shown = _one_after_another(ORDERED_KEY, ordered, endpoint)
    overtook = _ahead_of(ordered[0], everybody, outcomes)
    if not overtook:
        raise DemoFailed(f"nothing overtook the slow job of {ORDERED_KEY}")
    return f"order kept for key {ORDERED_KEY}: {shown}; overtaken by {', '.join(overtook)}"


def order_kept_through_failures(retried: list[Published], endpoint: Endpoint, outcomes: Outcomes) -> str:
    """Say that a job failed, later ones of its key waited, and all then ran in order. Raises DemoFailed if not."""
    waiting = [job for job in retried if job.example.key == FAILING_KEY]
    others = [job for job in retried if job.example.key != FAILING_KEY]
    failures = [endpoint.failures[job.id] for job in waiting]
    if failures != [FAILURES, *(0 for _ in waiting[1:])]:
        raise DemoFailed(f"the jobs of {FAILING_KEY} failed {failures} times")
    shown = _one_after_another(FAILING_KEY, waiting, endpoint)
    overtook = _ahead_of(waiting[0], others, outcomes)
    if not overtook:
        raise DemoFailed(f"other keys waited for the failing job of {FAILING_KEY}")
    return (
        f"job 1 of key {FAILING_KEY} failed {FAILURES} times, its later jobs waited, and all ran in order: {shown};"
        f" {', '.join(overtook)} did not wait"
    )


def _one_after_another(key: str, jobs: list[Published], endpoint: Endpoint) -> str:
    """The numbers of a key's jobs as they ran; raises DemoFailed unless that was in order and without overlap."""
    numbers = {job.id: number for number, job in enumerate(jobs, 1)}
    arrived = [numbers[job_id] for job_id in endpoint.by_beginning() if job_id in numbers]
    if arrived != sorted(numbers.values()):
        raise DemoFailed(f"the jobs of {key} began in the order {arrived}")
    times = [endpoint.deliveries[job.id] for job in jobs]
    if any(ended > began for (_, ended), (began, _) in pairwise(times)):
        raise DemoFailed(f"jobs of {key} overlapped")
    return ", ".join(str(number) for number in arrived)


def _ahead_of(job: Published, others: list[Published], outcomes: Outcomes) -> list[str]:
    """The keys of those that ended before a job did."""
    ahead = set(outcomes.order[: outcomes.order.index(job.id)])
    return [other.example.key for other in others if other.id in ahead]


def ran_when_due(job: Published, outcomes: Outcomes) -> str:
    """Say when a delayed job had run. Raises DemoFailed if that was too soon."""
    delay, after = job.example.delay or 0.0, outcomes.ended_at[job.id] - job.at
    if after < delay:
        raise DemoFailed(f"job {job.id} was to run after {delay:g} s, and had run after {after:.3f} s")
    return f"a job that was due {delay:g} s after its publication had run after {after:.2f} s"


def mail_received(job: Published, mailbox: Mailbox) -> str:
    """Say which mail came. Raises DemoFailed if none did."""
    mail = mailbox.received(job.id)
    if mail is None:
        raise DemoFailed(f"the mail server has no mail of job {job.id}")
    message, recipients = mail
    return f'the mail server received "{message["Subject"]}" for {", ".join(recipients)}'


def picture_resized(root: Path) -> str:
    """Say how large the picture was and is. Raises DemoFailed if there is none."""
    before, after = root / PICTURE, root / SMALL_PICTURE
    if not after.exists():
        raise DemoFailed(f"there is no {after}")
    return f"{_described(before)} became {_described(after)}"


def _described(path: Path) -> str:
    with Image.open(path) as image:
        return f"{path.name} {image.width}x{image.height} ({path.stat().st_size / 1024:.0f} KiB)"


def dead_letter(settings: ProducerSettings, queue: str, job_id: str) -> Letter:
    """The dead letter of a job, as soon as there is one. Blocks; raises DemoFailed if none appears."""
    give_up = time.monotonic() + _LETTER_WITHIN
    try:
        with DeadLetters(Settings(producer=settings, namespace=settings.namespace), queue, Codec(shipped())) as letters:
            while time.monotonic() < give_up:
                for letter in letters.find(Filters(id=job_id), limit=1):
                    return letter
                time.sleep(_LOOK_AFTER)
    except DeadError as error:
        raise DemoFailed(str(error)) from error
    raise DemoFailed(f"no dead letter of job {job_id} appeared on queue {queue!r} within {_LETTER_WITHIN:.0f} s")
