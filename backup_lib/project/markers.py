"""Folders that their tool makes again, known by more than their name: what is in, beside or above them."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping

from backup_lib.project.rules import Rule, built_in

__all__ = ["marked_from_outside", "marked_inside"]

Listing = Mapping[bytes, "os.DirEntry[str]"]
"""What stands in a folder, by name."""

_BESIDE = {b"target": b"Cargo.toml"}
"""Folders of these names that stand beside a file."""
_IN = {
    b"cache": (b".angular", b".nx", b".vitepress"),
    b"workspace-data": (b".nx",),
}
"""Folders of these names that stand in one of those."""
_TAG, _VENV = b"CACHEDIR.TAG", b"pyvenv.cfg"
_SIGNATURE = b"Signature: 8a477f597d28d172789f06886806bc55"
"""What a CACHEDIR.TAG begins with, by https://bford.info/cachedir/."""


def marked_from_outside(parent: bytes, name: bytes, beside: Listing) -> Rule | None:
    """Return the rule for the folder `name` in `parent`, given what stands beside it, if there is one.

    `parent` is empty for the root, else it ends with ``/``.
    """
    marker = _BESIDE.get(name)
    if marker is not None and _is_file(beside, marker):
        return built_in(f"{os.fsdecode(name)}/ beside {os.fsdecode(marker)}")
    for above in _IN.get(name, ()):
        if (b"/" + parent).endswith(b"/" + above + b"/"):
            return built_in(f"{os.fsdecode(above)}/{os.fsdecode(name)}/")
    return None


def marked_inside(folder: int, inside: Listing) -> Rule | None:
    """Return the rule for an open folder, given what stands in it, if there is one."""
    if _is_file(inside, _VENV):
        return built_in("pyvenv.cfg in it")
    if _is_file(inside, _TAG) and _begins(folder, _TAG, _SIGNATURE):
        return built_in("CACHEDIR.TAG in it")
    return None


def _is_file(listing: Listing, name: bytes) -> bool:
    entry = listing.get(name)
    return entry is not None and entry.is_file(follow_symlinks=False)


def _begins(folder: int, name: bytes, content: bytes) -> bool:
    """Whether a regular file begins with some bytes; one that cannot be read does not."""
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except OSError:
        return False
    try:
        return stat.S_ISREG(os.fstat(fd).st_mode) and os.read(fd, len(content)) == content
    except OSError:
        return False
    finally:
        os.close(fd)
