from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from schemas.models.image import Fit, Format, ResizeImage
from streams import JobContext
from streams.jobs.image import image_settings, resize_image
from streams.jobs.support.errors import NotConfigured, Refused

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
ORIENTATION = 0x0112


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("STREAMS_IMAGE_ROOT", str(tmp_path))
    monkeypatch.setenv("STREAMS_IMAGE_MAX_PIXELS", "1000000")
    image_settings.cache_clear()
    yield tmp_path
    image_settings.cache_clear()


def halves(size: tuple[int, int] = (200, 100), mode: str = "RGB") -> Image.Image:
    """Left half red, right half blue."""
    image = Image.new(mode, size, RED)
    image.paste(BLUE, (size[0] // 2, 0, *size))
    return image


def resize(root: Path, ctx: JobContext, **fields: Any) -> Image.Image:
    defaults: dict[str, Any] = {"source": "in.png", "target": "out/img", "width": 50, "height": 50}
    job = ResizeImage(**{**defaults, **fields})
    resize_image(job, ctx)
    image = Image.open(root / job.target)
    image.load()  # closes the file
    return image


def near(pixel: Any, colour: tuple[int, ...]) -> bool:
    return all(abs(one - other) < 12 for one, other in zip(pixel, colour, strict=False))


@pytest.mark.parametrize(("fit", "size"), [(Fit.CONTAIN, (50, 25)), (Fit.COVER, (50, 50)), (Fit.STRETCH, (50, 50))])
@pytest.mark.parametrize(
    ("wanted", "got"), [(Format.KEEP, "PNG"), (Format.PNG, "PNG"), (Format.JPEG, "JPEG"), (Format.WEBP, "WEBP")]
)
def test_fits_and_formats(
    root: Path, ctx: JobContext, fit: Fit, size: tuple[int, int], wanted: Format, got: str
) -> None:
    halves().save(root / "in.png")
    image = resize(root, ctx, fit=fit, format=wanted)
    assert (image.size, image.format) == (size, got)
    assert near(image.getpixel((2, size[1] // 2)), RED)
    assert near(image.getpixel((size[0] - 3, size[1] // 2)), BLUE)


def test_small_pictures_grow_and_extreme_ones_keep_a_pixel(root: Path, ctx: JobContext) -> None:
    halves((10, 5)).save(root / "in.png")
    assert resize(root, ctx).size == (50, 25)
    halves((2000, 2)).save(root / "in.png")
    assert resize(root, ctx).size == (50, 1)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(root: Path, ctx: JobContext, orientation: int) -> None:
    """Whatever way the camera was held, the red half ends on the left."""
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    image = halves()
    if orientation in undo:
        image = image.transpose(undo[orientation])
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    image.save(root / "in.jpg", exif=exif, quality=95)
    upright = resize(root, ctx, source="in.jpg", width=100, height=100)
    assert upright.size == (100, 50)
    assert near(upright.getpixel((10, 25)), RED)
    assert ORIENTATION not in upright.getexif()


def test_metadata_goes_but_the_colour_profile_stays(root: Path, ctx: JobContext) -> None:
    exif = Image.Exif()
    exif[0x010E] = "taken at home"
    halves().save(root / "in.jpg", exif=exif, icc_profile=b"profile", comment=b"private")
    for kind in (Format.JPEG, Format.PNG, Format.WEBP):
        image = resize(root, ctx, source="in.jpg", format=kind)
        assert image.info["icc_profile"] == b"profile"
        assert not image.getexif()
        assert "comment" not in image.info


def test_transparency(root: Path, ctx: JobContext) -> None:
    Image.new("RGBA", (20, 20), (255, 0, 0, 0)).save(root / "in.png")
    assert near(resize(root, ctx, format=Format.JPEG).getpixel((10, 10)), WHITE)
    assert resize(root, ctx, format=Format.WEBP).getpixel((10, 10))[3] == 0  # type: ignore[index]
    assert resize(root, ctx).mode == "RGBA"


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
@pytest.mark.parametrize("wanted", [Format.JPEG, Format.PNG, Format.WEBP])
def test_every_mode_of_png(root: Path, ctx: JobContext, mode: str, wanted: Format) -> None:
    if mode == "I;16":
        Image.new(mode, (20, 20), 0x9999).save(root / "in.png")
    else:
        Image.new("RGB", (20, 20), (153, 153, 153)).convert(mode, dither=Image.Dither.NONE).save(root / "in.png")
    image = resize(root, ctx, format=wanted)
    grey = image.convert("RGB").getpixel((10, 10))
    assert near(grey, WHITE if mode == "1" else (153, 153, 153))


def test_cmyk(root: Path, ctx: JobContext) -> None:
    halves().convert("CMYK").save(root / "in.jpg", icc_profile=b"press")
    image = resize(root, ctx, source="in.jpg")
    assert image.mode == "RGB"
    assert near(image.getpixel((2, 12)), RED)
    assert "icc_profile" not in image.info


def test_quality(root: Path, ctx: JobContext) -> None:
    Image.effect_noise((400, 400), 80).convert("RGB").save(root / "in.png")
    sizes = []
    for quality in (10, 90):
        resize(root, ctx, width=400, height=400, format=Format.JPEG, quality=quality)
        sizes.append((root / "out/img").stat().st_size)
    assert sizes[0] * 3 < sizes[1]


def test_another_run_writes_the_same(root: Path, ctx: JobContext) -> None:
    halves().save(root / "in.png")
    resize(root, ctx)
    first = (root / "out/img").read_bytes()
    resize(root, ctx)
    assert (root / "out/img").read_bytes() == first


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"width": 0}, "width must be from 1 to 16383"),
        ({"height": -5}, "height must be"),
        ({"width": 16384}, "width must be"),
        ({"width": 5000, "height": 5000}, "STREAMS_IMAGE_MAX_PIXELS"),
        ({"quality": 0}, "quality must be from 1 to 100"),
        ({"quality": 101}, "quality must be from 1 to 100"),
        ({"target": "in.png"}, "target must not be the source"),
        ({"target": "../out.png"}, "target must be a relative path"),
        ({"source": "../in.png"}, "source must be a relative path"),
    ],
)
def test_what_is_refused(root: Path, ctx: JobContext, fields: dict[str, Any], message: str) -> None:
    halves().save(root / "in.png")
    with pytest.raises(Refused, match=message):
        resize(root, ctx, **fields)


def bomb(width: int, height: int) -> bytes:
    """A small PNG file that says it holds many pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(b"\0" * 1000)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [1_001, 10_000, 60_000])
def test_decompression_bombs(root: Path, ctx: JobContext, side: int) -> None:
    (root / "in.png").write_bytes(bomb(side, side))
    with pytest.raises(Refused, match="pixels"):
        resize(root, ctx)


def test_a_side_that_no_picture_has(root: Path, ctx: JobContext) -> None:
    """Few pixels, and yet more work than a job may be."""
    (root / "in.png").write_bytes(bomb(999_999, 1))
    with pytest.raises(Refused, match="999999x1 pixels, and a side longer than the 65535 that STREAMS_IMAGE_MAX_SIDE"):
        resize(root, ctx)


@pytest.mark.parametrize(
    "name", [b"acTL", b"iCCP", b"gAMA", b"tRNS", b"PLTE", b"cHRM", b"pHYs", b"zTXt", b"iTXt", b"eXIf"]
)
@pytest.mark.parametrize("data", [b"", b"\xff", b"\xff" * 300])
def test_parts_of_a_picture_that_its_decoder_does_not_understand(
    root: Path, ctx: JobContext, name: bytes, data: bytes
) -> None:
    """It is refused or made, and no error of the decoder's own has the job tried again."""
    out = io.BytesIO()
    halves((20, 20)).save(out, "PNG")
    whole, at = out.getvalue(), 33
    part = struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    (root / "in.png").write_bytes(whole[:at] + part + whole[at:])
    with suppress(Refused):
        resize(root, ctx)


def gif() -> bytes:
    out = io.BytesIO()
    halves().save(out, "GIF")
    return out.getvalue()


def truncated() -> bytes:
    out = io.BytesIO()
    halves().save(out, "JPEG")
    return out.getvalue()[:400]


@pytest.mark.parametrize("content", [b"", b"no picture", gif(), truncated(), bomb(10, 1000)])
def test_files_that_are_no_pictures(root: Path, ctx: JobContext, content: bytes) -> None:
    (root / "in.png").write_bytes(content)
    with pytest.raises(Refused, match=r"no JPEG, PNG or WebP|damaged"):
        resize(root, ctx)
    assert not (root / "out").exists()


def test_without_a_root(ctx: JobContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STREAMS_IMAGE_ROOT", raising=False)
    image_settings.cache_clear()
    with pytest.raises(NotConfigured, match="STREAMS_IMAGE_ROOT is not set"):
        resize_image(ResizeImage(source="a", target="b", width=1, height=1), ctx)
    image_settings.cache_clear()
