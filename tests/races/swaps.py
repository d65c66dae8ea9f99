"""An attacker: a process that swaps folders and files for links which lead out, and back again."""

from __future__ import annotations

import ctypes
import hashlib
import os
import random
import shutil
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .bench import Shared

__all__ = ["Reins", "Swapper", "make_canary", "seen"]

_TOLD, _HEARD, _DONE = range(3)
_EXCHANGE = 2
_libc = ctypes.CDLL(None, use_errno=True)

Way = Literal["folder", "soft", "hard"]


def exchange(one: Path, other: Path) -> bool:
    """Let two things change places in one step; False where one is not there."""
    done: int = _libc.renameat2(-100, os.fsencode(one), -100, os.fsencode(other), _EXCHANGE)
    return done == 0


def make_canary(canary: Path, project: Path, content: Callable[[bytes], bytes]) -> None:
    """Make a tree outside that answers to every name of the project, with modes and times of its own."""
    for path in sorted(project.rglob("*")):
        there = canary / path.relative_to(project)
        if ".git" in there.parts or path.is_symlink():
            continue
        there.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            there.mkdir(exist_ok=True)
        else:
            there.write_bytes(content(path.read_bytes()))
            there.chmod(0o640)
    for path in (*canary.rglob("*"), canary):
        os.utime(path, (1_000_000_000, 1_000_000_000))


def seen(top: Path, linked: bool) -> dict[str, tuple[object, ...]]:
    """Return all there is to know of a tree.

    Of one that the attacker makes hard links to, not what these change: the number of names, and its time.
    """
    found = {}
    for path in (top, *sorted(top.rglob("*"))):
        facts = path.lstat()
        content = hashlib.sha256(path.read_bytes()).hexdigest() if stat.S_ISREG(facts.st_mode) else ""
        ours: tuple[object, ...] = (facts.st_mode, facts.st_uid, facts.st_gid, facts.st_size, content)
        ours += (facts.st_mtime_ns,)
        found[str(path)] = ours if linked else (*ours, facts.st_ctime_ns, facts.st_nlink, facts.st_ino)
    return found


class Reins:
    """How a race holds its attacker, which is another process; at first it is held."""

    def __init__(self) -> None:
        self._shared = Shared(3)

    def let_go(self) -> None:
        """Let it attack."""
        self._tell(1)

    def hold(self) -> None:
        """Let it rest; wait until it does, a minute at most."""
        self._tell(0)
        until = time.monotonic() + 60
        while self._shared[_HEARD] != self._shared[_TOLD]:
            if time.monotonic() > until:
                raise TimeoutError("the attacker does not hear")
            time.sleep(0.001)

    def _tell(self, odd: int) -> None:
        """Tell it what it may do by a number: odd to attack, even to rest."""
        if self._shared[_TOLD] % 2 != odd:
            self._shared[_TOLD] += 1

    def may_attack(self) -> bool:
        """Whether the attacker, who asks, may go on; what it did before is over then."""
        told = self._shared[_TOLD]
        self._shared[_HEARD] = told
        return told % 2 == 1

    @property
    def done(self) -> int:
        """How often it attacked."""
        return self._shared[_DONE]

    def count(self) -> None:
        """Count an attack."""
        self._shared[_DONE] += 1


@dataclass(frozen=True)
class Swapper:
    """Swaps below `arenas` until it is killed; a name it cannot find there it passes over."""

    arenas: Callable[[], list[Path]]
    """Where the tree under attack is now."""
    canary: Path
    linked: Path | None
    """A tree of which files may be linked to, if hard links are to be tried."""
    aside: Path
    """Where to put what was swapped; on the same disk."""
    reins: Reins

    def run(self) -> None:
        """Swap."""
        names = [path.relative_to(self.canary) for path in sorted(self.canary.rglob("*"))]
        folders = {name for name in names if (self.canary / name).is_dir()}
        self.aside.mkdir(exist_ok=True)
        while True:
            if not self.reins.may_attack():
                time.sleep(0.001)
                continue
            arenas = self.arenas()
            for _ in range(20 if arenas else 0):
                name = random.choice(names)
                way: Way = "folder" if name in folders else random.choice(("soft", "hard"))
                if self.swap(random.choice(arenas) / name, name, way):
                    self.reins.count()

    def swap(self, place: Path, name: Path, way: Way) -> bool:
        """Put a link in the place of something for a moment."""
        other = self.aside / str(self.reins.done)
        if way == "hard" and self.linked:
            os.link(self.linked / name, other)
        else:
            other.symlink_to(self.canary / name)
        swapped = exchange(other, place)
        if swapped:
            for _ in range(random.randrange(1, 2000)):
                pass
            exchange(other, place)
        with suppress(OSError):
            os.unlink(other)
        if os.path.lexists(other):
            shutil.rmtree(other, ignore_errors=True)
        return swapped
