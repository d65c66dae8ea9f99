"""backup: write the project as it is into the store."""

from __future__ import annotations

import errno
import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import accumulate

import msgspec

from backup_lib.archive import writer
from backup_lib.archive.reader import open_archive, open_for_reading
from backup_lib.archive.reuse import Reuse
from backup_lib.clock import Instant, instant, now
from backup_lib.errors import (
    DamageError,
    ProjectError,
    SettingsError,
    StoreError,
    counted,
    printable,
    translated,
)
from backup_lib.filesystem import OPEN_DIRECTORY, PATH_LIMIT
from backup_lib.keep_out import keep_store_out
from backup_lib.model import Entry, GitState, Header, Problem, Source
from backup_lib.project.rules import THE_STORE, Rule, Rules, rules_for
from backup_lib.project.selection import Selection, select
from backup_lib.project.standing import Comparison, Sight, Standing
from backup_lib.project.version import stated_otherwise, tag_name
from backup_lib.store.layout import is_moment, is_safety
from backup_lib.store.publish import DailyDraft, Draft, Published, ReleaseDraft, Written
from backup_lib.text import as_text, utf8
from backup_lib.verify import proof_of, verify_draft
from backup_lib.workplace import Workplace

__all__ = [
    "BackedUp",
    "Dropped",
    "Look",
    "Order",
    "back_up",
    "foreseen",
    "left_out_line",
    "look",
    "refuse",
]

_SHOWN_RULES = 3
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
    stated: str = ""
    """Another version that files of the project state: ``1.0.0 in package.json``."""
    left_out_by: dict[str, int] = {}
    """How many of them each rule left out that a person wrote, most first."""
    problems: tuple[Problem, ...] = ()
    dropped: tuple[Dropped, ...] = ()
    aside: str = ""
    """Path below the store of what somebody else had put in the way, and was moved aside."""
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
    """How the files stand to the commit; what never goes in has not changed. None without git."""
    rules: Rules

    def left_out_by(self) -> dict[str, int]:
        """Return how many files of the commit each rule left out that a person wrote, most first."""
        rules = {each.path: each.rule for each in self.selection.dropped if each.rule.is_a_persons}
        if self.standing is None or not rules:
            return {}
        deciding = (_rule_over(path, rules) for path in self.standing.unseen - self.standing.deleted)
        found = Counter(str(rule) for rule in deciding if rule is not None)
        return dict(sorted(found.items(), key=lambda each: (-each[1], each[0])))


def _rule_over(path: bytes, rules: Mapping[bytes, Rule]) -> Rule | None:
    """Return which of the rules dropped a file, or a folder above it; they are given by what they dropped."""
    end = len(path)
    while end > 0 and path[:end] not in rules:
        end = path.rfind(b"/", 0, end - 1) + 1
    return rules.get(path[:end])


def left_out_line(left_out_by: Mapping[str, int]) -> str:
    """Return the line that tells a person of the files of the commit that rules of theirs left out."""
    files = counted(sum(left_out_by.values()), "committed file")
    if len(left_out_by) == 1:
        return f"Left out by a rule of yours: {files}, by {next(iter(left_out_by))}"
    each = [f"{number} by {rule}" for rule, number in left_out_by.items()]
    if len(each) > _SHOWN_RULES:
        more = sum(list(left_out_by.values())[_SHOWN_RULES:])
        each[_SHOWN_RULES:] = [f"{more} by {counted(len(each) - _SHOWN_RULES, 'more rule')}"]
    return f"Left out by rules of yours: {files}, {', '.join(each)}"


def look(place: Workplace, order: Order) -> Look:
    """Walk the project and ask git about it.

    Raises `ProjectError`, `SettingsError`.
    """
    note = as_text(order.note)
    if note != note.encode("utf-8", "replace").decode():
        raise SettingsError("--note takes text in UTF-8")
    if len(note.encode()) > _MOST_TEXT:
        raise SettingsError(f"--note takes at most {_MOST_TEXT} bytes; put the rest into a file")
    scanned = time.time_ns()
    repository = place.repository
    selection, standing, rules = _selected(place)
    epoch = _epoch()
    tag = tag_name(order.version) if order.version else None
    commit = repository.commit if repository else None
    tagged = repository is not None and tag is not None and repository.tag_commit(tag) == commit is not None
    header = Header(
        project=place.project,
        version=order.version,
        created=epoch or now(),
        scanned_ns=0 if epoch else scanned,
        format=place.settings.format,
        level=place.settings.level,
        commit=commit,
        branch=repository.branch if repository else None,
        tag=tag if tagged else None,
        note=as_text(order.note),
        excluded=_excluded(place, selection),
        left_out=len(standing.unseen) - len(standing.deleted) if standing else 0,
        deleted=len(standing.deleted) if standing else 0,
        stated=_stated(place, order),
    )
    return Look(header, selection, standing, rules)


def foreseen(place: Workplace, seen: Look) -> list[Problem]:
    """Return what a backup of what was seen would lack: what vanished, cannot be listed, or may not be read.

    Raises `ProjectError` if the root cannot be opened.
    """
    met = [problem for problem in seen.selection.problems if problem.kind != "skipped"]
    with translated(ProjectError, "reading the project"):
        root = os.open(place.root, OPEN_DIRECTORY)
    try:
        files = (source for source in seen.selection.sources if source.kind == "file")
        closed = (source.path for source in files if not _opens(root, source))
        return [*met, *(Problem(path, "unreadable", os.strerror(errno.EACCES)) for path in closed)]
    finally:
        os.close(root)


def _opens(root: int, source: Source) -> bool:
    """Report whether a file may be opened; a path longer than the kernel takes is not asked about."""
    return len(source.path) >= PATH_LIMIT or os.access(source.path, os.R_OK, dir_fd=root, effective_ids=True)


def _stated(place: Workplace, order: Order) -> str:
    """Return which other version the project states; a safety backup is meant to have one of its own."""
    version = order.version
    return "" if version is None or is_safety(version) else stated_otherwise(place.root, version)


class _Git:
    """Asks how files stand to the commit, and keeps the whole answer."""

    def __init__(self, comparison: Comparison) -> None:
        self._comparison = comparison
        self.standing: Standing | None = None

    def states(self, sights: Iterable[Sight]) -> Sequence[GitState]:
        """Return the state of each file."""
        self.standing = self._comparison.standing(sights)
        return self.standing.states


def _selected(place: Workplace) -> tuple[Selection, Standing | None, Rules]:
    """Walk the project while git compares it with the commit."""
    if place.repository is None:
        rules = rules_for(place.settings, place.root, place.store_as_named)
        return select(place.root, rules), None, rules
    with place.repository.comparing() as comparison:
        rules = rules_for(place.settings, place.root, place.store_as_named, comparison.tracked)
        git = _Git(comparison)
        selection = select(place.root, rules, git.states)
        return selection, git.standing and git.standing.without(rules.never_hold), rules


def _excluded(place: Workplace, selection: Selection) -> tuple[str, ...]:
    """Return the patterns that left something out, and the store if it is below the root, there yet or not.

    Of very many, the first are told.
    """
    store = f"{printable(as_text(os.path.basename(os.path.normpath(place.store_as_named))))}/"
    patterns = [store if rule == THE_STORE else rule.pattern for rule in selection.excluded_rules]
    rules = tuple(dict.fromkeys(patterns if place.store.is_outside else [*patterns, store]))
    room = accumulate(len(utf8(rule)) for rule in rules)
    told = rules[: sum(used <= _MOST_TEXT for used in room)]
    return rules if len(told) == len(rules) else (*told, f"and {len(rules) - len(told)} more")


def _epoch() -> str | None:
    """Return the moment that SOURCE_DATE_EPOCH gives to what is archived; None without it."""
    text = os.environ.get("SOURCE_DATE_EPOCH")
    if text is None:
        return None
    try:
        return datetime.fromtimestamp(int(text), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
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
    store = place.store  # where no store can be is said before the project is walked
    seen = look(place, order)
    refuse(place, seen)
    if not place.releasing:  # a release has said so
        place.report_stated(order.version, seen.header.stated)
        _report_tag(place, seen.header)
    if place.dry_run:
        return _would_back_up(place, seen)
    with store.writing("backup"):
        keep_store_out(place, seen.header.version)
        made = instant()  # not before nobody else publishes
        _report_clock(place, made)
        with _draft(place, _dated(seen.header, made), made) as draft:
            with _newest_of_its_kind(place, seen.header, order.fresh) as before:
                written = _write(place, seen, draft, before)
            published = _commit(place, draft, written)
    store.report_asides([published.aside] if published.aside else [])
    return msgspec.structs.replace(
        _result(place, seen, proved=order.daily),
        archive=str(store.path / published.archive),
        aside=published.aside,
        size=written.size,
        sha256=written.sha256,
        files=written.summary.counts.files,
        bytes=written.summary.counts.bytes,
        states=written.summary.counts.states,
        problems=written.summary.problems,
        seconds=round(time.monotonic() - began, 3),
    )


def refuse(place: Workplace, seen: Look) -> None:
    """Refuse a store that cannot be made, a name that cannot be had, and a store of another project.

    There, versions, days and what is newest would be mixed up.
    Raises `StoreError`, `SettingsError`, and `ProjectError` for a version that the project contradicts.
    """
    place.refuse_stated(seen.header.version, seen.header.stated)
    place.store.refuse(seen.header, instant())
    project = seen.header.project
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
        stated=header.stated,
        left_out_by=seen.left_out_by(),
        proved=proved,
        problems=selection.problems,
        dropped=tuple(Dropped(printable(each.path), str(each.rule)) for each in selection.dropped),
    )


def _dated(header: Header, made: Instant) -> Header:
    """Return a header that bears the moment, unless it bears that of SOURCE_DATE_EPOCH."""
    return header if _epoch() else msgspec.structs.replace(header, created=made.utc)


def _report_tag(place: Workplace, header: Header) -> None:
    """Say so if the version is tagged at another commit: this backup is then the newest of that version."""
    repository = place.repository
    if repository is None or header.version is None:
        return
    tagged = repository.tag_commit(tag_name(header.version))
    if tagged not in (None, header.commit):
        place.console.say(
            f"Note: v{header.version} is tagged at {str(tagged)[:12]}, and this backup is of "
            f"{(header.commit or '')[:12]}; it becomes the newest of that version"
        )


def _report_clock(place: Workplace, made: Instant) -> None:
    """Say so if the newest backup was published later than now: the clock is wrong, or was then."""
    newest = place.store.ledger().last("publish")
    before = (newest.created or newest.time) if newest else ""
    if is_moment(before) and before > made.utc:
        place.console.say(
            f"The clock says {made.utc}, but the newest backup was made at {before}; check the clock "
            "(no backup is replaced, and their order is that in which they were made)"
        )


def _would_back_up(place: Workplace, seen: Look) -> BackedUp:
    states: dict[str, int] = {}
    for source in seen.selection.sources:
        if source.state:
            states[source.state] = states.get(source.state, 0) + 1
    return msgspec.structs.replace(_result(place, seen, proved=False), states=states)


@contextmanager
def _draft(place: Workplace, header: Header, made: Instant) -> Iterator[ReleaseDraft | DailyDraft]:
    if header.version is None:
        with place.store.new_daily(header, made) as daily_draft:
            yield daily_draft
    else:
        with place.store.new_release(header, made) as draft:
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
            done = writer.write_archive(draft.file, draft.header, tree, advance)
    finally:
        os.close(root)
    if not done.summary.counts.files:
        raise StoreError("not one file could be read; nothing was published")
    return Written(done.summary, done.size, done.sha256.hex(), done.index.hex())


def _commit(place: Workplace, draft: ReleaseDraft | DailyDraft, written: Written) -> Published:
    """Publish a draft, a daily one proved."""
    if isinstance(draft, ReleaseDraft):
        with open_for_reading(draft.path) as (read_at, size):
            reader = open_archive(read_at, size)
            entries: Iterator[Entry] = reader.entries() if reader else iter(())
            return draft.commit(written, entries)
    verified = verify_draft(place, draft.path, draft.archive, written.sha256)
    if not verified.sound:
        raise DamageError(f"nothing was published: {verified.findings[0]}; check the disk of the store")
    return draft.commit(written, proof_of(verified, written.size, written.sha256))
