"""Sources by the million: packed in memory, unpacked as they are asked for."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import islice

import msgspec

from backup_lib.model import GitState, Source

__all__ = ["Sources"]

_TOGETHER = 512
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Source]).decode


class Sources(Collection[Source]):
    """Sources in order; each look through them makes them anew.

    A source takes about 100 bytes here, and 400 as an object.
    """

    def __init__(self, sources: Iterable[Source]) -> None:
        self.files = 0
        """Number of files and hard links."""
        self.bytes = 0
        """Sum of the sizes of the files, a file with several names counted once."""
        self.states: Sequence[GitState] = ()
        """How each file, hard link and symlink stands to the commit, in order; empty without git."""
        self._count = 0
        self._packed: list[bytes | list[Source]] = []
        rest = iter(sources)
        while some := list(islice(rest, _TOGETHER)):
            self._packed.append(_pack(some))
            self._count += len(some)
            self.files += sum(source.kind in ("file", "hardlink") for source in some)
            self.bytes += sum(source.size for source in some)

    def __iter__(self) -> Iterator[Source]:
        states = iter(self.states)
        for packed in self._packed:
            for source in _decode(packed) if isinstance(packed, bytes) else packed:
                if self.states and source.kind != "directory":
                    msgspec.structs.force_setattr(source, "state", next(states))
                yield source

    def __len__(self) -> int:
        return self._count

    def __contains__(self, source: object) -> bool:
        return any(each == source for each in self)


def _pack(sources: list[Source]) -> bytes | list[Source]:
    try:
        return _encode(sources)
    except OverflowError:  # a time in nanoseconds that takes more than 64 bits
        return sources
