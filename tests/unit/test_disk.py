"""A disk that is full takes nothing, and takes it again when there is room."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.disk import Disk, can_mount


def test_a_full_disk_takes_nothing_until_there_is_room(tmp_path: Path) -> None:
    if not can_mount():
        pytest.skip("nothing can be mounted here")
    disk = Disk(tmp_path, 1)
    try:
        disk.fill()
        with pytest.raises(OSError, match="No space left"):
            (tmp_path / "more").write_bytes(b"x" * 5000)
        disk.empty()
        (tmp_path / "more").write_bytes(b"x" * 5000)
    finally:
        disk.unmount()
    assert not list(tmp_path.iterdir())
