"""Reading the project's files so that what is archived is one true state of each."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from backup_lib.filesystem import open_beneath
from backup_lib.model import Source

__all__ = ["TRIES", "Taken", "held_still", "opened", "read_piece", "take_file"]

TRIES = 3
"""How often a file is read while it keeps changing."""

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_SHORT = 4000
_MOST = 64 << 20
"""The most bytes of a file that are held at once: far more than a small file grows between scan and read."""


@dataclass(frozen=True, slots=True)
class Taken:
    """One read of a small file."""

    source: Source
    """As it was when it was read."""
    data: bytes
    changed: bool
    """True where it changed under every try."""


@contextmanager
def opened(root: int, source: Source) -> Iterator[tuple[int, Source]]:
    """Open a file of the project for reading; yield it with the source as it is now.

    It is the file that the scan saw, or one put in its place below the same folders: never one
    reached over a link, never anything but a regular file, and opening never waits.

    Raises `OSError` where there is no such file any more.
    """
    fd = _open(root, source.path)
    try:
        now = os.fstat(fd)
        if (now.st_ino, now.st_dev) != (source.inode, source.device):
            os.close(fd)
            fd = -1
            fd = open_beneath(root, source.path, _READ)
            now = os.fstat(fd)
        if not stat.S_ISREG(now.st_mode):
            raise OSError(0, "no longer a regular file", source.path)
        yield fd, _as_now(source, now)
    finally:
        if fd >= 0:
            os.close(fd)


def _open(root: int, path: bytes) -> int:
    if len(path) > _SHORT:
        return open_beneath(root, path, _READ)
    return os.open(path, _READ, dir_fd=root)


def _as_now(source: Source, now: os.stat_result) -> Source:
    if _same(source, now):
        return source
    return replace(
        source,
        mode=stat.S_IMODE(now.st_mode),
        uid=now.st_uid,
        gid=now.st_gid,
        size=now.st_size,
        mtime_ns=now.st_mtime_ns,
        ctime_ns=now.st_ctime_ns,
        device=now.st_dev,
        inode=now.st_ino,
    )


def _same(source: Source, now: os.stat_result) -> bool:
    """Whether the file is what it was; a changed mode or owner shows in the ctime."""
    return (
        source.size == now.st_size
        and source.ctime_ns == now.st_ctime_ns
        and source.mtime_ns == now.st_mtime_ns
        and source.inode == now.st_ino
        and source.device == now.st_dev
    )


def held_still(fd: int, source: Source) -> bool:
    """Whether an open file still is what `opened` yielded."""
    return _same(source, os.fstat(fd))


def read_piece(fd: int, size: int) -> bytes:
    """Read `size` bytes of an open file, fewer only at its end, however little the disk gives at once."""
    data = os.read(fd, size)
    while 0 < len(data) < size and (more := os.read(fd, size - len(data))):
        data += more
    return data


def take_file(root: int, source: Source) -> Taken:
    """Read a small file whole, again if it changes meanwhile.

    Raises `OSError` where it cannot be read, or grew so much that it is small no more.
    """
    for left in reversed(range(TRIES)):
        with opened(root, source) as (fd, now):
            if now.size > _MOST:
                raise OSError(errno.EFBIG, "it grew too fast to be read at once", source.path)
            data = _read(fd, now.size)
            if len(data) == now.size and held_still(fd, now):
                return Taken(now, data, changed=False)
            if not left:
                return Taken(replace(now, size=len(data)), data, changed=True)
    raise AssertionError  # pragma: no cover


def _read(fd: int, size: int) -> bytes:
    """Read `size` bytes and one more, which tells that the file grew."""
    data = os.read(fd, size + 1)
    if len(data) >= size or not data:
        return data
    parts = [data]
    have = len(data)
    while have <= size and (part := os.read(fd, size + 1 - have)):
        parts.append(part)
        have += len(part)
    return b"".join(parts)
