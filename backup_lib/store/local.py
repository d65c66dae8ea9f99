"""A store in a folder of this machine."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from backup_lib import filesystem
from backup_lib.clock import Instant
from backup_lib.errors import DamageError, NoSuchBackupError, SettingsError, StoreError, printable
from backup_lib.model import Entry, Header
from backup_lib.progress import Silent
from backup_lib.store import ledger, listing, publish, recover, sums
from backup_lib.store.disk import guarded, make_folder
from backup_lib.store.layout import LATEST, MANIFEST, SUMS
from backup_lib.store.ledger import Ledger, Record
from backup_lib.store.listing import Backup
from backup_lib.store.lock import hold
from backup_lib.store.making import (
    absence,
    is_bare,
    is_store,
    make_store,
    refuse_dangling,
    refuse_making,
    write_gitignore,
)
from backup_lib.store.manifest import ArchiveFacts, Facts
from backup_lib.store.publish import DailyDraft, ReleaseDraft
from backup_lib.store.sums import Sums
from backup_lib.store.theirs import (
    Describe,
    bring_back,
    can_come_back,
    is_as_published,
    is_our_manifest,
    undescribed,
)

__all__ = ["UNREADABLE", "LocalStore", "open_store"]

UNREADABLE = "nothing was removed: check the disk, or remove that file yourself"
"""The advice where a clean has to read what the disk does not give."""

_silent = Silent().say
_NO_WRITING = (errno.EROFS, errno.EACCES, errno.EPERM)


def open_store(
    path: str | os.PathLike[str],
    root: Path,
    releasing: bool = False,
    is_new: bool = False,
    describe: Describe = undescribed,
    say: Callable[[str], object] = _silent,
) -> LocalStore:
    """Return the store at `path`, taken from the project's `root` if it is relative; nothing is made yet.

    If a release is at work (`releasing`), the ledger says which archives are its own.
    Outside the project a store is only made if it `is_new`.

    Raises `SettingsError` where no store may be, `StoreError` if it cannot be reached.
    """
    expanded = os.path.expanduser(path)
    if os.fspath(expanded).startswith("~"):
        raise SettingsError(
            f"the store {printable(path)} is in the home of a user that is not there; name a folder"
        )
    named = Path(os.path.abspath(root / expanded))
    with guarded(root, "opening the store"):
        refuse_dangling(named)
        folder = Path(os.path.realpath(named))
    where = printable(folder)
    if folder == root.resolve():
        raise SettingsError(
            f"the store cannot be the project itself: {where}; choose a folder below or beside it"
        )
    if ".git" in folder.parts:
        raise SettingsError(f"the store cannot lie inside a git repository's own folder: {where}")
    if os.path.lexists(folder) and not folder.is_dir():
        raise StoreError(
            f"the store is not a folder: {where}; move it away or choose another with backup.store"
        )
    is_outside = not folder.is_relative_to(root.resolve())
    return LocalStore(folder, releasing, is_outside, is_new, describe, say)


@dataclass(frozen=True, slots=True)
class LocalStore:
    """A folder that holds backups; see `open_store`."""

    path: Path
    releasing: bool = False
    """Whether a release is at work."""
    is_outside: bool = False
    """Whether it lies outside the project."""
    is_new: bool = False
    """Whether one may be made there, though it lies outside."""
    describe: Describe = undescribed
    """How the store asks what the index of an archive says."""
    say: Callable[[str], object] = _silent
    """Told what was moved aside, as a line for a person."""

    @property
    def is_made(self) -> bool:
        """Whether the folder is a store. Raises `StoreError` if that cannot be seen."""
        with guarded(self.path, "opening the store"):
            return is_store(self.path)

    def refuse_absent(self) -> None:
        """Refuse a folder outside the project that is no store and holds no backup; raises `StoreError`."""
        if self.is_outside and not self.is_made and not self.backups():
            raise StoreError(absence(self.path))

    def refuse(self, header: Header, made: Instant) -> None:
        """Refuse what cannot become a backup in this store, before anything is written.

        Raises `StoreError` if no store may be made there, `SettingsError` for what can have no name.
        """
        with guarded(self.path, "opening the store"):
            refuse_making(self.path, self.is_outside, self.is_new)
        publish.refuse_names(header, made)

    @contextmanager
    def writing(self, doing: str) -> Iterator[None]:
        """Hold the store alone while the body runs, made if need be, what a crash cut short finished first.

        At the end ``SHA256SUMS`` has a line for each archive that is published.
        Raises `StoreHeldError`, `StoreError`.
        """
        with guarded(
            self.path, "making the store", "choose a place that can be written to with backup.store"
        ):
            refuse_making(self.path, self.is_outside, self.is_new)
            make_folder(self.path)
        with hold(self.path, shared=False, doing=doing):
            with guarded(self.path, "recovering the store"):
                make_store(self.path)
                self.report_asides(recover.recover(self.path, self.describe))
            yield
            with guarded(self.path, f"all is done, but writing {SUMS}", "the next backup or clean writes it"):
                self.report_asides(sums.write(self.path, ledger.read(self.path)))

    def reading(self, doing: str) -> AbstractContextManager[None]:
        """Hold the store with other readers while the body runs; nothing is made in what is no store."""
        return hold(self.path, shared=True, doing=doing, makes=self.is_made)

    def is_bare(self) -> bool:
        """Report whether nobody has put anything into the store yet; within `writing`."""
        with guarded(self.path, "listing the store"):
            return is_bare(self.path)

    def write_gitignore(self) -> None:
        """Let git pass over the store; within `writing`. A ``.gitignore`` that is there stays as it is."""
        with guarded(self.path, "writing .gitignore into the store"):
            write_gitignore(self.path)

    def new_release(self, header: Header, made: Instant) -> AbstractContextManager[ReleaseDraft]:
        """Open a new archive of a version; within `writing`."""
        return publish.new_release(self.path, header, made, self.describe, self.releasing)

    def new_daily(self, header: Header, made: Instant) -> AbstractContextManager[DailyDraft]:
        """Open a new archive of a day; within `writing`."""
        return publish.new_daily(self.path, header, made, self.describe)

    def ledger(self) -> Ledger:
        """Read the ledger."""
        with guarded(self.path, "reading the ledger"):
            return ledger.read(self.path)

    def record(self, *records: Record) -> str:
        """Add to the ledger; return "", or why it cannot take that: the store can only be read, or is none.

        A store that can only be read fails a release. What is proved is synced first: a run that was killed
        may have left names that would not outlast a power cut.
        """
        if not self.is_made:
            return f"{printable(self.path)} holds no ledger"
        proved = [self.path / record.archive for record in records if record.act == "prove"]
        with guarded(self.path, "writing to the ledger"):
            for folder in {self.path, *(archive.parent for archive in proved)} if proved else ():
                filesystem.sync_folder(folder)
            try:
                ledger.append(self.path, *records)
            except OSError as error:
                if error.errno in _NO_WRITING and not self.releasing:
                    return "the store can only be read"
                raise
        return ""

    def intend(self, record: Record) -> None:
        """Put into the ledger what is about to be done; within `writing`. Raises `StoreError`."""
        with guarded(self.path, "writing to the ledger", "mend that and run it again"):
            ledger.append(self.path, record)

    def backups(self) -> list[Backup]:
        """Return what the store holds, oldest first."""
        with guarded(self.path, "listing the store"):
            return listing.backups(self.path, ledger.read(self.path))

    def missing(self) -> tuple[str, ...]:
        """Return the archives that should be there and are not, as paths below the store."""
        with guarded(self.path, "listing the store"):
            return listing.missing(self.path, ledger.read(self.path))

    def sums(self) -> Sums:
        """Compare ``SHA256SUMS`` with the ledger."""
        with guarded(self.path, f"reading {SUMS}"):
            return sums.look(self.path, ledger.read(self.path))

    def find(self, version: str | None = None) -> Backup:
        """Return the newest backup of a version or day, or of all but safety backups (None or ``latest``).

        Raises `NoSuchBackupError` saying what there is, `DamageError` where what there was is gone,
        `StoreError` if there is no store.
        """
        try:
            return listing.find(self.path, self.backups(), version)
        except NoSuchBackupError:
            self.refuse_absent()
            for name in self.missing():
                if version in (None, LATEST) or name.startswith((f"v{version}/", f"{version}.")):
                    raise DamageError(f"{name} was published, but is not there any more") from None
            raise

    def remove(self, backups: Iterable[Backup]) -> None:
        """Delete backups of ours; within `writing`.

        A crash leaves each whole or gone; of one that is gone, the next `writing` deletes the manifest.
        """
        self.remove_archives(backup.name for backup in backups)

    def remove_archives(self, names: Iterable[str]) -> None:
        """Delete archives by their paths below the store, and all that speaks of them, like `remove`.

        One that is there no more is fine.
        """
        with guarded(self.path, "removing backups", "the next backup or clean makes up for it"):
            self.report_asides(recover.remove(self.path, names, self.describe))

    def report_asides(self, asides: Iterable[str]) -> None:
        """Say what was moved aside: paths below the store."""
        for aside in asides:
            self.say(f"A file in the way was not made here; it was moved to {printable(self.path / aside)}")

    def rewrite_manifest(self, backup: Backup, facts: Facts, entries: Iterable[Entry]) -> None:
        """Write the manifest of a backup again; within `writing`. What is there and not ours is moved aside.

        Raises `StoreError`, and `DamageError` where the `entries` cannot be read.
        """
        folder = backup.archive.parent
        with guarded(self.path, "writing the manifest"):
            ours = False
            with suppress(OSError):  # what a disk cannot read any more is to be written again
                ours = is_our_manifest(folder, ledger.read(self.path), self.describe)
            aside = publish.rewrite_manifest(self.path, folder, facts, entries, ours)
            self.report_asides([aside] if aside else [])

    def can_come_back(self, name: str, aside: str) -> bool:
        """Report whether what was moved aside from `name` is there; both are paths below the store."""
        return can_come_back(self.path, name, aside)

    def bring_back(self, name: str, aside: str) -> bool:
        """Give what was moved aside its name back, if that is free; within `writing`."""
        with guarded(self.path, "moving what is not ours back"):
            return bring_back(self.path, name, aside)

    def is_as_published(self, backup: Backup) -> bool:
        """Report whether an archive is what was published here under its name, by reading all of it.

        Raises `StoreError` if it cannot be read: then nothing can be said of it.
        """
        book = self.ledger()
        with (
            guarded(self.path, f"reading {printable(backup.name)}", UNREADABLE),
            suppress(FileNotFoundError),
            self.describe(backup.archive) as description,
        ):
            known = {record.index for record in book.published(backup.name)}
            is_ours = description is not None and description.index in known
            return is_ours and is_as_published(self.path, backup.name, book)
        return False

    def expected(self, backup: Backup, index: str = "") -> ArchiveFacts | None:
        """Return what the bytes of a backup should be, from the ledger, else from its manifest.

        A daily backup may have been published several times under its name: the one whose index has the
        digest `index` (hex) counts, without it the one of the same size.

        Raises `DamageError` where only the manifest could tell, and cannot be read.
        """
        published = self.ledger().published(backup.name)
        fitting = published[-1:] if backup.kind == "release" else published[-2:]
        for record in reversed(fitting):
            same = record.index == index if index else record.size == backup.size
            if same or backup.kind == "release":
                return ArchiveFacts(backup.archive.name, record.size, record.sha256, record.index)
        return None if published else self._named_by_manifest(backup)

    def knows(self, index: str) -> bool:
        """Whether an archive with that index (SHA-256, hex) was published here: it vouches for the rest."""
        records = self.ledger().records if index else ()
        return any(record.act == "publish" and record.index == index for _, record in records)

    def _named_by_manifest(self, backup: Backup) -> ArchiveFacts | None:
        if backup.kind == "daily":
            return None
        try:
            facts = listing.facts_at(backup.archive.parent / MANIFEST)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise DamageError(
                f"the manifest {printable(backup.archive.parent / MANIFEST)} cannot be read: {error.strerror}"
            ) from error
        if facts is None or facts.archive != backup.archive.name:
            return None
        return ArchiveFacts(facts.archive, facts.size, facts.sha256, facts.index)

    def manifest_of(self, backup: Backup) -> Path | None:
        """Return the manifest that speaks of a backup.

        That is the one that names it; one that names none, foreign or damaged, speaks of the
        newest in its folder.
        """
        path = backup.archive.parent / MANIFEST
        if "/" not in backup.name or not os.path.lexists(path):
            return None
        facts = listing.read_facts(path)
        if facts is not None:
            return path if facts.archive == backup.archive.name else None
        beside = [other for other in self.backups() if other.archive.parent == backup.archive.parent]
        return path if beside and beside[-1].name == backup.name else None
