"""Making blocks: read, hash, frame and compress what belongs in them, or copy them from an earlier archive.

Files are read and hashed here, one after the other; the threads compress, and copy.
So no two threads contend for the interpreter over every small step.
"""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b, sha256
from typing import Protocol

import msgspec

from backup_lib.archive.block import LARGE, PIECE, cut, fingerprint
from backup_lib.archive.buffer import Buffer
from backup_lib.archive.formats import FORMATS
from backup_lib.archive.intake import TRIES, held_still, is_still, open_source, take_file
from backup_lib.archive.reuse import Reuse, Reused
from backup_lib.archive.tar import END, RECORD, commit_header, header, padding
from backup_lib.model import Block, Entry, GitState, Header, Problem, Source

__all__ = ["Contents", "Made", "Maker", "Result", "RunBegins", "RunEnds", "RunFails"]

_BLANK = bytes(RECORD)
_AS_COMMITTED: tuple[GitState, ...] = ("committed", "converted")


class Hash(Protocol):
    """What hashlib's objects can do."""

    def update(self, data: memoryview, /) -> None:
        """Take more bytes."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What a block is made from, and what of it has to be told."""

    fingerprint: bytes = b""
    """Empty where the block may not be copied into a later archive."""
    entries: tuple[Entry, ...] = ()
    sources: tuple[Source, ...] = ()
    """Where it may have to be made again."""
    problems: tuple[Problem, ...] = ()
    replaced: tuple[bytes, ...] = ()
    """Paths of files that were put in the place of those that the scan saw."""
    bytes: int = 0
    """Of file content, for the progress."""


@dataclass(frozen=True, slots=True)
class Filled:
    """A run of the tar stream that is to be compressed."""

    buffer: Buffer
    contents: Contents


@dataclass(frozen=True, slots=True)
class Made:
    """A block, compressed."""

    packed: bytes
    block: Block
    contents: Contents


@dataclass(frozen=True, slots=True)
class Copy:
    """A block of small sources that an earlier archive has."""

    sources: tuple[Source, ...]
    fingerprint: bytes


@dataclass(frozen=True, slots=True)
class CopyPiece:
    """A block of a large file that an earlier archive has."""

    fingerprint: bytes
    content: int
    """Bytes of the file."""


@dataclass(frozen=True, slots=True)
class RunBegins:
    """The blocks of a large file follow."""


@dataclass(frozen=True, slots=True)
class RunEnds:
    """The large file is complete."""

    entry: Entry
    problem: Problem | None
    replaced: bool = False
    """True where the file was put in the place of the one that the scan saw."""


@dataclass(frozen=True, slots=True)
class RunFails:
    """The large file changed: take back what was written since it began."""

    problem: Problem | None = None
    """Given where it is not tried again."""


Job = Filled | Copy | CopyPiece | RunBegins | RunEnds | RunFails
Result = Made | RunBegins | RunEnds | RunFails


class Maker:
    """Turns sources into blocks; `make` runs in threads."""

    def __init__(self, head: Header, root: int, before: Reuse | None) -> None:
        self.head = head
        self.before = before
        self.form = FORMATS[head.format]
        self.top = head.project.encode()
        self.root = root
        self._empty: deque[Buffer] = deque()

    def jobs(self, sources: Iterable[Source]) -> Iterator[Job]:
        """Yield what there is to do, in the order of the stream."""
        if self.head.commit:
            yield self._filled_with(commit_header(self.head.commit))
        for block in cut(sources):
            if block[0].size > LARGE:
                yield from self._copied_run(block[0]) or self._run(block[0])
            else:
                yield self._small(tuple(block))
        yield self._filled_with(END)

    def make(self, job: Job) -> Result:
        """Do one job."""
        if isinstance(job, Filled):
            return self._pack(job)
        if isinstance(job, Copy):
            return self._copy(job)
        if isinstance(job, CopyPiece):
            return self._copy_piece(job)
        return job

    def make_block(self, sources: tuple[Source, ...]) -> Made:
        """Make the block of some small sources."""
        return self._pack(self._fill(sources, fingerprint(sources)))

    def _buffer(self) -> Buffer:
        try:
            return self._empty.pop()
        except IndexError:
            return Buffer()

    def _filled_with(self, data: bytes) -> Filled:
        buffer = self._buffer()
        buffer.add(data)
        return Filled(buffer, Contents())

    def _pack(self, filled: Filled) -> Made:
        buffer, contents = filled.buffer, filled.contents
        size = buffer.used
        packed = self.form.pack(buffer.view(), self.head.level) if size else b""
        buffer.cut(0)
        if not buffer.has_grown:
            self._empty.append(buffer)
        mark = contents.fingerprint if self.head.scanned_ns else b""
        return Made(
            packed, Block(len(packed), size, sha256(packed).digest(), mark, contents.entries), contents
        )

    def _small(self, sources: tuple[Source, ...]) -> Job:
        mark = fingerprint(sources)
        if self.before is not None and self.before.has(mark) and self.before.trusts(sources):
            return Copy(sources, mark)
        return self._fill(sources, mark)

    def _fill(self, sources: tuple[Source, ...], mark: bytes) -> Filled:
        filling = _Filling(self, self._buffer())
        for source in sources:
            filling.add(source)
        return Filled(filling.buffer, filling.contents(sources, mark))

    def _copy(self, copy: Copy) -> Made:
        reused = self.before.take(copy.fingerprint) if self.before else None
        if reused is None or not self._may_be_told(copy.sources, reused.block.entries):
            return self.make_block(copy.sources)
        entries = tuple(map(_with_state, reused.block.entries, copy.sources))
        content = sum(source.size for source in copy.sources)
        return _made_of(reused, Contents(copy.fingerprint, entries, copy.sources, bytes=content))

    def _copy_piece(self, copy: CopyPiece) -> Made:
        reused = self.before.take(copy.fingerprint) if self.before else None
        if reused is None:
            raise OSError(errno.EIO, "the backup before changed while blocks were copied from it")
        return _made_of(reused, Contents(copy.fingerprint, bytes=copy.content))

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

    def _run(self, source: Source) -> Iterator[Job]:
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
            yield Filled(buffer, Contents(_numbered(mark, now.size)))
            left = now.size
            while left and (buffer := self._buffer()).read(fd, min(left, PIECE)):
                left -= (size := _take(buffer, digest))
                buffer.add(b"" if left else padding(now.size))
                yield Filled(buffer, Contents(_numbered(mark, left), bytes=size))
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
            yield Filled(buffer, Contents())
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

    def contents(self, sources: tuple[Source, ...], mark: bytes) -> Contents:
        """Return what came together."""
        return Contents(
            mark if self._as_scanned else b"",
            tuple(self._entries),
            sources,
            tuple(self._problems),
            tuple(self._replaced),
            self._bytes,
        )


def _take(buffer: Buffer, digest: Hash) -> int:
    """Let a digest take what is in a buffer; return how many bytes that are."""
    digest.update(buffer.view())
    return buffer.used


def _made_of(reused: Reused, contents: Contents) -> Made:
    return Made(reused.packed, msgspec.structs.replace(reused.block, entries=contents.entries), contents)


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
