"""The fixed-size end of an archive, which says where the index starts."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["TRAILER_LENGTH", "ReadAt", "Trailer"]

ReadAt = Callable[[int, int], bytes]
"""Returns the bytes of the archive from an offset on, of a length; fewer at its end."""

_LAYOUT = struct.Struct("<4sIQQ32s")
_MAGIC = b"RBKP"
_FORMAT_VERSION = 1

TRAILER_LENGTH = _LAYOUT.size


@dataclass(frozen=True, slots=True)
class Trailer:
    """Where the index of an archive lies."""

    offset: int
    """Where the blocks end and the index begins, bytes."""
    length: int
    """Bytes of index, without the frames that carry it."""
    digest: bytes
    """SHA-256 of the index."""

    def to_bytes(self) -> bytes:
        """Return the trailer as it stands in an archive, `TRAILER_LENGTH` bytes."""
        return _LAYOUT.pack(_MAGIC, _FORMAT_VERSION, self.offset, self.length, self.digest)

    @classmethod
    def from_bytes(cls, data: bytes) -> Trailer | None:
        """Read what `to_bytes` wrote; None where `data` is no trailer."""
        if len(data) != TRAILER_LENGTH:
            return None
        magic, version, offset, length, digest = _LAYOUT.unpack(data)
        return cls(offset, length, digest) if (magic, version) == (_MAGIC, _FORMAT_VERSION) else None
