"""Writing an archive: cut, read, hash and compress in parallel, append in order, close with the index.

    sources -> cut into blocks -> a pool makes each block -> appended in order -> index, trailer

A large file is read here, piece by piece, and only its compression goes to the pool. Where it turns
out to have changed meanwhile, the archive is taken back to where the file began, and it is read again.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b, sha256
from typing import BinaryIO

import msgspec

from backup_lib.archive.block import LARGE, PIECE, cut, fingerprint
from backup_lib.archive.formats import FORMATS
from backup_lib.archive.index import IndexWriter
from backup_lib.archive.intake import TRIES, held_still, opened, take_file
from backup_lib.archive.pool import in_order
from backup_lib.archive.tar import END, commit_header, header, padding
from backup_lib.archive.trailer import Trailer
from backup_lib.model import Block, Counts, Entry, Header, Problem, Source, Summary
from backup_lib.progress import Advance

__all__ = ["Tree", "Written", "write_archive"]


@dataclass(frozen=True, slots=True)
class Tree:
    """What is to be archived."""

    root: int
    """The project's root, an open directory."""
    sources: Sequence[Source]
    """What goes in, folders before what they hold."""
    problems: Sequence[Problem] = ()
    """What the scan could not see."""


@dataclass(frozen=True, slots=True)
class Written:
    """An archive that was written."""

    size: int
    sha256: bytes
    index: bytes
    """SHA-256 of the index."""
    summary: Summary


@dataclass(frozen=True, slots=True)
class _Made:
    """A block, compressed."""

    packed: bytes
    block: Block
    sources: tuple[Source, ...] = ()
    """What it was made from, where it may have to be made again."""
    problems: tuple[Problem, ...] = ()
    content: int = 0
    """Bytes of file content in it, for the progress."""


@dataclass(frozen=True, slots=True)
class _Piece:
    """Tar stream of a large file, or of the stream's ends."""

    data: bytes
    fingerprint: bytes = b""
    content: int = 0


@dataclass(frozen=True, slots=True)
class _RunBegins:
    """The blocks of a large file follow."""


@dataclass(frozen=True, slots=True)
class _RunEnds:
    """The large file is complete."""

    entry: Entry
    problem: Problem | None


@dataclass(frozen=True, slots=True)
class _RunFails:
    """The large file changed: take back what was written since it began."""

    problem: Problem | None = None
    """Given where it is not tried again."""


_Job = tuple[Source, ...] | _Piece | _RunBegins | _RunEnds | _RunFails
_Result = _Made | _RunBegins | _RunEnds | _RunFails


def write_archive(file: BinaryIO, head: Header, tree: Tree, advance: Advance) -> Written:
    """Write an archive of a tree to an empty binary file.

    Files that cannot be read are left out and named in the summary.
    Raises `OSError` where the archive cannot be written.
    """
    maker = _Maker(head, tree.root)
    appender = _Appender(file, maker, tree)
    for result in in_order(maker.make, maker.jobs(tree.sources)):
        appender.take(result)
        if isinstance(result, _Made) and result.content:
            advance(result.content)
    return appender.finish()


class _Maker:
    """Turns sources into blocks; `make` runs in threads."""

    def __init__(self, head: Header, root: int) -> None:
        self.head = head
        self.form = FORMATS[head.format]
        self.top = head.project.encode()
        self.root = root

    def jobs(self, sources: Iterable[Source]) -> Iterator[_Job]:
        """Yield what there is to do, in the order of the stream."""
        if self.head.commit:
            yield _Piece(commit_header(self.head.commit))
        for block in cut(sources):
            if block[0].size > LARGE:
                yield from self._run(block[0])
            else:
                yield tuple(block)
        yield _Piece(END)

    def make(self, job: _Job) -> _Result:
        """Do one job."""
        if isinstance(job, tuple):
            return self.make_block(job)
        if isinstance(job, _Piece):
            packed = self.form.pack(job.data, self.head.level)
            return _Made(packed, self._block(packed, len(job.data), job.fingerprint, ()), content=job.content)
        return job

    def _block(self, packed: bytes, size: int, mark: bytes, entries: tuple[Entry, ...]) -> Block:
        return Block(
            len(packed), size, sha256(packed).digest(), mark if self.head.scanned_ns else b"", entries
        )

    def make_block(self, sources: tuple[Source, ...]) -> _Made:
        """Make the block of some small sources."""
        parts: list[bytes] = []
        entries: list[Entry] = []
        problems: list[Problem] = []
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
            as_scanned = as_scanned and taken.source is source
            data = taken.data
            parts += (self._header(taken.source, len(data)), data, padding(len(data)))
            digest = sha256(data).digest()
            entries.append(Entry(source.path, "file", len(data), digest, b"", source.state, taken.changed))
        data = b"".join(parts)
        packed = self.form.pack(data, self.head.level) if data else b""
        mark = fingerprint(sources) if as_scanned else b""
        return _Made(
            packed, self._block(packed, len(data), mark, tuple(entries)), sources, tuple(problems), content
        )

    def _header(self, source: Source, size: int) -> bytes:
        name = self.top + b"/" + source.path if source.path else self.top
        link = self.top + b"/" + source.link if source.kind == "hardlink" else source.link
        return header(name, source, size, link)

    def _run(self, source: Source) -> Iterator[_Job]:
        """Yield the pieces of a large file, from the start again where it changes meanwhile."""
        for left in reversed(range(TRIES)):
            yield _RunBegins()
            try:
                ends = yield from self._read_run(source, last=not left)
            except OSError as error:
                yield _RunFails(_unread(source, error))
                return
            if ends:
                yield ends
                return
            yield _RunFails()

    def _read_run(self, source: Source, last: bool) -> Generator[_Job, None, _RunEnds | None]:
        """Yield the pieces of one read; return its end, or None where the file is to be read again."""
        digest = sha256()
        with opened(self.root, source) as (fd, now):
            mark = fingerprint([now])
            yield _Piece(self._header(now, now.size), _numbered(mark, now.size))
            left = now.size
            while left and (data := os.read(fd, min(left, PIECE))):
                digest.update(data)
                left -= len(data)
                yield _Piece(data if left else data + padding(now.size), _numbered(mark, left), len(data))
            still = not left and held_still(fd, now)
            if not still and not last:
                return None
            while left:  # it shrank: its header promised more
                data = bytes(min(left, PIECE))
                digest.update(data)
                left -= len(data)
                yield _Piece(data if left else data + padding(now.size))
        entry = Entry(source.path, "file", now.size, digest.digest(), b"", source.state, changed=not still)
        return _RunEnds(entry, None if still else _restless(source))


class _Appender:
    """Appends blocks in order, and knows how to go back to where a large file began."""

    def __init__(self, file: BinaryIO, maker: _Maker, tree: Tree) -> None:
        self._file = file
        self._maker = maker
        self._sha256 = sha256()
        self._index = IndexWriter()
        self._index.add(maker.head)
        self._lengths: list[tuple[int, int]] = []
        self._offset = 0
        self._run: list[Block] | None = None
        self._run_began = (0, sha256())
        self._tally = _Tally(tree)

    def take(self, result: _Result) -> None:
        """Append one result."""
        if isinstance(result, _Made):
            self._append(self._tally.settle(result, self._maker))
        elif isinstance(result, _RunBegins):
            self._run = []
            self._run_began = (self._offset, self._sha256.copy())
        elif isinstance(result, _RunEnds):
            self._end_run(result)
        else:
            self._go_back(result)

    def _append(self, made: _Made) -> None:
        self._tally.note(made.problems)
        if not made.packed:
            return
        self._write(made.packed)
        if self._run is None:
            self._record(made.block)
        else:
            self._run.append(made.block)

    def _write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[self._file.write(rest) :]
        self._sha256.update(data)
        self._offset += len(data)

    def _record(self, block: Block) -> None:
        self._tally.count(block.entries)
        self._index.add(block)
        self._lengths.append((block.length, block.size))

    def _end_run(self, ends: _RunEnds) -> None:
        blocks = self._run or []
        self._run = None
        if ends.problem:
            self._tally.note((ends.problem,))
        blocks[0] = msgspec.structs.replace(blocks[0], entries=(ends.entry,))
        for block in blocks:
            self._record(block)

    def _go_back(self, fails: _RunFails) -> None:
        self._run = None
        self._offset, self._sha256 = self._run_began
        self._file.seek(self._offset)
        self._file.truncate()
        if fails.problem:
            self._tally.note((fails.problem,))

    def finish(self) -> Written:
        """Append the index and what follows it."""
        summary = self._tally.summary()
        self._index.add(summary)
        index = self._index.finish()
        trailer = Trailer(self._offset, len(index), sha256(index).digest())
        for part in self._maker.form.tail(trailer, index, self._lengths):
            self._write(part)
        return Written(self._offset, self._sha256.digest(), trailer.digest, summary)


class _Tally:
    """What the archive holds so far, and the files that hard links stand for."""

    def __init__(self, tree: Tree) -> None:
        self._files = self._bytes = self._entries = 0
        self._states: dict[str, int] = {}
        self._problems: list[Problem] = []
        self._lost: set[bytes] = set()
        self._link_targets = frozenset(source.link for source in tree.sources if source.kind == "hardlink")
        self._linked: dict[bytes, Entry] = {}
        self.note(tree.problems)

    def note(self, problems: Iterable[Problem]) -> None:
        """Keep the problems; a file that is not in the archive can be no hard link's target."""
        for problem in problems:
            self._problems.append(problem)
            if problem.kind != "changed":
                self._lost.add(problem.path)

    def settle(self, made: _Made, maker: _Maker) -> _Made:
        """Give each hard link of a block the digest of its file; without that file, make it one itself."""
        if not any(source.kind == "hardlink" for source in made.sources):
            return made
        if any(source.link in self._lost for source in made.sources if source.kind == "hardlink"):
            made = maker.make_block(tuple(map(self._standing_alone, made.sources)))
        entries = tuple(map(self._with_digest, made.block.entries))
        return replace(made, block=msgspec.structs.replace(made.block, entries=entries))

    def _standing_alone(self, source: Source) -> Source:
        if source.kind == "hardlink" and source.link in self._lost:
            return replace(source, kind="file", link=b"")
        return source

    def _with_digest(self, entry: Entry) -> Entry:
        if entry.kind != "hardlink":
            self.remember(entry)  # a link and its file may share a block
            return entry
        file = self._linked[entry.link]
        return msgspec.structs.replace(entry, size=file.size, digest=file.digest, changed=file.changed)

    def remember(self, entry: Entry) -> None:
        """Keep the entry of a file that hard links stand for."""
        if entry.path in self._link_targets:
            self._linked[entry.path] = entry

    def count(self, entries: tuple[Entry, ...]) -> None:
        """Add the entries of a block that is in the archive for good."""
        self._entries += len(entries)
        for entry in entries:
            if entry.digest:
                self._files += 1
                self._bytes += entry.size
            if entry.state:
                self._states[entry.state] = self._states.get(entry.state, 0) + 1
            self.remember(entry)

    def summary(self) -> Summary:
        """Return what it came to."""
        states = dict(sorted(self._states.items()))
        return Summary(Counts(self._files, self._bytes, self._entries, states), tuple(self._problems))


def _numbered(mark: bytes, left: int) -> bytes:
    """Return the fingerprint of one piece of a large file, of which `left` bytes follow."""
    return blake2b(mark + left.to_bytes(8, "big"), digest_size=16).digest()


def _unread(source: Source, error: OSError) -> Problem:
    gone = isinstance(error, FileNotFoundError)
    return Problem(source.path, "vanished" if gone else "unreadable", error.strerror or str(error))


def _restless(source: Source) -> Problem:
    return Problem(source.path, "changed", f"it changed during each of {TRIES} reads; one of them is kept")
