"""Blocks that are copied from the backup before: the same archive, sooner, and never a wrong byte."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from support import Run, archive_of, of_first_shape

from backup_lib.archive.intake import open_source
from backup_lib.archive.reader import open_archive, open_for_reading
from backup_lib.model import Block, Header, Source, Summary
from backup_lib.project import standing


@pytest.fixture
def big_project(project: Path) -> Path:
    """Give the project enough files for many blocks, old enough to be trusted."""
    numbers = random.Random(1)
    for folder in range(8):
        (project / "src" / str(folder)).mkdir()
        for name in range(40):
            data = numbers.randbytes(300) * numbers.randrange(1, 60)
            (project / "src" / str(folder) / f"{name}.txt").write_bytes(data)
    (project / "large.bin").write_bytes(numbers.randbytes(3_000_000))
    (project / "backups").mkdir()  # so that the first backup does not change the root behind the scan
    time.sleep(2.1)
    return project


def made(run: Run, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> tuple[Path, int]:
    """Make a backup; return its archive and how many files were read for it."""
    taken: list[bytes] = []

    def counting(root: int, source: Source) -> tuple[int, Source]:
        taken.append(source.path)
        return open_source(root, source)

    with monkeypatch.context() as patch:
        patch.setattr("backup_lib.archive.intake.open_source", counting)
        patch.setattr("backup_lib.archive.maker.open_source", counting)
        archive = archive_of(run("backup", "--json", *arguments))
    return archive, len(taken)


@pytest.mark.parametrize("form", ["gz", "zst"])
def test_what_did_not_change_is_not_read_again(
    big_project: Path, run: Run, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    """A second backup reads no file, a third only those in the blocks of what changed; all are sound."""
    _, first = made(run, monkeypatch, "--format", form)
    _, second = made(run, monkeypatch, "--format", form)
    (big_project / "src" / "3" / "7.txt").write_text("changed\n")
    archive, third = made(run, monkeypatch, "--format", form)

    assert first > 320
    assert second == 0
    assert 0 < third < 60
    assert run("verify", "--all", "--depth", "restore").code == 0
    with open_for_reading(archive) as (read_at, size):
        reader = open_archive(read_at, size)
        assert reader is not None
        assert {entry.state for entry in reader.entries() if entry.path == b"large.bin"} == {"untracked"}


class FirstIndexWriter:
    """Packs an index of the first shape."""

    def __init__(self) -> None:
        self._records: list[Header | Block | Summary] = []

    def add(self, record: Header | Block | Summary) -> None:
        """Add one record."""
        self._records.append(record)

    def finish(self) -> bytes:
        """Return the whole index."""
        return of_first_shape(self._records)


def test_blocks_of_an_archive_of_the_first_shape_are_copied(
    big_project: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is written after it has the shape of today, and both are sound."""
    with monkeypatch.context() as patch:
        patch.setattr("backup_lib.archive.writer.IndexWriter", FirstIndexWriter)
        old, first = made(run, monkeypatch)
    new, second = made(run, monkeypatch)

    assert first > 320
    assert second == 0
    assert new.stat().st_size < old.stat().st_size
    assert run("verify", "--all", "--depth", "restore").code == 0


@pytest.mark.parametrize("form", ["gz", "zst"])
@pytest.mark.parametrize("version", [1, 2])
def test_the_first_block_is_copied_to_another_place(
    big_project: Path, run: Run, monkeypatch: pytest.MonkeyPatch, form: str, version: int
) -> None:
    """With a commit it is the second, and without again the first: a mark stands behind the first alone."""
    repository = big_project.parent / "repository"
    (big_project / ".git").rename(repository)
    with monkeypatch.context() as patch:
        patch.setattr("backup_lib.archive.writer.VERSION", version)
        made(run, monkeypatch, "--format", form)
    archives = []
    for here, there in ((repository, big_project / ".git"), (big_project / ".git", repository)):
        here.rename(there)
        again, taken = made(run, monkeypatch, "--format", form)
        archives.append(again)
        assert taken < 20
    archives.append(made(run, monkeypatch, "--format", form)[0])
    assert run("verify", "--all", "--depth", "restore").code == 0
    for archive in archives:
        assert archive.read_bytes().count(b"\x50\x2a\x4d\x18\x08\0\0\0RBKP\2\0\0\0") == (form == "zst")


def test_fresh_reads_everything(big_project: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """--fresh reuses nothing, and so does another level."""
    _, first = made(run, monkeypatch)
    _, fresh = made(run, monkeypatch, "--fresh")
    _, other = made(run, monkeypatch, "--level", "fast")

    assert first == fresh == other


def test_the_newest_of_its_format_is_copied_from(
    big_project: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A backup of another format in between does not matter."""
    made(run, monkeypatch, "--format", "gz")
    made(run, monkeypatch, "--format", "zst")
    _, taken = made(run, monkeypatch, "--format", "gz")
    assert taken == 0


def test_the_result_is_that_of_a_fresh_backup(big_project: Path, run: Run, tmp_path: Path) -> None:
    """Copied or made, the tree that comes out is the same."""
    run("backup")
    (big_project / "src" / "1" / "1.txt").unlink()
    (big_project / "src" / "2" / "new.txt").write_text("new")
    copied = archive_of(run("backup", "--json"))
    fresh = archive_of(run("backup", "--json", "--fresh"))

    streams = [
        subprocess.run(["gzip", "-dc", each], check=True, capture_output=True).stdout
        for each in (copied, fresh)
    ]
    assert streams[0] == streams[1]


def test_a_file_that_changed_just_before_the_last_backup_is_read_again(
    project: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within two seconds a change may leave no trace in a file's times, so it is not trusted."""
    _, first = made(run, monkeypatch)
    _, second = made(run, monkeypatch)

    assert first == second > 0


def test_new_times_alone_make_a_block_anew(
    big_project: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A touched file is read again, even with its old time put back: the inode's own time tells."""
    made(run, monkeypatch)
    path = big_project / "src" / "0" / "0.txt"
    seen = path.stat()
    path.write_bytes(b"x" * seen.st_size)
    os.utime(path, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    archive, taken = made(run, monkeypatch)

    assert taken > 0
    stream = subprocess.run(
        ["tar", "-xOzf", archive, "heymarket-endpoint/src/0/0.txt"], check=True, capture_output=True
    )
    assert stream.stdout == b"x" * seen.st_size


def test_a_damaged_backup_before_gives_no_block(
    big_project: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every copied block is checked against its digest; a damaged one is made anew."""
    before, first = made(run, monkeypatch)
    data = bytearray(before.read_bytes())
    for at in range(1000, len(data) - 50_000, 1000):
        data[at] ^= 1
    before.write_bytes(data)
    archive, second = made(run, monkeypatch)

    assert second > first // 2
    assert run("verify", "--archive", str(archive)).code == 0


def test_a_backup_before_that_was_cut_off_is_passed_over(project: Path, run: Run) -> None:
    """There is nothing to copy from it, and the next backup is made whole."""
    before = archive_of(run("backup", "--json"))
    before.write_bytes(before.read_bytes()[:-100])
    after = archive_of(run("backup", "--json"))
    assert run("verify", "--archive", str(after)).code == 0


def test_a_scan_that_lies_in_the_future_is_not_trusted(
    big_project: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the clock was set back since the backup before, everything is read again, once."""
    ahead = time.time_ns() + 10**18
    with monkeypatch.context() as patch:
        patch.setattr(time, "time_ns", lambda: ahead)
        _, first = made(run, monkeypatch)
    _, second = made(run, monkeypatch)
    _, third = made(run, monkeypatch)

    assert (first, third) == (second, 0)


def test_a_copied_file_is_not_told_as_committed_if_git_saw_it_later(
    big_project: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is put back as committed between the scan and git's look is read again."""
    file = big_project / "src" / "server.js"
    committed = file.read_text()
    file.write_text(committed.upper())
    time.sleep(2.1)
    run("backup")
    scanned = threading.Event()
    compared, told = standing._compared, standing.Comparison.standing

    def look_late(*asked: Any) -> Any:
        scanned.wait()
        file.write_text(committed)
        return compared(*asked)

    def tell(comparison: standing.Comparison, sights: Any) -> standing.Standing:
        scanned.set()
        return told(comparison, sights)

    monkeypatch.setattr(standing, "_compared", look_late)
    monkeypatch.setattr(standing.Comparison, "standing", tell)
    archive, _ = made(run, monkeypatch)

    assert run("verify").code == 0
    with open_for_reading(archive) as (read_at, size):
        reader = open_archive(read_at, size)
        assert reader is not None
        entry = next(entry for entry in reader.entries() if entry.path == b"src/server.js")
    assert (entry.state, entry.digest) == ("modified", hashlib.sha256(committed.encode()).digest())


def test_hard_links_keep_the_digest_of_their_file(
    big_project: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copied block with a hard link tells the digest that its file has now."""
    os.link(big_project / "src" / "0" / "0.txt", big_project / "src" / "7" / "zz.txt")
    time.sleep(2.1)
    made(run, monkeypatch)
    (big_project / "src" / "0" / "0.txt").write_text("both names\n")
    archive, _ = made(run, monkeypatch)

    assert run("verify").code == 0
    name = "heymarket-endpoint/src/7/zz.txt"
    assert f"  {name}\n" in (archive.parent / "MANIFEST.txt").read_text()
