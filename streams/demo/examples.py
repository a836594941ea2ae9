"""The jobs of the demonstration."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

from schemas.models.email import SendEmail
from schemas.models.image import Format, ResizeImage
from schemas.models.webhook import DeliverWebhook

#: The key whose jobs run one after another.
ORDERED_KEY = "customer-7"
#: The key whose first job fails before it succeeds, and one that has nothing to do with it.
FAILING_KEY, STEADY_KEY = "customer-12", "customer-13"
FAILURES = 2
SLOW_SECONDS = 1.5
DELAY_SECONDS = 2.0
SIGNED_BY = "demo"
_UNSTEADY = "unsteady"
PICTURE, SMALL_PICTURE = "photo.jpg", "small.webp"


@dataclass(frozen=True, slots=True)
class Example:
    """A job to publish, and how it must end."""

    what: str
    key: str
    payload: Any
    ends: str = "done"
    #: The queue, where it is not that of its type.
    queue: str | None = None
    #: Seconds before it falls due.
    delay: float | None = None


def order(url: str, customer: str, number: int, takes_seconds: float = 0, failures: int = 0) -> DeliverWebhook:
    """A webhook about an order."""
    body = json.dumps({"customer": customer, "order": number, "takes_seconds": takes_seconds, "failures": failures})
    return DeliverWebhook(url=f"{url}/orders", event="order.paid", body=body, secret_name=SIGNED_BY)


def ordered(url: str) -> list[Example]:
    """Three jobs of one key, the first of which is slow."""
    return [
        Example(f"1 of 3, takes {SLOW_SECONDS:g} s", ORDERED_KEY, order(url, ORDERED_KEY, 1, SLOW_SECONDS)),
        Example("2 of 3", ORDERED_KEY, order(url, ORDERED_KEY, 2)),
        Example("3 of 3", ORDERED_KEY, order(url, ORDERED_KEY, 3)),
    ]


def others(url: str) -> list[Example]:
    """Jobs of other keys, which need not wait."""
    return [Example("another key", key, order(url, key, 1)) for key in ("customer-8", "customer-9")]


def email() -> Example:
    """A mail."""
    mail = SendEmail(
        to=["Ada Lovelace <ada@example.com>"],
        subject="Your order is on its way",
        text="Dear Ada, it left this morning.",
        html="<p>Dear Ada, it left <b>this morning</b>.</p>",
    )
    return Example(mail.subject, "ada", mail)


def picture() -> Example:
    """A picture to be made smaller."""
    resize = ResizeImage(source=PICTURE, target=SMALL_PICTURE, width=400, height=400, format=Format.WEBP)
    return Example(f"{PICTURE} to {SMALL_PICTURE}", "album-3", resize)


def delayed(url: str) -> Example:
    """A webhook that is to go out later."""
    return Example(f"due in {DELAY_SECONDS:g} s", "customer-14", order(url, "customer-14", 1), delay=DELAY_SECONDS)


def failing(url: str) -> Example:
    """A webhook that its receiver refuses."""
    gone = DeliverWebhook(url=f"{url}/gone", event="order.paid", body="{}", secret_name=SIGNED_BY)
    return Example("its receiver is gone", "customer-11", gone, ends="dead")


def retried(url: str) -> list[Example]:
    """Jobs of one key, the first of which fails twice, and one of another key that need not wait."""
    what = {1: f"1 of 4, fails {FAILURES} times", 2: "2 of 4, waits", 3: "3 of 4, waits", 4: "4 of 4, waits"}
    waiting = [
        Example(text, FAILING_KEY, order(url, FAILING_KEY, number, failures=FAILURES * (number == 1)), queue=_UNSTEADY)
        for number, text in what.items()
    ]
    return [*waiting, Example("another key", STEADY_KEY, order(url, STEADY_KEY, 1), queue=_UNSTEADY)]


def paint(root: Path) -> None:
    """Put the picture where the image job looks for it."""
    root.mkdir(parents=True, exist_ok=True)
    (root / SMALL_PICTURE).unlink(missing_ok=True)
    shapes = Image.effect_mandelbrot((1600, 1200), (-2.2, -1.2, 1.0, 1.2), 60)
    ImageOps.colorize(shapes, "navy", "orange").save(root / PICTURE, quality=90)
