"""Archives without an index, made by anything: read from start to end."""

from __future__ import annotations

import io
import os
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import zstandard
from isal import igzip
from isal.igzip_lib import IsalError

from backup_lib.archive.formats import format_of
from backup_lib.archive.frames import misfit
from backup_lib.archive.limits import Tally
from backup_lib.archive.members import Member, TarReader
from backup_lib.archive.reader import open_for_reading
from backup_lib.archive.sparse import Hole
from backup_lib.errors import DamageError, RestoreError, named

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

__all__ = ["check_frames", "end_of", "hash_members", "open_stream", "read_members"]

_BUFFER = 256 << 10
"""Bytes of tar stream that are unpacked at once."""


_OTHERS = re.compile(
    rb"(?P<bzip2>BZh[1-9]1AY&SY)|(?P<xz>\xfd7zXZ\0)|(?P<zip>PK\x03\x04)|(?P<compress>\x1f\x9d)|(?P<lzip>LZIP)"
    rb"|(?P<lzop>\x89LZO\0\r\n\x1a\n)|(?P<lz4>\x04\x22\x4d\x18)|(?P<lzma>\x5d\0\0..\xff{5})|(?P<rar>Rar!\x1a\x07)"
    rb"|(?P<_7z>7z\xbc\xaf\x27\x1c)",
    re.DOTALL,
)
"""The first bytes of formats that people may take for ours."""


@contextmanager
def open_stream(path: Path, unlimited: bool = False, timed: bool = True) -> Iterator[TarReader]:
    """Yield a reader of the members of a ``.tar.gz``, ``.tar.zst`` or ``.tar``, told by its first bytes.

    From here and from the reader come `DamageError` where it is damaged,
    and `RestoreError` where it is of another format, or asks for more than most archives of its size do,
    unless it is `unlimited`; the processor time counts where it is `timed`.
    """
    with io.BufferedReader(_Named(path)) as file:
        tally = Tally(os.fstat(file.fileno()).st_size, unlimited, timed)
        start = file.read(10)
        if other := _OTHERS.match(start):
            packer = str(other.lastgroup).lstrip("_")
            raise RestoreError(f"it is packed with {packer}, which is not read here; unpack it first")
        kind = format_of(start)
        file.seek(0)
        with _decompressed(file, kind) as read:
            if kind:
                read = io.BufferedReader(_Counted(tally.counting(read)), _BUFFER).read
            yield TarReader(read, tally)


class _Named(io.FileIO):
    """A file whose errors name it: another one is written meanwhile."""

    def readinto(self, buffer: WriteableBuffer) -> int | None:
        try:
            return super().readinto(buffer)
        except OSError as error:
            raise named(error, self.name) from error


@contextmanager
def _decompressed(file: BinaryIO, kind: str | None) -> Iterator[Callable[[int], bytes]]:
    if kind == "gz":
        with igzip.open(file, "rb") as stream:  # type: ignore[no-untyped-call]
            yield stream.read
    elif kind == "zst":
        with zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True) as reader:
            yield reader.read
    else:
        yield file.read


class _Counted(io.RawIOBase):
    """Lets a buffer be filled by a function that reads, whose errors become ours."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer)
        try:
            piece = self._read(len(view))
        except (
            EOFError,
            OverflowError,
            igzip.BadGzipFile,
            IsalError,
            zlib.error,
            zstandard.ZstdError,
        ) as error:  # type: ignore[misc]
            raise DamageError(f"its compressed data is damaged ({error})") from error
        view[: len(piece)] = piece
        return len(piece)


def end_of(reader: TarReader) -> str:
    """Tell what is odd about the end of an archive of others that was read whole, or ""; tar takes it all."""
    if not reader.ended:
        return "it has no end mark: it may have been cut off"
    return "something follows its end, and was not restored" if reader.goes_on else ""


def check_frames(path: Path, unlimited: bool = False) -> None:
    """Look at how the frames of a ``.tar.zst`` of any maker follow one another.

    Raises `DamageError` where one is cut off, or its seek table does not fit them,
    `RestoreError` where too much would have to be unpacked for that.
    """
    with open_for_reading(path) as (read_at, size):
        wrong = ""
        if format_of(read_at(0, 4)) == "zst":
            wrong = misfit(read_at, size, Tally(size, unlimited))
    if wrong:
        raise DamageError(wrong)


def hash_members(reader: TarReader) -> Iterator[tuple[Member, bytes]]:
    """Yield each member with the SHA-256 of its content; see `read_members`."""
    for member in read_members(reader):
        digest = sha256()
        for piece in reader.content():
            for part in reader.zeros(piece) if isinstance(piece, Hole) else (piece,):
                digest.update(part)
        yield member, digest.digest()


def read_members(reader: TarReader) -> Iterator[Member]:
    """Yield each member, to the end of the stream.

    Raises `DamageError` also where the stream just stops: gzip does not notice that members were cut off.
    """
    yield from reader
    if not reader.ended:
        raise DamageError("the end of the tar stream is missing: it was cut off")
    if reader.goes_on:
        raise DamageError("data follows the end of the tar stream")
