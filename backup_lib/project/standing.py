"""How the files of the work tree stand to the commit: as committed, modified, untracked, ignored."""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import filterfalse
from typing import NamedTuple

from backup_lib.errors import ProjectError
from backup_lib.model import GitState
from backup_lib.project.committed import Committed
from backup_lib.project.tracked import GITLINK, Index, Tracked, read_index
from backup_lib.project.unlooked import as_staged
from backup_lib.project.worktree import WorkTree, fields, refusal

__all__ = ["Comparison", "Sight", "Standing", "changed_submodules", "comparing", "files_of", "ignored"]

_FILE_MODES = (b"100644", b"100755", b"120000")
_NO_FILTER = (b"unspecified", b"unset", b"set", b"")
_STATUS = (
    "status",
    "--porcelain=v2",
    "--branch",
    "--no-ahead-behind",
    "-z",
    "--no-renames",
)
_FILES_ONLY = ("--untracked-files=no", "--ignore-submodules=all")
_CLOCK_OF_FILES = 5 if sys.platform == "linux" else time.CLOCK_REALTIME
"""CLOCK_REALTIME_COARSE: the times of files may be a tick of the kernel behind the true time."""
_FILTERS = ("config", "--get-regexp", r"^filter\.")


class Sight(NamedTuple):
    """A file, hard link or symlink as the scan saw it."""

    path: bytes
    """Below the project's root."""
    size: int
    """Bytes; of a symlink, those of its target."""
    ctime_ns: int


@dataclass(frozen=True, slots=True)
class Standing:
    """How the files of the work tree stand to the commit, at one moment."""

    unseen: frozenset[bytes]
    """The files and symlinks of the commit that were not asked about."""
    deleted: frozenset[bytes]
    """Those of them that are not in the tree; the others were left out."""
    changed: frozenset[bytes]
    """Files that differ from the commit, or are only about to be committed; not those that are gone."""
    unlooked: dict[bytes, str]
    """Files and submodules that git is told not to look at, and which differ or are gone: how it is told."""
    states: tuple[GitState, ...]
    """One for each path asked about, in that order."""

    def without(self, aside: Callable[[bytes], bool]) -> Standing:
        """Return the same, but that nothing has changed of what is `aside`."""
        return replace(
            self,
            deleted=frozenset(filterfalse(aside, self.deleted)),
            changed=frozenset(filterfalse(aside, self.changed)),
            unlooked={path: flag for path, flag in self.unlooked.items() if not aside(path)},
        )


@contextmanager
def comparing(tree: WorkTree, commit: str | None) -> Iterator[Comparison]:
    """Begin to compare the work tree with the commit; yield at once, git works meanwhile."""
    began_ns = time.clock_gettime_ns(_CLOCK_OF_FILES)
    with ThreadPoolExecutor(2, thread_name_prefix="git") as pool:
        index = pool.submit(read_index, tree, commit)
        yield Comparison(tree, began_ns, index, pool.submit(_compared, tree, commit, index))


@dataclass(frozen=True, slots=True)
class Comparison:
    """A comparison of the work tree with the commit that is under way."""

    tree: WorkTree
    began_ns: int
    index: Future[Index]
    answer: Future[_Compared]

    def tracked(self) -> Tracked:
        """Return what git tracks, which is known long before the rest.

        Raises `ProjectError` where git cannot say.
        """
        return self.index.result().tracked

    def standing(self, sights: Iterable[Sight]) -> Standing:
        """Return how files stand to the commit, given as the scan saw them, each once.

        Raises `ProjectError` where git cannot say.
        """
        compared = self.answer.result()
        meanwhile = (self.began_ns, time.time_ns())
        states: list[GitState] = []
        untracked: dict[bytes, int] = {}
        filtered: dict[bytes, int] = {}
        for number, sight in enumerate(sights):
            state = compared.state(sight, meanwhile)
            states.append(state)
            if state == "untracked":
                untracked[sight.path] = number
            elif compared.has_filters and state == "committed":
                filtered[sight.path] = number
        for path in ignored(self.tree, untracked):
            states[untracked[path]] = "ignored"
        for path in _filtered(self.tree, filtered):
            states[filtered[path]] = "converted"
        unseen = frozenset(compared.committed.rest())
        deleted = frozenset(filter(compared.is_gone, unseen))
        changed = compared.changed - compared.gone
        return Standing(unseen, deleted, changed, compared.unlooked, tuple(states))


def files_of(tree: WorkTree, commit: str) -> dict[bytes, str]:
    """Return the blob id of each file and symlink below the project's root in a commit.

    Raises `ProjectError` where the repository does not hold the commit.
    """
    listed = tree.ask(*_listing(tree, commit)).checked(f"listing the files of {commit}")
    return {path: facts[2].decode() for path, facts in _tree(listed, tree.prefix) if facts[0] in _FILE_MODES}


def changed_submodules(tree: WorkTree) -> list[bytes]:
    """Return the submodules that are at another commit than theirs, or hold something else than it."""
    answer = tree.ask(*_STATUS, "--ignore-submodules=none", *tree.within)
    told = answer.checked("looking into submodules")
    return [path for path, _, is_submodule in _changes(told, tree.prefix) if is_submodule]


@dataclass(frozen=True, slots=True)
class _Compared:
    """What git says of the commit, the index and the work tree; paths below the project's root."""

    tree: WorkTree
    committed: Committed
    """The files and symlinks of the commit that were not asked about yet."""
    submodules: tuple[bytes, ...]
    """Each ending with ``/``."""
    changed: frozenset[bytes]
    """Differ from the commit, or are in the index only, whether git looks at them or not."""
    gone: frozenset[bytes]
    unlooked: dict[bytes, str]
    has_filters: bool
    """Whether files may go through filter programs."""

    def state(self, sight: Sight, meanwhile: tuple[int, int]) -> GitState:
        """Return the state as far as names and sizes tell it.

        What changed while git looked is not known to be as committed; a time that is still to come is that
        of a clock which was wrong.
        """
        path, size, ctime_ns = sight
        committed = self.committed.take(path)
        if path in self.changed:
            return "modified"
        if committed is None:
            return "submodule" if path.startswith(self.submodules) else "untracked"
        if meanwhile[0] <= ctime_ns <= meanwhile[1]:
            return "modified"
        return "committed" if committed in (size, -1) else "converted"

    def is_gone(self, path: bytes) -> bool:
        """Whether a file of the commit is not in the tree, rather than dropped by a rule."""
        top = os.fsencode(self.tree.top)
        return path in self.gone or not os.path.lexists(os.path.join(top, self.tree.prefix + path))


def _compared(tree: WorkTree, commit: str | None, index: Future[Index]) -> _Compared:
    listing = [] if commit is None else [_listing(tree, commit, "--long")]
    filters, *answers = tree.ask_together([_FILTERS, (*_STATUS, *_FILES_ONLY, *tree.within), *listing])
    outputs = deque(answer.checked("comparing the tree with the commit") for answer in answers)
    del answers  # each output goes once it was read: among many files they are large
    _refuse_another_commit(outputs[0], commit)
    changes = {path: gone for path, gone, _ in _changes(outputs.popleft(), tree.prefix)}
    staged = index.result()
    links = set(staged.tracked.submodules)
    same = as_staged(tree, staged.unlooked)
    unlooked = {path: told.flag for path, told in staged.unlooked.items() if path not in same}
    committed = Committed()
    for path, (mode, _, _, size) in _tree(outputs.popleft() if outputs else b"", tree.prefix):
        if mode in _FILE_MODES:
            # Partial clones do not have every blob: git writes BAD.
            committed.add(path, int(size) if size.isdigit() else -1)
        elif mode == GITLINK:
            links.add(path)
    return _Compared(
        tree=tree,
        committed=committed,
        submodules=tuple(path + b"/" for path in sorted(links)),
        changed=frozenset(changes).union(unlooked) - links,
        gone=frozenset(path for path, gone in changes.items() if gone),
        unlooked=unlooked,
        has_filters=bool(filters.output),
    )


def _filtered(tree: WorkTree, paths: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the paths of files whose size tells nothing: those that go through a filter program."""
    fields = _asked_about(tree, paths, "check-attr", "-z", "--stdin", "filter")
    answers = zip(fields[::3], fields[2::3], strict=False)
    return (path for path, name in answers if name not in _NO_FILTER)


def ignored(tree: WorkTree, paths: Iterable[bytes]) -> list[bytes]:
    """Return the paths that git ignores."""
    return _asked_about(tree, paths, "check-ignore", "-z", "--stdin")


def _asked_about(tree: WorkTree, paths: Iterable[bytes], *command: str) -> list[bytes]:
    """Return the fields of git's answer about paths, each path below the project's root again."""
    # "./" keeps git from reading a name that starts with ":" as a pattern.
    before = b"./" + tree.prefix
    given = b"".join(before + path + b"\0" for path in paths)
    if not given:
        return []
    answer = tree.tell(given, *command)
    if answer.status not in (0, 1):  # check-ignore says 1 where none is ignored
        raise refusal("asking git about files", answer.message)
    return [field.removeprefix(before) for field in answer.output.split(b"\0")[:-1]]


def _listing(tree: WorkTree, commit: str, *flags: str) -> tuple[str, ...]:
    return ("ls-tree", "-r", "-z", "--full-tree", *flags, "--end-of-options", commit, *tree.within)


_TREE_FIELDS = 3
"""Mode, type and id."""


def _tree(output: bytes, prefix: bytes) -> Iterator[tuple[bytes, list[bytes]]]:
    """Read ``ls-tree -z``: each path with its mode, type, id and, where it was asked for, size."""
    start = len(prefix)
    for line in fields(output):
        facts, tab, path = line.partition(b"\t")
        if not tab or len(told := facts.split()) < _TREE_FIELDS:
            raise ProjectError("git ls-tree told something else than a tree; run it again")
        yield path[start:], told


def _refuse_another_commit(status: bytes, commit: str | None) -> None:
    """Refuse to tell of one commit what git found of the next one, made meanwhile."""
    told = f"# branch.oid {commit or '(initial)'}\0".encode()
    if not status.startswith(told):
        raise ProjectError("HEAD moved to another commit just now; run it again when git is at rest")


def _changes(output: bytes, prefix: bytes) -> Iterator[tuple[bytes, bool, bool]]:
    """Read ``status --porcelain=v2 -z``: each changed path, whether it is gone, whether a submodule."""
    for line in fields(output):
        kind, _, facts = line.partition(b" ")
        if kind in (b"1", b"u"):
            states, _, rest = facts.partition(b" ")
            path = rest.split(b" ", 6 if kind == b"1" else 8)[-1]
            yield path.removeprefix(prefix), states.endswith(b"D"), rest.startswith(b"S")
