"""Samples: what one run of one command took, and how the commands of a job take turns."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["BenchmarkError", "Contestant", "Sample", "do", "sample", "size_of", "take_turns"]

GAUGE = Path(__file__).with_name("gauge.py")


class BenchmarkError(Exception):
    """The benchmark cannot go on, or what it measured did not do its work."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One run of one command."""

    seconds: float
    """From the start of the first process to the end of the last."""
    processor: float
    """Seconds of user and system time, of all processes."""
    peak: int
    """Bytes of memory of its largest process."""
    written: int
    """Bytes that its results hold more than before, all of them."""
    archives: int
    """The part of that which is archives; the rest of ours is a manifest and a ledger."""


@dataclass(frozen=True, slots=True)
class Contestant:
    """A command, and how it is set up and checked; only the command itself is measured."""

    name: str
    stages: tuple[tuple[str, ...], ...]
    """The command line: a pipeline of programs with their arguments."""
    folder: Path
    """Where it runs."""
    ready: Callable[[], None]
    """Brings about the state that every sample starts from."""
    reads: Path | None = None
    """What it reads, a file or folder: read once before each sample, so that caches are warm for all."""
    ours: bool = False
    results: Path | None = None
    """What it writes: a file or folder, whose growth is counted."""
    to_results: bool = False
    """Whether its standard output is that file."""
    check: Callable[[str], int] | None = None
    """Told the standard output, returns how many files were treated."""
    files: int = 0
    """How many that has to be."""


def do(*command: str, folder: Path, env: dict[str, str] | None = None, data: bytes | None = None) -> str:
    """Run a command that is not measured; return its standard output.

    Raises `BenchmarkError` where it fails.
    """
    done = subprocess.run(command, cwd=folder, env=env, input=data, capture_output=True)
    if done.returncode:
        raise BenchmarkError(_failure(command, done.returncode, os.fsdecode(done.stderr)))
    return os.fsdecode(done.stdout)


def _failure(command: tuple[str, ...], code: int, said: str) -> str:
    return f"{' '.join(command)} ended with {code}: {said.strip()[-2000:]}"


def size_of(path: Path | None) -> int:
    """Return the bytes of a file, or of all files below a folder; 0 where nothing is."""
    if path is None:
        return 0
    if not path.is_dir():
        return path.stat().st_size if path.exists() else 0
    return sum(
        os.lstat(os.path.join(folder, name)).st_size for folder, _, names in os.walk(path) for name in names
    )


def archives_in(contestant: Contestant) -> int:
    """Return the bytes of the archives in our store; what a peer writes is all one."""
    if contestant.results is None or not contestant.ours:
        return size_of(contestant.results)
    return sum(size_of(path) for path in contestant.results.rglob("*.tar.*") if not path.is_symlink())


def warm(path: Path | None) -> None:
    """Read a file, or all files below a folder."""
    if path is None:
        return
    below = (os.path.join(folder, name) for folder, _, names in os.walk(path) for name in names)
    for file in below if path.is_dir() else (str(path),):
        if not os.path.islink(file):
            with open(file, "rb", buffering=0) as opened:
                while opened.read(1 << 20):
                    pass


def sample(contestant: Contestant, env: dict[str, str], checked: bool) -> Sample:
    """Run a contestant once, from its state, with nothing left to be written by anyone before.

    Raises `BenchmarkError` where a part of it fails, or it did not treat the files it should.
    """
    contestant.ready()
    before, archives_before = size_of(contestant.results), archives_in(contestant)
    with tempfile.TemporaryDirectory() as scratch:
        said = Path(scratch, "stdout")
        output = contestant.results if contestant.to_results and contestant.results else said
        os.sync()
        warm(contestant.reads)
        taken = _gauged(contestant, output, env)
        text = said.read_text(errors="replace") if said.exists() else ""
    if checked and contestant.check and (found := contestant.check(text)) != contestant.files:
        raise BenchmarkError(f"{contestant.name} treated {found} files, not {contestant.files}")
    written = size_of(contestant.results) - before
    archives = archives_in(contestant) - archives_before
    return Sample(taken["seconds"], taken["processor"], taken["peak"], written, archives)


def _gauged(contestant: Contestant, output: Path, env: dict[str, str]) -> dict[str, Any]:
    wanted = {"stages": contestant.stages, "folder": str(contestant.folder), "output": str(output)}
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(GAUGE)],
        env=env,
        input=json.dumps(wanted).encode(),
        capture_output=True,
    )
    said = os.fsdecode(done.stderr)
    if done.returncode:
        raise BenchmarkError(_failure(contestant.stages[0], done.returncode, said))
    figures: dict[str, Any] = json.loads(done.stdout)
    for stage, code in zip(contestant.stages, figures["codes"], strict=True):
        if code:
            raise BenchmarkError(_failure(stage, code, said))
    return figures


def take_turns(
    contestants: list[Contestant], rounds: int, env: dict[str, str], tell: Callable[[str], None]
) -> dict[str, list[Sample]]:
    """Run every contestant once a round, another one first each time; return all samples by name.

    What was treated is checked in the first round.
    """
    samples: dict[str, list[Sample]] = {contestant.name: [] for contestant in contestants}
    for number in range(rounds):
        first = number % len(contestants)
        for contestant in contestants[first:] + contestants[:first]:
            taken = sample(contestant, env, checked=number == 0)
            samples[contestant.name].append(taken)
            tell(f"  round {number + 1}: {contestant.name}: {taken.seconds:.2f} s")
    return samples
