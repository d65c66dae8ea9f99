"""The plain frozen data that passes between the rooms."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec

__all__ = [
    "STATES",
    "Block",
    "Counts",
    "Description",
    "Entry",
    "Format",
    "GitState",
    "Header",
    "Kind",
    "Level",
    "Problem",
    "Source",
    "Summary",
]

Kind = Literal["directory", "file", "symlink", "hardlink"]
Format = Literal["gz", "zst"]
Level = Literal["fast", "normal", "small"]

GitState = Literal["", "committed", "converted", "modified", "untracked", "ignored", "submodule"]
"""How a file stands to the commit; "" where there is no git, or for what is not a file.

`converted` is as committed, but git rewrites it on checkout (line endings, LFS, filters),
so its bytes do not hash to the blob.
"""

STATES: dict[GitState, str] = {
    "committed": "as committed",
    "converted": "as committed (converted by git)",
    "modified": "modified",
    "untracked": "untracked",
    "ignored": "ignored",
    "submodule": "in submodules",
}
"""The words for each state, in the order in which they are reported."""


class Source(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One thing of the project as the scan saw it."""

    path: bytes
    """Below the root, parts joined by ``/``; empty for the root itself."""
    kind: Kind
    mode: int
    """Permission bits, 0 to 0o7777."""
    uid: int
    gid: int
    size: int
    """Bytes; 0 for what is not a file."""
    mtime_ns: int
    ctime_ns: int
    device: int
    inode: int
    link: bytes = b""
    """Target of a symlink; for a hard link the `path` of the source it is the same file as."""
    state: GitState = ""


class Problem(msgspec.Struct, frozen=True, array_like=True):
    """A source that is not in the archive, or not as it should be."""

    path: bytes
    """Below the root."""
    kind: Literal["unreadable", "vanished", "changed", "skipped"]
    """`skipped` (socket, device, fifo) is no failure; the others make a backup incomplete."""
    reason: str


class Entry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One thing in an archive."""

    path: bytes
    """Below the top folder of the archive; empty for that folder itself."""
    kind: Kind
    size: int
    """Bytes of content; for a hard link those of the file it is the same as."""
    digest: bytes
    """SHA-256 of the content of a file or hard link, else empty."""
    link: bytes
    """Target of a symlink; for a hard link the `path` of an earlier file."""
    state: GitState
    changed: bool = False
    """True where the file would not hold still: the bytes are one read of it."""


class Block(msgspec.Struct, frozen=True, array_like=True):
    """A run of the tar stream compressed on its own: one gzip member or one zstd frame."""

    length: int
    """Bytes in the archive."""
    size: int
    """Bytes of tar stream."""
    digest: bytes
    """SHA-256 of the compressed bytes."""
    fingerprint: bytes
    """16 bytes over what the scan saw of its sources; empty where it may not be reused."""
    entries: tuple[Entry, ...]
    """What begins in this block, in order; empty where a large file runs on."""


class Header(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is known of an archive before its first block is written."""

    project: str
    """Also the name of the one top folder in the archive."""
    version: str | None
    created: str
    """UTC, ``YYYY-MM-DDTHH:MM:SSZ``."""
    scanned_ns: int
    """When the scan began, nanoseconds since 1970; 0 where blocks may not be reused."""
    format: Format
    level: Level
    commit: str | None = None
    branch: str | None = None
    tag: str | None = None
    note: str = ""
    excluded: tuple[str, ...] = ()
    """The rules that left something out."""
    left_out: int = 0
    """Files of the commit that a rule left out; those of the store also where they are not in the tree."""
    deleted: int = 0
    """Other files of the commit that were not in the tree."""
    stated: str = ""
    """Another version that a file of the project states: ``1.0.0 in package.json``."""
    shape: int = 1
    """The version of the format, as the trailer has it."""


class Counts(msgspec.Struct, frozen=True, array_like=True):
    """How much an archive holds."""

    files: int
    """Files and hard links."""
    bytes: int
    """Bytes of their content, as they come out of a restore."""
    entries: int
    states: Annotated[dict[str, int], msgspec.Meta(max_length=64)]
    """Files by `GitState`."""


class Summary(msgspec.Struct, frozen=True, array_like=True):
    """What is known of an archive once its last block is written."""

    counts: Counts
    problems: tuple[Problem, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether every selected source is in the archive as it was."""
        return all(problem.kind == "skipped" for problem in self.problems)


@dataclass(frozen=True, slots=True)
class Description:
    """What the index of an archive says of it."""

    header: Header
    summary: Summary
    index: str
    """SHA-256 of the index, hexadecimal."""
    entries: Iterator[Entry]
    """To be read once, as long as the archive is open; raises `DamageError`."""
