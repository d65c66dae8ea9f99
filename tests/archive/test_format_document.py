"""docs/format.md is exact: a reader written from it alone lists, extracts and proves an archive."""

from __future__ import annotations

import gzip
import os
import struct
import zlib
from collections.abc import Iterator
from hashlib import blake2b, sha256
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zstandard

from .trees import COMMIT, back_up, head, look, scan, write_file

DATA = Path(__file__).parents[1] / "data"
FIRST_SHAPES = {"1-rules-in-words", "2-index-in-one-piece"}

# --- a reader of .tar.gz and .tar.zst, as docs/format.md has it


class Archive:
    """An archive, opened with two reads of its end."""

    def __init__(self, path: Path) -> None:
        self.data = path.read_bytes()
        self.is_gzip = path.name.endswith(".gz")
        end = self.data[-90:] if self.is_gzip else self.data[-65536:]
        trailer = end[24:80] if self.is_gzip else self._before_seek_table(end)
        magic, self.version, self.offset, length, digest = struct.unpack("<4sIQQ32s", trailer)
        assert magic == b"RBKP"
        assert self.version in (1, 2)
        index = b"".join(self._members()) if self.is_gzip else self._skippable(self.offset)
        assert (len(index), sha256(index).digest()) == (length, digest)
        length = struct.unpack_from("<Q", index)[0]
        self.is_of_first_shape = length > len(index) - 8
        stream, digests = (
            (index, b"") if self.is_of_first_shape else (index[8 : 8 + length], index[8 + length :])
        )
        records = list(self._records(zlib.decompress(stream)))
        (_, self.header), *blocks, (_, self.summary) = records
        assert self.header.get("shape", 1) == self.version
        assert "".join(letter for letter, _ in records) == "H" + "B" * len(blocks) + "S"
        unpacked = self._of_first_shape if self.is_of_first_shape else self._with_digests
        self.blocks = list(unpacked([block for _, block in blocks], digests))

    @staticmethod
    def _of_first_shape(blocks: list[Any], digests: bytes) -> Iterator[list[Any]]:
        """Do as `_with_digests` where the records hold the digests."""
        assert not digests
        for length, size, digest, mark, records in blocks:
            yield [length, size, digest, mark, [record[:5] for record in records]]

    @staticmethod
    def _with_digests(blocks: list[Any], digests: bytes) -> Iterator[list[Any]]:
        """Yield each block as length, size, digest, fingerprint and entries.

        Each entry has path, kind, size, digest and link.
        """
        at = 0
        for length, size, files, records in blocks:
            digest, mark, at = digests[at : at + 32], digests[at + 32 : at + 48], at + 48
            path, entries = b"", []
            for shared, rest, kind, content, *more in records:
                path, own = path[:shared] + rest, b""
                if kind in ("file", "hardlink"):
                    own, at, files = digests[at : at + 32], at + 32, files - 1
                entries.append([path, kind, content, own, more[1] if len(more) > 1 else b""])
            assert files == 0
            yield [length, size, digest, mark, entries]
        assert at == len(digests)

    @staticmethod
    def _before_seek_table(end: bytes) -> bytes:
        blocks, flags, magic = struct.unpack("<IBI", end[-9:])
        assert (flags, magic) == (0, 0x8F92EAB1)
        stop = len(end) - 17 - 8 * blocks
        return end[stop - 56 : stop]

    def _members(self) -> Iterator[bytes]:
        """Yield the parts of the index, stepping from member to member."""
        at, most = self.offset, {1: 65_000, 2: 16_000}[self.version]
        while True:
            fixed, extra, own, four, length, name, size = struct.unpack_from("<10sH2sHI2sH", self.data, at)
            assert (fixed, own, four) == (b"\x1f\x8b\x08\x04\0\0\0\0\0\xff", b"RB", 4)
            assert extra == 12 + size
            assert self.data[at + 24 + size : at + length] == b"\x03\0" + bytes(8)
            if name == b"RT":
                assert (length, at + length) == (90, len(self.data))
                return
            assert name == b"RI"
            assert size == most or (size < most and self.data[at + length + 20 :][:2] == b"RT")
            yield self.data[at + 24 : at + 24 + size]
            at += length

    def _skippable(self, at: int) -> bytes:
        magic, length = struct.unpack_from("<II", self.data, at)
        assert magic == 0x184D2A50
        return self.data[at + 8 : at + 8 + length]

    @staticmethod
    def _records(data: bytes) -> Iterator[tuple[str, Any]]:
        at = 0
        while at < len(data):
            letter, length = struct.unpack_from("<cI", data, at)
            yield letter.decode(), msgspec.msgpack.decode(data[at + 5 : at + 5 + length])
            at += 5 + length

    def runs(self) -> Iterator[tuple[list[Any], bytes]]:
        """Yield the entries of each block, and its tar stream with that of the blocks that it runs on in."""
        entries: list[Any] = []
        at, stream = 0, b""
        for length, size, digest, _, begun in self.blocks:
            packed = self.data[at : at + length]
            assert sha256(packed).digest() == digest
            if at == 0 and self.version > 1 and not self.is_gzip:
                mark = packed[-16:]
                assert mark == struct.pack("<II4sI", 0x184D2A50, 8, b"RBKP", self.version)
                packed = packed[:-16]
            piece = gzip.decompress(packed) if self.is_gzip else zstandard.decompress(packed)
            assert len(piece) == size
            if begun:
                yield entries, stream
                entries, stream = begun, b""
            at, stream = at + length, stream + piece
        assert at == self.offset
        yield entries, stream

    def files(self) -> Iterator[tuple[bytes, str, bytes]]:
        """Yield path, kind, and content or link of each entry, everything proved."""
        end = b""
        for entries, stream in self.runs():
            at = 0
            for path, kind, size, digest, link in entries:
                name, letter, length, start = member(stream, at)
                assert name.removesuffix(b"/") == b"/".join(filter(None, (self.top, path)))
                assert letter == {"file": b"0", "hardlink": b"1", "symlink": b"2", "directory": b"5"}[kind]
                content = stream[start : start + length]
                if kind == "file":
                    assert (length, sha256(content).digest()) == (size, digest)
                yield path, kind, content if kind == "file" else link
                at = start + length + -length % 512
            end = stream[at:] or end
        assert end.endswith(bytes(1024))

    @property
    def top(self) -> bytes:
        """The name of the top folder."""
        return str(self.header["project"]).encode()


def member(stream: bytes, at: int) -> tuple[bytes, bytes, int, int]:
    """Return name, type and size of a member, and where its content begins."""
    more: dict[bytes, bytes] = {}
    while True:
        record = stream[at : at + 512]
        size = int(record[124:135], 8)
        if record[156:157] != b"x":
            break
        body = stream[at + 512 : at + 512 + size]
        while body:
            length = int(body.split(b" ")[0])
            key, _, value = body[:length].split(b" ", 1)[1][:-1].partition(b"=")
            more[key], body = value, body[length:]
        at += 512 + size + -size % 512
    assert record[257:265] == b"ustar\x0000"
    prefix, name = record[345:500].rstrip(b"\0"), record[:100].rstrip(b"\0")
    path = more.get(b"path", prefix + b"/" + name if prefix else name)
    return path, record[156:157], int(more.get(b"size", size)), at + 512


# --- and what it has to find


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a tree with something of everything."""
    root = tmp_path / "tree"
    root.mkdir()
    for number in range(300):
        write_file(root, b"many/file %d" % number, os.urandom(number * 10))
    write_file(root, b"large", os.urandom(2_500_000))
    write_file(root, b"just large", bytes(262_145))
    write_file(root, b"\xff/" + b"n" * 200, b"odd name")
    write_file(root, b"long/" * 60 + b"name", b"long name")
    (root / "link").symlink_to("../outside")
    os.link(root / "large", root / "same as large")
    os.utime(root / "link", ns=(0, -(10**9)), follow_symlinks=False)
    return root


@pytest.fixture(params=["gz", "zst"])
def archive(request: pytest.FixtureRequest, root: Path, tmp_path: Path) -> Archive:
    """Return an archive of the tree, opened by the reader above."""
    path = tmp_path / f"demo.tar.{request.param}"
    back_up(root, path, head(request.param, scanned_ns=1))
    return Archive(path)


def test_everything_is_found_and_proved(archive: Archive, root: Path) -> None:
    """Every entry is listed with its content or link, and matches the tree."""
    found = {path: content for path, kind, content in archive.files() if kind in ("file", "symlink")}
    things = {path: thing.content for path, thing in look(root).items() if thing.kind != 0o40000}
    assert archive.summary[0] == [
        len(things) - 1,
        sum(map(len, things.values())) - 10,
        len(look(root)) + 1,
        {"untracked": len(things) - 1},
    ]
    same = things.pop(b"same as large")
    assert found == things
    assert same == found[b"large"]


def test_facts_of_the_header(archive: Archive) -> None:
    """The header is a map with the facts of the archive."""
    assert archive.header["commit"] == COMMIT
    assert archive.header["created"] == "2026-11-22T21:45:00Z"
    needed = {"project", "version", "created", "scanned_ns", "format", "level"}
    others = {"commit", "branch", "tag", "note", "excluded", "left_out", "deleted", "stated", "shape"}
    known = needed | others
    assert needed <= archive.header.keys() <= known
    assert all(archive.header[key] for key in archive.header.keys() - needed)


def test_the_rule_that_cuts(archive: Archive) -> None:
    """Blocks end where the page says."""
    small: list[Any] = []
    for block in archive.blocks:
        for place, (path, _, size, *_) in enumerate(block[4]):
            length = sum(512 + each[2] + -each[2] % 512 for each in small if each[1] == "file")
            length += sum(512 for each in small if each[1] != "file")
            more = 512 + size + -size % 512
            cut = length + more > 262_144 or (length >= 81_920 and zlib.crc32(path) % 8 == 0)
            assert cut == (place == 0) or size > 262_144 or not small
            small = [*([] if place == 0 else small), block[4][place]] if size <= 262_144 else []
    at = next(
        number for number, block in enumerate(archive.blocks) if block[4] and block[4][0][0] == b"large"
    )
    assert [block[1] for block in archive.blocks[at : at + 4]] == [512, 1 << 20, 1 << 20, 402_944]
    assert archive.blocks[-1][1] == 1024
    assert archive.blocks[0][1] == 1024


def test_fingerprints(archive: Archive, root: Path) -> None:
    """The fingerprint of each block is that of the sources which the page says."""
    sources = {source.path: source for source in scan(root)}
    for number, block in enumerate(archive.blocks):
        mark = _mark([sources[entry[0]] for entry in block[4]])
        if block[4] and block[4][0][2] > 262_144 and block[4][0][1] == "file":
            left = block[4][0][2]
            for piece in archive.blocks[number:]:
                if piece[4] and piece is not block:
                    break
                assert piece[3] == blake2b(mark + struct.pack(">Q", left), digest_size=16).digest()
                left = max(0, left - (1 << 20))
        elif block[4]:
            assert block[3] == mark


def _mark(sources: list[Any]) -> bytes:
    seen = [
        [s.path, s.kind, s.mode, s.uid, s.gid, s.size, s.mtime_ns]
        + ([0, 0] if s.kind == "directory" else [s.ctime_ns, s.inode])
        + [s.link]
        for s in sources
    ]
    return blake2b(msgspec.msgpack.encode(seen), digest_size=16).digest()


def test_the_seek_table(archive: Archive) -> None:
    """The seek table of a zstd archive has every block."""
    if archive.is_gzip:
        pytest.skip("gzip has none")
    start = len(archive.data) - 17 - 8 * len(archive.blocks)
    assert struct.unpack_from("<II", archive.data, start) == (0x184D2A5E, 9 + 8 * len(archive.blocks))
    pairs = struct.iter_unpack("<II", archive.data[start + 8 : -9])
    assert list(pairs) == [(block[0], block[1]) for block in archive.blocks]


OLD = [path for path in sorted(DATA.rglob("*.tar.*")) if not path.is_symlink()]


@pytest.mark.parametrize("path", OLD, ids=lambda path: str(path.relative_to(DATA)))
def test_archives_of_older_shapes(path: Path) -> None:
    """The page is enough to read what was ever written: every file is found and proved."""
    archive = Archive(path)
    assert archive.version == 1
    assert archive.is_of_first_shape == (path.relative_to(DATA).parts[0] in FIRST_SHAPES)
    found = {name: content for name, kind, content in archive.files() if kind == "file"}
    assert found[b".env"] == b"PORT=8080\n"
    assert archive.summary[0][1] >= sum(map(len, found.values()))
