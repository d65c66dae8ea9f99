"""Reading an archive at random: its index first, then only the blocks that are wanted."""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from pathlib import Path

from backup_lib.archive.formats import FORMATS, BlockFormat, format_of
from backup_lib.archive.index import PackedBlock, read_records
from backup_lib.archive.limits import Tally
from backup_lib.archive.members import members_in
from backup_lib.archive.names import LONGEST_NAME
from backup_lib.archive.salvage import matches
from backup_lib.archive.tar import RECORD, Stamp, plain_stamp
from backup_lib.archive.trailer import VERSION, ReadAt, Trailer, most_parts
from backup_lib.errors import DamageError, named, printable
from backup_lib.model import Description, Entry, Format, Header, Summary

__all__ = [
    "GIANT",
    "WORTH_PROCESSES",
    "Found",
    "PlacedBlock",
    "Reader",
    "Unit",
    "batches",
    "described",
    "index_digest",
    "open_archive",
    "open_for_reading",
    "open_remains",
    "open_with_flaw",
]

_MOST_RATIO = 1 << 15
"""No format packs better: four bytes of zstd can stand for 128 KiB."""
_MOST_BLOCK = 16 << 20
_MOST_GROWTH = 1 << 20
"""Bytes that a block may have more when it is packed."""
_BATCH = 2 << 20
"""Bytes of tar stream that are dealt with at once."""
WORTH_PROCESSES = 4 << 20
"""Bytes of archive from which on it pays to read them in processes."""
GIANT = 32
"""Where a file runs on in more blocks than these, its blocks are dealt with side by side."""
_NEAR = 8
"""Members or frames of one length, before and behind where a block should lie, that are looked at."""
_EMPTY_ARRAYS = (b"\x90", b"\xdc\0\0", b"\xdd\0\0\0\0")

Found = tuple[Entry, Stamp, memoryview]
"""An entry, what its header says of mode and time, and its content, as far as its block holds it."""


@dataclass(frozen=True, slots=True)
class PlacedBlock:
    """A block and where it lies."""

    number: int
    """From 0."""
    offset: int
    """Bytes from the start of the archive."""
    block: PackedBlock

    @property
    def is_empty(self) -> bool:
        """Whether nothing begins in this block."""
        return self.block.entries in _EMPTY_ARRAYS

    @property
    def end(self) -> int:
        """Where the next block begins, bytes from the start of the archive."""
        return self.offset + self.block.length

    def entries(self) -> tuple[Entry, ...]:
        """Unpack what begins in this block, in order; raises `DamageError`."""
        return self.block.unpack().entries


@dataclass(frozen=True, slots=True)
class Remains:
    """Where the blocks of an archive may lie from which bytes were lost, or to which some were added."""

    shift: int
    """Bytes that the index lies further on than it should."""
    starts: Mapping[int, Sequence[int]]
    """By its length, where each member or frame begins, in order; bytes."""

    def places(self, offset: int, length: int) -> Iterator[int]:
        """Yield where the block of that length may lie that should begin at byte `offset`."""
        if offset + self.shift >= 0:
            yield offset + self.shift
        starts = self.starts.get(length, ())
        nearest = bisect_left(starts, offset)
        yield from starts[max(0, nearest - _NEAR) : nearest + _NEAR]


Unit = tuple[PlacedBlock, ...]
"""A block, with those that its last file runs on in."""


class Reader:
    """An archive that has an index."""

    def __init__(
        self,
        read_at: ReadAt,
        size: int,
        kind: Format,
        trailer: Trailer,
        index: bytes,
        remains: Remains | None = None,
    ) -> None:
        """Read an archive by its `index`: as it lies in there, without the frames that carry it.

        Its blocks lie where it says, or where the `remains` have them.
        Raises `DamageError` where it is none, or of a later version.
        """
        self.read_at = read_at
        self.size = size
        """Bytes of the archive."""
        self.form = FORMATS[kind]
        self.trailer = trailer
        self.index = index
        self.remains = remains
        first = next(read_records(index))
        if not isinstance(first, Header) or first.format != kind or not _is_usable(first):
            raise DamageError("the index has no fitting header")
        if first.shape != trailer.version:
            raise DamageError("its index and its trailer are of different versions of the format")
        self.header = first
        self._mark = self.form.mark(trailer.version)
        self._summary: Summary | None = None

    def blocks(self) -> Iterator[PlacedBlock]:
        """Yield every block in order.

        Raises `DamageError` where they do not lie end to end, up to the index.
        """
        offset = number = 0
        for record in read_records(self.index):
            if isinstance(record, PackedBlock):
                _check_sizes(record, self.trailer.offset - offset)
                yield PlacedBlock(number, offset, record)
                number += 1
                offset += record.length
            elif isinstance(record, Summary):
                self._summary = record
        if offset != self.trailer.offset:
            raise DamageError("the blocks do not end where the index begins")

    def tally(self, whole: bool = False) -> Tally:
        """Count what an archive that may be anybody's asks for: its entries, with `whole` its content, too.

        Raises `RestoreError` where that is more than most archives of its size ask for.
        """
        tally = Tally(self.size)
        for placed in self.blocks():
            tally.entries(placed.block.count)
            tally.piece(placed.block.size if placed.is_empty else 0)
            tally.stream(placed.block.size if whole else 0)
        return tally

    def units(self) -> Iterator[Unit]:
        """Yield every block in order, together with those that its last file runs on in."""
        unit: list[PlacedBlock] = []
        for placed in self.blocks():
            runs_on = placed.is_empty and placed.end != self.trailer.offset
            if unit and not (runs_on and not unit[0].is_empty):
                yield tuple(unit)
                unit = []
            unit.append(placed)
        if unit:
            yield tuple(unit)

    def entries(self) -> Iterator[Entry]:
        """Yield every entry in order."""
        for placed in self.blocks():
            yield from placed.entries()

    @property
    def summary(self) -> Summary:
        """What the archive holds in all."""
        if self._summary is None:
            for _ in self.blocks():
                pass
        if self._summary is None:
            raise DamageError("the index has no summary")
        return self._summary

    def packed(self, placed: PlacedBlock) -> bytes:
        """Return the compressed bytes of a block by their digest; where none has it, what is left of it."""
        packed = self.read_at(placed.offset, placed.block.length)
        if self.remains and sha256(packed).digest() != placed.block.digest:
            mark = b"" if placed.offset else self._mark
            for at in self.remains.places(placed.offset, placed.block.length - len(mark)):
                moved = self.read_at(at, placed.block.length)
                if sha256(moved).digest() == placed.block.digest:
                    return moved
                if moved.startswith(self.form.MAGIC) and not packed.startswith(self.form.MAGIC):
                    packed = moved  # it was moved and is damaged, too
        return packed

    def unpack(self, placed: PlacedBlock) -> bytes | bytearray:
        """Return the tar stream of a block, checked against its digest.

        Raises `DamageError` where it is not what was written.
        """
        packed = self.packed(placed)
        if sha256(packed).digest() != placed.block.digest:
            raise DamageError(f"block {placed.number} at byte {placed.offset} does not match its digest")
        return self.unpacked(placed, packed)

    def unpacked(self, placed: PlacedBlock, packed: bytes) -> bytes | bytearray:
        """Return the tar stream of a block by its compressed bytes; raises `DamageError`."""
        return self.form.unpack(self.alone(placed.offset, packed), placed.block.size)

    def alone(self, offset: int, packed: bytes) -> bytes:
        """Return the bytes of the block at `offset` as they stand elsewhere: the first without the mark.

        Raises `DamageError` where that has none.
        """
        mark = b"" if offset else self._mark
        if not packed.endswith(mark):
            raise DamageError("the mark of the archive does not follow it")
        return packed[: len(packed) - len(mark)]

    def found(self, entries: tuple[Entry, ...], data: bytes | bytearray) -> list[Found]:
        """Return what is in `data`, the tar stream of the block in which these entries begin.

        The content of the last one may be short: it runs on in the next blocks.
        Raises `DamageError` where they are not what the index says.
        """
        top = self.header.project.encode()
        return _plainly_found(entries, data, top) or list(_found(entries, data, top))

    def tail(self) -> bytes:
        """Return what has to follow the blocks, byte for byte."""
        lengths = [(placed.block.length, placed.block.size) for placed in self.blocks()]
        return b"".join(self.form.tail(self.trailer, self.index, lengths))

    def after_blocks(self) -> bytes:
        """Return what follows where the blocks should end."""
        return self.read_at(self.trailer.offset, max(0, self.size - self.trailer.offset))


def _is_usable(header: Header) -> bool:
    """Whether a folder can have the name of the project, and git be asked for the commit and the tag."""
    name = header.project
    return (
        name not in ("", ".", "..")
        and not {"/", "\0"} & set(name)
        and len(name.encode()) <= LONGEST_NAME
        and "\0" not in f"{header.commit}{header.tag}"
    )


def _check_sizes(block: PackedBlock, left: int) -> None:
    """Refuse a block that cannot be, before memory is set aside for it; `left` bytes of blocks follow."""
    most = min(block.length * _MOST_RATIO, _MOST_BLOCK)
    if not (0 < block.length <= min(left, block.size + _MOST_GROWTH) and 0 < block.size <= most):
        raise DamageError("the index has a block of an impossible size")


def _plainly_found(entries: tuple[Entry, ...], data: bytes | bytearray, top: bytes) -> list[Found] | None:
    """Find the entries where each header is just as we write it; None where one is not."""
    found: list[Found] = []
    view = memoryview(data)
    below = top + b"/"
    at = 0
    for entry in entries:
        path, kind, size, link = entry.path, entry.kind, entry.size, entry.link
        if kind == "hardlink":
            size, link = 0, below + link
        elif (size and kind != "file") or (link and kind != "symlink"):
            return None
        start = at + RECORD
        stamp = plain_stamp(bytes(view[at:start]), (below + path if path else top, kind, size, link))
        if stamp is None:
            return None
        found.append((entry, stamp, view[start : start + size]))
        at = start + size + -size % RECORD
    is_whole = at == len(data)
    runs_on = bool(entries) and start == len(data)
    return found if is_whole or runs_on else None


def _found(entries: tuple[Entry, ...], data: bytes | bytearray, top: bytes) -> Iterator[Found]:
    left = iter(entries)
    for member, content in members_in(data):
        entry = next(left, None)
        if entry is None or not matches(entry, member, top):
            raise DamageError(f"it holds {printable(member.name)} where the index has something else")
        yield entry, member.stamp, content
    if (missing := next(left, None)) is not None:
        raise DamageError(f"it does not hold {printable(missing.path)}")


def batches(units: Iterable[Unit]) -> Iterator[tuple[Unit, ...]]:
    """Yield as many units at once as are worth the handing over; a giant file is always alone."""
    batch: list[Unit] = []
    size = 0
    for unit in units:
        more = sum(placed.block.size for placed in unit)
        if batch and size + more > _BATCH:
            yield tuple(batch)
            batch, size = [], 0
        batch.append(unit)
        size += more
    if batch:
        yield tuple(batch)


def open_archive(read_at: ReadAt, size: int) -> Reader | None:
    """Return a reader of an archive of `size` bytes, or None where it is none of ours.

    Raises `DamageError` where it shows to be one, but its index is not where it should be, or damaged.
    """
    found = _kind_and_trailer(read_at, size)
    if found:
        kind, trailer = found
        index = _index(read_at, size, kind, trailer)
        if sha256(index).digest() != trailer.digest:
            raise DamageError(
                "its index is not where its end says, or damaged: something was lost, added or changed"
            )
        return Reader(read_at, size, kind, trailer, index)
    kind_by_start = format_of(read_at(0, 4))
    if kind_by_start and FORMATS[kind_by_start].is_ours(read_at, size):
        raise DamageError("its end is missing or damaged")
    return None


def _index(read_at: ReadAt, size: int, kind: Format, trailer: Trailer) -> bytes:
    """Return what is where the index should be; raises `DamageError`."""
    if not 0 < trailer.version <= VERSION:
        raise DamageError(
            f"its end says version {trailer.version} of the format: damage, or written by a later release"
        )
    if trailer.offset + trailer.length > size:
        return b""
    return b"".join(FORMATS[kind].payload(read_at, trailer))


def open_remains(read_at: ReadAt, size: int) -> Reader | None:
    """Return a reader of what is left of an archive that `open_archive` refuses; None without its index.

    The index has no digest that vouches for it: only its blocks and files do, which have to match it.
    """
    found = _kind_and_trailer(read_at, size)
    kind = found[0] if found else format_of(read_at(0, 4))
    if kind is None:
        return None
    starts: dict[int, list[int]] = {}
    for at, index in reversed(list(_indexes(read_at, size, FORMATS[kind], starts))):
        with suppress(DamageError):
            return _reader_of_remains(read_at, size, kind, (at, index), starts)
    return None


def open_with_flaw(read_at: ReadAt, size: int) -> tuple[Reader | None, str]:
    """Return a reader of an archive, or of what is left of it, and what is wrong with it, or ""."""
    try:
        return open_archive(read_at, size), ""
    except DamageError as error:
        return open_remains(read_at, size), str(error)


def _reader_of_remains(
    read_at: ReadAt, size: int, kind: Format, found: tuple[int, bytes], starts: Mapping[int, Sequence[int]]
) -> Reader:
    """Return a reader by an index that was `found` at a byte; raises `DamageError`."""
    at, index = found
    records = read_records(index)
    header = next(records)
    if not isinstance(header, Header) or not 0 < header.shape <= VERSION:
        raise DamageError("it has no header, or is of a later version")
    offset = sum(record.length for record in records if isinstance(record, PackedBlock))
    trailer = Trailer(offset, len(index), sha256(index).digest(), header.shape)
    return Reader(read_at, size, kind, trailer, index, Remains(at - offset, starts))


def _indexes(
    read_at: ReadAt, size: int, form: BlockFormat, starts: dict[int, list[int]]
) -> Iterator[tuple[int, bytes]]:
    """Yield every index that is found by stepping through a file, and where it begins.

    Where each part with content begins is put down in `starts`, by its length.
    """
    at = 0
    pieces: list[bytes] = []
    for part in islice(form.parts(read_at, size), most_parts(size)):
        if part.kind == "data":
            starts.setdefault(part.end - part.at, []).append(part.at)
        if part.kind == "index":
            at = at if pieces else part.at
            pieces.append(read_at(*part.carried))
        elif pieces:
            yield at, b"".join(pieces)
            pieces = []
    if pieces:
        yield at, b"".join(pieces)


def index_digest(read_at: ReadAt, size: int) -> bytes:
    """Return the SHA-256 of the index of an archive of `size` bytes, compared; nothing where it has none.

    Nothing that the index says is looked at.
    """
    found = _kind_and_trailer(read_at, size)
    with suppress(DamageError):
        if found and sha256(_index(read_at, size, *found)).digest() == found[1].digest:
            return found[1].digest
    return b""


def _kind_and_trailer(read_at: ReadAt, size: int) -> tuple[Format, Trailer] | None:
    for kind, form in FORMATS.items():  # told by the end: the start may be damaged
        trailer = form.find_trailer(read_at, size)
        if trailer is not None:
            return kind, trailer
    return None


@contextmanager
def open_for_reading(path: Path) -> Iterator[tuple[ReadAt, int]]:
    """Yield how to read a file at random, and its size in bytes; an ``OSError`` of it names the file."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a fifo is not waited for
    try:
        size = os.fstat(fd).st_size

        def read_at(offset: int, length: int) -> bytes:
            """Read all of it: the kernel gives at most 2 GiB at once."""
            try:
                data = os.pread(fd, length, offset)
                while len(data) < length and (more := os.pread(fd, length - len(data), offset + len(data))):
                    data += more
            except OSError as error:
                raise named(error, path) from error
            return data

        yield read_at, size
    finally:
        os.close(fd)


@contextmanager
def described(path: Path) -> Iterator[Description | None]:
    """Yield what the index of an archive says; None if it has none that can be read. Raises `OSError`."""
    with open_for_reading(path) as (read_at, size):
        reader = None
        with suppress(DamageError):
            reader = open_archive(read_at, size)
        yield (
            Description(reader.header, reader.summary, reader.trailer.digest.hex(), reader.entries())
            if reader
            else None
        )
