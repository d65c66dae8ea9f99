"""The few things a store does to a disk, so that what is there stays whole at every moment."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from backup_lib import filesystem
from backup_lib.errors import StoreError, printable, translated
from backup_lib.store.layout import partial_name

__all__ = [
    "discard",
    "guarded",
    "is_file",
    "link_to",
    "make_folder",
    "new_file",
    "open_folder",
    "write_whole",
]

_MAKE_ROOM = "make room, or run invoke clean; the earlier backups are untouched"
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS)


@contextmanager
def guarded(store: Path, doing: str, advice: str = "") -> Iterator[None]:
    """Turn an ``OSError`` of the body into a `StoreError`: what was being done, the cause, what to do."""
    try:
        yield
    except OSError as cause:
        space = _about_space(store, cause)
        with translated(StoreError, doing, space or advice, "" if space else store):
            raise


def _about_space(store: Path, cause: OSError) -> str:
    if cause.errno not in (errno.ENOSPC, errno.EDQUOT):
        return ""
    with suppress(OSError):
        disk = os.statvfs(store)
        free = disk.f_bavail * disk.f_frsize
        return f"{free} bytes are left at {printable(store)}, and more are needed; {_MAKE_ROOM}"
    return _MAKE_ROOM


def make_folder(folder: Path) -> None:
    """Make a folder for its owner alone, where it is not there yet, and let it outlast a power cut."""
    if folder.is_dir():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(0o700, exist_ok=True)
    filesystem.sync_folder(folder.parent)


@contextmanager
def open_folder(folder: Path) -> Iterator[int]:
    """Hold a folder open while the body runs; raises `OSError` where it is a link."""
    fd = os.open(folder, filesystem.OPEN_DIRECTORY)
    try:
        yield fd
    finally:
        os.close(fd)


@contextmanager
def new_file(folder: Path, name: str) -> Iterator[tuple[BinaryIO, Path]]:
    """Open an unbuffered file under a temporary name for `name`; it is discarded if it keeps that name."""
    with open_folder(folder) as fd:
        path = folder / partial_name(name)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            with open(os.open(path.name, flags, 0o600, dir_fd=fd), "wb", buffering=0) as file:
                yield file, path
        finally:
            discard(path)


def write_whole(file: BinaryIO, data: bytes) -> None:
    """Write all of `data` into an unbuffered file, which may take less at a call."""
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]


def discard(path: Path) -> None:
    """Delete a file if that can be done; what is left is swept by the next run."""
    with suppress(OSError):
        os.unlink(path)


def is_file(path: Path, size: int) -> bool:
    """Tell whether `path` is a regular file of that many bytes, and no link to one."""
    try:
        status = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISREG(status.st_mode) and status.st_size == size


def link_to(target: str, path: Path) -> None:
    """Make `path` a symlink to `target` in one step; nothing where the file system has no symlinks."""
    partial = path.with_name(partial_name(path.name))
    try:
        os.symlink(target, partial)
        os.replace(partial, path)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
    finally:
        discard(partial)
