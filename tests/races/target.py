"""Swaps below the target of a restore: nothing outside is written, linked or touched."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from backup_lib.backup import Order, back_up
from backup_lib.errors import BackupError, RestoreError
from backup_lib.progress import Silent
from backup_lib.restore import Request, restore

from .bench import Outcome, make_project, place, racing
from .swaps import Reins, Swapper, make_canary, seen

__all__ = ["race_under_target"]

_LINKS = tuple(f"{folder}link{number}" for folder in ("", "d1/") for number in range(100))
_NEW, _INTO, _IN_PLACE = "new", "into", "in place"


class _Starter(Silent):
    """Lets the attacker begin once the safety backup is made: before, it is the source that is attacked."""

    def __init__(self, reins: Reins) -> None:
        self.reins = reins

    def say(self, line: str) -> None:
        """Take the one line that a restore in place says."""
        self.reins.let_go()


def _tree() -> dict[str, bytes]:
    files = {}
    for number in range(40):
        folder = "/".join(f"d{number % 4}" for _ in range(number % 5))
        name = f"{folder}/file{number}".lstrip("/")
        files[name] = f"content of {name}\n".encode() * (1 + 37 * number)
    return files | {"d1/large.bin": os.urandom(1_500_000)}


def race_under_target(folder: Path, long: bool) -> Outcome:
    """Restore while another process swaps folders and files of the target for links to a canary."""
    outcome = Outcome("under the target")
    root = folder / "demo"
    make_project(root, _tree())
    for name in _LINKS:
        (root / name).symlink_to("file0")
    os.link(root / "file0", root / "d1" / "hard")
    back_up(place(root), Order("1.0.0"))
    make_canary(folder / "canary", root, lambda _: b"a secret\n")
    make_canary(folder / "linked", root, bytes)
    for name in _LINKS:
        (folder / "linked" / name).write_bytes(b"no link\n")
        (folder / "canary" / name).write_bytes(b"no link\n")
    for way, swaps in ((_NEW, 35_000), (_INTO, 55_000), (_IN_PLACE, 10_000)):
        _attack(folder, way, swaps if long else swaps // 50, outcome)
    return outcome


def _attack(folder: Path, way: str, swaps: int, outcome: Outcome) -> None:
    reins = Reins()
    to = folder / "to"
    arena = folder / "demo" if way == _IN_PLACE else to / "demo"

    def arenas() -> list[Path]:
        if way != _NEW:
            return [arena]
        return [path / "demo" for path in folder.glob(".to.*.partial")]

    swapper = Swapper(arenas, folder / "canary", folder / "linked", folder / "aside", reins)
    before = _canaries(folder)
    with racing(swapper.run):
        while reins.done < swaps:
            for overwrite in ("if-changed", "always"):
                _restore(folder, way, overwrite, reins, outcome)
                now = _canaries(folder)
                for path in sorted(before.keys() | now.keys()):
                    was, found = before.get(path), now.get(path)
                    outcome.expect(was == found, f"{way}, {overwrite}: {path} was {was}, is {found}")
                before = now
    outcome.count(f"swaps, {way}", reins.done)


def _canaries(folder: Path) -> dict[str, tuple[object, ...]]:
    return seen(folder / "canary", linked=False) | seen(folder / "linked", linked=True)


def _restore(folder: Path, way: str, overwrite: str, reins: Reins, outcome: Outcome) -> None:
    to = folder / "to"
    shutil.rmtree(to, ignore_errors=True)
    console = _Starter(reins) if way == _IN_PLACE else Silent()
    shown = place(folder / "demo", console)
    if way == _INTO:
        restore(shown, Request("1.0.0", to=to))
    if way != _IN_PLACE:
        reins.let_go()
    request = Request(
        "1.0.0",
        to=None if way == _IN_PLACE else to,
        in_place=way == _IN_PLACE,
        overwrite=None if way == _NEW else overwrite,  # type: ignore[arg-type]
    )
    _outcome_of(lambda: restore(shown, request), way, outcome)
    reins.hold()


def _outcome_of(act: Callable[[], object], way: str, outcome: Outcome) -> None:
    try:
        act()
        outcome.count(f"restored, {way}")
    except RestoreError:
        outcome.count(f"refused, {way}")
    except BackupError as error:
        outcome.broken.append(f"{way}: {type(error).__name__}: {error}")
    except Exception as error:
        outcome.broken.append(f"{way}: {type(error).__name__}, which is no answer: {error}")
