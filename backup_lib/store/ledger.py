"""The ledger: every act and every proof in a store, one JSON object a line, only ever added to."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from backup_lib import filesystem
from backup_lib.errors import printable
from backup_lib.store.layout import LEDGER
from backup_lib.store.lines import numbered
from backup_lib.text import as_file_name, as_text

__all__ = ["Act", "Depth", "Ledger", "Record", "Result", "append", "read"]

Act = Literal[
    "publish",
    "prove",
    "restore",
    "clean",
    "remove",
    "removed",
    "kept",
    "aside",
    "tag",
    "release",
    "note",
    "undone",
]
"""`remove` is written before anything is deleted, `removed` when all of it is gone, `kept` if none of it is.

`clean` says how much a clean kept. `aside` is written before what is not ours is moved out of the way.
`tag`, `release` and `note` are written before a release makes a tag, publishes an archive, notes it in the
changelog; `undone` when all that was taken back.
"""
Depth = Literal["quick", "full", "restore"]
Result = Literal["sound", "damaged"]


class Record(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One line. Lines of a later version may say more, and may know other acts."""

    time: str
    """``YYYY-MM-DDTHH:MM:SSZ`` by the machine's clock, which may be wrong: the order of lines decides."""
    act: str
    """An `Act`, or what a later version knows."""
    archive: str
    """Path below the store."""
    sha256: str = ""
    """Hex digest of the archive."""
    size: int = 0
    """Bytes of the archive."""
    index: str = ""
    """Hex digest of the index in the archive; empty where there is none, or it is not known."""
    project: str = ""
    version: str | None = None
    commit: str | None = None
    created: str = ""
    """When the archive was made by the machine's clock, ``YYYY-MM-DDTHH:MM:SSZ``."""
    offset: str = ""
    """What its local time was ahead of UTC then, ``+02:00``: with it, the day that names a daily backup."""
    depth: str = ""
    """A `Depth`, for a proof."""
    result: str = ""
    """A `Result`, for a proof."""
    findings: int = 0
    """Number of things found wrong by a proof."""
    seconds: float = 0.0
    """How long it took."""
    tool: str = ""
    """What wrote the line, with its version."""
    note: str = ""
    """For a restore, where to; for what was moved aside, its new path below the store."""
    keep: int = 0
    """For a clean, how many versions of each kind it kept."""
    tagger: str = ""
    """Who makes a tag and when, as git has it in the tag."""
    file: str = ""
    """The changelog, as the settings name it."""
    made: bool = False
    """Whether the changelog is made for it."""
    lines: str = ""
    """What is put into the changelog."""
    replaced: str = ""
    """The line of the changelog that gives way to it."""


@dataclass(frozen=True, slots=True)
class Ledger:
    """What stands in a ledger."""

    records: tuple[tuple[int, Record], ...]
    """Each with its line number, from 1."""
    unreadable: tuple[int, ...]
    """Numbers of the lines that are no records."""
    lines: int
    _of: dict[str, list[tuple[int, Record]]]

    def published(self, archive: str) -> tuple[Record, ...]:
        """Return the records of publishing `archive`, oldest first."""
        return tuple(record for _, record in self._acts(archive, "publish"))

    def last_publish_order(self, archive: str) -> int:
        """Return the place of `archive` in the order in which backups came, 0 for none.

        It is the line that first published what was published last: the same line again changes no order.
        """
        acts = self._acts(archive, "publish")
        digest = acts[-1][1].sha256 if acts else ""
        same = [line for line, record in acts if digest and record.sha256 == digest]
        return (same or [line for line, _ in acts[-1:]] or [0])[0]

    def stands(self, archive: str) -> bool:
        """Tell whether `archive` was published and not removed since."""
        acts = self._acts(archive, "publish", "removed")
        return bool(acts) and acts[-1][1].act == "publish"

    def standing(self) -> tuple[str, ...]:
        """Return the archives that were published and not removed since, in order of first mention."""
        return tuple(archive for archive in self._of if self.stands(archive))

    def last(self, act: Act) -> Record | None:
        """Return the last record of an act, whatever it was about."""
        return next((record for _, record in reversed(self.records) if record.act == act), None)

    def being_removed(self) -> tuple[str, ...]:
        """Return the archives, all published here, whose removal was begun and not finished.

        An intent with another digest than that of the last publish counts for nothing.
        """
        return tuple(archive for archive in self._of if self._is_being_removed(archive))

    def proof(self, archive: str, sha256: str) -> Record | None:
        """Return the latest proof, of any depth and result, of `archive` with that content."""
        proofs = self._proofs(archive, sha256)
        return proofs[-1] if proofs else None

    def proved(self, archive: str, sha256: str) -> bool:
        """Tell whether `archive` with that content is proved.

        That is: the latest proof of depth ``full`` or ``restore`` was sound,
        and none since, of any depth, was not.
        """
        verdict = False
        for proof in self._proofs(archive, sha256):
            if proof.result != "sound":
                verdict = False
            elif proof.depth in ("full", "restore"):
                verdict = True
        return verdict

    def _proofs(self, archive: str, sha256: str) -> list[Record]:
        return [record for _, record in self._acts(archive, "prove") if record.sha256 == sha256]

    def _is_being_removed(self, archive: str) -> bool:
        acts = [record for _, record in self._acts(archive, "publish", "remove", "removed", "kept")]
        if not acts or acts[-1].act != "remove" or not self.published(archive):
            return False
        return acts[-1].sha256 in ("", self.published(archive)[-1].sha256)

    def _acts(self, archive: str, *acts: Act) -> list[tuple[int, Record]]:
        return [(line, record) for line, record in self._of.get(archive, []) if record.act in acts]


def read(store: Path) -> Ledger:
    """Return the ledger of a store; an empty one where it has none.

    Damage never fails it: lines that are no records, or too long, are counted; a torn last one is not.

    Raises `OSError` where the file is there and cannot be read.
    """
    try:
        with filesystem.open_file(store / LEDGER) as file:
            return _ledger(numbered(file))
    except (FileNotFoundError, NotADirectoryError):
        return _ledger(())


def _ledger(lines: Iterable[tuple[int, bytes]]) -> Ledger:
    decoder = msgspec.json.Decoder(Record)
    records: list[tuple[int, Record]] = []
    unreadable: list[int] = []
    count, line = 0, b"\n"
    for count, line in lines:
        record = _decoded(decoder, line)
        if record is not None:
            records.append((count, record))
        elif line.endswith(b"\n") and not line.isspace():
            unreadable.append(count)
    begun = count + line.endswith(b"\n")  # after the last newline another line begins
    return Ledger(tuple(records), tuple(unreadable), begun, _grouped(records))


def _decoded(decoder: msgspec.json.Decoder[Record], line: bytes) -> Record | None:
    try:
        return _in_names(decoder.decode(line), as_file_name)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None


def _grouped(records: Iterable[tuple[int, Record]]) -> dict[str, list[tuple[int, Record]]]:
    groups: dict[str, list[tuple[int, Record]]] = {}
    for line, record in records:
        groups.setdefault(record.archive, []).append((line, record))
    return groups


def append(store: Path, *records: Record, lasting: bool = True) -> None:
    """Add lines to the ledger of a store, and return, if `lasting`, when they would outlast a power cut.

    After a torn line a new one is begun, so that no record is ever joined to the ruins of another.

    Raises `OSError`.
    """
    path = store / LEDGER
    is_new = not os.path.lexists(path)
    fd = filesystem.open_regular(path, os.O_RDWR | os.O_APPEND | os.O_CREAT)
    try:
        size = os.fstat(fd).st_size
        torn = size > 0 and os.pread(fd, 1, size - 1) != b"\n"
        _write_whole(fd, b"\n" * torn + b"".join(map(_line, records)))
        if lasting:
            os.fsync(fd)
    finally:
        os.close(fd)
    if is_new and lasting:
        filesystem.sync_folder(store)


def _write_whole(fd: int, data: bytes) -> None:
    """Write in one call, which no other process can cut in two; a second one tells why it fell short."""
    written = os.write(fd, data)
    while written < len(data):
        more = os.write(fd, data[written:])
        if more == 0:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        written += more


def _line(record: Record) -> bytes:
    record = _in_names(record, as_text)
    try:
        return msgspec.json.encode(record) + b"\n"
    except UnicodeEncodeError:
        return msgspec.json.encode(_without_surrogates(record)) + b"\n"


def _in_names(record: Record, change: Callable[[str], str]) -> Record:
    """Return a record in which what names files is changed: in the ledger that is text."""
    if record.archive.isascii() and record.note.isascii() and record.file.isascii():
        return record
    archive, note, file = map(change, (record.archive, record.note, record.file))
    return msgspec.structs.replace(record, archive=archive, note=note, file=file)


def _without_surrogates(record: Record) -> Record:
    texts = {name: value for name, value in msgspec.structs.asdict(record).items() if isinstance(value, str)}
    return msgspec.structs.replace(record, **{name: printable(value) for name, value in texts.items()})
