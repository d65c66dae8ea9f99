"""Memory in which blocks are put together."""

from __future__ import annotations

import os

from backup_lib.archive.block import PIECE
from backup_lib.archive.tar import RECORD

__all__ = ["Buffer"]

_SIZE = PIECE + 2 * RECORD


class Buffer:
    """A run of bytes that grows at its end, and is used again when it was emptied.

    Memory that is new to the process costs more time than what is put there.
    """

    def __init__(self) -> None:
        self._memory = memoryview(bytearray(_SIZE))
        self.used = 0
        """Bytes."""

    def view(self, start: int = 0) -> memoryview:
        """Return what was put here from `start` on, until it is cut off or replaced."""
        return self._memory[start : self.used]

    def add(self, data: bytes) -> None:
        """Put `data` at the end."""
        end = self.used + len(data)
        self._hold(end)
        self._memory[self.used : end] = data
        self.used = end

    def read(self, fd: int, size: int, beyond: int = 0) -> int:
        """Put `size` bytes of an open file at the end; return how many, fewer only where it ends.

        So many bytes `beyond` them come along if they are there at once.
        """
        start = self.used
        most = start + size + beyond
        self._hold(most)
        while self.used - start < size and (got := os.readv(fd, [self._memory[self.used : most]])):
            self.used += got
        return self.used - start

    def replace(self, start: int, length: int, data: bytes) -> None:
        """Put `data` in the place of `length` bytes from `start` on."""
        if len(data) == length:
            self._memory[start : start + length] = data
            return
        after = bytes(self.view(start + length))
        self.cut(start)
        self.add(data)
        self.add(after)

    def cut(self, end: int) -> None:
        """Forget what lies after `end`."""
        self.used = end

    @property
    def has_grown(self) -> bool:
        """Whether it holds more memory than blocks need."""
        return len(self._memory) > _SIZE

    def _hold(self, size: int) -> None:
        if size > len(self._memory):
            more = memoryview(bytearray(2 * size))
            more[: self.used] = self.view()
            self._memory = more
