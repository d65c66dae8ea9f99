"""Asking git: how its commands are run, and what its refusals mean.

git itself answers, through GitPython. Nothing in the environment can lead it astray.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from subprocess import PIPE
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple, cast

from backup_lib.errors import ProjectError, printable
from backup_lib.project.environment import without_astray

if TYPE_CHECKING:
    from git import Git

__all__ = ["Answer", "WorkTree", "fields", "first_line", "refusal"]

_PIECE = 1 << 16

_ENVIRONMENT = {
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_TERMINAL_PROMPT": "0",
    **dict.fromkeys(("GIT_TRACE2", "GIT_TRACE2_EVENT", "GIT_TRACE2_PERF"), "0"),  # else trace2.* counts
}
_LITERAL = {"GIT_LITERAL_PATHSPECS": "1"}
_OPTIONS = (
    *("-c", "core.fsmonitor=false"),
    *("-c", "core.trustctime=true"),  # else git takes a file that got its old time back for unchanged
    *("-c", "core.checkStat=default"),
    *("-c", "core.packedGitWindowSize=1m"),  # else git maps whole packs to look up sizes
    *("-c", "core.packedGitLimit=16m"),
    *("-c", "status.showUntrackedFiles=normal"),  # git asks no flag of ours when it looks into submodules
)
_ENDS = ("fatal: ", "error: ")
_ASIDES = ("warning: ", "hint: ")
_NOT_INSTALLED = "git is not installed, but the project has a git repository; install git"


class Answer(NamedTuple):
    """How a git command ended."""

    status: int
    output: bytes
    message: str
    """What it wrote to stderr."""

    def checked(self, doing: str) -> bytes:
        """Return the output; raises `ProjectError` where git failed at what was being done."""
        if self.status:
            raise refusal(doing, self.message)
        return self.output


@dataclass(frozen=True, slots=True)
class WorkTree:
    """A git work tree, and where in it the project is."""

    top: Path
    prefix: bytes
    """The project's root below `top`, ending with ``/``; empty where they are the same."""

    @property
    def within(self) -> tuple[str, ...]:
        """The end of a command line that narrows it to the project."""
        return ("--", os.fsdecode(self.prefix)) if self.prefix else ()

    def ask(self, *command: str) -> Answer:
        """Run one git command; paths in it are taken literally."""
        return self.ask_together([command])[0]

    def ask_together(self, commands: Sequence[Sequence[str]]) -> list[Answer]:
        """Run git commands side by side.

        Raises `ProjectError` where git is not installed, or was killed.
        """
        return _run(self.top, commands, {**_ENVIRONMENT, **_LITERAL})

    def tell(self, given: bytes, *command: str, date: str = "") -> Answer:
        """Run one git command that reads `given`; what it makes bears the `date`, else the present one."""
        env = {**_ENVIRONMENT, "GIT_COMMITTER_DATE": date} if date else _ENVIRONMENT
        return _run(self.top, [command], env, given)[0]


def refusal(doing: str, message: str) -> ProjectError:
    """Return the error for what git wrote to stderr."""
    if "dubious ownership" in message:
        advice = re.search(r"git config --global --add safe\.directory \S.*", message)
        call = f"; if you do, run: {advice[0]}" if advice else ""
        return ProjectError(f"git does not trust this repository: it belongs to another user{call}")
    return ProjectError(f"{doing} failed: {first_line(message)}")


def fields(output: bytes) -> Iterator[bytes]:
    """Yield what stands before each NUL; all at once would take more memory than the output itself."""
    start = 0
    while start < len(output):
        end = output.find(b"\0", start + _PIECE) + 1 or len(output)
        yield from output[start:end].split(b"\0")[:-1]
        start = end


def first_line(message: str) -> str:
    """Return what git's message says is wrong, as one line.

    What a filter, gpg or the like wrote before git gave up is the cause, and stands first.
    """
    lines = [printable(line.strip()) for line in message.splitlines() if line.strip()]
    ends = [number for number, line in enumerate(lines) if line.startswith(_ENDS)]
    if not ends:
        return next(iter(lines), "git failed")
    causes = [line for line in lines[: ends[0]] if not line.startswith(_ASIDES)]
    end = lines[ends[0]].removeprefix("fatal: ").removeprefix("error: ")
    return "; ".join((*causes[:1], end))


def _run(
    top: Path, commands: Sequence[Sequence[str]], env: Mapping[str, str], given: bytes | None = None
) -> list[Answer]:
    """Run git commands side by side; one of its own may be `given` what it reads."""
    git = _gitpython()
    runner = git.Git()
    program = [str(runner.GIT_PYTHON_GIT_EXECUTABLE), "-C", os.fspath(top), *_OPTIONS]
    start = partial(
        runner.execute, istream=None if given is None else PIPE, env=env, as_process=True, shell=False
    )
    try:
        # GitPython ends the processes that are still running when an interrupt drops them.
        with without_astray():
            processes = [cast("Git.AutoInterrupt", start([*program, *command])) for command in commands]
    except git.GitCommandNotFound as error:
        raise ProjectError(_NOT_INSTALLED) from error
    said = [process.communicate(given) for process in processes]
    ends = [process.poll() for process in processes]
    for end, command in zip(ends, commands, strict=True):
        if end < 0:
            raise ProjectError(f"git {command[0]} was ended from outside; run it again")
    return [
        Answer(end, out, err.decode(errors="replace")) for end, (out, err) in zip(ends, said, strict=True)
    ]


def _gitpython() -> ModuleType:
    try:
        with without_astray():  # it asks git for its version when it is imported
            import git
    except ImportError as error:
        raise ProjectError(_NOT_INSTALLED) from error
    return git
