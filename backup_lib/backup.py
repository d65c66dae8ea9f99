"""backup: write the project as it is into the store."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import accumulate

import msgspec

from backup_lib.archive import writer
from backup_lib.archive.reader import open_archive, open_for_reading
from backup_lib.archive.reuse import Reuse
from backup_lib.errors import DamageError, SettingsError, StoreError, printable
from backup_lib.filesystem import OPEN_DIRECTORY
from backup_lib.model import Entry, GitState, Header, Problem
from backup_lib.project.rules import THE_STORE, Rules, rules_for
from backup_lib.project.selection import Selection, select
from backup_lib.project.standing import Comparison, Sight, Standing
from backup_lib.project.version import tag_name
from backup_lib.store.publish import DailyDraft, Draft, ReleaseDraft, Written
from backup_lib.verify import proof_of, verify_draft
from backup_lib.workplace import Workplace

__all__ = ["BackedUp", "Dropped", "Order", "back_up", "look"]

_MOST_TEXT = 1 << 16
"""Bytes of a note, and of all rules, in the header: escaped, they still fit into a line of the manifest."""


@dataclass(frozen=True, slots=True)
class Order:
    """What kind of backup is asked for."""

    version: str | None = None
    """Semantic version; None is only good for a daily backup."""
    daily: bool = False
    note: str = ""
    fresh: bool = False
    """Read everything, reuse nothing of the backup before."""


class Dropped(msgspec.Struct, frozen=True):
    """A path that was left out."""

    path: str
    rule: str


class BackedUp(msgspec.Struct, frozen=True):
    """A backup that was made, or would be."""

    archive: str
    """Path of the archive; where it would be made, of its folder."""
    version: str | None
    files: int
    bytes: int
    """Bytes of content."""
    states: dict[str, int]
    """Files by how they stand to the commit."""
    commit: str | None = None
    size: int = 0
    """Bytes of the archive."""
    sha256: str = ""
    proved: bool = False
    left_out: int = 0
    """Files of the commit that a rule left out."""
    problems: tuple[Problem, ...] = ()
    dropped: tuple[Dropped, ...] = ()
    seconds: float = 0.0

    @property
    def complete(self) -> bool:
        """Whether everything that was selected is in it, as it was."""
        return all(problem.kind == "skipped" for problem in self.problems)


@dataclass(frozen=True, slots=True)
class Look:
    """The project as it is now."""

    header: Header
    selection: Selection
    standing: Standing | None
    """How the files stand to the commit; None without git."""


def look(place: Workplace, order: Order) -> Look:
    """Walk the project and ask git about it.

    Raises `ProjectError`, `SettingsError`.
    """
    if order.note != order.note.encode("utf-8", "replace").decode():
        raise SettingsError("--note takes text in UTF-8")
    if len(order.note.encode()) > _MOST_TEXT:
        raise SettingsError(f"--note takes at most {_MOST_TEXT} bytes; put the rest into a file")
    scanned = time.time_ns()
    repository = place.repository
    selection, standing = _selected(place)
    moment, epoch = _moment()
    tag = tag_name(order.version) if order.version else None
    commit = repository.commit if repository else None
    tagged = repository is not None and tag is not None and repository.tag_commit(tag) == commit is not None
    header = Header(
        project=place.project,
        version=order.version,
        created=moment.strftime("%Y-%m-%dT%H:%M:%SZ"),
        scanned_ns=0 if epoch else scanned,
        format=place.settings.format,
        level=place.settings.level,
        commit=commit,
        branch=repository.branch if repository else None,
        tag=tag if tagged else None,
        note=order.note,
        excluded=_excluded(place, selection),
        left_out=len(standing.unseen) - len(standing.deleted) if standing else 0,
        deleted=len(standing.deleted) if standing else 0,
    )
    return Look(header, selection, standing)


class _Git:
    """Asks how files stand to the commit, and keeps the whole answer."""

    def __init__(self, comparison: Comparison) -> None:
        self._comparison = comparison
        self.standing: Standing | None = None

    def states(self, sights: Iterable[Sight]) -> Sequence[GitState]:
        """Return the state of each file."""
        self.standing = self._comparison.standing(sights)
        return self.standing.states


def _selected(place: Workplace) -> tuple[Selection, Standing | None]:
    """Walk the project while git compares it with the commit."""
    if place.repository is None:
        return select(place.root, _rules(place)), None
    with place.repository.comparing() as comparison:
        git = _Git(comparison)
        return select(place.root, _rules(place), git.states), git.standing


def _rules(place: Workplace) -> Rules:
    return rules_for(place.settings, place.root, place.store.path)


def _excluded(place: Workplace, selection: Selection) -> tuple[str, ...]:
    """Return the patterns that left something out, the store as the folder it is; of very many, the first."""
    store = f"{printable(place.store.path.name)}/"
    patterns = [store if rule == THE_STORE else rule.pattern for rule in selection.excluded_rules]
    rules = tuple(dict.fromkeys(patterns))
    room = accumulate(len(os.fsencode(rule)) for rule in rules)
    told = rules[: sum(used <= _MOST_TEXT for used in room)]
    return rules if len(told) == len(rules) else (*told, f"and {len(rules) - len(told)} more")


def _moment() -> tuple[datetime, bool]:
    """Return the time that the backup bears, and whether SOURCE_DATE_EPOCH set it."""
    text = os.environ.get("SOURCE_DATE_EPOCH")
    if text is None:
        return datetime.now(UTC), False
    try:
        return datetime.fromtimestamp(int(text), UTC), True
    except (ValueError, OverflowError, OSError) as error:
        raise SettingsError(f"SOURCE_DATE_EPOCH takes seconds since 1970, not {text!r}") from error


def back_up(place: Workplace, order: Order) -> BackedUp:
    """Write a backup of the project and publish it: a daily one proved, any other one unproved.

    Raises `BackupError`; then nothing was published.
    """
    if order.version is None and not order.daily:
        raise SettingsError(
            "a backup needs a version, unless it is a daily one; say --version 1.1.0 or --daily"
        )
    began = time.monotonic()
    if place.dry_run:
        return _would_back_up(place, look(place, order))
    with place.store.writing("backup"):
        seen = look(place, order)
        _refuse_another_project(place, seen.header.project)
        with _draft(place, seen.header, order.daily) as draft:
            with _newest_of_its_kind(place, seen.header, order.fresh) as before:
                written = _write(place, seen, draft, before)
            proved = _commit(place, draft, written)
    return msgspec.structs.replace(
        _result(place, seen, proved),
        archive=str(place.store.path / draft.archive),
        size=written.size,
        sha256=written.sha256,
        files=written.summary.counts.files,
        bytes=written.summary.counts.bytes,
        states=written.summary.counts.states,
        problems=written.summary.problems,
        seconds=round(time.monotonic() - began, 3),
    )


def _refuse_another_project(place: Workplace, project: str) -> None:
    """Refuse a store of another project: versions, days and what is newest would be mixed up."""
    for backup in place.store.backups():
        if backup.order and backup.project not in ("", project):
            raise StoreError(
                f"the store {printable(place.store.path)} holds backups of {backup.project}, "
                f"not of {project}; choose another with backup.store, or set backup.project"
            )


def _result(place: Workplace, seen: Look, proved: bool) -> BackedUp:
    selection, header = seen.selection, seen.header
    return BackedUp(
        archive=str(place.store.path),
        version=header.version,
        files=selection.sources.files,
        bytes=selection.sources.bytes,
        states={},
        commit=header.commit,
        left_out=header.left_out,
        proved=proved,
        problems=selection.problems,
        dropped=tuple(Dropped(printable(each.path), str(each.rule)) for each in selection.dropped),
    )


def _would_back_up(place: Workplace, seen: Look) -> BackedUp:
    states: dict[str, int] = {}
    for source in seen.selection.sources:
        if source.state:
            states[source.state] = states.get(source.state, 0) + 1
    return msgspec.structs.replace(_result(place, seen, proved=False), states=states)


@contextmanager
def _draft(place: Workplace, header: Header, daily: bool) -> Iterator[ReleaseDraft | DailyDraft]:
    if daily:
        with place.store.new_daily(header) as daily_draft:
            yield daily_draft
    else:
        with place.store.new_release(header) as draft:
            yield draft


@contextmanager
def _newest_of_its_kind(place: Workplace, header: Header, fresh: bool) -> Iterator[Reuse | None]:
    """Yield the newest backup of the project in the same format, to copy blocks from."""
    made = [
        backup
        for backup in place.store.backups()
        if backup.kind != "plain" and backup.format == header.format
    ]
    with ExitStack() as stack:
        before = None
        if made and not fresh:
            with suppress(OSError, DamageError):  # then nothing can be copied from it
                reader = open_archive(*stack.enter_context(open_for_reading(made[-1].archive)))
                before = Reuse(reader, header) if reader else None
        yield before


def _write(place: Workplace, seen: Look, draft: Draft, before: Reuse | None) -> Written:
    root = os.open(place.root, OPEN_DIRECTORY)
    selection = seen.selection
    try:
        tree = writer.Tree(root, selection.sources, selection.problems, before)
        with place.console.bar(f"Backing up {seen.header.project}", selection.sources.bytes) as advance:
            done = writer.write_archive(draft.file, seen.header, tree, advance)
    finally:
        os.close(root)
    if not done.summary.counts.files:
        raise StoreError("not one file could be read; nothing was published")
    return Written(done.summary, done.size, done.sha256.hex(), done.index.hex())


def _commit(place: Workplace, draft: ReleaseDraft | DailyDraft, written: Written) -> bool:
    """Publish a draft; return whether it is proved."""
    if isinstance(draft, ReleaseDraft):
        with open_for_reading(draft.path) as (read_at, size):
            reader = open_archive(read_at, size)
            entries: Iterator[Entry] = reader.entries() if reader else iter(())
            draft.commit(written, entries)
        return False
    verified = verify_draft(place, draft.path, draft.archive, written.sha256)
    if not verified.sound:
        raise DamageError(f"nothing was published: {verified.findings[0]}; check the disk of the store")
    draft.commit(written, proof_of(verified, written.size, written.sha256))
    return True
