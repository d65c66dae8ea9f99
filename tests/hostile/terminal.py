"""Runs a task on a terminal of 100 columns in a child of its own, with limits, and says what came there.

The library is imported once, before the first child: a run costs a fork, not the start of a Python.
"""

from __future__ import annotations

import fcntl
import os
import pty
import resource
import select
import signal
import struct
import sys
import termios
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from invoke import Program

import tasks
from backup_lib import clean, release, report, restore, undo, verify  # noqa: F401  (what a run would import first)

from .judge import progress_of

__all__ = ["COLUMNS", "HUNG", "PATIENCE", "Ended", "on_terminal"]

COLUMNS = 100
PATIENCE = 30.0
"""Seconds without any work after which a run hangs."""
HUNG = -99
"""The exit code of a run that had to be killed, since it waited for something that never comes."""
_CPU = 60
"""Seconds of processor time."""
_SPACE = 2 << 30
"""Bytes of addresses, so that one that goes wild does no harm."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended, and what came to its terminal."""

    code: int
    """Exit code; minus the number of the signal that ended it; `HUNG`."""
    told: bytes
    memory: int
    """The most bytes that were in use at once."""


def on_terminal(
    folder: Path, arguments: Sequence[str], environment: Mapping[str, str], patience: float = PATIENCE
) -> Ended:
    """Run ``invoke`` with some arguments in a folder; stdin, stdout and stderr are one terminal."""
    child, terminal = pty.fork()
    if child == 0:
        os.environ.clear()
        os.environ.update(environment)
        time.tzset()
        _be_child(folder, arguments)
    told, hung = _heard(child, terminal, patience)
    if hung:
        os.killpg(child, signal.SIGKILL)  # what it started is in its session, and goes with it
    os.close(terminal)
    _, status, usage = os.wait4(child, 0)
    code = HUNG if hung else os.waitstatus_to_exitcode(status)
    return Ended(code, told, usage.ru_maxrss * 1024)


def _heard(child: int, terminal: int, patience: float) -> tuple[bytes, bool]:
    """Return all that comes to a terminal, and whether the child stopped to get on before it closed that."""
    told, before = b"", ""
    while True:
        if not select.select([terminal], [], [], patience)[0]:
            now = progress_of(child)
            if now == before:
                return told, True
            before = now
            continue
        try:
            piece = os.read(terminal, 1 << 16)
        except OSError:  # EIO: the other end is closed
            return told, False
        told += piece


def _be_child(folder: Path, arguments: Sequence[str]) -> None:
    """Be the child: run the tasks and end."""
    code = 97
    try:
        fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", 24, COLUMNS, 0, 0))
        sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
        sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
        sys.stderr = os.fdopen(2, "w", 1, encoding="utf-8", errors="backslashreplace", closefd=False)
        os.chdir(folder)
        for limit, most in (
            (resource.RLIMIT_CPU, _CPU),
            (resource.RLIMIT_AS, _SPACE),
            (resource.RLIMIT_CORE, 0),
        ):
            resource.setrlimit(limit, (most, most))
        Program(namespace=tasks.ns, version="3").run(["invoke", *arguments])
        code = 0
    except SystemExit as ended:
        code = int(ended.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
