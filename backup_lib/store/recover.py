"""Deleting backups, and finishing what a crash cut short; the store must be held alone for both."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from msgspec.structs import replace

from backup_lib import filesystem
from backup_lib.clock import now
from backup_lib.store import ledger, sums
from backup_lib.store.disk import discard, is_file
from backup_lib.store.layout import (
    MANIFEST,
    is_archive_path,
    is_our_path,
    parse_archive_name,
    parse_daily_name,
    parse_version_folder,
    partial_of,
)
from backup_lib.store.ledger import Ledger, Record
from backup_lib.store.listing import Folder, facts_at, folders, read_facts
from backup_lib.store.manifest import Facts
from backup_lib.store.publish import point_latest, publication
from backup_lib.store.theirs import Describe, is_as_published, is_our_manifest, move_aside, sha256_of

__all__ = ["recover", "remove"]


def remove(store: Path, archives: Iterable[str], describe: Describe) -> list[str]:
    """Delete archives of ours by their paths below the store, and the manifests that name them.

    The caller has seen that each is what was published here, or is gone already. The intent is written first:
    after it, what a manifest names may be gone.

    Returns the paths below the store of manifests that say more than we wrote, and were moved aside.
    Raises `OSError`.
    """
    doomed = tuple(archives)
    book = ledger.read(store)
    if doomed:
        ledger.append(store, *(_intent(book, archive) for archive in doomed))
    sums.drop(store, book, doomed)
    asides = []
    for archive in doomed:
        path = store / archive
        if _is_in_place(store, archive):
            _unlink(path)
            filesystem.sync_folder(path.parent)
        asides += _finish_removal(store, archive, describe)
    return asides


def _intent(book: Ledger, archive: str) -> Record:
    published = book.published(archive)
    digest = published[-1].sha256 if published else ""
    return Record(time=now(), act="remove", archive=archive, sha256=digest)


def _is_in_place(store: Path, archive: str) -> bool:
    """Report whether a path leads to where archives of ours stand, and through no link."""
    folder = (store / archive).parent
    if not is_archive_path(archive) or not folder.is_dir():
        return False
    return folder == store or (parse_version_folder(folder.name) is not None and not folder.is_symlink())


def _finish_removal(store: Path, archive: str, describe: Describe) -> list[str]:
    """Delete the manifest of an archive that is gone; if it says more than we wrote, move it aside."""
    folder, asides = (store / archive).parent, []
    if folder != store and _is_in_place(store, archive):
        book = ledger.read(store)
        facts = _manifest_in(folder)
        if facts and f"{folder.name}/{facts.archive}" == archive:
            if is_our_manifest(folder, book, describe):
                _unlink(folder / MANIFEST)
                filesystem.sync_folder(folder)
            else:
                asides.append(move_aside(store, f"{folder.name}/{MANIFEST}", facts.version))
        _tidy(folder, book)
        filesystem.sync_folder(store)
    ledger.append(store, Record(time=now(), act="removed", archive=archive))
    return asides


def _manifest_in(folder: Path) -> Facts | None:
    """Return what a manifest of ours says; raises `OSError` if it cannot be read: it may name what goes."""
    with suppress(FileNotFoundError):
        if stat.S_ISREG(os.lstat(folder / MANIFEST).st_mode):
            return facts_at(folder / MANIFEST)
    return None


def _unlink(path: Path) -> None:
    with suppress(FileNotFoundError):
        os.unlink(path)


def recover(store: Path, describe: Describe) -> list[str]:
    """Finish publishings that a crash cut short, and removals whose archive is gone; sweep what else it left.

    No line of a ledger deletes an archive: one whose removal was begun and not done stays a backup.

    Returns the paths below the store of what was not ours, and was moved aside. Raises `OSError`.
    """
    book, asides = ledger.read(store), []
    for archive in book.being_removed():
        if os.path.lexists(store / archive):
            ledger.append(store, Record(time=now(), act="kept", archive=archive))
        else:
            asides += _finish_removal(store, archive, describe)
    top, *below = folders(store, book)
    versions = [folder for folder in below if parse_version_folder(folder.path.name)]
    asides += _finish_daily(top, book)
    _record_standing_days(store, book, describe)
    for folder in versions:
        asides += _finish_release(folder, book, describe)
    _record_unknown(store, book)
    book = ledger.read(store)
    for folder in versions:
        _tidy(folder.path, book)
    return [*asides, *sums.write(store, book, tolerant=True)]


def _finish_daily(top: Folder, book: Ledger) -> Iterator[str]:
    """Give a daily backup that the ledger knows its name; sweep the other temporary files."""
    for partial in top.partials:
        name = partial_of(partial) or ""
        known = book.published(name) if parse_daily_name(name) and book.stands(name) else ()
        path = top.path / partial
        if known and is_file(path, known[-1].size) and sha256_of(path) == known[-1].sha256:
            sums.drop(top.path, book, [name])
            if os.path.lexists(top.path / name) and not is_as_published(top.path, name, book):
                yield move_aside(top.path, name)
            os.replace(path, top.path / name)
            filesystem.sync_folder(top.path)
        else:
            discard(path)


def _record_standing_days(store: Path, book: Ledger, describe: Describe) -> None:
    """Put into the ledger again what stands under the name of a day whose replacement is recorded, but gone.

    Giving it the name failed, and so did taking back the line that says so.
    """
    for name in filter(parse_daily_name, book.standing()):
        newest = book.published(name)[-2:]
        if _is_still(store / name, newest[0], newest[-1], describe):
            ledger.append(store, replace(newest[0], time=now(), note="recovered"))


def _is_still(path: Path, before: Record, last: Record, describe: Describe) -> bool:
    """Report whether an archive is that of before; its index is read only where its size does not tell."""
    if before.sha256 == last.sha256 or not is_file(path, before.size):
        return False
    if before.size != last.size:
        return True
    with describe(path) as description:
        return description is not None and description.index == before.index


def _finish_release(folder: Folder, book: Ledger, describe: Describe) -> Iterator[str]:
    """Commit a whole manifest whose archive has its name already; sweep the other temporary files."""
    for partial in folder.partials:
        path = folder.path / partial
        facts = read_facts(path, whole=True) if partial_of(partial) == MANIFEST else None
        if facts and _is_there(folder, facts) and not book.stands(folder.prefix + facts.archive):
            manifest = folder.path / MANIFEST
            if os.path.lexists(manifest) and not is_our_manifest(folder.path, book, describe):
                yield move_aside(folder.path.parent, folder.prefix + MANIFEST, facts.version)
            os.replace(path, manifest)
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
    unknown: list[tuple[str, str, Facts]] = []
    for folder in folders(store, book):
        facts = _facts_of(folder, book)
        name = folder.prefix + facts.archive if facts else ""
        if facts and _is_there(folder, facts) and not book.stands(name):
            unknown.append((facts.created, name, facts))
    if unknown:
        unknown.sort(key=lambda found: found[:2])
        for _, name, _ in unknown:
            filesystem.sync_folder((store / name).parent)
        ledger.append(store, *(publication(name, facts, "recovered") for _, name, facts in unknown))


def _facts_of(folder: Folder, book: Ledger) -> Facts | None:
    """Return what the manifest in a folder says, if it is ours.

    Raises `OSError` if it cannot be read beside an archive with a name of ours that the ledger does not know:
    it may be what proves that to be published.
    """
    paths = [folder.prefix + name for name in folder.archives] if folder.prefix else []
    has_unknown = any(is_our_path(path) and not book.stands(path) for path in paths)
    return _manifest_in(folder.path) if has_unknown and folder.facts is None else folder.facts


def _tidy(folder: Path, book: Ledger) -> None:
    point_latest(folder, book)
    with suppress(OSError):  # it goes only where it is empty
        os.rmdir(folder)
