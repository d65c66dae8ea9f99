"""Before a restore writes: what forbids it, and what is swept in a folder that is there."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Set
from contextlib import suppress
from pathlib import Path

from backup_lib.archive.extract import Placement
from backup_lib.archive.target import Target, is_unnamed
from backup_lib.errors import RestoreError, printable
from backup_lib.filesystem import OPEN_DIRECTORY, open_beneath

__all__ = ["refuse_conflicts", "refuse_ground", "refuse_taboo", "refuse_unheld", "sweep_beside"]


def refuse_ground(to: Path, store: Path) -> None:
    """Refuse a target, there or not, that lies in the store or in the folder of a git repository."""
    real = Path(os.path.realpath(to))
    if ".git" in real.parts or real.is_relative_to(os.path.realpath(store)):
        raise RestoreError(
            f"the target {printable(to)} lies in the store or a git repository; choose another with --to"
        )


def refuse_conflicts(target: Target, placement: Placement, overwrites: bool, to: Path) -> None:
    """Refuse what would be overwritten without being asked, or cannot be."""
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
    if there and not overwrites:
        more = f" and {len(there) - 1} more" if len(there) > 1 else ""
        raise RestoreError(
            f"{printable(there[0])}{more} would be overwritten in {to}; "
            "choose a new folder with --to, or say --overwrite if-changed"
        )


def refuse_taboo(placement: Placement, store_path: Path, to: Path) -> None:
    """Refuse to write into the store or a git repository: no safety backup holds what is there."""
    store = os.fsencode(os.path.relpath(store_path, os.path.realpath(to)))
    for path in (*placement.places(), *placement.folders.values()):
        if b".git" in path.split(b"/") or path == store or path.startswith(store + b"/"):
            raise RestoreError(
                f"{printable(path)} would be written into the store or a git repository in {to}; "
                "restore it into a new folder with --to"
            )


def refuse_unheld(target: Target, placement: Placement, held: Set[bytes], to: Path) -> None:
    """Refuse to write over what is there, is something else, and is not `held` by the safety backup."""
    links = dict(placement.links.values())
    for path in placement.places():
        if path in held or _kind_at(target, path) is None:
            continue
        _, digest = placement.contents.get(path, (0, b""))
        if not (target.holds(path, digest) or (path in links and target.link_at(path) == links[path])):
            raise RestoreError(
                f"{printable(path)} would be overwritten in {to}, and the safety backup does not hold it, "
                "for a rule leaves it out; move it away, or restore into a new folder with --to"
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


def sweep_beside(folder: int, placement: Placement) -> None:
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
