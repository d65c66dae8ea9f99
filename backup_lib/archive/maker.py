"""Making blocks: read, hash, frame and compress what belongs in them, or copy them from an earlier archive.

A large file is read here, piece by piece, and only its compression goes to the threads.
"""

from __future__ import annotations

import errno
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b, sha256

import msgspec

from backup_lib.archive.block import LARGE, PIECE, cut, fingerprint
from backup_lib.archive.formats import FORMATS
from backup_lib.archive.intake import TRIES, held_still, opened, read_piece, take_file
from backup_lib.archive.reuse import Reuse
from backup_lib.archive.tar import END, commit_header, header, padding
from backup_lib.model import Block, Entry, Header, Problem, Source

__all__ = ["Made", "Maker", "Result", "RunBegins", "RunEnds", "RunFails"]


@dataclass(frozen=True, slots=True)
class Made:
    """A block, compressed."""

    packed: bytes
    block: Block
    sources: tuple[Source, ...] = ()
    """What it was made from, where it may have to be made again."""
    problems: tuple[Problem, ...] = ()
    replaced: tuple[bytes, ...] = ()
    """Paths of files that were put in the place of those that the scan saw."""
    content: int = 0
    """Bytes of file content in it, for the progress."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Tar stream of a large file, or of the stream's ends."""

    data: bytes
    fingerprint: bytes = b""
    content: int = 0


@dataclass(frozen=True, slots=True)
class Copy:
    """A block of a large file that an earlier archive has."""

    fingerprint: bytes
    content: int


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


Job = tuple[Source, ...] | Piece | Copy | RunBegins | RunEnds | RunFails
Result = Made | RunBegins | RunEnds | RunFails


class Maker:
    """Turns sources into blocks; `make` runs in threads."""

    def __init__(self, head: Header, root: int, before: Reuse | None) -> None:
        self.head = head
        self.before = before
        self.form = FORMATS[head.format]
        self.top = head.project.encode()
        self.root = root

    def jobs(self, sources: Iterable[Source]) -> Iterator[Job]:
        """Yield what there is to do, in the order of the stream."""
        if self.head.commit:
            yield Piece(commit_header(self.head.commit))
        for block in cut(sources):
            if block[0].size > LARGE:
                yield from self._copied_run(block[0]) or self._run(block[0])
            else:
                yield tuple(block)
        yield Piece(END)

    def make(self, job: Job) -> Result:
        """Do one job."""
        if isinstance(job, tuple):
            return self._copied_block(job) or self.make_block(job)
        if isinstance(job, Copy):
            return self._copy(job)
        if isinstance(job, Piece):
            packed = self.form.pack(job.data, self.head.level)
            return Made(packed, self._block(packed, len(job.data), job.fingerprint, ()), content=job.content)
        return job

    def _block(self, packed: bytes, size: int, mark: bytes, entries: tuple[Entry, ...]) -> Block:
        return Block(
            len(packed), size, sha256(packed).digest(), mark if self.head.scanned_ns else b"", entries
        )

    def _copied_block(self, sources: tuple[Source, ...]) -> Made | None:
        if self.before is None or not self.before.trusts(sources):
            return None
        reused = self.before.take(fingerprint(sources))
        if reused is None:
            return None
        entries = tuple(map(_with_state, reused.block.entries, sources))
        block = msgspec.structs.replace(reused.block, entries=entries)
        return Made(reused.packed, block, sources, content=sum(source.size for source in sources))

    def _copied_run(self, source: Source) -> list[Job]:
        """Return the jobs that copy the blocks of a large file, or none where not all of them can be."""
        if self.before is None or not self.before.trusts([source]):
            return []
        copies = list(_copies(source))
        reused = [self.before.take(copy.fingerprint) for copy in copies]
        first = reused[0]
        if first is None or None in reused:
            return []
        return [RunBegins(), *copies, RunEnds(_with_state(first.block.entries[0], source), None)]

    def _copy(self, copy: Copy) -> Made:
        reused = self.before.take(copy.fingerprint) if self.before else None
        if reused is None:
            raise OSError(errno.EIO, "the backup before changed while blocks were copied from it")
        block = msgspec.structs.replace(reused.block, entries=())
        return Made(reused.packed, block, content=copy.content)

    def make_block(self, sources: tuple[Source, ...]) -> Made:
        """Make the block of some small sources."""
        parts: list[bytes] = []
        entries: list[Entry] = []
        problems: list[Problem] = []
        replaced: list[bytes] = []
        as_scanned = True
        content = 0
        for source in sources:
            if source.kind != "file":
                entries.append(Entry(source.path, source.kind, 0, b"", source.link, source.state))
                parts.append(self._header(source, 0))
                continue
            content += source.size
            try:
                taken = take_file(self.root, source)
            except OSError as error:
                problems.append(_unread(source, error))
                as_scanned = False
                continue
            if taken.changed:
                problems.append(_restless(source))
            if taken.source.inode != source.inode:
                replaced.append(source.path)
            as_scanned = as_scanned and taken.source is source and not taken.changed
            data = taken.data
            parts += (self._header(taken.source, len(data)), data, padding(len(data)))
            digest = sha256(data).digest()
            entries.append(Entry(source.path, "file", len(data), digest, b"", source.state, taken.changed))
        data = b"".join(parts)
        packed = self.form.pack(data, self.head.level) if data else b""
        mark = fingerprint(sources) if as_scanned else b""
        return Made(
            packed,
            self._block(packed, len(data), mark, tuple(entries)),
            sources,
            tuple(problems),
            tuple(replaced),
            content,
        )

    def _header(self, source: Source, size: int) -> bytes:
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
        with opened(self.root, source) as (fd, now):
            mark = fingerprint([now])
            yield Piece(self._header(now, now.size), _numbered(mark, now.size))
            left = now.size
            while left and (data := read_piece(fd, min(left, PIECE))):
                digest.update(data)
                left -= len(data)
                yield Piece(data if left else data + padding(now.size), _numbered(mark, left), len(data))
            still = not left and held_still(fd, now)
            if not still and not last:
                return None
            while left:  # it shrank: its header promised more
                data = bytes(min(left, PIECE))
                digest.update(data)
                left -= len(data)
                yield Piece(data if left else data + padding(now.size))
        entry = Entry(source.path, "file", now.size, digest.digest(), b"", source.state, changed=not still)
        return RunEnds(entry, None if still else _restless(source), now.inode != source.inode)


def _copies(source: Source) -> Iterator[Copy]:
    """Yield what has to be copied of a large file: its header, and then its pieces."""
    mark = fingerprint([source])
    left = source.size
    yield Copy(_numbered(mark, left), 0)
    while left:
        content = min(left, PIECE)
        left -= content
        yield Copy(_numbered(mark, left), content)


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
