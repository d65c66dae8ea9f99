"""SHA256SUMS: what ``sha256sum`` prints for every archive that the ledger says was published here.

Each line names a file that is there and matches, whatever kills us: it goes before its file is removed or
replaced, and comes once the new file has its name for good. At worst a line is missing, which the next writer
adds. What somebody else removed or changed keeps its line, so that the check fails as it should.
Digests come from the ledger: no archive is read for its line.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from backup_lib import filesystem
from backup_lib.errors import counted, printable
from backup_lib.store.disk import new_file, write_whole
from backup_lib.store.layout import SUMS, is_our_path
from backup_lib.store.ledger import Ledger, Record
from backup_lib.store.lines import numbered
from backup_lib.store.manifest import file_line
from backup_lib.store.theirs import move_aside

__all__ = ["Sums", "drop", "look", "write"]

_DIGEST = re.compile(r"[0-9a-f]{64}")
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True, slots=True)
class Sums:
    """How the sums of a store stand to its ledger."""

    named: frozenset[str]
    """Published archives with their line, as paths below the store."""
    lacking: tuple[str, ...]
    """Those without."""
    has_more: bool
    """Whether there are lines of anything else."""

    @property
    def flaw(self) -> str:
        """What is to be said of it, or ""."""
        if self.lacking:
            lines = counted(len(self.lacking), "archive")
            return f"{SUMS} has no line for {lines}, the first is {printable(self.lacking[0])}"
        return f"{SUMS} has lines of what is not published any more" if self.has_more else ""


def look(store: Path, book: Ledger) -> Sums:
    """Compare the sums with the ledger; those of somebody else have no line. Raises `OSError`."""
    wanted, there = _wanted(book), _lines_there(store, book)
    lacking = _lacking(wanted, there)
    return Sums(frozenset(wanted).difference(lacking), lacking, there not in (None, [], [*wanted.values()]))


def write(store: Path, book: Ledger, tolerant: bool = False) -> list[str]:
    """Let the sums have exactly the lines that the ledger gives; the store must be held alone.

    No archive, no file. Where nothing changes, nothing is written; on a full disk lines may stay missing if
    that is `tolerant`.

    Returns the path below the store of what somebody else had put there, and was moved aside.
    Raises `OSError`.
    """
    wanted, there = _wanted(book), _lines_there(store, book)
    if there == list(wanted.values()) or (there is None and not wanted):
        return []
    asides = []
    if there is None:
        last = book.last("publish")
        asides = [move_aside(store, SUMS, last.version if last else None)]
    _sync_names(store, _lacking(wanted, there))
    try:
        _put(store, list(wanted.values()))
    except OSError as error:
        if not (tolerant and error.errno in _NO_ROOM):
            raise
    else:
        filesystem.sync_folder(store)
    return asides


def drop(store: Path, book: Ledger, archives: Iterable[str]) -> None:
    """Take out the lines of archives that are about to be removed or replaced; raises `OSError`.

    On a full disk all lines go: that takes no room, and none of them is wrong then.
    """
    doomed = {_line(record) for archive in archives for record in book.published(archive)}
    there = _lines_there(store, book) or []
    left = [line for line in there if line not in doomed]
    if left == there:
        return
    try:
        _put(store, left)
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        _put(store, [])
    filesystem.sync_folder(store)  # outside of the try: a sync that failed is not tried again


def _wanted(book: Ledger) -> dict[str, bytes]:
    """Return the line of each archive that stands, in the order of the ledger."""
    going = set(book.being_removed())
    found = {name: _line(book.published(name)[-1]) for name in book.standing() if name not in going}
    return {name: line for name, line in found.items() if line}


def _lacking(wanted: Mapping[str, bytes], there: Iterable[bytes] | None) -> tuple[str, ...]:
    lines = frozenset(there or ())
    return tuple(archive for archive, line in wanted.items() if line not in lines)


def _line(record: Record) -> bytes:
    """Return the line of what was published; nothing where we would not have published that."""
    if _DIGEST.fullmatch(record.sha256) is None or not is_our_path(record.archive):
        return b""
    return file_line(bytes.fromhex(record.sha256), os.fsencode(record.archive))


def _lines_there(store: Path, book: Ledger) -> list[bytes] | None:
    """Return the lines that are there; None where any is not that of an archive ever published here.

    So they are somebody else's, as is what is no regular file.
    """
    path = store / SUMS
    try:
        if not stat.S_ISREG(os.lstat(path).st_mode):
            return None
        with filesystem.open_file(path) as file:
            known = {_line(record) for _, record in book.records if record.act == "publish"} - {b""}
            if os.fstat(file.fileno()).st_size > sum(map(len, known)):
                return None
            lines = [line for _, line in numbered(file)]
    except FileNotFoundError:
        return []
    return lines if known.issuperset(lines) else None


def _sync_names(store: Path, archives: Iterable[str]) -> None:
    """Fsync the folders of archives: a run that was killed may have left names that would not last.

    What somebody else removed has no folder any more.
    """
    for folder in {store, *((store / archive).parent for archive in archives)}:
        with suppress(FileNotFoundError, NotADirectoryError):
            filesystem.sync_folder(folder)


def _put(store: Path, lines: Sequence[bytes]) -> None:
    """Let the file have these lines, in one step; without any it goes. The name is still to be fsynced."""
    if lines:
        with new_file(store, SUMS) as (file, partial):
            write_whole(file, b"".join(lines))
            os.fsync(file.fileno())
            os.replace(partial, store / SUMS)
    else:
        with suppress(FileNotFoundError):
            os.unlink(store / SUMS)
