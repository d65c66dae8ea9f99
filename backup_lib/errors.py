"""Every error this package raises on purpose.

BackupError                    1    refused or failed, nothing published
├── SettingsError              1    a setting or a flag that cannot be used
├── ProjectError               1    the project cannot be read, tagged or described
├── StoreError                 1    the store cannot be read or written
├── RestoreError               1    a restore was refused or failed
├── IncompleteError            3    published, but some sources could not be read, or kept changing
├── DamageError                4    an archive does not hold what it should
├── NoSuchBackupError         10    nothing in the store answers to that name
└── StoreHeldError            11    another process holds the store

The number is the exit code a task ends with.
A message is one line: what is wrong, where, and what to do.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = [
    "BackupError",
    "DamageError",
    "IncompleteError",
    "NoSuchBackupError",
    "ProjectError",
    "RestoreError",
    "SettingsError",
    "StoreError",
    "StoreHeldError",
    "counted",
    "named",
    "printable",
    "reason_of",
    "translated",
]


class BackupError(Exception):
    """The root of all errors of this package; its text is the one line a person reads."""

    exit_code = 1


class SettingsError(BackupError):
    """A setting or a flag that cannot be used."""


class ProjectError(BackupError):
    """The project cannot be read, tagged or described."""


class StoreError(BackupError):
    """The store cannot be read or written."""


class RestoreError(BackupError):
    """A restore was refused or failed."""


class IncompleteError(BackupError):
    """A backup was published, but some sources could not be read, or kept changing."""

    exit_code = 3


class DamageError(BackupError):
    """An archive does not hold what it should."""

    exit_code = 4


class NoSuchBackupError(BackupError):
    """Nothing in the store answers to that name."""

    exit_code = 10


class StoreHeldError(BackupError):
    """Another process holds the store."""

    exit_code = 11


@contextmanager
def translated(
    error: type[BackupError], doing: str, advice: str = "", folder: str | os.PathLike[str] = ""
) -> Iterator[None]:
    """Turn an ``OSError`` of the body into `error`: what was being done, the cause, where, what to do.

    Where the cause names no file, or only one below a folder it does not name, `folder` is told.
    """
    try:
        yield
    except OSError as cause:
        what_to_do = f"; {advice}" if advice else ""
        raise error(f"{doing} failed: {reason_of(cause, folder)}{what_to_do}") from cause


def named(error: OSError, path: str | os.PathLike[str]) -> OSError:
    """Return an error of an open file with the file's name."""
    return OSError(error.errno, error.strerror, os.fspath(path))


def reason_of(cause: OSError, folder: str | os.PathLike[str] = "") -> str:
    """Return what the system says, and of which file; where that is not told whole, it is in `folder`."""
    name = cause.filename if cause.filename2 is None else cause.filename2  # what something was to become
    place = os.fspath(folder)
    if name is None:
        where = printable(place)
    elif place and not os.path.isabs(os.fsdecode(name)):
        where = f"{printable(name)} in {printable(place)}"
    else:
        where = printable(name)
    return f"{cause.strerror or cause}{': ' if where else ''}{where}"


def printable(name: bytes | str | os.PathLike[str]) -> str:
    """Return a file name as one line of safe text: controls and broken UTF-8 are escaped."""
    text = os.fsdecode(name) if not isinstance(name, int) else str(name)
    return text if text.isprintable() else "".join(map(_visible, text))


def counted(number: int, noun: str) -> str:
    """Return ``1 file``, ``2 files``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _visible(character: str) -> str:
    if character.isprintable():
        return character
    raw = character.encode("utf-8", "surrogateescape")
    return "".join(f"\\x{byte:02x}" for byte in raw)
