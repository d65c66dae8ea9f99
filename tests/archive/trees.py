"""Real trees for the tests of the archive: made, scanned, looked at, backed up and restored."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backup_lib.archive.extract import Wish, extract, place
from backup_lib.archive.reader import Reader, open_archive, open_for_reading
from backup_lib.archive.replay import extract_plain, place_plain
from backup_lib.archive.target import Target
from backup_lib.archive.writer import Tree, Written, write_archive
from backup_lib.filesystem import OPEN_DIRECTORY
from backup_lib.model import Format, Header, Kind, Source

FORMATS: tuple[Format, ...] = ("gz", "zst")
COMMIT = "3f2c1a9b" * 5
EVERYTHING = Wish(outside_links=True)
_KINDS: dict[int, Kind] = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "symlink"}


def quiet(count: int) -> None:
    """Take a step of progress, and say nothing."""


def head(format: Format = "gz", **more: Any) -> Header:
    """Return what is known of an archive at first."""
    known: dict[str, Any] = {"version": "1.1.0", "scanned_ns": 0, "level": "fast", "commit": COMMIT, **more}
    return Header(project="demo", created="2026-11-22T21:45:00Z", format=format, **known)


@contextmanager
def opened_folder(path: Path | bytes) -> Iterator[int]:
    """Yield an open folder."""
    fd = os.open(path, OPEN_DIRECTORY)
    try:
        yield fd
    finally:
        os.close(fd)


@contextmanager
def inside(root: Path, parts: Iterable[bytes]) -> Iterator[int]:
    """Yield an open folder below `root`, made where it is missing, however long its path is."""
    fd = os.open(root, OPEN_DIRECTORY)
    try:
        for part in parts:
            if part not in map(os.fsencode, os.listdir(fd)):
                os.mkdir(part, dir_fd=fd)
            deeper = os.open(part, OPEN_DIRECTORY, dir_fd=fd)
            os.close(fd)
            fd = deeper
        yield fd
    finally:
        os.close(fd)


def write_file(root: Path, path: bytes, content: bytes = b"content\n", mode: int = 0o644) -> None:
    """Write a file and the folders above it."""
    *parents, name = path.split(b"/")
    with inside(root, parents) as folder:
        fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600, dir_fd=folder)
        with open(fd, "wb") as file:
            file.write(content)
            os.fchmod(fd, mode)


def scan(root: Path) -> list[Source]:
    """Return what stands in a tree, folders before what they hold, hard links after their first name."""
    first_names: dict[tuple[int, int], bytes] = {}
    with opened_folder(root) as fd:
        return [_source(b"", os.fstat(fd), b""), *_scan(fd, b"", first_names)]


def _scan(folder: int, prefix: bytes, first_names: dict[tuple[int, int], bytes]) -> Iterator[Source]:
    for name in sorted(map(os.fsencode, os.listdir(folder))):
        facts = os.stat(name, dir_fd=folder, follow_symlinks=False)
        path = prefix + name
        if stat.S_ISDIR(facts.st_mode):
            yield _source(path, facts, b"")
            fd = os.open(name, OPEN_DIRECTORY, dir_fd=folder)
            try:
                yield from _scan(fd, path + b"/", first_names)
            finally:
                os.close(fd)
        elif stat.S_ISLNK(facts.st_mode):
            yield _source(path, facts, os.readlink(name, dir_fd=folder))
        else:
            first = first_names.setdefault((facts.st_dev, facts.st_ino), path)
            yield _source(path, facts, b"" if first == path else first)


def _source(path: bytes, facts: os.stat_result, link: bytes) -> Source:
    kind = _KINDS[stat.S_IFMT(facts.st_mode)]
    if kind == "file" and link:
        kind = "hardlink"
    return Source(
        path=path,
        kind=kind,
        mode=stat.S_IMODE(facts.st_mode),
        uid=facts.st_uid,
        gid=facts.st_gid,
        size=facts.st_size if kind == "file" else 0,
        mtime_ns=facts.st_mtime_ns,
        ctime_ns=facts.st_ctime_ns,
        device=facts.st_dev,
        inode=facts.st_ino,
        link=link,
        state="untracked" if kind in ("file", "hardlink") else "",
    )


def back_up(root: Path, archive: Path, header: Header, sources: list[Source] | None = None) -> Written:
    """Write an archive of a tree; of `sources`, where the tree has changed since they were seen."""
    found = scan(root) if sources is None else sources
    with opened_folder(root) as fd, archive.open("wb+") as file:
        return write_archive(file, header, Tree(fd, found), quiet)


@contextmanager
def reading(archive: Path) -> Iterator[Reader]:
    """Yield a reader of an archive with an index."""
    with open_for_reading(archive) as (read_at, size):
        reader = open_archive(read_at, size)
        assert reader is not None
        yield reader


def restore(archive: Path, to: Path, wish: Wish = EVERYTHING, merge: bool = False) -> None:
    """Restore an archive by its index into a folder, which is made where it is missing."""
    to.mkdir(exist_ok=True)
    with reading(archive) as reader, opened_folder(to) as folder:
        extract(reader, place(reader, wish), Target(folder, merge), quiet)


def restore_plain(archive: Path, to: Path, wish: Wish = EVERYTHING, merge: bool = False) -> None:
    """Restore any archive without its index."""
    to.mkdir(exist_ok=True)
    with opened_folder(to) as folder:
        extract_plain(archive, place_plain(archive, wish), Target(folder, merge), quiet)


@dataclass(frozen=True)
class Thing:
    """What can be told of something in a tree, and is to come back."""

    kind: int
    mode: int
    mtime: int
    content: bytes
    same_as: bytes


def look(root: Path, whole: Callable[[int], int] = lambda mode: mode & 0o777) -> dict[bytes, Thing]:
    """Return everything below a folder, with modes as `whole` leaves them and times in whole seconds."""
    found: dict[bytes, Thing] = {}
    with opened_folder(root) as fd:
        _look(fd, b"", found, {}, whole)
    return found


def _look(
    folder: int,
    prefix: bytes,
    found: dict[bytes, Thing],
    first_names: dict[tuple[int, int], bytes],
    whole: Callable[[int], int],
) -> None:
    for name in sorted(map(os.fsencode, os.listdir(folder))):
        facts = os.stat(name, dir_fd=folder, follow_symlinks=False)
        kind = stat.S_IFMT(facts.st_mode)
        path, content, same_as = prefix + name, b"", b""
        if kind == stat.S_IFREG:
            with open(os.open(name, os.O_RDONLY, dir_fd=folder), "rb") as file:
                content = file.read()
            same_as = first_names.setdefault((facts.st_dev, facts.st_ino), path)
        elif kind == stat.S_IFLNK:
            content = os.readlink(name, dir_fd=folder)
        mode = 0 if kind == stat.S_IFLNK else whole(stat.S_IMODE(facts.st_mode))
        found[path] = Thing(kind, mode, facts.st_mtime_ns // 1_000_000_000, content, same_as)
        if kind == stat.S_IFDIR:
            fd = os.open(name, OPEN_DIRECTORY, dir_fd=folder)
            try:
                _look(fd, path + b"/", found, first_names, whole)
            finally:
                os.close(fd)


def run(*command: str | Path, data: bytes = b"") -> bytes:
    """Run a command that must succeed; return what it printed."""
    done = subprocess.run(command, input=data, capture_output=True, check=False)
    assert done.returncode == 0, (command, done.stderr)
    return done.stdout
