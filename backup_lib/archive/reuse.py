"""Blocks of an earlier archive that can be copied instead of being made again.

A block is reused where its fingerprint says that the scan saw all its sources as they were then.
A source that changed within two seconds of that earlier scan may have changed once more
without a trace in its times (what git calls "racily clean"): it is never trusted.
Nor is anything from a scan that lies in the future: the clock was set back since.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256

import msgspec

from backup_lib.archive.index import PackedBlock, read_records
from backup_lib.archive.reader import Reader
from backup_lib.errors import DamageError
from backup_lib.model import Block, Header, Source

__all__ = ["Reuse", "Reused"]

_RACY_NS = 2_000_000_000


class Reused(msgspec.Struct, frozen=True):
    """A block as it lies in the earlier archive."""

    packed: bytes
    block: Block


class Reuse:
    """What an earlier archive has to offer for a new one."""

    def __init__(self, reader: Reader, head: Header) -> None:
        """Look through the index of `reader`; nothing is offered where `head` asks for other blocks.

        Raises `DamageError` where that index is damaged.
        """
        self._reader = reader
        self._trusted_ns = reader.header.scanned_ns - _RACY_NS
        self._blocks: dict[bytes, tuple[int, PackedBlock]] = {}
        if head.scanned_ns and _makes_the_same_blocks(reader.header, head):
            self._collect()

    def _collect(self) -> None:
        offset = 0
        for record in read_records(self._reader.index):
            if isinstance(record, PackedBlock):
                if record.fingerprint:
                    self._blocks[record.fingerprint] = (offset, record)
                offset += record.length

    @property
    def commit(self) -> str | None:
        """The commit that the states in the earlier archive are measured against."""
        return self._reader.header.commit

    def trusts(self, sources: Iterable[Source]) -> bool:
        """Whether no file of them changed so late that its times may not tell of the next change."""
        return all(
            max(source.mtime_ns, source.ctime_ns) < self._trusted_ns
            for source in sources
            if source.kind != "directory"
        )

    def has(self, fingerprint: bytes) -> bool:
        """Whether there is a block of that fingerprint."""
        return fingerprint in self._blocks

    def take(self, fingerprint: bytes) -> Reused | None:
        """Return a block, checked against its digest; None where it is not there, or cannot be read."""
        offset, found = self._blocks.get(fingerprint, (0, None))
        if found is None:
            return None
        try:
            packed = self._reader.read_at(offset, found.length)
            if sha256(packed).digest() != found.digest:
                return None
            packed = self._reader.alone(offset, packed)
        except (OSError, DamageError):
            return None
        block = found.unpack()
        if len(packed) < found.length:
            block = msgspec.structs.replace(block, length=len(packed), digest=sha256(packed).digest())
        return Reused(packed, block)


def _makes_the_same_blocks(before: Header, now: Header) -> bool:
    """Whether blocks are the same; where the clock was set back, the times of files do not order changes."""
    return 0 < before.scanned_ns <= now.scanned_ns and (before.project, before.format, before.level) == (
        now.project,
        now.format,
        now.level,
    )
