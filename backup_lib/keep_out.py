"""Keeping backups, and what is restored from them, out of git and of packages: ``.env`` lies in them."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import get_args

from backup_lib.clock import instant
from backup_lib.errors import shell_word
from backup_lib.model import Format
from backup_lib.project.git import Surroundings, surroundings
from backup_lib.store.layout import (
    GITIGNORE,
    LEDGER,
    MANIFEST,
    archive_format,
    archive_name,
    daily_name,
    stamp_of,
)
from backup_lib.store.making import write_gitignore
from backup_lib.workplace import Workplace

__all__ = ["discard_restored", "keep_restored_out", "keep_store_out"]


def keep_store_out(place: Workplace, version: str | None) -> None:
    """Let git pass over the store: a new one, or one whose backups it does not ignore; within `writing`.

    If git tracks backups there, or a ``.gitignore`` of somebody else lets it take them, that is said.
    `version` is that of the backup that comes next, None for a daily one.
    """
    store = place.store
    around = surroundings(store.path)
    if around and _tracks_backups(around):
        place.console.say(
            f"git tracks backups in {store.path}: what they hold goes into the history, .env included; "
            f"if that is not meant, take them out with: git rm -r --cached {shell_word(str(store.path))}"
        )
    elif store.is_bare():
        store.write_gitignore()
    elif around and not around.ignores(_names_to_come(place.project, version)):
        if os.path.lexists(store.path / GITIGNORE):
            place.console.say(
                f"git does not ignore the backups in {store.path}: 'git add' takes them, .env included; "
                f"put a line with * into {store.path / GITIGNORE}"
            )
        else:
            store.write_gitignore()


def _names_to_come(project: str, version: str | None) -> list[bytes]:
    """Return names as they may stand in the store from now on, paths below it."""
    now, version = instant(), version or "1.1.0"
    forms: tuple[Format, ...] = get_args(Format)
    archives = [archive_name(project, version, stamp_of(now.utc), form) for form in forms]
    in_folder = [f"v{version}/{name}" for name in (MANIFEST, *archives)]
    return list(map(os.fsencode, [LEDGER, *in_folder, *(daily_name(now.day, form) for form in forms)]))


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
