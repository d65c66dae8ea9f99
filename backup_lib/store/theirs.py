"""What others put where our files go: it is known by what it says, and moved aside, never lost.

A manifest is ours if every line of it is one that the archive it names gives, or that the ledger confirms.
A daily backup is ours if the ledger published that name with that digest.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from itertools import count, zip_longest
from pathlib import Path

from backup_lib import filesystem
from backup_lib.clock import now
from backup_lib.errors import DamageError
from backup_lib.model import Description
from backup_lib.store import ledger
from backup_lib.store.disk import is_file, open_folder
from backup_lib.store.layout import MANIFEST, archive_format, is_aside_of, name_of_theirs
from backup_lib.store.ledger import Ledger, Record
from backup_lib.store.lines import numbered
from backup_lib.store.manifest import (
    ArchiveFacts,
    Facts,
    ListedFile,
    facts_of,
    file_line,
    head_lines,
    listed,
    read_manifest,
)

__all__ = [
    "Describe",
    "bring_back",
    "can_come_back",
    "is_as_published",
    "is_our_manifest",
    "move_aside",
    "sha256_of",
    "undescribed",
]

Describe = Callable[[Path], AbstractContextManager[Description | None]]
"""Yields what the index of an archive says; None if it has none that can be read."""


@contextmanager
def undescribed(path: Path) -> Iterator[None]:  # noqa: ARG001
    """Yield nothing, of any archive."""
    yield None


def is_our_manifest(folder: Path, book: Ledger, describe: Describe) -> bool:
    """Report whether the manifest in the folder of a version is ours, as we wrote it.

    Raises `OSError` if it cannot be read, but the ledger has archives beside it: it may well be ours.
    """
    try:
        return _is_as_written(folder, book, describe)
    except OSError:
        has_ours = any(name.startswith(f"{folder.name}/") for name in book.standing())
        if has_ours and _is_regular(folder / MANIFEST):
            raise
    return False


def _is_as_written(folder: Path, book: Ledger, describe: Describe) -> bool:
    path = folder / MANIFEST
    with suppress(DamageError), filesystem.open_file(path) as file:
        manifest = read_manifest(file)
        facts = manifest.facts
        if facts is None or "/" in facts.archive or archive_format(facts.archive) is None:
            return False
        # If the archive cannot be read, the ledger is asked, as it is without the archive.
        # If it was the manifest, reading it again below fails again.
        with suppress(OSError), _described(describe, folder / facts.archive) as description:
            if description is not None:
                expected = _expected(folder / facts.archive, description, book)
                return _has_no_other_lines(path, expected, listed(expected.project, description.entries))
        if _is_recorded(book, f"{folder.name}/{facts.archive}", facts):
            return _has_no_other_lines(path, facts, manifest.files)
    return False


@contextmanager
def _described(describe: Describe, archive: Path) -> Iterator[Description | None]:
    with (describe if _is_regular(archive) else undescribed)(archive) as description:
        yield description


def _is_regular(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def _expected(archive: Path, description: Description, book: Ledger) -> Facts:
    """Return what the manifest of an archive says; its digest is that of the ledger, else of the file."""
    published = book.published(f"{archive.parent.name}/{archive.name}")
    known = [record.sha256 for record in published if record.index == description.index]
    digest = known[-1] if known else sha256_of(archive)
    named = ArchiveFacts(archive.name, archive.stat().st_size, digest, description.index)
    return facts_of(description.header, description.summary, named)


def _is_recorded(book: Ledger, archive: str, facts: Facts) -> bool:
    told = (facts.sha256, facts.size, facts.index, facts.project, facts.version, facts.commit)
    return any(
        told == (each.sha256, each.size, each.index, each.project, each.version, each.commit)
        for each in book.published(archive)
    )


def _has_no_other_lines(path: Path, facts: Facts, files: Iterable[ListedFile]) -> bool:
    """Report whether a manifest has no line but some of the `facts`, and one for each of the `files`."""
    confirmed = {line + b"\n" for line in head_lines(facts)}
    with filesystem.open_file(path) as file:
        lines = (line for _, line in numbered(file))
        for line in lines:
            if line not in confirmed:
                return False
            if line == b"#\n":
                break
        sums = (file_line(digest, name) for name, digest in files)
        return all(there == right for there, right in zip_longest(lines, sums))


def is_as_published(store: Path, name: str, book: Ledger) -> bool:
    """Report whether what stands at `name` was published here, and is as it was: all of it is read.

    Raises `OSError` if it has the size that was published, but cannot be read: it may well be ours.
    """
    published = book.published(name) if book.stands(name) else ()
    if not any(is_file(store / name, each.size) for each in published):
        return False
    return sha256_of(store / name) in {each.sha256 for each in published}


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a regular file, hexadecimal; raises `OSError`."""
    with filesystem.open_file(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def move_aside(store: Path, name: str, version: str | None = None) -> str:
    """Rename what stands at `name` below the store, never over anything; return its new path there.

    The ledger gets it first, so that an undo of that version can bring it back. Raises `OSError`.
    """
    path = store / name
    free = (name_of_theirs(path.name, number) for number in count(1))
    new = next(each for each in free if not os.path.lexists(path.with_name(each)))
    aside = name.removesuffix(path.name) + new
    ledger.append(store, Record(time=now(), act="aside", archive=name, version=version, note=aside))
    _rename(path.parent, path.name, new)
    return aside


def bring_back(store: Path, name: str, aside: str, lasting: bool = True) -> bool:
    """Give what was moved aside its name back, if that is free, and fsync it if that is to be `lasting`.

    Returns whether it was free. Whatever a ledger says, nothing else is renamed. Raises `OSError`.
    """
    if not can_come_back(store, name, aside) or os.path.lexists(store / name):
        return False
    _rename((store / name).parent, os.path.basename(aside), os.path.basename(name), lasting)
    return True


def can_come_back(store: Path, name: str, aside: str) -> bool:
    """Report whether what was moved aside from `name`, both paths below the store, is there."""
    return (
        is_aside_of(aside, name) and os.path.lexists(store / aside) and not (store / name).parent.is_symlink()
    )


def _rename(folder: Path, old: str, new: str, lasting: bool = True) -> None:
    with open_folder(folder) as fd:
        filesystem.rename_new(old, new, fd)
        if lasting:
            filesystem.sync_folder(fd)
