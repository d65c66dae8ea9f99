"""Writing an archive: cut, read, hash and compress in parallel, append in order, close with the index.

    sources -> cut into blocks -> processes make each block -> appended in order -> index, trailer

Where a large file turns out to have changed while it was read, the archive is taken back to where
the file began, and it is read again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from hashlib import sha256
from itertools import chain
from typing import BinaryIO

import msgspec

from backup_lib.archive.block import LEAST, cut
from backup_lib.archive.index import IndexWriter
from backup_lib.archive.intake import as_file
from backup_lib.archive.maker import Made, Maker, Parcel, Result, RunBegins, RunEnds, RunFails
from backup_lib.archive.pool import in_order, in_processes
from backup_lib.archive.reuse import Reuse
from backup_lib.archive.trailer import VERSION, Trailer
from backup_lib.model import Block, Counts, Entry, Header, Problem, Source, Summary
from backup_lib.progress import Advance

__all__ = ["Tree", "Written", "write_archive"]

_WORTH_PROCESSES = 1000
"""Sources from which on it pays to make blocks in processes."""
_BATCH = 1 << 20
"""Bytes of content."""


@dataclass(frozen=True, slots=True)
class Tree:
    """What is to be archived."""

    root: int
    """The project's root, an open directory."""
    sources: Collection[Source]
    """What goes in, folders before what they hold."""
    problems: Sequence[Problem] = ()
    """What the scan could not see."""
    before: Reuse | None = None
    """An earlier archive to copy blocks from."""


@dataclass(frozen=True, slots=True)
class Written:
    """An archive that was written."""

    size: int
    sha256: bytes
    index: bytes
    """SHA-256 of the index."""
    summary: Summary


def write_archive(file: BinaryIO, head: Header, tree: Tree, advance: Advance) -> Written:
    """Write an archive of a tree to an empty binary file.

    Files that cannot be read are left out and named in the summary.
    Raises `OSError` where the archive cannot be written.
    """
    maker = Maker(head, tree.root, tree.before)
    appender = _Appender(file, maker, tree, advance)
    pays = len(tree.sources) >= _WORTH_PROCESSES
    with in_processes(maker.make_all, _batches(cut(tree.sources)), pays) as results:
        if first := maker.first():
            appender.take(first)
        for parcel in chain.from_iterable(results):
            appender.take_parcel(parcel)
        appender.take(maker.last())
    return appender.finish()


def _batches(blocks: Iterable[list[Source]]) -> Iterator[list[list[Source]]]:
    """Yield as many blocks at once as are worth the handing over."""
    batch: list[list[Source]] = []
    size = 0
    for block in blocks:
        batch.append(block)
        size += LEAST + sum(source.size for source in block)
        if size > _BATCH:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


class _Appender:
    """Appends blocks in order, and knows how to go back to where a large file began."""

    def __init__(self, file: BinaryIO, maker: Maker, tree: Tree, advance: Advance) -> None:
        self._file = file
        self._advance = advance
        self._maker = maker
        self._sha256 = sha256()
        self._index = IndexWriter()
        self._index.add(msgspec.structs.replace(maker.head, shape=VERSION))
        self._lengths: list[tuple[int, int]] = []
        self._offset = 0
        self._run: list[Block] | None = None
        self._run_began = (0, sha256())
        self._tally = _Tally(tree)

    def take_parcel(self, parcel: Parcel) -> None:
        """Append what came of some sources; a giant file, and links without their file, are read here."""
        if not parcel.packed:
            self._take_giant(parcel.sources[0])
            return
        results = parcel.unpack()
        alone = self._tally.standing_alone(results, parcel.sources)
        for again in self._maker.make_all(cut(alone)):
            self.take_parcel(again)
        for result in () if alone else results:
            self.take(self._tally.settle(result) if parcel.sources else result)

    def _take_giant(self, source: Source) -> None:
        with closing(in_order(self._maker.make, self._maker.run(source))) as results:
            for result in results:
                self.take(result)

    def take(self, result: Result) -> None:
        """Append one result."""
        if isinstance(result, Made):
            self._append(result)
        elif isinstance(result, RunBegins):
            self._run = []
            self._run_began = (self._offset, self._sha256.copy())
        elif isinstance(result, RunEnds):
            self._end_run(result)
        else:
            self._go_back(result)

    def _append(self, made: Made) -> None:
        if made.content:
            self._advance(made.content)
        self._tally.note(made.problems)
        self._tally.lose(made.replaced)
        if not made.packed:
            return
        packed, block = made.packed, made.block
        if not self._offset and (mark := self._maker.form.mark(VERSION)):
            packed += mark
            block = msgspec.structs.replace(block, length=len(packed), digest=sha256(packed).digest())
        self._write(packed)
        if self._run is None:
            self._record(block)
        else:
            self._run.append(block)

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

    def _end_run(self, ends: RunEnds) -> None:
        blocks = self._run or []
        self._run = None
        if ends.problem:
            self._tally.note((ends.problem,))
        if ends.replaced:
            self._tally.lose((ends.entry.path,))
        blocks[0] = msgspec.structs.replace(blocks[0], entries=(ends.entry,))
        for block in blocks:
            self._record(block)

    def _go_back(self, fails: RunFails) -> None:
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
        trailer = Trailer(self._offset, len(index), sha256(index).digest(), VERSION)
        for part in self._maker.form.tail(trailer, index, self._lengths):
            self._write(part)
        return Written(self._offset, self._sha256.digest(), trailer.digest, summary)


class _Tally:
    """What the archive holds so far, and the files that hard links stand for."""

    def __init__(self, tree: Tree) -> None:
        self._root = tree.root
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

    def lose(self, paths: Iterable[bytes]) -> None:
        """Let no hard link stand for these: they are no longer the files that the scan saw."""
        self._lost.update(paths)

    def standing_alone(self, results: Iterable[Result], sources: tuple[Source, ...]) -> list[Source]:
        """Return the sources of a block with each hard link as a file whose own file is not in the archive.

        Nothing where there is no such link; then the results of the block stand.
        """
        lost = self._lost.union(*(_lost_in(made) for made in results if isinstance(made, Made)))
        if not any(source.kind == "hardlink" and source.link in lost for source in sources):
            return []
        self._lost = lost
        return [
            as_file(self._root, source) if source.kind == "hardlink" and source.link in lost else source
            for source in sources
        ]

    def settle(self, result: Result) -> Result:
        """Give each hard link of a block the digest of its file."""
        if not isinstance(result, Made):
            return result
        entries = tuple(map(self._with_digest, result.block.entries))
        return msgspec.structs.replace(result, block=msgspec.structs.replace(result.block, entries=entries))

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


def _lost_in(made: Made) -> set[bytes]:
    """Return the files of a block that no hard link may stand for."""
    return {problem.path for problem in made.problems if problem.kind != "changed"}.union(made.replaced)
