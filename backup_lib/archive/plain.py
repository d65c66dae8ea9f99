"""Archives without an index, made by anything: read from start to end."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO

import zstandard
from isal import igzip
from isal.igzip_lib import IsalError

from backup_lib.archive import gz
from backup_lib.archive.formats import format_of
from backup_lib.archive.limits import Tally
from backup_lib.archive.tar import Member, TarReader
from backup_lib.errors import DamageError

__all__ = ["end_of", "hash_members", "open_stream"]


@contextmanager
def open_stream(path: Path) -> Iterator[TarReader]:
    """Yield a reader of the members of a ``.tar.gz``, ``.tar.zst`` or ``.tar``, told by its first bytes.

    From here and from the reader come `DamageError` where it is damaged,
    and `RestoreError` where it asks for more than an honest archive of its size does.
    """
    with path.open("rb") as file:
        tally = Tally(os.fstat(file.fileno()).st_size)
        kind = format_of(file.read(4))
        file.seek(0)
        with _decompressed(file, kind) as read:
            counted = tally.counting(_translating(read), file.tell) if kind else read
            yield TarReader(counted, tally)


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


def end_of(path: Path, reader: TarReader) -> str:
    """Tell what is odd about the end of an archive that was read whole, or ""; tar takes all of it.

    Raises `DamageError` where it is one of ours that was cut off: gzip does not notice that.
    """
    if not reader.ended:
        with path.open("rb") as file:
            if gz.is_block(file.read(64)):
                raise DamageError("the end of the tar stream is missing: it was cut off")
        return "it has no end mark: it may have been cut off"
    return "something follows its end, and was not restored" if reader.goes_on else ""


def hash_members(reader: TarReader) -> Iterator[tuple[Member, bytes]]:
    """Yield each member with the SHA-256 of its content.

    Raises `DamageError` also where the stream just stops: gzip does not notice that members were cut off.
    """
    for member in reader:
        digest = sha256()
        for piece in reader.content():
            digest.update(piece)
        yield member, digest.digest()
    if not reader.ended:
        raise DamageError("the end of the tar stream is missing: it was cut off")
    if reader.goes_on:
        raise DamageError("data follows the end of the tar stream")
