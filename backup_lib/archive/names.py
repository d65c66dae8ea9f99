"""Names and links in an archive that may be allowed onto a disk."""

from __future__ import annotations

import re
from collections.abc import Container

from backup_lib.errors import RestoreError, printable
from backup_lib.filesystem import DEEPEST

__all__ = ["LONGEST_LINK", "LONGEST_NAME", "check_link", "inner_path", "shown"]

LONGEST_NAME = 255
"""Bytes of a name on a disk."""
_DOTS = re.compile(rb"/\.\.?/")
LONGEST_LINK = 4095
"""Bytes of the target of a symlink."""
_MOST_TURNS = 16
"""How often a link may go into a folder and out again; each time all folders are looked at."""
_SHOWN = 200
"""Bytes of a name that a message shows."""


def inner_path(name: bytes) -> bytes:
    """Return `name` as a path below the target, without ``/`` before it and ``.`` in it, as tar does.

    Raises `RestoreError` where it leads out, or is no name a file can have.
    """
    framed = b"/%b/" % name
    if len(name) <= LONGEST_NAME and not (b"\0" in name or b"//" in framed or _DOTS.search(framed)):
        return name  # nearly every name: there is nothing to look at part by part
    parts = [part for part in name.split(b"/") if part not in (b"", b".")]
    if b".." in parts:
        raise RestoreError(f"refused: the name {shown(name)} leads out of the target")
    if b"\0" in name or len(parts) > DEEPEST or any(len(part) > LONGEST_NAME for part in parts):
        raise RestoreError(f"refused: {shown(name)} is no name a file can have")
    return b"/".join(parts)


def check_link(path: bytes, target: bytes, folders: Container[bytes] = ()) -> None:
    """Refuse a symlink at `path` below the target folder that points out of that folder.

    `folders` are the paths at which there are folders for sure. What a link goes into elsewhere may be
    another link, so that ``..`` after it leads anywhere.
    Raises `RestoreError`.
    """
    if len(target) > LONGEST_LINK:
        raise RestoreError(f"refused: the link {shown(path)} is longer than any can be")
    at, unsure, turns = path.split(b"/")[:-1], 0, 0
    outside = target.startswith(b"/") or not target
    for part in target.split(b"/"):
        if outside:
            break
        if part == b"..":
            turns += unsure > 0
            outside = not at or turns > _MOST_TURNS or (unsure > 0 and b"/".join(at) not in folders)
            unsure = max(0, unsure - 1)
            del at[-1:]
        elif part not in (b"", b"."):
            at.append(part)
            unsure += 1
    if outside:
        raise RestoreError(
            f"refused: the link {shown(path)} -> {shown(target)} leads out of the target; "
            "--outside-links restores it as recorded"
        )


def shown(name: bytes) -> str:
    """Return a name as a line of a message has room for it."""
    return printable(name if len(name) <= _SHOWN else name[:_SHOWN] + b"...")
