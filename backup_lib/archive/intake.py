"""Reading the project's files so that what is archived is one true state of each."""

from __future__ import annotations

import errno
import os
import stat
import time
from contextlib import suppress

import msgspec

from backup_lib.archive.buffer import Buffer
from backup_lib.filesystem import open_beneath
from backup_lib.model import Source

__all__ = ["TRIES", "as_file", "held_still", "is_still", "open_source", "take_file"]

TRIES = 3
"""How often a file is read while it keeps changing."""

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_SHORT = 4000
_MOST = 64 << 20
"""The most bytes of a file that are held at once: far more than a small file grows between scan and read."""
_LONGEST_WRITE_NS = 60_000_000_000


def open_source(root: int, source: Source) -> tuple[int, Source]:
    """Open a file of the project for reading; return it with the source as it is now.

    It is the file that the scan saw, or one put in its place below the same folders: never one
    reached over a link, never anything but a regular file, and opening never waits.
    No write is under way in it that its times tell of already: they tell of every one that follows.

    Raises `OSError` where there is no such file any more.
    """
    fd = _open(root, source.path)
    try:
        now = os.fstat(fd)
        if now.st_ino != source.inode or now.st_dev != source.device:
            os.close(fd)
            fd = -1
            fd = open_beneath(root, source.path, _READ)
            now = os.fstat(fd)
    except BaseException:
        if fd >= 0:
            os.close(fd)
        raise
    if not stat.S_ISREG(now.st_mode):
        os.close(fd)
        raise OSError(0, "no longer a regular file", source.path)
    if now.st_ctime_ns > time.time_ns() - _LONGEST_WRITE_NS:
        _let_write_end(fd)
    return fd, _as_now(source, now)


def _let_write_end(fd: int) -> None:
    """Wait until no call is in the midst of writing to an open file.

    The kernel stamps a file when a write begins, and lets others read what is half written (ext4, tmpfs).
    Looking for data takes the lock that a write holds to its end.
    """
    with suppress(OSError):  # there are no data, or none can be looked for
        if os.lseek(fd, 0, os.SEEK_DATA):
            os.lseek(fd, 0, os.SEEK_SET)


def _open(root: int, path: bytes) -> int:
    if len(path) > _SHORT:
        return open_beneath(root, path, _READ)
    return os.open(path, _READ, dir_fd=root)


def _as_now(source: Source, now: os.stat_result) -> Source:
    if _same(source, now):
        return source
    return msgspec.structs.replace(
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


def as_file(root: int, link: Source) -> Source:
    """Return a hard link as a file of its own, with the size that it has now."""
    size = 0
    with suppress(OSError):  # whoever reads it will say so
        size = os.stat(link.path, dir_fd=root, follow_symlinks=False).st_size
    return msgspec.structs.replace(link, kind="file", link=b"", size=size)


def is_still(root: int, source: Source) -> bool:
    """Whether the very thing that the scan saw still stands there, unchanged by its times."""
    try:
        now = os.stat(source.path, dir_fd=root, follow_symlinks=False)
    except OSError:
        return False
    seen = (source.ctime_ns, source.mtime_ns, source.inode, source.device)
    return seen == (now.st_ctime_ns, now.st_mtime_ns, now.st_ino, now.st_dev)


def held_still(fd: int, source: Source) -> bool:
    """Whether an open file still is what `open_source` returned."""
    return _same(source, os.fstat(fd))


def take_file(root: int, source: Source, buffer: Buffer) -> tuple[Source, bool]:
    """Read a small file whole to the end of `buffer`, again if it changes meanwhile.

    Return the source as it was when it was read, and whether it changed under every try.
    Raises `OSError` where it cannot be read, or grew so much that it is small no more.
    """
    start = buffer.used
    for left in reversed(range(TRIES)):
        buffer.cut(start)
        fd, now = open_source(root, source)
        try:
            if now.size > _MOST:
                raise OSError(errno.EFBIG, "it grew too fast to be read at once", source.path)
            size = buffer.read(fd, now.size, beyond=1)  # which tells that it grew
            if size == now.size and held_still(fd, now):
                return now, False
            if not left:
                return msgspec.structs.replace(now, size=size), True
        finally:
            os.close(fd)
    raise AssertionError  # pragma: no cover
