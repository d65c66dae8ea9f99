"""Changing the changelog as a file: in one step, and only where something changes."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from backup_lib.errors import ProjectError, printable, translated
from backup_lib.filesystem import replace_file, sweep_partials, sync_folder
from backup_lib.project.changelog import Insertion, is_title, noting, without_note
from backup_lib.project.reading import read_within, within
from backup_lib.text import utf8

__all__ = [
    "Began",
    "Edit",
    "Noted",
    "plan_note",
    "plan_removal",
    "read_changelog",
    "refuse_changelog",
    "sweep",
]

Began = Literal["nothing", "title", "file"]
"""What a release put where there was nothing: the title into an empty changelog, or also the file itself."""

_MOST = 16 << 20
"""Bytes of a changelog."""
_UTF16 = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True, slots=True)
class Noted:
    """What is known of one note in the changelog."""

    inserted: Insertion
    name: str
    """The file name of the archive: a line that has it, whatever else it says, came from the note."""


@dataclass(frozen=True, slots=True)
class Edit:
    """What the changelog is to become."""

    file: Path
    """Not a link."""
    text: bytes | None
    """None where the file goes."""
    mode: int | None
    """Permission bits; None where the file is not there yet."""

    def write(self) -> None:
        """Do it in one step; raises `ProjectError`."""
        with translated(ProjectError, "writing the changelog", folder=self.file):
            if self.text is None:
                self.file.unlink(missing_ok=True)
                sync_folder(self.file.parent)
            else:
                replace_file(self.file, self.text, 0o644 if self.mode is None else self.mode)


def read_changelog(path: Path) -> bytes:
    """Return the changelog at `path`; empty where there is none.

    Raises `ProjectError` where it cannot be read, is UTF-16, or a link that leads out of its folder.
    """
    return _read(path)[1]


def refuse_changelog(path: Path) -> None:
    """Refuse a changelog that cannot be noted in: one that cannot be read, or a folder that takes no file.

    Raises `ProjectError`.
    """
    read_changelog(path)
    if not os.access(path.parent, os.W_OK | os.X_OK):
        cause = "may not be written to" if path.parent.is_dir() else "is not there"
        raise ProjectError(
            f"the changelog {printable(path)} cannot be written: its folder {cause}; "
            "put that right, or let backup.changelog name another file"
        )


def plan_note(path: Path, version: str, detail: str, date: str) -> tuple[Edit, Insertion] | None:
    """Return how the changelog at `path` gets the line of a backup; None where that stands there.

    A missing file is to be made. A link is followed to the file.

    Raises `ProjectError` like `read_changelog`.
    """
    file, text, mode = _read(path)
    noted, inserted = noting(text, version, detail, date)
    return None if noted == text else (Edit(file, noted, mode), inserted)


def plan_removal(path: Path, notes: Sequence[Noted], began: Began) -> Edit | None:
    """Return how notes, told from the oldest on, are taken out of the changelog; None where none is there.

    What a release began goes, too, where nothing else is in it: the title, and the file itself.

    Raises `ProjectError` like `read_changelog`, and where a person has edited what was put in.
    """
    file, before, mode = _read(path)
    after = before
    for note in reversed(notes):
        after = without_note(after, note.inserted)
    for note in notes:
        if utf8(note.name) in after:
            name, where = printable(note.name), printable(path)
            raise ProjectError(f"the line of {name} in {where} was edited; first take it out yourself")
    if after == before:
        return None
    if began != "nothing" and is_title(after):
        after = b""
    return Edit(file, None if began == "file" and not after.strip() else after, mode)


def sweep(path: Path) -> None:
    """Remove what a killed `Edit` of the changelog at `path` left beside it; raises `ProjectError`."""
    file = within(path.parent, path.parent, path.name)
    if file.parent.is_dir():
        with translated(ProjectError, "sweeping beside the changelog"):
            sweep_partials(file)


def _read(path: Path) -> tuple[Path, bytes, int | None]:
    """Return the file, its text and its permission bits; no text and None where no file is there."""
    with translated(ProjectError, "reading the changelog"):
        file = within(path.parent, path.parent, path.name)
        try:
            text = read_within(file.parent, file.parent, file.name, _MOST)
        except FileNotFoundError:
            return file, b"", None
        mode = stat.S_IMODE(file.stat(follow_symlinks=False).st_mode)
    if text.startswith(_UTF16):
        raise ProjectError(f"the changelog {printable(path)} is UTF-16; save it as UTF-8")
    return file, text, mode
