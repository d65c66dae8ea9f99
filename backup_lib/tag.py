"""tag: mark the commit of a version in git."""

from __future__ import annotations

import msgspec

from backup_lib.clock import now
from backup_lib.errors import ProjectError
from backup_lib.project.git import Repository, TagObject
from backup_lib.project.version import stated_otherwise, tag_name
from backup_lib.store.ledger import Record
from backup_lib.text import as_text
from backup_lib.workplace import Workplace

__all__ = ["Tagged", "is_tag_of", "tag_release", "tag_stands", "tag_version"]


class Tagged(msgspec.Struct, frozen=True):
    """A version and its tag."""

    version: str
    tag: str
    commit: str
    created: bool
    """False where the tag was there already, or would have been made."""


def tag_version(place: Workplace, version: str, message: str | None = None, sign: bool = False) -> Tagged:
    """Make the annotated tag of a version at HEAD; one that is there already is left as it is.

    Raises `ProjectError` where it stands at another commit, or git cannot make it.
    """
    repository, commit = _head(place)
    tag = tag_name(version)
    stated = stated_otherwise(place.root, version)
    place.refuse_stated(version, stated)
    there = tag_stands(repository, tag, commit)
    place.report_stated(version, stated)
    if there or place.dry_run:
        return Tagged(version, tag, commit, created=False)
    repository.create_tag(tag, as_text(message) if message else _message(tag), sign)
    return Tagged(version, tag, commit, created=True)


def tag_release(place: Workplace, version: str) -> None:
    """Make the tag of a version that is released; before, the ledger says which one it will be.

    Raises `ProjectError` like `tag_version`, `StoreError` where the ledger cannot be written.
    """
    repository, commit = _head(place)
    tag = tag_name(version)
    with place.store.writing("release"):
        tagger = repository.tagger(tag)
        intent = Record(time=now(), act="tag", archive="", version=version, commit=commit, tagger=tagger)
        place.store.intend(intent)
        repository.create_tag(tag, _message(tag), tagger=tagger)


def is_tag_of(found: TagObject, intent: Record) -> bool:
    """Whether a tag is the one that the ledger said would be made: no other has its tagger, to the second."""
    made = (intent.commit, intent.tagger, _message(tag_name(intent.version or "")))
    return (found.target, found.tagger, found.message) == made


def _message(tag: str) -> str:
    return f"Release {tag}"


def _head(place: Workplace) -> tuple[Repository, str]:
    repository = place.repository
    if repository is None:
        raise ProjectError(f"{place.root} is not in a git repository, so it cannot be tagged; see 'git init'")
    if repository.commit is None:
        raise ProjectError("there is no commit yet to tag; make the first one with 'git commit'")
    return repository, repository.commit


def tag_stands(repository: Repository, tag: str, commit: str) -> bool:
    """Whether `tag` is at `commit`; raises `ProjectError` where it is at another."""
    there = repository.tag_commit(tag)
    if there is not None and there != commit:
        raise ProjectError(
            f"the tag {tag} is at {there[:12]}, but HEAD is {commit[:12]}; "
            "choose another version, or check out the tagged commit"
        )
    return there is not None
