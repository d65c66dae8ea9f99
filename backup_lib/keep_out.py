"""Keeping backups, and what is restored from them, out of git and of packages: ``.env`` lies in them."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from backup_lib.project.git import Surroundings, surroundings
from backup_lib.store.layout import GITIGNORE, MANIFEST, archive_format
from backup_lib.store.making import write_gitignore
from backup_lib.workplace import Workplace

__all__ = ["discard_restored", "keep_restored_out", "keep_store_out"]

_EXAMPLES = (b"2026-11-22.tar.gz", b"v1.1.0/MANIFEST.txt", b"v1.1.0/demo_v1.1.0_20261122T214500Z.tar.gz")
"""Names as backups have them, below the store."""


def keep_store_out(place: Workplace) -> None:
    """Let git pass over the store: a new one, or one whose backups it does not ignore; within `writing`.

    If git tracks backups there, it is meant to, which is said.
    """
    store = place.store
    around = surroundings(store.path)
    if around and _tracks_backups(around):
        place.console.say(
            f"git tracks backups in {store.path}: what they hold goes into the history, .env included; "
            "if that is not meant, take them out with: git rm -r --cached"
        )
    elif store.is_bare() or (around and not around.ignores(_EXAMPLES)):
        store.write_gitignore()


def _tracks_backups(around: Surroundings) -> bool:
    names = (path.rpartition(b"/")[2].decode(errors="replace") for path in around.tracked())
    return any(name == MANIFEST or archive_format(name) for name in names)


def keep_restored_out(folder: Path) -> bool:
    """Make the folder that restores go to, with a ``.gitignore``; return whether it was made.

    Raises `OSError`.
    """
    if os.path.lexists(folder):
        return False
    folder.mkdir()
    write_gitignore(folder)
    return True


def discard_restored(folder: Path) -> None:
    """Remove the folder that restores go to, as it was made, if nothing else is in it."""
    with suppress(OSError):
        if os.listdir(folder) == [GITIGNORE]:
            os.unlink(folder / GITIGNORE)
            folder.rmdir()
