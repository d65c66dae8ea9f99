"""zstd frames of any maker: stepping from one to the next, and the seek table over them.

RFC 8878, section 3.1, for frames; zstd's contrib/seekable_format, version 0.1.0, for the table.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import zstandard

from backup_lib.archive.limits import Tally
from backup_lib.archive.trailer import ReadAt
from backup_lib.errors import DamageError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

__all__ = [
    "MAGIC",
    "SEEK_ENTRY",
    "SEEK_FOOT",
    "SEEK_FOOT_MAGIC",
    "SEEK_MAGIC",
    "SKIPPABLE",
    "Frame",
    "frame_at",
    "frames",
    "misfit",
]

MAGIC = b"\x28\xb5\x2f\xfd"
SKIPPABLE = struct.Struct("<II")  # magic, length of what follows
SEEK_MAGIC = 0x184D2A5E
SEEK_ENTRY = struct.Struct("<II")  # compressed and decompressed length of a frame
SEEK_FOOT = struct.Struct("<IBI")  # frames, descriptor, magic
SEEK_FOOT_MAGIC = 0x8F92EAB1
_SKIPPABLES = range(0x184D2A50, 0x184D2A60)
_HAS_CHECKSUMS = 0x80
"""The bit of the descriptor that says that each entry has 4 bytes more."""
_LONGEST_HEADER = 18
_BLOCK_HEADER, _CHECKSUM = 3, 4
_RUN, _RESERVED = 1, 3
"""Types of blocks: a byte that is repeated, and one that there is not."""
_COUNTED = 1 << 20
"""Bytes of a frame that are unpacked at once, only to be counted."""
_MISFIT = "its seek table does not fit its frames: some were lost, added or exchanged"


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame of any maker."""

    magic: int
    at: int
    """Where it begins, bytes from the start of the file."""
    end: int
    """Where the next one begins; beyond the end of the file where this one is cut off."""
    content: int | None = 0
    """Bytes that it decompresses to; None where it does not state them."""

    @property
    def is_skippable(self) -> bool:
        """Whether it has no content."""
        return self.magic in _SKIPPABLES


def frames(read_at: ReadAt, size: int) -> Iterator[Frame]:
    """Yield every frame of a file, up to what is none; one that is cut off last."""
    at = 0
    while at < size and (frame := frame_at(read_at, size, at)):
        yield frame
        at = frame.end


def frame_at(read_at: ReadAt, size: int, at: int) -> Frame | None:
    """Return the frame that begins at byte `at`; None where none does, or its blocks lead nowhere."""
    head = read_at(at, _LONGEST_HEADER)
    if head.startswith(MAGIC):
        return _with_content(read_at, size, at, head)
    if len(head) < SKIPPABLE.size:
        return None
    magic, length = SKIPPABLE.unpack_from(head)
    return Frame(magic, at, at + SKIPPABLE.size + length) if magic in _SKIPPABLES else None


def _with_content(read_at: ReadAt, size: int, at: int, head: bytes) -> Frame | None:
    """Step over the blocks of a frame, from one header to the next."""
    magic = int.from_bytes(MAGIC, "little")
    cut = Frame(magic, at, size + 1)
    try:
        end = at + zstandard.frame_header_size(head)
        told = zstandard.get_frame_parameters(head)
    except zstandard.ZstdError:
        return cut if len(head) < _LONGEST_HEADER else None
    is_last = False
    while not is_last:
        header = int.from_bytes(read_at(end, _BLOCK_HEADER), "little")
        is_last, kind = bool(header & 1), header >> 1 & 3
        end += _BLOCK_HEADER + (1 if kind == _RUN else header >> 3)
        if end > size:
            return cut
        if kind == _RESERVED:
            return None
    content = None if told.content_size == zstandard.CONTENTSIZE_UNKNOWN else told.content_size
    return Frame(magic, at, end + _CHECKSUM * told.has_checksum, content)


def misfit(read_at: ReadAt, size: int, tally: Tally) -> str:
    """Tell what is wrong with how the frames of a file of any maker follow one another, or "".

    Raises `DamageError` where one that does not state its size cannot be unpacked, `RestoreError` where all
    that takes more than the `tally` allows.
    """
    table = _SeekTable.at_end(read_at, size)
    at = 0
    for frame in frames(read_at, size):
        tally.time()
        if frame.end > size:
            return "its last frame is cut off"
        if table and not table.takes(frame, _content(read_at, frame, tally)):
            return _MISFIT
        at = frame.end
    if at < size:
        return "something that is no frame follows its frames"
    return _MISFIT if table and not table.is_done() else ""


def _content(read_at: ReadAt, frame: Frame, tally: Tally) -> int:
    """Return how many bytes a frame decompresses to; raises `DamageError`."""
    if frame.content is not None:
        return frame.content
    total = 0
    try:
        with zstandard.ZstdDecompressor().stream_reader(io.BufferedReader(_Span(read_at, frame))) as reader:
            while piece := reader.read(_COUNTED):
                tally.stream(len(piece))
                tally.time()
                total += len(piece)
    except zstandard.ZstdError as error:
        raise DamageError(f"its compressed data is damaged ({error})") from error
    return total


class _Span(io.RawIOBase):
    """A frame as a file."""

    def __init__(self, read_at: ReadAt, frame: Frame) -> None:
        self._read_at = read_at
        self._at, self._end = frame.at, frame.end

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer)
        data = self._read_at(self._at, min(len(view), self._end - self._at))
        view[: len(data)] = data
        self._at += len(data)
        return len(data)


class _SeekTable:
    """What a seek table says, held against the frames as they come."""

    def __init__(self, entries: Iterator[tuple[int, int]]) -> None:
        self._entries = entries
        self._at = self._end = 0
        """Where the frames so far end, and the entries so far, bytes from the start of the file."""
        self._left = 0
        """Bytes of content that the present entry has still to have."""

    @classmethod
    def at_end(cls, read_at: ReadAt, size: int) -> _SeekTable | None:
        """Return the table that a file ends with, or None."""
        foot = read_at(max(0, size - SEEK_FOOT.size), SEEK_FOOT.size)
        if len(foot) < SEEK_FOOT.size:
            return None
        count, descriptor, magic = SEEK_FOOT.unpack(foot)
        width = SEEK_ENTRY.size + 4 * bool(descriptor & _HAS_CHECKSUMS)
        length = count * width + SEEK_FOOT.size
        start = size - length
        if magic != SEEK_FOOT_MAGIC or start < SKIPPABLE.size:
            return None
        head = read_at(start - SKIPPABLE.size, SKIPPABLE.size)
        if SKIPPABLE.unpack(head) != (SEEK_MAGIC, length):
            return None
        return cls(
            SEEK_ENTRY.unpack_from(read_at(at, width)) for at in range(start, start + count * width, width)
        )

    def takes(self, frame: Frame, content: int) -> bool:
        """Whether the next frame, of `content` bytes, is what the next entry says, or a part of it."""
        while self._at == self._end and not self._left and (entry := next(self._entries, None)):
            self._end, self._left = self._end + entry[0], entry[1]
        self._at = frame.end
        if frame.at >= self._end:  # what the table does not speak of: an index, and itself
            return frame.is_skippable and not self._left
        self._left -= content
        return frame.end < self._end or (frame.end == self._end and not self._left)

    def is_done(self) -> bool:
        """Whether there was a frame for each entry."""
        return not self._left and self._at >= self._end and next(self._entries, None) is None
