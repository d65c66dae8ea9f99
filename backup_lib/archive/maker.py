"""Making blocks: read, hash, frame and compress what belongs in them, or copy them from an earlier archive.

A block of small sources is made at one go, by many at a time. A large file is read in order, for its digest,
and its pieces are compressed side by side.
"""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b, sha256
from typing import NamedTuple, Protocol

import msgspec

from backup_lib.archive.block import LARGE, PIECE, fingerprint
from backup_lib.archive.buffer import Buffer
from backup_lib.archive.formats import FORMATS
from backup_lib.archive.intake import TRIES, held_still, is_still, open_source, take_file
from backup_lib.archive.reuse import Reuse
from backup_lib.archive.tar import END, RECORD, commit_header, header, padding
from backup_lib.model import Block, Entry, GitState, Header, Problem, Source

__all__ = ["Made", "Maker", "Parcel", "Result", "RunBegins", "RunEnds", "RunFails"]

_GIANT = 4 * PIECE
"""A file from here on is compressed by many at a time, and never held whole; bytes."""
_BLANK = bytes(RECORD)
_AS_COMMITTED: tuple[GitState, ...] = ("committed", "converted")


class Hash(Protocol):
    """What hashlib's objects can do."""

    def update(self, data: memoryview, /) -> None:
        """Take more bytes."""


class Made(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """A block, compressed, and what has to be told of it."""

    packed: bytes
    block: Block
    problems: tuple[Problem, ...] = ()
    replaced: tuple[bytes, ...] = ()
    """Paths of files that were put in the place of those that the scan saw."""
    content: int = 0
    """Bytes of files, for the progress."""


@dataclass(frozen=True, slots=True)
class Filled:
    """A run of the tar stream that is to be compressed."""

    buffer: Buffer
    so_far: Made
    """What is known of its block."""


@dataclass(frozen=True, slots=True)
class CopyPiece:
    """A block of a large file that an earlier archive has."""

    fingerprint: bytes
    content: int
    """Bytes of the file."""


class RunBegins(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """The blocks of a large file follow."""


class RunEnds(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """The large file is complete."""

    entry: Entry
    problem: Problem | None
    replaced: bool = False
    """True where the file was put in the place of the one that the scan saw."""


class RunFails(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """The large file changed: take back what was written since it began."""

    problem: Problem | None = None
    """Given where it is not tried again."""


Job = Filled | CopyPiece | RunBegins | RunEnds | RunFails
Result = Made | RunBegins | RunEnds | RunFails

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Result]).decode


class Parcel(NamedTuple):
    """What came of some sources, as one process hands it to another."""

    packed: bytes
    """The results; nothing for a giant file, whose blocks are still to be made."""
    sources: tuple[Source, ...]
    """The giant file; or all of a block with hard links, which may have to be made again."""

    def unpack(self) -> list[Result]:
        """Return the results."""
        return _decode(self.packed)


class Maker:
    """Turns sources into blocks, in whatever process or thread."""

    def __init__(self, head: Header, root: int, before: Reuse | None) -> None:
        self.head = head
        self.before = before
        self.form = FORMATS[head.format]
        self.top = head.project.encode()
        self.root = root
        self._empty: deque[Buffer] = deque()

    def first(self) -> Made | None:
        """Return the block before all sources: it names the commit, if there is one."""
        return self._block_of(commit_header(self.head.commit)) if self.head.commit else None

    def last(self) -> Made:
        """Return the block after all sources."""
        return self._block_of(END)

    def make_all(self, blocks: Iterable[Sequence[Source]]) -> list[Parcel]:
        """Make the blocks of some sources; those of a giant file are left to `run`."""
        return [self._parcel(tuple(sources)) for sources in blocks]

    def _parcel(self, sources: tuple[Source, ...]) -> Parcel:
        if sources[0].size > LARGE:
            return self._whole_run(sources[0]) or Parcel(b"", sources)
        mark = fingerprint(sources)
        made = self._copied(sources, mark) or self._made(sources, mark)
        has_links = any(source.kind == "hardlink" for source in sources)
        return Parcel(_encode([made]), sources if has_links else ())

    def _whole_run(self, source: Source) -> Parcel | None:
        """Return all that comes of a large file; None where it is a giant, or grows to be one."""
        results: list[Result] = []
        for job in self.run(source) if source.size <= _GIANT else ():
            if isinstance(job, RunBegins):
                results.clear()  # it changed, and is read again
            results.append(self.make(job))
            if len(results) * PIECE > 2 * _GIANT:
                return None
        return Parcel(_encode(results), ()) if results else None

    def run(self, source: Source) -> Iterator[Job]:
        """Yield what there is to do for a large file, in the order of the stream."""
        return iter(self._copied_run(source) or self._read_runs(source))

    def make(self, job: Job) -> Result:
        """Do one job."""
        if isinstance(job, Filled):
            return self._pack(job)
        if isinstance(job, CopyPiece):
            return self._copy_piece(job)
        return job

    def _buffer(self) -> Buffer:
        try:
            return self._empty.pop()
        except IndexError:
            return Buffer()

    def _block_of(self, data: bytes) -> Made:
        buffer = self._buffer()
        buffer.add(data)
        return self._pack(Filled(buffer, _so_far()))

    def _made(self, sources: Sequence[Source], mark: bytes) -> Made:
        filling = _Filling(self, self._buffer())
        for source in sources:
            filling.add(source)
        return self._pack(Filled(filling.buffer, filling.so_far(mark)))

    def _pack(self, filled: Filled) -> Made:
        buffer, so_far = filled.buffer, filled.so_far
        size = buffer.used
        packed = self.form.pack(buffer.view(), self.head.level) if size else b""
        buffer.cut(0)
        if not buffer.has_grown:
            self._empty.append(buffer)
        mark = so_far.block.fingerprint if self.head.scanned_ns else b""
        block = Block(len(packed), size, sha256(packed).digest(), mark, so_far.block.entries)
        return msgspec.structs.replace(so_far, packed=packed, block=block)

    def _copied(self, sources: tuple[Source, ...], mark: bytes) -> Made | None:
        """Return the block as an earlier archive has it, if it is the same still."""
        if self.before is None or not self.before.has(mark) or not self.before.trusts(sources):
            return None
        reused = self.before.take(mark)
        if reused is None or not self._may_be_told(sources, reused.block.entries):
            return None
        entries = tuple(map(_with_state, reused.block.entries, sources))
        block = msgspec.structs.replace(reused.block, entries=entries)
        return Made(reused.packed, block, content=sum(source.size for source in sources))

    def _copy_piece(self, copy: CopyPiece) -> Made:
        reused = self.before.take(copy.fingerprint) if self.before else None
        if reused is None:
            raise OSError(errno.EIO, "the backup before changed while blocks were copied from it")
        return Made(reused.packed, msgspec.structs.replace(reused.block, entries=()), content=copy.content)

    def _copied_run(self, source: Source) -> list[Job]:
        """Return the jobs that copy the blocks of a large file, or none where not all of them can be."""
        if self.before is None or not self.before.trusts([source]):
            return []
        copies = list(_copies(source))
        reused = [self.before.take(copy.fingerprint) for copy in copies]
        first = reused[0]
        if first is None or None in reused or not self._may_be_told([source], first.block.entries):
            return []
        return [RunBegins(), *copies, RunEnds(_with_state(first.block.entries[0], source), None)]

    def _may_be_told(self, sources: Sequence[Source], entries: Sequence[Entry]) -> bool:
        """Whether what git says of some sources goes for what an earlier archive holds of them.

        It does where git said the same then, of the same commit; else each must still be what the scan saw,
        as git may have looked at it later than the scan.
        """
        same_commit = self.before is not None and self.before.commit == self.head.commit
        return all(
            source.state not in _AS_COMMITTED
            or (same_commit and entry.state == source.state and source.kind != "hardlink")
            or is_still(self.root, source)
            for source, entry in zip(sources, entries, strict=True)
        )

    def header(self, source: Source, size: int) -> bytes:
        """Return the header records of a source that has `size` bytes of content."""
        name = self.top + b"/" + source.path if source.path else self.top
        link = self.top + b"/" + source.link if source.kind == "hardlink" else source.link
        return header(name, source, size, link)

    def _read_runs(self, source: Source) -> Iterator[Job]:
        """Yield the pieces of a large file, from the start again where it changes meanwhile."""
        for left in reversed(range(TRIES)):
            yield RunBegins()
            try:
                ends = yield from self._read_run(source, last=not left)
            except OSError as error:
                yield RunFails(_unread(source, error))
                return
            if ends:
                yield ends
                return
            yield RunFails()

    def _read_run(self, source: Source, last: bool) -> Generator[Job, None, RunEnds | None]:
        """Yield the pieces of one read; return its end, or None where the file is to be read again."""
        digest = sha256()
        fd, now = open_source(self.root, source)
        try:
            mark = fingerprint([now])
            buffer = self._buffer()
            buffer.add(self.header(now, now.size))
            yield Filled(buffer, _so_far(_numbered(mark, now.size)))
            left = now.size
            while left and (buffer := self._buffer()).read(fd, min(left, PIECE)):
                left -= (size := _take(buffer, digest))
                buffer.add(b"" if left else padding(now.size))
                yield Filled(buffer, _so_far(_numbered(mark, left), content=size))
            still = not left and held_still(fd, now)
        finally:
            os.close(fd)
        if not still and not last:
            return None
        while left:  # it shrank: its header promised more
            buffer = self._buffer()
            buffer.add(bytes(min(left, PIECE)))
            left -= _take(buffer, digest)
            buffer.add(b"" if left else padding(now.size))
            yield Filled(buffer, _so_far())
        state = source.state if now is source else _touched(source)
        entry = Entry(source.path, "file", now.size, digest.digest(), b"", state, changed=not still)
        return RunEnds(entry, None if still else _restless(source), now.inode != source.inode)


class _Filling:
    """A block of small sources being put together."""

    def __init__(self, maker: Maker, buffer: Buffer) -> None:
        self.buffer = buffer
        self._maker = maker
        self._entries: list[Entry] = []
        self._problems: list[Problem] = []
        self._replaced: list[bytes] = []
        self._as_scanned = True
        self._bytes = 0

    def add(self, source: Source) -> None:
        """Add one source; what cannot be read is a problem."""
        if source.kind != "file":
            self._entries.append(Entry(source.path, source.kind, 0, b"", source.link, self._state(source)))
            self.buffer.add(self._maker.header(source, 0))
            return
        self._bytes += source.size
        start = self.buffer.used
        try:
            self._add_file(source)
        except OSError as error:
            self.buffer.cut(start)
            self._problems.append(_unread(source, error))
            self._as_scanned = False

    def _state(self, source: Source) -> GitState:
        """Return the state of a link, which is not opened; git may have looked at it later than the scan."""
        if source.state not in _AS_COMMITTED or is_still(self._maker.root, source):
            return source.state
        self._as_scanned = False
        return _touched(source)

    def _add_file(self, source: Source) -> None:
        buffer, start = self.buffer, self.buffer.used
        buffer.add(_BLANK)
        taken, changed = take_file(self._maker.root, source, buffer)
        digest = sha256(buffer.view(start + RECORD)).digest()
        buffer.replace(start, RECORD, self._maker.header(taken, taken.size))
        buffer.add(padding(taken.size))
        state = source.state
        if taken is not source or changed:
            self._as_scanned = False
            state = _touched(source)
            if changed:
                self._problems.append(_restless(source))
            if taken.inode != source.inode:
                self._replaced.append(source.path)
        self._entries.append(Entry(source.path, "file", taken.size, digest, b"", state, changed))

    def so_far(self, mark: bytes) -> Made:
        """Return what is known of the block; `mark` is its fingerprint if all is as the scan saw it."""
        block = _so_far(mark if self._as_scanned else b"", tuple(self._entries)).block
        return Made(b"", block, tuple(self._problems), tuple(self._replaced), self._bytes)


def _so_far(mark: bytes = b"", entries: tuple[Entry, ...] = (), content: int = 0) -> Made:
    """Return a block that is not compressed yet."""
    return Made(b"", Block(0, 0, b"", mark, entries), content=content)


def _take(buffer: Buffer, digest: Hash) -> int:
    """Let a digest take what is in a buffer; return how many bytes that are."""
    digest.update(buffer.view())
    return buffer.used


def _touched(source: Source) -> GitState:
    """Return the state of a file that changed since the scan: git did not see what it is now."""
    return "modified" if source.state in _AS_COMMITTED else source.state


def _copies(source: Source) -> Iterator[CopyPiece]:
    """Yield what has to be copied of a large file: its header, and then its pieces."""
    mark = fingerprint([source])
    left = source.size
    yield CopyPiece(_numbered(mark, left), 0)
    while left:
        content = min(left, PIECE)
        left -= content
        yield CopyPiece(_numbered(mark, left), content)


def _with_state(entry: Entry, source: Source) -> Entry:
    """Return the entry of an earlier archive as it stands to the commit now."""
    return entry if entry.state == source.state else msgspec.structs.replace(entry, state=source.state)


def _numbered(mark: bytes, left: int) -> bytes:
    """Return the fingerprint of one piece of a large file, of which `left` bytes follow."""
    return blake2b(mark + left.to_bytes(8, "big"), digest_size=16).digest()


def _unread(source: Source, error: OSError) -> Problem:
    gone = isinstance(error, FileNotFoundError)
    return Problem(source.path, "vanished" if gone else "unreadable", error.strerror or str(error))


def _restless(source: Source) -> Problem:
    return Problem(source.path, "changed", f"it changed during each of {TRIES} reads; one of them is kept")
