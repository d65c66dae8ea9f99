"""A clock that stands still or jumps by years: names, order, what is kept and what is read stay right.

The times of files stay those of the kernel; only what the software takes for the present moment is false.
"""

from __future__ import annotations

import os
import random
import tarfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import backup_lib.clock
from backup_lib.backup import BackedUp, Order, back_up
from backup_lib.clean import Keep, clean
from backup_lib.store import ledger
from backup_lib.verify import verify_all, verify_version

from .bench import Outcome, make_project, place

__all__ = ["race_the_clock"]

_DAY = 86_400
_SHIFTS = (0, 0, 1, -1, _DAY, -_DAY, 3 * _DAY, 3650 * _DAY, -3650 * _DAY)
_VERSIONS = ("1.0.0", "1.9.0", "1.10.0", "2.0.0-rc.1", "2.0.0")
"""The oldest first."""
_PRERELEASE, _RELEASE = _VERSIONS[-2:]
_KEEP = 2


class FalseClock:
    """The clock of this process; its jumps are seconds."""

    def __init__(self) -> None:
        self._real_ns = time.time_ns
        self._gmtime = time.gmtime
        self._shift = 0
        self._stands_at: int | None = None

    def jump(self) -> str:
        """Set the clock: it goes on from there, or stands still from now on."""
        self._shift = random.choice(_SHIFTS)
        self._stands_at = self.time_ns() if random.random() < 0.3 else None
        return f"{'stands' if self._stands_at else 'goes'} {self._shift:+} s"

    def time_ns(self) -> int:
        """Return what it shows."""
        return self._stands_at or self._real_ns() + self._shift * 10**9

    def install(self) -> None:
        """Let the software look at this clock."""
        now_ns, gmtime = self.time_ns, self._gmtime

        def gmtime_of(seconds: float | None = None) -> time.struct_time:
            return gmtime(now_ns() / 10**9 if seconds is None else seconds)

        time.time_ns = now_ns
        time.clock_gettime_ns = lambda _: now_ns()
        time.gmtime = gmtime_of  # type: ignore[assignment]
        backup_lib.clock._seconds = lambda: now_ns() / 10**9


@dataclass
class _Store:
    """What should stand in the store."""

    outcome: Outcome
    root: Path
    names: set[str] = field(default_factory=set)
    """Every name that a release ever had."""
    standing: list[str] = field(default_factory=list)
    """In the order in which they were published."""

    @property
    def path(self) -> Path:
        """Where it lies."""
        return self.root.parent / "store"

    def published(self, made: BackedUp) -> None:
        """Take note of a new backup, and compare it with the tree."""
        name = str(Path(made.archive).relative_to(self.path))
        if "/" in name:
            self.outcome.expect(name not in self.names, f"{name} was given twice")
            self.names.add(name)
        elif name in self.standing:
            dailies = [each for each in self.standing if "/" not in each]
            self.outcome.expect(dailies[-1] == name, f"{name} was lost: it took the place of a past day's")
        self.standing = [*(each for each in self.standing if each != name), name]
        with tarfile.open(made.archive) as archive:
            for member in archive:
                content = archive.extractfile(member) if member.isreg() else None
                if content:
                    now = (self.root.parent / member.name).read_bytes()
                    self.outcome.expect(content.read() == now, f"{name}: {member.name} is not as it is now")

    def cleaned(self, removed: set[str]) -> None:
        """Compare what a clean removed with what it should have."""
        versions = {name.split("/")[0][1:] for name in self.standing if "/" in name}
        stable = [version for version in _VERSIONS if version in versions and version != _PRERELEASE]
        is_over = _RELEASE in versions and len(versions) > _KEEP
        kept = {*stable[-_KEEP:], *(() if is_over else (_PRERELEASE,))}
        dailies = [name for name in self.standing if "/" not in name]
        right = {name for name in self.standing if "/" in name and name.split("/")[0][1:] not in kept}
        right |= set(dailies[:-1])
        self.outcome.expect(removed == right, f"clean removed {sorted(removed)}, not {sorted(right)}")
        self.standing = [name for name in self.standing if name not in removed]

    def compare(self) -> None:
        """Compare the store with what should stand there."""
        store = place(self.root).store
        listed = [backup.name for backup in store.backups()]
        self.outcome.expect(listed == self.standing, f"listed are {listed}, not {self.standing}")
        if self.standing:
            self.outcome.expect(store.find().name == self.standing[-1], f"{store.find().name} is no newest")
        for version in _VERSIONS:
            of_it = [name for name in self.standing if name.startswith(f"v{version}/")]
            links = [os.readlink(link) for link in self.path.glob(f"v{version}/*_latest.*")]
            newest = [name.split("/")[1] for name in of_it[-1:]]
            self.outcome.expect(links == newest, f"the newest of {version} is {newest}, not {links}")


def race_the_clock(folder: Path, long: bool) -> Outcome:
    """Back up and clean while the clock jumps between any two commands."""
    outcome = Outcome("with false clocks")
    root = folder / "demo"
    files = {f"src/{number}.txt": os.urandom(4_000).hex().encode() for number in range(60)}
    make_project(root, files | {"large.bin": os.urandom(400_000)})
    clock = FalseClock()
    clock.install()
    store = _Store(outcome, root)
    for number in range(600 if long else 50):
        outcome.count(f"the clock {clock.jump()}")
        _change_something(root)
        _act(store)
        store.compare()
        if number % 10 == 0:
            for verified in verify_all(place(root), "full"):
                outcome.expect(not verified.findings, str(verified.findings[:1]))
    verified = verify_version(place(root), None, "full")
    outcome.expect(verified.archive == store.standing[-1], "verify does not take the newest")
    outcome.expect(not ledger.read(store.path).unreadable, "the ledger cannot be read")
    return outcome


def _change_something(root: Path) -> None:
    """Let a file have another content of the same length, now and then at its old time."""
    file = root / "src" / f"{random.randrange(60)}.txt"
    facts = file.stat()
    file.write_bytes(os.urandom(4_000).hex().encode())
    if random.random() < 0.5:
        os.utime(file, ns=(facts.st_atime_ns, facts.st_mtime_ns))


def _act(store: _Store) -> None:
    shown = place(store.root)
    act = random.choice(("release", "release", "daily", "daily", "clean"))
    store.outcome.count(act)
    if act == "release":
        store.published(back_up(shown, Order(random.choice(_VERSIONS))))
    elif act == "daily":
        store.published(back_up(shown, Order(daily=True)))
    else:
        fates = clean(shown, Keep(_KEEP, 1)).fates
        store.cleaned({str(Path(fate.archive).relative_to(store.path)) for fate in fates if not fate.kept})
