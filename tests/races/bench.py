"""What the races have in common: a project to work on, processes to race with, and what came of it."""

from __future__ import annotations

import mmap
import os
import random
import signal
import struct
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from backup_lib.progress import Silent
from backup_lib.settings import Settings
from backup_lib.workplace import Workplace

__all__ = ["Outcome", "Shared", "fork", "git", "invoke", "make_project", "place", "racing", "wait_for"]

_GIT_CONFIG = "[user]\nname = A Tester\nemail = tester@example.com\n[init]\ndefaultBranch = main\n"
_HERE = Path(__file__).parents[2]


@dataclass
class Outcome:
    """What came of one experiment."""

    name: str
    tried: dict[str, float] = field(default_factory=dict)
    """How often what was done."""
    broken: list[str] = field(default_factory=list)
    """Each promise that was not kept."""
    seconds: float = 0.0

    def count(self, what: str, number: float = 1) -> None:
        """Add to what was done."""
        self.tried[what] = self.tried.get(what, 0) + number

    def expect(self, kept: bool, otherwise: str) -> None:
        """Note a promise that was not kept."""
        if not kept:
            self.broken.append(otherwise)


class Shared:
    """Numbers that processes forked from this one share; each is written by one of them."""

    def __init__(self, size: int) -> None:
        self._memory = mmap.mmap(-1, 8 * size)
        self._size = size

    def __getitem__(self, at: int) -> int:
        return int(struct.unpack_from("q", self._memory, 8 * at)[0])

    def __setitem__(self, at: int, number: int) -> None:
        struct.pack_into("q", self._memory, 8 * at, number)

    def all(self) -> tuple[int, ...]:
        """Return all numbers."""
        return struct.unpack_from(f"{self._size}q", self._memory)


def fork(job: Callable[[], object]) -> int:
    """Do something in a process of its own; return its number."""
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        random.seed(os.getpid())
        job()
        code = 0
    except BaseException:
        traceback.print_exc()
    os._exit(code)


def wait_for(pid: int) -> int:
    """Return how a process ended: its exit code, or the number of the signal, negative."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@contextmanager
def racing(*jobs: Callable[[], object]) -> Iterator[None]:
    """Let others run while the body does; they must still run at its end, and are killed then."""
    pids = [fork(job) for job in jobs]
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        ends = [wait_for(pid) for pid in pids]
    if any(end != -signal.SIGKILL for end in ends):
        raise RuntimeError(f"a process that raced ended by itself: {ends}")


def git(folder: Path, *arguments: str) -> str:
    """Run git and return what it prints."""
    done = subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def make_project(root: Path, files: dict[str, bytes]) -> None:
    """Make a project of one commit.

    It is a second old then: git knows the times of its files by whole seconds, and takes a file that changes
    in the second of its commit, and gets its old time back, for unchanged.
    """
    (root.parent / "home").mkdir(exist_ok=True)
    (root.parent / "home" / ".gitconfig").write_text(_GIT_CONFIG)
    os.environ["HOME"] = str(root.parent / "home")
    os.environ["GIT_CONFIG_NOSYSTEM"] = "1"
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
        os.utime(root / name, (time.time() - 10, time.time() - 10))
    (root.parent / "store").mkdir(exist_ok=True)
    (root.parent / "store" / "ledger.jsonl").touch()  # one outside the project is not made by a backup
    git(root, "init", "--quiet")
    git(root, "add", "-A")
    git(root, "commit", "--quiet", "-m", "First")
    time.sleep(1.1)


def place(root: Path, console: Silent | None = None) -> Workplace:
    """Return what the verbs work with; the store lies beside the project."""
    settings = Settings(project="demo", store=str(root.parent / "store"))
    return Workplace(root, settings, console or Silent())


def invoke(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the real command on the same project and store."""
    settings = {"INVOKE_BACKUP_PROJECT": "demo", "INVOKE_BACKUP_STORE": str(root.parent / "store")}
    environment = os.environ | settings | {"PYTHONPATH": str(_HERE)}
    command = [sys.executable, "-m", "invoke", "--search-root", str(_HERE), *arguments, "--root", str(root)]
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
