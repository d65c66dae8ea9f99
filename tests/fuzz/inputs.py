"""Inputs that are nearly right: archives, indexes, manifests, ledgers and settings, all a little off."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from random import Random
from typing import Any

from hostile.build import END, GNU, USTAR, V7, Made, forged_stream, long_name, pax, stream_of, wrapped
from msgspec.structs import replace as replaced

from backup_lib.archive.formats import FORMATS
from backup_lib.archive.index import IndexWriter
from backup_lib.archive.trailer import Trailer
from backup_lib.model import Block, Counts, Entry, Format, Header, Kind, Problem, Summary

__all__ = ["KINDS", "archive", "index", "ledger", "manifest", "settings"]

NAMES = [
    *(b"a", b"b", b"d", b"d/", b"d/f", b"d/e/g", b"l", b"l/x", b"", b".", b"..", b"./a", b"../a", b"/a"),
    *(b"a/..", b"a/../../b", b"d//f", b"d/./f", b"l/../a", b"n" * 100, b"n" * 300, b"d/" * 60 + b"f"),
    *(b"x\\y", b"\xff\xfe", b"a\nb", b"A", b"d/l", b"d/h", b"h", "\u00e9".encode()),
]
LINKS = [
    *(b"a", b"f", b"d", b"d/f", b".", b"..", b"../a", b"../../outside", b"/etc/passwd", b"d/../a", b"l"),
    *(b"l/..", b"", b"x" * 150, b"d/e/../../..", b"a/b/../c", b"./d//f", b"h"),
]
NUMBERS = [
    *(0, 1, 2, 3, 511, 512, 513, 1023, 1024, 1 << 16, (1 << 20) + 1, 1 << 31, 1 << 32, 8 << 30, 1 << 62),
    *((1 << 63) - 1, 1 << 63, 1 << 64, 1 << 90, -1, -512, -(1 << 63), -(1 << 64)),
]
LETTERS = [bytes([letter]) for letter in b"0\x0012356 7SDMNVQxgLKX".replace(b" ", b"")]
KEYS = [
    *(b"path", b"linkpath", b"size", b"mtime", b"atime", b"uid", b"comment", b"hdrcharset", b""),
    *(b"SCHILY.xattr.user.a", b"GNU.sparse.major", b"GNU.sparse.minor", b"GNU.sparse.name"),
    *(b"GNU.sparse.realsize", b"GNU.sparse.size", b"GNU.sparse.map", b"GNU.sparse.offset"),
    *(b"GNU.sparse.numbytes", b"GNU.sparse.numblocks"),
]
VALUES = [
    b"",
    b"0",
    b"1",
    b"1.5",
    b"-1",
    b"9" * 25,
    b"0,512,600,3",
    b"1,0,0",
    b"BINARY",
    b"a\0b",
    b"x=y\n",
    b"abc",
]


def _archive_members(random: Random) -> list[Made]:
    """Return the members of an archive as people make them."""
    members = [
        Made(b"d/", b"5", mode=0o755),
        Made(b"d/f", content=b"content" * random.randrange(200)),
        Made(b"a", content=b"a" * random.choice([0, 1, 511, 512, 513, 70_000])),
        Made(b"l", b"2", link=b"d/f"),
        Made(b"h", b"1", link=b"a"),
        Made(b"d/e/g", content=bytes(random.choice([0, 1000, 100_000]))),
    ]
    return members[: random.randrange(1, len(members) + 1)]


def _number_field(random: Random, width: int) -> bytes:
    number = random.choice(NUMBERS)
    if random.random() < 0.3:
        return (number & ((1 << (8 * width)) - 1) | (0x80 << (8 * width - 8))).to_bytes(width + 1, "big")[
            -width:
        ]
    if random.random() < 0.3:
        return random.choice(
            [bytes(width), b" " * width, b"7" * width, b"9" * width, b"-1".ljust(width, b"\0")]
        )
    return (b"%0*o" % (width - 1, abs(number)))[:width].ljust(width, b"\0")


def _changed_member(random: Random, made: Made) -> Made:
    """Return a member with one thing changed, its checksum right again."""
    changes: list[Callable[[], Made]] = [
        lambda: replace(made, name=random.choice(NAMES)),
        lambda: replace(made, link=random.choice(LINKS)),
        lambda: replace(made, kind=random.choice(LETTERS)),
        lambda: replace(made, size=random.choice(NUMBERS[:9])),
        lambda: replace(made, mode=random.choice([0, 0o777, 0o7777, 0o644])),
        lambda: replace(made, prefix=random.choice(NAMES)[:155]),
        lambda: replace(made, magic=random.choice([USTAR, GNU, V7, b"abcdefgh"])),
        lambda: replace(made, content=made.content[: random.randrange(len(made.content) + 1)]),
        lambda: replace(made, fields=((124, _number_field(random, 12)),)),
        lambda: replace(made, fields=((136, _number_field(random, 12)),)),
        lambda: replace(made, fields=((100, _number_field(random, 8)),)),
        lambda: replace(
            made, fields=((386, random.randbytes(100)), (482, b"\1"), (483, _number_field(random, 12)))
        ),
        lambda: replace(made, fields=((random.randrange(512), random.randbytes(random.randrange(1, 20))),)),
        lambda: replace(made, checksum=random.choice([b"0000000\0", bytes(8), b"garbage!"])),
    ]
    return random.choice(changes)()


def _extended(random: Random) -> Made:
    if random.random() < 0.3:
        return long_name(random.choice(NAMES + LINKS), random.choice([b"L", b"K"]))
    records: list[tuple[bytes, bytes] | bytes] = [
        (random.choice(KEYS), random.choice(NAMES + LINKS + VALUES + [b"%d" % number for number in NUMBERS]))
        for _ in range(random.randrange(4))
    ]
    if random.random() < 0.1:
        records.append(
            random.choice([b"0 a=b\n", b"99 a=b\n", b"-1 a=b\n", b"6 a=b", b"x", bytes(20), b"5 a=\n"])
        )
    return pax(*records, kind=random.choice([b"x", b"x", b"x", b"g", b"X"]))


def _changed_members(random: Random, members: list[Made]) -> list[Made]:
    """Return members after a few changes to them, their order and their number."""
    members = [*members]
    for _ in range(random.randrange(5)):
        at = random.randrange(len(members) + 1)
        what = random.random()
        if what < 0.5 and at < len(members):
            members[at] = _changed_member(random, members[at])
        elif what < 0.7:
            members.insert(at, _extended(random))
        elif what < 0.8:
            members.insert(at, random.choice(members) if members else _extended(random))
        elif what < 0.9 and members:
            random.shuffle(members)
        elif members:
            del members[random.randrange(len(members))]
    return members


def changed_bytes(random: Random, data: bytes) -> bytes:
    """Return bytes with some of them flipped, cut, doubled, moved or replaced by others."""
    changed = bytearray(data)
    for _ in range(random.choice([1, 1, 1, 2, 5, 20])):
        at = random.randrange(len(changed) + 1)
        length = random.choice([1, 1, 2, 4, 8, 64, 512])
        part = changed[at : at + length]
        changed[at : at + length] = random.choice(
            [
                b"",
                bytes(byte ^ (1 << random.randrange(8)) for byte in part),
                random.randbytes(len(part)),
                part * 2,
                bytes(len(part)),
                b"\xff" * len(part),
                bytes(changed[(other := random.randrange(len(changed) + 1)) : other + length]),
            ]
        )
    return bytes(changed)


def archive(random: Random) -> bytes:
    """Return an archive of any maker, or one with an index of ours."""
    members = _changed_members(random, _archive_members(random))
    data = _indexed(random, members) if random.random() < 0.5 else _plain(random, members)
    return changed_bytes(random, data) if random.random() < 0.2 else data


def _plain(random: Random, members: list[Made]) -> bytes:
    stream = stream_of(
        members, random.choice([END, END, END, b"", bytes(512), bytes(700), END + b"more" * 99])
    )
    if random.random() < 0.2:
        stream = changed_bytes(random, stream)
    return wrapped(stream, random.choice([".tar", ".tar.gz", ".tar.zst"]))


def _indexed(random: Random, members: list[Made]) -> bytes:
    """Return an archive whose digests are right, and whose index is changed apart from its stream."""
    form: Format = random.choice(["gz", "zst"])
    blocks: list[tuple[bytes, tuple[Entry, ...]]] = []
    for made in members:
        moved = replace(made, name=b"demo/" + made.name)
        if made.kind == b"1":
            moved = replace(moved, link=b"demo/" + made.link)
        entry = _entry(random, made)
        if blocks and random.random() < 0.5:
            stream, entries = blocks[-1]
            blocks[-1] = (stream + bytes(moved), (*entries, entry))
        else:
            blocks.append((bytes(moved), (entry,)))
    blocks.append((END, ()))
    if random.random() < 0.3:
        at = random.randrange(len(blocks))
        blocks[at] = (changed_bytes(random, blocks[at][0]), blocks[at][1])
    if random.random() < 0.3:
        return _with_changed_index(random, forged_stream(blocks, form), form)
    return forged_stream(blocks, form)


_ENTRY_KINDS: dict[bytes, Kind] = {b"1": "hardlink", b"2": "symlink", b"5": "directory"}


def _entry(random: Random, made: Made) -> Entry:
    """Return what an index should say of a member, or nearly that."""
    kind = _ENTRY_KINDS.get(made.kind, "file")
    digest = sha256(made.content).digest() if kind in ("file", "hardlink") else b""
    entry = Entry(made.name.rstrip(b"/"), kind, len(made.content), digest, made.link, "")
    if random.random() < 0.85:
        return entry
    return random.choice(
        [
            replaced(entry, path=random.choice(NAMES)),
            replaced(entry, kind="file", digest=bytes(32)),
            replaced(entry, kind="hardlink", digest=bytes(32), link=random.choice(LINKS)),
            replaced(entry, kind="directory", digest=b""),
            replaced(entry, size=random.choice(NUMBERS[:15])),
            replaced(entry, link=random.choice(LINKS)),
        ]
    )


def _with_changed_index(random: Random, data: bytes, form: Format) -> bytes:
    """Change the index of an archive, make its digest right again, and put it back."""

    def read_at(offset: int, length: int) -> bytes:
        return data[offset : offset + length]

    trailer = FORMATS[form].find_trailer(read_at, len(data))
    assert trailer is not None
    whole = b"".join(FORMATS[form].payload(read_at, trailer))
    changed = changed_index(random, whole)
    offset = trailer.offset if random.random() < 0.9 else random.choice(NUMBERS[:14])
    length = len(changed) if random.random() < 0.9 else random.choice(NUMBERS[:14])
    again = Trailer(offset, length, sha256(changed).digest())
    return data[: trailer.offset] + b"".join(FORMATS[form].tail(again, changed, []))


def changed_index(random: Random, whole: bytes) -> bytes:
    """Change what an index says, below its compression; its own lengths are right again, mostly."""
    (length,) = struct.unpack_from("<Q", whole)
    records, digests = zlib.decompress(whole[8 : 8 + length]), whole[8 + length :]
    parts: list[tuple[bytes, bytes]] = []
    at = 0
    while at < len(records):
        letter, size = struct.unpack_from("<cI", records, at)
        parts.append((letter, records[at + 5 : at + 5 + size]))
        at += 5 + size
    for _ in range(random.randrange(1, 4)):
        which = random.randrange(len(parts))
        letter, body = parts[which]
        parts[which] = random.choice(
            [(letter, changed_bytes(random, body)), (random.choice([b"H", b"B", b"S"]), body)]
        )
        if random.random() < 0.2:
            parts.insert(random.randrange(len(parts)), random.choice(parts))
    packed = zlib.compress(b"".join(struct.pack("<cI", letter, len(body)) + body for letter, body in parts))
    if random.random() < 0.2:
        digests = changed_bytes(random, digests)
    if random.random() < 0.1:
        packed = changed_bytes(random, packed)
    return (
        struct.pack("<Q", len(packed) if random.random() < 0.95 else random.choice(NUMBERS[:16]))
        + packed
        + digests
    )


def index(random: Random) -> bytes:
    """Return an index on its own."""
    writer = IndexWriter()
    writer.add(Header("demo", "1.1.0", "2026-11-22T21:45:00Z", 0, "gz", "fast", excluded=("a", "b")))
    for _ in range(random.randrange(4)):
        entries = tuple(_entry(random, made) for made in _archive_members(random))
        writer.add(Block(random.choice(NUMBERS[:15]), random.choice(NUMBERS[:15]), bytes(32), b"", entries))
    writer.add(Summary(Counts(1, 2, 3, {"committed": 1}), (Problem(b"x", "changed", "why"),)))
    return changed_index(random, writer.finish())


_MANIFEST = b"""# Backup of demo v1.1.0
# Project:  demo
# Created:  2026-11-22T21:45:00Z
# Version:  1.1.0
# Commit:   3f2c1a9b3f2c1a9b3f2c1a9b3f2c1a9b3f2c1a9b
# Git:      2 as committed, 1 ignored
# Left out: 1 committed file
# Archive:  demo_v1.1.0_20261122T214500Z.tar.gz
# Size:     1234
# SHA-256:  %b
# Index:    %b
# Files:    2, 8 bytes
# Excluded: node_modules/ .git/
# Problem:  changed a\\x3a b: why
# Restore:  tar -xzf demo.tar.gz -C DIR
#
%b  demo/a
\\%b  demo/b\\nc
"""


def manifest(random: Random) -> bytes:
    """Return a manifest."""
    return changed_bytes(random, _MANIFEST % ((b"ab" * 32,) * 4))


def ledger(random: Random) -> bytes:
    """Return a ledger."""
    acts = ["publish", "prove", "restore", "remove", "removed", "other", 1, None]
    lines = [
        {
            "time": "2026-11-22T21:45:00Z",
            "act": random.choice(acts),
            "archive": random.choice(["v1.1.0/a.tar.gz", "", "../x", "2026-11-22.tar.gz", 5]),
            "sha256": "ab" * 32,
            "size": random.choice(NUMBERS),
            "depth": random.choice(["full", "quick", "restore", ""]),
            "result": random.choice(["sound", "damaged", ""]),
            "findings": random.choice([0, -1, 1 << 70, "x"]),
        }
        for _ in range(random.randrange(6))
    ]
    data = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    return changed_bytes(random, data) if random.random() < 0.7 else data


_SETTINGS: dict[str, list[Any]] = {
    "project": ["demo", "", "../x", 5, None, "a/b", "x" * 300],
    "store": ["backups", "", "/", 0, None, "a\0b"],
    "exclude": [["*.log"], "x", [1], None, ["["], ["\\"], ["a" * 5000], []],
    "include": [["build/"], {}, ["!"], [None]],
    "use_gitignore": [True, "yes", 1, "false", None, "maybe"],
    "config_patterns": [[".env*"], "x", [[]]],
    "format": ["gz", "zst", "rar", 1, ""],
    "level": ["fast", "normal", "small", "huge", None],
    "keep": [3, "3", 0, -1, "abc", 1 << 70, 3.5, True],
    "changelog": ["CHANGELOG.md", "", 1, None],
    "hooks": [{"setup": "npm ci"}, {"setup": 1}, [], "x", {"other": "x"}],
    "unknown": [1],
}


def settings(random: Random) -> bytes:
    """Return settings, as JSON."""
    keys = random.sample(sorted(_SETTINGS), random.randrange(1, 5))
    return json.dumps({key: random.choice(_SETTINGS[key]) for key in keys}).encode()


KINDS: dict[str, Callable[[Random], bytes]] = {
    "archive": archive,
    "index": index,
    "manifest": manifest,
    "ledger": ledger,
    "settings": settings,
}
