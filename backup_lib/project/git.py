"""The git repository around the project: its commit, branch and tags.

git is never asked to write, except for a tag.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from backup_lib.errors import ProjectError, printable, translated
from backup_lib.project.reading import read_within
from backup_lib.project.standing import Comparison, comparing, files_of, ignored
from backup_lib.project.worktree import WorkTree, first_line, refusal

__all__ = [
    "Repository",
    "Surroundings",
    "TagObject",
    "find_root",
    "open_repository",
    "surroundings",
    "work_tree_of",
]

_COMMIT_ID = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_MOST_MARK = 1 << 20
"""Bytes of a ``.git`` file that are read."""
_TAG_FIELDS = ("refname", "objectname", "object", "tagger", "contents:subject", "contents:body")


@dataclass(frozen=True, slots=True)
class TagObject:
    """What a tag is; of a lightweight one all but the id is empty."""

    id: str
    """Of what the name of the tag stands for: the tag object, or the commit of a lightweight tag."""
    target: str
    """The id of what is tagged."""
    tagger: str
    """Name, address, seconds since 1970 and time zone, as one line of safe text."""
    message: str
    """Without a signature."""


@dataclass(frozen=True, slots=True)
class Repository:
    """The git repository around a project."""

    tree: WorkTree
    commit: str | None
    """None before the first commit."""
    branch: str | None
    """As one line of safe text; None where HEAD is detached."""
    is_shallow: bool

    def tags_at_head(self) -> tuple[str, ...]:
        """Return the names of the tags at the commit, sorted."""
        if self.commit is None:
            return ()
        asked = ("for-each-ref", f"--points-at={self.commit}", "--format=%(refname:strip=2)", "refs/tags")
        return tuple(os.fsdecode(self.tree.ask(*asked).checked("listing the tags")).splitlines())

    def tag_commit(self, tag: str) -> str | None:
        """Return the commit that a tag leads to; None where there is no such tag."""
        asked = ("rev-parse", "--quiet", "--verify", f"refs/tags/{tag}^{{commit}}")
        result = self.tree.ask(*asked)
        return result.output.decode().strip() if result.status == 0 else None

    def tag_object(self, tag: str) -> TagObject | None:
        """Return what a tag is; None where there is no such tag."""
        asked = ("for-each-ref", "--format=" + "%00".join(f"%({name})" for name in _TAG_FIELDS))
        output = self.tree.ask(*asked, f"refs/tags/{tag}").checked(f"looking for the tag {tag}")
        if not output.startswith(f"refs/tags/{tag}\0".encode()):  # git also tells of tags below that name
            return None
        _, name, target, tagger, subject, body = output.split(b"\0")
        message = b"\n\n".join((subject, body)).decode(errors="replace").strip()
        return TagObject(name.decode(), target.decode(), printable(tagger), message if tagger else "")

    def tagger(self, tag: str) -> str:
        """Return who would make a tag now, and when, as `TagObject.tagger` has it.

        Raises `ProjectError` where git does not know.
        """
        answer = self.tree.ask("var", "GIT_COMMITTER_IDENT")
        if answer.status:
            raise _tag_refused(tag, answer.message)
        return printable(answer.output.rstrip(b"\n"))

    def has_commit(self, commit: str) -> bool:
        """Whether the repository holds this commit, given as a full id."""
        known = _COMMIT_ID.fullmatch(commit) is not None
        return known and self.tree.ask("cat-file", "-e", f"{commit}^{{commit}}").status == 0

    def create_tag(self, tag: str, message: str, sign: bool = False, tagger: str = "") -> bool:
        """Make an annotated tag at the commit; False where that tag leads there already.

        It bears the time that the `tagger` names, else the present one.

        Raises `ProjectError` where there is no commit, the tag is elsewhere, or git fails to make or sign it.
        """
        if self.commit is None:
            raise ProjectError(f"there is no commit yet to tag as {tag}; commit first")
        there = self.tag_commit(tag)
        if there is not None and there != self.commit:
            raise ProjectError(
                f"the tag {tag} is at {there[:12]} already, but HEAD is {self.commit[:12]}; "
                f"check out {tag}, or choose another version"
            )
        if there is None:
            kind = "--sign" if sign else "--annotate"
            asked = ("tag", kind, "--cleanup=whitespace", "--file=-", "--end-of-options", tag, self.commit)
            date = "@" + " ".join(tagger.split()[-2:]) if tagger else ""
            answer = self.tree.tell(message.encode("utf-8", "surrogateescape"), *asked, date=date)
            if answer.status:
                raise _tag_refused(tag, answer.message)
        return there is None

    def delete_tag(self, tag: str, found: TagObject) -> None:
        """Delete a tag, in one step, if it is still what was found.

        Raises `ProjectError` where it is not, or git fails.
        """
        asked = ("update-ref", "--no-deref", "-d", f"refs/tags/{tag}", found.id)
        self.tree.ask(*asked).checked(f"deleting the tag {tag}")

    def comparing(self) -> AbstractContextManager[Comparison]:
        """Begin to compare the work tree with the commit; git works while the body goes on."""
        return comparing(self.tree, self.commit)

    def blobs(self, commit: str) -> dict[bytes, str]:
        """Return the blob id of each file and symlink below the root in a commit.

        Raises `ProjectError` where the repository does not hold the commit.
        """
        return files_of(self.tree, commit)

    def changed_between(self, old: str, new: str) -> list[bytes]:
        """Return the files below the root in which two commits differ.

        Raises `ProjectError` if the repository does not hold both.
        """
        asked = ("diff-tree", "-r", "-z", "--name-only", "--no-renames", "--ignore-submodules=none")
        output = self.tree.ask(*asked, "--end-of-options", old, new, *self.tree.within).checked(
            f"comparing {old[:12]} with {new[:12]}"
        )
        return [path.removeprefix(self.tree.prefix) for path in output.split(b"\0")[:-1]]

    def file_at(self, commit: str, path: bytes) -> bytes | None:
        """Return the content that a file below the root has in a commit; None where it is not there.

        Raises `ProjectError` where the repository does not hold the commit.
        """
        where = os.fsdecode(self.tree.prefix + path)
        asked = ("ls-tree", "-z", "--full-tree", "--end-of-options", commit, "--", where)
        output = self.tree.ask(*asked).checked(f"looking for {printable(path)} in {commit}")
        facts, _, _ = output.partition(b"\t")
        _, _, digest = facts.partition(b" blob ")
        if not digest:
            return None
        return self.tree.ask("cat-file", "blob", digest.decode()).checked(
            f"reading {printable(path)} of {commit}"
        )


def find_root(start: Path) -> Path | None:
    """Return the top of the git work tree around the folder `start`; None where there is none.

    Looks at files only: git itself is not asked.

    Raises `ProjectError` for a ``.git`` file that leads nowhere.
    """
    real = Path(os.path.realpath(start))
    for folder in (real, *real.parents):
        if _is_top(folder):
            return folder
    return None


def work_tree_of(root: Path) -> Path:
    """Return the folder that nothing of the project at `root` may lead out of: the work tree, else the root.

    Raises `ProjectError` like `find_root`.
    """
    return find_root(root) or Path(os.path.realpath(root))


def open_repository(root: Path) -> Repository | None:
    """Return the git repository around the project at `root`; None where there is none.

    Raises `ProjectError` where git is missing, does not trust the folder, or cannot read the repository.
    """
    top = find_root(root)
    if top is None:
        return None
    tree = WorkTree(top, _below(top, root))
    described, head = tree.ask_together(
        (
            ("rev-parse", "--show-toplevel", "--is-shallow-repository", "HEAD", "--"),
            ("symbolic-ref", "--quiet", "--short", "HEAD"),
        )
    )
    unborn = described.status != 0 and "bad revision 'HEAD'" in described.message
    if described.status and not unborn:
        raise refusal(f"opening the repository {printable(top)}", described.message)
    place, shallow, commit = described.output.rsplit(b"\n", 2 if unborn else 4)[:3]
    if os.path.realpath(place) != os.fsencode(top):
        raise ProjectError(
            f"the repository {printable(top)} has its work tree at {printable(place)}; go there"
        )
    return Repository(
        tree=tree,
        commit=commit.decode() or None,
        branch=printable(head.output.strip()) if head.status == 0 else None,
        is_shallow=shallow == b"true",
    )


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The git work tree that a folder lies in, whatever project it belongs to."""

    tree: WorkTree

    def tracked(self) -> list[bytes]:
        """Return what git tracks below the folder, paths below it; nothing if git does not say."""
        try:
            told = self.tree.ask("ls-files", "-z", "--full-name", *self.tree.within).checked("asking git")
        except ProjectError:
            return []
        return [path.removeprefix(self.tree.prefix) for path in told.split(b"\0")[:-1]]

    def ignores(self, paths: Sequence[bytes]) -> bool:
        """Report whether git ignores all of some paths below the folder, there or not."""
        try:
            return len(ignored(self.tree, paths)) == len(paths)
        except ProjectError:  # git does not say, so it may take them
            return False


def surroundings(folder: Path) -> Surroundings | None:
    """Return the git work tree that a folder lies in; None if there is none, or it is broken."""
    try:
        top = find_root(folder)
    except ProjectError:
        return None
    return None if top is None else Surroundings(WorkTree(top, _below(top, folder)))


def _below(top: Path, folder: Path) -> bytes:
    """Return the path of a folder below the top of its work tree, ending with ``/``; empty for the top."""
    real = os.path.realpath(folder)
    return b"" if real == os.fspath(top) else os.fsencode(os.path.relpath(real, top)) + b"/"


def _is_top(folder: Path) -> bool:
    mark = folder / ".git"
    if mark.is_dir():
        return (mark / "HEAD").exists() and (mark / "objects").is_dir()
    if not mark.is_file():
        return False
    with translated(ProjectError, "looking for the git repository", folder=mark):
        content = read_within(folder, folder, mark.name, _MOST_MARK)
    target = folder / os.fsdecode(content.removeprefix(b"gitdir:").strip())
    if not content.startswith(b"gitdir:") or not (target / "HEAD").exists():
        raise ProjectError(f"{printable(mark)} does not lead to a git repository; see git worktree repair")
    return True


def _tag_refused(tag: str, message: str) -> ProjectError:
    if "tell me who you are" in message or "ident name" in message or "no email was given" in message:
        return ProjectError(
            "git does not know who makes the tag; run git config --global user.name 'Your Name' "
            "and git config --global user.email you@example.com"
        )
    if "sign" in message or "gpg" in message:
        return ProjectError(
            f"signing the tag {tag} failed: {first_line(message)}; see git config user.signingKey"
        )
    return ProjectError(f"making the tag {tag} failed: {first_line(message)}")
