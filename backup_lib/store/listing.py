"""Which backups a store holds."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from backup_lib.errors import DamageError, NoSuchBackupError, printable
from backup_lib.filesystem import open_file
from backup_lib.store.disk import is_file
from backup_lib.store.layout import (
    LATEST,
    MANIFEST,
    PlainFormat,
    archive_format,
    is_our_path,
    is_partial,
    is_safety,
    moment_of,
    parse_archive_name,
    parse_daily_name,
    parse_version_folder,
    partial_of,
)
from backup_lib.store.ledger import Ledger
from backup_lib.store.manifest import Facts, read_manifest

__all__ = [
    "Backup",
    "BackupKind",
    "Folder",
    "backups",
    "facts_at",
    "find",
    "folders",
    "missing",
    "read_facts",
    "scan",
]

_YEAR_1000, _YEAR_9999 = -30_610_224_000, 253_402_300_799
"""First and last second of the years of four digits, in seconds since 1970."""

BackupKind = Literal["release", "daily", "plain"]


@dataclass(frozen=True, slots=True)
class Backup:
    """One archive in a store."""

    archive: Path
    """Where it lies."""
    name: str
    """Path below the store, as in the ledger."""
    kind: BackupKind
    """`release` and `daily` are ours; `plain` was left by something else, and is only deleted by name."""
    project: str
    """Empty where nothing tells it."""
    version: str | None
    """A semantic version; None for a daily backup, or where nothing tells it."""
    created: str
    """``YYYY-MM-DDTHH:MM:SSZ``; of a plain one without a stamp, when the file was last changed."""
    format: PlainFormat
    size: int
    """Bytes."""
    order: int
    """Place in the order in which backups came, whatever the clock said; 0 for a plain one."""

    @property
    def label(self) -> str:
        """What a person calls it: the version, or the date of a daily one, else its file name."""
        daily = parse_daily_name(self.archive.name)
        return self.version or (daily.label if daily else self.name)


@dataclass(frozen=True, slots=True)
class Folder:
    """The store itself or the folder of a version, as it is on disk."""

    path: Path
    prefix: str
    """What comes before a file's name in `Backup.name`: nothing, or ``v1.1.0/``."""
    archives: dict[str, os.stat_result]
    facts: Facts | None
    """What its manifest says, if it has one of ours."""
    partials: tuple[str, ...]

    def named(self) -> str | None:
        """Return the archive that the manifest names, as in the ledger."""
        return self.prefix + self.facts.archive if self.facts else None


def folders(store: Path, ledger: Ledger) -> list[Folder]:
    """Return the store itself, then the folders of versions in it; links are passed over.

    What goes while it is looked at is not there: a listing waits for nobody. A folder of somebody else that
    may not be read is passed over, too: one that holds backups of ours is an error.

    Raises `OSError`.
    """
    if not store.is_dir():
        return []
    with os.scandir(store) as entries:
        names = [entry.name for entry in entries if _is_version_folder(entry)]
    found = [scan(store, "")]
    ours = {name.rpartition("/")[0] for name in ledger.standing()}
    for name in sorted(names):
        try:
            found.append(scan(store / name, f"{name}/"))
        except FileNotFoundError:
            continue
        except PermissionError:
            if name in ours:
                raise
    return found


def _is_version_folder(entry: os.DirEntry[str]) -> bool:
    return entry.name.startswith("v") and entry.is_dir(follow_symlinks=False)


def scan(path: Path, prefix: str) -> Folder:
    """Return what stands in a folder."""
    archives: dict[str, os.stat_result] = {}
    partials: list[str] = []
    with os.scandir(path) as entries:
        for entry in entries:
            if is_partial(entry.name):
                partials.append(entry.name)
            elif archive_format(entry.name) and entry.is_file(follow_symlinks=False):
                with suppress(FileNotFoundError):
                    archives[entry.name] = entry.stat(follow_symlinks=False)
    facts = read_facts(path / MANIFEST) if prefix else None
    return Folder(path, prefix, archives, facts, tuple(sorted(partials)))


def read_facts(path: Path, whole: bool = False) -> Facts | None:
    """Return the facts of a manifest of ours; None where it is foreign, cut, edited, not there or unreadable.

    Its list of files is looked at only where `whole` asks for it.
    """
    with suppress(OSError):
        return facts_at(path, whole)
    return None


def facts_at(path: Path, whole: bool = False) -> Facts | None:
    """Do as `read_facts`; raises `OSError` where nothing is there, or it cannot be read."""
    with open_file(path) as file, suppress(DamageError):
        manifest = read_manifest(file)
        for _ in manifest.files if whole else ():
            pass
        return manifest.facts
    return None


def backups(store: Path, ledger: Ledger) -> list[Backup]:
    """Return what the store holds, oldest first."""
    return sorted(
        (backup for folder in folders(store, ledger) for backup in _backups_of(folder, ledger)), key=_age
    )


def _age(backup: Backup) -> tuple[int, str, int, str]:
    """In the same second ``…Z-10.tar.gz`` came after ``…Z-2.tar.gz``, and that after ``…Z.tar.gz``."""
    return backup.order, backup.created, len(backup.name), backup.name


def _backups_of(folder: Folder, ledger: Ledger) -> Iterator[Backup]:
    for name, status in folder.archives.items():
        path = folder.prefix + name
        is_ours = is_our_path(path) and (ledger.stands(path) or folder.named() == path)
        backup = _backup(folder, name, status, _order(ledger, path) if is_ours else 0)
        yield _with_record(backup, ledger) if backup.kind == "daily" else backup


def _order(ledger: Ledger, archive: str) -> int:
    """Return the place of a backup of ours; what the ledger does not know yet came last."""
    return ledger.last_publish_order(archive) if ledger.stands(archive) else ledger.lines + 1


def _backup(folder: Folder, name: str, status: os.stat_result, order: int) -> Backup:
    parts, daily = parse_archive_name(name), parse_daily_name(name)
    version = parts.version if parts else parse_version_folder(folder.prefix.rstrip("/"))
    kind: BackupKind = "plain" if order == 0 else "release" if folder.prefix else "daily"
    if parts:
        created = moment_of(parts.stamp)
    elif daily:
        created = f"{daily.date}T00:00:00Z"
    else:
        created = _changed(status)
    return Backup(
        archive=folder.path / name,
        name=folder.prefix + name,
        kind=kind,
        project=parts.project if parts else "",
        version=version if folder.prefix else None,
        created=created,
        format=archive_format(name) or "tar",
        size=status.st_size,
        order=order,
    )


def _changed(status: os.stat_result) -> str:
    """Return when a file was last changed; anybody can set a time beyond the calendar: that is its edge."""
    seconds = min(max(status.st_mtime, _YEAR_1000), _YEAR_9999)
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def _with_record(daily: Backup, ledger: Ledger) -> Backup:
    """Take from the ledger what the name of a daily backup does not tell."""
    record = ledger.published(daily.name)[-1]
    return replace(daily, project=record.project, created=record.created or daily.created)


def missing(store: Path, ledger: Ledger) -> tuple[str, ...]:
    """Return the archives that the ledger or a manifest knows and the disk has not.

    One whose removal was begun is not missing: the next writer finishes it.

    A daily backup that waits, proved, for its name is not missing: the next writer gives it.
    """
    held = folders(store, ledger)
    there = {folder.prefix + name for folder in held for name in folder.archives}
    there.update(_waiting(held[0], ledger) if held else ())
    named = [name for folder in held if (name := folder.named())]
    gone = set(ledger.being_removed())
    return tuple(sorted({*ledger.standing(), *named} - there - gone))


def _waiting(top: Folder, ledger: Ledger) -> Iterator[str]:
    for partial in top.partials:
        name = partial_of(partial) or ""
        published = ledger.published(name) if parse_daily_name(name) else ()
        if published and is_file(top.path / partial, published[-1].size):
            yield name


def find(store: Path, held: list[Backup], version: str | None) -> Backup:
    """Return the newest backup of a version, of a day (``YYYY-MM-DD``), or of all but safety backups.

    ``YYYY-MM-DD-2`` is the second one of a day.

    Raises `NoSuchBackupError` saying what there is.
    """
    if version in (None, LATEST):
        fitting = [backup for backup in held if not is_safety(backup.version or "")]
    else:
        fitting = [backup for backup in held if _answers_to(backup, version or "")]
    if fitting:
        return fitting[-1]
    raise NoSuchBackupError(_nothing_found(store, held, version))


def _answers_to(backup: Backup, version: str) -> bool:
    daily = parse_daily_name(backup.name)
    of_day = daily is not None and daily.date == version
    return of_day or backup.label == version or backup.name.startswith(f"v{version}/")


def _nothing_found(store: Path, held: list[Backup], version: str | None) -> str:
    if not held:
        return f"there is no backup in {printable(store)}; make one with: invoke backup"
    labels = ", ".join(dict.fromkeys(printable(backup.label) for backup in held))
    wanted = "backup of a release" if version in (None, LATEST) else f"backup of {printable(version or '')}"
    return f"there is no {wanted} in {printable(store)}; there are: {labels}"
