"""The tar stream: headers out, headers in.

POSIX.1-2001 (pax) as in IEEE Std 1003.1 "pax", section "ustar Interchange Format":
plain ustar headers, and an extended header only where a field does not fit.
Reading also takes GNU long names, base-256 numbers and pre-POSIX headers.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple
from zlib import adler32

from backup_lib.errors import DamageError
from backup_lib.model import Kind, Source

__all__ = [
    "END",
    "RECORD",
    "Member",
    "Stamp",
    "TarReader",
    "commit_header",
    "header",
    "members_in",
    "padding",
    "plain_stamp",
]

RECORD = 512
END = bytes(2 * RECORD)
"""The two zero records that end a tar stream."""

_TYPES: dict[Kind, bytes] = {"file": b"0", "hardlink": b"1", "symlink": b"2", "directory": b"5"}
_KINDS: dict[bytes, Kind] = {
    b"0": "file",
    b"\0": "file",
    b"7": "file",
    b"1": "hardlink",
    b"2": "symlink",
    b"5": "directory",
}
_NAME, _PREFIX = 100, 155
_MOST_OCTAL = {"uid": 0o7777777, "gid": 0o7777777, "size": 0o77777777777, "mtime": 0o77777777777}
_NO_OWNER_NAMES = bytes(64)
_TIME = re.compile(rb"(-?)([0-9]{1,18})(?:\.([0-9]*))?")
"""Seconds since 1970, as far as the kernel counts them."""
_MOST_META = 1 << 20
"""The largest extended header that is read: 1 MiB, as other strict readers have it."""


class Stamp(NamedTuple):
    """What is restored of a thing besides its content."""

    mode: int
    """Permission bits, 0 to 0o7777."""
    mtime_ns: int
    """Nanoseconds since 1970."""


@dataclass(frozen=True, slots=True)
class Member:
    """One member of a tar stream, as its headers tell it."""

    name: bytes
    """As recorded, without the slash at a directory's end."""
    kind: Kind | None
    """None for what is never restored: a device, a fifo, and the like."""
    size: int
    """Bytes of content that follow the header."""
    stamp: Stamp
    link: bytes


def header(name: bytes, source: Source, size: int, link: bytes) -> bytes:
    """Return the header records of one entry.

    `name` and `link` are as they stand in the archive; `size` is the number of content bytes that follow.
    """
    mtime = source.mtime_ns // 1_000_000_000
    if source.kind == "directory":
        name += b"/"
    split = _split(name)
    if (
        split
        and len(link) <= _NAME
        and size <= _MOST_OCTAL["size"]
        and 0 <= mtime <= _MOST_OCTAL["mtime"]
        and source.uid <= _MOST_OCTAL["uid"]
        and source.gid <= _MOST_OCTAL["gid"]
    ):
        prefix, short = split
        numbers = b"%07o\0%07o\0%07o\0%011o\0%011o\0" % (source.mode, source.uid, source.gid, size, mtime)
        return _ustar(short, prefix, numbers, _TYPES[source.kind] + link)
    return _extended(name, link, {"uid": source.uid, "gid": source.gid, "size": size, "mtime": mtime}, source)


def _split(name: bytes) -> tuple[bytes, bytes] | None:
    """Return ``prefix, name`` as ustar has it, or None where `name` does not fit."""
    if len(name) <= _NAME:
        return b"", name
    if len(name) > _PREFIX + 1 + _NAME:
        return None
    cut = name.find(b"/", len(name) - _NAME - 1, min(_PREFIX + 1, len(name) - 1))
    return None if cut <= 0 else (name[:cut], name[cut + 1 :])


def _ustar(name: bytes, prefix: bytes, numbers: bytes, type_and_link: bytes) -> bytes:
    record = b"%b%b        %bustar\00000%b0000000\x000000000\0%b" % (
        name.ljust(_NAME, b"\0"),
        numbers,
        type_and_link.ljust(1 + _NAME, b"\0"),
        _NO_OWNER_NAMES,
        prefix.ljust(_PREFIX + 12, b"\0"),
    )
    return record[:148] + b"%06o\0 " % _checksum(record) + record[156:]


def _checksum(record: bytes) -> int:
    """Return the sum of the bytes of a header record whose checksum field is blank.

    The low half of Adler-32 is one more than that sum modulo 65,521, which half a record cannot reach.
    """
    return (adler32(record[:256]) & 0xFFFF) + (adler32(record[256:]) & 0xFFFF) - 2


def _extended(name: bytes, link: bytes, numbers: dict[str, int], source: Source) -> bytes:
    """Return a pax extended header and the ustar header after it, with what does not fit cut there."""
    records: dict[bytes, bytes] = {}
    if _split(name) is None:
        records[b"path"] = name
    if len(link) > _NAME:
        records[b"linkpath"] = link
    fitting = {}
    for key, number in numbers.items():
        fits = 0 <= number <= _MOST_OCTAL[key]
        fitting[key] = number if fits else 0
        if not fits:
            records[key.encode()] = b"%d" % number
    if not all(map(_is_utf8, records.values())):
        records = {b"hdrcharset": b"BINARY", **records}
    body = b"".join(_pax_record(key, value) for key, value in records.items())
    short = _ustar_fields(source.mode, fitting)
    prefix, cut_name = _split(name) or (b"", name[:_NAME])
    return (
        _meta_header(b"x", body)
        + body
        + padding(len(body))
        + _ustar(cut_name, prefix, short, _TYPES[source.kind] + link[:_NAME])
    )


def _ustar_fields(mode: int, numbers: dict[str, int]) -> bytes:
    return b"%07o\0%07o\0%07o\0%011o\0%011o\0" % (mode, *numbers.values())


def _meta_header(kind: bytes, body: bytes) -> bytes:
    name = b"pax_global_header" if kind == b"g" else b"pax_header"
    return _ustar(name, b"", b"0000644\x000000000\x000000000\0%011o\x0000000000000\0" % len(body), kind)


def _pax_record(key: bytes, value: bytes) -> bytes:
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    if len(str(length)) > len(str(rest)):
        length += 1
    return b"%d %b=%b\n" % (length, key, value)


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def commit_header(commit: str) -> bytes:
    """Return the pax global header that ``git get-tar-commit-id`` reads."""
    body = _pax_record(b"comment", commit.encode())
    return _meta_header(b"g", body) + body + padding(len(body))


def padding(size: int) -> bytes:
    """Return the zero bytes that fill `size` up to whole records."""
    return bytes(-size % RECORD)


_NUMBERS = re.compile(rb"([0-7]{7})\0[0-7]{7}\0[0-7]{7}\0[0-7]{11}\0([0-7]{11})\0")
"""Mode, owner, group, size and time, as `header` writes them."""


def plain_stamp(record: bytes, entry: tuple[bytes, Kind, int, bytes]) -> Stamp | None:
    """Return mode and time of a header record, where the rest of it is just what `header` makes of an entry.

    `entry` is name, kind, bytes of content and link, as they stand in the archive.
    None says nothing: a header may tell the same in other words, which only `TarReader` reads.
    """
    name, kind, size, link = entry
    if kind == "directory":
        name += b"/"
    split = (b"", name) if len(name) <= _NAME else _split(name)
    numbers = _NUMBERS.fullmatch(record, 100, 148)
    if split is None or numbers is None or len(link) > _NAME:
        return None
    prefix, short = split
    rest, sum_of_rest = _after_checksum(_TYPES[kind] + link, prefix)
    made = b"%b%b%011o\0%b%06o\0 %b" % (
        short.ljust(_NAME, b"\0"),
        record[100:124],
        size,
        record[136:148],
        (adler32(record[:148]) & 0xFFFF) - 1 + sum_of_rest,
        rest,
    )
    if record != made:
        return None
    mode, mtime = numbers.groups()
    return Stamp(int(mode, 8) & 0o7777, int(mtime, 8) * 1_000_000_000)


@lru_cache(maxsize=256)
def _after_checksum(type_and_link: bytes, prefix: bytes) -> tuple[bytes, int]:
    """Return what follows the checksum in a header record, and the sum of it and of a blank checksum."""
    rest = _ustar(b"", prefix, bytes(48), type_and_link)[156:]
    return rest, sum(rest) + sum(b"        ")


class TarReader:
    """Reads the members of a tar stream one after the other.

    `read` returns the number of bytes it is asked for, or fewer at the end of the stream.
    With `only_pax` no other extended headers are taken than those that `header` makes.
    """

    def __init__(self, read: Callable[[int], bytes], only_pax: bool = False) -> None:
        self._read = read
        self._taken = b"x" if only_pax else b"xgLK"
        self._left = 0
        self._pad = 0
        self.ended = False
        """Whether the end was reached, and marked as such."""

    def __iter__(self) -> Iterator[Member]:
        """Yield each member; its content may be read before the next one is asked for.

        Raises `DamageError` where the stream is no tar stream, or ends inside a member.
        """
        meta: dict[bytes, bytes] = {}
        while (record := self._next_record()) is not None:
            kind = record[156:157]
            if kind in _META:
                if kind not in self._taken:
                    raise DamageError("it has an extended header that does not belong there")
                meta |= self._meta(record)
                continue
            member = _member(record, meta)
            meta = {}
            self._skip_sparse_map(record)
            self._left = member.size
            self._pad = -member.size % RECORD
            yield member
        if meta:
            raise DamageError("the tar stream ends after an extended header")

    def content(self, most: int = 1 << 20) -> Iterator[bytes]:
        """Yield the content of the present member in pieces of at most `most` bytes."""
        while self._left:
            piece = self._exactly(min(most, self._left))
            self._left -= len(piece)
            yield piece

    def skip(self, seek: Callable[[int], object], position: int) -> None:
        """Go over the content of the present member, which ends at `position`, without reading it."""
        seek(position)
        self._left = 0

    def _skip_sparse_map(self, record: bytes) -> None:
        """Read over the records of GNU tar that go on with the map of a sparse file."""
        goes_on = record[156:157] == b"S" and record[482]
        while goes_on:
            goes_on = self._exactly(RECORD)[504]

    def _next_record(self) -> bytes | None:
        for _ in self.content():
            pass
        self._exactly(self._pad)
        self._pad = 0
        record = self._read(RECORD)
        if not record:
            return None
        if len(record) < RECORD:
            raise DamageError("the tar stream ends inside a header")
        if record.count(0) == RECORD:
            self._end()
            return None
        return record

    def _end(self) -> None:
        """Read what follows the first zero record: another one, and no more than zeros."""
        self.ended = True
        while rest := self._read(1 << 16):
            if rest.count(0) != len(rest):
                raise DamageError("data follows the end of the tar stream")

    def _meta(self, record: bytes) -> dict[bytes, bytes]:
        size = _number(record[124:136])
        if not 0 <= size <= _MOST_META:
            raise DamageError(f"an extended header of {size} bytes is refused; the most is {_MOST_META}")
        body = self._exactly(size)
        self._exactly(-size % RECORD)
        _check(record)
        kind = record[156:157]
        if kind == b"x":
            return _pax_records(body)
        if kind == b"g":
            _pax_records(body)
            return {}
        return {_META[kind]: body.split(b"\0", 1)[0]}

    def _exactly(self, count: int) -> bytes:
        piece = self._read(count) if count else b""
        if len(piece) != count:
            raise DamageError("the tar stream ends too early")
        return piece


def members_in(data: bytes | bytearray | memoryview) -> Iterator[tuple[Member, memoryview]]:
    """Yield each member of a block of tar stream with its content.

    The content of the last one may be short: it runs on in the next blocks.
    Raises `DamageError` where `data` is no tar stream.
    """
    stream = io.BytesIO(data)
    reader = TarReader(stream.read, only_pax=True)
    view = memoryview(data)
    end = 0
    for member in reader:
        start = stream.tell()
        end = start + member.size
        yield member, view[start:end]
        if end > len(data):
            return
        reader.skip(stream.seek, end)
    if end + -end % RECORD != len(data):
        raise DamageError("something follows its last entry")


_META = {b"x": b"", b"g": b"", b"L": b"path", b"K": b"linkpath"}
_KEPT = {b"path", b"linkpath", b"size", b"mtime"}
"""The extended records that are heeded: no more are held, however many there are."""
_SPARSE = b"GNU.sparse"


def _member(record: bytes, meta: dict[bytes, bytes]) -> Member:
    _check(record)
    name = record[:100].split(b"\0", 1)[0]
    if record[257:263] == b"ustar\0" and record[345]:
        name = record[345:500].split(b"\0", 1)[0] + b"/" + name
    name = meta.get(b"path", name)
    kind = _KINDS.get(record[156:157])
    if kind == "file" and name.endswith(b"/"):
        kind = "directory"
    size = _decimal(meta[b"size"]) if b"size" in meta else _number(record[124:136])
    if size < 0 or (size and kind in ("directory", "symlink", "hardlink")):
        raise DamageError(f"a header gives a size of {size} to what has no content")
    if _SPARSE in meta:
        kind = None
    return Member(
        name=name.rstrip(b"/") if kind == "directory" else name,
        kind=kind,
        size=size,
        stamp=Stamp(
            mode=_number(record[100:108]) & 0o7777,
            mtime_ns=_time(meta[b"mtime"] if b"mtime" in meta else b"%d" % _number(record[136:148])),
        ),
        link=meta.get(b"linkpath", record[157:257].split(b"\0", 1)[0]),
    )


def _check(record: bytes) -> None:
    blank = record[:148] + b"        " + record[156:]
    if _number(record[148:156]) != _checksum(blank):
        raise DamageError("a tar header has a wrong checksum")


def _number(field: bytes) -> int:
    """Read a numeric field: octal digits, or base 256 where the first bit is set (GNU)."""
    if field[0] & 0x80:
        number = int.from_bytes(field, "big") & ~(0x80 << (8 * len(field) - 8))
        return number - (1 << (8 * len(field) - 1)) if field[0] & 0x40 else number
    digits = field.split(b"\0", 1)[0].strip(b" ")
    if digits.strip(b"01234567"):
        raise DamageError("a tar header has a field that is no number")
    return int(digits or b"0", 8)


def _decimal(text: bytes) -> int:
    if not text.isdigit() or len(text) > 20:
        raise DamageError("an extended header has a size that is no number")
    return int(text)


def _time(text: bytes) -> int:
    match = _TIME.fullmatch(text)
    if match is None:
        raise DamageError("a header has a time that is none")
    sign, seconds, fraction = match.groups(b"")
    nanoseconds = int(seconds) * 1_000_000_000 + int(fraction[:9].ljust(9, b"0"))
    return -nanoseconds if sign else nanoseconds


def _pax_records(body: bytes) -> dict[bytes, bytes]:
    records: dict[bytes, bytes] = {}
    at = 0
    while at < len(body):
        digits = body[at : at + 8].split(b" ", 1)[0]
        end = at + int(digits) if digits.isdigit() else at
        key, equals, value = body[at + len(digits) + 1 : max(at, end - 1)].partition(b"=")
        if end > len(body) or not equals or body[end - 1 : end] != b"\n":
            raise DamageError("an extended header is malformed")
        if key in (b"path", b"linkpath") and (b"\0" in value or not value):
            raise DamageError("an extended header has a name that no file can have")
        if key.startswith(_SPARSE):
            records[_SPARSE] = b""
        elif key in _KEPT:
            records[key] = value
        at = end
    return records
