"""What the examples have shown, checked before it is said."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

from PIL import Image

from streams.demo.endpoint import TRIES, Endpoint
from streams.demo.errors import DemoFailed
from streams.demo.examples import ORDERED_KEY, PICTURE, RETRIED_KEY, SMALL_PICTURE
from streams.demo.mailbox import Mailbox
from streams.demo.outcomes import Outcomes
from streams.demo.publishing import Published


def order_kept(ordered: list[Published], everybody: list[Published], endpoint: Endpoint, outcomes: Outcomes) -> str:
    """Say that jobs of one key ran in order and others overtook them. Raises DemoFailed if not."""
    numbers = {job.id: number for number, job in enumerate(ordered, 1)}
    arrived = [numbers[job_id] for job_id in endpoint.by_beginning() if job_id in numbers]
    if arrived != sorted(numbers.values()):
        raise DemoFailed(f"the jobs of {ORDERED_KEY} began in the order {arrived}")
    times = [endpoint.deliveries[job.id] for job in ordered]
    if any(ended > began for (_, ended), (began, _) in pairwise(times)):
        raise DemoFailed(f"jobs of {ORDERED_KEY} overlapped")
    first = outcomes.order.index(ordered[0].id)
    ahead = set(outcomes.order[:first])
    overtook = [job.example.key for job in everybody if job.id in ahead]
    if not overtook:
        raise DemoFailed(f"nothing overtook the slow job of {ORDERED_KEY}")
    shown = ", ".join(str(number) for number in arrived)
    return f"order kept for key {ORDERED_KEY}: {shown}; overtaken by {', '.join(overtook)}"


def order_kept_through_failures(jobs: list[Published], endpoint: Endpoint) -> str:
    """Say that jobs waited for one of their key that failed twice. Raises DemoFailed if they did not."""
    first = jobs[0].id
    if endpoint.tries[first] != TRIES:
        raise DemoFailed(f"the first job of {RETRIED_KEY} was tried {endpoint.tries[first]} times instead of {TRIES}")
    ids = [job.id for job in jobs]
    arrived = [ids.index(job_id) + 1 for job_id in endpoint.by_beginning() if job_id in ids]
    if arrived != sorted(arrived) or len(arrived) != len(ids):
        raise DemoFailed(f"the jobs of {RETRIED_KEY} arrived in the order {arrived}")
    shown = ", ".join(str(number) for number in arrived)
    return f"the first job of key {RETRIED_KEY} failed twice, the others waited for it: {shown}"


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
