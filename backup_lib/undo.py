"""undo: take back what a release made, and only where it is unchanged. Look at all of it, then act.

The journal says what the release set out to make. A release that made only a part of it is taken back, too,
and an undo that was cut short goes on where it stopped.
"""

from __future__ import annotations

import os
from collections.abc import Set
from dataclasses import dataclass
from hashlib import file_digest
from typing import Literal

import msgspec

from backup_lib.archive.reader import described
from backup_lib.clock import now
from backup_lib.errors import (
    BackupError,
    DamageError,
    NoSuchBackupError,
    ProjectError,
    SettingsError,
    StoreError,
    printable,
    translated,
)
from backup_lib.project.changelog import Insertion, begins
from backup_lib.project.edit import Began, Edit, Noted, plan_removal, sweep
from backup_lib.project.git import Repository, TagObject
from backup_lib.project.version import tag_name
from backup_lib.rewriting import remake_manifest
from backup_lib.store.journal import Journal, journal_of
from backup_lib.store.layout import SUMS
from backup_lib.store.ledger import Record
from backup_lib.store.listing import Backup
from backup_lib.tag import is_tag_of
from backup_lib.text import as_text
from backup_lib.workplace import Workplace

__all__ = ["TakenBack", "Undone", "undo_release"]

When = Literal["now", "would", "before", "never"]


class TakenBack(msgspec.Struct, frozen=True):
    """What becomes of one thing that a release makes."""

    step: Literal["changelog", "backup", "aside", "tag"]
    what: str
    when: When
    """`before`: it was gone already; `never`: the release did not make it."""


class Undone(msgspec.Struct, frozen=True):
    """A release that is taken back, or would be."""

    version: str
    steps: tuple[TakenBack, ...]
    """In the order in which they are done; none where an earlier undo did them all."""


@dataclass(frozen=True, slots=True)
class _Case:
    """A release to take back."""

    place: Workplace
    version: str
    journal: Journal


@dataclass(frozen=True, slots=True)
class _Found:
    """What is there of what the release made, all of it unchanged."""

    edit: Edit | None
    """What takes its lines out of the changelog."""
    archives: tuple[str, ...]
    """Paths below the store of those that are there."""
    gone: tuple[str, ...]
    """Those that somebody took away, of which the ledger still speaks."""
    tag: TagObject | None
    asides: tuple[tuple[str, str], ...]
    """What was moved aside and gets its name back: both paths below the store."""

    @property
    def is_nothing(self) -> bool:
        """Whether there is nothing of it any more."""
        return not (self.edit or self.archives or self.gone or self.tag or self.asides)


def undo_release(place: Workplace, given: str | None) -> Undone:
    """Take back the release of a version, the last thing first.

    Raises `BackupError`: the reason why nothing is taken back, or why not all could be; then the next run
    goes on from there.
    """
    if given is None:
        raise SettingsError("--undo takes no version by itself; say which one with --version")
    version = place.version(given)
    _refuse_unknown(place, version)
    if place.dry_run:
        with place.store.reading("release"):
            case = _case(place, version)
            return _told(case, _look(case), "would")
    with place.store.writing("release"):
        case = _case(place, version)
        found = _look(case)
        if not (case.journal.taken_back and found.is_nothing):
            _act(case, found)
    return _told(case, found, "now")


def _case(place: Workplace, version: str) -> _Case:
    return _Case(place, version, journal_of(place.store.ledger(), version))


def _refuse_unknown(place: Workplace, version: str) -> None:
    journal = _case(place, version).journal
    if not journal.is_empty:
        return
    if any(backup.version == version for backup in place.store.backups()):
        raise BackupError(
            f"the ledger knows of no release that made v{version}, so nothing is taken back; "
            "see git tag --delete and invoke clean"
        )
    raise NoSuchBackupError(
        f"no release of v{version} is in {printable(place.store.path)}, so there is nothing to take back"
    )


# --- looking


def _look(case: _Case) -> _Found:
    """Return what is to go; raises `BackupError` where any of it is not what the release made."""
    there, gone = _archives(case)
    return _Found(_edit(case), there, gone, _tag(case), _asides(case, {*there, *gone}))


def _asides(case: _Case, going: Set[str]) -> tuple[tuple[str, str], ...]:
    """Return what the release moved aside first from each name, as far as it is there and the name gets free.

    The sums of the store stay as long as anything else is published there.
    """
    store = case.place.store
    moved = {record.archive: record.note for record in reversed(case.journal.asides)}
    if set(store.ledger().standing()) - going:
        moved.pop(SUMS, None)
    return tuple((name, aside) for name, aside in moved.items() if store.can_come_back(name, aside))


def _edit(case: _Case) -> Edit | None:
    notes = case.journal.notes
    if not notes:
        return None
    changelog = case.place.settings.changelog
    if other := [note.file for note in notes if note.file != changelog]:
        raise SettingsError(
            f"the release is noted in {printable(other[-1])}, "
            f"but backup.changelog is {printable(changelog)}; set that back first"
        )
    noted = [Noted(_inserted(note), as_text(note.archive.rpartition("/")[2])) for note in notes]
    return plan_removal(case.place.changelog, noted, _began(case))


def _inserted(note: Record) -> Insertion:
    return Insertion(note.lines, note.replaced)


def _began(case: _Case) -> Began:
    """Return what the changelog owes to this release, or to one that was taken back before this one."""
    ledger = case.place.store.ledger()
    for _, note in reversed(ledger.records):
        if note.act == "note" and note.file == case.place.settings.changelog and begins(_inserted(note)):
            is_back = note.version == case.version or journal_of(ledger, note.version or "").taken_back
            return "nothing" if not is_back else "file" if note.made else "title"
    return "nothing"


def _archives(case: _Case) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the archives of the release that the ledger has as published: those there, those gone."""
    store = case.place.store
    ledger, held = store.ledger(), {backup.name: backup for backup in store.backups()}
    ours = {(intent.archive, intent.sha256) for intent in case.journal.archives}
    standing = [
        record
        for name in dict.fromkeys(intent.archive for intent in case.journal.archives)
        if ledger.stands(name) and ((record := ledger.published(name)[-1]).archive, record.sha256) in ours
    ]
    there = [record for record in standing if record.archive in held]
    for record in there:
        _refuse_changed(held[record.archive], record)
    gone = [record.archive for record in standing if record.archive not in held]
    for archive in gone:
        if os.path.lexists(path := store.path / archive):
            raise StoreError(
                f"{printable(path)} is not where it was published, but linked; first remove it yourself"
            )
    return tuple(record.archive for record in there), tuple(gone)


def _refuse_changed(backup: Backup, record: Record) -> None:
    """Refuse what is not the very archive that was published, by its bytes and by the index in it."""
    with (
        translated(StoreError, "reading the backup", folder=backup.archive),
        described(backup.archive) as description,
        backup.archive.open("rb") as file,
    ):
        found = file_digest(file, "sha256").hexdigest()
    if found != record.sha256:
        raise DamageError(
            f"{printable(backup.name)} is not as the release published it: its SHA-256 is {found}, "
            f"not {record.sha256}; see invoke verify, and remove it yourself if it is of no use"
        )
    if description is None or description.index != record.index:
        raise DamageError(
            f"{printable(backup.name)} was not made here, whatever the ledger says; "
            "if it is of no use, remove it yourself"
        )


def _tag(case: _Case) -> TagObject | None:
    if not case.journal.tags:
        return None
    repository = case.place.repository
    if repository is None:
        raise ProjectError(f"{case.place.root} is not in a git repository, but the release made a tag in one")
    tag = tag_name(case.version)
    found = repository.tag_object(tag)
    if found is None or any(is_tag_of(found, intent) for intent in case.journal.tags):
        return found
    if case.journal.taken_back:
        return None
    at = repository.tag_commit(tag) or found.id
    raise ProjectError(
        f"the tag {tag}, now at {at[:12]}, is not the one that the release made; "
        f"move or delete it yourself first: git tag --delete {tag}"
    )


# --- acting


def _act(case: _Case, found: _Found) -> None:
    place = case.place
    if case.journal.notes:
        sweep(place.changelog)
    if found.edit:
        found.edit.write()
    place.store.remove_archives((*found.archives, *found.gone))
    if not [name for name, aside in found.asides if place.store.bring_back(name, aside)]:
        remake_manifest(place, case.version)
    if found.tag and place.repository:
        _delete_tag(place.repository, tag_name(case.version), found.tag)
    place.store.intend(Record(time=now(), act="undone", archive="", version=case.version))


def _delete_tag(repository: Repository, tag: str, found: TagObject) -> None:
    try:
        repository.delete_tag(tag, found)
    except ProjectError as error:
        raise ProjectError(f"{error}; all else is taken back: mend that and run it again") from error


# --- telling


def _told(case: _Case, found: _Found, done: Literal["now", "would"]) -> Undone:
    journal = case.journal
    if journal.taken_back and found.is_nothing:
        return Undone(case.version, ())

    def when(intents: tuple[Record, ...], is_there: bool) -> When:
        return done if is_there else "before" if intents else "never"

    tag = f"the tag {tag_name(case.version)}" + (f" (it was {found.tag.id})" if found.tag else "")
    archives = [
        *(TakenBack("backup", f"the backup {name}", done) for name in found.archives),
        *(TakenBack("backup", f"the backup {name}", "before") for name in found.gone),
    ]
    none = TakenBack("backup", f"the backup of v{case.version}", when(journal.archives, False))
    return Undone(
        case.version,
        (
            TakenBack(
                "changelog",
                f"the line in {case.place.settings.changelog}",
                when(journal.notes, found.edit is not None),
            ),
            *(archives or [none]),
            *(TakenBack("aside", f"what was moved aside, back to {name}", done) for name, _ in found.asides),
            TakenBack("tag", tag, when(journal.tags, found.tag is not None)),
        ),
    )
