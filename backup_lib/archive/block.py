"""Blocks: where the tar stream is cut, and how a block is known again.

A cut depends on the path that begins the next block, so that adding or removing
a file moves few of them. Sizes are in bytes of tar stream.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from hashlib import blake2b
from zlib import crc32

import msgspec

from backup_lib.archive.tar import RECORD
from backup_lib.model import Source

__all__ = ["LARGE", "PIECE", "cut", "fingerprint"]

LEAST = 80 << 10
MOST = 256 << 10
CUT_ONE_IN = 8
"""Once a block has `LEAST` bytes, every eighth path begins a new one: 128 KiB on the average tree."""
LARGE = MOST
"""A larger file runs over blocks of its own."""
PIECE = 1 << 20
"""The blocks of a large file."""

_encode = msgspec.msgpack.Encoder().encode


def cut(sources: Iterable[Source]) -> Iterator[list[Source]]:
    """Yield the sources of each block, in order; a file larger than `LARGE` stands alone."""
    block: list[Source] = []
    length = 0
    for source in sources:
        more = RECORD + source.size + -source.size % RECORD
        if block and (length + more > MOST or (length >= LEAST and _cuts(source.path))):
            yield block
            block, length = [], 0
        block.append(source)
        length += more
    if block:
        yield block


def _cuts(path: bytes) -> bool:
    return crc32(path) % CUT_ONE_IN == 0


def fingerprint(sources: Iterable[Source]) -> bytes:
    """Return 16 bytes over all that decides what the block of these sources holds, and whether it changed."""
    seen = [
        (
            source.path,
            source.kind,
            source.mode,
            source.uid,
            source.gid,
            source.size,
            _packable(source.mtime_ns),
            _packable(source.ctime_ns) if source.kind != "directory" else 0,
            source.inode if source.kind != "directory" else 0,
            source.link,
        )
        for source in sources
    ]
    return blake2b(_encode(seen), digest_size=16).digest()


def _packable(time_ns: int) -> int:
    """Return a time as msgpack holds it; a file's may be beyond that."""
    return max(-(1 << 63), min(time_ns, (1 << 63) - 1))
