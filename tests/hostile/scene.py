"""A project whose store has every kind of backup, and things of others; made once, copied for each run."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from backup_lib import clock

from .terminal import on_terminal

__all__ = ["FOREIGN", "RELEASED", "Scene", "Stage", "template"]

RELEASED = "1.1.0"
"""The version that mutations are about: released, then backed up once more."""
_VENDOR = "vendor/.x.0badcafe.partial"
FOREIGN = (
    *("theirs.tar.gz", "notes.txt", "vault", "vendor", "vendor/x.tar", _VENDOR),
    *("v0.5.0", "v0.5.0/theirs.tar.gz"),
)
"""Paths below the store of what others put there; ``vault`` is an empty folder."""
_OLD = 1_600_000_000
_DAY = 86400
_GITCONFIG = (
    "[user]\nname = A Tester\nemail = tester@example.com\n"
    "[init]\ndefaultBranch = main\ntemplateDir =\n[gc]\nauto = 0\n"
)
_CHANGELOG = "# Changelog\n\n## [1.1.0] - 2026-11-01\n\n- A thing\n\n## [1.0.0] - 2026-10-01\n\n- Another\n"


@dataclass(frozen=True)
class Scene:
    """A folder with all of it."""

    folder: Path

    @property
    def project(self) -> Path:
        """The project's root, where commands run."""
        return self.folder / "demo"

    @property
    def store(self) -> Path:
        """Its store."""
        return self.project / "backups"

    @property
    def outside(self) -> Path:
        """What nothing may reach: a file ``secret``, a ``folder`` with another, an archive."""
        return self.folder / "outside"

    @property
    def environment(self) -> Mapping[str, str]:
        """What commands find; nothing of the machine's own settings."""
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL") if name in os.environ}
        return kept | {
            "HOME": str(self.folder / "home"),
            "TMPDIR": str(self.folder / "scratch"),
            "GIT_CONFIG_NOSYSTEM": "1",
            "TERM": "xterm",
            "TZ": "UTC",
        }

    @contextmanager
    def copied(self, to: Path) -> Iterator[Scene]:
        """Yield a copy, at a place that has to be free; gone at the end."""
        subprocess.run(["cp", "-a", self.folder, to], check=True)
        try:
            yield Scene(to)
        finally:
            subprocess.run(["rm", "-rf", to], check=True)  # also what is deeper than Python goes

    def write(self, name: str, text: str) -> None:
        """Write a file of the project."""
        path = self.project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def commit(self) -> None:
        """Commit all of the project."""
        for arguments in (("add", "-A"), ("commit", "-qm", "A commit")):
            subprocess.run(["git", *arguments], cwd=self.project, check=True, env=self.environment)

    def must(self, *arguments: str) -> None:
        """Run a task that has to succeed."""
        ended = on_terminal(self.project, arguments, self.environment)
        if ended.code:
            raise RuntimeError(f"{arguments} ended with {ended.code}: {ended.told!r}")


@dataclass(frozen=True)
class Stage:
    """A scene that a mutation may change, and what it has to know of it."""

    scene: Scene
    held: ExitStack
    """What lives as long as the command runs."""

    @property
    def store(self) -> Path:
        """The store."""
        return self.scene.store

    @property
    def outside(self) -> Path:
        """The folder that must stay as it is."""
        return self.scene.outside

    @cached_property
    def book(self) -> tuple[dict[str, Any], ...]:
        """The records of the ledger as the template has it."""
        return tuple(map(json.loads, (self.store / "ledger.jsonl").read_bytes().splitlines()))

    def last(self, act: str, archive: str = "") -> dict[str, Any]:
        """Return the last record of an act, on archives whose path begins so."""
        return next(
            each for each in reversed(self.book) if each["act"] == act and each["archive"].startswith(archive)
        )

    @cached_property
    def archive(self) -> Path:
        """The newest archive of the version that mutations are about."""
        return self.store / str(self.last("publish", f"v{RELEASED}/")["archive"])

    @property
    def latest(self) -> Path:
        """The link to it."""
        return next(self.archive.parent.glob("*_latest.tar.gz"))

    @property
    def manifest(self) -> Path:
        """Its manifest."""
        return self.archive.parent / "MANIFEST.txt"

    @cached_property
    def daily(self) -> Path:
        """The newest daily backup: that of today."""
        return self.store / str(self.last("publish", "2")["archive"])

    @property
    def ledger(self) -> Path:
        """The ledger."""
        return self.store / "ledger.jsonl"

    def add(self, *lines: bytes | dict[str, Any]) -> None:
        """Add lines to the ledger."""
        texts = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
        with self.ledger.open("ab") as file:
            file.write(b"".join(text + b"\n" for text in texts))


@contextmanager
def template() -> Iterator[Scene]:
    """Yield the scene that all cases begin with, in memory where it can be, with room beside it."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    folder = Path(tempfile.mkdtemp(prefix="hostile-", dir=memory))
    try:
        yield _made(folder / "template")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _made(folder: Path) -> Scene:
    """Make the scene.

    Releases of two versions, one with a later archive; backups of a pre-release and of no release; daily ones
    of yesterday and today. All are proved.
    """
    scene = Scene(folder)
    for each in (scene.outside / "folder", scene.project, folder / "home", folder / "scratch"):
        each.mkdir(parents=True)
    (folder / "home" / ".gitconfig").write_text(_GITCONFIG)
    _begin(scene)
    for version in ("1.0.0", RELEASED):
        scene.must("release", "--version", version)
        scene.commit()
    scene.write("src/server.js", "require('https');\n")
    scene.must("backup", "--version", RELEASED)
    scene.must("backup", "--version", "1.2.0-rc.1")
    scene.must("backup", "--version", "1.3.0")
    scene.write("src/server.js", "require('http2');\n")
    scene.commit()
    _backed_up_yesterday(scene)
    scene.must("backup", "--daily")
    scene.must("verify", "--all")
    _strew(scene)
    return scene


def _begin(scene: Scene) -> None:
    subprocess.run(["git", "init", "-q", scene.project], check=True, env=scene.environment)
    scene.write("package.json", '{"name": "demo", "version": "2.0.0"}\n')
    scene.write("src/server.js", "require('http');\n")
    scene.write(".gitignore", "node_modules/\n.env\nbackups/\n")
    scene.write(".env", "SECRET=1\n")
    scene.write("CHANGELOG.md", _CHANGELOG)
    scene.commit()


def _backed_up_yesterday(scene: Scene) -> None:
    now = clock._seconds
    clock._seconds = lambda: time.time() - _DAY
    try:
        scene.must("backup", "--daily")
    finally:
        clock._seconds = now


def _strew(scene: Scene) -> None:
    """Put things of others into the store and outside."""
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w:gz") as archive:
        member = tarfile.TarInfo("theirs/file")
        member.size = 7
        archive.addfile(member, io.BytesIO(b"theirs\n"))
    for name in ("theirs.tar.gz", "v0.5.0/theirs.tar.gz", "vendor/x.tar", _VENDOR):
        (scene.store / name).parent.mkdir(exist_ok=True)
        (scene.store / name).write_bytes(held.getvalue())
    (scene.store / "vault").mkdir()
    (scene.store / "notes.txt").write_text("What to do on the bad day\n")
    (scene.outside / "victim.tar.gz").write_bytes(held.getvalue())
    for name in ("secret", "folder/secret"):
        (scene.outside / name).write_bytes(b"secret\n")
    for path in [*scene.outside.rglob("*"), scene.outside]:
        os.utime(path, (_OLD, _OLD))
    shutil.copy2(next(scene.store.glob("v1.0.0/*Z.tar.gz")), scene.outside / "folder" / "ours.tar.gz")
