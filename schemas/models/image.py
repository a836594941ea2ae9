# ruff: noqa
"""Models of the image queue's jobs.

Generated from the schemas in ../jobs/image by python -m schemas.generate; do not edit.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import ClassVar, Final

SCHEMAS: Final = "../jobs/image"


class Fit(Enum):
    """How the image meets the box: inside it, filling it and cropped, or stretched to it."""

    CONTAIN = "CONTAIN"
    COVER = "COVER"
    STRETCH = "STRETCH"


class Format(Enum):
    """File format of the target; KEEP takes that of the source."""

    KEEP = "KEEP"
    JPEG = "JPEG"
    PNG = "PNG"
    WEBP = "WEBP"


@dataclass(frozen=True, kw_only=True)
class ResizeImage:
    """Writes a resized copy of an image."""

    JOB_TYPE: ClassVar[str] = "jobs.image.ResizeImage"

    source: str
    """Path of the image to read, relative to STREAMS_IMAGE_ROOT."""

    target: str
    """Path of the image to write, relative to STREAMS_IMAGE_ROOT."""

    width: int
    """Width of the target in pixels."""

    height: int
    """Height of the target in pixels."""

    fit: Fit = Fit.CONTAIN
    """How the image is fitted into width and height."""

    format: Format = Format.KEEP
    """File format of the target."""

    quality: int = 85
    """Quality of lossy formats, 1 to 100."""
