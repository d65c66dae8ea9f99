"""Archives that others made: restored as GNU tar does it, or refused; never anything outside the target."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import lzma
import os
import stat
import subprocess
import tarfile
import time
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import zstandard
from support import ending

from backup_lib.archive.extract import Wish
from backup_lib.archive.plain import hash_members, open_stream
from backup_lib.archive.replay import place_plain
from backup_lib.errors import BackupError, DamageError, RestoreError

from .trees import FORMATS, Thing, back_up, head, look, restore_plain, run, write_file


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return a tree as people have them, with fractions of seconds and names of all lengths."""
    root = tmp_path / "tree"
    root.mkdir()
    for name in (b"a", b"d/b", b"caf\xc3\xa9", b"d/" + b"n" * 98, b"p" * 90 + b"/" + b"q" * 90):
        write_file(root, name, name * 1000, 0o640)
    (root / "empty").mkdir(mode=0o700)
    (root / "link").symlink_to("d/b")
    os.link(root / "a", root / "z hard")
    os.link(root / "link", root / "z soft", follow_symlinks=False)
    os.utime(root / "a", ns=(0, 1_700_000_000_123_456_789))
    return root


def gnu(tmp_path: Path, archive: Path) -> dict[bytes, Thing]:
    """Return what GNU tar makes of an archive."""
    (tmp_path / "gnu").mkdir()
    began = int(time.time())
    run("tar", "-C", tmp_path / "gnu", "-xpf", archive)
    return _without_present_times(look(tmp_path / "gnu"), began)


def ours(tmp_path: Path, archive: Path) -> dict[bytes, Thing]:
    """Return what we make of it."""
    began = int(time.time())
    restore_plain(archive, tmp_path / "ours")
    return _without_present_times(look(tmp_path / "ours"), began)


def _without_present_times(things: dict[bytes, Thing], began: int) -> dict[bytes, Thing]:
    """Leave out the time of folders that no member tells: it is that of the restore, and seconds pass."""
    return {
        path: replace(thing, mtime=0) if thing.kind == stat.S_IFDIR and thing.mtime > began - 60 else thing
        for path, thing in things.items()
    }


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    ".tar": lambda data: data,
    ".tar.gz": lambda data: gzip.compress(data),
    ".tar.zst": lambda data: zstandard.compress(data),
}
MAKERS: dict[str, Callable[[Path], list[str | Path]]] = {
    "gnu": lambda tree: ["tar", "--format=gnu", "-C", tree, "-cf", "-", "."],
    "gnu names": lambda tree: ["tar", "--format=gnu", "-C", tree.parent, "-cf", "-", "tree"],
    "pax": lambda tree: ["tar", "--format=pax", "-C", tree.parent, "-cf", "-", "tree"],
    "ustar": lambda tree: ["tar", "--format=ustar", "-C", tree.parent, "-cf", "-", "tree"],
    "oldgnu": lambda tree: ["tar", "--format=oldgnu", "-C", tree.parent, "-cf", "-", "tree"],
    "absolute": lambda tree: ["tar", "--format=gnu", "-P", "-cf", "-", tree],
    "bsdtar": lambda tree: ["bsdtar", "-C", tree.parent, "-cf", "-", "tree"],
    "bsdtar pax": lambda tree: ["bsdtar", "--format=pax", "-C", tree, "-cf", "-", "."],
    "busybox": lambda tree: ["busybox", "tar", "-C", tree.parent, "-cf", "-", "tree"],
}


@pytest.mark.parametrize("maker", MAKERS)
@pytest.mark.parametrize("suffix", PACKERS)
def test_archives_of_other_programs(maker: str, suffix: str, tree: Path, tmp_path: Path) -> None:
    """What GNU tar, bsdtar and busybox write in their formats comes out as GNU tar brings it out."""
    data = run(*MAKERS[maker](tree))
    archive = tmp_path / f"foreign{suffix}"
    archive.write_bytes(PACKERS[suffix](data))
    assert ours(tmp_path, archive) == gnu(tmp_path, archive)


def test_v7_archives(tree: Path, tmp_path: Path) -> None:
    """The oldest format, which has no long names and no marks for folders, is read too."""
    run(
        "tar",
        "--format=v7",
        "-C",
        tree,
        "-cf",
        tmp_path / "foreign.tar",
        "a",
        "d/b",
        "empty",
        "link",
        "z hard",
    )
    assert ours(tmp_path, tmp_path / "foreign.tar") == gnu(tmp_path, tmp_path / "foreign.tar")


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_archives_of_python(format: int, tree: Path, tmp_path: Path) -> None:
    """What Python's tarfile writes comes out the same, compressed in one stream."""
    with tarfile.open(tmp_path / "foreign.tar.gz", "w:gz", format=format) as tar:
        tar.add(tree, "top")
    assert ours(tmp_path, tmp_path / "foreign.tar.gz") == gnu(tmp_path, tmp_path / "foreign.tar.gz")


def test_times_are_exact(tree: Path, tmp_path: Path) -> None:
    """Nanoseconds of a pax archive are restored, as GNU tar does."""
    run("tar", "--format=pax", "-C", tree, "-cf", tmp_path / "foreign.tar", "a")
    ours(tmp_path, tmp_path / "foreign.tar")
    assert (tmp_path / "ours/a").stat().st_mtime_ns == 1_700_000_000_123_456_789


@pytest.mark.parametrize("format", FORMATS)
def test_our_own_archives_without_their_index(format: str, tree: Path, tmp_path: Path) -> None:
    """An archive of ours whose index is lost comes out whole by its stream."""
    back_up(tree, tmp_path / "demo", head("gz" if format == "gz" else "zst"))
    assert ours(tmp_path, tmp_path / "demo") == gnu(tmp_path, tmp_path / "demo")


def test_members_and_their_digests(tree: Path, tmp_path: Path) -> None:
    """Each file of any archive is told with the SHA-256 of its content."""
    run("tar", "-C", tree, "-czf", tmp_path / "foreign.tar.gz", "a", "d")
    with open_stream(tmp_path / "foreign.tar.gz") as reader:
        digests = {member.name: digest for member, digest in hash_members(reader)}
    assert digests[b"a"] == sha256((tree / "a").read_bytes()).digest()
    assert digests[b"d"] == sha256(b"").digest()


@pytest.mark.parametrize(
    "way", ["--format=gnu", "--sparse-version=0.0", "--sparse-version=0.1", "--sparse-version=1.0"]
)
def test_sparse_files_come_out_whole(way: str, tmp_path: Path) -> None:
    """A sparse file of GNU tar comes out as it was, in each way of writing it, however long its map."""
    for parts, name in ((40, "b"), (3, "c"), (0, "d")):
        write_file(tmp_path, b"tree/a")
        with (tmp_path / "tree" / name).open("wb") as file:
            for part in range(parts):
                file.seek(part << 20)
                file.write(b"x" * 4096)
            file.truncate((parts + 1) << 20)
    write_file(tmp_path, b"tree/z" + b"z" * 150)
    archive = tmp_path / "sparse.tar"
    kind = way if way.startswith("--format") else "--format=pax"
    run("tar", kind, *([way] if way != kind else []), "-S", "-C", tmp_path / "tree", "-cf", archive, ".")
    assert archive.stat().st_size < 1 << 20
    found = ours(tmp_path, archive)
    assert found == gnu(tmp_path, archive)
    assert found.keys() == {b"a", b"b", b"c", b"d", b"z" + b"z" * 150}
    assert (tmp_path / "ours/b").stat().st_blocks < 1024
    for unlimited in (False, True):
        with open_stream(archive, unlimited) as reader:
            digests = {member.name: digest for member, digest in hash_members(reader)}
        assert digests[b"./b"] == sha256((tmp_path / "tree/b").read_bytes()).digest()


# --- made by hand


def member(name: str, kind: bytes = tarfile.REGTYPE, content: bytes = b"", **more: Any) -> bytes:
    """Return one member of a tar stream."""
    info = tarfile.TarInfo(name)
    info.type, info.size, info.mode = kind, len(content), 0o755 if kind == tarfile.DIRTYPE else 0o644
    for key, value in more.items():
        setattr(info, key, value)
    return info.tobuf(tarfile.GNU_FORMAT) + content + bytes(-len(content) % 512)


def pax(name: bytes, value: bytes) -> bytes:
    """Return an extended header with one record."""
    rest = b" %b=%b\n" % (name, value)
    length = next(n for n in range(len(rest), len(rest) + 9) if n == len(b"%d" % n) + len(rest))
    return member("x", tarfile.XHDTYPE, b"%d%b" % (length, rest))


def made(tmp_path: Path, *members: bytes, end: bytes = bytes(1024)) -> Path:
    """Write an archive of members."""
    path = tmp_path / "made.tar.gz"
    path.write_bytes(gzip.compress(b"".join(members) + end))
    return path


DIR, LINK, HARD = tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE

HOSTILE = {
    "dots": [member("../evil", content=b"x")],
    "dots inside": [member("a/../../evil", content=b"x")],
    "link then file": [member("l", LINK, linkname="../outside"), member("l/evil", content=b"x")],
    "link then folder": [member("l", LINK, linkname="../outside"), member("l/evil", DIR)],
    "inner link then file": [
        member("l", LINK, linkname="d"),
        member("d", DIR),
        member("l/evil", content=b"x"),
    ],
    "link leads out": [member("l", LINK, linkname="../outside")],
    "absolute link": [member("l", LINK, linkname="/etc/passwd")],
    "hard link to dots": [member("h", HARD, linkname="../outside/secret")],
    "hard link to absolute": [member("h", HARD, linkname="/etc/passwd")],
    "hard link through link": [
        member("l", LINK, linkname="../outside"),
        member("h", HARD, linkname="l/secret"),
    ],
    "hard link to itself": [member("h", HARD, linkname="h")],
    "hard link to later": [member("h", HARD, linkname="f"), member("f")],
    "hard link to link out": [member("l", LINK, linkname="d/../../x"), member("h", HARD, linkname="l")],
    "hard link moves a link": [
        member("d", DIR),
        member("d/l", LINK, linkname="../x"),
        member("h", HARD, linkname="d/l"),
    ],
    "file over folder": [member("d", DIR), member("d", content=b"x")],
    "file over what others lie in": [member("d/f"), member("d", content=b"x")],
    "a time beyond all": [pax(b"mtime", b"1" + b"0" * 20 + b"5"), member("f")],
    "a time that is none": [pax(b"mtime", b"noon"), member("f")],
    "file below file": [member("f"), member("f/evil", content=b"x")],
    "a folder with content": [member("d", DIR, b"x")],
    "bad name": [member("x" * 300)],
    "too deep": [member("d/" * 2100 + "f")],
    "name with nothing": [member("f", pax_headers={}), b"garbage" * 1000],
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("merge", [False, True])
def test_hostile_archives_are_refused(name: str, merge: bool, tmp_path: Path) -> None:
    """What would write, link or reach outside the target, or is no archive, is refused beforehand."""
    write_file(tmp_path, b"outside/secret", b"secret")
    archive = made(tmp_path, *HOSTILE[name])
    before = {path: thing for path, thing in look(tmp_path).items() if path.startswith(b"outside")}
    with pytest.raises(BackupError):
        restore_plain(archive, tmp_path / "to", Wish(), merge)
    assert look(tmp_path / "to") == {}
    assert {path: thing for path, thing in look(tmp_path).items() if path.startswith(b"outside")} == before


def test_links_wished_for_are_still_not_followed(tmp_path: Path) -> None:
    """With outside links allowed, nothing is written through one either."""
    write_file(tmp_path, b"outside/secret", b"secret")
    for members in (
        HOSTILE["link then file"],
        HOSTILE["link then folder"],
        HOSTILE["hard link through link"],
    ):
        with pytest.raises(BackupError):
            restore_plain(made(tmp_path, *members), tmp_path / "to", Wish(outside_links=True))
    assert os.listdir(tmp_path / "outside") == ["secret"]


def test_links_that_go_up_from_a_folder_stay_within(tmp_path: Path) -> None:
    """Where that is a folder for sure, and no other link."""
    link = member("l", LINK, linkname="d/../f")
    restore_plain(made(tmp_path, member("d", DIR), member("f"), link), tmp_path / "to", Wish())
    assert (tmp_path / "to/l").read_bytes() == b""
    with pytest.raises(RestoreError, match="leads out"):
        restore_plain(made(tmp_path, member("f"), link), tmp_path / "other", Wish())


def test_a_link_in_the_target_is_not_followed(tmp_path: Path) -> None:
    """A link that stands in the target already, where the archive has a folder, is not followed."""
    write_file(tmp_path, b"outside/secret", b"secret")
    (tmp_path / "to").mkdir()
    (tmp_path / "to/d").symlink_to("../outside")
    with pytest.raises(OSError):
        restore_plain(made(tmp_path, member("d/evil", content=b"x")), tmp_path / "to", Wish(), merge=True)
    assert os.listdir(tmp_path / "outside") == ["secret"]


def test_what_is_never_restored_is_named(tmp_path: Path) -> None:
    """Devices, fifos and parts of other archives are skipped by name; set-user-ID bits are dropped."""
    letters = {"fifo": tarfile.FIFOTYPE, "char": tarfile.CHRTYPE, "block": tarfile.BLKTYPE, "odd": b"M"}
    archive = made(
        tmp_path,
        *(member(name, letter) for name, letter in letters.items()),
        member("f", content=b"x", mode=0o6755),
    )
    assert place_plain(archive, Wish()).skipped == [name.encode() for name in letters]
    assert ours(tmp_path, archive)[b"f"].mode == 0o755
    assert look(tmp_path / "ours", lambda mode: mode).keys() == {b"f"}
    assert (tmp_path / "ours/f").stat().st_mode & 0o6000 == 0


@pytest.mark.parametrize(
    "members",
    [
        [member("f", content=b"1"), member("f", content=b"22")],
        [member("./f", content=b"1"), member("f", LINK, linkname="x")],
        [member("f", LINK, linkname="x"), member("f", content=b"1")],
        [member("f", content=b"1"), member("g", content=b"2"), member("g", HARD, linkname="f")],
        [member("f", content=b"1"), member("g", HARD, linkname="f"), member("h", HARD, linkname="g")],
        [member("f", content=b"1"), member("f", tarfile.FIFOTYPE), member("f", content=b"3")],
        [member("f", LINK, linkname="x"), member("g", HARD, linkname="f")],
        [member("/abs/f", content=b"1"), member("abs//./g", content=b"2")],
        [member("d/e/f", content=b"1"), member("d/", DIR), member("d/e", DIR)],
        [member("d//", tarfile.REGTYPE), member("f", tarfile.CONTTYPE, b"1")],
        [member("f", content=b"1"), member("h", HARD, linkname="f"), member("f", content=b"2")],
        [member("f", content=b"1"), member("h", HARD, linkname="f"), member("f", LINK, linkname="x")],
    ],
)
def test_odd_archives_come_out_as_with_tar(members: list[bytes], tmp_path: Path) -> None:
    """Names that come twice, in odd spellings or without their folders end as they do with GNU tar."""
    archive = made(tmp_path, *members)
    expected, found = gnu(tmp_path, archive), ours(tmp_path, archive)
    times = {path: (thing.kind, thing.content, thing.same_as) for path, thing in expected.items()}
    assert {path: (thing.kind, thing.content, thing.same_as) for path, thing in found.items()} == times


def test_only_what_is_wanted(tree: Path, tmp_path: Path) -> None:
    """What is wanted comes out under its name without the leading parts, and nothing else."""
    run("tar", "-C", tree.parent, "-czf", tmp_path / "foreign.tar.gz", "tree")
    restore_plain(tmp_path / "foreign.tar.gz", tmp_path / "to", Wish(lambda name: b"/d/" in name, strip=2))
    assert look(tmp_path / "to").keys() == {b"b", b"n" * 98}


def test_a_file_and_a_folder_that_fall_together(tmp_path: Path) -> None:
    """Where cutting folders off puts a file in the place of a folder, the restore is refused."""
    archive = made(tmp_path, member("a/name", content=b"1"), member("b/name/file", content=b"2"))
    with pytest.raises(RestoreError, match="something lies below name, which is no folder"):
        place_plain(archive, Wish(strip=1))


def test_folders_that_fall_together(tmp_path: Path) -> None:
    """Where cutting folders off makes two folders one, it holds what both held."""
    archive = made(
        tmp_path, *(member(name, DIR) for name in ("a/d", "b/d")), member("a/d/x"), member("b/d/y")
    )
    restore_plain(archive, tmp_path / "to", Wish(strip=1))
    assert look(tmp_path / "to").keys() == {b"d", b"d/x", b"d/y"}


def test_a_mode_that_fills_its_field(tmp_path: Path) -> None:
    """Old tars leave no room for an end; the number next to it does not count."""
    record = bytearray(member("f", content=b"x", uid=0o7000000))
    record[100:108] = b"00000640"
    record[148:156] = b"%06o\0 " % (sum(record[:148]) + sum(record[156:512]) + 8 * 32)
    archive = made(tmp_path, bytes(record))
    assert ours(tmp_path, archive)[b"f"].mode == gnu(tmp_path, archive)[b"f"].mode == 0o640


def test_folders_are_asked_for_with_a_slash(tmp_path: Path) -> None:
    """A file of that name is not meant."""
    archive = made(tmp_path, member("a/e", DIR), member("b/e"))
    restore_plain(archive, tmp_path / "to", Wish(lambda name: name.endswith(b"/e/")))
    assert look(tmp_path / "to").keys() == {b"a", b"a/e"}


def test_hard_links_that_fall_together(tmp_path: Path) -> None:
    """Where cutting folders off makes the names of two hard links one, the restore is refused."""
    files = [member("a/file", content=b"1"), member("c/other", content=b"2")]
    links = [member("b/name", HARD, linkname="a/file"), member("d/name", HARD, linkname="c/other")]
    archive = made(tmp_path, *files, *links)
    with pytest.raises(RestoreError, match="two things would be restored as name"):
        place_plain(archive, Wish(strip=1))


@pytest.mark.parametrize("suffix", PACKERS)
def test_every_cut_of_an_archive_is_refused(suffix: str, tmp_path: Path) -> None:
    """An archive cut inside a member is refused whole, a compressed one anywhere; cut later, it comes out."""
    plain = member("a", content=b"x" * 700) + member("b") + bytes(1024)
    data = PACKERS[suffix](plain)
    archive = tmp_path / "cut"
    for length in range(0, len(data) - (1024 if suffix == ".tar" else 12), 64 if suffix == ".tar" else 1):
        archive.write_bytes(data[:length])
        if suffix == ".tar" and length in (3 * 512, 4 * 512):  # nothing shows what may have followed
            restore_plain(archive, tmp_path / str(length))
            assert "no end mark" in place_plain(archive, Wish()).note
            continue
        with pytest.raises(DamageError):
            restore_plain(archive, tmp_path / "to")
    archive.write_bytes(data)
    assert ours(tmp_path, archive).keys() == {b"a", b"b"}
    assert place_plain(archive, Wish()).note == ""


@pytest.mark.parametrize("start", [b"", b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\x1f\x8b\x08\x00" + bytes(6)])
def test_garbage_is_damage(start: bytes, tmp_path: Path) -> None:
    """Bytes that are no archive are damage, whatever they look like at first."""
    for rest in (b"", b"garbage", b"garbage" * 1000, os.urandom(2000)):
        (tmp_path / "garbage").write_bytes(start + rest)
        with pytest.raises(DamageError):
            restore_plain(tmp_path / "garbage", tmp_path / "to")
        with pytest.raises(DamageError), open_stream(tmp_path / "garbage") as reader:
            list(hash_members(reader))


def test_every_changed_byte_of_a_plain_archive(tmp_path: Path) -> None:
    """A byte changed anywhere raises damage or a refusal, or comes out; never anything else."""
    data = bytearray(made(tmp_path, member("a", content=b"x" * 700), member("d", DIR)).read_bytes())
    archive = tmp_path / "changed"
    (tmp_path / "to").mkdir()
    for at in range(len(data)):
        data[at] ^= 1
        archive.write_bytes(data)
        with contextlib.suppress(BackupError):
            restore_plain(archive, tmp_path / "to" / str(at))
        data[at] ^= 1


def test_a_skippable_frame_comes_first(tmp_path: Path) -> None:
    """Some who pack zstd side by side begin with one."""
    data = zstandard.compress(member("f", content=b"x") + bytes(1024))
    (tmp_path / "parallel").write_bytes(b"\x5e\x2a\x4d\x18\4\0\0\0abcd" + data)
    restore_plain(tmp_path / "parallel", tmp_path / "to")
    assert (tmp_path / "to" / "f").read_bytes() == b"x"


OTHERS: dict[str, bytes] = {
    "bzip2": bz2.compress(b"x" * 1000),
    "xz": lzma.compress(b"x" * 1000),
    "lzma": lzma.compress(b"x" * 1000, lzma.FORMAT_ALONE),
    "compress": b"\x1f\x9d\x90" + bytes(600),
    "lz4": b"\x04\x22\x4d\x18\x64\x40\xa7" + bytes(600),
    "lzip": b"LZIP\1\x0c" + bytes(600),
    "zip": b"PK\x03\x04" + bytes(600),
    "7z": b"7z\xbc\xaf\x27\x1c\0\4" + bytes(600),
}


@pytest.mark.parametrize("packer", OTHERS)
def test_other_formats_are_named(packer: str, tmp_path: Path) -> None:
    """They are not damaged: one line says what they are packed with, for ``.tar.Z``, too."""
    (tmp_path / "other").write_bytes(OTHERS[packer])
    with pytest.raises(RestoreError, match=f"packed with {packer}, which is not read here"):
        restore_plain(tmp_path / "other", tmp_path / "to")


def solaris(name: bytes, value: bytes) -> bytes:
    """Return an extended header of Solaris with one record."""
    header = bytearray(pax(name, value))
    header[156:157] = b"X"
    header[148:156] = b"%06o\0 " % (sum(header[:148]) + 8 * 32 + sum(header[156:512]))
    return bytes(header)


AMBIGUOUS = {
    "two names": [pax(b"path", b"one"), pax(b"path", b"two"), member("f")],
    "a name and a time": [pax(b"path", b"one"), pax(b"mtime", b"1"), member("f")],
    "the same twice": [pax(b"path", b"one"), pax(b"path", b"one"), member("f")],
    "three": [pax(b"path", b"one"), pax(b"comment", b"x"), pax(b"mtime", b"1"), member("f")],
    "one of Solaris": [pax(b"path", b"one"), solaris(b"path", b"two"), member("f")],
    "one for all between": [
        pax(b"path", b"one"),
        member("x", tarfile.XGLTYPE, b"13 comment=x\n"),
        pax(b"path", b"two"),
        member("f"),
    ],
}


@pytest.mark.parametrize("name", AMBIGUOUS)
def test_several_extended_headers_before_one_member(name: str, tmp_path: Path) -> None:
    """GNU tar and BusyBox heed the last, Python all of them, bsdtar none: no reader may be right."""
    for archive in (
        made(tmp_path, member("before"), *AMBIGUOUS[name]),
        made(tmp_path, *AMBIGUOUS[name], end=b""),
    ):
        with pytest.raises(DamageError, match="several extended headers stand before one member"):
            restore_plain(archive, tmp_path / "to")
        with pytest.raises(DamageError, match="several"), open_stream(archive) as reader:
            list(hash_members(reader))
    assert look(tmp_path / "to") == {}


def test_one_of_each_extended_header_is_honest(tmp_path: Path) -> None:
    """A header for all, one of pax and the long names of GNU tar do not contradict one another."""
    link = b"l" * 120
    archive = made(
        tmp_path,
        member("x", tarfile.XGLTYPE, b"13 comment=x\n"),
        member("././@LongLink", tarfile.GNUTYPE_LONGLINK, link + b"\0"),
        member("././@LongLink", tarfile.GNUTYPE_LONGNAME, b"n" * 120 + b"\0"),
        pax(b"mtime", b"1700000000"),
        member("f", LINK, linkname="l"),
        pax(b"path", b"g"),
        member("f", content=b"x"),
    )
    assert ours(tmp_path, archive) == gnu(tmp_path, archive)


def test_a_label_of_the_archive_is_no_file(tmp_path: Path) -> None:
    """GNU tar -V begins with one."""
    archive, folder = tmp_path / "labelled.tar", tmp_path / "from"
    folder.mkdir()
    (folder / "f").write_text("x")
    subprocess.run(["tar", "-C", folder, "-V", "label", "-cf", archive, "f"], check=True)
    restore_plain(archive, tmp_path / "to")
    assert os.listdir(tmp_path / "to") == ["f"]


def test_bombs_of_headers(tmp_path: Path) -> None:
    """Many and large extended headers take neither much time nor much memory."""
    record = b"6 a=b\n" * 170_000
    other = b"".join(b"%d %06d=b\n" % (12, number) for number in range(80_000))
    pax = member("x", tarfile.XHDTYPE, record) + member("x", tarfile.XHDTYPE, other)
    long = member("x", tarfile.GNUTYPE_LONGNAME, b"n" * 900_000)
    with ending(), pytest.raises(DamageError):
        restore_plain(made(tmp_path, pax * 3, long), tmp_path / "to")
    with ending(), pytest.raises(BackupError):
        restore_plain(made(tmp_path, pax, long, member("f")), tmp_path / "to")


def test_what_bsdtar_reads_of_a_changed_name(tmp_path: Path) -> None:
    """A name that is only dots and slashes stands for the target itself, and restores nothing."""
    archive = made(tmp_path, member("./", DIR), member("./f"))
    assert ours(tmp_path, archive).keys() == {b"f"}
    assert subprocess.run(["bsdtar", "-tf", archive], check=True, capture_output=True).stdout
    with tarfile.open(fileobj=io.BytesIO(archive.read_bytes())) as tar:
        assert len(tar.getmembers()) == 2
