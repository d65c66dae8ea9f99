"""Proving an archive: every byte of it against its index, every file against its digest."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from hashlib import sha1, sha256
from typing import Protocol

from backup_lib.archive.block import LARGE
from backup_lib.archive.pool import in_order
from backup_lib.archive.reader import PlacedBlock, Reader
from backup_lib.archive.salvage import whole_entries
from backup_lib.archive.tar import END, RECORD, commit_header
from backup_lib.errors import DamageError
from backup_lib.model import Entry
from backup_lib.progress import Advance

__all__ = ["Checked", "Flaw", "check_archive"]


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
    blobs: dict[bytes, str]
    """The git blob id of each file that is recorded as committed, and sound."""


class _Hash(Protocol):
    def update(self, data: bytes, /) -> None: ...
    def digest(self) -> bytes: ...
    def hexdigest(self) -> str: ...


@dataclass(frozen=True, slots=True)
class _Read:
    """One block, read and judged."""

    placed: PlacedBlock
    packed: bytes
    data: bytes
    flaws: tuple[Flaw, ...]
    sound: tuple[tuple[Entry, str], ...] = ()
    """The entries of it that are whole, with the blob id where it is asked for."""
    runs_on: Entry | None = None
    begun: bytes = b""
    """What the block holds of the content of `runs_on`."""


def check_archive(reader: Reader, advance: Advance, blob_hash: str | None = None) -> Checked:
    """Read an archive whole and compare it with its index, block by block and file by file.

    `blob_hash` is git's (``sha1`` or ``sha256``); with it the blob ids of committed files are made.
    """
    checker = _Checker(reader, blob_hash)
    with closing(in_order(checker.read, reader.blocks())) as results:
        for read in results:
            checker.take(read)
            advance(len(read.packed))
    return checker.finish()


class _Checker:
    def __init__(self, reader: Reader, blob_hash: str | None) -> None:
        self._reader = reader
        self._blob_hash = {"sha1": sha1, "sha256": sha256}.get(blob_hash or "")
        self._top = reader.header.project.encode()
        self._whole = sha256()
        self._flaws: list[Flaw] = []
        self._blobs: dict[bytes, str] = {}
        self._files = self._bytes = self._entries = 0
        self._run: _Run | None = None
        self._last: bytes = b""

    # in threads

    def read(self, placed: PlacedBlock) -> _Read:
        """Read one block and judge what begins in it."""
        packed = self._reader.packed(placed)
        if sha256(packed).digest() != placed.block.digest:
            return self._damaged(placed, packed, "its bytes do not match their digest")
        try:
            data = self._reader.form.unpack(packed, placed.block.size)
            return self._sound(placed, packed, data)
        except DamageError as error:
            return self._damaged(placed, packed, str(error))

    def _sound(self, placed: PlacedBlock, packed: bytes, data: bytes) -> _Read:
        if not placed.block.entries:
            return _Read(placed, packed, data, ())
        whole: list[tuple[Entry, str]] = []
        flaws: list[Flaw] = []
        for entry, member, content in self._reader.members(placed, data):
            if len(content) < member.size:
                return _Read(placed, packed, data, tuple(flaws), tuple(whole), entry, bytes(content))
            if entry.kind == "file" and sha256(content).digest() != entry.digest:
                flaws.append(Flaw(entry.path, "its content does not match its SHA-256"))
            else:
                whole.append((entry, self._blob(entry, content)))
        return _Read(placed, packed, data, tuple(flaws), tuple(whole))

    def _blob(self, entry: Entry, content: memoryview | bytes) -> str:
        if self._blob_hash is None or entry.state != "committed" or entry.kind not in ("file", "symlink"):
            return ""
        data = entry.link if entry.kind == "symlink" else content
        return self._blob_hash(b"blob %d\0" % len(data) + data).hexdigest()

    def _damaged(self, placed: PlacedBlock, packed: bytes, what: str) -> _Read:
        """Judge a damaged block: name the files that cannot be read from it any more."""
        data = self._reader.form.salvage(packed, placed.block.size)
        sound = [entry for entry, _, _ in whole_entries(placed.block.entries, data, self._top)]
        kept = set(sound)
        flaws = [Flaw(None, f"block {placed.number} at byte {placed.offset}: {what}")]
        flaws += [
            Flaw(entry.path, "damaged: it cannot be read back as it was")
            for entry in placed.block.entries
            if entry not in kept
        ]
        return _Read(placed, packed, data, tuple(flaws), tuple((entry, "") for entry in sound))

    # in order

    def take(self, read: _Read) -> None:
        """Join what was found in one block to what is known of those before it."""
        self._whole.update(read.packed)
        self._flaws += read.flaws
        for entry, blob in read.sound:
            self._count(entry, blob)
        block = read.placed.block
        if block.entries:
            self._end_run()
            self._entries += len(block.entries)
            self._begin_run(read)
        elif read.placed.offset + block.length == self._reader.trailer.offset:
            self._end_run()
            self._expect(read, END, "the end of the tar stream")
        elif self._run:
            self._run.feed(read.data, sound=not read.flaws)
        elif read.placed.number == 0:
            self._expect(read, commit_header(self._reader.header.commit or ""), "the header with the commit")
        else:
            self._flaws.append(Flaw(None, f"block {read.placed.number} holds nothing that the index knows"))
        self._last = read.data

    def _count(self, entry: Entry, blob: str) -> None:
        if entry.digest:
            self._files += 1
            self._bytes += entry.size
        if blob:
            self._blobs[entry.path] = blob

    def _begin_run(self, read: _Read) -> None:
        last = read.placed.block.entries[-1]
        if read.runs_on:
            self._run = _Run(read.runs_on, self._git_hash(read.runs_on))
            self._run.feed(read.begun, sound=True)
        elif read.flaws and last.kind == "file" and last.size > LARGE:
            self._run = _Run(last, None)
            self._run.named = True

    def _git_hash(self, entry: Entry) -> _Hash | None:
        if self._blob_hash is None or entry.state != "committed":
            return None
        return self._blob_hash(b"blob %d\0" % entry.size)

    def _end_run(self) -> None:
        run, self._run = self._run, None
        if run is None or run.named:
            return
        if run.is_whole():
            self._count(run.entry, run.blob())
        else:
            self._flaws.append(Flaw(run.entry.path, "its content does not match its SHA-256"))

    def _expect(self, read: _Read, data: bytes, what: str) -> None:
        if not read.flaws and read.data != data:
            self._flaws.append(Flaw(None, f"block {read.placed.number} is not {what}"))

    def finish(self) -> Checked:
        """Judge what follows the blocks, and the sums."""
        reader = self._reader
        if self._last != END and not self._flaws:
            self._flaws.append(Flaw(None, "the end of the tar stream is missing"))
        after = reader.read_at(reader.trailer.offset, reader.size - reader.trailer.offset)
        self._whole.update(after)
        if after != reader.tail():
            self._flaws.append(Flaw(None, "what carries the index is damaged, or something follows it"))
        self._flaws += _disordered(reader)
        counts = reader.summary.counts
        if not self._flaws and (self._entries, self._files, self._bytes) != (
            counts.entries,
            counts.files,
            counts.bytes,
        ):
            self._flaws.append(Flaw(None, "the index does not hold as much as it says"))
        return Checked(self._whole.digest(), self._files, self._bytes, tuple(self._flaws), self._blobs)


def _disordered(reader: Reader) -> Iterator[Flaw]:
    """Find entries that are out of order or twice there, with names none may have, or links to nothing."""
    linked = {entry.link for entry in reader.entries() if entry.kind == "hardlink"}
    files: dict[bytes, tuple[int, bytes]] = {}
    before: list[bytes] = []
    for number, entry in enumerate(reader.entries()):
        parts = entry.path.split(b"/") if entry.path else []
        if (number and parts <= before) or b".." in parts or b"." in parts or (number and b"" in parts):
            yield Flaw(entry.path, "it stands where no entry of that name belongs")
        before = parts
        if entry.path in linked and entry.kind == "file":
            files[entry.path] = (entry.size, entry.digest)
        if entry.kind == "hardlink" and files.get(entry.link) != (entry.size, entry.digest):
            yield Flaw(entry.path, "it is not the file that it is a hard link to")


class _Run:
    """A large file, hashed over the blocks it runs over."""

    def __init__(self, entry: Entry, git_hash: _Hash | None) -> None:
        self.entry = entry
        self.named = False
        """True where it was already named as damaged."""
        self._sha256 = sha256()
        self._git_hash = git_hash
        self._left = entry.size
        self._sound = True

    def feed(self, data: bytes, sound: bool) -> None:
        """Take the part of the content that one block holds, and the padding after it."""
        content, rest = data[: self._left], data[self._left :]
        self._sha256.update(content)
        if self._git_hash:
            self._git_hash.update(content)
        self._left -= len(content)
        self._sound = self._sound and sound and len(rest) < RECORD and not any(rest)

    def is_whole(self) -> bool:
        """Whether all of it was there and matched."""
        return self._sound and not self._left and self._sha256.digest() == self.entry.digest

    def blob(self) -> str:
        """Return its git blob id, or "" where none is asked for."""
        return self._git_hash.hexdigest() if self._git_hash else ""
