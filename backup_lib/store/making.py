"""Which folder is a store, which one can become one, and how it is made."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from backup_lib import filesystem
from backup_lib.errors import StoreError, printable
from backup_lib.store.layout import GITIGNORE, LEDGER, LOCK, archive_format

__all__ = [
    "absence",
    "is_bare",
    "is_store",
    "make_store",
    "refuse_dangling",
    "refuse_making",
    "write_gitignore",
]

_EVERYTHING = b"*\n"
_NO_CONTENT = ("README", "lost+found")
"""What a folder may hold that is still taken for empty, besides dot names."""


def is_store(folder: Path) -> bool:
    """Report whether a folder is a store: it holds a ledger.

    Raises `StoreError` if something else has the ledger's name, `OSError` if that cannot be seen.
    """
    try:
        facts = os.lstat(folder / LEDGER)
    except (FileNotFoundError, NotADirectoryError):
        return False
    if not stat.S_ISREG(facts.st_mode):
        raise StoreError(
            f"{printable(folder / LEDGER)} is no regular file, so the ledger cannot be read; "
            "put the file itself there"
        )
    return True


def refuse_dangling(path: Path) -> None:
    """Refuse a path of which a part is a link that leads nowhere; raises `StoreError`."""
    for part in (path, *path.parents):
        if part.is_symlink() and not part.exists():
            raise StoreError(
                f"the store {printable(path)} cannot be reached: {printable(part)} is a link to "
                f"{printable(os.readlink(part))}, which is not there; mount the disk, or remove the link"
            )


def absence(folder: Path) -> str:
    """Return the line for a store outside the project that is not there."""
    return (
        f"{printable(folder)} holds no ledger.jsonl, so it is no store; mount the disk, "
        "or make a new store there with: invoke backup --new-store"
    )


def refuse_making(folder: Path, is_outside: bool, is_new: bool) -> None:
    """Refuse to make a store of a folder that is none yet, unless it is plain that one is wanted there.

    Outside the project only `is_new` makes one: a disk may be missing, and the folder be its mount point.
    One that holds other things stays what it is, anywhere.

    Raises `StoreError`.
    """
    if is_store(folder):
        return
    if is_outside and not is_new:
        raise StoreError(absence(folder))
    names = os.listdir(folder) if folder.is_dir() else []
    others = sorted(name for name in names if not name.startswith((".", *_NO_CONTENT)))
    if others and not any(archive_format(name) or _is_version_folder(folder / name) for name in others):
        raise StoreError(
            f"{printable(folder)} holds other things ({printable(others[0])}), so it cannot become a store; "
            "choose a folder that is empty, or holds backups, with backup.store"
        )


def _is_version_folder(path: Path) -> bool:
    """Report whether a folder is called like those of versions, as anybody writes them: ``v2``, ``v1.0``."""
    return re.match(r"v\d", path.name) is not None and path.is_dir()


def make_store(folder: Path) -> None:
    """Put an empty ledger into a folder that has none, and fsync it; the folder must be held alone.

    Raises `OSError`, also for a ledger that cannot be written to: before anything else is.
    """
    was_there = is_store(folder)
    os.close(filesystem.open_regular(folder / LEDGER, os.O_RDWR | os.O_CREAT))
    if not was_there:
        filesystem.sync_folder(folder)


def is_bare(folder: Path) -> bool:
    """Report whether a folder holds nothing but what makes a store of it."""
    return set(os.listdir(folder)) <= {LOCK, LEDGER}


def write_gitignore(folder: Path) -> None:
    """Let git, npm and their like pass over all that is in a folder: put a ``.gitignore`` with ``*`` there.

    One that is there stays as it is. Raises `OSError`.
    """
    if not os.path.lexists(folder / GITIGNORE):
        filesystem.replace_file(folder / GITIGNORE, _EVERYTHING, 0o644)
