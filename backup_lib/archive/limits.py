"""What an archive of any maker may ask for: counted while it is read, refused before it costs much.

An archive of a few bytes can stand for terabytes, or for millions of names. What is allowed grows with
the size of the archive, so that honest ones are not met; tar takes those that are.
"""

from __future__ import annotations

from collections.abc import Callable

from backup_lib.errors import RestoreError

__all__ = ["MOST_RATIO", "Tally", "most_stream"]

MOST_RATIO = 250
"""Bytes of tar stream that a byte of archive may stand for, beyond `_FREE_STREAM`."""
_FREE_STREAM = 256 << 20
_AHEAD = 4 << 20
"""Bytes of archive that count before they were read: zeros may well come first."""
_FREE_NAMES = 128 << 20
"""Bytes of memory that names may take in any archive: those of 250,000 entries."""
_NAMES_RATIO = 20
"""Bytes of memory for names that a byte of archive may stand for."""
_ENTRY = 400
_COPIES = 3
"""Memory that an entry takes besides its name, bytes, and how often its name is held."""
_FREE_RECORDS = 2_000_000
_RECORD = 4
"""Extended records, and bytes of archive for each more."""


def most_stream(size: int) -> int:
    """Return how many bytes of tar stream an archive of `size` bytes may unpack to."""
    return _FREE_STREAM + MOST_RATIO * size


class Tally:
    """Counts what one archive of `size` bytes asks for; every method raises `RestoreError` beyond it."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._names = max(_FREE_NAMES, size * _NAMES_RATIO)
        self._records = max(_FREE_RECORDS, size // _RECORD)
        self._stream = 0
        self._most = 0

    def name(self, length: int) -> None:
        """Count something that is held by a name of `length` bytes, its link included."""
        self._names -= _ENTRY + _COPIES * length
        if self._names < 0:
            raise RestoreError("refused: it has more entries than any honest archive of its size")

    def records(self, count: int = 1) -> None:
        """Count records of extended headers, or regions of sparse files."""
        self._records -= count
        if self._records < 0:
            raise RestoreError("refused: its extended headers have more records than any honest archive")

    def holes(self, length: int) -> None:
        """Count bytes of sparse files that are not in the stream."""
        self._count(length, lambda: self._size)

    def counting(self, read: Callable[[int], bytes], tell: Callable[[], int]) -> Callable[[int], bytes]:
        """Return `read`, counted; `tell` returns how many bytes of the archive it has taken."""

        def counted_read(count: int) -> bytes:
            piece = read(count)
            self._stream += len(piece)
            if self._stream > self._most:
                self._count(0, tell)
            return piece

        return counted_read

    def _count(self, length: int, tell: Callable[[], int]) -> None:
        self._stream += length
        self._most = most_stream(min(self._size, tell() + _AHEAD))
        if self._stream > self._most:
            raise RestoreError(
                f"refused: it unpacks to more than {MOST_RATIO} times its size, as no honest archive does"
            )
