"""What is there, told so exactly that every change shows."""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Snapshot", "Thing", "taken"]

_WHOLE = 4 << 20
"""Bytes up to which all of a file is read; of a longer one (sparse, of gigabytes) both ends."""
_END = 1 << 16


@dataclass(frozen=True, slots=True)
class Thing:
    """One name in a folder, and what it stands for."""

    kind: int
    """As in ``stat.S_IFMT``."""
    mode: int
    size: int
    mtime: int
    links: int
    content: bytes
    """Of a file all of it, or its ends; of a symlink its target."""

    @property
    def is_plain(self) -> bool:
        """Whether it is a file with no other name."""
        return stat.S_ISREG(self.kind) and self.links == 1

    @property
    def digest(self) -> str:
        """The SHA-256 of what is known of its content."""
        return hashlib.sha256(self.content).hexdigest()

    def holds_as(self, other: Thing | None) -> bool:
        """Report whether the other is of the same kind and content; a folder only has to be one."""
        if other is None or other.kind != self.kind:
            return False
        return stat.S_ISDIR(self.kind) or (self.size, self.content) == (other.size, other.content)

    def untouched_as(self, other: Thing | None) -> bool:
        """Report whether the other is the same in all, but for how many names it has."""
        if other is None or not self.holds_as(other) or self.mode != other.mode:
            return False
        return (self.size, self.mtime) == (other.size, other.mtime)


Snapshot = dict[bytes, Thing]


def taken(folder: Path, but: tuple[Path, ...] = ()) -> Snapshot:
    """Return every name below a folder by its path from there, but for some folders and all below them.

    Nothing where the folder itself is not there.
    """
    top, left_out = os.fsencode(folder), {os.fsencode(each) for each in but}
    found: Snapshot = {}
    waiting = [top] if folder.is_dir() else []
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.path in left_out:
                    continue
                found[os.path.relpath(entry.path, top)] = _told(entry)
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
    return found


def _told(entry: os.DirEntry[bytes]) -> Thing:
    facts = entry.stat(follow_symlinks=False)
    content = b""
    if stat.S_ISREG(facts.st_mode):
        content = _content(entry.path, facts.st_size)
    elif stat.S_ISLNK(facts.st_mode):
        content = os.readlink(entry.path)
    kind, mode = stat.S_IFMT(facts.st_mode), stat.S_IMODE(facts.st_mode)
    return Thing(kind, mode, facts.st_size, facts.st_mtime_ns, facts.st_nlink, content)


def _content(path: bytes, size: int) -> bytes:
    with open(path, "rb") as file:
        if size <= _WHOLE:
            return file.read()
        start = file.read(_END)
        file.seek(-_END, os.SEEK_END)
        return start + file.read()
