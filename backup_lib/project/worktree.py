"""Asking git: how its commands are run, and what its refusals mean.

git itself answers, through GitPython. Nothing in the environment can lead it to another repository.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple, cast

from backup_lib.errors import ProjectError, printable

if TYPE_CHECKING:
    from git import Git

__all__ = ["Answer", "WorkTree", "fields", "first_line", "refusal"]

_PIECE = 1 << 16

_REDIRECTING = (
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_CEILING_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_DIR",
    "GIT_IMPLICIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_NAMESPACE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX",
    "GIT_SHALLOW_FILE",
    "GIT_WORK_TREE",
)
"""Set inside git hooks and by some tools; each would make git answer for something else than the root."""

_ENVIRONMENT = {
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_TERMINAL_PROMPT": "0",
}
_LITERAL = {"GIT_LITERAL_PATHSPECS": "1"}
_OPTIONS = (
    *("-c", "core.fsmonitor=false"),
    *("-c", "core.trustctime=true"),  # else git takes a file that got its old time back for unchanged
    *("-c", "core.checkStat=default"),
    *("-c", "core.packedGitWindowSize=1m"),  # else git maps whole packs to look up sizes
    *("-c", "core.packedGitLimit=16m"),
)
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
        return _run(self.top, commands, {**_ENVIRONMENT, **_LITERAL}, None)

    def tell(self, given: bytes, *command: str, date: str = "") -> Answer:
        """Run one git command that reads `given`; what it makes bears the `date`, else the present one."""
        env = {**_ENVIRONMENT, "GIT_COMMITTER_DATE": date} if date else _ENVIRONMENT
        with tempfile.TemporaryFile() as file:
            file.write(given)
            file.seek(0)
            return _run(self.top, [command], env, file.fileno())[0]


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
    """Return the line of git's message that says what is wrong."""
    lines = [printable(line.strip()) for line in message.splitlines() if line.strip()]
    fatal = [line for line in lines if line.startswith(("fatal: ", "error: "))]
    return [*fatal, *lines, "git failed"][0].removeprefix("fatal: ").removeprefix("error: ")


def _run(
    top: Path, commands: Sequence[Sequence[str]], env: dict[str, str], given: int | None
) -> list[Answer]:
    git = _gitpython()
    runner = git.Git()
    program = [*_unredirected(), str(runner.GIT_PYTHON_GIT_EXECUTABLE), "-C", os.fspath(top), *_OPTIONS]
    lines = [[*program, *command] for command in commands]
    try:
        # GitPython ends the processes that are still running when an interrupt drops them.
        processes = [
            cast("Git.AutoInterrupt", runner.execute(line, istream=given, env=env, as_process=True))
            for line in lines
        ]
    except git.GitCommandNotFound as error:
        raise ProjectError(_NOT_INSTALLED) from error
    said = [process.communicate() for process in processes]
    ends = [process.poll() for process in processes]
    for end, command in zip(ends, commands, strict=True):
        if end < 0:
            raise ProjectError(f"git {command[0]} was ended from outside; run it again")
    return [
        Answer(end, out, err.decode(errors="replace")) for end, (out, err) in zip(ends, said, strict=True)
    ]


def _gitpython() -> ModuleType:
    try:
        import git
    except ImportError as error:  # it looks for git when it is imported
        raise ProjectError(_NOT_INSTALLED) from error
    return git


def _unredirected() -> list[str]:
    """GitPython passes the whole environment on: take out, by ``env -u``, what would lead git elsewhere."""
    names = [name for name in _REDIRECTING if name in os.environ]
    return ["env", *(part for name in names for part in ("-u", name))] if names else []
