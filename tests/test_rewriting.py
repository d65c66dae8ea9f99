"""A lost or edited manifest of a sound archive: no damage of the archive, and one command leads back."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import pytest
from support import Run, archive_of, git, refused

from backup_lib import filesystem

NOTES = "Backup of 1.1.0\nBuilt on the old server, see ticket 17\n"


@pytest.fixture
def archive(project: Path, run: Run) -> Path:
    """A published backup."""
    return archive_of(run("backup", "--json"))


def last_line(archive: Path) -> dict[str, str]:
    """Return the last line of the ledger."""
    line: dict[str, str] = json.loads((archive.parent.parent / "ledger.jsonl").read_text().splitlines()[-1])
    return line


def _lost(path: Path) -> None:
    path.unlink()


def _by_hand(path: Path) -> None:
    path.write_text(NOTES)


def _noted(path: Path) -> None:
    path.write_text(path.read_text() + "# see ticket 17\n")


def _fact_changed(path: Path) -> None:
    path.write_text(re.sub("# Branch: .*", "# Branch:   hotfix", path.read_text()))


def _sum_changed(path: Path) -> None:
    head, end, sums = path.read_text().partition("\n#\n")
    path.write_text(f"{head}{end}{'0' * 64}{sums[64:]}")


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _link(path: Path) -> None:
    path.rename(path.with_name("elsewhere.txt"))
    path.symlink_to("elsewhere.txt")


def _fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


WAYS = [_lost, _by_hand, _noted, _fact_changed, _sum_changed, _cut, _empty, _link, _fifo, _folder]


@pytest.mark.parametrize("spoil", WAYS)
@pytest.mark.parametrize("depth", ["quick", "full"])
def test_the_message_names_the_command_that_leads_back(
    archive: Path, run: Run, tmp_path: Path, spoil: Callable[[Path], None], depth: str
) -> None:
    """It is found, exit 4, but the proof is of a sound archive; the named command writes it again, once."""
    manifest = archive.parent / "MANIFEST.txt"
    before = manifest.read_bytes()
    spoil(manifest)
    theirs = manifest.lstat() if os.path.lexists(manifest) else None

    found = run("verify", "--depth", "full" if spoil in (_fact_changed, _sum_changed) else depth)
    assert found.code == 4
    [command] = re.findall(r"; write it again with: invoke (.*)", found.out)
    assert (last_line(archive)["act"], last_line(archive)["result"]) == ("prove", "sound")

    outcome = run(*command.split())
    assert outcome.code == 0
    assert f"{manifest} is written again" in outcome.err
    assert manifest.read_bytes() == before
    if theirs:
        moved = manifest.with_name("MANIFEST.theirs.txt").lstat()
        assert (moved.st_ino, moved.st_size) == (theirs.st_ino, theirs.st_size)
    subprocess.run(["tar", "-xzf", archive, "-C", tmp_path], check=True)
    subprocess.run(["sha256sum", "--check", "--quiet", "--strict", manifest], cwd=tmp_path, check=True)
    again = run(*command.split())
    assert (again.code, again.err) == (0, f"{manifest} is as it should be, and stays\n")


def test_a_manifest_of_ours_gives_way(archive: Path, run: Run) -> None:
    """One of another archive that is there still is made again from that: it need not be kept."""
    manifest = archive.parent / "MANIFEST.txt"
    older = manifest.read_bytes()
    assert run("backup").code == 0
    manifest.write_bytes(older)
    assert "its MANIFEST.txt is that of another archive; write it again with: " in run("verify").out
    assert run("verify", "--rewrite-manifest").code == 0
    assert sorted(path.name for path in archive.parent.glob("MANIFEST*")) == ["MANIFEST.txt"]


@pytest.mark.parametrize("spoil", [_lost, _by_hand, _noted])
def test_such_a_backup_counts(archive: Path, run: Run, spoil: Callable[[Path], None]) -> None:
    """clean keeps it as a sound one, restore brings it back, and a release takes it."""
    run("backup", "--version", "1.0.0")
    spoil(archive.parent / "MANIFEST.txt")
    run("verify", "--version", "1.1.0")
    assert run("restore", "--version", "1.1.0").code == 0
    assert run("clean", "--keep", "1").code == 0
    assert not archive.parent.with_name("v1.0.0").exists()
    assert run("release").code == 0
    assert [path.name for path in archive.parent.glob("*Z*.tar.gz")] == [archive.name]


@pytest.mark.parametrize("damage", ["cut", "flipped", "replaced"])
def test_of_a_damaged_archive_nothing_is_promised(
    archive: Path, run: Run, project: Path, damage: str
) -> None:
    """It is told as damaged; its manifest is written only if its index is the published one."""
    manifest = archive.parent / "MANIFEST.txt"
    before = manifest.read_bytes()
    manifest.unlink()
    content = bytearray(archive.read_bytes())
    content[200] ^= 1
    archive.write_bytes(content[:-1] if damage == "cut" else content)
    if damage == "replaced":
        (project / "new.txt").write_text("new")
        shutil.copy(archive_of(run("backup", "--version", "2.0.0", "--json")), archive)
    assert "--rewrite-manifest" not in run("verify", "--version", "1.1.0").out
    assert last_line(archive)["result"] == "damaged"

    outcome = run("verify", "--version", "1.1.0", "--rewrite-manifest")
    assert outcome.code == 4
    assert last_line(archive)["result"] == "damaged"
    assert (manifest.read_bytes() == before) if damage == "flipped" else not manifest.exists()
    if damage != "flipped":
        refused(outcome, 4, f"v1.1.0/{archive.name} cannot give its manifest: ")


def test_a_dry_run_writes_nothing(archive: Path, run: Run) -> None:
    """It says what would be done, and still what is wrong."""
    manifest = archive.parent / "MANIFEST.txt"
    manifest.write_text(NOTES)
    outcome = run("verify", "--rewrite-manifest", "--dry-run")
    assert outcome.code == 4
    assert f"{manifest} would be written again" in outcome.err
    assert manifest.read_text() == NOTES
    assert not manifest.with_name("MANIFEST.theirs.txt").exists()


def test_what_has_no_manifest_of_ours_is_refused(project: Path, run: Run) -> None:
    """A daily backup, an archive of another maker, a version that is not there, several backups."""
    refused(run("verify", "--rewrite-manifest"), 10, "there is no backup in")
    day = archive_of(run("backup", "--daily", "--json"))
    (day.parent / "v0.9.0").mkdir()
    subprocess.run(["tar", "-czf", day.parent / "v0.9.0" / "old.tar.gz", "src"], check=True)
    before = (day.parent / "ledger.jsonl").read_bytes()
    refused(run("verify", "--rewrite-manifest"), 1, f"{day.name} has no manifest of ours")
    refused(run("verify", "--version", "0.9.0", "--rewrite-manifest"), 1, "v0.9.0/old.tar.gz has no manifest")
    refused(run("verify", "--version", "7.0.0", "--rewrite-manifest"), 10, "7.0.0")
    refused(run("verify", "--all", "--rewrite-manifest"), 1, "exclude each other")
    refused(run("verify", "--archive", str(day), "--rewrite-manifest"), 1, "exclude each other")
    assert (day.parent / "ledger.jsonl").read_bytes() == before


def test_a_folder_without_a_ledger_is_not_made_a_store(archive: Path, run: Run) -> None:
    """What the manifest was is not known there."""
    manifest = archive.parent / "MANIFEST.txt"
    (archive.parent.parent / "ledger.jsonl").unlink()
    manifest.write_text(manifest.read_text().replace("# Branch:   main", "# Branch:   side"))
    refused(run("verify", "--rewrite-manifest"), 1, "holds no ledger.jsonl")
    assert not (archive.parent.parent / "ledger.jsonl").exists()


@pytest.mark.parametrize("damage", ["content", "index"])
def test_what_clean_leaves_of_a_version_has_its_manifest(
    archive: Path, run: Run, project: Path, damage: str
) -> None:
    """An older archive that is damaged stays when the newest of its version goes."""
    manifest = archive.parent / "MANIFEST.txt"
    before = manifest.read_bytes()
    run("backup")
    run("backup", "--version", "2.0.0")
    content = bytearray(archive.read_bytes())
    content[200 if damage == "content" else -150] ^= 1
    archive.write_bytes(content)
    outcome = run("clean", "--keep", "1")
    assert outcome.code == 0
    assert [path.name for path in archive.parent.glob("*Z*.tar.gz")] == [archive.name]
    if damage == "content":
        assert manifest.read_bytes() == before
    else:
        assert f"v1.1.0/{archive.name} stays without a manifest: " in outcome.err


def test_an_undo_of_the_newest_leaves_the_notes_of_a_person(archive: Path, run: Run, project: Path) -> None:
    """The manifest of the backup that is left is written again; notes that stood there are moved aside."""
    before = (archive.parent / "MANIFEST.txt").read_bytes()
    git(project, "commit", "--allow-empty", "-m", "Next")
    assert run("release").code == 0
    (archive.parent / "MANIFEST.txt").write_text(NOTES)
    assert run("release", "--undo", "--version", "1.1.0").code == 0
    assert (archive.parent / "MANIFEST.txt").read_bytes() == before
    assert (archive.parent / "MANIFEST.theirs.txt").read_text() == NOTES


@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES, errno.EMFILE])
def test_a_manifest_of_ours_that_cannot_be_read_is_not_taken_for_theirs(
    project: Path, run: Run, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """It stays, and a backup of that version is refused until it can be read again."""
    folder = archive_of(run("backup", "--version", "1.1.0", "--json")).parent
    manifest = folder / "MANIFEST.txt"
    before = manifest.read_bytes()
    really = filesystem.open_file

    def fail(path: Path) -> BinaryIO:
        if path == manifest:
            raise OSError(number, os.strerror(number), str(path))
        return really(path)

    with monkeypatch.context() as patch:
        patch.setattr("backup_lib.store.theirs.filesystem.open_file", fail)
        refused(run("backup", "--version", "1.1.0"), 1, "MANIFEST.txt")
    assert manifest.read_bytes() == before
    assert [path.name for path in folder.glob("MANIFEST*")] == ["MANIFEST.txt"]
    assert run("backup", "--version", "1.1.0").code == 0
    assert [path.name for path in folder.glob("MANIFEST*")] == ["MANIFEST.txt"]


def test_an_unreadable_manifest_where_nothing_of_ours_is_stops_nothing(
    project: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is moved aside: the ledger has published nothing beside it."""
    folder = project / "backups" / "v1.1.0"
    folder.mkdir(parents=True)
    (folder / "MANIFEST.txt").write_text("mine\n")
    really = filesystem.open_file

    def fail(path: Path) -> BinaryIO:
        if path == folder / "MANIFEST.txt":
            raise OSError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return really(path)

    with monkeypatch.context() as patch:
        patch.setattr("backup_lib.store.theirs.filesystem.open_file", fail)
        assert run("backup", "--version", "1.1.0").code == 0
    assert (folder / "MANIFEST.theirs.txt").read_text() == "mine\n"
