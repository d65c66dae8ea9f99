"""Files that do not hold still: what is archived is one true state of each, and what went wrong is named."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from backup_lib.archive.block import PIECE
from backup_lib.archive.check import check_archive
from backup_lib.archive.intake import TRIES, is_still, open_source
from backup_lib.archive.reader import Reader
from backup_lib.archive.reuse import Reuse
from backup_lib.archive.writer import Tree, write_archive
from backup_lib.model import Block, Entry, Format, Problem, Source

from .trees import (
    COMMIT,
    FORMATS,
    back_up,
    head,
    look,
    opened_folder,
    quiet,
    reading,
    restore,
    run,
    scan,
    write_file,
)

SMALL, LARGE = 1000, 2 * PIECE + 777
SIZES = pytest.mark.parametrize("size", [SMALL, LARGE])


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a tree of two files that hold still; the tests put a third between them."""
    root = tmp_path / "tree"
    root.mkdir()
    write_file(root, b"a", b"first")
    write_file(root, b"z", b"last")
    return root


def archived(
    root: Path, sources: list[Source], format: Format = "gz"
) -> tuple[dict[bytes, Entry], list[Problem]]:
    """Back up, and return the entries by path, and the problems; the archive must be perfect in itself."""
    archive = root.parent / "demo"
    written = back_up(root, archive, head(format), sources)
    with reading(archive) as reader:
        assert check_archive(reader, quiet).flaws == ()
        entries = {entry.path: entry for entry in reader.entries()}
    run("bsdtar", "-tf", archive)
    restore(archive, root.parent / f"restored {format}")
    assert written.summary.complete == (not written.summary.problems)
    return entries, list(written.summary.problems)


def restored(root: Path, path: bytes, format: Format = "gz") -> bytes:
    """Return the content that came back."""
    return look(root.parent / f"restored {format}" / "demo")[path].content


class Reads:
    """Does something to a file while it is read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
        self.file = file
        self.inode = file.stat().st_ino
        self.count = 0
        self.actions: dict[int, Callable[[], Any]] = {}
        self.always: Callable[[], Any] = int
        self._read = os.readv
        monkeypatch.setattr(os, "readv", self.read)

    def read(self, fd: int, buffers: list[memoryview]) -> int:
        """Read as ever, and act after the n-th read of the file."""
        got = self._read(fd, buffers)
        if os.fstat(fd).st_ino == self.inode:
            self.count += 1
            self.actions.get(self.count, int)()
            self.always()
        return got


def append(file: Path, data: bytes = b"more") -> None:
    """Let a file grow."""
    with file.open("ab") as opened:
        opened.write(data)


@SIZES
@pytest.mark.parametrize("format", FORMATS)
def test_what_changed_before_it_was_read(root: Path, size: int, format: Format) -> None:
    """A file that grew, shrank or was replaced by another since the scan is archived as it is now."""
    for name in ("grows", "shrinks", "replaced", "emptied", "chmod"):
        write_file(root, name.encode(), bytes(size))
    sources = [replace(source, state="committed" if source.path else "") for source in scan(root)]
    append(root / "grows")
    os.truncate(root / "shrinks", size - 700)
    write_file(root, b"new", b"new")
    (root / "new").rename(root / "replaced")
    os.truncate(root / "emptied", 0)
    (root / "chmod").chmod(0o700)
    entries, problems = archived(root, sources, format)
    assert problems == []
    states = {path: entry.state for path, entry in entries.items() if path}
    assert states.pop(b"a") == states.pop(b"z") == "committed"
    assert set(states.values()) == {"modified"}  # git did not see what they are now
    assert entries[b"grows"].size == size + 4
    for path in (b"grows", b"shrinks", b"replaced", b"emptied"):
        assert restored(root, path, format) == (root / os.fsdecode(path)).read_bytes()
    assert look(root.parent / f"restored {format}" / "demo")[b"chmod"].mode == 0o700


@SIZES
def test_what_is_no_file_any_more(root: Path, size: int) -> None:
    """A file that became a link, a fifo or a folder is named, left out, and never followed or waited for."""
    names = ["fifo", "folder", "gone", "link"]
    for name in names:
        write_file(root, name.encode(), bytes(size))
    sources = scan(root)
    for name in names:
        (root / name).unlink()
    os.mkfifo(root / "fifo")
    (root / "folder").mkdir()
    (root / "link").symlink_to("a")
    entries, problems = archived(root, sources)
    assert entries.keys() == {b"", b"a", b"z"}
    assert {(problem.path, problem.kind) for problem in problems} == {
        (b"fifo", "unreadable"),
        (b"folder", "unreadable"),
        (b"gone", "vanished"),
        (b"link", "unreadable"),
    }
    assert all(problem.reason for problem in problems)


def test_a_folder_that_became_a_link(root: Path, tmp_path: Path) -> None:
    """Nothing is read over a folder that was replaced by a link to somewhere else."""
    write_file(root, b"d/file", b"inside")
    write_file(tmp_path, b"outside/file", b"a secret")
    sources = scan(root)
    (root / "d").rename(tmp_path / "moved")
    (root / "d").symlink_to("../outside")
    entries, problems = archived(root, sources)
    assert b"d/file" not in entries
    assert [(problem.path, problem.kind) for problem in problems] == [(b"d/file", "unreadable")]


@SIZES
def test_a_file_that_changes_once(root: Path, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that changes while it is read is read again, whole."""
    write_file(root, b"m", os.urandom(size))
    reads = Reads(monkeypatch, root / "m")
    reads.actions[1] = lambda: append(root / "m")
    entries, problems = archived(root, scan(root))
    assert problems == []
    assert entries[b"m"].size == size + 4
    assert not entries[b"m"].changed
    assert restored(root, b"m") == (root / "m").read_bytes()


@SIZES
def test_a_file_that_keeps_changing(root: Path, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that changes under every read is kept as one of them, and marked in index and summary."""
    write_file(root, b"m", os.urandom(size))
    reads = Reads(monkeypatch, root / "m")
    reads.always = lambda: append(root / "m")
    entries, problems = archived(root, scan(root))
    assert [(problem.path, problem.kind) for problem in problems] == [(b"m", "changed")]
    assert entries[b"m"].changed
    assert entries[b"m"].size >= size
    assert (root / "m").read_bytes().startswith(restored(root, b"m"))
    assert reads.count >= TRIES


@SIZES
def test_a_file_that_shrinks_under_every_read(root: Path, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file cut short under every read leaves an archive that is perfect all the same."""
    write_file(root, b"m", b"x" * size)
    reads = Reads(monkeypatch, root / "m")
    left = iter(range(size - 600, 0, -100))
    reads.always = lambda: os.truncate(root / "m", next(left))
    entries, problems = archived(root, scan(root))
    assert [(problem.path, problem.kind) for problem in problems] == [(b"m", "changed")]
    assert restored(root, b"m").strip(b"\0") in (b"x" * len(restored(root, b"m").strip(b"\0")), b"")
    assert entries.keys() == {b"", b"a", b"m", b"z"}


def test_a_large_file_cut_off_while_it_is_read(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a large file lost in the last read is filled with zeros: its header had promised them."""
    write_file(root, b"m", b"x" * LARGE)
    reads = Reads(monkeypatch, root / "m")
    reads.always = lambda: os.utime(root / "m", ns=(0, reads.count)) if reads.count < 7 else None
    reads.actions[7] = lambda: os.truncate(root / "m", PIECE)
    entries, problems = archived(root, scan(root))
    assert [problem.kind for problem in problems] == ["changed"]
    assert restored(root, b"m") == b"x" * PIECE + bytes(LARGE - PIECE)
    assert entries[b"m"].size == LARGE


@SIZES
def test_a_file_that_vanishes_while_it_is_read(
    root: Path, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file removed while it is read is named as vanished, and what was written of it is taken back."""
    write_file(root, b"m", os.urandom(size))
    reads = Reads(monkeypatch, root / "m")
    reads.actions[1] = (root / "m").unlink
    entries, problems = archived(root, scan(root))
    assert entries.keys() == {b"", b"a", b"z"}
    assert [(problem.path, problem.kind) for problem in problems] == [(b"m", "vanished")]


@SIZES
def test_a_file_replaced_while_it_is_read(root: Path, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another file put in its place is read whole: never half of one and half of the other."""
    write_file(root, b"m", os.urandom(size))
    write_file(root.parent, b"other", b"other" * size)
    reads = Reads(monkeypatch, root / "m")
    reads.actions[1] = lambda: (root.parent / "other").replace(root / "m")
    _, problems = archived(root, scan(root))
    assert problems == []
    assert restored(root, b"m") == b"other" * size


@SIZES
def test_a_disk_error(root: Path, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that the disk gives no more is named as unreadable, and left out whole."""
    write_file(root, b"m", os.urandom(size))

    def fail() -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    Reads(monkeypatch, root / "m").actions[1] = fail
    entries, problems = archived(root, scan(root))
    assert entries.keys() == {b"", b"a", b"z"}
    assert problems == [Problem(b"m", "unreadable", "Input/output error")]


def test_a_file_that_cannot_be_looked_at_is_closed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the disk fails right after a file was opened, no descriptor is left behind."""
    [source] = [each for each in scan(root) if each.path == b"a"]
    opened: list[int] = []

    def fail(fd: int) -> os.stat_result:
        opened.append(fd)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    folder = os.open(root, os.O_RDONLY)
    try:
        with monkeypatch.context() as patched:
            patched.setattr(os, "fstat", fail)
            with pytest.raises(OSError, match="Input/output error"):
                open_source(folder, source)
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(opened[0])
    finally:
        os.close(folder)


def test_no_descriptor_is_left(root: Path) -> None:
    """Neither where a file was replaced since the scan, nor after a restore with links."""
    for name in ("r", "s"):
        write_file(root, name.encode())
    (root / "soft").symlink_to("a")
    os.link(root / "a", root / "hard")
    sources = scan(root)
    for name in ("r", "s"):
        write_file(root.parent, b"other", b"other")
        (root.parent / "other").rename(root / name)
    before = len(os.listdir("/dev/fd"))
    entries, _ = archived(root, sources)
    assert entries[b"r"].size == 5
    assert len(os.listdir("/dev/fd")) == before


def test_what_holds_still(root: Path) -> None:
    """A thing is still what the scan saw until it changes, gives way to another, or is gone."""
    (root / "link").symlink_to("a")
    sources = {each.path: each for each in scan(root)}
    folder = os.open(root, os.O_RDONLY)
    try:
        assert is_still(folder, sources[b"a"])
        assert is_still(folder, sources[b"link"])
        (root / "a").write_bytes(b"other")
        assert not is_still(folder, sources[b"a"])
        assert is_still(folder, sources[b"link"])
        (root / "z").rename(root / "link")
        assert not is_still(folder, sources[b"link"])
        assert not is_still(folder, sources[b"z"])
    finally:
        os.close(folder)


def test_short_reads(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that gives less than it is asked for makes no difference."""
    write_file(root, b"m", os.urandom(SMALL))
    write_file(root, b"n", os.urandom(LARGE))
    back_up(root, root.parent / "demo", head())
    expected = (root.parent / "demo").read_bytes()
    real = os.readv

    def short(fd: int, buffers: list[memoryview]) -> int:
        return real(fd, [buffers[0][: 300_000 if len(buffers[0]) > 5000 else 33]])

    monkeypatch.setattr(os, "readv", short)
    assert archived(root, scan(root))[1] == []
    assert restored(root, b"m") == (root / "m").read_bytes()
    assert (root.parent / "demo").read_bytes() == expected


def test_a_small_file_that_became_huge(root: Path) -> None:
    """A file that was small in the scan and is huge now is named, and never held in memory."""
    write_file(root, b"m")
    sources = scan(root)
    os.truncate(root / "m", 1 << 40)
    assert [(problem.path, problem.kind) for problem in archived(root, sources)[1]] == [(b"m", "unreadable")]


def test_a_file_that_begins_with_a_hole(root: Path) -> None:
    """It changed just now: whoever writes to it is waited for. It is read from its start all the same."""
    with (root / "m").open("wb") as file:
        file.seek(1 << 16)
        file.write(b"data")
    archived(root, scan(root))
    assert restored(root, b"m") == bytes(1 << 16) + b"data"


def unreadable(monkeypatch: pytest.MonkeyPatch, *paths: bytes) -> None:
    """Make files unreadable, even for root."""
    real = os.open

    def refuse(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if path in paths and not flags & os.O_CREAT:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return real(path, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", refuse)


@SIZES
@pytest.mark.parametrize("far", [False, True])
def test_hard_links_outlive_their_first_name(
    root: Path, size: int, far: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the first name of a file is lost, each other name becomes a file, near and far."""
    content = os.urandom(size)
    write_file(root, b"b", content)
    if far:
        for number in range(8):
            write_file(root, b"c%d" % number, bytes(100_000))
    for name in ("x", "y"):
        os.link(root / "b", root / name)
    sources = scan(root)
    unreadable(monkeypatch, b"b")
    entries, problems = archived(root, sources)
    assert problems == [Problem(b"b", "unreadable", "Permission denied")]
    assert entries.keys() >= {b"a", b"x", b"y"}
    assert (entries[b"x"].kind, entries[b"y"].kind) == ("file", "file")
    with reading(root.parent / "demo") as reader:
        assert max(placed.block.size for placed in reader.blocks()) <= PIECE
    assert restored(root, b"x") == restored(root, b"y") == content


def test_hard_links_that_are_lost_too(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no name of a file can be read, each is named once."""
    write_file(root, b"b")
    for name in ("x", "y"):
        os.link(root / "b", root / name)
    sources = scan(root)
    unreadable(monkeypatch, b"b", b"x", b"y")
    entries, problems = archived(root, sources)
    assert entries.keys() == {b"", b"a", b"z"}
    assert [problem.path for problem in problems] == [b"b", b"x", b"y"]


def test_a_hard_link_to_a_file_that_changes(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hard link has the digest of its file as it was archived, and its mark."""
    write_file(root, b"b", bytes(LARGE))
    os.link(root / "b", root / "x")
    sources = scan(root)
    reads = Reads(monkeypatch, root / "b")
    reads.always = lambda: append(root / "b")
    entries, _ = archived(root, sources)
    assert (entries[b"x"].kind, entries[b"x"].changed) == ("hardlink", True)
    assert entries[b"x"].digest == entries[b"b"].digest


def test_nothing_can_be_read(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where all files of a block are lost, the block is left out, and the archive is whole without it."""
    sources = [source for source in scan(root) if source.path]
    unreadable(monkeypatch, b"a", b"z")
    entries, problems = archived(root, sources)
    assert entries == {}
    assert len(problems) == 2


@pytest.mark.parametrize("commit", [COMMIT, "0" * 40])
def test_copied_blocks_tell_what_git_saw(root: Path, commit: str) -> None:
    """A file that changed after the scan is copied as it was then, if git says the same of the same commit.

    Git may have looked later: of another commit, what changed is read again.
    A link to a file that is read again is never told as committed.
    """
    for name in (b"b", b"m"):
        write_file(root, name, b"before")
        for number in range(8):
            write_file(root, name + b"%d" % number, os.urandom(200_000))
    os.link(root / "b", root / "x")
    sources = [replace(source, state="committed" if source.path else "") for source in scan(root)]
    later = time.time_ns() + 60 * 10**9
    back_up(root, root.parent / "before", head(scanned_ns=later), sources)
    append(root / "b")
    append(root / "m")
    now = head(scanned_ns=later, commit=commit)
    sources = [
        seen if seen.path == b"b" else source for source, seen in zip(sources, scan(root), strict=True)
    ]
    with reading(root.parent / "before") as reader, opened_folder(root) as fd:
        with (root.parent / "demo").open("wb+") as file:
            write_archive(file, now, Tree(fd, sources, before=Reuse(reader, now)), quiet)
        known = {block.digest for block in blocks_of(reader)}
    with reading(root.parent / "demo") as reader:
        assert known & {block.digest for block in blocks_of(reader)}
        entries = {entry.path: entry for entry in reader.entries()}
    changed = entries[b"m"]
    as_it_was = ("committed", sha256(b"before").digest())
    as_it_is = ("modified", sha256(b"beforemore").digest())
    assert (changed.state, changed.digest) == (as_it_was if commit == COMMIT else as_it_is)
    assert (entries[b"x"].kind, entries[b"x"].state) == ("hardlink", "modified")


def blocks_of(reader: Reader) -> list[Block]:
    """Return the blocks of an archive."""
    return [placed.block.unpack() for placed in reader.blocks()]


def test_links_that_changed_since_the_scan_are_not_told_as_committed(root: Path) -> None:
    """A link is archived as the scan saw it; git may have seen another one, or other content."""
    write_file(root, b"b")
    os.link(root / "b", root / "hard")
    os.link(root / "a", root / "kept")
    (root / "soft").symlink_to("a")
    sources = [replace(source, state="committed" if source.path else "") for source in scan(root)]
    append(root / "b")
    (root / "soft").unlink()
    (root / "soft").symlink_to("z")
    entries, problems = archived(root, sources)
    states = {path.decode(): entry.state for path, entry in entries.items() if path}
    assert problems == []
    assert states.pop("a") == states.pop("z") == states.pop("kept") == "committed"
    assert states == {"b": "modified", "hard": "modified", "soft": "modified"}
    assert entries[b"soft"].link == b"a"
    assert entries[b"hard"].digest == entries[b"b"].digest
