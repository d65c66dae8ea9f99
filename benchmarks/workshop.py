"""Where the commands work: one folder for each tool's results, and states of it that can be put back."""

from __future__ import annotations

import compileall
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from benchmarks.corpora import GIT, Corpora, Corpus, Scale, change, pristine
from benchmarks.measure import do

__all__ = ["CHECKOUT", "PROCESSORS", "Workshop"]

CHECKOUT = Path(__file__).resolve().parent.parent
PROCESSORS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
MEMORY_DISK = Path("/dev/shm")  # noqa: S108  it is meant: a disk of memory, not a place for secrets
FOREIGN = ("BORG_", "RESTIC_", "INVOKE_", "GIT_", "TAR_", "ZSTD_", "XDG_", "PYTHON")
"""What the names of variables start with that could change what is measured."""


class Workshop:
    """The folders of one benchmark, and the environment its commands run in."""

    def __init__(self, folder: Path, scale: Scale, tell: Callable[[str], None]) -> None:
        self.folder = folder / scale.name
        self.scale = scale
        self.tell = tell
        self.live = self.folder / "live"
        """The present results of each tool; always the same paths."""
        self.memory = self._memory_disk()
        """Where restores go."""
        self.env = self._environment()
        self._saved = self.folder / "saved"
        self._corpora = Corpora(self.folder / "corpora", scale, tell)
        self._pristine: set[str] = set()
        for leftover in (self.live, self._saved):
            shutil.rmtree(leftover, ignore_errors=True)
            leftover.mkdir(parents=True)
        self._install()

    def _memory_disk(self) -> Path:
        on_disk = MEMORY_DISK if os.access(MEMORY_DISK, os.W_OK) else self.folder
        return on_disk / f"backup-benchmark-{os.getpid()}"

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
        return kept | {
            **GIT,
            "LC_ALL": "C.UTF-8",
            "PYTHONPATH": str(self.folder / "installed"),
            "INVOKE_BACKUP_STORE": str(self.live / "store"),
            "RESTIC_PASSWORD": "benchmark",
            "RESTIC_REPOSITORY": str(self.live / "restic" / "repository"),
            "RESTIC_CACHE_DIR": str(self.live / "restic" / "cache"),
            "BORG_REPO": str(self.live / "borg" / "repository"),
            "BORG_BASE_DIR": str(self.live / "borg" / "base"),
            "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes",
        }

    def _install(self) -> None:
        """Lay out this checkout as an installed package: what changes in it meanwhile is not measured."""
        to = self.folder / "installed"
        shutil.rmtree(to, ignore_errors=True)
        shutil.copytree(
            CHECKOUT / "backup_lib", to / "backup_lib", ignore=shutil.ignore_patterns("__pycache__")
        )
        shutil.copy(CHECKOUT / "tasks.py", to / "backup_lib" / "tasks.py")
        compileall.compile_dir(to, quiet=2)

    def corpus(self, name: str) -> Corpus:
        """Return a corpus, as committed, made where it is not there yet."""
        corpus = self._corpora.get(name)
        if name not in self._pristine:
            pristine(corpus)
        self._pristine.add(name)
        return corpus

    def change(self, corpus: Corpus, one_in: int) -> None:
        """Change one file in so many of a corpus; whoever asks for it next gets it as committed."""
        self.will_change(corpus)
        change(corpus, one_in)

    def will_change(self, corpus: Corpus) -> None:
        """Note that a corpus does not stay as it was committed."""
        self._pristine.discard(corpus.name)

    def run(self, folder: Path, *command: str) -> str:
        """Run a command in the environment of the others; it is not measured."""
        return do(*command, folder=folder, env=self.env)

    def clear(self, tool: str) -> Path:
        """Leave an empty folder for what a tool writes; return it."""
        folder = self.live / tool
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        return folder

    def save(self, tool: str, state: str) -> None:
        """Keep what a tool wrote under a name."""
        _copy(self.live / tool, self._saved / state / tool)

    def put_back(self, tool: str, state: str) -> None:
        """Bring about what `save` kept."""
        shutil.rmtree(self.live / tool, ignore_errors=True)
        _copy(self.saved(tool, state), self.live / tool)

    def has(self, tool: str, state: str) -> bool:
        """Whether `save` kept that in this run."""
        return self.saved(tool, state).exists()

    def saved(self, tool: str, state: str) -> Path:
        """Return the folder with what was kept."""
        return self._saved / state / tool

    def clear_memory(self) -> Path:
        """Leave an empty folder on the memory disk; return it."""
        shutil.rmtree(self.memory, ignore_errors=True)
        self.memory.mkdir(mode=0o700)
        return self.memory

    def close(self) -> None:
        """Remove what only this run needed."""
        for folder in (self.memory, self.live, self._saved):
            shutil.rmtree(folder, ignore_errors=True)


def _copy(folder: Path, to: Path) -> None:
    """Copy a folder with all its times; borg and restic heed them."""
    to.parent.mkdir(parents=True, exist_ok=True)
    do("cp", "-a", str(folder), str(to), folder=folder.parent)
