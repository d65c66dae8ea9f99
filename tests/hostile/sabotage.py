"""Ways to break the software on purpose: a bench that does not notice them is worth nothing.

Each takes one wall away, in this process, before a command runs in a child of it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from backup_lib.store.ledger import Record

from .bench import Case

__all__ = ["SABOTAGES", "Sabotage"]


@dataclass(frozen=True, slots=True)
class Sabotage:
    """One wall that is missing, and the case and the kind of flaw that have to tell."""

    what: str
    name: str
    """Of what is replaced, with its module."""
    instead: Callable[..., Any]
    case: Case
    flaw: str

    @contextmanager
    def done(self) -> Iterator[None]:
        """Let the software be broken while the body runs."""
        with patch(self.name, self.instead):
            yield


def _open_anything(path: Path, flags: int = os.O_RDONLY, mode: int = 0o600) -> int:
    return os.open(path, flags, mode)


def _decode_carelessly(decoder: object, line: bytes) -> Record | None:
    return Record(**json.loads(line))


SABOTAGES = {
    "any-file": Sabotage(
        "a lock that is a link is followed, and a file made outside",
        "backup_lib.store.lock.open_regular",
        _open_anything,
        Case(".lock is a link to nothing outside", "backup", False),
        "outside",
    ),
    "any-name": Sabotage(
        "a lock that is a file outside by another name is written to",
        "backup_lib.store.lock.open_regular",
        _open_anything,
        Case(".lock is a hard link to a file outside", "clean", True),
        "outside",
    ),
    "any-ledger": Sabotage(
        "what the ledger calls published is removed, though it was not made here",
        "backup_lib.undo._refuse_changed",
        lambda backup, record: None,
        Case("ledger: theirs said to be of this release", "undo", False),
        "lost",
    ),
    "no-aside": Sabotage(
        "a manifest of somebody else is taken for ours, and written over",
        "backup_lib.store.publish.is_our_manifest",
        lambda folder, book, describe: True,
        Case("MANIFEST.txt is text of theirs", "backup", False),
        "lost",
    ),
    "raw": Sabotage(
        "names reach the terminal as they are",
        "backup_lib.progress.printable",
        lambda text: str(text),
        Case("name: an archive whose name steers a terminal", "verify all", False),
        "raw",
    ),
    "raw-json": Sabotage(
        "names stand in JSON as they are",
        "backup_lib.report.printable",
        lambda text: text if isinstance(text, str) else os.fsdecode(text),
        Case("name: a version with a line of its own", "verify all", True),
        "raw",
    ),
    "careless": Sabotage(
        "a line of the ledger that is no record ends it all",
        "backup_lib.store.ledger._decoded",
        _decode_carelessly,
        Case("ledger: lines of other JSON", "verify", False),
        "traceback",
    ),
    "patient": Sabotage(
        "a fifo in the place of the lock is waited for",
        "backup_lib.store.lock.open_regular",
        _open_anything,
        Case(".lock is a fifo", "verify", False),
        "waits",
    ),
}
