"""Proving an archive: every byte of it against its index, every file against its digest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from hashlib import sha1, sha256
from typing import Protocol

from backup_lib.archive.block import LARGE
from backup_lib.archive.order import follows, is_plain, keys_of, misplaced
from backup_lib.archive.pool import in_order, in_processes
from backup_lib.archive.reader import GIANT, WORTH_PROCESSES, PlacedBlock, Reader, Unit, batches
from backup_lib.archive.salvage import whole_entries
from backup_lib.archive.tar import END, commit_header, padding
from backup_lib.errors import DamageError, printable
from backup_lib.model import Entry
from backup_lib.progress import Advance

__all__ = ["Checked", "Flaw", "Listener", "check_archive"]

_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class Flaw:
    """Something in an archive that is not as it should be."""

    path: bytes | None
    """The damaged entry, below the top folder; None where it is the archive itself."""
    what: str


@dataclass(frozen=True, slots=True)
class Checked:
    """An archive read back whole."""

    sha256: bytes
    """Of all its bytes."""
    files: int
    """Files and hard links whose content matched."""
    content: int
    """Bytes of their content."""
    flaws: tuple[Flaw, ...]


class Listener:
    """Who wants to know what an archive holds while it is checked; this one does not."""

    blob_hash: str | None = None
    """git's hash (``sha1`` or ``sha256``), where the blob ids of committed files are wanted."""

    def begin(self) -> None:
        """Do what can be done while the first blocks are read."""

    def digested(self, entries: Sequence[Entry]) -> bytes:  # noqa: ARG002
        """Return what `take` needs of the entries of a block; it may run in another process."""
        return b""

    def take(self, digested: Sequence[bytes], blobs: Sequence[tuple[bytes, str]]) -> None:
        """Take what `digested` returned, in order, and path and blob id of sound files that are committed."""


class _Hash(Protocol):
    def update(self, data: bytes | memoryview, /) -> None: ...
    def digest(self) -> bytes: ...
    def hexdigest(self) -> str: ...


@dataclass(frozen=True, slots=True)
class _Read:
    """One block, read and judged."""

    placed: PlacedBlock
    data: bytes | bytearray
    flaws: tuple[Flaw, ...] = ()
    entries: tuple[Entry, ...] = ()
    """What begins in it."""
    sound: tuple[Entry, ...] = ()
    """Those of them that are whole."""
    blobs: tuple[tuple[bytes, str], ...] = ()
    """Path and blob id of those that are committed, where it is asked for."""
    begun: bytes | None = None
    """What the block holds of its last file, which runs on; None where it does not."""


@dataclass(slots=True)
class _Judged:
    """What was found in a stretch of the archive."""

    end: int = 0
    """Where the stretch ends, bytes from the start of the archive."""
    flaws: list[Flaw] = field(default_factory=list)
    files: int = 0
    content: int = 0
    entries: int = 0
    blobs: list[tuple[bytes, str]] = field(default_factory=list)
    digested: list[bytes] = field(default_factory=list)
    first: bytes | None = None
    """The sort key of the first path, see `keys_of`."""
    last: bytes | None = None
    last_leaf: bool = False
    """Whether the last one is no folder."""
    is_plain: bool = True
    """Whether `misplaced` finds nothing in its entries, for sure."""
    has_end: bool = False
    """Whether its last block is the end of the tar stream."""

    def count(self, entries: Iterable[Entry], blobs: Iterable[tuple[bytes, str]]) -> None:
        """Count things that are whole."""
        sizes = [entry.size for entry in entries if entry.digest]
        self.files += len(sizes)
        self.content += sum(sizes)
        self.blobs += blobs

    def look_over(self, entries: Sequence[Entry]) -> None:
        """Count the entries of the next block, and look at their names."""
        keys = keys_of(entries)
        self.entries += len(entries)
        self.is_plain = self.is_plain and is_plain(entries, keys)
        self.follow(keys[0], keys[-1], entries[-1].kind != "directory")

    def follow(self, first: bytes, last: bytes, last_leaf: bool) -> None:
        """Note that paths follow, in order from the `first` to the `last` one."""
        if self.last is not None:
            self.is_plain = self.is_plain and follows(first, self.last, self.last_leaf)
        self.first = first if self.first is None else self.first
        self.last, self.last_leaf = last, last_leaf

    def join(self, later: _Judged) -> None:
        """Add what was found in the stretch that comes next, without what a `Listener` wants."""
        self.end = later.end
        self.flaws += later.flaws
        self.files += later.files
        self.content += later.content
        self.entries += later.entries
        self.is_plain = self.is_plain and later.is_plain
        self.has_end = later.has_end
        if later.first is not None and later.last is not None:
            self.follow(later.first, later.last, later.last_leaf)


def check_archive(reader: Reader, advance: Advance, listener: Listener | None = None) -> Checked:
    """Read an archive whole and compare it with its index, block by block and file by file.

    Raises `DamageError` where the index contradicts itself.
    """
    checker = _Checker(reader, listener or Listener())
    pays = reader.trailer.offset >= WORTH_PROCESSES
    with in_processes(checker.judge, batches(reader.units()), pays) as results:
        checker.begin()
        for judged in results:
            for each in [judged] if isinstance(judged, _Judged) else checker.judge_giant(judged):
                advance(checker.take(each))
    return checker.finish()


class _Checker:
    def __init__(self, reader: Reader, listener: Listener) -> None:
        self.listener = listener
        self._reader = reader
        self._blob_hash = {"sha1": sha1, "sha256": sha256}.get(listener.blob_hash or "")
        self._top = reader.header.project.encode()
        self._whole = sha256()
        self._sum = _Judged()
        self._tail = b""

    def begin(self) -> None:
        """Do what can be done while the first blocks are read."""
        self._tail = self._reader.tail()
        self.listener.begin()

    # side by side

    def judge(self, units: tuple[Unit, ...]) -> _Judged | Unit:
        """Judge some units; a giant one is given back for `judge_giant`."""
        if len(units[0]) > GIANT:
            return units[0]
        judged = _Judged()
        for unit in units:
            for end in self._judge_unit(judged, map(self._read, unit)):
                judged.end = end
        return judged

    def _read(self, placed: PlacedBlock) -> _Read:
        """Read one block and judge what begins in it."""
        packed = self._reader.packed(placed)
        entries = placed.entries()
        if sha256(packed).digest() != placed.block.digest:
            return self._damaged(placed, entries, packed, "its bytes do not match their digest")
        try:
            data = self._reader.unpacked(placed, packed)
            return self._sound(placed, entries, data)
        except DamageError as error:
            return self._damaged(placed, entries, packed, str(error))

    def _sound(self, placed: PlacedBlock, entries: tuple[Entry, ...], data: bytes | bytearray) -> _Read:
        if not entries:
            return _Read(placed, data)
        sound: list[Entry] = []
        blobs: list[tuple[bytes, str]] = []
        flaws: list[Flaw] = []
        begun: bytes | None = None
        blob_hash = self._blob_hash
        for entry, _, content in self._reader.found(entries, data):
            if entry.kind == "file":
                if len(content) < entry.size:
                    begun = bytes(content)
                    continue
                if sha256(content).digest() != entry.digest:
                    flaws.append(Flaw(entry.path, "its content does not match its SHA-256"))
                    continue
            sound.append(entry)
            if blob_hash and entry.state == "committed" and entry.kind in ("file", "symlink"):
                data_of_blob = entry.link if entry.kind == "symlink" else content
                blob = blob_hash(b"blob %d\0" % len(data_of_blob))
                blob.update(data_of_blob)
                blobs.append((entry.path, blob.hexdigest()))
        return _Read(placed, data, tuple(flaws), entries, tuple(sound), tuple(blobs), begun)

    def _damaged(self, placed: PlacedBlock, entries: tuple[Entry, ...], packed: bytes, what: str) -> _Read:
        """Judge a damaged block: name the files that cannot be read from it any more."""
        data = self._reader.form.salvage(packed, placed.block.size)
        sound = [entry for entry, _, _ in whole_entries(entries, data, self._top)]
        kept = set(sound)
        flaws = [Flaw(None, f"block {placed.number} at byte {placed.offset}: {what}")]
        flaws += [
            Flaw(entry.path, "damaged: it cannot be read back as it was")
            for entry in entries
            if entry not in kept
        ]
        return _Read(placed, data, tuple(flaws), entries, tuple(sound))

    def _judge_unit(self, judged: _Judged, reads: Iterable[_Read]) -> Iterator[int]:
        """Join what was found in the blocks of a unit; yield where each of them ends."""
        run: _Run | None = None
        for read in reads:
            judged.flaws += read.flaws
            judged.count(read.sound, read.blobs)
            if read.entries:
                judged.look_over(read.entries)
                judged.digested.append(self.listener.digested(read.entries))
                run = self._begun(read)
            elif run:
                run.feed(read.data, sound=not read.flaws)
            else:
                judged.flaws += self._unlike_its_place(read)
            judged.has_end = read.data == END
            yield read.placed.end
        if run is None or run.named:
            return
        if run.is_whole():
            judged.count([run.entry], run.blobs())
        else:
            judged.flaws.append(Flaw(run.entry.path, "its content does not match its SHA-256"))

    def _begun(self, read: _Read) -> _Run | None:
        """Return the large file that runs on after a block."""
        last = read.entries[-1]
        if read.begun is not None:
            run = _Run(last, self._git_hash(last))
            run.feed(read.begun, sound=True)
            return run
        if read.flaws and last.kind == "file" and last.size > LARGE:
            return _Run(last, None, named=True)
        return None

    def _git_hash(self, entry: Entry) -> _Hash | None:
        if self._blob_hash is None or entry.state != "committed":
            return None
        return self._blob_hash(b"blob %d\0" % entry.size)

    def _unlike_its_place(self, read: _Read) -> Iterator[Flaw]:
        """Find a block in which nothing begins, and which is not what has to stand there."""
        placed, reader = read.placed, self._reader
        if placed.end == reader.trailer.offset:
            data, what = END, "the end of the tar stream"
        elif placed.number == 0 and reader.header.commit:
            data, what = commit_header(reader.header.commit), "the header with the commit"
        else:
            yield Flaw(None, f"block {placed.number} holds nothing that the index knows")
            return
        if not read.flaws and read.data != data:
            yield Flaw(None, f"block {placed.number} is not {what}")

    # in order

    def judge_giant(self, unit: Unit) -> Iterator[_Judged]:
        """Judge a giant file, its blocks side by side; yield how far it is after each, and at last all."""
        judged = _Judged()
        with closing(in_order(self._read, unit)) as reads:
            for end in self._judge_unit(judged, reads):
                judged.end = end
                yield _Judged(end)
        yield judged

    def take(self, judged: _Judged) -> int:
        """Join what was found next to what is known; return how many bytes of archive it came to."""
        before = self._sum.end
        for at in range(before, judged.end, _PIECE):
            self._whole.update(self._reader.read_at(at, min(_PIECE, judged.end - at)))
        self._sum.join(judged)
        self.listener.take(judged.digested, judged.blobs)
        return judged.end - before

    def finish(self) -> Checked:
        """Judge what follows the blocks, and the sums."""
        reader, found = self._reader, self._sum
        first = next(reader.blocks(), None)
        if reader.header.commit and first and (not first.is_empty or first.end == reader.trailer.offset):
            found.flaws.append(Flaw(None, "block 0 is not the header with the commit"))
        if not found.has_end and not found.flaws:
            found.flaws.append(Flaw(None, "the end of the tar stream is missing"))
        after = reader.after_blocks()
        self._whole.update(after)
        if after != self._tail:
            found.flaws.append(Flaw(None, "what carries the index is damaged, or something follows it"))
        links = self._lost_links()
        found.flaws += [
            Flaw(link.path, f"lost with {printable(link.link)}, its other name") for link in links
        ]
        if not found.is_plain or found.first:
            found.flaws += [Flaw(path, what) for path, what in misplaced(reader.entries)]
        counts = reader.summary.counts
        if not found.flaws and (found.entries, found.files, found.content) != (
            counts.entries,
            counts.files,
            counts.bytes,
        ):
            found.flaws.append(Flaw(None, "the index does not hold as much as it says"))
        files = found.files - len(links)
        content = found.content - sum(link.size for link in links)
        return Checked(self._whole.digest(), files, content, tuple(found.flaws))

    def _lost_links(self) -> list[Entry]:
        """Return the hard links that are whole, but whose file is lost."""
        lost = {flaw.path for flaw in self._sum.flaws if flaw.path is not None}
        entries = self._reader.entries() if lost else ()
        links = [entry for entry in entries if entry.kind == "hardlink" and entry.link in lost]
        return [link for link in links if link.path not in lost]


class _Run:
    """A large file, hashed over the blocks it runs over."""

    def __init__(self, entry: Entry, git_hash: _Hash | None, named: bool = False) -> None:
        self.entry = entry
        self.named = named
        """True where it was already named as damaged."""
        self._sha256 = sha256()
        self._git_hash = git_hash
        self._left = entry.size
        self._sound = True

    def feed(self, data: bytes | bytearray, sound: bool) -> None:
        """Take the part of the content that one block holds, and the padding after its end."""
        self._sound = self._sound and sound and self._left > 0
        content, rest = memoryview(data)[: self._left], data[self._left :]
        self._sha256.update(content)
        if self._git_hash:
            self._git_hash.update(content)
        self._left -= len(content)
        self._sound = self._sound and rest == (b"" if self._left else padding(self.entry.size))

    def is_whole(self) -> bool:
        """Whether all of it was there and matched."""
        return self._sound and not self._left and self._sha256.digest() == self.entry.digest

    def blobs(self) -> list[tuple[bytes, str]]:
        """Return its path and git blob id, where that is asked for."""
        return [(self.entry.path, self._git_hash.hexdigest())] if self._git_hash else []
