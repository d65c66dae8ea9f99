"""restore: bring a backup back, whole, in part, or its configuration only."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator, Set
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal, get_args

import msgspec

import backup_lib
from backup_lib.archive.apart import apart
from backup_lib.archive.extract import Placement, Wish, extract, place
from backup_lib.archive.reader import Reader, index_digest, open_for_reading, open_with_flaw
from backup_lib.archive.replay import extract_plain, place_plain
from backup_lib.archive.target import Target
from backup_lib.archive.wall import Ground
from backup_lib.clock import now
from backup_lib.destination import Destination, opened
from backup_lib.errors import (
    DamageError,
    NoSuchBackupError,
    RestoreError,
    StoreError,
    printable,
    shell_word,
    translated,
)
from backup_lib.hooks import found_hooks, run_hook
from backup_lib.keep_out import discard_restored, keep_restored_out
from backup_lib.merge import refuse_conflicts, refuse_ground, refuse_taboo, refuse_unheld, sweep_beside
from backup_lib.progress import Advance, Console, Silent
from backup_lib.safety import back_up_for_safety, held_by, would_be_held
from backup_lib.settings import one_of
from backup_lib.store.ledger import Record
from backup_lib.store.listing import Backup
from backup_lib.text import as_file_name
from backup_lib.workplace import Workplace

__all__ = ["Overwrite", "Request", "Restored", "parse_overwrite", "restore"]

Overwrite = Literal["never", "if-changed", "always"]


def parse_overwrite(text: str | None) -> Overwrite | None:
    """Return what to do with files that are there, from its flag; raises `SettingsError`."""
    if text is None:
        return None
    overwrite: Overwrite = one_of(text, get_args(Overwrite), "--overwrite")  # type: ignore[assignment]
    return overwrite


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be restored, and where to."""

    version: str | None = None
    """None or ``latest`` for the newest backup."""
    archive: Path | None = None
    """An archive by its path, instead of one of the store."""
    to: Path | None = None
    """Target folder; None for a new one below the root."""
    paths: tuple[str, ...] = ()
    """gitignore-like patterns; empty for everything."""
    strip: int = 0
    overwrite: Overwrite | None = None
    """None: ``never``, and in place ``if-changed``."""
    in_place: bool = False
    outside_links: bool = False
    unlimited: bool = False
    """Let an archive of any maker ask for as much as it likes."""
    setup: bool = False
    test: bool = False


class Restored(msgspec.Struct, frozen=True):
    """A restore that was done, or would be."""

    archive: str
    to: str
    files: int
    """Files written."""
    bytes: int
    """Bytes of their content."""
    unchanged: int = 0
    """Files that were there already, with the same content."""
    skipped: tuple[str, ...] = ()
    """Devices, fifos and the like, never restored."""
    note: str = ""
    """What is odd about the archive, though it was restored."""
    safety: str | None = None
    """The backup that was made of what was there before."""
    go_back: str | None = None
    """The command that undoes a restore in place."""
    ran: tuple[str, ...] = ()
    """The project's own commands that were run."""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class _Job:
    """One archive, and all that is known before it is opened."""

    path: Path
    wish: Wish
    request: Request
    destination: Destination
    store: Path
    is_managed: bool
    """Whether it has, or had, an index."""
    dry_run: bool
    held: Set[bytes] | None
    """In place: the paths that the safety backup holds."""


@dataclass(frozen=True, slots=True)
class _Plan:
    """What of an archive goes where, and how it is written there."""

    placement: Placement
    write: Callable[[Target, Advance], None]
    stored: int = 0
    """Bytes of content for which there must be room, where that is known before."""
    note: str = ""
    """What is odd about the archive."""
    is_indexed: bool = False


class _Taken(msgspec.Struct, frozen=True):
    """What was taken out of an archive, as in `Restored`."""

    files: int
    bytes: int
    unchanged: int
    skipped: tuple[str, ...]
    note: str


def restore(workplace: Workplace, request: Request) -> Restored:
    """Restore a backup of the store, or any archive.

    Raises `NoSuchBackupError`, `RestoreError` where it was refused, and `DamageError` where what is wanted
    cannot be read back as it was.
    """
    began = time.monotonic()
    backup = None if request.archive else workplace.store.find(request.version)
    path = backup.archive if backup else _named_archive(request)

    def restore_it(workplace: Workplace, held: Set[bytes] | None = None) -> Restored:
        with workplace.store.reading("restore") if backup else nullcontext(), _told_damage(path):
            if backup and not path.exists():
                raise NoSuchBackupError(f"{backup.name} was removed just now; try again")
            return _restore_from(workplace, request, path, held)

    if request.in_place:
        held = would_be_held(workplace)
        planning = workplace if workplace.dry_run else replace(workplace, dry_run=True, console=Silent())
        done = restore_it(planning, held)  # what is refused is refused before a safety backup is made
        if not workplace.dry_run:
            done = _restore_in_place(workplace, partial(restore_it, workplace))
    else:
        done = restore_it(workplace)
    if backup:
        _record(workplace, backup, done)
    done = msgspec.structs.replace(done, seconds=round(time.monotonic() - began, 3))
    return done if workplace.dry_run else _run_hooks(workplace, request, done)


@contextmanager
def _told_damage(path: Path) -> Iterator[None]:
    """Say which archive is damaged."""
    try:
        yield
    except DamageError as error:
        raise DamageError(f"{path.name} is damaged: {error}") from error


def _named_archive(request: Request) -> Path:
    if request.archive is None or not request.archive.is_file():
        raise NoSuchBackupError(f"there is no archive {printable(request.archive or '')}")
    return request.archive


def _restore_in_place(workplace: Workplace, restore_it: Callable[[Set[bytes]], Restored]) -> Restored:
    """Make a safety backup and prove it, restore over the project, and say how to go back."""
    safety = back_up_for_safety(workplace)
    root = "" if Path.cwd().is_relative_to(workplace.root) else f" --root {shell_word(str(workplace.root))}"
    go_back = f"invoke restore --version {safety.version} --in-place --overwrite always{root}"
    workplace.console.say(f"What is here now is safe in {safety.archive}; to go back: {go_back}")
    done = restore_it(held_by(safety))
    return msgspec.structs.replace(done, safety=str(safety.archive), go_back=go_back)


def _restore_from(workplace: Workplace, request: Request, path: Path, held: Set[bytes] | None) -> Restored:
    to = _target_of(workplace, request, path)
    if request.to is not None:
        refuse_ground(to, workplace.store.path)
    index = _index_of(path)
    is_ours = _is_ours(workplace, path, index)
    wish = Wish(
        wanted=_matcher(request.paths) if request.paths else None,
        strip=request.strip or int(request.in_place),
        outside_links=request.outside_links or is_ours,
        unlimited=request.unlimited or is_ours or workplace.store.knows(index),
    )
    is_managed = not is_ours and request.archive is None and _is_managed(workplace, path)
    with (
        translated(RestoreError, "restoring", folder=to),
        _restored_folder(workplace, request, to),
        opened(to, workplace.dry_run) as destination,
    ):
        store, dry_run = workplace.store.path, workplace.dry_run
        job = _Job(path, wish, request, destination, store, is_managed, dry_run, held)
        if is_ours:
            taken = _take_out(job, workplace.console)
        else:
            ground = Ground(path, destination.folder, writes=not workplace.dry_run)
            taken = apart(partial(_take_out, job), _Taken, ground, workplace.console)
    return Restored(
        archive=str(path),
        to=str(to),
        files=taken.files,
        bytes=taken.bytes,
        unchanged=taken.unchanged,
        skipped=tuple(map(printable, taken.skipped)),
        note=printable(taken.note),
    )


def _is_managed(workplace: Workplace, path: Path) -> bool:
    return any(backup.archive == path and backup.order for backup in workplace.store.backups())


def _index_of(path: Path) -> str:
    """Return the digest of the index of an archive (hex), or "" where it has none that fits its trailer.

    Nothing that the index says is looked at.
    """
    with translated(RestoreError, "restoring", folder=path), open_for_reading(path) as (read_at, size):
        return index_digest(read_at, size).hex()


def _is_ours(workplace: Workplace, path: Path, index: str) -> bool:
    """Whether the store published this very archive: the digest of its index, which vouches for the rest."""
    for backup in workplace.store.backups() if index else ():
        if backup.archive.samefile(path):
            with suppress(DamageError):  # its manifest cannot be read, so nothing vouches for it
                expected = workplace.store.expected(backup, index)
                return backup.order > 0 and expected is not None and expected.index == index
    return False


def _take_out(job: _Job, console: Console) -> _Taken:
    """Take out of an archive what is wished for; all that it says is believed here, and nowhere else."""
    with (
        translated(RestoreError, "restoring", folder=job.path),
        open_for_reading(job.path) as (read_at, size),
    ):
        reader, flaw = open_with_flaw(read_at, size)
        with _told_what_works(job, reader):
            if not job.request.paths and not flaw and reader and reader.after_blocks() != reader.tail():
                flaw = "what carries its index is damaged, or something follows it"
            if flaw and not (reader and job.request.paths):
                raise DamageError(flaw)
            if reader is None and job.is_managed:
                raise DamageError("its index is missing, so it was cut off or replaced")
            return _take_out_of(job, reader, console)


@contextmanager
def _told_what_works(job: _Job, reader: Reader | None) -> Iterator[None]:
    """Say what can be done about damage, besides what was tried."""
    request = job.request
    try:
        yield
    except DamageError as error:
        which = f" --version {shell_word(request.version)}" if request.version else ""
        if request.archive:
            which = f" --archive {shell_word(str(request.archive))}"
        if reader is None:
            works = f"tar brings back what it can: tar -xf {shell_word(str(job.path))}"
        elif request.paths:
            works = f"'invoke verify{which}' names all that is lost; what it does not name comes back"
        else:
            works = f"'invoke verify{which}' names all that is lost; --path brings back the rest"
        raise DamageError(f"{error}; {works}") from error


def _take_out_of(job: _Job, reader: Reader | None, console: Console) -> _Taken:
    plan = _indexed(job, reader) if reader else _plain(job)
    placement = plan.placement
    is_empty = not (placement.contents or placement.links or placement.folders)
    if is_empty and (job.request.paths or job.request.strip or plan.is_indexed):
        what = " ".join(job.request.paths) or "what is asked for"
        raise RestoreError(f"nothing in {job.path.name} matches {what}")
    if plan.note:
        console.say(f"{printable(job.path.name)}: {plan.note}")
    with translated(RestoreError, "restoring", folder=job.destination.path):
        unchanged = _write(job, plan, console)
    return _Taken(
        files=len(placement.contents) + len(placement.hard_links) - len(unchanged),
        bytes=placement.size - sum(placement.contents[path][0] for path in unchanged),
        unchanged=len(unchanged),
        skipped=tuple(map(printable, placement.skipped)),
        note=plan.note,
    )


def _indexed(job: _Job, reader: Reader) -> _Plan:
    wish = replace(job.wish, parts=_parts_in(job.request.paths, as_file_name(reader.header.project)))
    placement = place(reader, wish)

    def write(target: Target, advance: Advance) -> None:
        extract(reader, placement, target, advance)

    return _Plan(placement, write, is_indexed=True)


def _plain(job: _Job) -> _Plan:
    placement = place_plain(job.path, job.wish)

    def write(target: Target, advance: Advance) -> None:
        extract_plain(job.path, placement, target, advance)

    return _Plan(placement, write, placement.stored, placement.note)


def _write(job: _Job, plan: _Plan, console: Console) -> list[bytes]:
    """Write into the destination; return the files that have their content already, and were not written."""
    to, folder = job.destination.path, job.destination.folder
    if folder is None:
        return []
    overwrite = job.request.overwrite or ("if-changed" if job.request.in_place else "never")
    target = Target(folder, merge=not job.destination.is_new, keep_equal=overwrite == "if-changed")
    if target.merge:
        refuse_conflicts(target, plan.placement, overwrite != "never", to)
        refuse_taboo(plan.placement, job.store, to)
        if job.held is not None:
            refuse_unheld(target, plan.placement, job.held, to)
    else:
        job.destination.refuse_without_room(plan.stored, job.path)
    if job.dry_run:
        contents = plan.placement.contents.items()
        return [path for path, (_, digest) in contents if target.keep_equal and target.holds(path, digest)]
    if target.merge:
        sweep_beside(folder, plan.placement)
    with console.bar(f"Restoring {printable(job.path.name)}", plan.placement.size) as advance:
        plan.write(target, advance)
    return target.kept


def _matcher(patterns: tuple[str, ...]) -> Callable[[bytes], bool]:
    """Return what tells whether a name in the archive, with or without its top folder, matches a pattern."""
    import pathspec

    try:
        spec = pathspec.GitIgnoreSpec.from_lines(patterns, backend="simple")
    except (ValueError, re.error) as error:
        raise RestoreError(f"--path cannot be used: {error}") from error

    def matches(name: bytes) -> bool:
        text = os.fsdecode(name)
        below_top = text.partition("/")[2]
        return spec.match_file(text) or (below_top != "" and spec.match_file(below_top))

    return matches


def _parts_in(patterns: tuple[str, ...], top: str) -> tuple[bytes, ...]:
    """Return a text for each pattern that the last part of every path it matches has.

    None at all where a pattern has none, or may match the top folder.
    """
    parts = [_literal_part(pattern) for pattern in patterns if not pattern.startswith(("#", "!"))]
    return tuple(map(os.fsencode, parts)) if all(part and part not in top for part in parts) else ()


def _literal_part(pattern: str) -> str:
    """Return the longest text in the last part of a pattern that stands for itself."""
    if "\\" in pattern or "[" in pattern:
        return ""
    last = pattern.strip().rstrip("/").rpartition("/")[2]
    return max(re.split(r"[*?]", last), key=len)


def _target_of(workplace: Workplace, request: Request, path: Path) -> Path:
    if request.in_place:
        return workplace.root
    if request.to is not None:
        return request.to
    folder = path.parent.name
    label = folder if folder.startswith("v") else path.name.split(".tar")[0]
    return workplace.root / "restored" / label


@contextmanager
def _restored_folder(workplace: Workplace, request: Request, to: Path) -> Iterator[None]:
    """Make the folder that restores go to if none is named; it goes again if it is new and the body fails."""
    folder = to.parent
    made = not (workplace.dry_run or request.in_place or request.to) and keep_restored_out(folder)
    try:
        yield
    except BaseException:
        if made:
            discard_restored(folder)
        raise


def _record(workplace: Workplace, backup: Backup, done: Restored) -> None:
    record = Record(
        time=now(),
        act="restore",
        archive=backup.name,
        version=backup.version,
        tool=f"release-backup {backup_lib.__version__}",
        note=done.to,
    )
    if workplace.dry_run:
        return
    try:
        reason = workplace.store.record(record)
    except StoreError as error:  # it is done all the same
        reason = str(error)
    if reason:
        workplace.console.say(f"{done.to} is restored, but that is not noted in the ledger: {reason}")


def _run_hooks(workplace: Workplace, request: Request, done: Restored) -> Restored:
    if not (request.setup or request.test):
        return done
    folder = _project_in(Path(done.to))
    hooks = found_hooks(folder, workplace.settings.hooks)
    ran: list[str] = []
    if request.setup:
        ran.append(run_hook("setup", hooks.setup, folder))
    if request.test:
        ran.append(run_hook("test", hooks.test, folder))
    return msgspec.structs.replace(done, ran=tuple(ran))


def _project_in(folder: Path) -> Path:
    """Return the project's own folder: the one top folder of a whole restore, or the target itself."""
    inside = list(folder.iterdir())
    return inside[0] if len(inside) == 1 and inside[0].is_dir() else folder
