"""The files of a commit by the million: packed folder by folder, unpacked as a walk comes by."""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["Committed"]


class Committed:
    """The paths of a commit and their sizes, each to be taken out once.

    Any order will do; that of a walk is fast, since only the folders above the present one are unpacked.
    """

    def __init__(self) -> None:
        self._packed: dict[bytes, bytearray] = {}
        self._open: list[tuple[bytes, dict[bytes, int]]] = []
        """The folders on the way, each ending with ``/``, and what was not taken out of them yet."""

    def add(self, path: bytes, size: int) -> None:
        """Put a path in, with its size in bytes, -1 for an unknown one."""
        name = path.rpartition(b"/")[2]
        folder = path[: len(path) - len(name)]
        self._packed.setdefault(folder, bytearray()).extend(b"%b\0%d\0" % (name, size))

    def take(self, path: bytes) -> int | None:
        """Take a path out; return its size, None where it is not there."""
        name = path.rpartition(b"/")[2]
        folder = path[: len(path) - len(name)]
        if not self._open or self._open[-1][0] != folder:
            self._enter(folder)
        return self._open[-1][1].pop(name, None)

    def rest(self) -> Iterator[bytes]:
        """Yield the paths that were not taken out."""
        while self._open:
            self._leave()
        for folder in list(self._packed):
            for name in self._unpacked(folder):
                yield folder + name

    def _enter(self, folder: bytes) -> None:
        while self._open and not folder.startswith(self._open[-1][0]):
            self._leave()
        if not self._open or self._open[-1][0] != folder:
            self._open.append((folder, self._unpacked(folder)))

    def _leave(self) -> None:
        folder, names = self._open.pop()
        for name, size in names.items():
            self.add(folder + name, size)

    def _unpacked(self, folder: bytes) -> dict[bytes, int]:
        fields = bytes(self._packed.pop(folder, b"")).split(b"\0")
        return dict(zip(fields[0:-1:2], map(int, fields[1:-1:2]), strict=True))
