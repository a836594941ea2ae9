"""Text for outputs that are not UTF-8, as of containers without a locale and of Windows, and for closed ones."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path


def show_anything() -> None:
    """Have standard output and error escape what their encoding lacks, and drop everything where they are closed.

    Else the program would end at the first line of that kind.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - for good
        elif isinstance(stream, io.TextIOWrapper) and stream.errors in {"strict", "surrogateescape"}:
            stream.reconfigure(errors="backslashreplace")
