"""Archives without an index, made by anything: read from start to end."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO

import zstandard
from isal import igzip
from isal.igzip_lib import IsalError

from backup_lib.archive.formats import format_of
from backup_lib.archive.tar import Member, TarReader
from backup_lib.errors import DamageError

__all__ = ["all_members", "hash_members", "open_stream"]


@contextmanager
def open_stream(path: Path) -> Iterator[TarReader]:
    """Yield a reader of the members of a ``.tar.gz``, ``.tar.zst`` or ``.tar``, told by its first bytes.

    Raises `DamageError` from here and from the reader where it is damaged.
    """
    with path.open("rb") as file:
        kind = format_of(file.read(4))
        file.seek(0)
        with _decompressed(file, kind) as read:
            yield TarReader(_translating(read))


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


def _translating(read: Callable[[int], bytes]) -> Callable[[int], bytes]:
    def translated_read(count: int) -> bytes:
        try:
            return read(count)
        except (EOFError, igzip.BadGzipFile, IsalError, zlib.error, zstandard.ZstdError) as error:  # type: ignore[misc]
            raise DamageError(f"its compressed data is damaged ({error})") from error

    return translated_read


def all_members(reader: TarReader) -> Iterator[Member]:
    """Yield each member.

    Raises `DamageError` where the stream just stops: gzip does not notice when whole members are cut off.
    """
    yield from reader
    if not reader.ended:
        raise DamageError("the end of the tar stream is missing: it was cut off")


def hash_members(reader: TarReader) -> Iterator[tuple[Member, bytes]]:
    """Yield each member with the SHA-256 of its content; raises like `all_members`."""
    for member in all_members(reader):
        digest = sha256()
        for piece in reader.content():
            digest.update(piece)
        yield member, digest.digest()
