"""verify, as a person runs it, on backups that are sound and on backups that are not."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from support import Run, archive_of, git, refused, unreadable

from backup_lib.agreement import Agreement
from backup_lib.archive.check import Checked, check_archive
from backup_lib.archive.reader import Reader
from backup_lib.errors import DamageError
from backup_lib.model import Header
from backup_lib.progress import Silent
from backup_lib.project.git import open_repository
from backup_lib.settings import Settings
from backup_lib.verify import verify_draft
from backup_lib.workplace import Workplace


@pytest.fixture
def archive(project: Path, run: Run) -> Path:
    """A published backup."""
    return archive_of(run("backup", "--json"))


def damaged(run: Run, *arguments: str) -> str:
    """Verify, assert that damage is reported with exit 4 and no traceback, and return the findings."""
    outcome = run("verify", *arguments)
    assert outcome.code == 4, outcome
    assert "Traceback" not in outcome.err
    return outcome.out


def test_a_sound_backup_is_said_to_be_what_the_commit_holds(archive: Path, project: Path, run: Run) -> None:
    """verify says which commit the backup holds, and what besides."""
    commit = git(project, "rev-parse", "HEAD")[:12]
    outcome = run("verify")

    assert outcome.code == 0
    assert f"v1.1.0 ({commit}) as committed, plus 1 ignored file\n" in outcome.out
    assert "proved, 6 files" in outcome.out


@pytest.mark.parametrize("depth", ["quick", "full", "restore"])
def test_every_run_leaves_a_proof_in_the_ledger(archive: Path, run: Run, depth: str) -> None:
    """The ledger tells when a backup was verified, how deep, and how it went."""
    assert run("verify", "--depth", depth).code == 0

    proof = json.loads((archive.parent.parent / "ledger.jsonl").read_text().splitlines()[-1])
    assert (proof["act"], proof["depth"], proof["result"]) == ("prove", depth, "sound")
    assert proof["archive"] == f"v1.1.0/{archive.name}"


def test_a_dry_run_proves_nothing_in_the_ledger(archive: Path, run: Run) -> None:
    """A dry run leaves the ledger as it is."""
    before = (archive.parent.parent / "ledger.jsonl").read_bytes()

    assert run("verify", "--dry-run").code == 0
    assert (archive.parent.parent / "ledger.jsonl").read_bytes() == before


def test_a_flipped_byte_names_the_file_it_hit(archive: Path, run: Run) -> None:
    """Damage in one file's block names that file."""
    data = bytearray(archive.read_bytes())
    data[len(data) // 3] ^= 1
    archive.write_bytes(data)

    findings = damaged(run)
    assert "its SHA-256 is" in findings
    assert archive.name in findings


def test_a_cut_archive_is_reported(archive: Path, run: Run) -> None:
    """A truncated archive is damage at any depth, and says how much is missing."""
    archive.write_bytes(archive.read_bytes()[:-100])

    for depth in ("quick", "full", "restore"):
        assert "bytes, not the" in damaged(run, "--depth", depth)


def test_an_empty_archive_is_reported(archive: Path, run: Run) -> None:
    """Nothing left at all is damage, too."""
    archive.write_bytes(b"")

    assert "package.json" in damaged(run)


def test_what_is_no_archive_is_reported(archive: Path, run: Run) -> None:
    """A file of something else in its place is damage."""
    archive.write_bytes(b"not an archive" * 100)

    damaged(run)


def test_an_archive_of_another_version_in_its_place_is_reported(archive: Path, run: Run) -> None:
    """A sound archive, but the wrong one, is damage."""
    other = archive_of(run("backup", "--version", "2.0.0", "--json"))
    shutil.copy(other, archive)

    assert "its SHA-256 is" in damaged(run, "--version", "1.1.0")
    assert run("verify", "--version", "2.0.0").code == 0


def test_bytes_after_the_end_are_reported(archive: Path, run: Run) -> None:
    """Nothing may follow an archive."""
    with archive.open("ab") as file:
        file.write(b"\0" * 512)

    damaged(run)


def test_a_missing_archive_is_reported(archive: Path, run: Run) -> None:
    """What was published and is gone is damage."""
    archive.unlink()

    assert "not there any more" in damaged(run, "--all")


def test_a_missing_manifest_is_reported(archive: Path, run: Run) -> None:
    """A published backup without its manifest is not whole."""
    (archive.parent / "MANIFEST.txt").unlink()

    assert "MANIFEST.txt is missing" in damaged(run)
    assert "MANIFEST.txt is missing" in damaged(run, "--depth", "quick")


def test_every_edited_line_of_a_manifest_is_reported(archive: Path, run: Run) -> None:
    """The manifest must be what the archive says, to the byte."""
    manifest = archive.parent / "MANIFEST.txt"
    good = manifest.read_bytes()
    lines = good.splitlines(keepends=True)
    for number, line in enumerate(lines):
        for other in (line[:-2] + b"?\n", b"", line + line):
            manifest.write_bytes(b"".join([*lines[:number], other, *lines[number + 1 :]]))
            if manifest.read_bytes() != good:
                damaged(run)


def test_many_edited_lines_of_a_manifest_are_counted(archive: Path, run: Run) -> None:
    """Three are told one by one."""
    manifest = archive.parent / "MANIFEST.txt"
    lines = manifest.read_bytes().splitlines(keepends=True)
    edited = [b"0" * 64 + line[64:] if not line.startswith(b"#") else line for line in lines]
    manifest.write_bytes(b"".join(edited))
    found = damaged(run)
    assert found.count("MANIFEST.txt, line ") == 3
    assert "MANIFEST.txt differs in 3 more lines" in found


def test_what_is_not_in_the_commit_is_found_once(project: Path) -> None:
    """Whenever the repository answers."""
    repository = open_repository(project)
    assert repository
    header = Header("demo", None, "", 0, "gz", "fast", repository.commit)
    with ThreadPoolExecutor(1) as asking:
        agreement = Agreement(header, repository, asking, lists=False)
        agreement.begin()
        agreement.finish()
        for _ in range(2):
            agreement.take([], [(b"package.json", "0" * 40)] if not agreement.findings else [])
            agreement.finish()
    assert [path for _, path, _ in agreement.findings] == [b"package.json"]


def test_a_manifest_of_another_archive_is_reported(archive: Path, run: Run) -> None:
    """The manifest must speak of the archive beside it."""
    other = archive_of(run("backup", "--version", "2.0.0", "--json"))
    shutil.copy(other.parent / "MANIFEST.txt", archive.parent / "MANIFEST.txt")

    damaged(run, "--version", "1.1.0")


def test_an_older_archive_of_a_version_needs_no_manifest(archive: Path, run: Run) -> None:
    """The manifest speaks of the newest archive; the ledger knows the others."""
    run("backup")

    outcome = run("verify", "--all")
    assert outcome.code == 0
    assert "2 backups verified, 0 with findings" in outcome.out


def test_a_tag_that_moved_or_is_gone_is_reported(project: Path, run: Run) -> None:
    """The tag must still be at the commit of the backup."""
    run("tag")
    run("backup")
    assert run("verify").code == 0
    git(project, "commit", "--allow-empty", "-m", "Second")
    git(project, "tag", "-f", "v1.1.0")
    assert "the tag v1.1.0 is now at" in damaged(run)
    git(project, "tag", "-d", "v1.1.0")
    assert "the tag v1.1.0 is now gone" in damaged(run)


def test_a_commit_that_is_gone_is_reported(archive: Path, project: Path, run: Run) -> None:
    """The commit of the backup must still be in the repository."""
    shutil.rmtree(project / ".git")
    git(project, "init")
    git(project, "commit", "--allow-empty", "-m", "Other")

    assert "is not in this repository" in damaged(run)


def test_a_repository_with_long_names_of_commits(project: Path, run: Run) -> None:
    """git may name commits and files by SHA-256."""
    shutil.rmtree(project / ".git")
    git(project, "init", "--object-format=sha256")
    git(project, "add", "-A")
    git(project, "commit", "-m", "First")
    run("backup")
    outcome = run("verify")
    assert outcome.code == 0
    assert "as committed" in outcome.out


def test_a_daily_backup_is_called_by_its_day(project: Path, run: Run) -> None:
    """It may have no version."""
    (project / "package.json").unlink()
    git(project, "commit", "-am", "No version")
    name = archive_of(run("backup", "--daily", "--json")).name
    outcome = run("verify")
    assert outcome.code == 0
    assert f"\n  {name[:10]} (" in outcome.out


def test_a_garbled_manifest_is_reported_at_any_depth(archive: Path, run: Run) -> None:
    """Its line is told."""
    manifest = archive.parent / "MANIFEST.txt"
    manifest.write_bytes(manifest.read_bytes().replace(b"# Size: ", b"# Mass: "))
    for depth in ("quick", "full", "restore"):
        assert "its manifest is damaged: MANIFEST.txt line" in damaged(run, "--depth", depth)


def test_files_that_git_converts_are_not_called_damaged(project: Path, run: Run) -> None:
    """Line endings that git changes on checkout do not hash to the blob, and that is said."""
    (project / ".gitattributes").write_text("*.bat text eol=crlf\n")
    (project / "run.bat").write_bytes(b"echo 1\r\necho 2\r\n")
    git(project, "add", "-A")
    git(project, "commit", "-m", "Batch")
    archive = archive_of(run("backup", "--json"))

    assert "1 as committed (converted by git)" in (archive.parent / "MANIFEST.txt").read_text()
    assert run("verify").code == 0


def test_a_plain_archive_of_an_older_script_is_verified_as_far_as_it_can_be(project: Path, run: Run) -> None:
    """Archives of other makers are listed, read whole, and compared with a manifest if there is one."""
    folder = project / "backups" / "v0.9.0"
    folder.mkdir(parents=True)
    subprocess.run(["tar", "-czf", folder / "old.tar.gz", "src", "package.json"], check=True)
    assert run("verify", "--version", "0.9.0").code == 0
    sums = subprocess.run(["sha256sum", "src/server.js"], check=True, capture_output=True).stdout
    (folder / "MANIFEST.txt").write_bytes(sums)
    assert run("verify", "--version", "0.9.0").code == 0
    (folder / "MANIFEST.txt").write_bytes(b"0" * 64 + sums[64:])
    assert "src/server.js: its content does not match" in damaged(run, "--version", "0.9.0")
    (folder / "old.tar.gz").write_bytes((folder / "old.tar.gz").read_bytes()[:-30])
    damaged(run, "--version", "0.9.0")


def test_any_archive_can_be_verified_by_its_path(archive: Path, run: Run, tmp_path: Path) -> None:
    """An archive outside the store is verified by its index; the ledger does not care."""
    copy = tmp_path / "copy.tar.gz"
    shutil.copy(archive, copy)
    outcome = run("verify", "--archive", str(copy), "--json")
    assert (outcome.code, outcome.json["result"]["recorded"]) == (0, False)
    copy.write_bytes(copy.read_bytes()[:-1])
    damaged(run, "--archive", str(copy))
    refused(run("verify", "--archive", "nowhere.tar.gz"), 10, "nowhere.tar.gz")


def test_what_is_not_there_exits_10(project: Path, run: Run) -> None:
    """No such backup has an exit code of its own."""
    refused(run("verify"), 10, "no backup")
    run("backup")
    refused(run("verify", "--version", "9.9.9"), 10, "9.9.9")


def test_a_depth_that_is_none_is_refused(project: Path, run: Run) -> None:
    """There are three depths."""
    refused(run("verify", "--depth", "deep"), 1, "--depth takes quick, full or restore")


def test_the_json_of_findings_names_archive_and_file(archive: Path, run: Run) -> None:
    """A program gets every finding, with the exit code in the object."""
    archive.write_bytes(archive.read_bytes()[:-100])
    outcome = run("verify", "--json")

    assert outcome.code == 4
    assert outcome.json["exit"] == 4
    assert outcome.json["result"]["findings"][0]["archive"] == f"v1.1.0/{archive.name}"


def test_all_of_an_empty_store_is_sound(project: Path, run: Run) -> None:
    """Nothing there is nothing wrong."""
    assert run("verify", "--all").code == 0


def test_an_archive_and_manifest_replaced_together_are_reported(archive: Path, run: Run) -> None:
    """The ledger knows what was published: another sound pair in its place is damage."""
    other = archive_of(run("backup", "--version", "2.0.0", "--note", "other", "--json"))
    text = (other.parent / "MANIFEST.txt").read_text().replace(other.name, archive.name)
    (archive.parent / "MANIFEST.txt").write_text(text)
    shutil.copy(other, archive)

    for depth in ("quick", "full"):
        assert "its SHA-256 is" in damaged(run, "--version", "1.1.0", "--depth", depth)


def test_another_archive_in_the_place_of_a_daily_one_is_reported(archive: Path, run: Run) -> None:
    """The ledger knows each daily backup of that name; this is none of them."""
    daily = archive_of(run("backup", "--daily", "--json"))
    shutil.copy(archive, daily)

    assert "it took the place of another" in damaged(run, "--version", daily.name[:10])


def test_a_draft_is_what_was_written(archive: Path, project: Path) -> None:
    """An archive that is whole in itself is none of ours, unless its bytes are those that were written."""
    place = Workplace(project, Settings(), Silent())
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    assert verify_draft(place, archive, archive.name, digest).sound
    [finding] = verify_draft(place, archive, archive.name, "0" * 64).findings
    assert finding.damage
    assert f"its SHA-256 is {digest}, but {'0' * 64} was written" in str(finding)


def test_what_nothing_is_recorded_of_is_not_called_proved(project: Path, run: Run, tmp_path: Path) -> None:
    """A foreign archive can be read; that proves nothing."""
    subprocess.run(["tar", "-czf", tmp_path / "foreign.tgz", "src"], check=True)
    outcome = run("verify", "--archive", str(tmp_path / "foreign.tgz"))

    assert outcome.code == 0
    assert "nothing is recorded to compare it with" in outcome.out
    assert "proved" not in outcome.out


def test_unreadable_lines_of_the_ledger_are_told(archive: Path, run: Run) -> None:
    """A garbled line is passed over, but not in silence."""
    with (archive.parent.parent / "ledger.jsonl").open("ab") as ledger:
        ledger.write(b"garbage\xff\n")
    outcome = run("verify")

    assert outcome.code == 0
    assert "1 line of the ledger cannot be read" in outcome.err


def test_an_archive_that_cannot_be_read_is_a_finding(archive: Path, run: Run) -> None:
    """One unreadable archive does not keep the others from being verified."""
    run("backup", "--version", "2.0.0")
    with unreadable(archive):
        findings = damaged(run, "--all")
    assert "it cannot be read: Permission denied" in findings
    assert "2 backups verified, 1 with findings" in findings


@pytest.mark.parametrize("task", ["verify", "restore"])
def test_an_archive_whose_disk_fails_is_named(project: Path, run: Run, task: str) -> None:
    """A call on an open file fails without its name, and a restore writes to another disk meanwhile."""
    nowhere = Path("/proc/self/mem")
    if not nowhere.exists():
        pytest.skip("no file at hand that can be opened and not read")
    outcome = run(task, "--archive", str(nowhere))
    assert (outcome.code, outcome.err.count("\n")) == (1, 1), outcome
    assert "Input/output error: /proc/self/mem" in outcome.err


def test_an_index_that_contradicts_itself_is_a_finding(
    archive: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Damage that ends the reading of one archive is recorded, and the others are verified all the same."""
    run("backup", "--version", "2.0.0")

    def refusing(reader: Reader, *given: Any) -> Checked:
        if reader.header.version == "1.1.0":
            raise DamageError("the blocks do not end where the index begins")
        return check_archive(reader, *given)

    monkeypatch.setattr("backup_lib.verify.check_archive", refusing)
    findings = damaged(run, "--all")
    assert f"v1.1.0/{archive.name}: the blocks do not end where the index begins" in findings
    assert "2 backups verified, 1 with findings" in findings
    assert '"result":"damaged"' in (archive.parent.parent / "ledger.jsonl").read_text()
