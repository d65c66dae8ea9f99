"""Sparse files of GNU tar: where their data belongs, in each of the four ways that was ever written down.

"GNU tar, Appendix D: Tar Internals, Storing Sparse Files": the old GNU format, and PAX 0.0, 0.1 and 1.0.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice

from backup_lib.errors import DamageError

__all__ = ["PREFIX", "Hole", "Sparse", "Told", "map_in_content", "map_in_header"]

PREFIX = b"GNU.sparse."
"""What the keys of pax records about sparse files begin with."""
_RECORD = 512
_FIELD = 12
_MOST = 2_000_000
"""Numbers in a map: two for each region."""
_LONGEST = 20
"""Digits of a number."""
_MOST_SIZE = (1 << 63) - 1
"""Bytes of a file, as far as the kernel counts them."""
_ZEROS = memoryview(bytes(1 << 20))


@dataclass(frozen=True, slots=True)
class Hole:
    """A run of zeros in a file, however long, that is stored nowhere."""

    length: int
    """Bytes."""

    def zeros(self) -> Iterator[memoryview]:
        """Yield the zeros in pieces."""
        left = self.length
        while left > 0:
            piece = _ZEROS[:left]
            yield piece
            left -= len(piece)


@dataclass(frozen=True, slots=True)
class Sparse:
    """Where the data of a sparse file belongs.

    Raises `DamageError` where its regions overlap, are out of order, or are not what is stored.
    """

    size: int
    """Bytes of the file, its holes included."""
    stored: int
    """Bytes of it that are in the archive."""
    map: array[int]
    """Offset and length of each region of data, in bytes, one after the other."""

    def __post_init__(self) -> None:
        at = data = 0
        for offset, length in self._regions():
            if offset < at or length < 0:
                raise DamageError("a sparse file has regions that overlap")
            if length and data % _RECORD:  # GNU tar looks for it in the next record, others right after
                raise DamageError("a sparse file has data that every reader puts elsewhere")
            at = offset + length
            data += length
        if len(self.map) % 2 or not at <= self.size <= _MOST_SIZE or data != self.stored:
            raise DamageError("a sparse file has a map that does not fit it")

    def _regions(self) -> Iterator[tuple[int, int]]:
        return zip(self.map[::2], self.map[1::2], strict=False)

    def spread(self, read: Callable[[int], Iterable[bytes]]) -> Iterator[bytes | Hole]:
        """Yield the content of the file; `read` yields the next bytes of data."""
        at = 0
        for offset, length in self._regions():
            if offset > at:
                yield Hole(offset - at)
            yield from read(length)
            at = offset + length
        if self.size > at:
            yield Hole(self.size - at)


@dataclass(slots=True)
class Told:
    """What pax records tell of one sparse file: no more is held of them than a map may have."""

    found: bool = False
    """Whether there were any."""
    facts: dict[bytes, bytes] = field(default_factory=dict)
    """The last record of each key, without `PREFIX`."""
    map: array[int] = field(default_factory=lambda: array("q"))
    """That of formats 0.0 and 0.1."""

    def take(self, key: bytes, value: bytes) -> None:
        """Take a record, its key without `PREFIX`; raises `DamageError` where the map is none."""
        self.found = True
        if key == b"map" and value:
            _extend(self.map, map(_decimal, value.split(b",")))
        elif key in (b"offset", b"numbytes"):
            _extend(self.map, (_decimal(value),))
        elif key in (b"major", b"name", b"realsize", b"size"):
            self.facts[key] = value


def map_in_header(record: bytes, read: Callable[[int], bytes], number: Callable[[bytes], int]) -> array[int]:
    """Return the map that an old GNU header begins, and the records after it go on with."""

    def numbers() -> Iterator[int]:
        yield from _filled(record[386:482])
        goes_on = record[482]
        while goes_on:
            more = read(_RECORD)
            yield from _filled(more[:504])
            goes_on = more[504]

    def _filled(fields: bytes) -> Iterator[int]:
        for at in range(0, len(fields), 2 * _FIELD):
            if fields[at + _FIELD]:
                yield number(fields[at : at + _FIELD])
                yield number(fields[at + _FIELD : at + 2 * _FIELD])

    return _array(numbers())


def map_in_content(read: Callable[[int], bytes]) -> array[int]:
    """Return the map in the records before the data of a file, pax format 1.0; no more is read."""
    lines = _lines(read)
    return _array(map(_decimal, islice(lines, 2 * _decimal(next(lines)))))


def _lines(read: Callable[[int], bytes]) -> Iterator[bytes]:
    rest = b""
    while len(rest) <= _LONGEST:
        *lines, rest = (rest + read(_RECORD)).split(b"\n")
        yield from lines
    raise DamageError("a sparse file has a map that is none")


def _decimal(text: bytes) -> int:
    if not text.isdigit() or len(text) > _LONGEST:
        raise DamageError("a sparse file has a map that is none")
    return int(text)


def _array(numbers: Iterable[int]) -> array[int]:
    found = array("q")
    _extend(found, numbers)
    return found


def _extend(found: array[int], numbers: Iterable[int]) -> None:
    try:
        found.extend(islice(numbers, _MOST + 1 - len(found)))
    except OverflowError:
        raise DamageError("a sparse file has a map that is none") from None
    if len(found) > _MOST:
        raise DamageError("a sparse file has a map that is none")
