"""docs/format.md is exact: a reader written from it alone lists, extracts and proves an archive."""

from __future__ import annotations

import gzip
import itertools
import json
import os
import struct
import unicodedata
import zlib
from collections.abc import Iterator
from hashlib import blake2b, sha256
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zstandard
from msgspec.structs import replace

from backup_lib.model import Format
from backup_lib.store.ledger import read as read_ledger
from backup_lib.store.manifest import ArchiveFacts, facts_of, format_manifest, listed

from .trees import COMMIT, back_up, head, look, reading, scan, write_file

DATA = Path(__file__).parents[1] / "data"
FIRST_SHAPES = {"1-rules-in-words", "2-index-in-one-piece"}

# --- a reader of .tar.gz and .tar.zst, as docs/format.md has it


class Archive:
    """An archive, opened with two reads of its end."""

    def __init__(self, path: Path) -> None:
        self.data = path.read_bytes()
        self.is_gzip = self.data[-66:-62] == b"RBKP"
        assert self.is_gzip or self.data[-4:] == struct.pack("<I", 0x8F92EAB1)
        end = self.data[-90:] if self.is_gzip else self.data[-65536:]
        trailer = end[24:80] if self.is_gzip else self._before_seek_table(end)
        magic, self.version, self.offset, length, digest = struct.unpack("<4sIQQ32s", trailer)
        assert magic == b"RBKP"
        assert self.version in (1, 2)
        index = b"".join(self._members()) if self.is_gzip else self._skippable(self.offset)
        assert (len(index), sha256(index).digest()) == (length, digest)
        self.index_digest = digest
        length = struct.unpack_from("<Q", index)[0]
        self.is_of_first_shape = length > len(index) - 8
        stream, digests = (
            (index, b"") if self.is_of_first_shape else (index[8 : 8 + length], index[8 + length :])
        )
        self.packed_records = zlib.decompress(stream)
        records = list(self._records(self.packed_records))
        (_, self.header), *blocks, (_, self.summary) = records
        assert self.header.get("shape", 1) == self.version
        assert self.header["format"] == ("gz" if self.is_gzip else "zst")
        assert "".join(letter for letter, _ in records) == "H" + "B" * len(blocks) + "S"
        unpacked = self._of_first_shape if self.is_of_first_shape else self._with_digests
        self.blocks = list(unpacked([block for _, block in blocks], digests))

    @staticmethod
    def _of_first_shape(blocks: list[Any], digests: bytes) -> Iterator[list[Any]]:
        """Do as `_with_digests` where the records hold the digests."""
        assert not digests
        for length, size, digest, mark, records in blocks:
            yield [length, size, digest, mark, records]

    @staticmethod
    def _with_digests(blocks: list[Any], digests: bytes) -> Iterator[list[Any]]:
        """Yield each block as length, size, digest, fingerprint and entries.

        Each entry has path, kind, size, digest, link, state, and whether it changed.
        """
        at = 0
        for length, size, files, records in blocks:
            digest, mark, at = digests[at : at + 32], digests[at + 32 : at + 48], at + 48
            path, entries = b"", []
            for shared, rest, kind, content, *more in records:
                path, own = path[:shared] + rest, b""
                if kind in ("file", "hardlink"):
                    own, at, files = digests[at : at + 32], at + 32, files - 1
                state, link, changed = more if len(more) > 1 else (*more, b"", False)
                entries.append([path, kind, content, own, link, state, changed])
            assert files == 0
            yield [length, size, digest, mark, entries]
        assert at == len(digests)

    @staticmethod
    def _before_seek_table(end: bytes) -> bytes:
        entries, flags, magic = struct.unpack("<IBI", end[-9:])
        assert (flags, magic) == (0, 0x8F92EAB1)
        stop = len(end) - 17 - 8 * entries
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
            for path, kind, size, digest, link, *_ in entries:
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


# --- a writer of headers, and a reader of what is left, as the page has them


def header(name: bytes, letter: bytes, numbers: dict[str, int], link: bytes) -> bytes:
    """Return the headers of a member: `numbers` are mode, uid, gid, size and mtime."""
    most = {"uid": 2_097_151, "gid": 2_097_151, "size": 8_589_934_591, "mtime": 8_589_934_591}
    records: dict[bytes, bytes] = {}
    prefix, short = split(name)
    if prefix + (b"/" if prefix else b"") + short != name:
        records[b"path"] = name
    if len(link) > 100:
        records[b"linkpath"] = link
    for key in most:
        if not 0 <= numbers[key] <= most[key]:
            records[key.encode()] = str(numbers[key]).encode()
            numbers = numbers | {key: 0}
    try:
        b"".join(records.values()).decode()
    except UnicodeDecodeError:
        records = {b"hdrcharset": b"BINARY", **records}
    body = b"".join(record(key, value) for key, value in records.items())
    return pax_header(b"x", b"pax_header", body) + one_header(short, letter, numbers, link[:100], prefix)


def split(name: bytes) -> tuple[bytes, bytes]:
    """Return prefix and name, or no prefix and what is left of a name that does not fit."""
    if len(name) > 100:
        for at in range(1, len(name) - 1):
            if name[at : at + 1] == b"/" and len(name) - at - 1 <= 100:
                return (name[:at], name[at + 1 :]) if at <= 155 else (b"", name[:100])
    return b"", name[:100]


def record(key: bytes, value: bytes) -> bytes:
    """Return a record, which says its own length."""
    rest = b" %b=%b\n" % (key, value)
    length = next(n for n in range(10_000) if n == len(str(n)) + len(rest))
    return str(length).encode() + rest


def pax_header(letter: bytes, name: bytes, body: bytes) -> bytes:
    """Return a pax header with its records; nothing where there are none."""
    numbers = {"mode": 0o644, "uid": 0, "gid": 0, "size": len(body), "mtime": 0}
    return one_header(name, letter, numbers, b"", b"") + body + bytes(-len(body) % 512) if body else b""


def one_header(name: bytes, letter: bytes, numbers: dict[str, int], link: bytes, prefix: bytes) -> bytes:
    """Return 512 bytes."""
    widths = {"mode": 7, "uid": 7, "gid": 7, "size": 11, "mtime": 11}
    fields = "".join(f"{numbers[key]:0{width}o}\0" for key, width in widths.items()).encode()
    start = name.ljust(100, b"\0") + fields
    end = letter + link.ljust(100, b"\0") + b"ustar\0" + b"00" + bytes(64) + b"0000000\0" * 2
    end += prefix.ljust(155, b"\0") + bytes(12)
    return start + b"%06o\0 " % sum(start + b" " * 8 + end) + end


def parts_left(data: bytes, is_gzip: bool) -> Iterator[tuple[int, int]]:
    """Yield where each member or frame begins and ends, passing over what leads nowhere."""
    at = 0
    end_of = member_end if is_gzip else frame_end
    starts = [b"\x1f\x8b\x08\x04\0\0\0\0\0\xff"] if is_gzip else [b"\x28\xb5\x2f\xfd", b"\x50\x2a\x4d\x18"]
    while at < len(data):
        end = end_of(data, at)
        if end is not None and end <= len(data):
            yield at, end
        if end is not None and (end == len(data) or end_of(data, end)):
            at = end
        else:
            behind = whole_end(data, at, end, is_gzip) or at + 1
            found = [place for start in starts if (place := data.find(start, behind)) > 0]
            at = min(found, default=len(data))


def whole_end(data: bytes, at: int, end: int | None, is_gzip: bool) -> int | None:
    """Return where what begins there ends by its content, the end of the data where it is cut off there."""
    if end is None:
        return None
    try:
        if not is_gzip:
            zstandard.ZstdDecompressor().decompressobj().decompress(data[at:end])
            return min(end, len(data))
        inflater = zlib.decompressobj(-15)
        content = inflater.decompress(data[at + 20 :])
    except (zlib.error, zstandard.ZstdError):
        return None
    if not inflater.eof:
        return len(data)
    foot = inflater.unused_data[:8]
    after = len(data) - len(inflater.unused_data) + 8
    return after if foot == struct.pack("<II", zlib.crc32(content), len(content)) else None


def member_end(data: bytes, at: int) -> int | None:
    """Return where the member that begins there ends, by its own word."""
    if data[at : at + 10] != b"\x1f\x8b\x08\x04\0\0\0\0\0\xff" or data[at + 12 : at + 16] != b"RB\4\0":
        return None
    return at + int.from_bytes(data[at + 16 : at + 20], "little")


def frame_end(data: bytes, at: int) -> int | None:
    """Return where the frame that begins there ends, by the headers of its blocks."""
    magic = data[at : at + 4]
    if magic[1:] == b"\x2a\x4d\x18" and magic[0] >> 4 == 5:
        return at + 8 + int.from_bytes(data[at + 4 : at + 8], "little")
    if magic != b"\x28\xb5\x2f\xfd":
        return None
    at += zstandard.frame_header_size(data[at : at + 18])
    last = 0
    while not last and at < len(data):
        block = int.from_bytes(data[at : at + 3], "little")
        last, kind, size = block & 1, block >> 1 & 3, block >> 3
        at += 3 + (1 if kind == 1 else size)
        if kind == 3:
            return None
    return at + 4


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


def test_each_header_is_written_as_the_page_says(archive: Archive) -> None:
    """From its fields alone, each header comes out byte for byte, long, odd and early ones, too."""
    _, (_, stream), *_ = [(b"", b""), *archive.runs()] if archive.header.get("commit") else []
    comment = record(b"comment", COMMIT.encode())
    assert stream == pax_header(b"g", b"pax_global_header", comment)
    letters, extended = set(), 0
    for entries, stream in archive.runs():
        at = 0
        for _, kind, _, _, link, *_ in entries:
            name, letter, length, start = member(stream, at)
            last = stream[start - 512 : start]
            fields = {"mode": (100, 108), "uid": (108, 116), "gid": (116, 124), "mtime": (136, 148)}
            numbers = {key: int(last[slice(*places)].rstrip(b"\0"), 8) for key, places in fields.items()}
            early = b"mtime=-1\n" in stream[at:start]
            numbers |= {"size": length, "mtime": -1 if early else numbers["mtime"]}
            target = archive.top + b"/" + link if kind == "hardlink" else link
            assert header(name, letter, numbers, target) == stream[at:start]
            letters.add(letter)
            extended += start - at > 512
            at = start + length + -length % 512
    assert letters == {b"0", b"1", b"2", b"5"}
    assert extended >= 3


@pytest.mark.parametrize("lost", ["nothing", "the end", "a piece", "the start"])
def test_what_is_left_is_stepped_through(archive: Archive, lost: str) -> None:
    """Every block behind the damage is found again, to the byte."""
    ends = [0]
    for block in archive.blocks:
        ends.append(ends[-1] + block[0])
    data = archive.data
    cut = {
        "nothing": data,
        "the end": data[: ends[-1]],
        "a piece": data[:50_000] + data[60_000:],
        "the start": data[7:],
    }
    left = cut[lost]
    found = {left[at:end] for at, end in parts_left(left, archive.is_gzip)}
    whole = [data[at:end] for at, end in itertools.pairwise(ends)]
    if not archive.is_gzip:
        whole[0] = whole[0][:-16]
    damaged = {
        at for at in range(len(whole)) if lost == "a piece" and ends[at + 1] > 50_000 and ends[at] < 60_000
    }
    damaged |= {0} if lost == "the start" else set()
    assert {at for at, block in enumerate(whole) if block not in found} == damaged


def test_what_is_whole_is_not_searched(archive: Archive) -> None:
    """A block that states a wrong length ends where its deflate data ends; none behind it is lost."""
    if not archive.is_gzip:
        pytest.skip("a frame states no length")
    whole = list(parts_left(archive.data, is_gzip=True))
    for at, _ in whole[:3]:
        data = bytearray(archive.data)
        data[at + 16] ^= 1
        found = parts_left(bytes(data), is_gzip=True)
        assert [start for start, _ in found] == [start for start, _ in whole]


def test_the_records_are_written_as_the_page_says(archive: Archive) -> None:
    """Order of keys, what is left out, shortest forms: the records come out again byte for byte."""
    keys = "project version created scanned_ns format level commit branch tag note excluded left_out deleted"
    always = {"project", "version", "created", "scanned_ns", "format", "level"}
    head = {key: archive.header[key] for key in [*keys.split(), "stated", "shape"] if key in archive.header}
    assert all(head[key] for key in head.keys() - always)
    written = _record("H", head)
    for length, size, _, _, entries in archive.blocks:
        before, places, files = b"", [], 0
        for path, kind, content, digest, link, state, changed in entries:
            slashes = (at + 1 for at, byte in enumerate(before) if byte == ord("/"))
            shared = max((end for end in slashes if path.startswith(before[:end])), default=0)
            last = [link, changed] if link or changed else []
            places.append([shared, path[shared:], kind, content, state, *last])
            before, files = path, files + bool(digest)
        written += _record("B", [length, size, files, places])
    states = archive.summary[0][3]
    assert list(states) == sorted(states)
    assert written + _record("S", archive.summary) == archive.packed_records


def _record(letter: str, value: Any) -> bytes:
    packed = msgspec.msgpack.encode(value)
    return struct.pack("<cI", letter.encode(), len(packed)) + packed


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
    """The seek table of a zstd archive has every frame before it."""
    if archive.is_gzip:
        pytest.skip("gzip has none")
    count = len(archive.blocks) + 2
    start = len(archive.data) - 17 - 8 * count
    assert struct.unpack_from("<II", archive.data, start) == (0x184D2A5E, 9 + 8 * count)
    pairs = list(struct.iter_unpack("<II", archive.data[start + 8 : -9]))
    assert pairs[:-2] == [(block[0], block[1]) for block in archive.blocks]
    assert pairs[-2:] == [(start - 64 - archive.offset, 0), (64, 0)]
    assert sum(length for length, _ in pairs) == start


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


# --- a writer of manifests, and a reader of ledgers, as the page has them

STATES = {
    "committed": "as committed",
    "converted": "as committed (converted by git)",
    "modified": "modified",
    "untracked": "untracked",
    "ignored": "ignored",
    "submodule": "in submodules",
}


def manifest_of(path: Path) -> Iterator[str]:
    """Yield the lines of the manifest, from the archive and its name, size and digest."""
    archive = Archive(path)
    (files, content, _, states), problems = archive.summary
    known = archive.header | {
        "git": ", ".join(f"{states[state]} {words}" for state, words in STATES.items() if state in states),
        "archive": path.name,
        "size": len(archive.data),
        "sha-256": sha256(archive.data).hexdigest(),
        "index": archive.index_digest.hex(),
        "files": f"{files}, {content} bytes",
    }
    version = f" v{text(known['version'])}" if known["version"] else ""
    yield f"# Backup of {text(known['project'])}{version}"
    yield from facts(known, "Project Created Version Stated Commit Branch Tag Note Git")
    for name in ("Left out", "Deleted"):
        if count := known.get(name.lower().replace(" ", "_")):
            yield fact(name, f"{count} committed files")
    yield from facts(known, "Archive Size SHA-256 Index Files")
    if rules := known.get("excluded"):
        yield fact("Excluded", " ".join(text(rule).replace(" ", "\\x20") for rule in rules))
    for place, kind, reason in problems:
        name = text(os.fsdecode(place[:100_000])).replace(": ", "\\x3a ")
        yield fact("Problem", f"{kind} {name}: {text(reason)}")
    tar = "tar -xzf" if archive.is_gzip else "tar --zstd -xf"
    is_safe = all(each.isascii() and (each.isalnum() or each in "@%+=:,./-_") for each in path.name)
    quoted = path.name if is_safe else "'" + path.name.replace("'", "'\"'\"'") + "'"
    yield fact("Restore", f"{tar} {text(quoted)} -C DIR")
    yield fact("Check", "(cd DIR && sha256sum --check --quiet --strict /path/to/MANIFEST.txt)")
    yield "#"
    for *_, entries in archive.blocks:
        for place, _, _, digest, *_ in entries:
            if digest:
                yield sum_line(archive.top + b"/" + place, digest)


def facts(known: dict[str, Any], names: str) -> Iterator[str]:
    """Yield the lines of those that have a value."""
    return (fact(name, text(str(value))) for name in names.split() if (value := known.get(name.lower())))


def fact(name: str, value: str) -> str:
    """Return one line."""
    return f"# {name + ':':<10}{value}"


def text(raw: str) -> str:
    """Return a text as it stands in a fact."""
    odd = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs")
    shown = ["\\\\" if each == "\\" else each for each in raw]
    for at, each in enumerate(raw):
        is_inside = each == " " and 0 < at < len(raw) - 1
        if not is_inside and unicodedata.category(each) in odd:
            shown[at] = "".join(f"\\x{byte:02x}" for byte in os.fsencode(each))
    return "".join(shown)


def sum_line(path: bytes, digest: bytes) -> str:
    """Return what sha256sum prints."""
    escaped = path.replace(b"\\", b"\\\\").replace(b"\n", b"\\n").replace(b"\r", b"\\r")
    return "\\" * (escaped != path) + digest.hex() + "  " + os.fsdecode(escaped)


MANIFESTS = [path for path in sorted(DATA.glob("*/v*/MANIFEST.txt")) if path.parts[-3] not in FIRST_SHAPES]


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: str(path.parent.relative_to(DATA)))
def test_the_manifest_is_made_again(path: Path) -> None:
    """From the archive, its name, size and digest alone, each manifest comes out byte for byte."""
    found = os.fsdecode(path.read_bytes())
    name = next(line[12:] for line in found.split("\n") if line.startswith("# Archive:"))
    assert "\n".join([*manifest_of(path.parent / name), ""]) == found


@pytest.mark.parametrize("format", ["gz", "zst"])
def test_a_manifest_of_odd_things(root: Path, tmp_path: Path, format: Format) -> None:
    """Every fact stands where the page has it, and is written as the page says."""
    path = tmp_path / f"it's a demo.tar.{format}"
    write_file(root, b"a\nb\\c: d")
    counts = {"left_out": 1, "deleted": 2}
    told = {"branch": "m\u00e4in\u2028", "excluded": ("a b/", "*.log"), "stated": "1.0.0 in package.json"}
    sources = [
        replace(source, state=state)
        for source, state in zip(scan(root), [""] * 9 + [*STATES] * 90, strict=False)
    ]
    gone = replace(sources[-1], path=sources[-1].path + b": gone \xff")
    back_up(root, path, head(format, tag="v1.1.0", note=" two\twords ", **counts, **told), [*sources, gone])
    lines = list(manifest_of(path))
    archive = Archive(path)
    with reading(path) as reader:
        digests = sha256(archive.data).hexdigest(), archive.index_digest.hex()
        there = ArchiveFacts(path.name, len(archive.data), *digests)
        known = facts_of(reader.header, reader.summary, there)
        written = b"".join(format_manifest(known, listed("demo", reader.entries())))
    assert os.fsdecode(written) == "\n".join([*lines, ""])
    assert {"# Left out: 1 committed files", "# Note:     \\x20two\\x09words\\x20"} <= set(lines)
    assert sum(line.startswith("# Problem:  vanished") for line in lines) == 1


LEDGERS = sorted(DATA.glob("*/ledger.jsonl"))


@pytest.mark.parametrize("path", LEDGERS, ids=lambda path: path.parent.name)
def test_a_ledger_says_no_default(path: Path) -> None:
    """Three keys are always there, others where they are not what the page has for nothing said."""
    for line in path.read_text().splitlines():
        record = json.loads(line)
        others = {key: value for key, value in record.items() if key not in ("time", "act", "archive")}
        assert len(others) == len(record) - 3
        assert all(value not in ("", 0, None, False) for value in others.values())


def test_what_a_ledger_leaves_out_is_read_as_its_default(tmp_path: Path) -> None:
    """Text is empty, but version and commit are null; numbers are 0; made is false; odd lines are nothing."""
    always = {"time": "2026-11-22T21:45:00Z", "act": "publish", "archive": "a"}
    odd = ["{", '{"act": "publish"}', "[]", json.dumps(always | {"size": "9"})]
    lines = [json.dumps(always | {"later": 1}), *odd, json.dumps(always | {"note": "x" * (1 << 20)})]
    (tmp_path / "ledger.jsonl").write_text("\n".join(lines) + '\n{"time"')
    ((_, record),) = read_ledger(tmp_path).records
    texts = "sha256 index project created offset depth result tool note tagger file lines replaced"
    defaults: dict[str, Any] = dict.fromkeys(texts.split(), "") | {
        "version": None,
        "commit": None,
        "made": False,
    }
    defaults |= dict.fromkeys(["size", "findings", "seconds", "keep"], 0)
    assert msgspec.structs.asdict(record) == always | defaults
