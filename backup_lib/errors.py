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
import shlex
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from backup_lib.text import utf8

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
    "escaped",
    "named",
    "printable",
    "reason_of",
    "shell_word",
    "shortened",
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
    if name is None or isinstance(name, int):  # the number of an open file tells nobody anything
        where = printable(place)
    elif place and not os.path.isabs(os.fsdecode(name)):
        where = f"{printable(name)} in {printable(place)}"
    else:
        where = printable(name)
    return f"{cause.strerror or cause}{': ' if where else ''}{where}"


def printable(name: bytes | str | os.PathLike[str]) -> str:
    """Return a file name as one line of safe text: controls and broken UTF-8 are escaped.

    What was escaped before stays as it is.
    """
    text = name.decode("utf-8", "surrogateescape") if isinstance(name, bytes) else os.fspath(name)
    return text if text.isprintable() else "".join(map(_visible, text))


def escaped(text: str) -> str:
    """Return text with each of its bytes escaped, as `printable` does it."""
    return "".join(f"\\x{byte:02x}" for character in text for byte in _raw(character))


def shortened(text: str, most: int) -> str:
    """Return text as one line of safe text of at most `most` bytes of UTF-8, at least 16.

    Of a longer one the middle gives way to ``…``: the cause stands at its start, the advice at its end.
    """
    if len(text) > 2 * most:  # escaping makes it longer still
        text = f"{text[:most]}…{text[-most:]}"
    line = printable(text).encode()
    if len(line) <= most:
        return line.decode()
    room = most - len("…".encode())
    start, end = line[: room // 2], line[room // 2 - room :]
    return f"{start.decode(errors='ignore')}…{end.decode(errors='ignore')}"


def shell_word(text: str) -> str:
    """Return one word of a command that a person pastes into a shell: printable, and the shell reads `text`.

    Where quotes do not do, it is in the form ``$'…'`` of POSIX 2024, with octal escapes: of hexadecimal ones
    shells differ in how many digits they take.
    """
    if text.isprintable():
        return shlex.quote(text)
    return "$'" + "".join(map(_shell_visible, text)) + "'"


def counted(number: int, noun: str) -> str:
    """Return ``1 file``, ``2 files``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _visible(character: str) -> str:
    return character if character.isprintable() else escaped(character)


def _shell_visible(character: str) -> str:
    if character in "\\'":
        return f"\\{character}"
    if character.isprintable():
        return character
    return "".join(f"\\{byte:03o}" for byte in _raw(character))


def _raw(character: str) -> bytes:
    """Return the bytes of a character of a file name; text that the locale does not know stands for UTF-8.

    Half of a surrogate pair, which JSON may hold, stands for no byte.
    """
    for encoded in (os.fsencode, utf8):
        with suppress(UnicodeEncodeError):
            return encoded(character)
    return character.encode("utf-8", "surrogatepass")
