"""release: tag, back up, prove and note a version. Look, say, act, look again.

Whatever was done before, by this run or an earlier one, is not done twice. Before each step that leaves
something behind, the ledger says what that will be, so that `backup_lib.undo` can take it back.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import Enum
from itertools import filterfalse
from typing import Literal

import msgspec

from backup_lib.archive.reader import PlacedBlock, Reader, open_archive, open_for_reading
from backup_lib.backup import Look, Order, back_up, foreseen, left_out_line, look, refuse
from backup_lib.clock import now
from backup_lib.errors import BackupError, DamageError, IncompleteError, ProjectError, printable, translated
from backup_lib.model import Problem
from backup_lib.project.changelog import noted, only_notes_differ
from backup_lib.project.edit import plan_note, read_changelog, refuse_changelog
from backup_lib.project.standing import changed_submodules
from backup_lib.project.version import stated_otherwise, tag_name
from backup_lib.store.journal import journal_of
from backup_lib.store.ledger import Record
from backup_lib.store.listing import Backup
from backup_lib.tag import tag_release, tag_stands
from backup_lib.text import as_text
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
    stated: str
    """Another version that files of the project state: ``1.0.0 in package.json``."""
    steps: tuple[StepTaken, ...]


@dataclass(frozen=True, slots=True)
class _Goal:
    """What is to be released."""

    place: Workplace
    version: str
    commit: str
    allow_dirty: bool


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
    place = replace(place, releasing=True)
    goal = _Goal(place, version, _commit(place), allow_dirty)
    stated = stated_otherwise(place.root, version)
    refuse_changelog(place.changelog)  # there must be no tag yet
    if done := _released_before(goal):
        return done
    place.refuse_stated(version, stated)
    missing = _look(goal).missing()
    if Step.TAG in missing or Step.BACKUP in missing:
        _refuse(goal, look(place, Order(version)))
    place.report_stated(version, stated)
    if not place.dry_run:
        _act(goal, missing)
    state = _look(goal)
    if not place.dry_run and (left := state.missing()):
        raise BackupError(f"v{version} is not released: after all steps, it is left to {left[0].value}")
    when: Literal["now", "would"] = "would" if place.dry_run else "now"
    return Released(
        version=version,
        commit=goal.commit,
        archive=str(state.backup.archive) if state.backup else "",
        stated=stated,
        steps=tuple(_taken(step, when if step in missing else "before") for step in Step),
    )


def _released_before(goal: _Goal) -> Released | None:
    """Return the release of an earlier commit, if only what releases noted came after it.

    Raises `ProjectError` if the version is released and more came after it, or its tag is elsewhere.
    """
    place, version = goal.place, goal.version
    tagged = place.repository.tag_commit(tag_name(version)) if place.repository else None
    if place.repository is None or tagged in (None, goal.commit):
        return None
    earlier = replace(goal, commit=tagged, allow_dirty=True)
    state = _look(earlier)
    if state.backup is None or not state.proved:
        tag_stands(place.repository, tag_name(version), goal.commit)  # which it does not: it raises
    backup = _found(earlier)
    changelog = _changelog_name(goal)
    changed = place.repository.changed_between(tagged, goal.commit)
    if state.noted and changed == [changelog]:
        now_there = place.repository.file_at(goal.commit, changelog) or b""
        if _only_notes(earlier, changelog, now_there):
            steps = tuple(_taken(step, "before") for step in Step)
            return Released(version, tagged, str(backup.archive), "", steps)
    raise ProjectError(
        f"v{version} is released already: {tagged[:12]}, on {backup.created[:10]}, in "
        f"{printable(backup.archive)}, and HEAD is {goal.commit[:12]}; choose another version"
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


def _look(goal: _Goal) -> _State:
    place, version, commit = goal.place, goal.version, goal.commit
    backup = _backup_of(goal)
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
        noted=backup is not None and _is_noted(goal, backup),
    )


def _backup_of(goal: _Goal) -> Backup | None:
    held = goal.place.store.backups()
    made = [backup for backup in held if backup.kind == "release" and backup.version == goal.version]
    return made[-1] if made and _is_complete(goal, made[-1]) else None


def _is_complete(goal: _Goal, backup: Backup) -> bool:
    """Whether a backup is of the commit and lacks nothing, as far as its index tells."""
    with translated(BackupError, "reading the backup"), open_for_reading(backup.archive) as (read_at, size):
        try:
            reader = open_archive(read_at, size)
        except DamageError:
            return False
        if reader is None or reader.header.commit != goal.commit or not reader.summary.complete:
            return False
        return goal.allow_dirty or _is_as_committed(goal, reader)


def _is_as_committed(goal: _Goal, reader: Reader) -> bool:
    """Whether a backup holds no more than the commit, what git ignores, and what releases noted."""
    if reader.header.deleted:
        return False
    changelog = _changelog_name(goal)
    for placed in reader.blocks():
        entries = placed.entries()
        dirt = {entry.path for entry in entries if entry.state in ("modified", "untracked")}
        if dirt - {changelog} or (dirt and not _holds_only_notes(goal, reader, placed)):
            return False
    return True


def _holds_only_notes(goal: _Goal, reader: Reader, placed: PlacedBlock) -> bool:
    """Whether the changelog in a block has only what releases noted; so counts a long, or damaged one."""
    changelog = _changelog_name(goal)
    with suppress(DamageError):
        for entry, _, content in reader.found(placed.entries(), reader.unpack(placed)):
            if entry.path == changelog and len(content) == entry.size:
                return _only_notes(goal, changelog, bytes(content))
    return True


def _changelog_name(goal: _Goal) -> bytes:
    return os.fsencode(os.path.relpath(goal.place.changelog, os.path.realpath(goal.place.root)))


def _is_noted(goal: _Goal, backup: Backup) -> bool:
    text = read_changelog(goal.place.changelog)
    return noted(text, goal.version) and os.fsencode(backup.archive.name) in text


def _act(goal: _Goal, missing: list[Step]) -> None:
    for step in missing:
        goal.place.console.say(f"{step.value[0].upper()}{step.value[1:]}")
        _take(goal, step)


def _take(goal: _Goal, step: Step) -> None:
    place, version = goal.place, goal.version
    if step is Step.TAG:
        tag_release(place, version)
    elif step is Step.BACKUP:
        _back_up(goal)
    elif step is Step.VERIFY:
        _prove(goal)
    else:
        _note(goal)


def _back_up(goal: _Goal) -> None:
    place, version = goal.place, goal.version
    with place.store.writing("release"):
        pass  # this finishes what a crash cut short, which may be this very backup
    if _look(goal).backup is not None:
        return
    made = back_up(place, Order(version))
    for problem in made.problems:
        if problem.kind != "skipped":
            raise IncompleteError(_lacks(goal, problem))


def _lacks(goal: _Goal, problem: Problem) -> str:
    """Return why a version cannot be released, and the cure; a commit is none while the tag stands."""
    version, journal = goal.version, journal_of(goal.place.store.ledger(), goal.version)
    is_begun = not (journal.is_empty or journal.taken_back)
    what = f"v{version} is not released: {printable(problem.path)} is {problem.kind} ({problem.reason})"
    undo = f"first take back what is made with: invoke release --version {version} --undo; then "
    leave_out = f"{undo if is_begun else ''}leave it out with a line in .backupignore, and commit that"
    return f"{what}; make it readable and run the release again, or {leave_out}"


def _found(goal: _Goal) -> Backup:
    backup = _backup_of(goal)
    if backup is None:
        raise BackupError(f"the backup of v{goal.version} is gone; run the release again")
    return backup


def _prove(goal: _Goal) -> None:
    place, version = goal.place, goal.version
    with place.store.reading("release"):
        verified = verify_backup(place, _found(goal), "full")
    if verified.findings:
        raise DamageError(f"v{version} is not released: {verified.findings[0]}; run the release again")
    place.console.say(f"Proved: {verified.statement}")


def _note(goal: _Goal) -> None:
    place, version = goal.place, goal.version
    backup = _found(goal)
    expected = place.store.expected(backup)
    digest = expected.sha256 if expected else ""
    detail = f"`{as_text(backup.archive.name)}`, {backup.size} bytes, SHA-256 {digest}"
    with place.store.writing("release"):
        planned = plan_note(place.changelog, version, detail, now()[:10])
        if planned is None:
            return
        edit, inserted = planned
        intent = Record(
            time=now(),
            act="note",
            archive=backup.name,
            version=version,
            file=place.settings.changelog,
            made=edit.mode is None,
            lines=inserted.lines,
            replaced=inserted.replaced,
        )
        place.store.intend(intent)
        edit.write()


def _refuse(goal: _Goal, seen: Look) -> None:
    """Refuse what a look can know, before anything is made; raises `BackupError`."""
    refuse(goal.place, seen)
    lacking = foreseen(goal.place, seen)
    if lacking:
        raise ProjectError(_lacks(goal, lacking[0]))
    _refuse_dirty(goal, seen)


def _refuse_dirty(goal: _Goal, seen: Look) -> None:
    """Refuse a tree that is not what the commit holds; what earlier releases noted does not count."""
    dirty = _dirt(goal, seen)
    more = f" and {len(dirty) - 1} more" if len(dirty) > 1 else ""
    if dirty and not goal.allow_dirty:
        raise ProjectError(
            f"the tree is not as committed: {dirty[0]}{more}; "
            "commit it, let git ignore it, or say --allow-dirty"
        )
    if dirty:
        goal.place.console.say(f"The tree is not as committed: {dirty[0]}{more}")
    if left_out_by := seen.left_out_by():
        goal.place.console.say(left_out_line(left_out_by))


def _dirt(goal: _Goal, seen: Look) -> list[str]:
    """Return what of the tree is not as committed, as lines for a person."""
    place, changelog = goal.place, _changelog_name(goal)
    standing = seen.standing
    dirt = {source.path: "is untracked" for source in seen.selection.sources if source.state == "untracked"}
    if standing is not None:
        dirt |= dict.fromkeys(standing.changed, "is modified") | dict.fromkeys(standing.deleted, "is deleted")
        dirt |= {path: _unlooked(path in standing.deleted, flag) for path, flag in standing.unlooked.items()}
    if place.repository and any(source.state == "submodule" for source in seen.selection.sources):
        changed = filterfalse(seen.rules.never_hold, changed_submodules(place.repository.tree))
        dirt |= dict.fromkeys(changed, "is a submodule with changes")
    file = place.changelog
    if changelog in dirt and file.exists() and _only_notes(goal, changelog, read_changelog(file)):
        del dirt[changelog]
    return [f"{printable(path)} {state}" for path, state in sorted(dirt.items())]


def _unlooked(is_deleted: bool, flag: str) -> str:
    differs = "is not in the tree" if is_deleted else "differs from the commit"
    return f"{differs}, though git is told not to look ({flag})"


def _only_notes(goal: _Goal, path: bytes, text: bytes) -> bool:
    """Whether a changelog differs from that of the commit by nothing but what releases noted."""
    repository = goal.place.repository
    return repository is not None and only_notes_differ(repository.file_at(goal.commit, path), text)
