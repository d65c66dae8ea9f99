"""zstd: every block a frame with its checksum, the index in a skippable frame, the seek table last.

A mark stands behind the first block, so that an archive whose end is lost is known as ours. It does not come
first: GNU tar knows zstd by the magic number of a frame with content.

RFC 8878 for frames; the seek table is that of zstd's contrib/seekable_format, version 0.1.0.
"""

from __future__ import annotations

import re
import struct
import threading
from collections.abc import Iterator
from itertools import islice
from typing import Literal

import zstandard

from backup_lib.archive.frames import (
    MAGIC,
    SEEK_ENTRY,
    SEEK_FOOT,
    SEEK_FOOT_MAGIC,
    SEEK_MAGIC,
    SKIPPABLE,
    Frame,
    frame_at,
    frames,
)
from backup_lib.archive.index import START, begins_index
from backup_lib.archive.trailer import MAGIC as OURS
from backup_lib.archive.trailer import TRAILER_LENGTH, Part, ReadAt, Steps, Trailer, most_parts, parts_left
from backup_lib.errors import DamageError
from backup_lib.model import Level

__all__ = [
    "find_trailer",
    "is_ours",
    "mark",
    "pack",
    "parts",
    "payload",
    "salvage",
    "tail",
    "unpack",
]

_WINDOW = 16 << 20
"""Bytes of memory that a damaged frame may ask for: no block has more."""
_STEP = 1 << 16
"""Bytes of a frame that are unpacked at once, only to see where it ends."""
_LEVELS: dict[Level, int] = {"fast": 1, "normal": 3, "small": 12}
_INDEX_MAGIC = 0x184D2A50
_MARK = struct.Struct("<II4sI")  # a skippable frame: its magic, its length, OURS, the version of the format
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


def mark(version: int) -> bytes:
    """Return what stands behind the first block, as a part of it."""
    return _MARK.pack(_INDEX_MAGIC, _MARK.size - SKIPPABLE.size, OURS, version) if version > 1 else b""


def tail(trailer: Trailer, index: bytes, lengths: list[tuple[int, int]]) -> Iterator[bytes]:
    """Yield what follows the blocks: the index, the trailer, and the seek table over all of that.

    `lengths` holds the compressed and decompressed bytes of each block.
    """
    carriers = [_skippable(index), _skippable(trailer.to_bytes())]
    yield from carriers
    others = [(len(carrier), 0) for carrier in carriers] if trailer.version > 1 else []
    entries = b"".join(SEEK_ENTRY.pack(*pair) for pair in lengths + others)
    foot = SEEK_FOOT.pack(len(lengths + others), 0, SEEK_FOOT_MAGIC)
    yield SKIPPABLE.pack(SEEK_MAGIC, len(entries) + len(foot)) + entries + foot


def _skippable(content: bytes) -> bytes:
    return SKIPPABLE.pack(_INDEX_MAGIC, len(content)) + content


def find_trailer(read_at: ReadAt, size: int) -> Trailer | None:
    """Return the trailer of an archive of `size` bytes, or None where it has none."""
    if size < SEEK_FOOT.size:
        return None
    count, _, magic = SEEK_FOOT.unpack(read_at(size - SEEK_FOOT.size, SEEK_FOOT.size))
    table = SKIPPABLE.size + count * SEEK_ENTRY.size + SEEK_FOOT.size
    at = size - table - TRAILER_LENGTH
    if magic != SEEK_FOOT_MAGIC or at < 0:
        return None
    return Trailer.from_bytes(read_at(at, TRAILER_LENGTH))


def payload(read_at: ReadAt, trailer: Trailer) -> Iterator[bytes]:
    """Yield the bytes of the index."""
    at, left = trailer.offset + SKIPPABLE.size, trailer.length
    while left > 0:
        piece = read_at(at, min(left, 1 << 20))
        yield piece
        at += len(piece)
        left -= len(piece) or left


def is_ours(read_at: ReadAt, size: int) -> bool:
    """Whether a file has a mark, an index or a trailer among its frames, be it cut off."""
    looked_at = islice(frames(read_at, size), most_parts(size))
    return any(_kind(read_at, frame) in ("mark", "index", "trailer") for frame in looked_at)


def parts(read_at: ReadAt, size: int) -> Iterator[Part]:
    """Yield the frames of what is left of an archive of ours; what is damaged is passed over."""
    return parts_left(read_at, size, _STEPS)


def _part(read_at: ReadAt, size: int, at: int) -> Part | None:
    """Return the frame that begins at byte `at`; None where none does."""
    frame = frame_at(read_at, size, at)
    if frame is None:
        return None
    carried = at + SKIPPABLE.size
    return Part(_kind(read_at, frame), at, frame.end, (carried, frame.end - carried))


def _reach(read_at: ReadAt, size: int, part: Part) -> int | None:
    """Return where a frame ends whose content is as its checksum says, or is cut off."""
    if part.kind != "data":
        return part.end if part.end <= size else None
    inflater = zstandard.ZstdDecompressor(max_window_size=_WINDOW).decompressobj()
    at, count = part.at, 0
    while count < _WINDOW and at < min(part.end, size):
        piece = read_at(at, min(_STEP, part.end - at))
        try:
            count += len(inflater.decompress(piece))
        except zstandard.ZstdError:
            return None
        at += len(piece)
    return at if at >= min(part.end, size) else None


def _kind(read_at: ReadAt, frame: Frame) -> Literal["data", "index", "mark", "trailer", "other"]:
    if not frame.is_skippable:
        return "data"
    if frame.magic != _INDEX_MAGIC:
        return "other"
    length = frame.end - frame.at - SKIPPABLE.size
    start = read_at(frame.at + SKIPPABLE.size, min(length, START))
    if start.startswith(OURS):
        return "trailer" if length == TRAILER_LENGTH else "mark"
    return "index" if begins_index(start) else "other"


_START = re.compile(b"|".join(map(re.escape, (MAGIC, _INDEX_MAGIC.to_bytes(4, "little")))), re.DOTALL)
"""How each frame of ours begins, but for the seek table."""
_STEPS = Steps(_part, _reach, _START, len(MAGIC))
