"""A folder to let an archive loose in: a target, things around it that must not change, and a judge."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from .judge import CPU, MEMORY, Verdict

__all__ = ["Arena", "Judge", "make_arena", "outside_of"]

_OLD = 1_000_000_000


class Judge:
    """The process that runs tasks with limits."""

    def __init__(self) -> None:
        tests = Path(__file__).parents[1]
        paths = os.pathsep.join([str(tests), str(tests.parent)])
        self._process = subprocess.Popen(
            [sys.executable, "-m", "hostile.judge"],
            env=os.environ | {"PYTHONPATH": paths},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate()

    def run(self, folder: Path, said: Path, *arguments: str | Path) -> Verdict:
        """Run ``invoke`` with some arguments in a folder; what it says goes through files in `said`."""
        assert self._process.stdin
        assert self._process.stdout
        asked = {"folder": str(folder), "said": str(said), "arguments": [*map(str, arguments)]}
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        return Verdict(**json.loads(self._process.stdout.readline()))


@dataclass(frozen=True)
class Arena:
    """One archive, a target, and all that lies around it."""

    root: Path
    judge: Judge

    @property
    def target(self) -> Path:
        """Where the archive is to be restored to."""
        return self.root / "work" / "to"

    @property
    def archive(self) -> Path:
        """The archive."""
        return self.root / "archive"

    def restore(self, data: bytes, *flags: str) -> Verdict:
        """Restore an archive into the target; everything that holds of any archive is asserted."""
        self.archive.write_bytes(data)
        before, there = self.around(), links_in(self.target)
        verdict = self._run("restore", "--archive", self.archive, "--to", self.target, *flags)
        assert self.around() == before
        allowed = None if "--outside-links" in flags else there
        assert_harmless(self.target, allowed)
        return verdict

    def clear(self) -> None:
        """Remove the target."""
        shutil.rmtree(self.target, ignore_errors=True)

    def verify(self, data: bytes, *flags: str | Path) -> Verdict:
        """Verify an archive; everything that holds of any archive is asserted."""
        self.archive.write_bytes(data)
        before = self.around()
        verdict = self._run("verify", "--archive", self.archive, *flags)
        assert self.around() == before
        return verdict

    def _run(self, *arguments: str | Path) -> Verdict:
        verdict = self.judge.run(self.root / "work", self.root / "said", *arguments)
        assert verdict.code in (0, 1, 3, 4), verdict
        assert "Traceback" not in verdict.err + verdict.out, verdict
        assert "unexpected" not in verdict.err, verdict
        assert verdict.err.isprintable() or verdict.err.replace("\n", "").isprintable(), verdict
        if verdict.code in (1, 4):
            assert len(verdict.err.splitlines()) == 1 or "verify" in arguments, verdict
            assert verdict.cpu <= CPU, verdict
            assert verdict.memory <= MEMORY, verdict
        return verdict

    def around(self) -> dict[str, object]:
        """Return all that can be told of everything but the target."""
        said = self.root / "said"
        return {
            str(path): _told(path)
            for path in sorted(self.root.rglob("*"))
            if not (path.is_relative_to(self.target) or path.is_relative_to(said))
        } | {"/": [name for name in os.listdir("/") if name != "tmp"]}


def _told(path: Path) -> object:
    facts = path.lstat()
    content = b""
    if stat.S_ISREG(facts.st_mode):
        content = path.read_bytes()
    elif stat.S_ISLNK(facts.st_mode):
        content = os.fsencode(os.readlink(path))
    # the time and size of a folder in which a target comes and goes say nothing
    more = None if path.name == "work" else (facts.st_mtime_ns, facts.st_size)
    return facts.st_mode, facts.st_ino, facts.st_uid, content, more


def links_in(target: Path) -> dict[bytes, bytes]:
    """Return the target of each symlink below a folder."""
    return {bytes(path): os.readlink(bytes(path)) for path in sorted(target.rglob("*")) if path.is_symlink()}


def assert_harmless(target: Path, allowed: dict[bytes, bytes] | None) -> None:
    """Assert that nothing below a target is or leads to what no restore may make.

    Of links only those that are `allowed` may lead out; None allows all.
    """
    inside = os.fsencode(os.path.realpath(target))
    for folder, folders, files in os.walk(os.fsencode(target)):
        for name in folders + files:
            path = os.path.join(folder, name)
            facts = os.lstat(path)
            if stat.S_ISLNK(facts.st_mode):
                if allowed is not None and allowed.get(path) != os.readlink(path):
                    assert_inside(os.path.realpath(path), inside)
                continue
            assert not facts.st_mode & 0o7000, path
            assert stat.S_IFMT(facts.st_mode) in (stat.S_IFREG, stat.S_IFDIR), path
            if stat.S_ISREG(facts.st_mode) and facts.st_size < 1 << 20:
                with open(path, "rb") as file:
                    assert file.read() != b"secret", path


def assert_inside(path: bytes, folder: bytes) -> None:
    """Assert that a path is that of a folder, or lies below it."""
    assert path == folder or path.startswith(folder + b"/"), path


def outside_of(root: Path) -> Path:
    """Return the folder of an arena that no archive may reach."""
    return root / "outside"


def make_arena(root: Path, judge: Judge) -> Arena:
    """Make the folders, and what must not change around the target."""
    outside = outside_of(root)
    for folder in (outside / "folder", root / "work" / "to-not", root / "said"):
        folder.mkdir(parents=True)
    for path in (
        outside / "secret",
        outside / "folder" / "secret",
        root / "work" / "secret",
        root / "work" / "to-not" / "secret",
        root / "archive",
    ):
        path.write_bytes(b"secret")
        path.chmod(0o640)
    (outside / "link").symlink_to("secret")
    (outside / "folder link").symlink_to("folder")
    for path in [*outside.rglob("*"), *(root / "work").rglob("*"), outside]:
        os.utime(path, (_OLD, _OLD), follow_symlinks=False)
    return Arena(root, judge)
