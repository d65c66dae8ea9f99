"""What is backed up: trees made once and kept, each a git repository with one commit.

The same recipe makes the same tree, as far as the package registry keeps what it had on a day:
names, bytes and times of modification are fixed, and so is the commit.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256, shake_256
from itertools import count, islice
from pathlib import Path

from benchmarks.measure import BenchmarkError, do

__all__ = ["FULL", "QUICK", "Corpora", "Corpus", "Scale", "change", "pristine", "settle"]

RECIPE = 3
"""Goes up when a recipe changes: what older ones made is then made again."""
PACKAGES_OF = "2026-09-01"
"""The day whose newest packages are installed."""
FEW_PACKAGES = ("react", "react-dom", "webpack", "eslint", "lodash", "express", "core-js", "jest")
PACKAGES = (
    *FEW_PACKAGES,
    *("next", "typescript", "webpack-dev-server", "prettier", "aws-sdk", "rxjs", "date-fns"),
    *("@babel/core", "@babel/preset-env", "@babel/preset-react", "@babel/preset-typescript"),
    *("@mui/material", "three", "moment", "monaco-editor"),
)

SOURCES = (".js", ".jsx", ".mjs", ".cjs", ".ts", ".tsx", ".mts", ".css", ".scss", ".json", ".html", ".md")
SMALL = 160 << 10
"""No source file that a person wrote is larger."""
LEFT_OUT = {
    *("node_modules", "dist", "build", "coverage", "venv", ".venv", "__pycache__", "bower_components"),
    *(".cache", ".next", ".nuxt", ".tox", ".nox", ".turbo", ".parcel-cache", ".DS_Store", "restored"),
    *(".git", ".gitattributes", ".gitignore", ".gitmodules", ".backupignore"),
}
"""What some of the tools leave out or obey; it gets another name, so that all treat the same files."""
MODIFIED = 1_750_000_000
"""When every file was last modified, seconds since 1970."""
SETTLING = 3.0
"""Seconds after a change, after which no tool needs to doubt the times of a file."""

TASKS = "from backup_lib.tasks import ns\n"
GIT = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "Benchmark",
    "GIT_AUTHOR_EMAIL": "benchmark@localhost",
    "GIT_AUTHOR_DATE": "2026-09-01T12:00:00Z",
    "GIT_COMMITTER_NAME": "Benchmark",
    "GIT_COMMITTER_EMAIL": "benchmark@localhost",
    "GIT_COMMITTER_DATE": "2026-09-01T12:00:00Z",
}


@dataclass(frozen=True, slots=True)
class Scale:
    """How much of everything."""

    name: str
    packages: Sequence[str]
    application: int
    """Files of the small application."""
    many: int
    """Files of the large tree; a tenth of them in the small tree that growth starts from."""
    large: tuple[int, int]
    """Number of large files, and the bytes of each."""
    million: int
    """Files of the largest tree."""


FULL = Scale("full", PACKAGES, 2_700, 100_000, (20, 200_000_000), 1_000_000)
QUICK = Scale("quick", FEW_PACKAGES, 270, 5_000, (4, 10_000_000), 20_000)


@dataclass(frozen=True, slots=True)
class Corpus:
    """A tree to back up."""

    name: str
    path: Path
    files: int
    bytes: int


class Corpora:
    """Makes corpora below a folder, each once."""

    def __init__(self, folder: Path, scale: Scale, tell: Callable[[str], None]) -> None:
        self._folder = folder
        self._scale = scale
        self._tell = tell
        self._makers: dict[str, Callable[[Path], None]] = {
            "application": self._application,
            "packages": self._packages,
            "tenth": lambda path: self._grown(path, self._scale.many // 10),
            "tenfold": lambda path: self._grown(path, self._scale.many // 10 * 10),
            "large": self._large,
            "million": self._million,
        }

    def get(self, name: str) -> Corpus:
        """Return a corpus as its recipe has it, made where it is not there yet."""
        path, facts = self._folder / name, self._folder / f"{name}.json"
        if not _is_made(facts):
            self._tell(f"making the corpus {name}")
            shutil.rmtree(path, ignore_errors=True)
            path.mkdir(parents=True)
            self._makers[name](path)
            _commit(path, name)
            files, size = _totals(path)
            facts.write_text(json.dumps({"recipe": RECIPE, "files": files, "bytes": size}))
            settle()
        made = json.loads(facts.read_text())
        return Corpus(name, path, made["files"], made["bytes"])

    def _installed(self) -> list[str]:
        """Return the paths of all files that npm installs, sorted."""
        folder = self._folder / "npm"
        if not (folder / ".complete").exists():
            self._tell("installing packages with npm")
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            _install(folder, self._scale.packages)
            (folder / ".complete").touch()
        return sorted(_files_in(folder / "node_modules"))

    def _application(self, path: Path) -> None:
        """Make a web application: whole packages, but only what a person may have written."""
        sources = (name for name in self._shuffled() if name.endswith(SOURCES))
        tree = self._folder / "npm" / "node_modules"
        small = (name for name in sources if os.path.getsize(tree / name) <= SMALL)
        _copy_often(tree, path / "src", list(islice(small, self._scale.application)), self._scale.application)

    def _packages(self, path: Path) -> None:
        tree = self._folder / "npm" / "node_modules"
        _copy_often(tree, path / "vendor_packages", self._shuffled(), self._scale.many)

    def _grown(self, path: Path, files: int) -> None:
        names = self._shuffled()[: self._scale.many // 10]
        _copy_often(self._folder / "npm" / "node_modules", path / "vendor_packages", names, files)

    def _shuffled(self) -> list[str]:
        """Return all installed files, package by package, the packages in an arbitrary order."""
        return sorted(self._installed(), key=lambda name: (sha256(_package(name).encode()).digest(), name))

    def _large(self, path: Path) -> None:
        number, size = self._scale.large
        for each in range(number):
            make = _noise if each % 2 else _log_lines
            with open(_new(path / "data" / f"{each:02}.bin"), "wb") as file:
                file.writelines(make(each, size))

    def _million(self, path: Path) -> None:
        for number in range(self._scale.million):
            name = path / "data" / f"{number // 1000:04}" / f"{number % 1000:03}.json"
            mark = sha256(b"%d" % number).hexdigest()
            _new(name).write_text(f'{{"number": {number}, "mark": "{mark}", "kind": "record"}}\n' * 2)


def _is_made(facts: Path) -> bool:
    return facts.exists() and json.loads(facts.read_text()).get("recipe") == RECIPE


def _package(name: str) -> str:
    return "/".join(name.split("/")[: 2 if name.startswith("@") else 1])


def _install(folder: Path, packages: Sequence[str]) -> None:
    """Install what was there on a day, without what differs between machines; run nothing of it."""
    if shutil.which("npm") is None:
        raise BenchmarkError("npm is not here, and the corpora are made from its packages; install Node.js")
    (folder / "package.json").write_text('{"name": "corpus", "version": "1.0.0", "private": true}\n')
    quiet = ("--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock", "--loglevel=error")
    which = ("--omit=optional", "--legacy-peer-deps", f"--before={PACKAGES_OF}")
    do("npm", "install", *quiet, *which, *packages, folder=folder)


def _files_in(top: Path) -> Iterator[str]:
    """Yield the path of every regular file below a folder."""
    for folder, _, names in os.walk(top):
        for name in names:
            path = os.path.join(folder, name)
            if not os.path.islink(path):
                yield os.path.relpath(path, top)


def _copy_often(tree: Path, to: Path, names: Sequence[str], files: int) -> None:
    """Copy files into numbered folders, as often as it takes; text gets a line that says which copy it is."""
    there = ((number, name) for number in count() for name in names)
    for number, name in islice(there, files):
        data = (tree / name).read_bytes()
        if b"\0" not in data[:8192]:
            data += f"\n// copy {number:02} of {name}\n".encode()
        _new(to / f"{number:02}" / _renamed(name)).write_bytes(data)


def _renamed(name: str) -> str:
    return "/".join(f"{part}_" if part in LEFT_OUT else part for part in name.split("/"))


def _new(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _noise(number: int, size: int) -> Iterator[bytes]:
    """Yield bytes that do not compress."""
    for part in range(0, size, 1 << 20):
        yield shake_256(b"%d %d" % (number, part)).digest(min(1 << 20, size - part))


def _log_lines(number: int, size: int) -> Iterator[bytes]:
    """Yield a log of made-up requests, which compresses well."""
    done = 0
    for part in count():
        seeds = memoryview(shake_256(b"%d %d" % (number, part)).digest(1 << 16)).cast("I")
        lines = b"".join(
            b'{"time":%d,"level":"info","route":"/api/v%d/messages","status":%d,"micros":%d,"id":"%08x"}\n'
            % (1_750_000_000 + part, seed % 3, 200 + seed % 5, seed % 99_991, seed)
            for seed in seeds
        )
        yield lines[: size - done]
        done += len(lines)
        if done >= size:
            return


def _commit(path: Path, name: str) -> None:
    """Make the tree a project with one commit."""
    (path / "tasks.py").write_text(TASKS)
    (path / "invoke.yaml").write_text(f"backup:\n  project: {name}\n")
    for folder, _, names in os.walk(path):
        for each in names:
            os.utime(os.path.join(folder, each), (MODIFIED, MODIFIED))
    git(path, "init", "--quiet", "--initial-branch=main")
    git(path, "config", "core.autocrlf", "false")
    git(path, "config", "gc.auto", "0")
    _import(path)
    git(path, "reset", "--quiet")


def _import(path: Path) -> None:
    """Commit all files straight into one pack: fast, and packed like after a clone."""
    command = ("git", "-c", "core.compression=1", "fast-import", "--quiet", "--depth=0")
    with subprocess.Popen(command, cwd=path, env=os.environ | GIT, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        who = b"committer Benchmark <benchmark@localhost> 1788264000 +0000"
        process.stdin.write(b"commit refs/heads/main\n%b\ndata 10\nEverything\n" % who)
        for name in sorted(files_of(path)):
            data = (path / name).read_bytes()
            process.stdin.write(b"M 100644 inline %b\ndata %d\n" % (os.fsencode(name), len(data)))
            process.stdin.write(data + b"\n")
    if process.returncode:
        raise BenchmarkError(f"git fast-import failed in {path}")


def git(path: Path, *arguments: str) -> str:
    """Ask git about a corpus, with nobody's own settings."""
    return do("git", *arguments, folder=path, env=os.environ | GIT)


def _totals(path: Path) -> tuple[int, int]:
    """Return how many files a corpus has, without git's, and their bytes."""
    sizes = [os.lstat(path / name).st_size for name in files_of(path)]
    return len(sizes), sum(sizes)


def files_of(path: Path) -> Iterable[str]:
    """Return the files of a corpus, without git's."""
    return (name for name in _files_in(path) if not name.startswith(".git/"))


def pristine(corpus: Corpus) -> None:
    """Take back whatever was changed in a corpus since its commit."""
    tags = git(corpus.path, "tag").split()
    if not tags and not git(corpus.path, "status", "--porcelain", "--ignored"):
        return
    git(corpus.path, "tag", "--delete", *tags)
    git(corpus.path, "checkout", "--quiet", "--force", "--", ".")
    git(corpus.path, "clean", "--quiet", "-d", "--force", "-x")
    settle()
    git(corpus.path, "status", "--porcelain", "--untracked-files=no")


def change(corpus: Corpus, one_in: int) -> None:
    """Change one file in so many, scattered over the whole corpus, and let it rest."""
    names = sorted(files_of(corpus.path), key=lambda name: sha256(name.encode()).digest())
    for name in names[: max(1, len(names) // one_in)]:
        if not name.endswith((".py", ".yaml")):
            with open(corpus.path / name, "ab") as file:
                file.write(b"// one line more\n")
    settle()


def settle() -> None:
    """Wait until what changed last is no longer suspiciously new."""
    time.sleep(SETTLING)
