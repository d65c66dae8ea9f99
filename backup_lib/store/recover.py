"""Deleting backups, and finishing what a crash cut short; the store must be held alone for both."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from backup_lib import filesystem
from backup_lib.store import ledger
from backup_lib.store.disk import discard, is_file
from backup_lib.store.layout import (
    MANIFEST,
    is_archive_path,
    parse_archive_name,
    parse_daily_name,
    partial_of,
)
from backup_lib.store.ledger import Ledger, Record
from backup_lib.store.listing import Folder, folders, read_facts, scan
from backup_lib.store.lock import now
from backup_lib.store.manifest import Facts
from backup_lib.store.publish import point_latest, publication

__all__ = ["recover", "remove"]


def remove(store: Path, archives: Iterable[str]) -> None:
    """Delete archives by their paths below the store.

    The intent is written first, so that the next run goes on where a crash cut it short.

    Raises `OSError`.
    """
    doomed = tuple(archives)
    if doomed:
        ledger.append(store, *(Record(time=now(), act="remove", archive=archive) for archive in doomed))
    for archive in doomed:
        _erase(store, archive)


def _erase(store: Path, archive: str) -> None:
    path = store / archive
    if path.parent == store and is_archive_path(archive):
        _unlink(path)
        filesystem.sync_folder(store)
    elif is_archive_path(archive) and path.parent.is_dir() and not path.parent.is_symlink():
        _erase_from(path.parent, path.name)
        _tidy(path.parent, ledger.read(store))
        filesystem.sync_folder(store)
    ledger.append(store, Record(time=now(), act="removed", archive=archive))


def _erase_from(folder: Path, name: str) -> None:
    """Delete the manifest first: an archive without one is no backup, but one without an archive is a lie."""
    held = scan(folder, f"{folder.name}/")
    if (held.facts and held.facts.archive == name) or not held.archives.keys() - {name}:
        _unlink(folder / MANIFEST)
        filesystem.sync_folder(folder)
    _unlink(folder / name)
    filesystem.sync_folder(folder)


class _CannotDeleteError(OSError):
    """A file stays."""


def _unlink(path: Path) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise _CannotDeleteError(error.errno, error.strerror, error.filename) from error


def recover(store: Path) -> None:
    """Finish removals and publishings that a crash cut short, and sweep what else it left.

    Raises `OSError`.
    """
    book = ledger.read(store)
    for archive in book.being_removed():
        with suppress(_CannotDeleteError):  # it must not stand in the way of a new backup
            _erase(store, archive)
    top, *versions = folders(store)
    _finish_daily(top, book)
    for folder in versions:
        _finish_release(folder, book)
    _record_unknown(store, book)
    book = ledger.read(store)
    for folder in versions:
        _tidy(folder.path, book)


def _finish_daily(top: Folder, book: Ledger) -> None:
    """Give a daily backup that the ledger knows its name; sweep the other temporary files."""
    for partial in top.partials:
        name = partial_of(partial) or ""
        known = book.published(name) if parse_daily_name(name) and book.stands(name) else ()
        path = top.path / partial
        if known and is_file(path, known[-1].size) and _sha256(path) == known[-1].sha256:
            os.replace(path, top.path / name)
            filesystem.sync_folder(top.path)
        else:
            discard(path)


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _finish_release(folder: Folder, book: Ledger) -> None:
    """Commit a whole manifest whose archive has its name already; sweep the other temporary files."""
    for partial in folder.partials:
        path = folder.path / partial
        facts = read_facts(path, whole=True) if partial_of(partial) == MANIFEST else None
        if facts and _is_there(folder, facts) and not book.stands(folder.prefix + facts.archive):
            os.replace(path, folder.path / MANIFEST)
            filesystem.sync_folder(folder.path)
        else:
            discard(path)


def _is_there(folder: Folder, facts: Facts) -> bool:
    parts = parse_archive_name(facts.archive)
    in_place = parts is not None and f"v{parts.version}/" == folder.prefix
    return in_place and is_file(folder.path / facts.archive, facts.size)


def _record_unknown(store: Path, book: Ledger) -> None:
    """Put into the ledger what a manifest proves to be published, oldest first.

    Whoever gave it its name was perhaps killed before that would outlast a power cut.
    """
    unknown = [
        (folder.facts.created, folder.prefix + folder.facts.archive, folder.facts)
        for folder in folders(store)
        if folder.facts and _is_there(folder, folder.facts) and not book.stands(folder.named() or "")
    ]
    if unknown:
        unknown.sort(key=lambda found: found[:2])
        for _, name, _ in unknown:
            filesystem.sync_folder((store / name).parent)
        ledger.append(store, *(publication(name, facts, "recovered") for _, name, facts in unknown))


def _tidy(folder: Path, book: Ledger) -> None:
    point_latest(folder, book)
    with suppress(OSError):  # it goes only where it is empty
        os.rmdir(folder)
