"""Reading what strace says of a run, and telling it what to do to the next one.

strace (https://strace.io) is asked for hexadecimal strings throughout: then its lines need no unquoting.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

__all__ = ["CHANGING", "OPENING", "Call", "calls_in", "injecting", "recording", "why_not"]

OPENING = ("openat", "openat2", "open", "creat")
CHANGING = (
    *("write", "writev", "pwrite64", "ftruncate", "truncate", "fallocate"),
    *("fsync", "fdatasync", "syncfs"),
    *("rename", "renameat", "renameat2", "link", "linkat", "symlink", "symlinkat"),
    *("unlink", "unlinkat", "rmdir", "mkdir", "mkdirat"),
    *("chmod", "fchmod", "fchmodat", "utimensat"),
)
_READING = ("read", "pread64", "getdents64")
_PLACING = ("lseek",)

_LINE = re.compile(r"(\d+) +(.*)")
_CALL = re.compile(r"(\w+)\((.*)\)\s*= (\?|-?\d+)(.*)")
_HALF = re.compile(r"(\w+)\((.*) <unfinished \.\.\.>")
_REST = re.compile(r"<\.\.\. (\w+) resumed>(.*)")
_TOKEN = re.compile(r'(AT_FDCWD|\b\d+)<((?:\\x..)*)>|"((?:\\x..)*)"')
_ERROR = re.compile(r" (E[A-Z0-9]+) ")


@dataclass(frozen=True, slots=True)
class Call:
    """One system call as it was made."""

    thread: int
    name: str
    text: str
    """Its arguments as strace shows them."""
    literals: tuple[str, ...]
    """The paths it was told, as they were told."""
    paths: tuple[str, ...]
    """The same, absolute."""
    fds: tuple[tuple[int, str], ...]
    """The descriptors it was told, each with the path it was opened at."""
    data: bytes
    """What was to be written; of a symlink, its target."""
    result: int | None
    """None where it never came back."""
    error: str
    """Name of the error, or nothing."""
    injected: bool

    @property
    def about(self) -> tuple[str, ...]:
        """Every absolute path it is about."""
        return (*self.paths, *(path for _, path in self.fds))


@cache
def why_not() -> str:
    """Return why nothing can be traced here, or nothing where it can."""
    if shutil.which("strace") is None:
        return "strace is not installed: apt install strace"
    done = subprocess.run(
        ["strace", "-f", "--seccomp-bpf", "-o", os.devnull, "true"], capture_output=True, text=True
    )
    return f"this machine lets no process be traced: {done.stderr.strip()}" if done.returncode else ""


def recording(log: Path, reads: bool = False) -> list[str]:
    """Return the start of a command line whose calls are all written to `log`."""
    watched = (*OPENING, *CHANGING, *_PLACING, *(_READING if reads else ()))
    return [*_strace(log), "--seccomp-bpf", "-s", "16777216", f"--trace={','.join(watched)}"]


def injecting(log: Path, paths: Sequence[str], call: str, what: str) -> list[str]:
    """Return the start of a command line in which something is done to one call.

    `what` ends an expression of strace's ``inject``. Only calls that are about one of `paths` are counted,
    each thread's for itself. Syncs are written to `log` as well.
    """
    traced = dict.fromkeys((call, "fsync", "fdatasync", "syncfs"))
    # With --seccomp-bpf strace forgets the signals it was to inject.
    fast = ["--seccomp-bpf"] if "signal=" not in what else []
    told = [part for path in paths for part in ("-P", path)]
    return [*_strace(log), *fast, *told, f"--trace={','.join(traced)}", f"--inject={call}:{what}"]


def _strace(log: Path) -> list[str]:
    return ["strace", "-f", "-y", "-xx", "--quiet=all", "--signal=none", "-o", str(log)]


def calls_in(log: Path, folder: str) -> Iterator[Call]:
    """Yield the calls of a log in the order in which they ended; relative paths are taken from `folder`."""
    halves: dict[str, str] = {}
    with log.open(errors="surrogateescape") as lines:
        for line in lines:
            match = _LINE.match(line)
            if match is None:
                continue
            thread, text = match[1], match[2]
            if half := _HALF.match(text):
                halves[thread] = f"{half[1]}({half[2]}"
                continue
            if rest := _REST.match(text):
                text = halves.pop(thread) + rest[2]
            if call := _CALL.match(text):
                yield _call(int(thread), call, folder)


def _call(thread: int, match: re.Match[str], folder: str) -> Call:
    name, arguments, result, tail = match.groups()
    base, data = folder, b""
    literals: list[str] = []
    paths: list[str] = []
    fds: list[tuple[int, str]] = []
    for number, path, text in _TOKEN.findall(arguments):
        if number:
            base = _text(path)
            if number != "AT_FDCWD":
                fds.append((int(number), base))
        elif name in ("write", "pwrite64") or (name.startswith("symlink") and not data):
            data = _bytes(text)
        else:
            literals.append(_text(text))
            paths.append(os.path.normpath(os.path.join(base, literals[-1])))
    error = _ERROR.match(tail)
    return Call(
        thread=thread,
        name=name,
        text=arguments,
        literals=tuple(literals),
        paths=tuple(paths),
        fds=tuple(fds),
        data=data,
        result=None if result == "?" else int(result),
        error=error[1] if error else "",
        injected="(INJECTED" in tail,
    )


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))


def _text(text: str) -> str:
    return os.fsdecode(_bytes(text))
