"""Image resizing."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from schemas.models.image import Format, ResizeImage
from streams import JobContext, Queue
from streams.jobs.support.errors import NotConfigured, Refused
from streams.jobs.support.pictures import LONGEST_SIDE, encoded, fitted, read
from streams.jobs.support.rooted_files import open_below, path_parts, replace_below

images = Queue("image", partitions=12)


class ImageSettings(BaseSettings):
    """Where pictures are, and how large they may be (`STREAMS_IMAGE_*`)."""

    model_config = SettingsConfigDict(env_prefix="STREAMS_IMAGE_", frozen=True, env_ignore_empty=True)

    #: The directory that sources and targets are below.
    root: Path | None = None
    #: Most pixels of a source and of a target.
    max_pixels: int = Field(default=50_000_000, ge=1)
    #: Longest side of a source, in pixels; JPEG has no longer one.
    max_side: int = Field(default=65_535, ge=1)
    #: Largest file that is read.
    max_bytes: int = Field(default=104_857_600, ge=1)


@lru_cache(maxsize=1)
def image_settings() -> ImageSettings:
    """The settings, read from the environment once."""
    return ImageSettings()


@images.job(ResizeImage, timeout=60, cpu_bound=True)
def resize_image(job: ResizeImage, ctx: JobContext) -> None:
    """Write a resized copy of a picture. Another run of the same job writes the same file again."""
    settings = image_settings()
    if settings.root is None:
        raise NotConfigured("STREAMS_IMAGE_ROOT is not set: name the directory with the pictures")
    _check(job, settings.max_pixels)
    with open_below(settings.root, job.source, "source", settings.max_bytes) as file:
        picture = read(file, settings.max_pixels, settings.max_side)
    resized = fitted(picture.image, job.width, job.height, job.fit)
    kind = picture.format if job.format is Format.KEEP else job.format
    replace_below(settings.root, job.target, "target", encoded(resized, kind, job.quality, picture.profile))
    ctx.logger.debug("%dx%d to %dx%d", *picture.image.size, *resized.size)


def _check(job: ResizeImage, max_pixels: int) -> None:
    for side, length in (("width", job.width), ("height", job.height)):
        if not 1 <= length <= LONGEST_SIDE:
            raise Refused(f"{side} must be from 1 to {LONGEST_SIDE} pixels, not {length}")
    if job.width * job.height > max_pixels:
        raise Refused(f"the target would have more pixels than the {max_pixels} of STREAMS_IMAGE_MAX_PIXELS")
    if not 1 <= job.quality <= 100:
        raise Refused(f"quality must be from 1 to 100, not {job.quality}")
    if path_parts(job.source, "source") == path_parts(job.target, "target"):
        raise Refused("target must not be the source: another run of the job would start from its own result")
