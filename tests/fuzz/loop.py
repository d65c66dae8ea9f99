"""Feeds inputs to the library: what comes out is a result or an error of ours, soon, and nothing gets out."""

from __future__ import annotations

import contextlib
import io
import json
import os
import resource
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from types import FrameType

from hostile.arena import assert_harmless

from backup_lib.archive.check import check_archive
from backup_lib.archive.extract import Wish, extract, place
from backup_lib.archive.index import PackedBlock, read_records
from backup_lib.archive.plain import hash_members, open_stream
from backup_lib.archive.reader import open_archive, open_for_reading
from backup_lib.archive.replay import extract_plain, place_plain
from backup_lib.archive.target import Target
from backup_lib.errors import BackupError, RestoreError, translated
from backup_lib.filesystem import OPEN_DIRECTORY, remove_tree
from backup_lib.settings import settings_from
from backup_lib.store import ledger
from backup_lib.store.manifest import read_manifest

from .inputs import KINDS

__all__ = ["Failure", "fuzz", "one"]

SECONDS = 5.0
"""Processor time that one input may take."""
MEMORY = 512 << 20
"""Bytes of memory that the whole loop may have taken at most."""
WEIGHTS = {"archive": 70, "index": 14, "manifest": 6, "ledger": 5, "settings": 5}


@dataclass(frozen=True)
class Failure:
    """An input that the library did not take as it should."""

    seed: int
    number: int
    kind: str
    why: str

    def __str__(self) -> str:
        again = f"python -m tests.fuzz --seed {self.seed} --only {self.number}"
        return f"{self.kind} {self.number}: {self.why}\n  again: {again}"


class _TooLong(BaseException):
    """An input took more processor time than it may."""


def _too_long(_number: int, _frame: FrameType | None) -> None:
    raise _TooLong


@contextlib.contextmanager
def _scratch() -> Iterator[Path]:
    """Yield a folder with a target's place, and things around it that must not change."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as name:
        root = Path(name)
        (root / "outside" / "folder").mkdir(parents=True)
        (root / "outside" / "secret").write_bytes(b"secret")
        (root / "store").mkdir()
        yield root


def _around(root: Path) -> object:
    outside = root / "outside"
    facts = [path.lstat() for path in (outside, outside / "folder", outside / "secret")]
    return (
        sorted(os.listdir(root)),
        sorted(os.listdir(outside)),
        os.listdir(outside / "folder"),
        [(each.st_mode, each.st_mtime_ns, each.st_nlink) for each in facts],
    )


def fuzz(seed: int, numbers: range, say: Callable[[str], object]) -> list[Failure]:
    """Feed the inputs of these numbers; return those that were not taken as they should."""
    failures: list[Failure] = []
    with _scratch() as root:
        before = _around(root)
        for number in numbers:
            if (failure := _fed(seed, number, root, before)) is not None:
                failures.append(failure)
                say(str(failure))
        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        if used > MEMORY:
            failures.append(Failure(seed, numbers.start, "memory", f"{used} bytes were in use"))
    return failures


def one(seed: int, number: int) -> tuple[str, bytes]:
    """Return the kind of an input, and the input."""
    random = Random(f"{seed}:{number}")
    kind = random.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
    return kind, KINDS[kind](random)


def _fed(seed: int, number: int, root: Path, before: object) -> Failure | None:
    kind, data = one(seed, number)
    signal.signal(signal.SIGPROF, _too_long)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        with contextlib.suppress(BackupError), translated(RestoreError, "restoring"):
            _FEED[kind](data, root, Random(f"{seed}:{number}:how"))
        signal.setitimer(signal.ITIMER_PROF, 0)
        remove_tree(root / "to")
        (root / "input").unlink(missing_ok=True)
        return None if _around(root) == before else Failure(seed, number, kind, "something outside changed")
    except BaseException as error:
        signal.setitimer(signal.ITIMER_PROF, 0)
        if isinstance(error, KeyboardInterrupt):
            raise
        remove_tree(root / "to")
        where = traceback.extract_tb(error.__traceback__)[-1]
        why = f"{type(error).__name__}: {error} at {Path(where.filename).name}:{where.lineno}"
        return Failure(seed, number, kind, why)


def _feed_archive(data: bytes, root: Path, random: Random) -> None:
    path, to = root / "input", root / "to"
    path.write_bytes(data)
    allowed = random.random() < 0.2
    wish = Wish(strip=random.choice([0, 0, 0, 1, 2]), outside_links=allowed)
    to.mkdir()
    merge = random.random() < 0.3
    if merge:
        for name in random.sample(["a", "d", "l", "h", "b"], 2):
            (to / name).symlink_to(root / "outside" / "folder")
    folder = os.open(to, OPEN_DIRECTORY)
    try:
        with contextlib.suppress(BackupError), translated(RestoreError, "restoring"):
            _restore(path, wish, Target(folder, merge))
    finally:
        os.close(folder)
    assert_harmless(to, None if allowed or merge else {})  # what is there already may lead a new link out
    _verify(path)


def _restore(path: Path, wish: Wish, target: Target) -> None:
    with open_for_reading(path) as (read_at, size):
        reader = open_archive(read_at, size)
        if reader:
            extract(reader, place(reader, wish), target, _quiet)
        else:
            extract_plain(path, place_plain(path, wish), target, _quiet)


def _verify(path: Path) -> None:
    with open_for_reading(path) as (read_at, size):
        reader = open_archive(read_at, size)
        if reader:
            check_archive(reader, _quiet)
            return
    with open_stream(path) as stream:
        for _ in hash_members(stream):
            pass


def _quiet(count: int) -> None:
    """Say nothing."""


def _feed_index(data: bytes, root: Path, random: Random) -> None:
    for record in read_records(data):
        if isinstance(record, PackedBlock):
            record.unpack()


def _feed_manifest(data: bytes, root: Path, random: Random) -> None:
    read_manifest(io.BytesIO(data))


def _feed_ledger(data: bytes, root: Path, random: Random) -> None:
    (root / "to").mkdir()
    (root / "to" / "ledger.jsonl").write_bytes(data)
    found = ledger.read(root / "to")
    for archive in found.standing():
        found.proved(archive, "ab" * 32)


def _feed_settings(data: bytes, root: Path, random: Random) -> None:
    settings_from(json.loads(data))


_FEED: dict[str, Callable[[bytes, Path, Random], None]] = {
    "archive": _feed_archive,
    "index": _feed_index,
    "manifest": _feed_manifest,
    "ledger": _feed_ledger,
    "settings": _feed_settings,
}


def say(line: str) -> None:
    """Write a line to stderr."""
    sys.stderr.write(f"{line}\n")
