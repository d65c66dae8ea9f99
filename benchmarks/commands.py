"""The commands that take part: ours, and those of the peers that are installed here."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from benchmarks.corpora import Corpus, files_of
from benchmarks.measure import Contestant
from benchmarks.workshop import PROCESSORS, Workshop

__all__ = ["TAR_OF", "VERSION", "Commands", "task"]

VERSION, NEXT_VERSION = "1.0.0", "1.1.0"
INVOKE = (sys.executable, "-m", "invoke")
LIMIT = str(Path(__file__).with_name("limit.py"))
PLAIN_NAME = re.compile(r"[A-Za-z0-9_./-]+", re.ASCII)

Stage = tuple[str, ...]
TAR_OF: dict[str, tuple[Stage, ...]] = {
    "tar -czf": (("tar", "-cz", "--exclude=./.git", "."),),
    "tar | pigz": (("tar", "-c", "--exclude=./.git", "."), ("pigz", f"-p{PROCESSORS}")),
    "tar | zstd -3": (("tar", "-c", "--exclude=./.git", "."), ("zstd", "-q", "-3", f"-T{PROCESSORS}")),
    "bsdtar -czf": (("bsdtar", "-cz", "--exclude", "./.git", "."),),
    "git archive | gzip": (("git", "archive", "HEAD"), ("gzip",)),
}
"""How the plain peers write an archive to their standard output, which is a file."""


@dataclass(frozen=True, slots=True)
class Commands:
    """Makes the commands over one corpus."""

    workshop: Workshop
    corpus: Corpus

    @property
    def archive(self) -> Path:
        """What `tar -czf` made of the corpus, once `write_all` ran."""
        return self.workshop.saved("plain", self.corpus.name) / "tree.tar.gz"

    def ours(self, name: str, *arguments: str, state: str | None = None) -> Contestant:
        """Return a task of ours, the first of `arguments`, in an empty store or in one that was saved."""
        makes = state is None and arguments[0] in ("backup", "release")  # the store lies outside the corpus
        return Contestant(
            name,
            (task(*arguments, *(["--new-store"] if makes else [])),),
            self.corpus.path,
            self._ready("store", state),
            reads=self.corpus.path,
            ours=True,
            results=self.workshop.live / "store",
            check=_files_told,
            files=self.corpus.files,
        )

    def _ready(self, tool: str, state: str | None) -> Callable[[], None]:
        if state is None:
            return partial(_clear, self.workshop, tool)
        return partial(self.workshop.put_back, tool, state)

    def backup(self, name: str = "backup", *flags: str, state: str | None = None) -> Contestant:
        """Return our backup; into a store that was saved, it is that of the next version."""
        version = NEXT_VERSION if state else VERSION
        return self.ours(name, "backup", "--version", version, *flags, state=state)

    def plain(self, name: str) -> Contestant:
        """Return a peer that writes a plain archive."""
        file = self.workshop.live / "plain" / "tree"
        return Contestant(
            name,
            TAR_OF[name],
            self.corpus.path,
            self._ready("plain", None),
            reads=self.corpus.path,
            results=file,
            to_results=True,
            check=lambda _: _files_listed(self.workshop, file),
            files=self.corpus.files,
        )

    def restic(self, state: str) -> Contestant:
        """Return restic's backup into a repository that was saved."""
        leaving_out = ("--exclude", str(self.corpus.path / ".git"))
        return Contestant(
            "restic backup",
            (("restic", "backup", "--quiet", "--json", *leaving_out, "."),),
            self.corpus.path,
            self._ready("restic", state),
            reads=self.corpus.path,
            results=self.workshop.live / "restic" / "repository",
            check=lambda text: int(json.loads(text.splitlines()[-1])["total_files_processed"]),
            files=self.corpus.files,
        )

    def borg(self, state: str) -> Contestant:
        """Return borg's backup into a repository that was saved."""
        return Contestant(
            "borg create",
            (("borg", "create", "-C", "zlib,6", "--exclude", "pp:.git", "::now", "."),),
            self.corpus.path,
            self._ready("borg", state),
            reads=self.corpus.path,
            results=self.workshop.live / "borg" / "repository",
            check=self._files_in_borg,
            files=self.corpus.files,
        )

    def _files_in_borg(self, _text: str) -> int:
        told = self.workshop.run(self.corpus.path, "borg", "info", "--json", "::now")
        return int(json.loads(told)["archives"][0]["stats"]["nfiles"])

    def limit(self) -> Contestant:
        """Return the compressor alone, over the same bytes."""
        tar = self.workshop.saved("plain", self.corpus.name) / "tree.tar"
        if not tar.exists():
            tar.parent.mkdir(parents=True, exist_ok=True)
            self.workshop.run(self.corpus.path, "tar", "-cf", str(tar), "--exclude=./.git", ".")
        command = (sys.executable, LIMIT, str(tar), str(PROCESSORS))
        return Contestant("the compressor alone", (command,), self.corpus.path, _nothing, reads=tar)

    # reading back

    def reading(self, name: str, *command: str, tool: str | None = None) -> Contestant:
        """Return a command that only reads, where need be what a tool has of `write_all`."""
        ready = self._ready(tool, self.corpus.name) if tool else _nothing
        return Contestant(name, (command,), self.corpus.path, ready, reads=self._read_from(tool))

    def verify(self) -> Contestant:
        """Return our full verify of the backup of `write_all`."""
        made = self.ours("verify", "verify", "--version", VERSION, state=self.corpus.name)
        return replace(made, reads=made.results)

    def _read_from(self, tool: str | None) -> Path:
        return self.workshop.live / tool if tool else self.archive

    def restoring(self, name: str, *command: str, tool: str | None = None, files: int = 0) -> Contestant:
        """Return a command that restores so many files (0: all) into ``out`` on the memory disk."""
        out = self.workshop.memory / "out"

        def ready() -> None:
            self.workshop.clear_memory()
            if tool:
                self.workshop.put_back(tool, self.corpus.name)
            if tool != "store":
                out.mkdir()

        ours = tool == "store"
        folder = self.corpus.path if ours else self.workshop.memory
        made = Contestant(name, (command,), folder, ready, reads=self._read_from(tool), ours=ours)
        return replace(made, check=lambda _: _count(out), files=files or self.corpus.files)

    def in_out(self, contestant: Contestant) -> Contestant:
        """Let a command run in the folder that it restores into."""
        return replace(contestant, folder=self.workshop.memory / "out")

    # states

    def write_empty(self) -> None:
        """Save empty repositories of the peers that need one, as ``empty``."""
        for tool, command in (("restic", ("restic", "init")), ("borg", ("borg", "init", "-e", "none"))):
            if shutil.which(tool) and not self.workshop.has(tool, "empty"):
                self.workshop.clear(tool)
                self.workshop.run(self.corpus.path, *command)
                self.workshop.save(tool, "empty")

    def write_all(self) -> None:
        """Save a backup by every tool that reads back, named after the corpus, and tar's archive of it."""
        self.write_empty()
        made = {"store": self.backup(), "restic": self.restic("empty"), "borg": self.borg("empty")}
        for tool, contestant in made.items():
            program = contestant.stages[0][0]
            if shutil.which(program) and not self.workshop.has(tool, self.corpus.name):
                contestant.ready()
                self.workshop.run(self.corpus.path, *contestant.stages[0])
                self.workshop.save(tool, self.corpus.name)
        if not self.archive.exists():
            self.archive.parent.mkdir(parents=True, exist_ok=True)
            self.workshop.run(self.corpus.path, "tar", "-czf", str(self.archive), "--exclude=./.git", ".")

    def one_file(self) -> str:
        """Return the path of a file in the midst of the corpus; no tool expands its characters."""
        named = sorted(filter(PLAIN_NAME.fullmatch, files_of(self.corpus.path)))
        return named[len(named) // 2]


def task(*arguments: str) -> Stage:
    """Return the command line of a task of ours."""
    return (*INVOKE, *arguments, "--json")


def _nothing() -> None:
    pass


def _clear(workshop: Workshop, tool: str) -> None:
    workshop.clear(tool)


def _files_told(text: str) -> int:
    return int(json.loads(text)["result"].get("files", 0))


def _files_listed(workshop: Workshop, archive: Path) -> int:
    listed = workshop.run(archive.parent, "tar", "-tf", str(archive)).splitlines()
    return sum(not name.endswith("/") and name != "pax_global_header" for name in listed)


def _count(folder: Path) -> int:
    return sum(1 for _ in files_of(folder))
