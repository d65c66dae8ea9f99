"""Where a restore goes: a new folder, which appears whole or not at all, or one that is there already."""

from __future__ import annotations

import fcntl
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from backup_lib.errors import RestoreError, printable
from backup_lib.filesystem import OPEN_DIRECTORY, remove_tree, rename_new, sync_file_system, sync_folder

__all__ = ["Destination", "opened"]


@dataclass(frozen=True, slots=True)
class Destination:
    """The folder that is restored into."""

    path: Path
    """What it is called, or will be."""
    folder: int | None
    """It, open; None where it would have to be made, and nothing is to be done."""
    is_new: bool

    def refuse_without_room(self, stored: int, archive: Path) -> None:
        """Refuse where there is no room for the `stored` bytes that an archive holds."""
        if self.folder is None:
            return
        facts = os.fstatvfs(self.folder)
        free = facts.f_bavail * facts.f_frsize
        if stored > free:
            raise RestoreError(
                f"{printable(archive.name)} holds {stored} bytes, and there is room for {free} in "
                f"{printable(self.path.parent)}; restore it elsewhere with --to, or a part of it with --path"
            )


@contextmanager
def opened(to: Path, dry_run: bool) -> Iterator[Destination]:
    """Yield the folder `to`; what the body writes there lasts when it has ended well.

    One that is not there appears then, and not at all where the body fails. A dry run makes nothing.
    Raises `RestoreError` where something else is called `to`, `OSError` where it cannot be made.
    """
    if not os.path.lexists(to):
        with _nothing() if dry_run else _made(to) as folder:
            yield Destination(to, folder, is_new=True)
        return
    if not to.is_dir():
        raise RestoreError(f"the target {printable(to)} is not a folder; choose another with --to")
    fd = os.open(to, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield Destination(to, fd, is_new=False)
        if not dry_run:
            sync_file_system(fd)
    finally:
        os.close(fd)


@contextmanager
def _nothing() -> Iterator[None]:
    yield None


@contextmanager
def _made(to: Path) -> Iterator[int]:
    """Yield a folder of another name, which is called `to` when the body has ended well."""
    missing = [above for above in to.parents if not above.exists()]
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        _sweep(to)
        with _partial(to) as (partial, folder):
            yield folder
            os.fchmod(folder, 0o777 & ~_umask())
            sync_file_system(folder)
            _name(partial, to)
    except BaseException:
        for above in missing:
            with suppress(OSError):  # another restore may be at work in it
                above.rmdir()
        raise


@contextmanager
def _partial(to: Path) -> Iterator[tuple[Path, int]]:
    """Yield a new folder beside `to`, held by a lock, and removed where the body fails."""
    partial = to.with_name(f"{_partial_start(to)}{secrets.token_hex(4)}.partial")
    partial.mkdir(mode=0o700)
    try:
        folder = os.open(partial, OPEN_DIRECTORY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield partial, folder
        finally:
            os.close(folder)
    except BaseException:
        remove_tree(partial)
        raise


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
