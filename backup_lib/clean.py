"""clean: remove old backups, never the last sound ones."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import msgspec
import semver

from backup_lib.errors import DamageError, counted
from backup_lib.store.layout import is_safety
from backup_lib.store.listing import Backup
from backup_lib.verify import verify_backup
from backup_lib.workplace import Workplace

__all__ = ["Cleaned", "Fate", "Keep", "clean"]


@dataclass(frozen=True, slots=True)
class Keep:
    """How much is kept."""

    versions: int
    """The newest versions, in semantic order."""
    daily: int | None = None
    """The newest daily backups; None leaves all of them."""


class Fate(msgspec.Struct, frozen=True):
    """What becomes of one backup, and why."""

    archive: str
    kept: bool
    reason: str
    size: int
    """Bytes."""


class Cleaned(msgspec.Struct, frozen=True):
    """What was removed, or would be."""

    fates: tuple[Fate, ...]
    freed: int
    """Bytes."""


def clean(place: Workplace, keep: Keep) -> Cleaned:
    """Remove what is older than what is kept, which is proved first where it has no proof.

    Raises `DamageError` where so many are damaged that fewer than asked for are sound; nothing goes then.
    """
    if place.dry_run or not place.store.path.is_dir():
        return _cleaned(_Cleaning(place).fates(keep))
    with place.store.writing("clean"):
        cleaning = _Cleaning(place)
        fates = cleaning.fates(keep)
        place.store.remove(backup for backup, fate in fates if not fate.kept)
    return _cleaned(fates)


def _cleaned(fates: list[tuple[Backup, Fate]]) -> Cleaned:
    told = tuple(fate for _, fate in fates)
    return Cleaned(told, sum(fate.size for fate in told if not fate.kept))


class _Cleaning:
    """Decides on every backup of a store."""

    def __init__(self, place: Workplace) -> None:
        self._place = place
        self._backups = place.store.backups()
        self._ledger = place.store.ledger()

    def fates(self, keep: Keep) -> list[tuple[Backup, Fate]]:
        """Return every backup with its fate, oldest first."""
        decided = {
            **self._plain(),
            **self._decide(self._by_version(), keep.versions, "version"),
            **self._safety(),
            **self._daily(keep.daily),
        }
        return [(backup, decided[backup.name]) for backup in self._backups]

    def _plain(self) -> dict[str, Fate]:
        return {
            backup.name: _fate(backup, True, "not made by this software")
            for backup in self._backups
            if backup.kind == "plain"
        }

    def _by_version(self) -> list[list[Backup]]:
        """Return the release backups of each version, the newest version first."""
        versions: dict[str, list[Backup]] = {}
        for backup in self._backups:
            if backup.kind == "release" and backup.version and not is_safety(backup.version):
                versions.setdefault(backup.version, []).append(backup)
        return sorted(versions.values(), key=_newness, reverse=True)

    def _safety(self) -> dict[str, Fate]:
        """Keep the newest sound safety backup."""
        made = [backup for backup in self._backups if backup.version and is_safety(backup.version)]
        return self._decide(
            [[backup] for backup in reversed(made) if backup.kind == "release"], 1, "safety backup"
        )

    def _daily(self, keep: int | None) -> dict[str, Fate]:
        days = [[backup] for backup in reversed(self._backups) if backup.kind == "daily"]
        if keep is None:
            return {
                day[0].name: _fate(day[0], True, "daily backups are kept without --keep-daily")
                for day in days
            }
        return self._decide(days, keep, "daily backup")

    def _decide(self, groups: list[list[Backup]], keep: int, what: str) -> dict[str, Fate]:
        """Keep the `keep` newest sound groups; a damaged one is neither counted nor removed."""
        fates: dict[str, Fate] = {}
        sound = 0
        for group in groups:
            if sound == keep:
                self._tell(fates, group, (False, f"older than the {counted(keep, what)} kept"))
            elif len(groups) <= keep:
                self._tell(fates, group, (True, f"no more than {counted(keep, what)} here"))
            elif self._is_sound(group[-1]):
                sound += 1
                self._tell(fates, group, (True, f"{what} {sound} of {keep}, proved"))
            else:
                self._tell(fates, group, (True, "damaged, so it does not count; see invoke verify"))
        if len(groups) > keep and sound < keep:
            raise DamageError(
                f"only {sound} of the {counted(keep, what)} to keep can be proved, so nothing was removed; "
                "see invoke verify --all"
            )
        return fates

    def _tell(self, fates: dict[str, Fate], group: Iterable[Backup], verdict: tuple[bool, str]) -> None:
        fates.update({backup.name: _fate(backup, *verdict) for backup in group})

    def _is_sound(self, backup: Backup) -> bool:
        """Whether a backup is proved: if it was before, its SHA-256 must still match; if not, it is now."""
        expected = self._place.store.expected(backup)
        proved = expected is not None and self._ledger.proved(backup.name, expected.sha256)
        return verify_backup(self._place, backup, "quick" if proved else "full").sound


def _newness(version: list[Backup]) -> tuple[semver.Version, int]:
    """Return what orders versions: of those that differ only in build metadata, the last made is newer."""
    return semver.Version.parse(version[-1].version or ""), version[-1].order


def _fate(backup: Backup, kept: bool, reason: str) -> Fate:
    return Fate(str(backup.archive), kept, reason, backup.size)
