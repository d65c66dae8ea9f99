"""Files that git is told not to look at: we do.

It was told so by ``update-index --skip-worktree``, also by ``sparse-checkout``, or by ``--assume-unchanged``.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from backup_lib.project.worktree import WorkTree, refusal

__all__ = ["Unlooked", "as_staged", "unlooked"]

_FLAGS = {
    b"S": "skip-worktree",
    b"h": "assume-unchanged",
    b"s": "skip-worktree and assume-unchanged",
}
"""By the tags of ``ls-files -v``."""
_GITLINK, _SYMLINK = b"160000", b"120000"
_LOOK = ("status", "--porcelain=v2", "--branch", "--no-ahead-behind", "-z", "--untracked-files=normal")


class Unlooked(NamedTuple):
    """What the index holds of a file, symlink or submodule that git does not look at."""

    mode: bytes
    blob: bytes
    """The id in hexadecimal digits; of a submodule, of its commit."""
    flag: str
    """What a person calls the reason."""


def unlooked(tag: bytes, mode: bytes, blob: bytes) -> Unlooked | None:
    """Return what a line of ``ls-files -s -v`` tells; None where git looks at the file."""
    flag = _FLAGS.get(tag)
    return Unlooked(mode, blob, flag) if flag else None


def as_staged(tree: WorkTree, files: Mapping[bytes, Unlooked]) -> frozenset[bytes]:
    """Return those of the files, by paths below the project's root, that are in the tree as in the index.

    They are compared as git would: through its filters, with the executable bit where it counts that.

    Raises `ProjectError` where a filter fails.
    """
    if not files:
        return frozenset()
    return frozenset(_same(tree, files))


def _same(tree: WorkTree, files: Mapping[bytes, Unlooked]) -> Iterator[bytes]:
    """Yield the files that are as staged; regular ones last, by one command for all of them."""
    counts_modes = tree.ask("config", "--type=bool", "core.fileMode").output != b"false\n"
    top = os.path.join(os.path.realpath(os.fsencode(tree.top)), tree.prefix)
    is_real = cache(lambda folder: os.path.realpath(folder) == folder)
    regular = []
    for path, staged in files.items():
        place = top + path
        try:
            facts = os.lstat(place)
        except OSError:  # it is not there
            continue
        if not is_real(os.path.dirname(place)):  # git does not look through a link either
            continue
        if staged.mode == _GITLINK:
            if _is_at(place, staged.blob):
                yield path
        elif staged.mode == _SYMLINK:
            if stat.S_ISLNK(facts.st_mode) and _blob_of(os.readlink(place), staged.blob) == staged.blob:
                yield path
        elif stat.S_ISREG(facts.st_mode) and not (counts_modes and _differs_in_mode(facts, staged)):
            regular.append(path)
    hashed = zip(regular, _blobs(tree, regular), strict=False)  # it stops at one that is gone just now
    yield from (path for path, blob in hashed if blob == files[path].blob)


def _differs_in_mode(facts: os.stat_result, staged: Unlooked) -> bool:
    return bool(facts.st_mode & stat.S_IXUSR) != staged.mode.endswith(b"755")


def _is_at(folder: bytes, commit: bytes) -> bool:
    """Whether a submodule is at a commit and holds nothing else, or is not there at all."""
    if not os.path.lexists(folder + b"/.git"):
        return True
    answer = WorkTree(Path(os.fsdecode(folder)), b"").ask(*_LOOK)
    told = answer.output.split(b"\0")[:-1]
    is_clean = answer.status == 0 and all(line.startswith(b"# ") for line in told)
    return is_clean and b"# branch.oid " + commit in told


def _blob_of(content: bytes, like: bytes) -> bytes:
    """Return the blob id of some bytes, by the hash that another id was made with."""
    made = hashlib.new("sha256" if len(like) == 64 else "sha1", usedforsecurity=False)
    made.update(b"blob %d\0%b" % (len(content), content))
    return made.hexdigest().encode()


def _blobs(tree: WorkTree, paths: Sequence[bytes]) -> list[bytes]:
    """Return what the blob ids of regular files would be, in that order, up to one that is gone just now.

    Raises `ProjectError` where one of git's filters fails.
    """
    if not paths:
        return []
    given = b"".join(b'"%b"\n' % _quoted(tree.prefix + path) for path in paths)
    answer = tree.tell(given, "hash-object", "--stdin-paths")
    if answer.status and "could not open" not in answer.message:
        raise refusal("comparing files that git does not look at", answer.message)
    return answer.output.split()


def _quoted(path: bytes) -> bytes:
    """Quote a path as git reads it from a line: in it a newline and a quote need a backslash."""
    return path.replace(b"\\", b"\\\\").replace(b'"', b'\\"').replace(b"\n", b"\\n")
