"""What the tests of the tasks share."""

from __future__ import annotations

import errno
import json
import os
import shutil
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

import tasks
from backup_lib import clock
from backup_lib.model import Block, Header, Summary


@dataclass(frozen=True)
class Outcome:
    """How a run of ``invoke`` ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one object on stdout."""
        return json.loads(self.out)


Run = Callable[..., Outcome]

HEEDING = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGTERM, signal.SIG_DFL)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
"""
"""The start of a program that is sent signals: whoever runs the tests may ignore them, as ``nohup`` does."""


def git(folder: Path, *arguments: str) -> str:
    """Run git and return what it prints."""
    done = subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def archive_of(outcome: Outcome) -> Path:
    """Return the archive that a ``--json`` run of ``backup`` or ``release`` made."""
    return Path(outcome.json["result"]["archive"])


def refused(outcome: Outcome, code: int, what: str) -> None:
    """Assert a refusal: one line on stderr that says what, nothing on stdout, never a traceback."""
    assert outcome.code == code, outcome
    assert what in outcome.err
    assert outcome.out == ""
    assert len(outcome.err.splitlines()) == 1


@contextmanager
def setting(name: str, value: str) -> Iterator[None]:
    """Set a setting by the environment."""
    os.environ[f"INVOKE_BACKUP_{name}"] = value
    try:
        yield
    finally:
        del os.environ[f"INVOKE_BACKUP_{name}"]


@contextmanager
def ending() -> Iterator[None]:
    """Assert that what is done ends within two minutes of processor time, coverage included.

    No test of speed: it guards against work that grows with the square of what is read.
    """
    began = time.process_time()
    yield
    assert time.process_time() - began < 120


@contextmanager
def clock_at(seconds: float, zone: str = "UTC") -> Iterator[None]:
    """Let the machine's clock stand still at a moment, in seconds since 1970, and in a time zone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clock, "_seconds", lambda: seconds)
        patch.setenv("TZ", zone)
        time.tzset()
        try:
            yield
        finally:
            patch.undo()
            time.tzset()


@contextmanager
def unreadable(path: Path) -> Iterator[None]:
    """Let a file fail to open; the tests may run as root, whom no mode keeps out."""
    real = os.open
    wanted = path.stat().st_ino

    def refusing(name: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        fd = real(name, flags, mode, dir_fd=dir_fd)
        if os.fstat(fd).st_ino != wanted:
            return fd
        os.close(fd)
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), name)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "open", refusing)
        yield


def invoke(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the real ``invoke`` in a process of its own."""
    environment = os.environ | {"PYTHONPATH": str(Path(tasks.__file__).parent)}
    command = [sys.executable, "-m", "invoke", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@dataclass(frozen=True)
class Installed:
    """The package as a wheel lays it down, and the command ``invoke`` beside it."""

    place: Path

    @classmethod
    def at(cls, place: Path) -> Installed:
        """Install it below a new folder."""
        ours = Path(tasks.__file__).parent
        shutil.copytree(
            ours / "backup_lib", place / "backup_lib", ignore=shutil.ignore_patterns("__pycache__")
        )
        shutil.copy(tasks.__file__, place / "backup_lib" / "tasks.py")
        (place / "bin").mkdir()
        (place / "bin" / "invoke").write_text("from invoke.main import program\nprogram.run()\n")
        return cls(place)

    def invoke(
        self, folder: Path, *arguments: str | bytes, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run the command in a folder, whose ``tasks.py`` is its own; output that is not UTF-8 is escaped."""
        return subprocess.run(
            [sys.executable, str(self.place / "bin" / "invoke"), *arguments],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(self.place)} | environment,
            capture_output=True,
            encoding="utf-8",
            errors="backslashreplace",
            check=False,
        )


def of_first_shape(records: Iterable[Header | Block | Summary], level: int = 6) -> bytes:
    """Return an index of these records as the first one was: one zlib stream, the digests in the records."""
    stream = b""
    for record in records:
        body = msgspec.msgpack.encode(record)
        stream += struct.pack("<cI", type(record).__name__[0].encode(), len(body)) + body
    return zlib.compress(stream, level)
