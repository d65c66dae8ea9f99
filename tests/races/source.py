"""Swaps below the project while it is backed up: nothing from outside ever gets into an archive."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

from backup_lib.backup import BackedUp, Order, back_up
from backup_lib.errors import DamageError, ProjectError, StoreError

from .bench import Outcome, make_project, place, racing
from .swaps import Reins, Swapper, make_canary, seen

__all__ = ["race_under_source"]

_SECRET = b"what lies outside the project"


def _tree() -> dict[str, bytes]:
    files = {}
    for number in range(60):
        folder = "/".join(f"d{number % 4}" for _ in range(number % 5))
        name = f"{folder}/file{number}".lstrip("/")
        files[name] = f"content of {name}\n".encode() * (1 + 37 * (number % 20))
    return files | {"d1/large.bin": os.urandom(700_000), "d2/.backupignore": b"*.tmp\n"}


def race_under_source(folder: Path, long: bool) -> Outcome:
    """Back up while another process swaps folders and files of the project for links to a canary."""
    outcome = Outcome("under the source")
    root = folder / "demo"
    make_project(root, _tree())
    make_canary(folder / "canary", root, lambda content: (_SECRET * len(content))[: len(content)])
    canary = seen(folder / "canary", linked=False)
    reins = Reins()
    reins.let_go()
    swapper = Swapper(lambda: [root], folder / "canary", None, folder / "aside", reins)
    swaps, backups = (100_000, 500) if long else (3_000, 12)
    with racing(swapper.run):
        while reins.done < swaps or outcome.tried.get("backed up", 0) < backups:
            _back_up(root, outcome)
    outcome.count("swaps", reins.done)
    outcome.expect(seen(folder / "canary", linked=False) == canary, "the tree outside was touched")
    return outcome


def _back_up(root: Path, outcome: Outcome) -> None:
    """Make a daily backup, which is proved, also against the commit, before it is published."""
    try:
        made = back_up(place(root), Order(daily=True))
    except (ProjectError, StoreError) as error:
        outcome.count(f"refused: {str(error)[:60]}")
        return
    except DamageError as error:
        outcome.broken.append(f"an archive that does not hold what it says: {error}")
        return
    except Exception as error:
        outcome.broken.append(f"{type(error).__name__}, which is no answer: {error}")
        return
    outcome.count("backed up")
    outcome.count("files left out, and named", len(made.problems))
    _look_for_secrets(made, outcome)


def _look_for_secrets(made: BackedUp, outcome: Outcome) -> None:
    with tarfile.open(made.archive) as archive:
        for member in archive:
            content = archive.extractfile(member) if member.isreg() else None
            if content and _SECRET[:10] in content.read():
                outcome.broken.append(f"{member.name} was read from outside the project")
