"""The restore test: restore an archive whole into a scratch folder, and compare what is on disk with it."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from backup_lib.archive.extract import Wish, extract, place
from backup_lib.archive.reader import Reader
from backup_lib.archive.target import Target
from backup_lib.errors import StoreError, reason_of
from backup_lib.filesystem import OPEN_DIRECTORY, remove_tree
from backup_lib.model import Entry
from backup_lib.progress import Advance

__all__ = ["restore_differences"]


def restore_differences(
    archive: Path, reader: Reader, store: Path, advance: Advance
) -> list[tuple[bytes, str]]:
    """Restore all of an archive and return what is not on disk as the index has it: path and what is wrong.

    It is restored below ``TMPDIR``; where no temporary folder can be written to, in the `store`.

    Raises `DamageError` or `RestoreError` where it cannot be restored, `OSError` where it cannot be read,
    `StoreError` where the scratch folder fails: that tells nothing of the archive.
    """
    scratch = _scratch_place(store)
    try:
        return _differences(reader, scratch, advance)
    except OSError as error:
        if error.filename == os.fspath(archive):
            raise
        reason = reason_of(error, scratch)
        advice = "free some room there, or let TMPDIR name another folder"
        raise StoreError(f"the restore test failed: {reason}; {advice}") from error


def _scratch_place(store: Path) -> Path:
    try:
        usual = Path(tempfile.gettempdir())
    except FileNotFoundError:  # a read-only root, as in a container
        return store
    is_last_resort = usual == Path.cwd()  # and may be the project itself
    return store if is_last_resort and store.is_dir() else usual


def _differences(reader: Reader, scratch: Path, advance: Advance) -> list[tuple[bytes, str]]:
    placement = place(reader, Wish(outside_links=True, unlimited=True))
    with _scratch_folder(scratch) as folder:
        target = Target(folder, merge=False)
        extract(reader, placement, target, advance)
        top = reader.header.project.encode()
        return [
            (entry.path, what)
            for entry in reader.entries()
            if (what := _difference(target, entry, top + b"/" + entry.path if entry.path else top))
        ]


@contextmanager
def _scratch_folder(place: Path) -> Iterator[int]:
    path = Path(tempfile.mkdtemp(prefix="backup-restore-test-", dir=place))
    fd = os.open(path, OPEN_DIRECTORY)
    try:
        yield fd
    finally:
        os.close(fd)
        remove_tree(path)


def _difference(target: Target, entry: Entry, path: bytes) -> str:
    """Return what is wrong with the thing restored at `path`, or ""."""
    if entry.kind in ("file", "hardlink"):
        return "" if target.holds(path, entry.digest) else "restored, it has another content"
    if entry.kind == "symlink":
        return "" if target.link_at(path) == entry.link else "restored, it points elsewhere"
    return "" if target.kind_at(path) == stat.S_IFDIR else "restored, it is no folder"
