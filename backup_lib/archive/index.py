"""The index: a header, every block with its entries, a summary; and the digests of all of them.

It is the length of the records (8 bytes, little-endian), the records as one zlib stream (RFC 1950),
and the digests as they are: those would hardly shrink.
Each record is a letter (H, B or S), the length of what follows (4 bytes, little-endian), and msgpack.

An index of the first shape is read, too, and no longer written: one zlib stream of such records and nothing
else, where the digests of a block stand in its record, and each entry has its whole path.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterable, Iterator
from typing import TypeVar

import msgspec

from backup_lib.archive.tar import RECORD
from backup_lib.errors import DamageError
from backup_lib.model import Block, Entry, GitState, Header, Kind, Summary

__all__ = ["START", "IndexWriter", "PackedBlock", "begins_index", "read_records"]

Read = TypeVar("Read")

_START = struct.Struct("<Q")
_HEAD = struct.Struct("<cI")
_MOST = 16 << 20
"""The largest record that is read, bytes."""
_MOST_HEADER = 1 << 20
"""The largest header that is read, bytes."""
_FREE_PATHS = 64 << 20
"""Bytes that the paths of a block may have before they are added up: no honest ones come near."""
_PIECE = 1 << 16
START = 4096
"""Bytes of an index in which its first record begins, whatever its zlib stream has to say before."""
_BEGINNING = re.compile(rb"H.{4}(?:[\x81-\x8f]|\xde..)\xa7project", re.DOTALL)
"""How an index begins: with its header, a map of however many keys."""
_LONGEST_BEGINNING = 16
_DIGEST, _MARK = 32, 16
_NO_MARK = bytes(_MARK)
_SLASH = ord("/")
_WIDTHS = {b"\xdc": 2, b"\xdd": 4}
"""Bytes in which a larger array of msgpack says its length, by its first byte."""
_encode = msgspec.msgpack.Encoder().encode


class _BlockRecord(msgspec.Struct, array_like=True, gc=False):
    """A block without digests."""

    length: int
    size: int
    files: int
    """How many entries have a digest."""
    entries: msgspec.Raw


class _EntryRecord(msgspec.Struct, array_like=True, gc=False):
    """An entry without its digest."""

    shared: int
    """Bytes of the path, up to a slash, that the entry before begins with; 0 for the first of a block."""
    rest: bytes
    """The other bytes of the path."""
    kind: Kind
    size: int
    state: GitState = ""
    link: bytes = b""
    changed: bool = False


class PackedBlock(msgspec.Struct, frozen=True):
    """A block of an index whose entries are left as they are packed."""

    length: int
    size: int
    digest: bytes
    fingerprint: bytes
    entries: bytes
    digests: bytes
    """Those of the files and hard links among the entries."""

    @property
    def count(self) -> int:
        """The number of entries."""
        return _length(self.entries)

    def unpack(self) -> Block:
        """Return the block with its entries.

        Raises `DamageError` where they cannot be read.
        """
        if RECORD * self.count > self.size:
            raise DamageError("the index has more entries in a block than it can hold")
        return Block(self.length, self.size, self.digest, self.fingerprint, tuple(self._entries()))

    def _entries(self) -> Iterator[Entry]:
        path, at, count = b"", 0, self.count
        records = _decoded(_ENTRIES, self.entries)
        is_much = count * len(self.entries) > _FREE_PATHS  # no path is longer than all entries, packed
        if is_much and sum(record.shared + len(record.rest) for record in records) > self.size:
            raise DamageError("the index has longer paths in a block than it can hold")
        for record in records:
            shared = record.shared
            if shared and not (0 < shared <= len(path) and path[shared - 1] == _SLASH):
                raise DamageError("the index has a path that goes on from no folder of the one before")
            path = path[:shared] + record.rest
            digest = b""
            if record.kind in ("file", "hardlink"):
                digest = self.digests[at : at + _DIGEST]
                at += _DIGEST
            yield Entry(path, record.kind, record.size, digest, record.link, record.state, record.changed)
        if at != len(self.digests):
            raise DamageError("the index has not as many digests as files")


class _FirstBlockRecord(msgspec.Struct, array_like=True, gc=False):
    """A block in an index of the first shape."""

    length: int
    size: int
    digest: bytes
    fingerprint: bytes
    entries: msgspec.Raw


class _FirstEntryRecord(msgspec.Struct, array_like=True, gc=False):
    """An entry in an index of the first shape."""

    path: bytes
    kind: Kind
    size: int
    digest: bytes
    link: bytes
    state: GitState
    changed: bool


class _FirstPackedBlock(PackedBlock, frozen=True):
    """A block of an index of the first shape: its entries hold their digests."""

    def _entries(self) -> Iterator[Entry]:
        for record in _decoded(_FIRST_ENTRIES, self.entries):
            if len(record.digest) != _DIGEST * (record.kind in ("file", "hardlink")):
                raise DamageError("the index has not as many digests as files")
            yield Entry(
                path=record.path,
                kind=record.kind,
                size=record.size,
                digest=record.digest,
                link=record.link,
                state=record.state,
                changed=record.changed,
            )


Record = Header | PackedBlock | Summary

_HEADER = msgspec.msgpack.Decoder(Header)
_BLOCK = msgspec.msgpack.Decoder(_BlockRecord)
_SUMMARY = msgspec.msgpack.Decoder(Summary)
_ENTRIES = msgspec.msgpack.Decoder(list[_EntryRecord])
_FIRST_BLOCK = msgspec.msgpack.Decoder(_FirstBlockRecord)
_FIRST_ENTRIES = msgspec.msgpack.Decoder(list[_FirstEntryRecord])


class IndexWriter:
    """Packs records as they come."""

    def __init__(self) -> None:
        self._deflater = zlib.compressobj(6)
        self._records: list[bytes] = []
        self._digests: list[bytes] = []

    def add(self, record: Header | Block | Summary) -> None:
        """Add one record: the header first, the summary last."""
        if isinstance(record, Block):
            digests = [entry.digest for entry in record.entries if entry.digest]
            self._digests += (record.digest, record.fingerprint or _NO_MARK, *digests)
            entries = list(_entry_records(record.entries))
            self._add(b"B", _encode((record.length, record.size, len(digests), entries)))
        else:
            self._add(b"H" if isinstance(record, Header) else b"S", _encode(record))

    def _add(self, letter: bytes, body: bytes) -> None:
        self._records.append(self._deflater.compress(_HEAD.pack(letter, len(body)) + body))

    def finish(self) -> bytes:
        """Return the whole index."""
        self._records.append(self._deflater.flush())
        length = sum(map(len, self._records))
        return b"".join((_START.pack(length), *self._records, *self._digests))


def _entry_records(entries: Iterable[Entry]) -> Iterator[tuple[object, ...]]:
    """Yield each entry as an `_EntryRecord` has it, its path as what differs from the folder before."""
    folder = b""
    for entry in entries:
        path = entry.path
        while not path.startswith(folder):
            folder = folder[: folder.rfind(b"/", 0, -1) + 1]
        shared = len(folder)
        if entry.link or entry.changed:
            yield shared, path[shared:], entry.kind, entry.size, entry.state, entry.link, entry.changed
        else:
            yield shared, path[shared:], entry.kind, entry.size, entry.state
        folder = path[: path.rfind(b"/") + 1]


def read_records(index: bytes) -> Iterator[Record]:
    """Yield the records of an index: the header, each block, the summary.

    Raises `DamageError` where it is damaged, in another order, or goes on after its end.
    """
    if len(index) < _START.size:
        raise DamageError("the index is cut off")
    if _is_of_first_shape(index):
        yield from _first_records(index)
        return
    at = _START.size + _START.unpack_from(index)[0]
    for letter, body in _bodies(index[_START.size : at]):
        if letter == b"B":
            block = _decoded(_BLOCK, body)
            marks = at + _DIGEST
            files = marks + _MARK
            end = files + block.files * _DIGEST
            if block.files < 0 or end > len(index):
                raise DamageError("the index has not all digests")
            mark = index[marks:files]
            yield PackedBlock(
                length=block.length,
                size=block.size,
                digest=index[at:marks],
                fingerprint=b"" if mark == _NO_MARK else mark,
                entries=bytes(block.entries),
                digests=index[files:end],
            )
            at = end
        elif letter == b"H":
            yield _decoded(_HEADER, body)
        else:
            yield _decoded(_SUMMARY, body)
    if at != len(index):
        raise DamageError("the index does not end where it should")


def _is_of_first_shape(index: bytes) -> bool:
    """Whether an index begins with its zlib stream: taken for its length, that leads out of the index."""
    # No zlib stream of records has zeros for its bytes 5 to 7, so it reads as 2 ** 40 or more.
    return bool(_START.unpack_from(index)[0] > len(index) - _START.size)


def _first_records(index: bytes) -> Iterator[Record]:
    for letter, body in _bodies(index):
        if letter == b"B":
            block = _decoded(_FIRST_BLOCK, body)
            yield _FirstPackedBlock(
                length=block.length,
                size=block.size,
                digest=block.digest,
                fingerprint=block.fingerprint,
                entries=bytes(block.entries),
                digests=b"",
            )
        elif letter == b"H":
            yield _decoded(_HEADER, body)
        else:
            yield _decoded(_SUMMARY, body)


def begins_index(data: bytes) -> bool:
    """Whether an index of any shape begins with these bytes; `START` of them are enough."""
    return any(map(_begins_records, (data[_START.size :], data)))


def _begins_records(data: bytes) -> bool:
    try:
        start = zlib.decompressobj().decompress(data, _LONGEST_BEGINNING)
    except zlib.error:
        return False
    return _BEGINNING.match(start) is not None


def _length(array: bytes) -> int:
    """Return how many elements a msgpack array says it has; 0 where it is none."""
    first = array[:1]
    if b"\x90" <= first <= b"\x9f":
        return first[0] & 0x0F
    width = _WIDTHS.get(first, 0)
    return int.from_bytes(array[1 : 1 + width], "big")


def _decoded(decoder: msgspec.msgpack.Decoder[Read], body: bytes) -> Read:
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DamageError(f"the index has a record that cannot be read ({error})") from error


def _bodies(records: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the letter of each record, and its msgpack."""
    expected = b"H"
    for letter, body in _split(_inflate(records)):
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
            if letter not in b"HBS" or length > (_MOST_HEADER if letter == b"H" else _MOST):
                raise DamageError("the index has a record that is none")
            if len(held) - at - _HEAD.size < length:
                break
            at += _HEAD.size + length
            yield letter, held[at - length : at]
        held = held[at:]
    if held:
        raise DamageError("the index ends inside a record")


def _inflate(records: bytes) -> Iterator[bytes]:
    inflater = zlib.decompressobj()
    try:
        for at in range(0, len(records), _PIECE):
            rest = records[at : at + _PIECE]
            while rest:
                yield inflater.decompress(rest, 1 << 20)
                rest = inflater.unconsumed_tail
        yield inflater.flush()
    except zlib.error as error:
        raise DamageError("the index is damaged") from error
    if not inflater.eof or inflater.unused_data:
        raise DamageError("the index does not end where it should")
