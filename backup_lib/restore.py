"""restore: bring a backup back, whole, in part, or its configuration only."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, get_args

import msgspec

import backup_lib
from backup_lib.archive.extract import Placement, Wish, extract, place
from backup_lib.archive.reader import Reader, open_archive, open_for_reading
from backup_lib.archive.replay import extract_plain, place_plain
from backup_lib.archive.target import Target, is_unnamed
from backup_lib.backup import Order, back_up
from backup_lib.errors import (
    DamageError,
    NoSuchBackupError,
    RestoreError,
    printable,
    translated,
)
from backup_lib.filesystem import (
    OPEN_DIRECTORY,
    open_beneath,
    remove_tree,
    rename_new,
    sync_file_system,
    sync_folder,
)
from backup_lib.hooks import found_hooks, run_hook
from backup_lib.progress import Advance
from backup_lib.project.version import parse_version, project_version
from backup_lib.settings import one_of
from backup_lib.store.ledger import Record
from backup_lib.store.listing import Backup
from backup_lib.store.lock import now
from backup_lib.verify import verify_backup
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
    """One archive, what of it goes where, and how it is written there."""

    path: Path
    placement: Placement
    write: Callable[[Target, Advance], None]
    stored: int = 0
    """Bytes of content for which there must be room, where that is known before."""
    note: str = ""
    """What is odd about the archive."""
    is_indexed: bool = False


def restore(workplace: Workplace, request: Request) -> Restored:
    """Restore a backup of the store, or any archive.

    Raises `NoSuchBackupError`, `RestoreError` where it was refused, and `DamageError` where what is wanted
    cannot be read back as it was.
    """
    began = time.monotonic()
    backup = None if request.archive else workplace.store.find(request.version)
    path = backup.archive if backup else _named_archive(request)

    def restore_it() -> Restored:
        with workplace.store.reading("restore") if backup else nullcontext(), _told_damage(path):
            if backup and not path.exists():
                raise NoSuchBackupError(f"{backup.name} was removed just now; try again")
            return _restore_from(workplace, request, path)

    in_place = request.in_place and not workplace.dry_run
    done = _restore_in_place(workplace, restore_it) if in_place else restore_it()
    if backup:
        _record(workplace, backup, done)
    done = msgspec.structs.replace(done, seconds=round(time.monotonic() - began, 3))
    return done if workplace.dry_run else _run_hooks(workplace, request, done)


@contextmanager
def _told_damage(path: Path) -> Iterator[None]:
    """Say which archive is damaged, and what can be done."""
    try:
        yield
    except DamageError as error:
        raise DamageError(
            f"{path.name} is damaged: {error}; 'invoke verify' names all that is lost, "
            "--path restores what is not, and tar reads up to the damage"
        ) from error


def _named_archive(request: Request) -> Path:
    if request.archive is None or not request.archive.is_file():
        raise NoSuchBackupError(f"there is no archive {printable(request.archive or '')}")
    return request.archive


def _restore_in_place(workplace: Workplace, restore_it: Callable[[], Restored]) -> Restored:
    """Make a safety backup and prove it, restore over the project, and say how to go back."""
    safety = _back_up_for_safety(workplace)
    go_back = f"invoke restore --version {safety.version} --in-place --overwrite always"
    workplace.console.say(f"What is here now is safe in {safety.archive}; to go back: {go_back}")
    done = restore_it()
    return msgspec.structs.replace(done, safety=str(safety.archive), go_back=go_back)


def _back_up_for_safety(workplace: Workplace) -> Backup:
    found = project_version(workplace.root, workplace.repository)
    core = parse_version(found[0]).finalize_version() if found else "0.0.0"
    version = f"{core}-safety.{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    made = back_up(workplace, Order(version, note="made before a restore in place"))
    if not made.complete:
        raise RestoreError(
            f"the safety backup lacks {printable(made.problems[0].path)} ({made.problems[0].reason}); "
            "nothing was restored: make the file readable, or restore with --to"
        )
    backup = workplace.store.find(version)
    with workplace.store.reading("restore"):
        verified = verify_backup(workplace, backup, "full")
    if not verified.sound:
        raise DamageError(f"the safety backup is damaged, so nothing was restored: {verified.findings[0]}")
    return backup


def _restore_from(workplace: Workplace, request: Request, path: Path) -> Restored:
    with translated(RestoreError, "restoring", folder=path), open_for_reading(path) as (read_at, size):
        reader = open_archive(read_at, size)
        if reader is None and request.archive is None and _is_managed(workplace, path):
            raise DamageError("its index is missing, so it was cut off or replaced")
        wish = _wish(workplace, request, path, reader)
        job = _indexed(path, reader, wish) if reader else _plain(path, wish)
        return _restore_job(workplace, request, job)


def _indexed(path: Path, reader: Reader, wish: Wish) -> _Job:
    placement = place(reader, wish)

    def write(target: Target, advance: Advance) -> None:
        extract(reader, placement, target, advance)

    return _Job(path, placement, write, is_indexed=True)


def _plain(path: Path, wish: Wish) -> _Job:
    placement = place_plain(path, wish)

    def write(target: Target, advance: Advance) -> None:
        extract_plain(path, placement, target, advance)

    return _Job(path, placement, write, placement.stored, placement.note)


def _restore_job(workplace: Workplace, request: Request, job: _Job) -> Restored:
    placement = job.placement
    is_empty = not (placement.contents or placement.links or placement.folders)
    if is_empty and (request.paths or request.strip or job.is_indexed):
        raise RestoreError(
            f"nothing in {job.path.name} matches {' '.join(request.paths) or 'what is asked for'}"
        )
    if job.note:
        workplace.console.say(f"{printable(job.path.name)}: {job.note}")
    to = _target_of(workplace, request, job.path)
    unchanged: list[bytes] = []
    with translated(RestoreError, "restoring", folder=to):
        if os.path.lexists(to):
            unchanged = _merge(workplace, request, job, to)
        elif not workplace.dry_run:
            _restore_new(workplace, job, to)
    return Restored(
        archive=str(job.path),
        to=str(to),
        files=len(placement.contents) + len(placement.hard_links) - len(unchanged),
        bytes=placement.size - sum(placement.contents[path][0] for path in unchanged),
        unchanged=len(unchanged),
        skipped=tuple(map(printable, placement.skipped)),
        note=job.note,
    )


def _is_managed(workplace: Workplace, path: Path) -> bool:
    return any(backup.archive == path and backup.order for backup in workplace.store.backups())


def _wish(workplace: Workplace, request: Request, path: Path, reader: Reader | None) -> Wish:
    return Wish(
        wanted=_matcher(request.paths) if request.paths else None,
        parts=_parts_in(request.paths, reader.header.project) if reader else (),
        strip=request.strip or int(request.in_place),
        outside_links=request.outside_links or (reader is not None and _is_ours(workplace, path, reader)),
    )


def _is_ours(workplace: Workplace, path: Path, reader: Reader) -> bool:
    """Whether the store published this very archive: its index, known to us, vouches for the rest."""
    index = reader.trailer.digest.hex()
    for backup in workplace.store.backups():
        if backup.archive.samefile(path):
            expected = workplace.store.expected(backup, index)
            return backup.order > 0 and expected is not None and expected.index == index
    return False


def _matcher(patterns: tuple[str, ...]) -> Callable[[bytes], bool]:
    """Return what tells whether a name in the archive, with or without its top folder, matches a pattern."""
    import pathspec

    try:
        spec = pathspec.GitIgnoreSpec.from_lines(patterns, backend="simple")
    except ValueError as error:
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


def _restore_new(workplace: Workplace, job: _Job, to: Path) -> None:
    """Restore into a new folder, which appears only when all of it is there."""
    to.parent.mkdir(parents=True, exist_ok=True)
    _sweep(to)
    _refuse_without_room(job, to.parent)
    partial = to.with_name(f"{_partial_start(to)}{secrets.token_hex(4)}.partial")
    partial.mkdir(mode=0o700)
    folder = os.open(partial, OPEN_DIRECTORY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        with workplace.console.bar(f"Restoring {job.path.name}", job.placement.size) as advance:
            job.write(Target(folder, merge=False), advance)
        os.fchmod(folder, 0o777 & ~_umask())
        sync_file_system(folder)
        _name(partial, to)
    except BaseException:
        remove_tree(partial)
        raise
    finally:
        os.close(folder)


def _refuse_without_room(job: _Job, folder: Path) -> None:
    facts = os.statvfs(folder)
    free = facts.f_bavail * facts.f_frsize
    if job.stored > free:
        raise RestoreError(
            f"{printable(job.path.name)} holds {job.stored} bytes, and there is room for {free} "
            f"in {printable(folder)}; restore it elsewhere with --to, or a part of it with --path"
        )


def _name(partial: Path, to: Path) -> None:
    parent = os.open(to.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        rename_new(partial.name, to.name, parent)
        sync_folder(parent)
    finally:
        os.close(parent)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _partial_start(to: Path) -> str:
    return f".{os.fsdecode(os.fsencode(to.name)[:200])}."


def _sweep(to: Path) -> None:
    """Remove what a killed restore to the same place left, where nobody is at work in it."""
    ours = re.compile(re.escape(_partial_start(to)) + r"[0-9a-f]{8}\.partial")
    for left in to.parent.iterdir():
        if not ours.fullmatch(left.name) or left.is_symlink() or not left.is_dir():
            continue
        fd = os.open(left, OPEN_DIRECTORY)
        try:
            with suppress(BlockingIOError):
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                remove_tree(left)
        finally:
            os.close(fd)


def _merge(workplace: Workplace, request: Request, job: _Job, to: Path) -> list[bytes]:
    """Restore into a folder that is there, each file in one step; return the files that were not written."""
    overwrite = request.overwrite or ("if-changed" if request.in_place else "never")
    if not to.is_dir():
        raise RestoreError(f"the target {printable(to)} is not a folder; choose another with --to")
    folder = os.open(to, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        target = Target(folder, merge=True, keep_equal=overwrite == "if-changed")
        _refuse_conflicts(target, job.placement, overwrite, to)
        _refuse_taboo(workplace, job.placement, to)
        if workplace.dry_run:
            contents = job.placement.contents.items()
            return [
                path for path, (_, digest) in contents if target.keep_equal and target.holds(path, digest)
            ]
        _sweep_beside(folder, job.placement)
        with workplace.console.bar(f"Restoring {job.path.name}", job.placement.size) as advance:
            job.write(target, advance)
        sync_file_system(folder)
        return target.kept
    finally:
        os.close(folder)


def _sweep_beside(folder: int, placement: Placement) -> None:
    """Remove what a killed restore into the same folder left beside the files that will be written.

    Whoever restores into a folder holds it shared until the end; as long as another one does, all stays.
    """
    beside: dict[bytes, set[bytes]] = {}
    for path in placement.places():
        parent, _, name = path.rpartition(b"/")
        beside.setdefault(parent, set()).add(name)
    with suppress(OSError):  # a file system without locks
        with suppress(BlockingIOError):
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for parent, names in beside.items():
                _sweep_names(folder, parent, names)
        fcntl.flock(folder, fcntl.LOCK_SH)


def _sweep_names(folder: int, parent: bytes, names: set[bytes]) -> None:
    """Remove the temporary files of `names` in a folder below the open one, if it is there."""
    try:
        fd = open_beneath(folder, parent, OPEN_DIRECTORY)
    except FileNotFoundError:
        return
    try:
        for left in map(os.fsencode, os.listdir(fd)):
            if is_unnamed(left, names):
                os.unlink(left, dir_fd=fd)
    finally:
        os.close(fd)


def _refuse_conflicts(target: Target, placement: Placement, overwrite: Overwrite, to: Path) -> None:
    """Refuse, before anything is written, what would be overwritten without being asked, or cannot be."""
    there: list[bytes] = []
    for path in placement.places():
        kind = _kind_at(target, path)
        if kind == stat.S_IFDIR:
            raise RestoreError(
                f"a folder stands at {printable(path)} in {to}, where a file would go; move it away"
            )
        if kind is not None:
            there.append(path)
    for folder in placement.folders.values():
        if _kind_at(target, folder) not in (None, stat.S_IFDIR):
            raise RestoreError(f"{printable(folder)} in {to} is no folder, where one would go; move it away")
    if there and overwrite == "never":
        more = f" and {len(there) - 1} more" if len(there) > 1 else ""
        raise RestoreError(
            f"{printable(there[0])}{more} would be overwritten in {to}; "
            "choose a new folder with --to, or say --overwrite if-changed"
        )


def _refuse_taboo(workplace: Workplace, placement: Placement, to: Path) -> None:
    """Refuse to write into a store or a git repository: no safety backup holds what is there."""
    store = os.fsencode(os.path.relpath(workplace.store.path, os.path.realpath(to)))
    for path in (*placement.places(), *placement.folders.values()):
        if b".git" in path.split(b"/") or path == store or path.startswith(store + b"/"):
            raise RestoreError(
                f"{printable(path)} would be written into the store or a git repository in {to}; "
                "restore it into a new folder with --to"
            )


def _kind_at(target: Target, path: bytes) -> int | None:
    try:
        return target.kind_at(path)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENOTDIR, errno.EXDEV):
            raise
        raise RestoreError(
            f"a link or a file stands in the way of {printable(path)} ({error.strerror}); move it away"
        ) from error


def _record(workplace: Workplace, backup: Backup, done: Restored) -> None:
    record = Record(
        time=now(),
        act="restore",
        archive=backup.name,
        version=backup.version,
        tool=f"release-backup {backup_lib.__version__}",
        note=done.to,
    )
    if not workplace.dry_run and not workplace.store.record(record):
        workplace.console.say("the store can only be read: the restore is not noted in its ledger")


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
