"""Files below one directory, named by people who are not trusted."""

from __future__ import annotations

import errno
import os
import secrets
import stat
import unicodedata
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from streams.jobs.support.errors import Refused

#: What no time will mend. The others are the disk's or its administrator's, such as a full disk, and may pass.
_WRONG_PATH = frozenset({errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENOTDIR, errno.ENXIO})

#: Parts of a path: each is a directory that is opened, or made.
_DEEPEST = 32

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# O_NONBLOCK: opening a named pipe would wait for its writer.
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def path_parts(path: str, field: str) -> tuple[str, ...]:
    """The components of a relative path; raises Refused for every path that could leave its directory."""
    parts = tuple(path.split("/"))
    if "\0" in path or "://" in path or any(part in {"", ".", ".."} for part in parts):
        raise Refused(
            f"{field} must be a relative path below STREAMS_IMAGE_ROOT, such as 'photos/cat.jpg', without '..';"
            f" not {path[:200]!r}"
        )
    if len(parts) > _DEEPEST or not _is_name(path):
        raise Refused(
            f"{field} must be a path of at most {_DEEPEST} parts, of characters that a file's name can have; not"
            f" {path[:200]!r}"
        )
    return parts


def _is_name(path: str) -> bool:
    """Whether the file system's encoding has it, and no control is among it."""
    try:
        os.fsencode(path)
    except UnicodeEncodeError:
        return False
    return not any(unicodedata.category(character) == "Cc" for character in path)


@contextmanager
def open_below(root: Path, path: str, field: str, most: int | None = None) -> Iterator[BinaryIO]:
    """Open a regular file of at most so many bytes below the root for reading; symbolic links are not followed.

    Raises Refused, OSError.
    """
    parts = path_parts(path, field)
    with _directory(root, parts[:-1], path, field, create=False) as directory:
        with _explained(path, field):
            descriptor = os.open(parts[-1], _READ, dir_fd=directory)
        with _closing(descriptor):
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise Refused(f"{field} is no regular file: {path!r}")
            if most is not None and found.st_size > most:
                raise Refused(f"{field} has {found.st_size} bytes, more than the {most} that are allowed: {path!r}")
        with open(descriptor, "rb") as file:  # noqa: PTH123 - a descriptor, not a path
            yield file


@contextmanager
def _closing(descriptor: int) -> Iterator[None]:
    """Close a descriptor if what is done with it fails."""
    try:
        yield
    except BaseException:
        os.close(descriptor)
        raise


def replace_below(root: Path, path: str, field: str, content: bytes) -> None:
    """Write a file below the root so that it is there whole or not at all; missing directories are made.

    A file of that name is replaced; a symbolic link is replaced, not followed. Raises Refused, OSError.
    """
    parts = path_parts(path, field)
    with _directory(root, parts[:-1], path, field, create=True) as directory:
        scratch = f".{secrets.token_hex(8)}.tmp"
        try:
            _write(scratch, directory, content)
            with _explained(path, field):
                os.rename(scratch, parts[-1], src_dir_fd=directory, dst_dir_fd=directory)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(scratch, dir_fd=directory)
            raise
        os.fsync(directory)


def _write(name: str, directory: int, content: bytes) -> None:
    descriptor = os.open(name, _CREATE, 0o644, dir_fd=directory)
    with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor, not a path
        file.write(content)
        file.flush()
        os.fsync(descriptor)


@contextmanager
def _directory(root: Path, parts: tuple[str, ...], path: str, field: str, *, create: bool) -> Iterator[int]:
    """The open directory of a path. Each step starts at the one before it, so nobody can swap one for a link."""
    with ExitStack() as opened:
        current = _open_directory(opened, str(root), None)
        for part in parts:
            with _explained(path, field):
                if create:
                    with suppress(FileExistsError):
                        os.mkdir(part, dir_fd=current)
                current = _open_directory(opened, part, current)
        yield current


def _open_directory(opened: ExitStack, name: str, parent: int | None) -> int:
    # The root may be a link of the administrator's; below it none is followed.
    flags = _DIRECTORY if parent is None else _DIRECTORY | os.O_NOFOLLOW
    descriptor = os.open(name, flags, dir_fd=parent)
    opened.callback(os.close, descriptor)
    return descriptor


@contextmanager
def _explained(path: str, field: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise FileNotFoundError(error.errno, f"{field} is not there below STREAMS_IMAGE_ROOT", path) from None
    except OSError as error:
        if error.errno not in _WRONG_PATH:
            raise
        raise Refused(
            f"{field} cannot be used: {path!r} ({error.strerror}); symbolic links are not followed"
        ) from error
