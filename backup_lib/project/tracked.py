"""What git tracks: all that is in the index or in the commit, and what submodules track.

A million paths are one run of bytes each, sorted, and are looked up where they lie.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

from backup_lib.project.unlooked import Unlooked, unlooked
from backup_lib.project.worktree import WorkTree, fields

__all__ = ["GITLINK", "Index", "Tracked", "read_index"]

GITLINK = b"160000"
"""The mode of a submodule in an index or a tree."""
_PLAIN = (b"H 100644 ", b"H 100755 ", b"H 120000 ")
_INDEX = ("ls-files", "-z", "-s", "-v", "--full-name")
_BELOW = ("ls-files", "-z", "--full-name", "--recurse-submodules")
_TAKEN_OUT = (
    *("diff-index", "-z", "--cached", "--no-renames", "--diff-filter=D"),
    "--ignore-submodules=none",  # whatever diff.ignoreSubmodules and .gitmodules say
)
_DOING = "listing what git tracks"


@dataclass(frozen=True, slots=True)
class Tracked:
    """Which paths below the project's root git tracks; by itself: none."""

    runs: tuple[bytes, ...] = ()
    """Each has paths in the order of their bytes, each path ending with NUL."""
    submodules: frozenset[bytes] = frozenset()

    def holds(self, path: bytes, folder: bool) -> bool:
        """Whether git tracks what stands at `path`: a file or a symlink, or a submodule's `folder`."""
        if folder:
            return path in self.submodules
        wanted = path + b"\0"
        return any(run.startswith(wanted, _place(run, path)) for run in self.runs)

    def below(self, folder: bytes) -> bool:
        """Whether git tracks anything below `folder`, which ends with ``/``."""
        return any(run.startswith(folder, _place(run, folder)) for run in self.runs)


@dataclass(frozen=True, slots=True)
class Index:
    """What git's index says; paths below the project's root."""

    tracked: Tracked
    unlooked: dict[bytes, Unlooked]
    """The files and submodules that git is told not to look at."""


def read_index(tree: WorkTree, commit: str | None) -> Index:
    """Ask git what it tracks. Raises `ProjectError` where it cannot say."""
    taken_out = [] if commit is None else [(*_TAKEN_OUT, commit, *tree.within)]
    listed, *gone = (
        answer.checked(_DOING) for answer in tree.ask_together([(*_INDEX, *tree.within), *taken_out])
    )
    start = len(tree.prefix)
    paths = bytearray()
    links: set[bytes] = set()
    untold: dict[bytes, Unlooked] = {}
    for line in fields(listed):
        facts, _, path = line.partition(b"\t")
        paths += path[start:] + b"\0"
        if facts.startswith(_PLAIN):
            continue
        tag, mode, blob, _ = facts.split(b" ")
        if mode == GITLINK:
            links.add(path[start:])
        if told := unlooked(tag, mode, blob):
            untold[path[start:]] = told
    others = [*_submodules_track(tree, links)]
    for facts, path in _pairs(gone):
        others.append(path[start:])
        if facts.startswith(b":" + GITLINK):
            links.add(path[start:])
    runs = (bytes(paths), b"".join(path + b"\0" for path in sorted(others)))
    return Index(Tracked(tuple(filter(None, runs)), frozenset(links)), untold)


def _submodules_track(tree: WorkTree, links: Iterable[bytes]) -> Iterable[bytes]:
    """Return what submodules track, those inside of them, too."""
    where = [os.fsdecode(tree.prefix + path) for path in links]
    listed = tree.ask(*_BELOW, "--", *where).checked(_DOING) if where else b""
    return (path[len(tree.prefix) :] for path in fields(listed))


def _pairs(outputs: Iterable[bytes]) -> Iterable[tuple[bytes, bytes]]:
    """Read ``diff-index -z``: the facts of each path, and the path."""
    for output in outputs:
        each = fields(output)
        yield from zip(each, each, strict=True)


def _place(run: bytes, wanted: bytes) -> int:
    """Return where in a run the first path begins that is not before `wanted`."""
    low, high = 0, len(run)
    while low < high:
        middle = max(low, run.rfind(b"\0", low, (low + high) // 2) + 1)
        end = run.index(b"\0", middle)
        if run[middle:end] < wanted:
            low = end + 1
        else:
            high = middle
    return low
