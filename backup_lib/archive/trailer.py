"""The fixed-size end of an archive, which says where the index starts; and the parts before it."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

__all__ = [
    "MAGIC",
    "TRAILER_LENGTH",
    "VERSION",
    "Part",
    "ReadAt",
    "Steps",
    "Trailer",
    "most_parts",
    "parts_left",
]

ReadAt = Callable[[int, int], bytes]
"""Returns the bytes of the archive from an offset on, of a length; fewer at its end."""

_LAYOUT = struct.Struct("<4sIQQ32s")
MAGIC = b"RBKP"
VERSION = 2
"""The version of the format that is written.

In version 1, a `.tar.gz` has its index in larger parts; a `.tar.zst` has no mark, and a seek table of blocks.
"""

TRAILER_LENGTH = _LAYOUT.size
_STRETCH = 1 << 20
"""Bytes that are searched at once."""
_MOST_REACHES = 64
"""How often content is unpacked only to see where it ends: damage is rare, bombs are not."""


@dataclass(frozen=True, slots=True)
class Trailer:
    """Where the index of an archive lies."""

    offset: int
    """Where the blocks end and the index begins, bytes."""
    length: int
    """Bytes of index, without the frames that carry it."""
    digest: bytes
    """SHA-256 of the index."""
    version: int = 1
    """Of the format of the archive."""

    def to_bytes(self) -> bytes:
        """Return the trailer as it stands in an archive, `TRAILER_LENGTH` bytes."""
        return _LAYOUT.pack(MAGIC, self.version, self.offset, self.length, self.digest)

    @classmethod
    def from_bytes(cls, data: bytes) -> Trailer | None:
        """Read what `to_bytes` wrote, of whatever version; None where `data` is no trailer."""
        if len(data) != TRAILER_LENGTH or not data.startswith(MAGIC):
            return None
        _, version, offset, length, digest = _LAYOUT.unpack(data)
        return cls(offset, length, digest, version)


class Part(NamedTuple):
    """A gzip member or zstd frame, as it is found by stepping through a file."""

    kind: Literal["data", "index", "mark", "trailer", "other"]
    at: int
    """Where it begins, bytes from the start of the file."""
    end: int
    """Where the next one begins; beyond the end of the file where this one is cut off."""
    carried: tuple[int, int] = (0, 0)
    """Where what an index part or a trailer carries begins, and its bytes."""


def most_parts(size: int) -> int:
    """Return how many members or frames of a file of `size` bytes are looked at: bombs have more."""
    return 20_000 + size // 512


@dataclass(frozen=True, slots=True)
class Steps:
    """How to get from one member or frame of a format to the next."""

    part: Callable[[ReadAt, int, int], Part | None]
    """Returns what begins at a byte of a file of so many bytes; None where nothing does."""
    reach: Callable[[ReadAt, int, Part], int | None]
    """Returns where a part ends by its content: with the file where it is cut off, None where damaged."""
    start: re.Pattern[bytes]
    """Matches how each part begins."""
    length: int
    """Bytes of such a match."""


def parts_left(read_at: ReadAt, size: int, steps: Steps) -> Iterator[Part]:
    """Yield the members or frames of what is left of an archive of ours; what is damaged is passed over.

    What is whole, or only cut off, is not searched: an archive of ours may lie in there as a file.
    """
    at: int | None = 0
    left = _MOST_REACHES
    while at is not None and at < size:
        part = steps.part(read_at, size, at)
        if part is not None and part.end <= size:
            yield part
            if part.end == size or steps.part(read_at, size, part.end):
                at = part.end
                continue
        reach = steps.reach(read_at, size, part) if part and left else None
        left -= part is not None and left > 0
        at = _next_match(read_at, at + 1 if reach is None else reach, steps)


def _next_match(read_at: ReadAt, at: int, steps: Steps) -> int | None:
    """Return where the next part seems to begin, from byte `at` on."""
    while len(stretch := read_at(at, _STRETCH)) >= steps.length:
        if found := steps.start.search(stretch):
            return at + found.start()
        at += len(stretch) - steps.length + 1
    return None
