"""zstd: every block a frame with its checksum, the index in a skippable frame, the seek table last.

RFC 8878 for frames; the seek table is that of zstd's contrib/seekable_format, version 0.1.0.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Iterator

import zstandard

from backup_lib.archive.trailer import TRAILER_LENGTH, ReadAt, Trailer
from backup_lib.errors import DamageError
from backup_lib.model import Level

__all__ = ["find_trailer", "pack", "payload", "salvage", "tail", "unpack"]

MAGIC = b"\x28\xb5\x2f\xfd"

_WINDOW = 16 << 20
"""Bytes of memory that a damaged frame may ask for: no block has more."""
_LEVELS: dict[Level, int] = {"fast": 1, "normal": 3, "small": 12}
_FRAME = struct.Struct("<II")  # magic, length of what follows
_INDEX_MAGIC = 0x184D2A50
_SEEK_MAGIC = 0x184D2A5E
_SEEK_ENTRY = struct.Struct("<II")  # compressed and decompressed length of a frame
_SEEK_FOOT = struct.Struct("<IBI")  # frames, descriptor, magic
_SEEK_FOOT_MAGIC = 0x8F92EAB1
_thread = threading.local()


def pack(data: bytes | memoryview, level: Level) -> bytes:
    """Return one block of tar stream as one zstd frame."""
    return _compressor(_LEVELS[level]).compress(data)


def _compressor(level: int) -> zstandard.ZstdCompressor:
    """Return the compressor of this thread: one must not be shared."""
    key = f"level_{level}"
    found: zstandard.ZstdCompressor | None = getattr(_thread, key, None)
    if found is None:
        found = zstandard.ZstdCompressor(level=level, write_checksum=True, write_content_size=True)
        setattr(_thread, key, found)
    return found


def unpack(block: bytes, size: int) -> bytes:
    """Return the `size` bytes of tar stream of a block.

    Raises `DamageError` where it is not exactly one frame that holds them.
    """
    try:
        stated = zstandard.get_frame_parameters(block)
        if stated.content_size != size or stated.window_size > _WINDOW:
            raise DamageError("its zstd header states another size, or more memory than any reader gives it")
        return zstandard.ZstdDecompressor().decompress(block, max_output_size=size, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise DamageError("its compressed data is damaged") from error


def salvage(block: bytes, size: int) -> bytes:
    """Return what can still be read of a damaged block, at most `size` bytes, unchecked."""
    inflater = zstandard.ZstdDecompressor(max_window_size=_WINDOW).decompressobj()
    data = bytearray()
    for at in range(len(block)):
        try:
            data += inflater.decompress(block[at : at + 1])
        except zstandard.ZstdError:
            break
        if len(data) >= size or inflater.eof:
            break
    return bytes(data[:size])


def tail(trailer: Trailer, index: bytes, lengths: list[tuple[int, int]]) -> Iterator[bytes]:
    """Yield what follows the blocks: the index, the trailer, and the seek table over `lengths`.

    `lengths` holds the compressed and decompressed bytes of each block.
    """
    yield _FRAME.pack(_INDEX_MAGIC, len(index)) + index
    yield _FRAME.pack(_INDEX_MAGIC, TRAILER_LENGTH) + trailer.to_bytes()
    entries = b"".join(_SEEK_ENTRY.pack(*pair) for pair in lengths)
    foot = _SEEK_FOOT.pack(len(lengths), 0, _SEEK_FOOT_MAGIC)
    yield _FRAME.pack(_SEEK_MAGIC, len(entries) + len(foot)) + entries + foot


def find_trailer(read_at: ReadAt, size: int) -> Trailer | None:
    """Return the trailer of an archive of `size` bytes, or None where it has none."""
    if size < _SEEK_FOOT.size:
        return None
    frames, _, magic = _SEEK_FOOT.unpack(read_at(size - _SEEK_FOOT.size, _SEEK_FOOT.size))
    table = _FRAME.size + frames * _SEEK_ENTRY.size + _SEEK_FOOT.size
    at = size - table - TRAILER_LENGTH
    if magic != _SEEK_FOOT_MAGIC or at < 0:
        return None
    return Trailer.from_bytes(read_at(at, TRAILER_LENGTH))


def payload(read_at: ReadAt, trailer: Trailer) -> Iterator[bytes]:
    """Yield the bytes of the index."""
    at, left = trailer.offset + _FRAME.size, trailer.length
    while left > 0:
        piece = read_at(at, min(left, 1 << 20))
        yield piece
        at += len(piece)
        left -= len(piece) or left
