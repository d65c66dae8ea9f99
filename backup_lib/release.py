"""release: tag, back up, prove and note a version. Look, say, act, look again.

Whatever was done before, by this run or an earlier one, is not done twice.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Literal

import msgspec

from backup_lib.archive.reader import open_archive, open_for_reading
from backup_lib.backup import Look, Order, back_up, look
from backup_lib.errors import BackupError, DamageError, IncompleteError, ProjectError, printable, translated
from backup_lib.project.changelog import note_backup, noted, only_notes_differ
from backup_lib.project.version import tag_name
from backup_lib.store.listing import Backup
from backup_lib.store.lock import now
from backup_lib.tag import tag_stands, tag_version
from backup_lib.verify import verify_backup
from backup_lib.workplace import Workplace

__all__ = ["Released", "Step", "StepTaken", "release"]


class Step(Enum):
    """The steps, in order; the value is what a person reads."""

    TAG = "tag the commit"
    BACKUP = "back up the tree"
    VERIFY = "prove the backup by reading it back"
    CHANGELOG = "note it in the changelog"


class StepTaken(msgspec.Struct, frozen=True):
    """One step of a release."""

    step: Literal["tag", "backup", "verify", "changelog"]
    what: str
    when: Literal["now", "before", "would"]


class Released(msgspec.Struct, frozen=True):
    """A release that is done, or would be."""

    version: str
    commit: str
    archive: str
    """Path of the archive; empty where there is none yet."""
    steps: tuple[StepTaken, ...]


@dataclass(frozen=True, slots=True)
class _State:
    """How far a release is."""

    tagged: bool
    backup: Backup | None
    """A complete backup of this version and commit, not known to be damaged."""
    proved: bool
    noted: bool

    def missing(self) -> list[Step]:
        """Return the steps that are left."""
        done = {
            Step.TAG: self.tagged,
            Step.BACKUP: self.backup is not None,
            Step.VERIFY: self.proved,
            Step.CHANGELOG: self.noted,
        }
        return [step for step in Step if not done[step]]


def release(place: Workplace, version: str, allow_dirty: bool = False) -> Released:
    """Bring a version to the state of being released, from wherever it is.

    Raises `BackupError`; the next run goes on from there.
    """
    commit = _commit(place)
    missing = _look(place, version, commit).missing()
    if Step.TAG in missing or Step.BACKUP in missing:
        _refuse_dirty(place, version, allow_dirty)
    if not place.dry_run:
        for step in missing:
            place.console.say(f"{step.value[0].upper()}{step.value[1:]}")
            _take(place, step, version, commit)
    state = _look(place, version, commit)
    if not place.dry_run and (left := state.missing()):
        raise BackupError(f"v{version} is not released: after all steps, it is left to {left[0].value}")
    when: Literal["now", "would"] = "would" if place.dry_run else "now"
    return Released(
        version=version,
        commit=commit,
        archive=str(state.backup.archive) if state.backup else "",
        steps=tuple(_taken(step, when if step in missing else "before") for step in Step),
    )


def _taken(step: Step, when: Literal["now", "before", "would"]) -> StepTaken:
    name: Literal["tag", "backup", "verify", "changelog"] = step.name.lower()  # type: ignore[assignment]
    return StepTaken(name, step.value, when)


def _commit(place: Workplace) -> str:
    if place.repository is None:
        raise ProjectError(
            f"{place.root} is not in a git repository, so it cannot be released; see 'git init'"
        )
    if place.repository.commit is None:
        raise ProjectError("there is no commit yet to release; make the first one with 'git commit'")
    return place.repository.commit


def _look(place: Workplace, version: str, commit: str) -> _State:
    backup = _backup_of(place, version, commit)
    expected = place.store.expected(backup) if backup else None
    ledger = place.store.ledger()
    proof = ledger.proof(backup.name, expected.sha256) if backup and expected else None
    if proof is not None and proof.result != "sound":
        backup = None
    repository = place.repository
    return _State(
        tagged=repository is not None and tag_stands(repository, tag_name(version), commit),
        backup=backup,
        proved=bool(backup and expected and ledger.proved(backup.name, expected.sha256)),
        noted=_is_noted(place, version),
    )


def _backup_of(place: Workplace, version: str, commit: str) -> Backup | None:
    made = [
        backup for backup in place.store.backups() if backup.kind == "release" and backup.version == version
    ]
    return made[-1] if made and _is_complete(made[-1], commit) else None


def _releases(place: Workplace) -> list[Backup]:
    return [backup for backup in place.store.backups() if backup.kind == "release"]


def _is_complete(backup: Backup, commit: str) -> bool:
    """Whether a backup is of that commit and lacks nothing, as far as its index tells."""
    with translated(BackupError, "reading the backup"), open_for_reading(backup.archive) as (read_at, size):
        try:
            reader = open_archive(read_at, size)
        except DamageError:
            return False
        return reader is not None and reader.header.commit == commit and reader.summary.complete


def _changelog(place: Workplace) -> Path:
    return place.root / place.settings.changelog


def _is_noted(place: Workplace, version: str) -> bool:
    path = _changelog(place)
    with translated(ProjectError, "reading the changelog"):
        return path.exists() and noted(path.read_bytes(), version)


def _take(place: Workplace, step: Step, version: str, commit: str) -> None:
    if step is Step.TAG:
        tag_version(place, version)
    elif step is Step.BACKUP:
        made = back_up(place, Order(version))
        if not made.complete:
            problem = next(problem for problem in made.problems if problem.kind != "skipped")
            raise IncompleteError(
                f"v{version} is not released: {printable(problem.path)} is {problem.kind} "
                f"({problem.reason}); mend that and run the release again"
            )
    elif step is Step.VERIFY:
        _prove(place, version, commit)
    else:
        _note(place, version, commit)


def _found(place: Workplace, version: str, commit: str) -> Backup:
    backup = _backup_of(place, version, commit)
    if backup is None:
        raise BackupError(
            f"the backup of v{version} is gone, or is not of {commit[:12]}; run the release again"
        )
    return backup


def _prove(place: Workplace, version: str, commit: str) -> None:
    with place.store.reading("release"):
        verified = verify_backup(place, _found(place, version, commit), "full")
    if verified.findings:
        raise DamageError(f"v{version} is not released: {verified.findings[0]}; run the release again")
    place.console.say(f"Proved: {verified.statement}")


def _note(place: Workplace, version: str, commit: str) -> None:
    backup = _found(place, version, commit)
    expected = place.store.expected(backup)
    digest = expected.sha256 if expected else ""
    detail = f"`{backup.archive.name}`, {backup.size} bytes, SHA-256 {digest}"
    note_backup(_changelog(place), version, detail, now()[:10])


def _refuse_dirty(place: Workplace, version: str, allow_dirty: bool) -> None:
    """Refuse a tree that is not what the commit holds; what earlier releases noted does not count."""
    dirty = _dirt(place, look(place, Order(version)))
    if not dirty:
        return
    more = f" and {len(dirty) - 1} more" if len(dirty) > 1 else ""
    if allow_dirty:
        place.console.say(f"The tree is not as committed: {dirty[0]}{more}")
        return
    raise ProjectError(
        f"the tree is not as committed: {dirty[0]}{more}; commit it, let git ignore it, or say --allow-dirty"
    )


def _dirt(place: Workplace, seen: Look) -> list[str]:
    """Return what of the tree is not as committed, as lines for a person."""
    changelog = os.fsencode(os.path.normpath(place.settings.changelog))
    standing = seen.standing
    dirt = {source.path: "untracked" for source in seen.selection.sources if source.state == "untracked"}
    if standing is not None:
        dirt |= dict.fromkeys(standing.changed, "modified") | dict.fromkeys(standing.deleted, "deleted")
    if changelog in dirt and _only_notes(place, changelog):
        del dirt[changelog]
    return [f"{printable(path)} is {state}" for path, state in sorted(dirt.items())]


def _only_notes(place: Workplace, path: bytes) -> bool:
    """Whether the changelog differs from the committed one by nothing but what releases noted."""
    repository = place.repository
    if repository is None or repository.commit is None:
        return False
    if not _changelog(place).exists():
        return False
    with translated(ProjectError, "reading the changelog"):
        return only_notes_differ(repository.file_at(repository.commit, path), _changelog(place).read_bytes())
