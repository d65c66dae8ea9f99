"""Reading the project's own files, when anybody may have written them.

No link leads out of the work tree, nothing is waited for, and of each file no more is read than it may have.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from backup_lib.errors import ProjectError, named, printable
from backup_lib.filesystem import SEE_FOLDER, open_beneath, read_regular

__all__ = ["StatementError", "read_within", "within"]

_MOST_LINKS = 40
"""As many as Linux follows on the way to one file."""


class StatementError(ProjectError):
    """A file of the project is broken, or what it states cannot be used; it could be read."""


def within(top: Path, root: Path, name: str) -> Path:
    """Return where the file that `root` has under a name lies, there or not; no part of that is a link.

    `top` is the folder that no step on the way may lead out of, `root` it or a folder in it,
    `name` a path from there.
    Raises `StatementError` where a step leads out, links lead to each other, or no file can have that name.
    """
    base = os.path.realpath(top)
    start = os.path.join(os.path.realpath(root), name)
    if "\0" in name:
        raise StatementError(f"{printable(start)} is no name a file can have; choose another")
    at: list[str] = []
    left = _steps(base, start, start)
    links = 0
    while left:
        part = left.pop()
        if part == "..":
            if not at:
                raise _leads_out(base, start)
            at.pop()
        elif (target := _link_at(os.path.join(base, *at, part))) is None:
            at.append(part)
        else:
            links += 1
            if links > _MOST_LINKS:
                raise StatementError(f"{printable(start)} is a link that leads nowhere; put a file there")
            if os.path.isabs(target):
                at.clear()
            left += _steps(base, target, start)
    return Path(base, *at)


def read_within(top: Path, root: Path, name: str, most: int) -> bytes:
    """Return the content of the regular file that `root` has under a name, found like `within`, at once.

    Raises `StatementError` as `within` does, and where it is no regular file or has more than `most` bytes,
    `OSError` where it cannot be read: `FileNotFoundError` where nothing is there,
    `IsADirectoryError` where a folder is.
    """
    path = within(top, root, name)
    folder = os.open(os.path.realpath(top), SEE_FOLDER)
    try:
        below = os.fsencode(os.path.relpath(path, os.path.realpath(top)))
        return read_regular(open_beneath(folder, below, os.O_RDONLY | os.O_NONBLOCK), most)
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.EFBIG):
            raise StatementError(
                f"{printable(path)} is not read: {error.strerror}; "
                f"put a plain file of at most {most} bytes there"
            ) from error
        raise named(error, path) from error
    finally:
        os.close(folder)


def _steps(base: str, path: str, start: str) -> list[str]:
    """Return the parts of a path, the last one first; of an absolute one those below `base`."""
    if os.path.isabs(path):
        if path != base and not path.startswith(base.rstrip(os.sep) + os.sep):
            raise _leads_out(base, start)
        path = path[len(base) :]
    return [part for part in reversed(path.split(os.sep)) if part not in ("", ".")]


def _leads_out(base: str, start: str) -> StatementError:
    return StatementError(
        f"{printable(start)} leads out of {printable(base)}, and links are followed inside it only; "
        "put the file itself there"
    )


def _link_at(path: str) -> str | None:
    """Return where a link leads; None for what is none, or not there."""
    try:
        return os.readlink(path)
    except OSError:
        return None
