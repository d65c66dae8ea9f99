"""gzip: every block a member that states its own length, the index in the extra fields of empty members.

RFC 1952 for members and extra fields, RFC 1951 for their content.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from typing import Literal

import deflate
from isal import isal_zlib

from backup_lib.archive.trailer import TRAILER_LENGTH, Part, ReadAt, Steps, Trailer, parts_left
from backup_lib.errors import DamageError
from backup_lib.model import Level

__all__ = ["find_trailer", "is_ours", "mark", "pack", "parts", "payload", "salvage", "tail", "unpack"]

MAGIC = b"\x1f\x8b"

_FIXED = struct.Struct(
    "<2sBBIBBH"
)  # magic, method, flags, mtime, extra flags, system, length of the extra field
_LENGTH = struct.Struct("<2sHI")  # the subfield "RB": length of this member
_SUBFIELD = struct.Struct("<2sH")
_FOOT = struct.Struct("<II")  # CRC-32 and size of the content
_HEAD = _FIXED.size + _LENGTH.size
_NOTHING = b"\x03\x00" + bytes(_FOOT.size)  # the empty deflate stream, its CRC-32 and its size
_STEP = 4096
"""Bytes of a damaged block that are inflated at once, up to where that fails."""
_MOST_REACH = 16 << 20
"""Bytes of content that no block of ours has."""
_PAYLOAD = {1: 65_000, 2: 16_000}
"""Bytes of the index that one empty member carries, by the version of the format.

BusyBox takes no extra field of more than 16,384 bytes.
"""
_CARRIES = _HEAD + _SUBFIELD.size
"""Where what an empty member carries begins, bytes from its start."""
_FRAME = _CARRIES + len(_NOTHING)
_TRAILER_MEMBER = _FRAME + TRAILER_LENGTH


def pack(data: bytes | memoryview, level: Level) -> bytes:
    """Return one block of tar stream as one gzip member."""
    if level == "fast":
        content: bytes | bytearray = isal_zlib.compress(data, 1, -15)
    else:
        content = deflate.deflate_compress(data, 6 if level == "normal" else 9)
    return _member(b"", content, _FOOT.pack(deflate.crc32(data), len(data) & 0xFFFFFFFF))


def _member(subfield: bytes, content: bytes | bytearray, foot: bytes) -> bytes:
    extra = _LENGTH.size + len(subfield)
    length = _FIXED.size + extra + len(content) + len(foot)
    fixed = _FIXED.pack(MAGIC, 8, 4, 0, 0, 255, extra)
    return b"".join((fixed, _LENGTH.pack(b"RB", 4, length), subfield, content, foot))


def unpack(block: bytes, size: int) -> bytes:
    """Return the `size` bytes of tar stream of a block.

    Raises `DamageError` where it is not exactly one member that holds them.
    """
    if len(block) < _HEAD + _FOOT.size or block[:_HEAD] != _member_head(len(block)):
        raise DamageError("its gzip header is damaged")
    checksum, stated = _FOOT.unpack(block[-_FOOT.size :])
    if stated != size & 0xFFFFFFFF:
        raise DamageError("its gzip trailer states another size")
    inflater = isal_zlib.decompressobj(-15)  # libdeflate would pass over what follows the stream
    try:
        data: bytes = inflater.decompress(memoryview(block)[_HEAD : -_FOOT.size], size)
        more = b"" if inflater.eof else inflater.decompress(inflater.unconsumed_tail, 1)
    except isal_zlib.IsalError as error:  # type: ignore[misc]  # its stub has an object there
        raise DamageError("its compressed data is damaged") from error
    if more or inflater.unused_data or not inflater.eof or len(data) != size:
        raise DamageError("its compressed data is of another size")
    if deflate.crc32(data) != checksum:
        raise DamageError("its CRC-32 does not match")
    return data


def _member_head(length: int) -> bytes:
    return _FIXED.pack(MAGIC, 8, 4, 0, 0, 255, _LENGTH.size) + _LENGTH.pack(b"RB", 4, length)


def mark(_version: int) -> bytes:
    """Return what stands behind the first block: nothing, each member says whose it is."""
    return b""


def salvage(block: bytes, size: int) -> bytes:
    """Return what can still be read of a damaged block, at most `size` bytes, unchecked."""
    inflater = zlib.decompressobj(-15)
    data = bytearray()
    step = _STEP
    at = _HEAD
    while at < len(block) and len(data) < size and not inflater.eof:
        before = inflater.copy()
        try:
            data += inflater.decompress(block[at : at + step], size - len(data))
        except zlib.error:
            if step == 1:
                break
            inflater, step = before, 1
        else:
            at += step
    return bytes(data)


def tail(trailer: Trailer, index: bytes, _lengths: list[tuple[int, int]]) -> Iterator[bytes]:
    """Yield what follows the blocks: the index in empty members, and the trailer in a last one."""
    most = _PAYLOAD[trailer.version]
    for at in range(0, len(index), most):
        part = index[at : at + most]
        yield _member(_SUBFIELD.pack(b"RI", len(part)) + part, b"", _NOTHING)
    yield _member(_SUBFIELD.pack(b"RT", TRAILER_LENGTH) + trailer.to_bytes(), b"", _NOTHING)


def find_trailer(read_at: ReadAt, size: int) -> Trailer | None:
    """Return the trailer of an archive of `size` bytes, or None where it has none."""
    if size < _TRAILER_MEMBER:
        return None
    member = read_at(size - _TRAILER_MEMBER, _TRAILER_MEMBER)
    return Trailer.from_bytes(member[_CARRIES : -len(_NOTHING)])


def payload(read_at: ReadAt, trailer: Trailer) -> Iterator[bytes]:
    """Yield the bytes of the index."""
    at, left = trailer.offset, trailer.length
    while left > 0:
        length = min(left, _PAYLOAD[trailer.version])
        member = read_at(at, length + _FRAME)
        yield member[_CARRIES : -len(_NOTHING)]
        at += length + _FRAME
        left -= length


def is_ours(read_at: ReadAt, size: int) -> bool:
    """Whether a file begins with a member that states its own length, as only ours do, be it cut off."""
    return _part(read_at, size, 0) is not None


def parts(read_at: ReadAt, size: int) -> Iterator[Part]:
    """Yield the members of what is left of an archive of ours; what is damaged is passed over."""
    return parts_left(read_at, size, _STEPS)


_START = _FIXED.pack(MAGIC, 8, 4, 0, 0, 255, 0)[:-2]
"""How each member of ours begins, up to the length of its extra field."""
_KINDS: dict[bytes, Literal["index", "trailer"]] = {b"RI": "index", b"RT": "trailer"}


def _part(read_at: ReadAt, size: int, at: int) -> Part | None:
    """Return the member that begins at byte `at`; None where none of ours does."""
    head = read_at(at, _CARRIES)
    if len(head) < _HEAD or not head.startswith(_START):
        return None
    extra = _FIXED.unpack_from(head)[-1]
    name, four, length = _LENGTH.unpack_from(head, _FIXED.size)
    if (name, four) != (b"RB", 4) or length < _HEAD + _FOOT.size:
        return None
    if extra == _LENGTH.size:
        return Part("data", at, at + length)
    if len(head) < _CARRIES:
        return Part("other", at, size + 1)
    subfield, carried = _SUBFIELD.unpack_from(head, _HEAD)
    if subfield not in _KINDS or (extra, length) != (_CARRIES - _FIXED.size + carried, _FRAME + carried):
        return None
    return Part(_KINDS[subfield], at, at + length, (at + _CARRIES, carried))


def _reach(read_at: ReadAt, size: int, part: Part) -> int | None:
    """Return where a block ends by its deflate data: the length that it states may be damaged."""
    inflater = zlib.decompressobj(-15)
    checksum = count = 0
    at = part.at + _HEAD
    while part.kind == "data" and count < _MOST_REACH:
        piece = read_at(at, _STEP)
        try:
            data = inflater.decompress(piece)
        except zlib.error:
            return None
        checksum, count = zlib.crc32(data, checksum), count + len(data)
        at += len(piece) - len(inflater.unused_data)
        if inflater.eof:
            is_whole = read_at(at, _FOOT.size) == _FOOT.pack(checksum, count & 0xFFFFFFFF)
            return at + _FOOT.size if is_whole else None
        if at >= size:
            return size
    return None


_STEPS = Steps(_part, _reach, re.compile(re.escape(_START), re.DOTALL), len(_START))
