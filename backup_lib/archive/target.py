"""The folder that a restore writes into. No name is ever resolved as text, no link ever followed.

Files first, then hard links to them, then symlinks, then the modes and times of folders, deepest first.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
import sys
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from hashlib import file_digest, sha256
from typing import Self

from backup_lib.archive.sparse import Hole
from backup_lib.archive.tar import Stamp
from backup_lib.errors import DamageError, printable
from backup_lib.filesystem import OPEN_DIRECTORY, open_beneath

__all__ = ["Target", "Writer", "is_unnamed"]

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_LOOK = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_HOLE = 64 << 10
"""Zeros of at least this many bytes become a hole in the file."""
_ZEROS = bytes(1 << 20)
_UNNAMED = re.compile(rb"\.(.+)\.[0-9a-f]{8}\.partial", re.DOTALL)


@dataclass(slots=True)
class Target:
    """An open folder, and what is left to do in it when all files are there."""

    folder: int
    merge: bool
    """True where the folder may hold something: every file then replaces the one before in one step."""
    keep_equal: bool = False
    """True where a file that has the content already is not written again."""
    kept: list[bytes] = field(default_factory=list)
    """The files that were not written again."""
    _folders: list[tuple[bytes, Stamp]] = field(default_factory=list)
    _links: list[tuple[bytes, bytes, Stamp]] = field(default_factory=list)
    _hard_links: list[tuple[bytes, bytes]] = field(default_factory=list)

    def make_folders(self, path: bytes) -> None:
        """Make the folder `path` and those above it, where they are missing."""
        missing = [path] if path else []
        while missing:
            if self._is_made(missing[-1]):
                missing.pop()
            else:
                missing.append(missing[-1].rpartition(b"/")[0])

    def _is_made(self, path: bytes) -> bool:
        """Make a folder where it is not there; False where the one above is missing, too."""
        parent, _, name = path.rpartition(b"/")
        try:
            fd = open_beneath(self.folder, parent, OPEN_DIRECTORY)
        except FileNotFoundError:
            return False
        try:
            _make_folder(name, fd)
        finally:
            os.close(fd)
        return True

    def open_folder(self, path: bytes) -> int:
        """Open the folder `path`, which is made where it is missing."""
        try:
            return open_beneath(self.folder, path, OPEN_DIRECTORY)
        except FileNotFoundError:
            self.make_folders(path)
            return open_beneath(self.folder, path, OPEN_DIRECTORY)

    @contextmanager
    def _parent(self, path: bytes) -> Iterator[tuple[int, bytes]]:
        parent, _, name = path.rpartition(b"/")
        fd = open_beneath(self.folder, parent, OPEN_DIRECTORY)
        try:
            yield fd, name
        finally:
            os.close(fd)

    def later_folder(self, path: bytes, stamp: Stamp) -> None:
        """Give a folder its mode and time when everything is in it."""
        self._folders.append((path, stamp))

    def later_link(self, path: bytes, target: bytes, stamp: Stamp) -> None:
        """Make a symlink when all files are there."""
        self._links.append((path, target, stamp))

    def later_hard_link(self, path: bytes, target: bytes) -> None:
        """Make a hard link to the file at `target`, also below this folder, when all files are there."""
        self._hard_links.append((path, target))

    def finish(self) -> None:
        """Do what had to wait."""
        for path, target in self._hard_links:
            self._place(path, partial(self._hard_link, target))
        for path, target, stamp in self._links:
            self._place(path, partial(_symlink, target, stamp))
        for path, stamp in sorted(self._folders, key=lambda folder: folder[0].count(b"/"), reverse=True):
            self._stamp_folder(path, stamp)

    def _place(self, path: bytes, make: Callable[[bytes, int], None]) -> None:
        self.make_folders(path.rpartition(b"/")[0])
        with self._parent(path) as (fd, name):
            if not self.merge:
                make(name, fd)
                return
            unnamed = _unnamed(name)
            try:
                make(unnamed, fd)
                os.replace(unnamed, name, src_dir_fd=fd, dst_dir_fd=fd)
            finally:
                _unlink(unnamed, fd)  # rename does nothing where both are one file already

    def _hard_link(self, target: bytes, name: bytes, fd: int) -> None:
        with self._parent(target) as (target_fd, target_name):
            os.link(target_name, name, src_dir_fd=target_fd, dst_dir_fd=fd, follow_symlinks=False)

    def _stamp_folder(self, path: bytes, stamp: Stamp) -> None:
        fd = open_beneath(self.folder, path, OPEN_DIRECTORY)
        try:
            _stamp(fd, stamp)
        finally:
            os.close(fd)

    def kind_at(self, path: bytes) -> int | None:
        """Return the file type bits of what is at `path`, or None where nothing is."""
        try:
            with self._parent(path) as (fd, name):
                return stat.S_IFMT(os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode)
        except FileNotFoundError:
            return None

    def link_at(self, path: bytes) -> bytes | None:
        """Return the target of the symlink at `path`, or None where none is."""
        try:
            with self._parent(path) as (fd, name):
                return os.readlink(name, dir_fd=fd)
        except OSError:
            return None

    def holds(self, path: bytes, digest: bytes, stamp: Stamp | None = None) -> bool:
        """Whether a regular file of that SHA-256 is at `path` already; if so, it has the `stamp` then.

        One that has other names is not stamped: they may lie outside.
        """
        try:
            fd = open_beneath(self.folder, path, _LOOK)
        except OSError:
            return False
        with open(fd, "rb") as file:
            facts = os.fstat(fd)
            equal = stat.S_ISREG(facts.st_mode) and file_digest(file, "sha256").digest() == digest
            if not equal or stamp is None or _has(facts, stamp):
                return equal
            if facts.st_nlink == 1:
                _stamp(fd, stamp)
            return facts.st_nlink == 1


class Writer:
    """Writes files and makes folders; where the target is new, the folder of the last one stays open."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._parent = b""
        self._fd = -1
        self.kept: list[bytes] = []
        """The files that were not written again."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _at(self, path: bytes) -> tuple[int, bytes]:
        """Return the open folder in which `path` lies, made where it is missing, and its name there."""
        parent, _, name = path.rpartition(b"/")
        if self._fd < 0 or parent != self._parent or self._target.merge:
            self.__exit__()
            self._fd = self._target.open_folder(parent)
            self._parent = parent
        return self._fd, name

    def make_folder(self, path: bytes) -> None:
        """Make the folder `path` and those above it, where they are missing."""
        if path:
            folder, name = self._at(path)
            _make_folder(name, folder)

    def write_file(
        self, path: bytes, stamp: Stamp, pieces: Iterable[bytes | memoryview | Hole], digest: bytes
    ) -> None:
        """Write a file; it gets its name only once its SHA-256 is `digest`.

        An empty `digest` is not compared; otherwise there are no holes among the pieces.
        Raises `DamageError` where it differs.
        """
        if self._target.keep_equal and digest and self._target.holds(path, digest, stamp):
            self.kept.append(path)
            return
        folder, name = self._at(path)
        unnamed = _unnamed(name) if self._target.merge else name
        file = os.open(unnamed, _CREATE, 0o600, dir_fd=folder)
        try:
            try:
                if _copy(pieces, file, bool(digest)) != digest:
                    raise DamageError(f"{printable(path)} does not match its SHA-256; it was not restored")
                _stamp(file, stamp)
                if self._target.merge:
                    os.fsync(file)
            finally:
                os.close(file)
            if self._target.merge:
                os.replace(unnamed, name, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            _unlink(unnamed, folder)
            raise


def _make_folder(name: bytes, folder: int) -> None:
    """Make a folder in an open one; raises `OSError` where something else is in its place."""
    try:
        os.mkdir(name, 0o777, dir_fd=folder)
    except FileExistsError:
        os.close(open_beneath(folder, name, OPEN_DIRECTORY))


def _stamp(fd: int, stamp: Stamp) -> None:
    os.fchmod(fd, stamp.mode & 0o777)
    os.utime(fd, ns=(stamp.mtime_ns, stamp.mtime_ns))


def _has(facts: os.stat_result, stamp: Stamp) -> bool:
    return (stat.S_IMODE(facts.st_mode), facts.st_mtime_ns) == (stamp.mode & 0o777, stamp.mtime_ns)


def _copy(pieces: Iterable[bytes | memoryview | Hole], file: int, hashed: bool) -> bytes:
    """Write the pieces, long runs of zeros as holes; return their SHA-256, or b"" unless `hashed`."""
    digest = sha256()
    size = written = 0
    for piece in pieces:
        if isinstance(piece, Hole):
            size += piece.length
            os.ftruncate(file, size)  # says so where no file can be as long
            os.lseek(file, size, os.SEEK_SET)
            continue
        if hashed:
            digest.update(piece)
        size += len(piece)
        if len(piece) >= _HOLE and _ZEROS.startswith(piece):
            os.lseek(file, len(piece), os.SEEK_CUR)
            continue
        while piece:
            piece = piece[os.write(file, piece) :]
        written = size
    if written < size:
        os.ftruncate(file, size)
    return digest.digest() if hashed else b""


def _unnamed(name: bytes) -> bytes:
    return b".%b.%b.partial" % (name[:200], secrets.token_hex(4).encode())


def is_unnamed(name: bytes, names: Collection[bytes]) -> bool:
    """Whether `name` is a temporary one, of a file that will be called one of `names`."""
    temporary = _UNNAMED.fullmatch(name)
    return temporary is not None and any(each[:200] == temporary[1] for each in names)


def _symlink(target: bytes, stamp: Stamp, name: bytes, folder: int) -> None:
    """Make a symlink with its time; what another puts in its place meanwhile keeps its own."""
    os.symlink(target, name, dir_fd=folder)
    times = (stamp.mtime_ns, stamp.mtime_ns)
    if sys.platform != "linux":
        os.utime(name, ns=times, dir_fd=folder, follow_symlinks=False)
        return
    fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    try:
        if stat.S_ISLNK(os.fstat(fd).st_mode):
            os.utime(f"/proc/self/fd/{fd}", ns=times)  # the link itself: it is not followed once more
    finally:
        os.close(fd)


def _unlink(name: bytes, folder: int) -> None:
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder)
