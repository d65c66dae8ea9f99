"""The safety backup: what a restore in place would write over, made and proved before."""

from __future__ import annotations

from collections.abc import Set
from contextlib import suppress
from itertools import chain, count

from backup_lib.archive.reader import open_archive, open_for_reading
from backup_lib.backup import Order, back_up, foreseen, look
from backup_lib.clock import now
from backup_lib.errors import DamageError, RestoreError, printable, translated
from backup_lib.model import Problem
from backup_lib.project.reading import StatementError
from backup_lib.project.version import parse_version, project_version
from backup_lib.store.layout import stamp_of
from backup_lib.store.listing import Backup
from backup_lib.verify import verify_backup
from backup_lib.workplace import Workplace

__all__ = ["back_up_for_safety", "held_by", "would_be_held"]


def back_up_for_safety(workplace: Workplace) -> Backup:
    """Back up the project as it is now, and prove it.

    Raises `RestoreError` where anything of it could not be read, `DamageError` where it cannot be proved.
    """
    version = _version(workplace)
    made = back_up(workplace, Order(version, note="made before a restore in place"))
    for lacking in [problem for problem in made.problems if problem.kind != "skipped"]:
        raise _lacks(lacking)
    backup = workplace.store.find(version)
    with workplace.store.reading("restore"):
        verified = verify_backup(workplace, backup, "full")
    if not verified.sound:
        raise DamageError(f"the safety backup is damaged, so nothing was restored: {verified.findings[0]}")
    return backup


def _version(workplace: Workplace) -> str:
    """Return a version that no backup has, after the project's own where its files state one."""
    found = None
    with suppress(StatementError):
        found = project_version(workplace.root, workplace.repository)
    core = parse_version(found[0]).finalize_version() if found else "0.0.0"
    first = f"{core}-safety.{stamp_of(now())}"
    taken = {backup.version for backup in workplace.store.backups()}
    candidates = chain([first], (f"{first}.{number}" for number in count(2)))
    return next(version for version in candidates if version not in taken)


def held_by(safety: Backup) -> Set[bytes]:
    """Return the paths of all that a safety backup holds."""
    doing = translated(RestoreError, "reading the safety backup")
    with doing, open_for_reading(safety.archive) as (read_at, size):
        reader = open_archive(read_at, size)
        return frozenset(entry.path for entry in reader.entries()) if reader else frozenset()


def would_be_held(workplace: Workplace) -> Set[bytes]:
    """Return the paths of all that a safety backup would hold; raises `RestoreError` if it would lack any."""
    seen = look(workplace, Order())
    for lacking in foreseen(workplace, seen):
        raise _lacks(lacking)
    return frozenset(source.path for source in seen.selection.sources)


def _lacks(problem: Problem) -> RestoreError:
    return RestoreError(
        f"the safety backup lacks {printable(problem.path)} ({problem.reason}); "
        "nothing was restored: make the file readable, or restore with --to"
    )
