"""Runs tasks in children with limits, one after the other, and tells what each of them cost.

A process of its own (``python -m hostile.judge``), so that a child starts with no more memory than
a real run has: it reads a JSON line for each run from stdin and answers with one.
"""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Verdict", "main", "progress_of"]

CPU = 5
"""Seconds of processor time a child may take: the promise."""
MEMORY = 256 << 20
"""Bytes of memory that may be in use at any time: the promise."""
_SPACE = 1 << 30
"""Bytes of addresses a child may take, so that one that breaks the promise does no harm."""
_FILE = 4 << 30
"""Bytes that a file it writes may have, holes included."""
_PATIENCE = 60.0
"""Seconds without any work after which a child hangs; one that waits for a processor does not."""


@dataclass(frozen=True)
class Verdict:
    """How a run ended."""

    code: int
    """Exit code; minus the number of the signal that ended it; -99 where it hung."""
    out: str
    err: str
    memory: int
    """The most bytes that were in use at once."""
    cpu: float
    """Seconds of processor time, of its children too."""


def main() -> None:
    """Serve until stdin ends."""
    from invoke import Program

    import tasks
    from backup_lib import report, restore, verify  # noqa: F401  (what a run would import first)

    for line in sys.stdin:
        asked = json.loads(line)
        verdict = _run(Program(namespace=tasks.ns, version="3"), asked)
        sys.stdout.write(json.dumps(vars(verdict)) + "\n")
        sys.stdout.flush()


def _run(program: Any, asked: dict[str, Any]) -> Verdict:
    files = [Path(asked["said"]) / name for name in ("out", "err")]
    child = os.fork()
    if child == 0:
        _limited(program, asked, files)
    number, memory, cpu = _reaped(child)
    out, err = (path.read_bytes().decode(errors="backslashreplace") for path in files)
    return Verdict(number, out, err, memory, cpu)


def _limited(program: Any, asked: dict[str, Any], files: list[Path]) -> None:
    """Be the child: run the tasks and end."""
    code = 97
    try:
        for number, path in enumerate(files, 1):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.chdir(asked["folder"])
        for limit, most in (
            (resource.RLIMIT_CPU, CPU + 1),
            (resource.RLIMIT_AS, _SPACE),
            (resource.RLIMIT_FSIZE, _FILE),
            (resource.RLIMIT_CORE, 0),
        ):
            resource.setrlimit(limit, (most, most))
        program.run(["invoke", *asked["arguments"]])
        code = 0
    except SystemExit as ended:
        code = int(ended.code or 0)
    except BaseException as error:
        sys.stderr.write(f"Traceback: {error!r}\n")
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def progress_of(child: int) -> str:
    """Return what changes as long as a child gets on: for how long, and how often, it had a processor."""
    return Path(f"/proc/{child}/schedstat").read_text()


def _reaped(child: int) -> tuple[int, int, float]:
    """Wait for a child, and end it where it hangs; return how it ended, its memory and its time."""
    watched = os.pidfd_open(child)
    before, hung = "", False
    while not hung and not select.select([watched], [], [], _PATIENCE)[0]:
        now = progress_of(child)
        hung, before = now == before, now
    os.close(watched)
    if hung:
        os.kill(child, signal.SIGKILL)
    _, status, usage = os.wait4(child, 0)
    code = -99 if hung else os.waitstatus_to_exitcode(status)
    return code, usage.ru_maxrss * 1024, usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
