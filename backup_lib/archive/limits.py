"""What an archive that may be anybody's may ask for: counted while it is read, refused before it costs much.

An archive of a few bytes can stand for terabytes, or for millions of names. What is allowed grows with
the size of the archive, so that few honest ones are met; for those there is `FLAG`.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from backup_lib.errors import RestoreError

__all__ = ["FLAG", "Tally"]

FLAG = "--unlimited"
"""What a person says who trusts an archive."""
_RATIO = 250
"""Bytes of tar stream that a byte of archive may stand for, beyond `_FREE_STREAM`."""
_FREE_STREAM = 3 << 30
"""Bytes of tar stream in any archive."""
_FREE_NAMES = 64 << 20
"""Bytes of memory that names may take in any archive: those of 150,000 entries."""
_NAMES_RATIO = 4
"""Bytes of memory for names that a byte of archive may stand for."""
_ENTRY = 400
_COPIES = 3
"""Memory that an entry takes besides its name, bytes, and how often its name is held."""
_MOST_PIECE = 2 << 20
"""Bytes of tar stream in a block in which nothing begins: ours have half. Many are held at once."""
_FREE_RECORDS = 1_000_000
_RECORD = 16
"""Extended records, and bytes of archive for each more."""
_FREE_SECONDS = 4.0
_BYTES_A_SECOND = 4 << 20
"""Seconds of processor time in which any archive is looked through, and bytes of archive for each more."""
_NO_LIMIT = 1 << 70
"""Bytes: the size of an archive that may ask for anything."""


class Tally:
    """Counts what one archive of `size` bytes asks for; every method raises `RestoreError` beyond it.

    Time counts from now on, where it is `timed`: until something is written.
    """

    def __init__(self, size: int, unlimited: bool = False, timed: bool = True) -> None:
        counted = _NO_LIMIT if unlimited else size
        seconds = max(_FREE_SECONDS, counted / _BYTES_A_SECOND) if timed else float("inf")
        self._until = time.process_time() + seconds
        self._names = max(_FREE_NAMES, counted * _NAMES_RATIO)
        self._records = max(_FREE_RECORDS, counted // _RECORD)
        self._stream = _FREE_STREAM + _RATIO * counted

    def time(self) -> None:
        """Look at the processor time of this process."""
        if time.process_time() > self._until:
            raise _refusal("it takes more time than most of its size")

    def name(self, length: int) -> None:
        """Count something that is held by a name of `length` bytes, its link included."""
        self.time()
        self.text(length + _ENTRY // _COPIES)

    def text(self, length: int) -> None:
        """Count a name of `length` bytes of something that was counted before."""
        self._names -= _COPIES * length
        if self._names < 0:
            raise _refusal("it has more entries, or longer names, than most of its size")

    def folders(self, path: bytes) -> None:
        """Count the folders of which `path` names the lowest, none of them being an entry."""
        self.text(len(path) * path.count(b"/") // (2 * _COPIES))

    def entries(self, count: int) -> None:
        """Count entries by what an index says of a block; their names are still to be counted."""
        self._names -= _ENTRY * count
        if self._names < 0:
            raise _refusal("its index has more entries than most of its size")

    def piece(self, size: int) -> None:
        """Look at the size of a block in which nothing begins."""
        if size > _MOST_PIECE:
            raise _refusal("its index has larger blocks than any that we write")

    def records(self, count: int) -> None:
        """Count records of extended headers, or numbers in maps of sparse files."""
        self._records -= count
        if self._records < 0:
            raise _refusal("its extended headers have more records than most of its size")

    def stream(self, length: int) -> None:
        """Count bytes of tar stream, or of holes that are read as zeros."""
        self._stream -= length
        if self._stream < 0:
            raise _refusal(f"it unpacks to more than {_RATIO} times its size")

    def counting(self, read: Callable[[int], bytes]) -> Callable[[int], bytes]:
        """Return `read`, whose bytes count as tar stream."""

        def counted_read(count: int) -> bytes:
            piece = read(count)
            self.stream(len(piece))
            self.time()
            return piece

        return counted_read


def _refusal(why: str) -> RestoreError:
    return RestoreError(f"refused: {why}; where you trust it, say {FLAG}")
