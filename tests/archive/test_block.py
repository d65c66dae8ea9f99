"""Where the stream is cut into blocks, and when a block counts as the same."""

from __future__ import annotations

from typing import Any
from zlib import crc32

import pytest
from msgspec.structs import replace

from backup_lib.archive.block import LEAST, MOST, cut, fingerprint
from backup_lib.model import Source

RECORD = 512
CUTTING = next(name for name in (b"%d" % number for number in range(100)) if crc32(name) % 8 == 0)
PLAIN = [name for name in (b"%d" % number for number in range(100)) if crc32(name) % 8]


def source(path: bytes, length: int = RECORD, **more: Any) -> Source:
    """Return a file that takes so many bytes of the stream."""
    known: dict[str, Any] = {"mode": 0o644, "uid": 1, "gid": 2, "mtime_ns": 3, "ctime_ns": 4, **more}
    return Source(path, "file", size=length - RECORD, device=5, inode=6, **known)


def lengths(*sources: Source) -> list[int]:
    """Return how many sources each block has."""
    return [len(block) for block in cut(sources)]


@pytest.mark.parametrize(("second", "blocks"), [(MOST // 2, [2]), (MOST // 2 + 1, [1, 1])])
def test_a_block_is_as_long_as_it_may_be(second: int, blocks: list[int]) -> None:
    """It is filled to the last byte, and one byte more, which pads to a record, begins the next."""
    assert lengths(source(PLAIN[0], MOST // 2), source(PLAIN[1], second)) == blocks


@pytest.mark.parametrize(
    ("first", "name", "blocks"),
    [(LEAST, CUTTING, [1, 1]), (LEAST - RECORD, CUTTING, [2]), (LEAST, PLAIN[1], [2])],
)
def test_a_name_cuts_once_there_is_enough(first: int, name: bytes, blocks: list[int]) -> None:
    """One name in eight ends the block before it, once that is as long as it has to be."""
    assert lengths(source(PLAIN[0], first), source(name)) == blocks


def test_each_block_counts_from_its_own_start() -> None:
    """After a full block, and after a large file, the next one begins with nothing."""
    half, large = MOST // 2, 2 * MOST
    full = [source(PLAIN[place], half) for place in range(4)]
    assert lengths(*full) == [2, 2]
    assert lengths(full[0], source(PLAIN[5], large), full[1], full[2]) == [1, 1, 2]
    assert lengths() == []


@pytest.mark.parametrize(
    "change",
    [
        *({name: 9} for name in ("mode", "uid", "gid", "size", "mtime_ns", "ctime_ns", "inode")),
        *({"path": b"other"}, {"link": b"other"}, {"kind": "symlink"}),
        {"mtime_ns": -(1 << 80)},
        {"ctime_ns": 1 << 80},
    ],
)
def test_a_fingerprint_tells_every_change(change: dict[str, Any]) -> None:
    """Each thing that the scan sees of a file counts, in each of them, and times of any size."""
    first, second = source(b"a"), source(b"b")
    changed = fingerprint([first, replace(second, **change)])
    assert changed != fingerprint([first, second])
    assert changed == fingerprint([first, replace(second, **change)])


def test_the_fingerprint_of_a_folder_outlives_what_is_made_in_it() -> None:
    """Its inode and the time of its change do not count; its mode and time do."""
    folder = replace(source(b"a"), kind="directory")
    assert fingerprint([replace(folder, ctime_ns=9, inode=9)]) == fingerprint([folder])
    assert fingerprint([replace(folder, mtime_ns=9)]) != fingerprint([folder])


def test_times_beyond_the_wire_are_told_from_those_within() -> None:
    """The last nanosecond that 64 bits hold is not the one before; all beyond count as the last."""
    last = (1 << 63) - 1
    for beyond, edge in ((1 << 80, last), (last + 1, last), (-(1 << 80), -last - 1), (-last - 2, -last - 1)):
        assert fingerprint([source(b"a", mtime_ns=beyond)]) == fingerprint([source(b"a", mtime_ns=edge)])
    marks = {fingerprint([source(b"a", mtime_ns=time)]) for time in (last, last - 1, -last - 1, -last)}
    assert len(marks) == 4
