"""The index: a header, every block with its entries, a summary; one compressed run of records.

Each record is a letter (H, B or S), the length of what follows (4 bytes, little-endian), and msgpack.
All records together are one zlib stream (RFC 1950).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator

import msgspec

from backup_lib.errors import DamageError
from backup_lib.model import Block, Header, Summary

__all__ = ["IndexWriter", "read_bodies", "read_records"]

Record = Header | Block | Summary

_HEAD = struct.Struct("<cI")
_LETTERS: dict[type[Record], bytes] = {Header: b"H", Block: b"B", Summary: b"S"}
_DECODERS: dict[bytes, msgspec.msgpack.Decoder[Record]] = {
    letter: msgspec.msgpack.Decoder(kind) for kind, letter in _LETTERS.items()
}
_MOST = 16 << 20
"""The largest record that is read, bytes."""
_encode = msgspec.msgpack.Encoder().encode


class IndexWriter:
    """Packs records as they come."""

    def __init__(self) -> None:
        self._deflater = zlib.compressobj(1)  # digests hardly shrink: level 6 gains 1.6 %
        self._parts: list[bytes] = []

    def add(self, record: Record) -> None:
        """Add one record: the header first, the summary last."""
        body = _encode(record)
        self._parts.append(self._deflater.compress(_HEAD.pack(_LETTERS[type(record)], len(body)) + body))

    def finish(self) -> bytes:
        """Return the whole index."""
        return b"".join([*self._parts, self._deflater.flush()])


def read_records(payload: Iterable[bytes]) -> Iterator[Record]:
    """Yield the records of an index: the header, each block, the summary.

    Raises `DamageError` where it is damaged, in another order, or goes on after its end.
    """
    for letter, body in read_bodies(payload):
        try:
            yield _DECODERS[letter].decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise DamageError(f"the index has a record that cannot be read ({error})") from error


def read_bodies(payload: Iterable[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Yield the letter of each record of an index, and its msgpack.

    Raises `DamageError` where the index is damaged, in another order, or goes on after its end.
    """
    expected = b"H"
    for letter, body in _split(_inflate(payload)):
        if letter not in expected:
            raise DamageError("the index has a record out of order")
        yield letter, body
        expected = b"" if letter == b"S" else b"BS"
    if expected:
        raise DamageError("the index ends too early")


def _split(data: Iterable[bytes]) -> Iterator[tuple[bytes, bytes]]:
    held = b""
    for piece in data:
        held += piece
        at = 0
        while len(held) - at >= _HEAD.size:
            letter, length = _HEAD.unpack_from(held, at)
            if letter not in _DECODERS or length > _MOST:
                raise DamageError("the index has a record that is none")
            if len(held) - at - _HEAD.size < length:
                break
            at += _HEAD.size + length
            yield letter, held[at - length : at]
        held = held[at:]
    if held:
        raise DamageError("the index ends inside a record")


def _inflate(payload: Iterable[bytes]) -> Iterator[bytes]:
    inflater = zlib.decompressobj()
    try:
        for part in payload:
            rest = part
            while rest:
                yield inflater.decompress(rest, 1 << 20)
                rest = inflater.unconsumed_tail
        yield inflater.flush()
    except zlib.error as error:
        raise DamageError("the index is damaged") from error
    if not inflater.eof or inflater.unused_data:
        raise DamageError("the index does not end where it should")
