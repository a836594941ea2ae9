from __future__ import annotations

import errno
import os
import socket
from contextlib import chdir, suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams import PermanentError
from streams.jobs.support.errors import Refused
from streams.jobs.support.rooted_files import open_below, path_parts, replace_below


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root beside a file that nobody may reach."""
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "a.bin").write_bytes(b"a")
    return tmp_path / "root"


def read(root: Path, path: str) -> bytes:
    with open_below(root, path, "source") as file:
        return file.read()


@pytest.mark.parametrize(
    "path",
    [
        "",
        ".",
        "..",
        "/etc/passwd",
        "../secret",
        "a/../../secret",
        "a//b",
        "a/",
        "./a.bin",
        "a\0b",
        "file:///a",
        "s3://b/k",
    ],
)
def test_paths_that_could_leave_the_root(root: Path, path: str) -> None:
    with pytest.raises(Refused, match="source must be a relative path below STREAMS_IMAGE_ROOT"):
        read(root, path)
    with pytest.raises(Refused, match="target must be a relative path below STREAMS_IMAGE_ROOT"):
        replace_below(root, path, "target", b"x")


@given(st.text(st.sampled_from("./\0ab:"), max_size=12))
def test_every_accepted_path_stays_below(path: str) -> None:
    try:
        parts = path_parts(path, "source")
    except Refused:
        return
    resolved = Path(os.path.normpath("/root/" + "/".join(parts)))
    assert resolved.parent.is_relative_to("/root")


def test_links_are_not_followed(root: Path) -> None:
    (root / "file").symlink_to(root.parent / "secret")
    (root / "out").symlink_to(root.parent)
    for path in ("file", "out/secret"):
        with pytest.raises(Refused, match="symbolic links are not followed"):
            read(root, path)
    with pytest.raises(Refused, match="symbolic links are not followed"):
        replace_below(root, "out/secret", "target", b"x")
    assert (root.parent / "secret").read_bytes() == b"secret"


def test_a_link_in_the_place_of_the_target_is_replaced(root: Path) -> None:
    (root / "file").symlink_to(root.parent / "secret")
    replace_below(root, "file", "target", b"new")
    assert not (root / "file").is_symlink()
    assert (root / "file").read_bytes() == b"new"
    assert (root.parent / "secret").read_bytes() == b"secret"


def test_the_root_itself_may_be_a_link(root: Path) -> None:
    link = root.parent / "link"
    link.symlink_to(root)
    assert read(link, "a.bin") == b"a"


def test_only_regular_files_are_read(root: Path) -> None:
    os.mkfifo(root / "pipe")
    (root / "directory").mkdir()
    with socket.socket(socket.AF_UNIX) as server, chdir(root):
        server.bind("socket")
        for path in ("pipe", "directory", "socket"):
            with pytest.raises(Refused, match=r"source (is no regular file|cannot be used)"):
                read(root, path)


def test_a_file_that_is_too_large_is_not_read(root: Path) -> None:
    with open_below(root, "a.bin", "source", 1) as file:
        assert file.read() == b"a"
    (root / "b.bin").write_bytes(b"ab")
    with pytest.raises(Refused, match="source has 2 bytes, more than the 1"), open_below(root, "b.bin", "source", 1):
        pass


@pytest.mark.parametrize("path", ["/".join("a" * 33), "a\nb", "a\x85b", "\ud800", "d/" + "x" * 300 + "/c", "x" * 300])
def test_paths_that_no_file_can_have_are_refused_and_nothing_is_made(root: Path, path: str) -> None:
    (root / "d").mkdir()
    before = sorted(root.rglob("*"))
    with pytest.raises(Refused, match=r"^target (must be a path|cannot be used)"):
        replace_below(root, path, "target", b"x")
    assert sorted(root.rglob("*")) == before


def test_a_directory_in_the_place_of_the_target_stays(root: Path) -> None:
    (root / "d").mkdir()
    with pytest.raises(Refused, match="target cannot be used: 'd'"):
        replace_below(root, "d", "target", b"x")
    assert [path.name for path in root.iterdir() if path.name.startswith(".")] == []


def test_a_missing_source_is_named(root: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"source is not there below STREAMS_IMAGE_ROOT: 'no/where.png'"):
        read(root, "no/where.png")


def test_directories_are_made_and_files_replaced_whole(root: Path) -> None:
    replace_below(root, "b/c/d.bin", "target", b"first")
    with open_below(root, "b/c/d.bin", "source") as before:
        replace_below(root, "b/c/d.bin", "target", b"second")
        assert before.read() == b"first"
    assert read(root, "b/c/d.bin") == b"second"
    assert [path.name for path in (root / "b" / "c").iterdir()] == ["d.bin"]


def test_a_full_disk_is_not_the_jobs_fault(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor for good: such a job is tried again, where one that is refused is not."""

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "rename", full)
    with pytest.raises(OSError, match="No space left") as failure:
        replace_below(root, "b.bin", "target", b"x")
    assert not isinstance(failure.value, PermanentError)


def test_a_failed_write_leaves_nothing_behind(root: Path) -> None:
    (root / "taken").mkdir()
    with pytest.raises(Refused, match="target cannot be used"):
        replace_below(root, "taken", "target", b"x")
    assert sorted(path.name for path in root.iterdir()) == ["a.bin", "taken"]


def test_no_descriptor_stays_open(root: Path) -> None:
    before = len(list(Path("/dev/fd").iterdir()))
    for path in ("a.bin", "no", "../x", "a.bin/b"):
        with suppress(Refused, FileNotFoundError):
            read(root, path)
    replace_below(root, "x/y/z", "target", b"x")
    assert len(list(Path("/dev/fd").iterdir())) == before
