"""release --undo, as a person runs it: what goes, what never does, and a kill at every step of either way."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import Outcome, Run, archive_of, git, invoke, refused, setting

import tasks
from backup_lib.errors import ProjectError
from backup_lib.project.git import Repository
from backup_lib.store.local import open_store

KILL = """
import os, signal
from backup_lib import filesystem
from backup_lib.project.git import Repository
from backup_lib.store import ledger

left = int(os.environ.get("KILL_AT", "0"))

def pass_step():
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)

def counted(where, name):
    real = getattr(where, name)
    def call(*given, **named):
        if name in ("replace", "rename_new"):
            pass_step()
        done = real(*given, **named)
        pass_step()
        return done
    setattr(where, name, call)

for where, name in (
    (ledger, "append"), (filesystem, "rename_new"), (Repository, "create_tag"), (Repository, "delete_tag"),
    (os, "replace"), (os, "symlink"), (os, "unlink"), (os, "rmdir"),
):
    counted(where, name)
"""
"""Ends the process at the ``KILL_AT``-th place: after a step that leaves something, and before a rename."""

State = dict[str, object]


def state(project: Path) -> State:
    """Return all that a release may touch, but for the ledger and the lock."""
    found: State = {
        str(path.relative_to(project)): path.read_bytes()
        for path in project.rglob("*")
        if path.is_file() and ".git" not in path.parts and path.name not in ("ledger.jsonl", ".lock")
    }
    return found | {
        "refs": git(project, "for-each-ref"),
        "head": git(project, "status", "-b", "--porcelain=v2"),
    }


def ledger(project: Path) -> str:
    """Return what stands in the ledger."""
    return (project / "backups" / "ledger.jsonl").read_text()


@pytest.fixture
def earlier(project: Path, run: Run) -> State:
    """The state of the project once version 1.0.0 is released: what an undo of 1.1.0 has to lead back to."""
    shutil.copy(tasks.__file__, project / "tasks.py")
    (project / "tasks.py").write_text((project / "tasks.py").read_text() + KILL)
    git(project, "add", "tasks.py")
    git(project, "commit", "-m", "Tasks")
    assert run("release", "--version", "1.0.0").code == 0
    return state(project)


def undo(run: Run, *more: str) -> Outcome:
    """Take 1.1.0 back."""
    return run("release", "--version", "1.1.0", "--undo", *more)


def test_a_release_is_taken_back_to_the_last_byte(project: Path, run: Run, earlier: State) -> None:
    """Tag, backup and line go; the other versions, the commits and the ledger's lines stay as they were."""
    assert run("release").code == 0
    lines = ledger(project)
    tag = git(project, "rev-parse", "refs/tags/v1.1.0")
    archive = next((project / "backups" / "v1.1.0").glob("*Z.tar.gz")).name
    outcome = undo(run)

    assert outcome.code == 0, outcome
    assert state(project) == earlier
    assert ledger(project).startswith(lines)
    assert outcome.out.splitlines() == [
        "taken back    the line in CHANGELOG.md",
        f"taken back    the backup v1.1.0/{archive}",
        f"taken back    the tag v1.1.0 (it was {tag})",
        "Took v1.1.0 back",
        "If the tag was pushed, it is still there: git push --delete REMOTE v1.1.0",
    ]
    assert run("verify", "--all").code == 0
    assert run("release").code == 0
    assert undo(run).code == 0
    assert state(project) == earlier


def test_twice_it_says_that_all_is_taken_back(project: Path, run: Run, earlier: State) -> None:
    """The second undo changes nothing, not even the ledger, and succeeds."""
    run("release")
    undo(run)
    lines = ledger(project)
    outcome = undo(run)

    assert (outcome.code, outcome.out) == (0, "v1.1.0 is taken back already\n")
    assert (state(project), ledger(project)) == (earlier, lines)


def test_what_an_undo_could_not_see_the_next_one_takes_back(project: Path, run: Run, earlier: State) -> None:
    """The line may be on another branch, the tag in another clone; what a person made since stays."""
    git(project, "checkout", "-q", "-b", "release")
    run("release")
    git(project, "commit", "-qam", "Note")
    tag = git(project, "rev-parse", "refs/tags/v1.1.0")
    git(project, "tag", "--delete", "v1.1.0")
    git(project, "checkout", "-q", "-")
    outcome = undo(run)
    assert (outcome.code, outcome.out.count("gone before")) == (0, 2), outcome

    git(project, "checkout", "-q", "release")
    git(project, "tag", "v1.1.0")
    changelog = (project / "CHANGELOG.md").read_text()
    assert undo(run).out.splitlines()[0] == "taken back    the line in CHANGELOG.md"
    assert "Created backup v1.1.0" in changelog
    assert "Created backup v1.1.0" not in (project / "CHANGELOG.md").read_text()
    assert git(project, "tag", "--list", "v1.1.0") == "v1.1.0"
    git(project, "update-ref", "refs/tags/v1.1.0", tag)
    assert f"the tag v1.1.0 (it was {tag})" in undo(run).out
    assert (undo(run).out, git(project, "tag", "--list", "v1.1.0")) == ("v1.1.0 is taken back already\n", "")


def test_the_older_of_two_releases_is_taken_back_alone(project: Path, run: Run, earlier: State) -> None:
    """What was released later stays as it was."""
    run("release")
    later = state(project)
    assert run("release", "--version", "1.0.0", "--undo").code == 0

    now = state(project)
    assert {key: now[key] for key in now if "v1.1.0" in key} == {
        key: later[key] for key in later if "v1.1.0" in key
    }
    assert not any("v1.0.0" in key for key in now)
    assert git(project, "tag") == "v1.1.0"
    changelog = (project / "CHANGELOG.md").read_text()
    assert "v1.0.0" not in changelog
    assert changelog.count("- Created backup v1.1.0") == 1
    assert run("verify", "--all").code == 0
    assert "v1.1.0 is released already" in run("release").out


@pytest.mark.parametrize(
    "changelog", [None, "", "# Changelog\n\n", "# Changelog\n\n## [Unreleased]\n\n- x\n"]
)
@pytest.mark.parametrize("versions", [("1.0.0", "1.1.0"), ("1.1.0", "1.0.0")])
def test_releases_are_taken_back_in_any_order(
    project: Path, run: Run, changelog: str | None, versions: tuple[str, str]
) -> None:
    """The changelog is as before in the end, and never in the way of the next release."""
    path = project / "CHANGELOG.md"
    path.unlink()
    if changelog is not None:
        path.write_text(changelog)
    git(project, "add", "-A")
    git(project, "commit", "-m", "Changelog")
    for version in ("1.0.0", "1.1.0"):
        assert run("release", "--version", version).code == 0
    for version in versions:
        assert run("release", "--version", version, "--undo").code == 0
        assert run("release", "--version", "2.0.0", "--dry-run").code == 0
    assert (path.read_text() if path.exists() else None) == changelog


def test_a_changelog_made_by_hand_after_a_failed_release_stays(project: Path, run: Run) -> None:
    """The release meant to make it, and could not; its title goes, the file was another's."""
    git(project, "rm", "-q", "CHANGELOG.md")
    git(project, "commit", "-m", "None")
    with setting("CHANGELOG", "docs/C.md"):
        assert run("release").code == 1
        (project / "docs").mkdir()
        (project / "docs" / "C.md").touch()
        assert run("release", "--allow-dirty").code == 0
        assert undo(run).code == 0
    assert (project / "docs" / "C.md").read_bytes() == b""


def test_tags_below_the_name_of_the_tag_are_others(project: Path, run: Run, earlier: State) -> None:
    """While they are there git makes no tag of that name; what the release meant to make is taken back."""
    for name in ("v1.1.0/linux", "v1.1.0/mac"):
        git(project, "tag", name)
    assert run("release").code == 1
    outcome = undo(run)
    assert (outcome.code, outcome.err) == (0, "")
    assert git(project, "tag", "--list", "v1.1.0/*") == "v1.1.0/linux\nv1.1.0/mac"


def test_a_backup_that_somebody_took_away_was_gone_before(project: Path, run: Run, earlier: State) -> None:
    """It is told as that, not as taken back; in its place a link is not touched."""
    archive = archive_of(run("release", "--json"))
    away = project.parent / "cold"
    archive.rename(away)
    archive.symlink_to(away)
    refused(undo(run), 1, f"{archive} is not where it was published, but linked; first remove it yourself")
    archive.unlink()
    assert f"gone before   the backup v1.1.0/{archive.name}" in undo(run).out
    assert away.exists()


def test_a_ruined_manifest_gives_way_to_that_of_the_backup_before(
    project: Path, run: Run, earlier: State
) -> None:
    """An older backup of the version stays, and is sound."""
    assert run("backup").code == 0
    git(project, "commit", "--allow-empty", "-m", "Next")
    assert run("release").code == 0
    (project / "backups" / "v1.1.0" / "MANIFEST.txt").write_bytes(b"")
    assert undo(run).code == 0
    assert run("verify", "--version", "1.1.0").code == 0


def test_a_tag_that_git_does_not_delete_goes_the_next_time(project: Path, run: Run, earlier: State) -> None:
    """The line says that all else is gone already."""
    run("release")
    hook = project / ".git" / "hooks" / "reference-transaction"
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    refused(undo(run), 1, "all else is taken back: mend that and run it again")
    hook.unlink()
    assert undo(run).out.splitlines()[0] == "gone before   the line in CHANGELOG.md"
    assert state(project) == earlier


def test_a_dry_run_says_what_would_go_and_does_nothing(project: Path, run: Run, earlier: State) -> None:
    """As an object, too."""
    run("release")
    before, lines = state(project), ledger(project)

    assert undo(run, "--dry-run").out.count("would go") == 3
    result = undo(run, "--dry-run", "--json").json["result"]
    assert [(step["step"], step["when"]) for step in result["steps"]] == [
        ("changelog", "would"),
        ("backup", "would"),
        ("tag", "would"),
    ]
    assert (state(project), ledger(project)) == (before, lines)
    assert undo(run, "--json").json["result"]["steps"][1]["when"] == "now"
    assert undo(run, "--json").json["result"] == {"version": "1.1.0", "steps": []}


def test_what_was_never_released_is_not_taken_back(project: Path, run: Run, earlier: State) -> None:
    """No such version is 10; a backup and a tag by hand are nobody's release."""
    before = state(project)
    refused(undo(run), 10, "no release of v1.1.0 is in")
    run("tag")
    archive_of(run("backup", "--json"))
    by_hand = state(project)
    refused(undo(run), 1, "the ledger knows of no release that made v1.1.0")
    assert state(project) == by_hand != before
    refused(run("release", "--undo"), 1, "say which one with --version")
    refused(undo(run, "--allow-dirty"), 1, "--undo and --allow-dirty exclude each other")


def test_without_a_store_none_is_made(project: Path, run: Run) -> None:
    """Nothing released, nothing there, nothing made."""
    refused(undo(run), 10, "no release of v1.1.0")
    assert not (project / "backups").exists()


def test_what_was_there_before_the_release_stays(project: Path, run: Run, earlier: State) -> None:
    """A tag and a backup that the release only found are not its own."""
    run("tag")
    made = archive_of(run("backup", "--json"))
    before = state(project)
    run("release")
    outcome = undo(run)

    assert outcome.code == 0
    assert state(project) == before
    assert made.exists()
    assert outcome.out.count("left alone") == 2


def test_the_backup_that_was_the_newest_before_has_its_manifest_again(
    project: Path, run: Run, earlier: State
) -> None:
    """A backup of another commit stands as it stood before the release, and is sound."""
    run("backup")
    git(project, "commit", "--allow-empty", "-m", "More")
    before = state(project)
    assert run("release").code == 0
    assert len(list((project / "backups" / "v1.1.0").glob("*Z*.tar.gz"))) == 2

    assert undo(run).code == 0
    assert state(project) == before
    assert run("verify", "--version", "1.1.0").code == 0


@pytest.mark.parametrize("place", [-1, -200])
def test_a_damaged_backup_of_before_stays_as_it_is(
    project: Path, run: Run, earlier: State, place: int
) -> None:
    """Cut off, or with a broken index: no manifest can be made of it; that is said, and stops nothing."""
    made = archive_of(run("backup", "--json"))
    git(project, "commit", "--allow-empty", "-m", "More")
    run("release")
    data = made.read_bytes()
    made.write_bytes(data[:place] + bytes([data[place] ^ 1]) * (place < -1) + data[place:][1:])
    outcome = undo(run)

    assert outcome.code == 0
    assert f"v1.1.0/{made.name} stays without a manifest" in outcome.err
    assert made.exists()


def test_a_later_backup_of_the_version_stays(project: Path, run: Run, earlier: State) -> None:
    """Only the archive of the release goes."""
    run("release")
    later = archive_of(run("backup", "--json"))
    assert undo(run).code == 0

    assert list(later.parent.glob("*Z*.tar.gz")) == [later]
    assert run("verify", "--version", "1.1.0", "--depth", "quick").code == 0


# --- what is not as the release made it


def test_a_tag_that_was_moved_is_not_touched(project: Path, run: Run, earlier: State) -> None:
    """Nor is anything else then; once it is away, the rest goes."""
    run("release")
    git(project, "tag", "--force", "--annotate", "v1.1.0", "--message", "Release v1.1.0\n\nAnew")
    before, lines = state(project), ledger(project)

    refused(undo(run), 1, "the tag v1.1.0, now at ")
    refused(undo(run, "--dry-run"), 1, "is not the one that the release made")
    assert (state(project), ledger(project)) == (before, lines)
    git(project, "tag", "--delete", "v1.1.0")
    assert "gone before   the tag v1.1.0" in undo(run).out
    assert state(project) == earlier


def test_a_lightweight_tag_in_its_place_is_not_touched(project: Path, run: Run, earlier: State) -> None:
    """The same commit does not make it ours."""
    run("release")
    git(project, "tag", "--force", "v1.1.0", "HEAD")
    refused(undo(run), 1, "is not the one that the release made")


def test_a_tag_made_by_hand_after_a_failed_release_is_not_touched(
    project: Path, run: Run, earlier: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That a release was about to make a tag does not make it ours, where a person made it meanwhile."""

    def fail(*_: object, **__: object) -> None:
        raise ProjectError("git is gone")

    with monkeypatch.context() as patch:
        patch.setattr(Repository, "create_tag", fail)
        assert "git is gone" in run("release").err
    run("tag", "--message", "By hand")
    assert run("release").code == 0
    refused(undo(run), 1, "is not the one that the release made")
    assert git(project, "tag", "-l", "--format=%(contents:subject)", "v1.1.0") == "By hand"


@pytest.mark.parametrize(
    ("old", "new"),
    [("Created backup v1.1.0", "Made backup v1.1.0"), (" bytes, SHA-256", " octets, SHA-256")],
)
def test_a_line_that_was_edited_is_not_taken_out(
    project: Path, run: Run, earlier: State, old: str, new: str
) -> None:
    """It is somebody's words now: nothing goes until they are gone."""
    run("release")
    changelog = project / "CHANGELOG.md"
    changelog.write_text(changelog.read_text().replace(old, new))
    before, lines = state(project), ledger(project)
    refused(undo(run), 1, "was edited; first take it out yourself")
    assert (state(project), ledger(project)) == (before, lines)
    kept = [line for line in changelog.read_text().splitlines(keepends=True) if new not in line]
    changelog.write_text("".join(kept))
    assert undo(run).code == 0
    assert not (project / "backups" / "v1.1.0").exists()


def test_what_a_person_wrote_beside_the_line_stays(project: Path, run: Run, earlier: State) -> None:
    """The changelog grows between a release and its undo; committed or not, only the line goes."""
    run("release")
    changelog = project / "CHANGELOG.md"
    changelog.write_text(changelog.read_text().replace("- A thing", "- A thing\n- Another"))
    git(project, "commit", "-am", "The changelog")
    head = git(project, "rev-parse", "HEAD")

    assert undo(run).code == 0
    assert changelog.read_bytes() == bytes(earlier["CHANGELOG.md"]).replace(  # type: ignore[call-overload]
        b"- A thing", b"- A thing\n- Another"
    )
    assert git(project, "rev-parse", "HEAD") == head


def test_another_changelog_is_not_searched(project: Path, run: Run, earlier: State) -> None:
    """Where the setting has changed since, it says so instead of leaving the line behind."""
    run("release")
    with setting("CHANGELOG", "NEWS.md"):
        refused(undo(run), 1, "the release is noted in CHANGELOG.md, but backup.changelog is NEWS.md")


def test_a_changelog_of_the_releases_own_making_goes(project: Path, run: Run) -> None:
    """Nothing was there before, nothing is there after."""
    git(project, "rm", "-q", "CHANGELOG.md")
    git(project, "commit", "-m", "No changelog")
    run("release")
    assert (project / "CHANGELOG.md").exists()

    assert undo(run).code == 0
    assert not (project / "CHANGELOG.md").exists()


@pytest.mark.parametrize("name", ["theirs.tar.gz", "demo_v1.1.0_20200101T000000Z.tar.gz", "MANIFEST.txt"])
def test_what_the_ledger_only_calls_released_is_not_removed(project: Path, run: Run, name: str) -> None:
    """Forged lines say that the release made a file of somebody else, its digest and all."""
    archive = archive_of(run("release", "--json"))
    theirs = archive.parent / name
    if name != "MANIFEST.txt":
        theirs.write_bytes(b"theirs")
    digest, content = hashlib.sha256(theirs.read_bytes()).hexdigest(), theirs.read_bytes()
    fields = {
        "time": "2026-11-22T21:45:00Z",
        "archive": f"v1.1.0/{name}",
        "sha256": digest,
        "version": "1.1.0",
    }
    with (archive.parents[1] / "ledger.jsonl").open("a") as file:
        file.writelines(json.dumps(fields | {"act": act}) + "\n" for act in ("release", "publish"))
    outcome = undo(run)
    assert outcome.code in (1, 4), outcome
    assert len(outcome.err.splitlines()) == 1
    assert theirs.read_bytes() == content
    assert archive.exists()


def test_an_archive_that_was_damaged_is_not_removed(project: Path, run: Run, earlier: State) -> None:
    """It is not what the release published; once a person removed it, all that speaks of it goes."""
    archive = archive_of(run("release", "--json"))
    archive.write_bytes(archive.read_bytes()[:-1] + b"x")
    before, lines = state(project), ledger(project)
    refused(undo(run), 4, "is not as the release published it")
    assert (state(project), ledger(project)) == (before, lines)
    archive.unlink()

    assert undo(run).code == 0
    assert state(project) == earlier
    assert run("verify", "--all").code == 0


def test_what_clean_removed_is_gone_before(project: Path, run: Run, earlier: State) -> None:
    """The rest of the release is taken back all the same."""
    run("release")
    run("release", "--version", "2.0.0")
    assert run("clean", "--keep", "1").code == 0
    assert "gone before   the backup of v1.1.0" in undo(run).out
    assert git(project, "tag") == "v1.0.0\nv2.0.0"
    assert "v1.1.0 (" not in (project / "CHANGELOG.md").read_text()


def test_a_backup_made_again_is_taken_back_with_the_one_before(
    project: Path, run: Run, earlier: State
) -> None:
    """Two archives and two lines of one release go."""
    first = archive_of(run("release", "--json"))
    sound = first.read_bytes()
    first.write_bytes(sound[:-1] + b"x")
    assert run("verify", "--version", "1.1.0").code == 4
    assert archive_of(run("release", "--json")) != first
    first.write_bytes(sound)

    assert undo(run, "--json").json["result"]["steps"][1]["what"] == f"the backup v1.1.0/{first.name}"
    assert state(project) == earlier


def test_a_signed_tag_of_the_release_goes(project: Path, run: Run, earlier: State, tmp_path: Path) -> None:
    """Signed because git is set so, it is known again; one that a person signed before stays."""
    if shutil.which("ssh-keygen") is None:
        pytest.skip("needs ssh-keygen")
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "key"],
        check=True,
        capture_output=True,
    )
    for name, value in (
        ("gpg.format", "ssh"),
        ("user.signingKey", str(tmp_path / "key")),
        ("tag.gpgSign", "true"),
    ):
        git(project, "config", name, value)
    run("release")
    assert "SSH SIGNATURE" in git(project, "cat-file", "tag", "v1.1.0")
    assert undo(run).code == 0
    assert state(project) == earlier
    assert run("tag", "--sign").code == 0
    run("release")
    assert undo(run).code == 0
    assert git(project, "tag") == "v1.0.0\nv1.1.0"


def test_a_held_store_is_not_touched(project: Path, run: Run, earlier: State) -> None:
    """Nothing is looked at or taken back while another writes."""
    run("release")
    before = state(project)
    with open_store("backups", project).writing("a test"):
        assert undo(run).code == 11
    assert state(project) == before


# --- killed


def kills(project: Path, tmp_path: Path, *arguments: str) -> Iterator[Path]:
    """Yield a copy of the project for each step at which a process was killed, from the first to the last."""
    for step in range(1, 100):
        copy = tmp_path / f"killed-{step}" / project.name
        shutil.copytree(project, copy, symlinks=True)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("KILL_AT", str(step))
            done = invoke(copy, *arguments)
        if done.returncode == 0:
            assert step > 8
            return
        assert done.returncode == -9, done
        yield copy
        shutil.rmtree(copy.parent)


def both_ways(copy: Path, tmp_path: Path) -> tuple[Path, Path]:
    """Return the project twice."""
    other = tmp_path / "other" / copy.name
    shutil.rmtree(other.parent, ignore_errors=True)
    shutil.copytree(copy, other, symlinks=True)
    return copy, other


def test_a_release_killed_anywhere_goes_on_or_back(
    project: Path, run: Run, earlier: State, tmp_path: Path
) -> None:
    """After each step that leaves something: release finishes it with one archive, undo leaves no trace."""
    for copy in kills(project, tmp_path, "release"):
        forward, back = both_ways(copy, tmp_path)
        begun = '"version":"1.1.0"' in ledger(back)
        assert undo(run, "--root", str(back)).code == (0 if begun else 10)
        assert state(back) == earlier
        assert run("release", "--root", str(forward)).code == 0
        assert ledger(forward).count('"act":"publish","archive":"v1.1.0/') == 1
        assert (forward / "CHANGELOG.md").read_text().count("- Created backup v1.1.0") == 1
        assert undo(run, "--root", str(forward)).code == 0
        assert state(forward) == earlier


def test_an_undo_killed_anywhere_goes_on_or_forward(
    project: Path, run: Run, earlier: State, tmp_path: Path
) -> None:
    """After each step: undo again finishes it, release again makes the version whole, and can be undone."""
    assert run("release").code == 0
    for copy in kills(project, tmp_path, "release", "--version", "1.1.0", "--undo"):
        forward, back = both_ways(copy, tmp_path)
        assert undo(run, "--root", str(back)).code == 0
        assert state(back) == earlier
        assert run("release", "--root", str(forward)).code == 0
        assert run("verify", "--root", str(forward), "--version", "1.1.0").code == 0
        assert undo(run, "--root", str(forward)).code == 0
        assert state(forward) == earlier


HAND_WRITTEN = "Backup of 1.1.0\nBuilt on the old server, see ticket 17\n"


@pytest.mark.parametrize("before", ["nothing", "an archive", "a backup of ours"])
def test_what_was_moved_aside_is_brought_back(project: Path, run: Run, earlier: State, before: str) -> None:
    """A manifest that somebody wrote stands where it stood before the release."""
    if before == "a backup of ours":
        assert run("backup").code == 0
        git(project, "commit", "--allow-empty", "-m", "Next")
    folder = project / "backups" / "v1.1.0"
    folder.mkdir(exist_ok=True)
    if before == "an archive":
        (folder / "old.tar.gz").write_bytes(b"old")
    (folder / "MANIFEST.txt").write_text(HAND_WRITTEN)
    there = sorted(os.listdir(folder))

    outcome = run("release")
    assert outcome.code == 0
    assert "was not made here; it was moved to" in outcome.err
    assert (folder / "MANIFEST.theirs.txt").read_text() == HAND_WRITTEN
    assert "would move    what was moved aside, back to v1.1.0/MANIFEST.txt" in undo(run, "--dry-run").out
    assert "moved         what was moved aside, back to v1.1.0/MANIFEST.txt" in undo(run).out
    assert (folder / "MANIFEST.txt").read_text() == HAND_WRITTEN
    assert sorted(os.listdir(folder)) == there
    assert "moved" not in undo(run).out


def test_what_an_earlier_backup_moved_aside_stays_there(project: Path, run: Run, earlier: State) -> None:
    """An undo leads back to what was before the release, not further."""
    folder = project / "backups" / "v1.1.0"
    folder.mkdir()
    (folder / "MANIFEST.txt").write_text(HAND_WRITTEN)
    assert run("backup").code == 0
    ours = (folder / "MANIFEST.txt").read_bytes()
    git(project, "commit", "--allow-empty", "-m", "Next")
    assert run("release").code == 0
    assert undo(run).code == 0
    assert (folder / "MANIFEST.theirs.txt").read_text() == HAND_WRITTEN
    assert (folder / "MANIFEST.txt").read_bytes() == ours
    assert run("verify", "--version", "1.1.0").code == 0
