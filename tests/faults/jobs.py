"""The commands that are put to the test, each with the state that it starts from."""

from __future__ import annotations

import datetime
import random
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .strace import Call
from .workshop import Scene, moment

__all__ = ["JOBS", "LONG_AGO", "THEIRS", "THEIR_SUMS", "Crash", "Job"]

_DAY = 86_400  # seconds
LONG_AGO = 1_700_000_000
"""When the backups that are there already were made: 2023-11-14, seconds since 1970."""
THEIRS = "Backup of 1.2.0, made by hand\n"
"""A manifest of somebody else."""
THEIR_SUMS = f"{'0' * 64}  notes/1.2.0.txt\n"
"""Sums of somebody else."""


FIRST_OF_CRASH = 1 << 16
"""What temporary names of a killed command are numbered from: those of the next one are others, as usual."""


@dataclass(frozen=True, slots=True)
class Crash:
    """A command that was killed at one of its calls."""

    arguments: tuple[str, ...]
    call: str
    path: str
    """Below the store; ``{today}`` is the date."""
    nth: int = 1

    def place(self, calls: Sequence[Call], path: str) -> int:
        """Return the number of the call at which it is killed, `path` being the whole one."""
        fitting = [
            number for number, call in enumerate(calls) if call.name == self.call and path in call.about
        ]
        return fitting[self.nth - 1]


@dataclass(frozen=True, slots=True)
class Job:
    """One command."""

    name: str
    arguments: tuple[str, ...]
    build: Callable[[Scene], None]
    """Fills an empty scene with the state that the command starts from."""
    target: str = ""
    """The new folder beside the project that it restores into."""
    crash: Crash | None = None
    """What was killed before, so that it starts from what that left."""

    @property
    def task(self) -> str:
        """The task that it runs."""
        return self.arguments[0]


def _project(scene: Scene) -> None:
    """Write a small project and commit it."""
    scene.write("package.json", '{"name": "demo", "version": "1.2.0"}\n')
    scene.write("src/server.js", "require('http');\n" * 40)
    scene.write("src/views/index.html", "<p>Hello</p>\n")
    scene.write(".env", "SECRET=1\n")
    scene.write(".gitignore", ".env\nbackups/\nrestored/\n__pycache__/\n")
    scene.write("CHANGELOG.md", "# Changelog\n\n## [1.1.0] - 2026-11-01\n\n- A thing\n")
    scene.write("tasks.py", "from backup_lib.tasks import ns\n")
    (scene.project / "current").symlink_to("src/server.js")
    (scene.project / "src" / "copy.js").hardlink_to(scene.project / "src" / "server.js")
    scene.git("init")
    scene.git("add", "-A")
    scene.git("commit", "-m", "First")


def _versions(scene: Scene, *versions: str) -> None:
    """Make a proved backup of each version, each of a tree of its own."""
    for number, version in enumerate(versions):
        scene.write("src/version.js", f"module.exports = '{version}';\n")
        with moment(LONG_AGO + number):
            scene.must("backup", "--version", version)
    scene.must("verify", "--all")
    scene.write("src/version.js", "module.exports = 'next';\n")
    scene.git("add", "-A")
    scene.git("commit", "-m", "Next")


def _two_releases(scene: Scene) -> None:
    _project(scene)
    _versions(scene, "1.0.0", "1.1.0")


def _unproved(scene: Scene) -> None:
    """Make two releases, and a third that nobody has proved yet."""
    _two_releases(scene)
    with moment(LONG_AGO + _DAY):
        scene.must("backup", "--version", "1.2.0")


def _released(scene: Scene) -> None:
    _two_releases(scene)
    with moment(LONG_AGO + _DAY):
        scene.must("release", "--version", "1.2.0")


def _many_blocks(scene: Scene) -> None:
    """Make a release, and a tree that takes several writes."""
    _project(scene)
    _versions(scene, "1.0.0")
    dice = random.Random(0)
    for number in range(24):
        (scene.project / "src" / f"image-{number}.png").write_bytes(dice.randbytes(40_000))


def _no_store(scene: Scene) -> None:
    _project(scene)


def _dailies(scene: Scene) -> None:
    """Make two releases and three daily backups of other days."""
    _two_releases(scene)
    for day in range(3):
        with moment(LONG_AGO + day * _DAY):
            scene.must("backup", "--daily")


def _this_morning(scene: Scene) -> None:
    """Make two releases and a daily backup of today, of another tree."""
    _two_releases(scene)
    scene.must("backup", "--daily", "--format", "zst")
    scene.write("src/server.js", "require('https');\n")


def _many(scene: Scene) -> None:
    """Make three versions, the oldest of them backed up twice."""
    _project(scene)
    _versions(scene, "1.0.0", "1.0.0", "1.1.0", "1.2.0")


def _theirs(scene: Scene) -> None:
    """Make two releases, and put what is not ours where the next backups go."""
    _two_releases(scene)
    scene.write("backups/v1.2.0/MANIFEST.txt", THEIRS)
    scene.write("backups/SHA256SUMS", THEIR_SUMS)
    with tarfile.open(scene.store / f"{datetime.date.today()}.tar.gz", "w:gz") as archive:
        archive.add(scene.project / "package.json", "demo/package.json")


def _theirs_released(scene: Scene) -> None:
    _theirs(scene)
    with moment(LONG_AGO + _DAY):
        scene.must("release", "--version", "1.2.0")


def _over_something(scene: Scene) -> None:
    """Make two releases, and a folder that holds some of what will be restored over it."""
    _two_releases(scene)
    target = scene.folder / "beside" / "demo"
    (target / "src").mkdir(parents=True)
    (target / "src" / "server.js").write_text("old\n")
    (target / ".env").write_text("OLD=1\n")
    (target / "mine").write_text("mine\n")


JOBS = (
    Job("backup-gz", ("backup", "--version", "1.2.0"), _two_releases),
    Job("backup-zst", ("backup", "--version", "1.2.0", "--format", "zst"), _two_releases),
    Job("backup-again", ("backup", "--version", "1.1.0"), _two_releases),
    Job("backup-first", ("backup", "--version", "1.0.0"), _no_store),
    Job("backup-blocks", ("backup", "--version", "1.2.0"), _many_blocks),
    Job("daily-blocks", ("backup", "--daily", "--format", "zst"), _many_blocks),
    Job("daily-gz", ("backup", "--daily"), _two_releases),
    Job("daily-zst-again", ("backup", "--daily", "--format", "zst"), _this_morning),
    Job("clean", ("clean", "--keep", "1"), _many),
    Job("clean-daily", ("clean", "--keep-daily", "1"), _dailies),
    Job("restore-new", ("restore", "--version", "1.0.0", "--to", "../new"), _two_releases, "new"),
    Job("restore-over", ("restore", "--version", "1.0.0", "--to", "../beside", "--overwrite", "always"),
        _over_something),
    Job("restore-in-place", ("restore", "--version", "1.0.0", "--in-place"), _two_releases),
    Job("release", ("release", "--version", "1.2.0"), _two_releases),
    Job("undo", ("release", "--undo", "--version", "1.2.0"), _released),
    Job("backup-aside", ("backup", "--version", "1.2.0"), _theirs),
    Job("daily-aside", ("backup", "--daily"), _theirs),
    Job("undo-aside", ("release", "--undo", "--version", "1.2.0"), _theirs_released),
    Job("verify", ("verify", "--all"), _unproved),
    Job("after-killed-folder", ("backup", "--version", "1.2.0"), _two_releases,
        crash=Crash(("backup", "--version", "1.2.0"), "fsync", "")),
    Job("after-killed-backup", ("backup", "--version", "1.2.0"), _two_releases,
        crash=Crash(("backup", "--version", "1.2.0"), "rename", "v1.2.0/.MANIFEST.txt.00010001.partial")),
    Job("after-killed-commit", ("backup", "--version", "1.3.0"), _two_releases,
        crash=Crash(("backup", "--version", "1.2.0"), "fsync", "v1.2.0", 3)),
    Job("verify-after-killed-commit", ("verify", "--all"), _two_releases,
        crash=Crash(("backup", "--version", "1.2.0"), "fsync", "v1.2.0", 3)),
    Job("after-killed-record", ("backup", "--version", "1.2.0"), _no_store,
        crash=Crash(("backup", "--version", "1.2.0"), "write", "ledger.jsonl")),
    Job("verify-after-killed-record", ("verify", "--all"), _no_store,
        crash=Crash(("backup", "--version", "1.2.0"), "fsync", "ledger.jsonl")),
    Job("after-killed-daily", ("backup", "--daily"), _no_store,
        crash=Crash(("backup", "--daily"), "rename", "{today}.tar.gz")),
    Job("verify-after-killed-daily", ("verify", "--all"), _no_store,
        crash=Crash(("backup", "--daily"), "fsync", "", 3)),
    Job("after-killed-clean", ("clean", "--keep", "1"), _many,
        crash=Crash(("clean", "--keep", "1"), "unlink", "v1.0.0/demo_v1.0.0_20231114T221320Z.tar.gz")),
)  # fmt: skip
