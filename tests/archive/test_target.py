"""The folder that is restored into: nothing wrong under a final name, and nothing ever outside."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from backup_lib import filesystem
from backup_lib.archive.extract import Placement, Wish, place
from backup_lib.archive.names import check_link, inner_path
from backup_lib.archive.tar import Stamp
from backup_lib.archive.target import Target, Writer
from backup_lib.errors import DamageError, RestoreError

from .trees import back_up, head, look, opened_folder, reading, restore, write_file

STAMP = Stamp(0o640, 1_700_000_000_123_456_789)


def write(target: Target, path: bytes, *how: Any) -> None:
    """Write one file."""
    with Writer(target) as writer:
        writer.write_file(path, *how)


@pytest.fixture(params=[True, False], ids=["openat2", "by parts"])
def folder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Yield an open folder, with and without the kernel's own way to stay beneath it."""
    monkeypatch.setattr(filesystem, "_kernel_has_openat2", request.param)
    (tmp_path / "to").mkdir()
    with opened_folder(tmp_path / "to") as fd:
        yield fd


@pytest.mark.parametrize("merge", [False, True])
def test_a_file_that_is_not_what_it_should_be(folder: int, merge: bool, tmp_path: Path) -> None:
    """Content of another digest never gets the file's name, and leaves what was there, and nothing else."""
    if merge:
        write_file(tmp_path, b"to/a", b"before")
    before = look(tmp_path / "to")
    with pytest.raises(DamageError, match="SHA-256"):
        write(Target(folder, merge), b"a", STAMP, [b"wrong"], sha256(b"right").digest())
    assert look(tmp_path / "to") == before


@pytest.mark.parametrize("merge", [False, True])
def test_a_file_as_it_should_be(folder: int, merge: bool, tmp_path: Path) -> None:
    """A file comes with content, permissions and time, without its set-user-ID bits."""
    stamp = Stamp(0o7751, STAMP.mtime_ns)
    write(Target(folder, merge), b"a", stamp, [b"ri", b"ght"], sha256(b"right").digest())
    facts = (tmp_path / "to/a").stat()
    assert (stat.S_IMODE(facts.st_mode), facts.st_mtime_ns) == (0o751, STAMP.mtime_ns)
    assert (tmp_path / "to/a").read_bytes() == b"right"


def test_a_file_that_is_there_gets_its_stamp(folder: int, tmp_path: Path) -> None:
    """What is as it should be is not written again, only its mode and time are set."""
    write_file(tmp_path, b"to/a", b"right")
    before = (tmp_path / "to/a").stat().st_ino
    with Writer(Target(folder, merge=True, keep_equal=True)) as writer:
        writer.write_file(b"a", STAMP, [b"right"], sha256(b"right").digest())
        assert writer.kept == [b"a"]
    facts = (tmp_path / "to/a").stat()
    assert (facts.st_ino, stat.S_IMODE(facts.st_mode), facts.st_mtime_ns) == (
        before,
        STAMP.mode,
        STAMP.mtime_ns,
    )


def test_another_name_of_a_file_keeps_its_mode_and_time(folder: int, tmp_path: Path) -> None:
    """A file that is as it should be, but has a name outside, is written anew where its stamp is another."""
    write_file(tmp_path, b"outside", b"right")
    os.link(tmp_path / "outside", tmp_path / "to/a")
    before = (tmp_path / "outside").stat()
    digest = sha256(b"right").digest()
    for _ in range(2):
        write(Target(folder, merge=True, keep_equal=True), b"a", STAMP, [b"right"], digest)
        facts, after = (tmp_path / "to/a").stat(), (tmp_path / "outside").stat()
        assert (after.st_mode, after.st_mtime_ns) == (before.st_mode, before.st_mtime_ns)
        assert (stat.S_IMODE(facts.st_mode), facts.st_mtime_ns) == (STAMP.mode, STAMP.mtime_ns)
    os.link(tmp_path / "to/a", tmp_path / "b")
    assert Target(folder, merge=True).holds(b"a", digest, STAMP)  # nothing is left to do


def test_merging_replaces_in_one_step(folder: int, tmp_path: Path) -> None:
    """Whoever has the old file open keeps all of it; a link in its place is replaced, not followed."""
    write_file(tmp_path, b"to/a", b"before")
    write_file(tmp_path, b"outside", b"untouched")
    (tmp_path / "to/link").symlink_to("../outside")
    target = Target(folder, merge=True)
    with (tmp_path / "to/a").open("rb") as old:
        write(target, b"a", STAMP, [b"after"], b"")
        assert old.read() == b"before"
    write(target, b"link", STAMP, [b"after"], b"")
    assert (tmp_path / "outside").read_bytes() == b"untouched"
    assert (tmp_path / "to/link").read_bytes() == b"after"
    assert sorted(os.listdir(folder)) == ["a", "link"]


def test_merging_links(folder: int, tmp_path: Path) -> None:
    """Links replace what is there too, and hard links to themselves leave nothing behind."""
    for name in (b"to/a", b"to/soft", b"to/hard"):
        write_file(tmp_path, name, b"before")
    os.link(tmp_path / "to/a", tmp_path / "to/same")
    target = Target(folder, merge=True)
    target.later_hard_link(b"hard", b"a")
    target.later_hard_link(b"same", b"a")
    target.later_link(b"soft", b"a", STAMP)
    target.finish()
    assert sorted(os.listdir(folder)) == ["a", "hard", "same", "soft"]
    assert (tmp_path / "to/hard").samefile(tmp_path / "to/a")
    assert (tmp_path / "to/soft").readlink() == Path("a")
    assert (tmp_path / "to/soft").lstat().st_mtime_ns == STAMP.mtime_ns


@pytest.mark.parametrize("merge", [False, True])
def test_a_link_on_the_way_is_refused(folder: int, merge: bool, tmp_path: Path) -> None:
    """Nothing is written, made, linked or looked at through a symlink."""
    (tmp_path / "outside").mkdir()
    write_file(tmp_path, b"outside/file", b"outside")
    (tmp_path / "to/link").symlink_to("../outside")
    target = Target(folder, merge)
    with pytest.raises(OSError):
        write(target, b"link/a", STAMP, [b"x"], b"")
    with pytest.raises(OSError):
        target.make_folders(b"link/folder")
    with pytest.raises(OSError):
        target.make_folders(b"link")
    target.later_hard_link(b"hard", b"link/file")
    with pytest.raises(OSError):
        target.finish()
    with pytest.raises(OSError):
        target.kind_at(b"link/file")
    assert not target.holds(b"link/file", sha256(b"outside").digest())
    assert target.link_at(b"link/file") is None
    assert os.listdir(tmp_path / "outside") == ["file"]


def test_folders_are_made_with_those_above(folder: int, tmp_path: Path) -> None:
    """A folder is made together with those above it, once; a file in its place is refused."""
    target = Target(folder, merge=False)
    target.make_folders(b"")
    target.make_folders(b"a/b/c/d")
    target.make_folders(b"a/b/c")
    assert (tmp_path / "to/a/b/c/d").is_dir()
    write_file(tmp_path, b"to/file")
    with pytest.raises(OSError):
        target.make_folders(b"file")


def test_folders_get_their_stamps_last(folder: int, tmp_path: Path) -> None:
    """A folder's own mode and time are those of the archive, whatever was put in it."""
    target = Target(folder, merge=False)
    target.make_folders(b"a/b")
    target.later_folder(b"a", Stamp(0o500, 10**9))
    target.later_folder(b"a/b", Stamp(0o1500, -(10**9)))
    target.later_link(b"a/b/link", b"nowhere", STAMP)
    target.finish()
    for name, mode, seconds in (("to/a", 0o500, 1), ("to/a/b", 0o500, -1)):
        facts = (tmp_path / name).stat()
        assert (stat.S_IMODE(facts.st_mode), facts.st_mtime_ns) == (mode, seconds * 10**9)


def test_zeros_become_holes(folder: int, tmp_path: Path) -> None:
    """Long runs of zeros take no room on the disk, and read back as zeros, also at the end."""
    pieces: list[bytes | memoryview] = [bytes(1 << 20), b"x", bytes(1 << 20), memoryview(bytes(64 << 10))]
    content = b"".join(pieces)
    write(Target(folder, merge=False), b"a", STAMP, pieces, sha256(content).digest())
    assert (tmp_path / "to/a").read_bytes() == content
    assert (tmp_path / "to/a").stat().st_blocks * 512 < 100_000


def test_what_is_there_is_told(folder: int, tmp_path: Path) -> None:
    """What stands at a path is told by kind, content and link; what is not there, is not."""
    write_file(tmp_path, b"to/a", b"content")
    (tmp_path / "to/link").symlink_to("a")
    os.mkfifo(tmp_path / "to/fifo")
    target = Target(folder, merge=True)
    digest = sha256(b"content").digest()
    assert target.kind_at(b"a") == stat.S_IFREG
    assert target.kind_at(b"link") == stat.S_IFLNK
    assert target.kind_at(b"no/where") is None
    assert target.link_at(b"link") == b"a"
    assert target.link_at(b"a") is None
    assert target.holds(b"a", digest)
    assert not target.holds(b"a", bytes(32))
    for name in (b"link", b"fifo", b"nowhere"):
        assert not target.holds(name, digest)


@pytest.mark.parametrize(
    ("name", "path"),
    [(b"a/b", b"a/b"), (b"/a//b/", b"a/b"), (b"./a/./b", b"a/b"), (b".", b""), (b"...", b"...")],
)
def test_names_as_tar_takes_them(name: bytes, path: bytes) -> None:
    """Slashes before and after a name, and dots in it, are dropped."""
    assert inner_path(name) == path


@pytest.mark.parametrize(
    "name", [b"..", b"a/../b", b"../a", b"/..", b"a\0b", b"x" * 256, b"/".join([b"a"] * 2049)]
)
def test_names_that_are_refused(name: bytes) -> None:
    """A name that leads out, or that no file can have, is refused."""
    with pytest.raises(RestoreError, match="refused"):
        inner_path(name)


@pytest.mark.parametrize(
    ("path", "target"),
    [(b"a", b"b"), (b"d/a", b"../b"), (b"d/e/a", b"../../b/c"), (b"a", b"./.")],
)
def test_links_that_stay_inside(path: bytes, target: bytes) -> None:
    """A link to something beneath the target folder is fine."""
    check_link(path, target)


@pytest.mark.parametrize(
    ("path", "target"),
    [
        (b"a", b"/etc"),
        (b"a", b".."),
        (b"a", b"../b"),
        (b"d/a", b"../../b"),
        (b"a", b"b/../../c/d"),
        (b"a", b""),
    ],
)
def test_links_that_lead_out(path: bytes, target: bytes) -> None:
    """A link that leaves the target folder, at any of its steps, is refused."""
    with pytest.raises(RestoreError, match="--outside-links"):
        check_link(path, target)


@pytest.mark.parametrize("target", ["/etc/passwd", "../../x"])
def test_outside_links_only_when_asked(target: str, tmp_path: Path) -> None:
    """An archive with a link that leads out is refused as a whole, unless that is wished."""
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/link").symlink_to(target)
    back_up(tmp_path / "tree", tmp_path / "demo", head())
    with reading(tmp_path / "demo") as reader, pytest.raises(RestoreError, match="refused"):
        place(reader, Wish())
    restore(tmp_path / "demo", tmp_path / "to")
    assert (tmp_path / "to/demo/link").readlink() == Path(target)


def placed(*files: bytes, folders: tuple[bytes, ...] = (), links: tuple[bytes, ...] = ()) -> Placement:
    """Return a placement of things under these names."""
    placement = Placement(
        folders={name: name for name in folders}, links={name: (name, b"x") for name in links}
    )
    for name in files:
        placement.files[name] = name
        placement.contents[name] = (1, b"digest of " + name)
    return placement


def test_placements_that_clash() -> None:
    """Two things of one name, and things below what is no folder, are refused before anything is written."""
    placed(b"a", b"d/b", folders=(b"d", b"d/e"), links=(b"l",)).check()
    for clashing in (
        placed(b"a", links=(b"a",)),
        placed(b"a/b", links=(b"a",)),
        placed(b"a", b"a/b/c"),
        placed(b"a", folders=(b"a",)),
        placed(b"a", folders=(b"a/b",)),
    ):
        with pytest.raises(RestoreError, match="refused"):
            clashing.check()


def test_names_that_fall_together(tmp_path: Path) -> None:
    """Where cutting folders off makes two names one, the restore is refused."""
    for name in (b"tree/x/a", b"tree/y/a"):
        write_file(tmp_path, name)
    back_up(tmp_path / "tree", tmp_path / "demo", head())
    with reading(tmp_path / "demo") as reader, pytest.raises(RestoreError, match="two things"):
        place(reader, Wish(strip=2))


def test_hard_links_that_fall_together(tmp_path: Path) -> None:
    """Two of one name are refused, too: they may be of different files."""
    for file, link in (("a/file", "b/name"), ("c/other", "d/name")):
        write_file(tmp_path, b"tree/" + file.encode())
        (tmp_path / "tree" / link).parent.mkdir()
        os.link(tmp_path / "tree" / file, tmp_path / "tree" / link)
    back_up(tmp_path / "tree", tmp_path / "demo", head())
    with reading(tmp_path / "demo") as reader:
        assert place(reader, Wish(strip=1)).hard_links.keys() == {b"b/name", b"d/name"}
        with pytest.raises(RestoreError, match="two things would be restored as name"):
            place(reader, Wish(strip=2))
