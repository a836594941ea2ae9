"""Reads, fits and encodes pictures."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from io import BytesIO
from typing import BinaryIO

from PIL import Image, ImageOps, UnidentifiedImageError

from schemas.models.image import Fit, Format
from streams.jobs.support.errors import Refused

#: The only decoders that data from outside reaches. MPO is what phones call some of their JPEGs.
_FORMATS = {"JPEG": Format.JPEG, "MPO": Format.JPEG, "PNG": Format.PNG, "WEBP": Format.WEBP}
#: What WebP can hold, and more than any screen shows. Pixels.
LONGEST_SIDE = 16_383
_LANCZOS = Image.Resampling.LANCZOS


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded picture: upright, in L, RGB or RGBA (or LA), with its colour profile."""

    image: Image.Image
    format: Format
    profile: bytes | None


def read(file: BinaryIO, max_pixels: int, max_side: int) -> Picture:
    """Decode a JPEG, PNG or WebP picture (of an animation, the first frame) and turn it upright, as its EXIF data says.

    Raises Refused for other files, and before anything is decoded for more than `max_pixels`, or sides longer than
    `max_side`.
    """
    try:
        with warnings.catch_warnings():
            # Pillow's own limit is a global; ours follows.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            opened = Image.open(file, formats=("JPEG", "PNG", "WEBP"))
            _check_pixels(opened, max_pixels, max_side)
            profile = opened.info.get("icc_profile")
            kind = _FORMATS[opened.format or ""]
            upright = ImageOps.exif_transpose(opened)
    except Image.DecompressionBombError as error:
        raise Refused(f"the source is refused as a decompression bomb: {error}") from None
    except UnidentifiedImageError:
        raise Refused("the source is no JPEG, PNG or WebP picture") from None
    except Exception as error:
        # Decoders raise all kinds of errors for what they cannot read.
        if isinstance(error, (Refused, MemoryError)) or getattr(error, "errno", None) is not None:
            raise  # The disk's fault, or the machine's, and not the picture's.
        raise Refused(f"the source is damaged: {type(error).__name__}: {error}") from error
    # A profile describes the colours of its own mode; those of converted CMYK are plain sRGB.
    return Picture(_plain(upright), kind, profile if upright.mode in {"L", "LA", "RGB", "RGBA", "P"} else None)


def fitted(image: Image.Image, width: int, height: int, fit: Fit) -> Image.Image:
    """The picture in a box of pixels: inside it (CONTAIN), filling it and cropped (COVER), or stretched to it."""
    if fit is Fit.STRETCH:
        return image.resize((width, height), _LANCZOS)
    if fit is Fit.COVER:
        return ImageOps.fit(image, (width, height), _LANCZOS)
    scale = min(width / image.width, height / image.height)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    return image.resize(size, _LANCZOS)


def _encode(image: Image.Image, kind: Format, quality: int, profile: bytes | None) -> bytes:
    """Of its metadata only the colour profile is kept; JPEG gets white for transparency."""
    out = BytesIO()
    bare = _opaque(image) if kind is Format.JPEG else image.copy()
    bare.info = {}
    options = {} if profile is None else {"icc_profile": profile}
    if kind is Format.PNG:
        bare.save(out, "PNG", optimize=True, **options)
    elif kind is Format.WEBP:
        bare.save(out, "WEBP", quality=quality, **options)
    else:
        bare.save(out, "JPEG", quality=quality, optimize=True, progressive=True, **options)
    return out.getvalue()


def encoded(image: Image.Image, kind: Format, quality: int, profile: bytes | None) -> bytes:
    """The bytes of a picture; raises Refused where its format cannot hold it."""
    try:
        return _encode(image, kind, quality, profile)
    except (OSError, ValueError, OverflowError) as error:
        raise Refused(f"the target cannot be written as {kind.value}: {error}") from error


def _check_pixels(image: Image.Image, max_pixels: int, max_side: int) -> None:
    if max(image.size) > max_side:
        raise Refused(
            f"the source has {image.width}x{image.height} pixels, and a side longer than the {max_side} that"
            " STREAMS_IMAGE_MAX_SIDE allows"
        )
    if image.width * image.height > max_pixels:
        raise Refused(
            f"the source has {image.width}x{image.height} pixels, more than the {max_pixels} that"
            " STREAMS_IMAGE_MAX_PIXELS allows"
        )


def _plain(image: Image.Image) -> Image.Image:
    if image.mode in {"L", "LA", "RGB", "RGBA"}:
        return image
    if image.mode.startswith("I;16"):
        # convert() would clip 16-bit greys at 255 instead of scaling them.
        return image.convert("I").point(lambda grey: grey * (1 / 257)).convert("L")
    return image.convert("RGBA" if image.has_transparency_data else "RGB")


def _opaque(image: Image.Image) -> Image.Image:
    if image.mode in {"L", "RGB"}:
        return image.copy()
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
