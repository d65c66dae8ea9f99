"""The members of a tar stream, as its headers tell them.

Those of ours, and of archives of any maker: also GNU long names, sparse files, base-256 numbers
and pre-POSIX headers.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from backup_lib.archive.limits import Tally
from backup_lib.archive.sparse import PREFIX, Hole, Sparse, Told, map_in_content, map_in_header
from backup_lib.archive.tar import RECORD, Stamp, checksum, header
from backup_lib.errors import DamageError, printable
from backup_lib.model import Kind, Source

__all__ = ["Member", "TarReader", "members_in"]

_KINDS: dict[bytes, Kind] = {b"1": "hardlink", b"2": "symlink", b"5": "directory"}
"""By the types of headers; every other that is not in `_NONE` is a file, as POSIX asks for."""
_NONE = frozenset(b"346ADM")
"""Types that are never restored: devices, fifos, and what every reader makes something else of."""
_LABEL = b"V"
"""The type of a name for the whole archive (GNU tar)."""
_TIME = re.compile(rb"(-?)([0-9]+)(?:\.([0-9]*))?")
_MOST_TIME = (1 << 63) * 1_000_000_000 - 1
_MOST_SIZE = (1 << 63) - 1
"""Nanoseconds before or after 1970, and bytes of a file, as far as the kernel counts them."""
_HEADER_COSTS, _HEADER_BYTES = 8, 256
"""Records that an extended header counts for itself, and its bytes for each more."""
_MOST_PADDING = 16 << 20
"""Bytes of zeros that fill up an archive: far more than any tape has in a record."""
_MOST_META = 1 << 20
"""The largest extended header that is read: 1 MiB, as other strict readers have it."""


@dataclass(frozen=True, slots=True)
class Member:
    """One member of a tar stream, as its headers tell it."""

    name: bytes
    """As recorded, without the slash at a directory's end."""
    kind: Kind | None
    """None for what is never restored: a device, a fifo, and the like."""
    size: int
    """Bytes of content."""
    stamp: Stamp
    link: bytes
    stored: int
    """Bytes of content in the archive: fewer than `size` for a sparse file."""


class TarReader:
    """Reads the members of a tar stream one after the other.

    `read` returns the number of bytes it is asked for, or fewer at the end of the stream.
    With a `tally`, it is an archive of any maker, which is read as GNU tar does and may ask for so much.
    Without, it is one of ours, whose headers are no others than those that `header` makes.
    """

    def __init__(self, read: Callable[[int], bytes], tally: Tally | None = None) -> None:
        self._read = read
        self._tally = tally
        self._left = 0
        self._pad = 0
        self._sparse: Sparse | None = None
        self.ended = False
        """Whether the end was reached, and marked as such."""
        self.goes_on = False
        """Whether something other than zeros follows the end."""

    def __iter__(self) -> Iterator[Member]:
        """Yield each member; its content may be read before the next one is asked for.

        Raises `DamageError` where the stream is no tar stream, or ends inside a member,
        `RestoreError` where it asks for too much.
        """
        extended = _Extended()
        while (record := self._next_record()) is not None:
            kind = record[156:157]
            if kind in _EXTENDED:
                self._extend(extended, kind, record)
                continue
            member = _member(record, extended, self._tally is not None)
            self._left, self._pad = member.size, -member.size % RECORD
            if kind == _LABEL and self._tally:
                extended.forget()
                continue
            if extended.sparse.found or kind == b"S":
                member = self._spread(member, record, extended)
            self.count_name(len(member.name) + len(member.link))
            extended.forget()
            yield member
        if extended.found:
            raise DamageError("the tar stream ends after an extended header")

    def content(self, most: int = 1 << 20) -> Iterator[bytes | Hole]:
        """Yield the content of the present member: pieces of at most `most` bytes, and holes."""
        if self._sparse is None:
            return self._stored(self._left, most)
        return self._sparse.spread(lambda length: self._stored(length, most))

    def count_name(self, length: int) -> None:
        """Count a name that somebody has to hold because of the present member; raises `RestoreError`."""
        if self._tally:
            self._tally.name(length)

    def count_time(self) -> None:
        """Look at the time that somebody takes because of the present member; raises `RestoreError`."""
        if self._tally:
            self._tally.time()

    def zeros(self, hole: Hole) -> Iterator[memoryview]:
        """Yield what a hole of the present member reads as; raises `RestoreError` where that is too much."""
        if self._tally:
            self._tally.stream(hole.length)
        return hole.zeros()

    def _stored(self, length: int, most: int = 1 << 20) -> Iterator[bytes]:
        while length:
            piece = self._exactly(min(most, length))
            length -= len(piece)
            self._left -= len(piece)
            yield piece

    def skip(self, seek: Callable[[int], object], position: int) -> None:
        """Go over the content of the present member, which ends at `position`, without reading it."""
        seek(position)
        self._left = 0

    def _next_record(self) -> bytes | None:
        if self._left:
            for _ in self._stored(self._left):
                pass
        if self._pad:
            self._exactly(self._pad)
            self._pad = 0
        self._sparse = None
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
        """Read what follows the first zero record: another one, and no more than zeros, nor more of them."""
        self.ended = True
        left = _MOST_PADDING
        while not self.goes_on and (rest := self._read(1 << 16)):
            left -= len(rest)
            self.goes_on = left < 0 or rest.count(0) != len(rest)

    def _extend(self, extended: _Extended, kind: bytes, record: bytes) -> None:
        if self._tally is None and kind != b"x":
            raise DamageError("it has an extended header that does not belong there")
        size = _number(record[124:136])
        if not 0 <= size <= _MOST_META:
            raise DamageError(f"an extended header of {size} bytes is refused; the most is {_MOST_META}")
        body = self._exactly(size)
        self._exactly(-size % RECORD)
        _check(record)
        if self._tally:
            numbers = body.count(b",") if b"GNU.sparse.map=" in body else 0
            self._tally.records(_HEADER_COSTS + size // _HEADER_BYTES + body.count(b"\n") + numbers)
        extended.meet(kind)
        if kind in _LONG:
            extended.long[_LONG[kind]] = body.split(b"\0", 1)[0]
        elif kind == b"g":
            extended.take_global(_pax_records(body))
        else:
            extended.take(_pax_records(body))

    def _spread(self, member: Member, record: bytes, extended: _Extended) -> Member:
        """Read where the data of a sparse file belongs."""
        facts = extended.sparse.facts
        if member.kind != "file" or self._tally is None:
            raise DamageError("a sparse file stands where none belongs")
        if record[156:157] == b"S":
            size = _number(record[483:495])
            where = map_in_header(record, self._exactly, _number)
        elif facts.get(b"major") == b"1":
            size = _decimal(facts.get(b"realsize", b""))
            where = map_in_content(self._take)
        else:
            size = _decimal(facts.get(b"size", facts.get(b"realsize", b"")))
            where = extended.sparse.map
        self._tally.records(len(where))
        self._sparse = Sparse(size, self._left, where)
        name = facts.get(b"name", member.name)
        if b"\0" in name or not name:
            raise DamageError("an extended header has a name that no file can have")
        return replace(member, name=name, size=size, stored=self._left)

    def _take(self, count: int) -> bytes:
        self._left -= count
        return self._exactly(count)

    def _exactly(self, count: int) -> bytes:
        piece = self._read(count) if count else b""
        if len(piece) != count:
            raise DamageError("the tar stream ends too early")
        return piece


@dataclass(slots=True)
class _Extended:
    """What extended headers say of the next member."""

    found: bool = False
    """Whether there were any since the member before."""
    has_pax: bool = False
    """Whether one of them was of pax."""
    always: dict[bytes, bytes] = field(default_factory=dict)
    """What a global header says of all members that follow."""
    long: dict[bytes, bytes] = field(default_factory=dict)
    """The long names of GNU tar, which those of pax go before."""
    pax: dict[bytes, bytes] = field(default_factory=dict)
    sparse: Told = field(default_factory=Told)

    def meet(self, kind: bytes) -> None:
        """Note that there is one; raises `DamageError` for a second one of pax before one member."""
        if kind == b"g":
            return
        if kind in _PAX and self.has_pax:
            raise DamageError(
                "several extended headers stand before one member: each reader takes them otherwise"
            )
        self.found = True
        self.has_pax = self.has_pax or kind in _PAX

    def take(self, records: Iterator[tuple[bytes, bytes]]) -> None:
        """Take the records of a pax header: no more are held than are heeded, however many there are."""
        for key, value in records:
            if key in _HEEDED:
                self.pax[key] = value
            elif key.startswith(PREFIX):
                self.sparse.take(key[len(PREFIX) :], value)

    def take_global(self, records: Iterator[tuple[bytes, bytes]]) -> None:
        """Take the records of a global pax header.

        Raises `DamageError` where it names or sizes all members: every reader makes something else of that.
        """
        for key, value in records:
            if key == b"mtime":
                self.always[key] = value
            elif key in _HEEDED or key.startswith(PREFIX):
                raise DamageError("a global header speaks of what every member has of its own")

    def heeded(self) -> dict[bytes, bytes]:
        """Return what goes before the fields of the header."""
        return self.always | self.long | self.pax

    def forget(self) -> None:
        """Make ready for the next member."""
        if self.found:
            self.found = self.has_pax = False
            self.long, self.pax, self.sparse = {}, {}, Told()


def members_in(data: bytes | bytearray | memoryview) -> Iterator[tuple[Member, memoryview]]:
    """Yield each member of a block of tar stream with its content.

    The content of the last one may be short: it runs on in the next blocks.
    Raises `DamageError` where `data` is no tar stream.
    """
    stream = io.BytesIO(data)
    reader = TarReader(stream.read)
    view = memoryview(data)
    end = 0
    for member in reader:
        start = stream.tell()
        if not _is_as_written(bytes(view[end + -end % RECORD : start]), member):
            raise DamageError(f"the header of {printable(member.name)} is none of ours")
        end = start + member.size
        yield member, view[start:end]
        if end > len(data):
            return
        reader.skip(stream.seek, end)
    if end + -end % RECORD != len(data):
        raise DamageError("something follows its last entry")


def _is_as_written(records: bytes, member: Member) -> bool:
    """Whether header records are, byte for byte, what `header` makes of a member, whoever owns it.

    All others are read differently by one reader or another.
    """
    if member.kind is None:
        return False
    last, owner = records[-RECORD:], {}
    if records[156:157] == b"x":
        owner = dict(_pax_records(records[RECORD : RECORD + _number(records[124:136])]))
    uid = _decimal(owner[b"uid"]) if b"uid" in owner else _number(last[108:116])
    gid = _decimal(owner[b"gid"]) if b"gid" in owner else _number(last[116:124])
    source = Source(b"", member.kind, member.stamp.mode, uid, gid, 0, member.stamp.mtime_ns, 0, 0, 0, b"", "")
    return records == header(member.name, source, member.size, member.link)


_BLANK = sum(b"        ")
_LONG = {b"L": b"path", b"K": b"linkpath"}
_PAX = {b"x", b"X"}
_EXTENDED = {*_PAX, b"g", *_LONG}
"""Types of headers that speak of the next member: of pax, of Solaris before pax, for all, of GNU tar."""
_HEEDED = {b"path", b"linkpath", b"size", b"mtime"}
"""The pax records that are heeded, besides those about sparse files."""
_WITHOUT_CONTENT = {b"1", b"2", b"3", b"4", b"5", b"6"}
"""Types of members that have none, whatever size their header says: some writers say that of the disk."""


def _member(record: bytes, extended: _Extended, of_any: bool) -> Member:
    """Return the member of a header, of any maker or else of ours."""
    _check(record)
    heeded = extended.heeded() if extended.found or extended.always else {}
    letter = record[156:157]
    name = record[:100].split(b"\0", 1)[0]
    if record[257:263] == b"ustar\0" and record[345]:
        name = record[345:500].split(b"\0", 1)[0] + b"/" + name
    name = heeded.get(b"path", name)
    kind = None if letter[0] in _NONE else _KINDS.get(letter, "file")
    if kind == "file" and name.endswith(b"/"):
        kind = "directory"
    size = _number(record[124:136])
    if not 0 <= size <= _MOST_SIZE:
        raise DamageError(f"a header gives a size of {size}, which nothing has")
    if of_any and letter in _WITHOUT_CONTENT:
        size = 0
    if size and not record[124]:
        raise DamageError("a header has a size that every reader takes for another")
    if b"size" in heeded:
        size = _decimal(heeded[b"size"])
    if size > _MOST_SIZE or (size and kind in ("directory", "symlink", "hardlink")):
        raise DamageError(f"a header gives a size of {size} to what cannot have it")
    mtime = _time(heeded[b"mtime"]) if b"mtime" in heeded else _number(record[136:148]) * 1_000_000_000
    if not -_MOST_TIME <= mtime <= _MOST_TIME:
        raise DamageError("a header has a time that is none")
    return Member(
        name=name.rstrip(b"/") if kind == "directory" else name,
        kind=kind,
        size=size,
        stamp=Stamp(_number(record[100:108]) & 0o7777, mtime),
        link=heeded[b"linkpath"] if b"linkpath" in heeded else record[157:257].split(b"\0", 1)[0],
        stored=size,
    )


def _check(record: bytes) -> None:
    """Compare the checksum of a header record; old tars took its bytes as signed."""
    field = record[148:156]
    right = checksum(record) - sum(field) + _BLANK
    found = _number(field)
    if found != right and found != right - 256 * sum(byte > 127 for byte in record[:148] + record[156:]):
        raise DamageError("a tar header has a wrong checksum")


def _number(field: bytes) -> int:
    """Read a numeric field: octal digits, or base 256 where the first bit is set (GNU)."""
    if field[0] & 0x80:
        number = int.from_bytes(field, "big") & ~(0x80 << (8 * len(field) - 8))
        return number - (1 << (8 * len(field) - 1)) if field[0] & 0x40 else number
    digits = (
        field[not field[0] :].split(b"\0", 1)[0].strip(b" ")
    )  # a NUL may have run over from the field before
    if digits.strip(b"01234567"):
        raise DamageError("a tar header has a field that is no number")
    return int(digits or b"0", 8)


def _decimal(text: bytes) -> int:
    digits = text.lstrip(b"0")
    if not text.isdigit() or len(digits) > 20:
        raise DamageError("an extended header has a size that is no number")
    return int(digits or b"0")


def _time(text: bytes) -> int:
    """Return the nanoseconds of a time as pax writes it; what follows its number is passed over."""
    match = _TIME.match(text)
    if match is None:
        raise DamageError("a header has a time that is none")
    sign, seconds, fraction = match.groups(b"")
    nanoseconds = int(seconds[-20:]) * 1_000_000_000 + int(fraction[:9].ljust(9, b"0"))
    if seconds[:-20].strip(b"0"):
        raise DamageError("a header has a time that is none")
    return -nanoseconds if sign else nanoseconds


def _pax_records(body: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 0
    while at < len(body):
        digits = body[at : at + 8].split(b" ", 1)[0]
        end = at + int(digits) if digits.isdigit() else at
        key, equals, value = body[at + len(digits) + 1 : max(at, end - 1)].partition(b"=")
        if end > len(body) or not equals or not key or body[end - 1 : end] != b"\n":
            raise DamageError("an extended header is malformed")
        if key in (b"path", b"linkpath") and (b"\0" in value or not value):
            raise DamageError("an extended header has a name that no file can have")
        yield key, value
        at = end
