"""Where the commands run: a small project with a store, put back to the same state before every run."""

from __future__ import annotations

import compileall
import io
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

from invoke import Program

import tasks
from backup_lib import clock

__all__ = ["Outcome", "Scene", "Workshop", "moment"]

_HERE = Path(__file__).parent
_REPOSITORY = _HERE.parent.parent
_GITCONFIG = (
    "[user]\nname = A Tester\nemail = tester@example.com\n"
    "[init]\ndefaultBranch = main\ntemplateDir =\n[gc]\nauto = 0\n"
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command ended."""

    code: int
    """Negative: the signal that killed it."""
    out: str
    err: str


@dataclass(frozen=True, slots=True)
class Scene:
    """A folder with a project in it, and room beside it."""

    folder: Path

    @property
    def project(self) -> Path:
        """The project's root."""
        return self.folder / "demo"

    @property
    def store(self) -> Path:
        """Its store."""
        return self.project / "backups"

    @property
    def scratch(self) -> Path:
        """Where commands have their temporary files: not in the folder, since it stays as it is."""
        return self.folder.with_name("scratch")

    def write(self, name: str, text: str) -> None:
        """Write a file of the project."""
        path = self.project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def git(self, *arguments: str) -> None:
        """Run git in the project."""
        subprocess.run(["git", *arguments], cwd=self.project, check=True, capture_output=True)

    def invoke(self, task: str, *arguments: str) -> Outcome:
        """Run a task in this process: the same code, without the start of a Python."""
        out, err = io.StringIO(), io.StringIO()
        before = Path.cwd()
        os.chdir(self.project)
        try:
            with redirect_stdout(out), redirect_stderr(err):
                Program(namespace=tasks.ns, version="3").run(["invoke", task, *arguments])
            code = 0
        except SystemExit as ended:
            code = int(ended.code or 0)
        finally:
            os.chdir(before)
        return Outcome(code, out.getvalue(), err.getvalue())

    def must(self, task: str, *arguments: str) -> None:
        """Run a task that has to succeed."""
        outcome = self.invoke(task, *arguments)
        if outcome.code:
            raise RuntimeError(f"invoke {task} ended with {outcome.code}: {outcome.err}")


@dataclass(frozen=True, slots=True)
class Workshop:
    """A folder of our own: a copy of the software, the state that each run starts from, and the run."""

    folder: Path
    processor: int
    """The one that commands are held to, so that threads of one command do the same in every run."""

    @classmethod
    def made(cls, folder: Path, processor: int, change: Callable[[Path], None] | None = None) -> Workshop:
        """Set up `folder` with a copy of the software, to which `change` is done."""
        library = folder / "library"
        shutil.copytree(_REPOSITORY / "backup_lib", library / "backup_lib", ignore=_without_caches)
        shutil.copy(_REPOSITORY / "tasks.py", library / "backup_lib")
        shutil.copy(_HERE / "steady" / "sitecustomize.py", library)
        if change:
            change(library)
        compileall.compile_dir(library, quiet=1)
        for name in ("home", "judge", "scratch"):
            (folder / name).mkdir()
        (folder / "home" / ".gitconfig").write_text(_GITCONFIG)
        return cls(folder, processor)

    @property
    def scene(self) -> Scene:
        """Where commands run."""
        return Scene(self.folder / "scene")

    @property
    def judge(self) -> Path:
        """An empty folder outside any git repository."""
        return self.folder / "judge"

    @property
    def log(self) -> Path:
        """Where strace writes."""
        return self.folder / "log"

    @contextmanager
    def building(self, template: Path) -> Iterator[Scene]:
        """Yield an empty scene with the project's folder; what it is then is kept as `template`."""
        self._clear()
        self.scene.project.mkdir(parents=True)
        yield self.scene
        shutil.rmtree(template, ignore_errors=True)
        shutil.copytree(self.scene.folder, template, symlinks=True)

    def reset(self, template: Path) -> Scene:
        """Bring the scene to the state of a template."""
        self._clear()
        shutil.copytree(template, self.scene.folder, symlinks=True)
        return self.scene

    def _clear(self) -> None:
        if self.scene.folder.exists():
            shutil.rmtree(self.scene.folder)

    def run(self, traced: Sequence[str], arguments: Sequence[str], first: int = 1) -> Outcome:
        """Run ``invoke`` as a process of its own, at the end of the command line `traced`.

        Its temporary names are numbered from `first`.
        """
        command = ["taskset", "-c", str(self.processor), *traced, sys.executable, "-m", "invoke", *arguments]
        done = subprocess.run(
            command,
            cwd=self.scene.project,
            env={**self.environment, "TMPDIR": str(self.scene.scratch), "FIRST_NUMBER": str(first)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        return Outcome(done.returncode, done.stdout, done.stderr)

    @property
    def environment(self) -> dict[str, str]:
        """What commands see, and this process while it runs tasks itself."""
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self.folder / "home"),
            "PYTHONPATH": str(self.folder / "library"),
            "PYTHONHASHSEED": "0",
            "PYTHONDONTWRITEBYTECODE": "1",
            "LC_ALL": "C.UTF-8",
            "GIT_CONFIG_NOSYSTEM": "1",
        }


def _without_caches(_folder: str, names: list[str]) -> list[str]:
    return [name for name in names if name == "__pycache__"]


@contextmanager
def moment(seconds: int) -> Iterator[None]:
    """Let backups that are made in this process bear the time `seconds` since 1970."""
    real = clock._seconds
    clock._seconds = lambda: seconds
    try:
        yield
    finally:
        clock._seconds = real
