"""The manifest of a backup, written again from the index of its archive."""

from __future__ import annotations

from backup_lib.agreement import is_own_manifest
from backup_lib.archive.reader import open_archive, open_for_reading
from backup_lib.errors import DamageError, StoreError, printable, translated
from backup_lib.store.layout import MANIFEST
from backup_lib.store.listing import Backup
from backup_lib.store.manifest import ArchiveFacts, facts_of
from backup_lib.workplace import Workplace

__all__ = ["remake_manifest", "rewrite_lost_manifest"]


def rewrite_lost_manifest(place: Workplace, version: str | None) -> None:
    """Write the manifest of the newest backup of a version (None: of all) again, if it is lost or edited.

    What is there and says anything else is moved aside. What was done is said.
    Raises `NoSuchBackupError`, `DamageError` where the archive does not give its manifest, `StoreError`.
    """
    store = place.store
    _refuse_without(place, store.find(version))
    with store.reading("verify") if place.dry_run else store.writing("verify"):
        backup = store.find(version)
        _refuse_without(place, backup)
        try:
            was_other = _rewrite(place, backup)
        except DamageError as error:
            raise DamageError(
                f"{backup.name} cannot give its manifest: {error}; see invoke verify"
            ) from error
    done = "is as it should be, and stays"
    if was_other:
        done = "would be written again" if place.dry_run else "is written again"
    place.console.say(f"{printable(backup.archive.parent / MANIFEST)} {done}")


def _refuse_without(place: Workplace, backup: Backup) -> None:
    """Refuse a backup that has no manifest of ours, and a folder that is no store; raises `StoreError`."""
    if backup.kind != "release":
        raise StoreError(f"{printable(backup.name)} has no manifest of ours; name another with --version")
    if not place.store.is_made:
        raise StoreError(
            f"{printable(place.store.path)} holds no ledger.jsonl, so nothing tells what the manifest was; "
            "the next backup makes it a store"
        )


def remake_manifest(place: Workplace, version: str) -> None:
    """Write the manifest of the newest backup left of a version, if any is; within `writing`.

    What is not its own gives way; where it cannot be made, that is said. Raises `StoreError`.
    """
    held = place.store.backups()
    left = [each for each in held if each.kind == "release" and each.version == version]
    try:
        for newest in left[-1:]:
            _rewrite(place, newest)
    except DamageError as error:
        place.console.say(f"{left[-1].name} stays without a manifest: {error}")


def _rewrite(place: Workplace, backup: Backup) -> bool:
    """Let the manifest beside an archive, the newest of its version, be its own; return whether it was not.

    Nothing is written in a dry run; else the store must be held alone.
    Raises `DamageError` where the archive is not the one that was published, `StoreError`.
    """
    expected = place.store.expected(backup)
    with (
        translated(StoreError, "reading the backup", folder=backup.archive),
        open_for_reading(backup.archive) as (read_at, size),
    ):
        reader = open_archive(read_at, size)
        if reader is None:
            raise DamageError("its index is missing")
        index = reader.trailer.digest.hex()
        if expected is None or expected.size != size or expected.index not in ("", index):
            raise DamageError("it is not the archive that was published")
        archive = ArchiveFacts(backup.archive.name, size, expected.sha256, index)
        facts = facts_of(reader.header, reader.summary, archive)
        if is_own_manifest(backup.archive, facts, reader.entries()):
            return False
        if not place.dry_run:
            place.store.rewrite_manifest(backup, facts, reader.entries())
    return True
