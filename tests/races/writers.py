"""Files that change while they are backed up: each comes out as it once was, or is marked."""

from __future__ import annotations

import os
import random
import tarfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from backup_lib.archive.reader import open_archive, open_for_reading
from backup_lib.backup import BackedUp, Order, back_up
from backup_lib.clean import Keep, clean
from backup_lib.errors import BackupError
from backup_lib.model import Entry
from backup_lib.verify import verify_version

from .bench import Outcome, Shared, make_project, place, racing

__all__ = ["race_with_writers"]

_TOKEN = 24
"""Bytes of the record that a file repeats: who wrote it, as which of its states, how long that is."""


@dataclass(frozen=True)
class Written:
    """A file that a writer keeps changing, in one way."""

    number: int
    way: str
    pause: float
    """Seconds between two changes, at most."""
    least: int
    """Bytes."""
    most: int
    """Bytes."""

    @property
    def name(self) -> str:
        """Path in the project."""
        return f"{self.way}/{self.number:03d}"

    def state(self, generation: int) -> bytes:
        """Return the content of one state; its length is told by each record of it."""
        spread = (self.most - self.least) // _TOKEN
        records = self.least // _TOKEN + (generation * 7919 % spread if spread else 0)
        return self.record(generation, records) * records

    def record(self, generation: int, records: int) -> bytes:
        """Return one record."""
        return b"%05d %09d %07d\n" % (self.number, generation, records)

    def what_is_wrong(self, content: bytes, first: int, last: int) -> str:
        """Say why the content is none of the states from `first` to `last`; empty where it is one."""
        if not content and self.way in ("truncate", "append"):
            return ""
        generation = int(content[6:15] or 0)
        if not first <= generation <= last:
            return f"is state {generation}, but it had only the states {first} to {last} meanwhile"
        whole = self.appended(generation, content) if self.way == "append" else self.state(generation)
        return "" if content == whole else f"is no state it ever had (of about {generation})"

    def appended(self, generation: int, content: bytes) -> bytes:
        """Return as many records of a log as `content` holds."""
        return b"".join(self.record(generation, line) for line in range(len(content) // _TOKEN))


WAYS: dict[str, Callable[[Path, Written, int], None]] = {}


def way(change: Callable[[Path, Written, int], None]) -> Callable[[Path, Written, int], None]:
    """Let a function be one of the ways in which files are changed."""
    WAYS[change.__name__] = change
    return change


@way
def replace(path: Path, file: Written, generation: int) -> None:
    """Write another file and rename it: at any moment one of the two is there, whole."""
    new = path.with_name(f"{path.name}.new")
    new.write_bytes(file.state(generation))
    new.rename(path)


@way
def rewrite(path: Path, file: Written, generation: int) -> None:
    """Write over the old content in one call."""
    with path.open("rb+", buffering=0) as opened:
        opened.write(file.state(generation))


@way
def stealthy(path: Path, file: Written, generation: int) -> None:
    """Write over the old content, and put back the time of before."""
    facts = path.stat()
    rewrite(path, file, generation)
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))


@way
def truncate(path: Path, file: Written, generation: int) -> None:
    """Empty the file, and write it in one call."""
    with path.open("wb", buffering=0) as opened:
        opened.write(file.state(generation))


@way
def append(path: Path, file: Written, generation: int) -> None:
    """Begin a log anew, and add records, each in one call."""
    with path.open("wb", buffering=0) as opened:
        for line in range(200):
            opened.write(file.record(generation, line))
            if line % 20 == 0:
                time.sleep(file.pause / 20)


def _files() -> list[Written]:
    small, large = (3_000, 60_000), (300_000, 1_400_000)
    files: list[Written] = []
    for name in WAYS:
        for pause, (least, most) in ((0.0, small), (0.0, large), (0.05, small), *[(4.0, small)] * 3):
            fixed = name in ("rewrite", "stealthy")
            files.append(Written(len(files), name, pause, most if fixed else least, most))
    return files


def _writer(root: Path, files: list[Written], begun: Shared, done: Shared) -> Callable[[], None]:
    """Return what changes some files, each when its pause is over, for ever."""

    def write() -> None:
        due = dict.fromkeys(files, 0.0)
        while True:
            file = min(due, key=lambda each: due[each])
            time.sleep(max(0.0, due[file] - time.monotonic()))
            generation = begun[file.number] + 1
            begun[file.number] = generation
            WAYS[file.way](root / file.name, file, generation)
            done[file.number] = generation
            due[file] = time.monotonic() + file.pause * random.random()

    return write


def race_with_writers(folder: Path, long: bool) -> Outcome:
    """Back up again and again while every file of the project keeps changing."""
    outcome = Outcome("with writers")
    root = folder / "demo"
    files = _files()
    start = {file.name: file.appended(0, b"") if file.way == "append" else file.state(0) for file in files}
    make_project(root, start | {"still/kept": b"kept", ".backupignore": b"*.new\n"})
    begun, done = Shared(len(files)), Shared(len(files))
    over = [file for file in files if not file.pause and file.way in ("rewrite", "stealthy")]
    anew = [file for file in files if not file.pause and file.way not in ("rewrite", "stealthy")]
    slow = [file for file in files if file.pause]
    writers = [_writer(root, group, begun, done) for group in (over, anew, slow)]
    packed: set[bytes] = set()
    with racing(*writers):
        for number in range(1_000 if long else 30):
            first = done.all()
            made = _back_up(root, number, outcome)
            last = begun.all()
            if made is None:
                continue
            _judge(made, files, (first, last), outcome)
            packed = _count_copies(made, packed, outcome)
    outcome.count("changes", sum(begun.all()))
    return outcome


def _back_up(root: Path, number: int, outcome: Outcome) -> BackedUp | None:
    """Make a daily backup, which is proved at once, or a release that is then."""
    try:
        if number % 2:
            made = back_up(place(root), Order(daily=True))
        else:
            made = back_up(place(root), Order(f"1.0.{number}"))
            verified = verify_version(place(root), f"1.0.{number}", "full")
            outcome.broken += map(str, verified.findings)
            _compare_manifest(Path(made.archive), outcome)
            clean(place(root), Keep(2))
    except BackupError as error:
        outcome.broken.append(f"backup {number}: {error}")
        return None
    outcome.count("backups")
    return made


def _contents(archive: Path) -> dict[str, bytes]:
    with tarfile.open(archive) as opened:
        files = {member.name: opened.extractfile(member) for member in opened if member.isreg()}
        return {name: file.read() for name, file in files.items() if file}


def _compare_manifest(archive: Path, outcome: Outcome) -> None:
    lines = (archive.parent / "MANIFEST.txt").read_text().splitlines()
    listed = dict(line.split("  ", 1)[::-1] for line in lines if not line.startswith("#"))
    found = {name: sha256(content).hexdigest() for name, content in _contents(archive).items()}
    outcome.expect(listed == found, f"the manifest of {archive.name} does not tell what is in it")


def _judge(
    made: BackedUp, files: list[Written], states: tuple[tuple[int, ...], tuple[int, ...]], outcome: Outcome
) -> None:
    """Compare each file of an archive with the states that it had from the start of the backup to its end."""
    contents = _contents(Path(made.archive))
    marked = {problem.path.decode(): problem.kind for problem in made.problems}
    entries = _entries(made)
    for file in files:
        kind = marked.get(file.name)
        if kind is not None:
            outcome.count(f"marked {kind}, {file.way}")
            entry = entries.get(file.name)
            outcome.expect(entry is None or entry.changed, f"{file.name} is not marked in the index")
            continue
        content = contents[f"demo/{file.name}"]
        wrong = file.what_is_wrong(content, states[0][file.number], states[1][file.number])
        outcome.expect(not wrong, f"{file.name} {wrong}")
        outcome.count("files that were one state")


def _entries(made: BackedUp) -> dict[str, Entry]:
    with open_for_reading(Path(made.archive)) as (read_at, size):
        reader = open_archive(read_at, size)
        return {entry.path.decode(): entry for entry in reader.entries()} if reader else {}


def _count_copies(made: BackedUp, before: set[bytes], outcome: Outcome) -> set[bytes]:
    """Count the blocks that the backup before had, too."""
    with open_for_reading(Path(made.archive)) as (read_at, size):
        reader = open_archive(read_at, size)
        now = {placed.block.digest for placed in reader.blocks()} if reader else set()
    outcome.count("blocks as before", len(now & before))
    return now
