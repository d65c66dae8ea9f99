"""clean: remove old backups, never the last sound ones.

Each kind is counted on its own: stable versions that were released with a tag, those that were not,
pre-releases whose release is not there, safety backups, daily backups. So a typing error evicts no release.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

import msgspec
import semver

import backup_lib
from backup_lib.archive.reader import described
from backup_lib.clock import now
from backup_lib.errors import BackupError, DamageError, StoreError, counted, printable, translated
from backup_lib.model import Description
from backup_lib.rewriting import remake_manifest
from backup_lib.store.layout import is_safety, parse_archive_name
from backup_lib.store.ledger import Ledger, Record
from backup_lib.store.listing import Backup
from backup_lib.store.local import UNREADABLE
from backup_lib.verify import verify_backup
from backup_lib.workplace import Workplace

__all__ = ["Cleaned", "Fate", "Keep", "clean"]


@dataclass(frozen=True, slots=True)
class Keep:
    """How much is kept."""

    versions: int
    """The newest versions of each kind, in semantic order."""
    daily: int | None = None
    """The newest daily backups; None leaves all of them."""
    is_said: bool = True
    """Whether a person said `versions` just now, so that it is no setting that nobody looks at."""


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


@dataclass(frozen=True)
class _Group:
    """The backups of one version, or a daily backup; oldest first."""

    backups: tuple[Backup, ...]

    @property
    def newest(self) -> Backup:
        return self.backups[-1]

    @cached_property
    def version(self) -> semver.Version:
        """Its version; raises `ValueError` for a daily backup."""
        return semver.Version.parse(self.newest.version or "")

    @cached_property
    def had_tag(self) -> bool:
        """Whether the index of one of its archives says that the version had its tag then."""
        return any(each.header.tag is not None for each in self._descriptions if each)

    @cached_property
    def complete(self) -> tuple[Backup, ...]:
        """Those that lack nothing that was to be in them, as their indexes say, newest first."""
        pairs = zip(self.backups, self._descriptions, strict=True)
        return tuple(backup for backup, each in pairs if each and each.summary.complete)[::-1]

    @cached_property
    def _descriptions(self) -> tuple[Description | None, ...]:
        return tuple(map(_description, self.backups))


@dataclass(frozen=True, slots=True)
class _Kind:
    """Groups that are counted together, the newest first."""

    noun: str
    groups: list[_Group]


def clean(place: Workplace, keep: Keep) -> Cleaned:
    """Remove what is older than what is kept, which is read back in full before.

    Raises `DamageError` if so many are damaged that fewer than asked for are sound, and `BackupError` if a
    setting would take more than half of the versions: nothing goes then.
    """
    store = place.store
    if not store.is_made and any(backup.order for backup in store.backups()):
        raise StoreError(
            f"{printable(store.path)} holds no ledger.jsonl, so nothing is removed from it; "
            "the next backup makes it a store"
        )
    store.refuse_absent()
    if place.dry_run or not store.is_made:
        cleaning = _Cleaning(place, keep)
        return _cleaned(cleaning.fates(), cleaning.gone())
    with store.writing("clean"):
        cleaning = _Cleaning(place, keep)
        fates, gone = cleaning.fates(), cleaning.gone()
        cleaning.record()
        going = [backup for backup, fate in fates if not fate.kept]
        store.remove(going)
        store.remove_archives(gone)
        # An older archive of a version may stay, not being as it was published: it gets its manifest again.
        for version in {backup.version for backup in going if backup.version}:
            remake_manifest(place, version)
    return _cleaned(fates, gone)


def _cleaned(fates: list[tuple[Backup, Fate]], gone: dict[str, Fate]) -> Cleaned:
    told = (*gone.values(), *(fate for _, fate in fates))
    return Cleaned(told, sum(fate.size for fate in told if not fate.kept))


class _Cleaning:
    """Decides on every backup of a store."""

    def __init__(self, place: Workplace, keep: Keep) -> None:
        self._place = place
        self._keep = keep
        self._backups = place.store.backups()
        self._ledger = place.store.ledger()
        self._verdicts: dict[str, bool] = {}
        """Whether a backup is sound, by its path below the store: each is read once."""
        self._fates: dict[str, Fate] = {}

    def fates(self) -> list[tuple[Backup, Fate]]:
        """Return every backup with its fate, oldest first; raises like `clean`."""
        versions = self._versions()
        going, rest = _superseded(versions, self._keep.versions)
        if going and not self._has_enough(rest):
            going, rest = [], versions
        for kind in self._kinds(rest):
            self._decide(kind, self._keep.versions)
        for group in going:
            self._supersede(group, versions)
        self._decide(_Kind("safety backup", self._safety()), 1)
        self._decide_days()
        for backup in self._backups:
            if backup.kind == "plain":
                self._tell(_Group((backup,)), True, "not made by this software")
        self._refuse_too_many(versions)
        self._spare_changed()
        return [(backup, self._fates[backup.name]) for backup in self._backups]

    def gone(self) -> dict[str, Fate]:
        """Return what somebody else took away and is older than what is kept, by path below the store.

        It is only put down as removed, after `fates`. What is linked in its place is not gone.
        """
        store = self._place.store
        gone = [name for name in store.missing() if self._ledger.stands(name) and self._is_superseded(name)]
        return {
            name: Fate(str(store.path / name), False, "gone already, and older than what is kept", 0)
            for name in gone
            if not os.path.lexists(store.path / name)
        }

    def _is_superseded(self, name: str) -> bool:
        """Whether as many newer backups of its kind are kept as are to be, and none of its own version."""
        kept = [each for each in self._backups if self._fates[each.name].kept and self._may_be_sound(each)]
        newer = [each for each in kept if each.order > self._ledger.last_publish_order(name)]
        parts = parse_archive_name(name.rpartition("/")[2])
        if parts is None:
            days = [each for each in newer if each.kind == "daily"]
            return self._keep.daily is not None and len(days) >= self._keep.daily
        if is_safety(parts.version):
            return any(is_safety(each.version or "") for each in newer)
        return self._has_newer(semver.Version.parse(parts.version), kept)

    def _has_newer(self, version: semver.Version, kept: list[Backup]) -> bool:
        """Whether enough newer versions are kept, stable ones for a stable one, and not this one itself."""
        held = {each.version for each in kept if each.kind == "release" and each.version}
        versions = [semver.Version.parse(each) for each in held if not is_safety(each)]
        newer = [each for each in versions if each > version and (version.prerelease or not each.prerelease)]
        return version not in versions and len(newer) >= self._keep.versions

    def _may_be_sound(self, backup: Backup) -> bool:
        return self._verdicts.get(backup.name, True)

    def record(self) -> None:
        """Put into the ledger how many versions are kept, if that is something new."""
        last = self._ledger.last("clean")
        if last is None or last.keep != self._keep.versions:
            tool = f"release-backup {backup_lib.__version__}"
            record = Record(time=now(), act="clean", archive="", keep=self._keep.versions, tool=tool)
            self._place.store.intend(record)

    def _versions(self) -> list[_Group]:
        """Return the release backups of each version, the newest version first."""
        versions: dict[str, list[Backup]] = {}
        for backup in self._backups:
            if backup.kind == "release" and backup.version and not is_safety(backup.version):
                versions.setdefault(backup.version, []).append(backup)
        groups = [_Group(tuple(held)) for held in versions.values()]
        return sorted(groups, key=lambda group: (group.version, group.newest.order), reverse=True)

    def _kinds(self, groups: list[_Group]) -> Iterator[_Kind]:
        stable = [group for group in groups if group.version.prerelease is None]
        tagged = [group for group in stable if self._had_tag(group)]
        yield _Kind("version", tagged)
        yield _Kind("untagged version", [group for group in stable if group not in tagged])
        yield _Kind("pre-release", [group for group in groups if group.version.prerelease is not None])

    def _had_tag(self, group: _Group) -> bool:
        """Whether a version had its tag when it was backed up, or got it by a release of that backup."""
        return group.had_tag or _was_released(self._ledger, group.newest.version)

    def _safety(self) -> list[_Group]:
        return [
            _Group((backup,))
            for backup in reversed(self._backups)
            if backup.kind == "release" and backup.version and is_safety(backup.version)
        ]

    def _decide_days(self) -> None:
        days = [_Group((backup,)) for backup in reversed(self._backups) if backup.kind == "daily"]
        if self._keep.daily is not None:
            self._decide(_Kind("daily backup", days), self._keep.daily)
            return
        for day in days:
            self._tell(day, True, "daily backups are kept without --keep-daily")

    def _decide(self, kind: _Kind, keep: int) -> None:
        """Keep the `keep` newest sound groups, and the newest sound one that is complete.

        A damaged one is neither counted nor removed.
        """
        if len(kind.groups) <= keep:
            for group in kind.groups:
                self._tell(group, True, f"{counted(len(kind.groups), kind.noun)} here, and {keep} are kept")
            return
        sound: list[_Group] = []
        for group in kind.groups:
            has_complete = any(map(self._holds_complete, sound))
            if len(sound) >= keep and (has_complete or not group.complete):
                self._tell(group, False, f"older than the {counted(keep, kind.noun)} kept")
            elif not self._is_sound(group.newest):
                self._tell(group, True, "damaged, so it does not count; see invoke verify")
            else:
                sound.append(group)
                place = f"{kind.noun} {len(sound)} of {keep}"
                place = place if len(sound) <= keep else "the newest complete one"
                self._tell(group, True, f"{place}, {self._proved(group.newest)}")
        if len(sound) < keep:
            raise DamageError(
                f"only {len(sound)} of the {counted(keep, kind.noun)} to keep can be proved, "
                "so nothing was removed; see invoke verify --all"
            )

    def _has_enough(self, groups: list[_Group]) -> bool:
        """Whether as many versions are sound as are to be kept."""
        sound = (group for group in groups if self._is_sound(group.newest))
        return len(list(islice(sound, self._keep.versions))) == self._keep.versions

    def _supersede(self, group: _Group, versions: list[_Group]) -> None:
        """Let a pre-release go because its release is there: one that goes too, or is sound."""
        release = next(each for each in versions if _is_release_of(each, group))
        stays = self._fates[release.newest.name].kept
        if stays and not self._is_sound(release.newest):
            self._tell(group, True, f"its release v{release.version} is damaged; see invoke verify")
        elif group.complete and not self._holds_complete(release):
            self._tell(group, True, f"its release v{release.version} lacks something")
        else:
            self._tell(group, False, f"its release v{release.version} is there")

    def _refuse_too_many(self, versions: list[_Group]) -> None:
        """Refuse if a setting that is lower than before would take more than half of the versions."""
        last = self._ledger.last("clean")
        going = sum(not self._fates[group.newest.name].kept for group in versions)
        if (
            self._keep.is_said
            or last is None
            or self._keep.versions >= last.keep
            or 2 * going <= len(versions)
        ):
            return
        raise BackupError(
            f"backup.keep is {self._keep.versions} and was {last.keep} at the last clean: {going} of "
            f"{counted(len(versions), 'version')} would go, so nothing was removed; "
            f"if that is meant, say --keep {self._keep.versions}"
        )

    def _spare_changed(self) -> None:
        """Keep what is not as it was published here: damaged, or somebody else's under that name."""
        for backup in self._backups:
            if not self._fates[backup.name].kept and not self._place.store.is_as_published(backup):
                self._tell(_Group((backup,)), True, "not as it was published here; see invoke verify")

    def _tell(self, group: _Group, kept: bool, reason: str) -> None:
        """Decide on a group; what is kept for its newest archive is not said to be proved itself."""
        for backup in group.backups:
            is_older = kept and backup is not group.newest
            told = "kept with the newest of its version" if is_older else reason
            self._fates[backup.name] = Fate(str(backup.archive), kept, told, backup.size)

    def _holds_complete(self, group: _Group) -> bool:
        """Whether one of its archives lacks nothing, and is sound."""
        return any(map(self._is_sound, group.complete))

    def _is_sound(self, backup: Backup) -> bool:
        """Whether a backup is sound: all of it is read, whatever the ledger says of it."""
        if backup.name not in self._verdicts:
            self._verdicts[backup.name] = verify_backup(self._place, backup, "full").sound
        return self._verdicts[backup.name]

    def _proved(self, backup: Backup) -> str:
        """Return how a sound backup is called: in a dry run no proof is left."""
        if not self._place.dry_run:
            return "proved"
        expected = self._place.store.expected(backup)
        is_proved = expected is not None and self._ledger.proved(backup.name, expected.sha256)
        return "proved" if is_proved else "sound, and not proved yet"


def _superseded(versions: list[_Group], keep: int) -> tuple[list[_Group], list[_Group]]:
    """Return the pre-releases that go because their release is there, and the other versions.

    The oldest go first, and only while at least `keep` versions remain.
    """
    old = [group for group in reversed(versions) if any(_is_release_of(each, group) for each in versions)]
    going = old[: max(len(versions) - keep, 0)]
    return going, [group for group in versions if group not in going]


def _is_release_of(release: _Group, group: _Group) -> bool:
    """Whether the one is the release that the other was a pre-release of."""
    is_prerelease = group.version.prerelease is not None and release.version.prerelease is None
    return is_prerelease and release.version.finalize_version() == group.version.finalize_version()


def _description(backup: Backup) -> Description | None:
    """Return what the index of an archive says, its entries apart; None if it is damaged.

    Raises `StoreError` if the disk cannot read it: then nothing can be said of it.
    """
    with (
        translated(StoreError, f"reading {printable(backup.name)}", UNREADABLE, backup.archive),
        suppress(FileNotFoundError, DamageError),
        described(backup.archive) as description,
    ):
        return description
    return None


def _was_released(ledger: Ledger, version: str | None) -> bool:
    """Whether the ledger says that a release of a version made a tag or a backup, and was not taken back."""
    acts = [record.act for _, record in ledger.records if version and record.version == version]
    made = [act for act in acts if act in ("tag", "release", "undone")]
    return bool(made) and made[-1] != "undone"
