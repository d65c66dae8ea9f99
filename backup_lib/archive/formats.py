"""The two formats of an archive, as a table: ``FORMATS["gz"].pack`` and so on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, cast

from backup_lib.archive import gz, zst
from backup_lib.archive.trailer import Part, ReadAt, Trailer
from backup_lib.model import Format, Level

__all__ = ["FORMATS", "BlockFormat", "format_of"]


class BlockFormat(Protocol):
    """What a format knows: one block, and what follows the blocks."""

    MAGIC: bytes

    def pack(self, data: bytes | memoryview, level: Level) -> bytes:
        """Compress one block of tar stream."""

    def unpack(self, block: bytes, size: int) -> bytes | bytearray:
        """Decompress one block; `DamageError` where it is not whole."""

    def salvage(self, block: bytes, size: int) -> bytes:
        """Decompress what can still be read of one block."""

    def mark(self, version: int) -> bytes:
        """Return what stands behind the first block, as a part of it."""

    def tail(self, trailer: Trailer, index: bytes, lengths: list[tuple[int, int]]) -> Iterator[bytes]:
        """Yield what follows the blocks."""

    def find_trailer(self, read_at: ReadAt, size: int) -> Trailer | None:
        """Return the trailer, if there is one."""

    def payload(self, read_at: ReadAt, trailer: Trailer) -> Iterator[bytes]:
        """Yield the bytes of the index."""

    def is_ours(self, read_at: ReadAt, size: int) -> bool:
        """Whether a file shows to be one of ours, whatever is lost of it."""

    def parts(self, read_at: ReadAt, size: int) -> Iterator[Part]:
        """Yield the members or frames of what is left of an archive of ours."""


FORMATS: dict[Format, BlockFormat] = {"gz": cast(BlockFormat, gz), "zst": cast(BlockFormat, zst)}


_SKIPPED = b"\x2a\x4d\x18"
"""How a frame without content goes on, with which some writers of zstd begin: RFC 8878, section 3.1.2."""


def format_of(start: bytes) -> Format | None:
    """Return the format of a file that starts with these bytes, or None."""
    if start[:1] and start[0] & 0xF0 == 0x50 and start[1:4] == _SKIPPED:
        return "zst"
    return next((name for name, form in FORMATS.items() if start.startswith(form.MAGIC)), None)
