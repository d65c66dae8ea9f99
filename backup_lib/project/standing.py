"""How the files of the work tree stand to the commit: as committed, modified, untracked, ignored."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from backup_lib.model import GitState
from backup_lib.project.worktree import WorkTree, refusal

__all__ = ["Blob", "Standing", "files_of", "standing_of"]

_FILE_MODES = (b"100644", b"100755", b"120000")
_GITLINK = b"160000"
_PLAIN = (b"H 100644 ", b"H 100755 ", b"H 120000 ")
_NO_FILTER = (b"unspecified", b"unset", b"set", b"")
_STATUS = (
    "status",
    "--porcelain=v2",
    "-z",
    "--untracked-files=no",
    "--no-renames",
    "--ignore-submodules=all",
)
_INDEX = ("ls-files", "-z", "-s", "-v", "--full-name")


class Blob(NamedTuple):
    """A file or symlink of a commit."""

    mode: bytes
    """As git writes it: ``100644``."""
    digest: str
    """The blob's id in hexadecimal."""
    size: int
    """Bytes; -1 where it is not known."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How the files of the work tree stand to the commit, at one moment."""

    tracked: frozenset[bytes]
    """The files and symlinks of the commit below the root."""
    deleted: frozenset[bytes]
    """Those of them that are not in the tree."""
    changed: frozenset[bytes]
    """Files that differ from the commit, or are only about to be committed; not those that are gone."""
    states: tuple[GitState, ...]
    """One for each path asked about, in that order."""


def standing_of(tree: WorkTree, commit: str | None, sights: Sequence[tuple[bytes, int]]) -> Standing:
    """Compare files with the commit, given path and size in bytes as the scan saw them.

    Raises `ProjectError` where git cannot say.
    """
    comparison = _compared(tree, commit)
    states = [comparison.state(path, size) for path, size in sights]
    told = _with_ignored(tree, sights, _with_filtered(tree, sights, states))
    tracked = frozenset(comparison.blobs)
    unseen = tracked.difference(path for path, _ in sights)
    deleted = frozenset(filter(comparison.is_gone, unseen))
    return Standing(tracked, deleted, comparison.changed - comparison.gone, tuple(told))


def files_of(tree: WorkTree, commit: str) -> dict[bytes, str]:
    """Return the blob id of each file and symlink below the project's root in a commit.

    Raises `ProjectError` where the repository does not hold the commit.
    """
    listed = tree.ask(*_listing(tree, commit)).checked(f"listing the files of {commit}")
    return {path: blob.digest for path, blob in _tree(listed, tree.prefix) if blob.mode in _FILE_MODES}


@dataclass(frozen=True, slots=True)
class _Comparison:
    """What git says of the commit, the index and the work tree; paths below the project's root."""

    tree: WorkTree
    blobs: Mapping[bytes, Blob]
    submodules: tuple[bytes, ...]
    """Each ending with ``/``."""
    changed: frozenset[bytes]
    """Differ from the commit, or are in the index only."""
    gone: frozenset[bytes]

    def state(self, path: bytes, size: int) -> GitState:
        """Return the state as far as names and sizes tell it."""
        if path in self.changed:
            return "modified"
        blob = self.blobs.get(path)
        if blob is not None:
            return "committed" if blob.size in (size, -1) else "converted"
        return "submodule" if path.startswith(self.submodules) else "untracked"

    def is_gone(self, path: bytes) -> bool:
        """Whether a file of the commit is not in the tree, rather than dropped by a rule."""
        top = os.fsencode(self.tree.top)
        return path in self.gone or not os.path.lexists(os.path.join(top, self.tree.prefix + path))


def _compared(tree: WorkTree, commit: str | None) -> _Comparison:
    asked = [(*_STATUS, *tree.within), (*_INDEX, *tree.within)]
    if commit is not None:
        asked.append(_listing(tree, commit, "--long"))
    answers = [answer.checked("comparing the tree with the commit") for answer in tree.ask_together(asked)]
    changes = dict(_changes(answers[0], tree.prefix))
    unusual = dict(_index(answers[1], tree.prefix))
    blobs = dict(_tree(answers[2], tree.prefix)) if commit is not None else {}
    links = {path for path, blob in blobs.items() if blob.mode == _GITLINK}
    links.update(path for path, mode in unusual.items() if mode == _GITLINK)
    return _Comparison(
        tree=tree,
        blobs={path: blob for path, blob in blobs.items() if blob.mode in _FILE_MODES},
        submodules=tuple(path + b"/" for path in sorted(links)),
        changed=frozenset(changes).union(unusual) - links,
        gone=frozenset(path for path, gone in changes.items() if gone),
    )


def _with_filtered(
    tree: WorkTree, sights: Sequence[tuple[bytes, int]], states: Sequence[GitState]
) -> Sequence[GitState]:
    """Find the converted files whose size tells nothing: those that go through a filter program."""
    if "committed" not in states or not tree.ask("config", "--get-regexp", r"^filter\.").output:
        return states
    paths = _in_state("committed", sights, states)
    fields = _asked_about(tree, paths, "check-attr", "-z", "--stdin", "filter")
    answers = zip(fields[::3], fields[2::3], strict=False)
    filtered = {path for path, name in answers if name not in _NO_FILTER}
    return [
        "converted" if path in filtered else state for (path, _), state in zip(sights, states, strict=True)
    ]


def _with_ignored(
    tree: WorkTree, sights: Sequence[tuple[bytes, int]], states: Sequence[GitState]
) -> Sequence[GitState]:
    """Tell ignored files from untracked ones."""
    paths = _in_state("untracked", sights, states)
    if not paths:
        return states
    ignored = frozenset(_asked_about(tree, paths, "check-ignore", "-z", "--stdin"))
    return ["ignored" if path in ignored else state for (path, _), state in zip(sights, states, strict=True)]


def _in_state(
    state: GitState, sights: Sequence[tuple[bytes, int]], states: Sequence[GitState]
) -> list[bytes]:
    return [path for (path, _), known in zip(sights, states, strict=True) if known == state]


def _asked_about(tree: WorkTree, paths: Iterable[bytes], *command: str) -> list[bytes]:
    """Return the fields of git's answer about paths, each path below the project's root again."""
    # "./" keeps git from reading a name that starts with ":" as a pattern.
    before = b"./" + tree.prefix
    answer = tree.tell(b"".join(before + path + b"\0" for path in paths), *command)
    if answer.status not in (0, 1):  # check-ignore says 1 where none is ignored
        raise refusal("asking git about files", answer.message)
    return [field.removeprefix(before) for field in answer.output.split(b"\0")]


def _listing(tree: WorkTree, commit: str, *flags: str) -> tuple[str, ...]:
    return ("ls-tree", "-r", "-z", "--full-tree", *flags, "--end-of-options", commit, *tree.within)


def _tree(output: bytes, prefix: bytes) -> Iterator[tuple[bytes, Blob]]:
    """Read ``ls-tree -z``: mode, type, id and size, a tab, the path."""
    for line in output.split(b"\0")[:-1]:
        facts, _, path = line.partition(b"\t")
        mode, _, digest, *size = facts.split()
        # Partial clones do not have every blob: git writes BAD.
        known = bool(size) and size[0].isdigit()
        yield path.removeprefix(prefix), Blob(mode, digest.decode(), int(size[0]) if known else -1)


def _changes(output: bytes, prefix: bytes) -> Iterator[tuple[bytes, bool]]:
    """Read ``status --porcelain=v2 -z``: each changed path, and whether it is gone from the tree."""
    for line in output.split(b"\0")[:-1]:
        kind, states, rest = line.split(b" ", 2)
        if kind in (b"1", b"u"):
            path = rest.split(b" ", 6 if kind == b"1" else 8)[-1]
            yield path.removeprefix(prefix), states.endswith(b"D")


def _index(output: bytes, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Read ``ls-files -s -v -z``: path and mode of submodules, and of files git does not look at.

    It was told not to by ``update-index --assume-unchanged`` or ``--skip-worktree``.
    """
    for line in output.split(b"\0")[:-1]:
        if not line.startswith(_PLAIN):
            facts, _, path = line.partition(b"\t")
            yield path.removeprefix(prefix), facts.split(b" ", 2)[1]
