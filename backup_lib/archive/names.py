"""Names and links in an archive that may be allowed onto a disk."""

from __future__ import annotations

import re

from backup_lib.errors import RestoreError, printable

__all__ = ["check_link", "inner_path"]

_LONGEST = 255
"""Bytes of a name on a disk."""
_DOTS = re.compile(rb"/\.\.?/")
_DEEPEST = 2048
"""More folders below each other are refused: no path that the kernel takes at once has more."""


def inner_path(name: bytes) -> bytes:
    """Return `name` as a path below the target, without ``/`` before it and ``.`` in it, as tar does.

    Raises `RestoreError` where it leads out, or is no name a file can have.
    """
    framed = b"/%b/" % name
    if len(name) <= _LONGEST and not (b"\0" in name or b"//" in framed or _DOTS.search(framed)):
        return name  # nearly every name: there is nothing to look at part by part
    parts = [part for part in name.split(b"/") if part not in (b"", b".")]
    if b".." in parts:
        raise RestoreError(f"refused: the name {printable(name)} leads out of the target")
    if b"\0" in name or len(parts) > _DEEPEST or any(len(part) > _LONGEST for part in parts):
        raise RestoreError(f"refused: {printable(name[:200])} is no name a file can have")
    return b"/".join(parts)


def check_link(path: bytes, target: bytes) -> None:
    """Refuse a symlink at `path` below the target folder that points out of that folder.

    Raises `RestoreError`.
    """
    up, down = path.count(b"/"), 0
    outside = target.startswith(b"/") or not target
    for part in target.split(b"/"):
        if part == b"..":
            up -= 1
            outside = outside or up < 0 or down > 0  # what is left again may itself have been a link
        elif part not in (b"", b"."):
            down += 1
    if outside:
        raise RestoreError(
            f"refused: the link {printable(path)} -> {printable(target)} leads out of the target; "
            "--outside-links restores it as recorded"
        )
