"""tag and release, as a person runs them: once, again, and after each possible failure."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support import HEEDING, Run, archive_of, git, invoke, refused, setting, unreadable

import tasks
from backup_lib import release as release_module
from backup_lib.errors import StoreError


def test_a_release_is_tagged_backed_up_proved_and_noted(project: Path, run: Run) -> None:
    """One command does all four steps."""
    outcome = run("release", "--version", "1.1.0", "--json")

    assert outcome.code == 0, outcome
    result = outcome.json["result"]
    assert [step["when"] for step in result["steps"]] == ["now"] * 4
    assert git(project, "rev-parse", "v1.1.0^{commit}") == git(project, "rev-parse", "HEAD")
    assert git(project, "cat-file", "-t", "v1.1.0") == "tag"
    assert '"prove"' in (project / "backups" / "ledger.jsonl").read_text()
    note = f"- Created backup v1.1.0 (`{Path(result['archive']).name}`"
    changelog = (project / "CHANGELOG.md").read_text()
    assert changelog.count(note) == 1
    assert changelog.startswith("# Changelog\n\n## [1.1.0] - 2026-11-01\n\n- Created backup")
    assert changelog.endswith("\n\n### Added\n\n- A thing\n")


def test_run_again_it_says_that_all_is_done(project: Path, run: Run) -> None:
    """A second run changes nothing and succeeds."""
    run("release")
    before = {path: path.read_bytes() for path in project.rglob("*") if path.is_file()}
    outcome = run("release")

    assert outcome.code == 0
    assert "v1.1.0 is released already" in outcome.out
    assert {path: path.read_bytes() for path in project.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("step", ["tag_release", "back_up", "verify_backup", "plan_note"])
def test_after_a_failed_step_the_next_run_goes_on_from_there(
    project: Path, run: Run, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """No step is done twice, whichever fails."""

    def fail(*_: object) -> None:
        raise StoreError("the disk is gone")

    with monkeypatch.context() as patch:
        patch.setattr(release_module, step, fail)
        assert run("release").code == 1
    assert run("release").code == 0
    assert len(list((project / "backups" / "v1.1.0").glob("*Z.tar.gz"))) == 1
    acts = [
        json.loads(line)["act"] for line in (project / "backups" / "ledger.jsonl").read_text().splitlines()
    ]
    assert acts == ["tag", "release", "publish", "prove", "note"]
    assert (project / "CHANGELOG.md").read_text().count("- Created backup") == 1


def test_what_a_killed_release_left_of_the_changelog_is_swept(project: Path, run: Run) -> None:
    """A temporary of the changelog neither stays nor makes the tree dirty for the next run."""
    left = project / ".CHANGELOG.md.0a1b2c3d.partial"
    left.write_text("half")

    assert run("release").code == 0
    assert not left.exists()


def test_a_dirty_tree_is_refused_unless_allowed(project: Path, run: Run) -> None:
    """A release is what the commit holds; changed, new and deleted files are named."""
    server = project / "src" / "server.js"
    committed = server.read_text()
    server.write_text("changed\n")
    refused(run("release"), 1, "src/server.js is modified")
    server.write_text(committed)
    (project / "new.txt").write_text("")
    refused(run("release"), 1, "new.txt is untracked")
    (project / "new.txt").unlink()
    server.unlink()
    refused(run("release"), 1, "src/server.js is deleted")
    assert git(project, "tag") == ""
    assert not (project / "backups").exists()
    outcome = run("release", "--allow-dirty")
    assert outcome.code == 0
    assert "src/server.js is deleted" in outcome.err


def test_a_changed_file_that_no_backup_holds_is_dirt_too(project: Path, run: Run) -> None:
    """The tag speaks of all that is committed, whatever the rules leave out."""
    (project / "build").mkdir()
    (project / "build" / "pack.js").write_text("pack\n")
    git(project, "add", "-f", "build")
    git(project, "commit", "-m", "Pack")
    (project / "build" / "pack.js").write_text("changed\n")
    with setting("EXCLUDE", "build/"):
        refused(run("release"), 1, "build/pack.js is modified")
        git(project, "checkout", "build")
        assert run("release").code == 0
    assert "1 file left out" in run("verify").out


@pytest.mark.parametrize("path", ["dist/index.js", "build/deep/er/pack.js", "web/node_modules/fixture/x.js"])
def test_a_release_holds_all_that_is_committed(project: Path, run: Run, tmp_path: Path, path: str) -> None:
    """Where the product is committed it is in the backup, and what was built beside it is not."""
    file = project / path
    file.parent.mkdir(parents=True)
    file.write_text("run()\n")
    git(project, "add", "-f", path)
    git(project, "commit", "-m", "Product")
    (project / ".gitignore").write_text("node_modules/\n.env\nbackups/\n*.map\n")
    git(project, "commit", "-qam", "Maps")
    file.with_suffix(".map").write_text("map\n")
    outcome = run("release")

    assert outcome.code == 0, outcome
    assert "as committed, plus 1 ignored file" in outcome.err
    assert "left out" not in outcome.err
    assert run("restore", "--to", str(tmp_path / "to")).code == 0
    there = tmp_path / "to" / "heymarket-endpoint" / path
    assert there.read_text() == "run()\n"
    assert [each.name for each in there.parent.iterdir()] == [there.name]


def test_a_release_says_which_rule_leaves_out_what_is_committed(project: Path, run: Run) -> None:
    """In one line, also where nothing is done; a refusal is one line all the same."""
    line = "Left out by a rule of yours: 2 committed files, by *.js (setting exclude)"
    with setting("EXCLUDE", "*.js"):
        assert line in run("release", "--dry-run").err.splitlines()
        outcome = run("release")
        assert outcome.err.splitlines().count(line) == 1
        assert "2 files left out" in run("verify").out
        (project / "new.txt").write_text("")
        refused(run("release", "--version", "1.2.0"), 1, "new.txt is untracked")


@pytest.mark.parametrize("flag", ["skip-worktree", "assume-unchanged"])
def test_a_file_that_git_does_not_look_at_is_compared(project: Path, run: Run, flag: str) -> None:
    """One that equals the commit is released; one that differs, or is gone, is refused with its flag."""
    server, config = project / "src" / "server.js", project / "src" / "app.config.js"
    git(project, "update-index", f"--{flag}", "src/server.js", "src/app.config.js")
    committed = config.read_text()
    config.write_text(committed.replace("80", "81"))
    assert git(project, "status", "--porcelain") == ""
    differs = f"src/app.config.js differs from the commit, though git is told not to look ({flag})"
    refused(run("release"), 1, differs)
    config.unlink()
    refused(
        run("release"), 1, f"src/app.config.js is not in the tree, though git is told not to look ({flag})"
    )
    config.write_text(committed)
    os.utime(server, (1, 1))
    outcome = run("release")
    assert outcome.code == 0, outcome
    assert "as committed, plus 1 ignored file" in outcome.err
    assert run("verify", "--depth", "restore").code == 0


def test_a_submodule_that_git_does_not_look_at_is_compared(project: Path, run: Run, tmp_path: Path) -> None:
    """A change in it is dirt, whatever the flag."""
    library = tmp_path / "library"
    library.mkdir()
    git(library, "init")
    (library / "code").write_text("1\n")
    git(library, "add", "-A")
    git(library, "commit", "-m", "Library")
    git(project, "-c", "protocol.file.allow=always", "submodule", "add", library.as_uri(), "sub")
    git(project, "commit", "-m", "Submodule")
    git(project, "update-index", "--assume-unchanged", "sub")
    (project / "sub" / "code").write_text("2\n")
    refused(
        run("release"), 1, "sub differs from the commit, though git is told not to look (assume-unchanged)"
    )
    git(project / "sub", "checkout", "-q", "code")
    assert run("release").code == 0


def _linked_store(project: Path, disk: Path, store: str) -> None:
    """Let a path in the project lead to a folder elsewhere."""
    disk.mkdir(exist_ok=True)
    link = project / store
    link.parent.mkdir(exist_ok=True, parents=True)
    link.symlink_to(disk)


@pytest.mark.parametrize("tracked", [False, True])
@pytest.mark.parametrize("store", ["backups", "src/deep/store", "{project}/backups", "backups/sub"])
def test_a_link_to_the_store_is_part_of_it(
    project: Path, run: Run, tmp_path: Path, store: str, tracked: bool
) -> None:
    """It is no dirt and in no archive, whether git tracks it or not: a restored tree leads to no store."""
    named = store.format(project=project)
    link = named.removeprefix(f"{project}/").removesuffix("/sub")
    _linked_store(project, tmp_path / "disk", link)
    if tracked:
        git(project, "add", "-f", link)
        git(project, "commit", "-m", "Link")
    with setting("STORE", named):
        outcome = run("release", "--new-store")
        assert outcome.code == 0, outcome
        assert run("restore", "--to", str(tmp_path / "to")).code == 0
        assert ("1 file left out" in run("verify").out) == tracked
        (project / "src" / "server.js").write_text("next\n")
        git(project, "commit", "-qam", "Next")
        assert run("release", "--version", "1.2.0").code == 0
    restored = tmp_path / "to" / "heymarket-endpoint"
    assert (restored / "src" / "server.js").exists()
    assert not os.path.lexists(restored / link)
    assert list((tmp_path / "disk").rglob("*Z.tar.gz"))


def test_a_link_to_a_link_to_the_store_is_part_of_it(project: Path, run: Run, tmp_path: Path) -> None:
    """Each link on the way is."""
    _linked_store(project, tmp_path / "disk", "links/to")
    (project / "backups").symlink_to("links/to")
    assert run("release", "--new-store").code == 0
    assert run("restore", "--to", str(tmp_path / "to")).code == 0
    names = {path.name for path in (tmp_path / "to" / "heymarket-endpoint").iterdir()}
    assert "backups" not in names
    assert list((tmp_path / "to" / "heymarket-endpoint" / "links").iterdir()) == []


@pytest.mark.parametrize("change", ["new", "modified", "deleted", "staged", "unlooked"])
def test_a_store_that_git_tracks_is_no_dirt(project: Path, run: Run, change: str) -> None:
    """A team whose copy is git commits its backups: what became of them refuses no release."""
    assert run("backup", "--version", "1.0.0").code == 0
    git(project, "add", "-f", "backups/v1.0.0", "backups/ledger.jsonl")
    git(project, "commit", "-m", "Backups")
    count = len(git(project, "ls-files", "backups").splitlines())
    manifest = project / "backups" / "v1.0.0" / "MANIFEST.txt"
    if change == "new":
        (project / ".gitignore").write_text("node_modules/\n.env\n")
        git(project, "commit", "-qam", "Show the store")
    elif change == "modified":
        git(project, "update-index", "--chmod=+x", "backups/v1.0.0/MANIFEST.txt")
    elif change == "deleted":
        assert run("backup", "--version", "1.0.1", "clean", "--keep", "1").code == 0
        assert not manifest.exists()
    elif change == "staged":
        git(project, "rm", "-q", "--cached", "backups/ledger.jsonl")
    else:
        git(project, "update-index", "--skip-worktree", "backups/ledger.jsonl")
    outcome = run("release")

    assert outcome.code == 0, outcome
    assert f"as committed, {count} files left out, plus 1 ignored file" in outcome.err
    assert "deleted" not in outcome.err
    assert "by a rule of yours" not in outcome.err


def test_a_restored_tree_is_no_dirt(project: Path, run: Run) -> None:
    """What restore makes at the root is neither archived nor dirt, though git tracks it, but counted."""
    assert run("backup").code == 0
    assert run("restore").code == 0
    restored = project / "restored" / "v1.1.0" / "heymarket-endpoint"
    git(project, "add", "-f", "restored")
    git(project, "commit", "-m", "Restored")
    (restored / "src" / "server.js").write_text("changed\n")
    (restored / ".env").unlink()
    outcome = run("release")

    assert outcome.code == 0, outcome
    assert "7 files left out" in outcome.err


def test_its_own_store_and_note_are_no_dirt(project: Path, run: Run) -> None:
    """The line that the last release wrote, and the store, do not stand in the way of the next."""
    (project / ".gitignore").write_text("node_modules/\n.env\n")
    git(project, "commit", "-am", "Show the store to git")
    assert run("release", "--version", "1.1.0").code == 0
    (project / "src" / "server.js").write_text("next\n")
    git(project, "commit", "-m", "Next", "src")

    assert run("release", "--version", "1.2.0").code == 0
    (project / "CHANGELOG.md").write_text((project / "CHANGELOG.md").read_text() + "\nMore\n")
    refused(run("release", "--version", "1.3.0"), 1, "CHANGELOG.md is modified")


def test_a_note_that_took_the_place_of_a_committed_one_is_no_dirt(project: Path, run: Run) -> None:
    """A version that is released again has another archive, and another line."""
    assert run("release").code == 0
    git(project, "commit", "-qam", "Note")
    git(project, "tag", "-d", "v1.1.0")
    assert run("release").code == 0
    assert git(project, "status", "--porcelain") == "M CHANGELOG.md"
    assert run("release", "--version", "1.1.1").code == 0


def test_a_backup_of_an_edited_changelog_is_none_of_the_release(project: Path, run: Run) -> None:
    """Whoever edited it: it is not as committed, though a note alone would not count."""
    text = (project / "CHANGELOG.md").read_text()
    (project / "CHANGELOG.md").write_text(text + "prose\n")
    assert run("backup").code == 0
    assert run("tag").code == 0
    refused(run("release"), 1, "the tree is not as committed: CHANGELOG.md is modified")
    (project / "CHANGELOG.md").write_text(text)
    assert run("release").code == 0
    assert len(list((project / "backups" / "v1.1.0").glob("*Z*.tar.gz"))) == 2


def test_a_changelog_behind_a_link_is_no_dirt(project: Path, run: Run) -> None:
    """The note goes into the file that the link leads to, and does not count there either."""
    (project / "docs").mkdir()
    (project / "CHANGELOG.md").rename(project / "docs" / "C.md")
    (project / "CHANGELOG.md").symlink_to("docs/C.md")
    git(project, "add", "-A")
    git(project, "commit", "-m", "Link")
    assert run("release").code == 0
    assert run("release", "--version", "1.1.1").code == 0
    (project / "docs" / "C.md").write_text("prose\n")
    refused(run("release", "--version", "1.1.2"), 1, "docs/C.md is modified")


def test_a_submodule_with_changes_is_dirt(project: Path, run: Run, tmp_path: Path) -> None:
    """At another commit, with a changed file, or with a new one: git status shows all of that."""
    library = tmp_path / "library"
    library.mkdir()
    git(library, "init")
    (library / "code").write_text("1\n")
    git(library, "add", "-A")
    git(library, "commit", "-m", "Library")
    git(project, "-c", "protocol.file.allow=always", "submodule", "add", library.as_uri(), "lib/sub")
    git(project, "commit", "-m", "Submodule")
    sub = project / "lib" / "sub"
    (sub / "new").write_text("new\n")
    refused(run("release"), 1, "lib/sub is a submodule with changes")
    git(sub, "add", "-A")
    git(sub, "commit", "-m", "Ahead")
    refused(run("release"), 1, "lib/sub is a submodule with changes")
    git(project, "commit", "-qam", "Newer")
    (sub / "code").write_text("2\n")
    refused(run("release"), 1, "lib/sub is a submodule with changes")
    git(sub, "checkout", "-q", "code")
    assert "ignored file, and 2 files in submodules" in run("release").err


def test_a_fifo_in_place_of_the_changelog_is_not_waited_for(project: Path, run: Run) -> None:
    """It ends the release with one line, when it is read; the backup is there."""
    git(project, "rm", "-q", "CHANGELOG.md")
    (project / ".gitignore").write_text("CHANGELOG.md\nbackups/\n.env\nnode_modules/\n")
    git(project, "commit", "-qam", "None")
    os.mkfifo(project / "CHANGELOG.md")
    outcome = run("release")
    assert outcome.code == 1
    assert "it is no regular file" in outcome.err.splitlines()[-1]


def test_what_has_the_name_of_a_latest_link_stays(project: Path, run: Run) -> None:
    """A store that was copied with its links followed has files there; they are not ours to write over."""
    latest = archive_of(run("release", "--json")).parent / "heymarket-endpoint_v1.1.0_latest.tar.gz"
    assert latest.is_symlink()
    latest.unlink()
    latest.write_bytes(b"mine")
    assert run("clean", "--keep", "5").code == 0
    assert run("backup").code == 0
    assert latest.read_bytes() == b"mine"


@pytest.mark.parametrize("more", ["nothing", "a second commit", "a file", "the changelog"])
def test_released_is_released(project: Path, run: Run, more: str) -> None:
    """After the changelog was committed there is nothing to do; with more in HEAD it says when and where."""
    first = run("release", "--json").json["result"]
    git(project, "commit", "-qam", "Note the release")
    if more == "a second commit":
        assert run("release", "--version", "1.2.0").code == 0
        git(project, "commit", "-qam", "Note the next release")
    elif more != "nothing":
        changed = project / ("CHANGELOG.md" if more == "the changelog" else "src/server.js")
        changed.write_text(changed.read_text() + "more\n")
        git(project, "commit", "-qam", "More")
    before = sorted((project / "backups").rglob("*"))
    outcome = run("release", "--version", "1.1.0", "--json")
    if more in ("nothing", "a second commit"):
        assert outcome.code == 0
        assert outcome.json["result"]["archive"] == first["archive"]
        assert {step["when"] for step in outcome.json["result"]["steps"]} == {"before"}
        assert "v1.1.0 is released already" in run("release", "--version", "1.1.0").out
    else:
        where = f"v1.1.0 is released already: {first['commit'][:12]}, on "
        refused(run("release", "--version", "1.1.0"), 1, where)
        refused(run("release", "--version", "1.1.0", "--allow-dirty"), 1, first["archive"])
    assert sorted((project / "backups").rglob("*")) == before


@pytest.mark.parametrize(
    ("file", "text", "stated"),
    [
        ("package.json", '{"name": "endpoint", "version": "1.0.0"}', "1.0.0 in package.json"),
        (
            "pyproject.toml",
            '[project]\nversion = "2.0.0"\n',
            "1.1.0 in package.json, 2.0.0 in pyproject.toml",
        ),
        ("VERSION", "3.0\n", "1.1.0 in package.json, 3.0 in VERSION"),
    ],
)
def test_another_version_than_the_project_states_is_said(
    project: Path, run: Run, file: str, text: str, stated: str
) -> None:
    """In one line, in JSON and in the manifest; strict, it is refused before anything is made."""
    (project / file).write_text(text)
    git(project, "add", "-A")
    git(project, "commit", "-m", "State")
    with setting("STRICT", "true"):
        for task in ("release", "backup", "tag"):
            refused(
                run(task, "--version", "1.5.0"), 1, f"the version is 1.5.0, but the project states {stated}"
            )
    assert git(project, "tag") == ""
    assert not (project / "backups").exists()
    outcome = run("release", "--version", "1.5.0", "--json")
    assert outcome.code == 0
    assert outcome.err.count(f"Note: the version is 1.5.0, but the project states {stated}\n") == 1
    result = outcome.json["result"]
    assert result["stated"] == stated
    manifest = Path(result["archive"]).with_name("MANIFEST.txt").read_text()
    assert f"# Stated:   {stated}\n" in manifest
    assert run("verify", "--version", "1.5.0").code == 0
    assert run("backup", "--version", "1.5.0", "--json").json["result"]["stated"] == stated
    assert run("tag", "--version", "1.5.0").err.count("Note: ") == 1


def test_what_agrees_or_is_no_version_of_its_own_is_not_said(project: Path, run: Run) -> None:
    """The version that is stated, a daily backup and a safety backup contradict nothing."""
    with setting("STRICT", "true"):
        for command in (("release",), ("backup", "--daily"), ("restore", "--version", "1.1.0", "--in-place")):
            outcome = run(*command)
            assert outcome.code == 0
            assert "states" not in outcome.err


@pytest.mark.parametrize("name", ["docs/log.md", "CHANGELOG.md/x", "src/server.js/log.md"])
def test_a_changelog_that_cannot_be_made_is_said_before_the_tag(project: Path, run: Run, name: str) -> None:
    """Its folder is not there: a look can know that."""
    with setting("CHANGELOG", name):
        assert run("release").code == 1
        assert len(run("release").err.splitlines()) == 1
    assert git(project, "tag") == ""
    assert not (project / "backups").exists()


def as_nobody(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``invoke`` as a user who may not read everything, whoever runs the tests."""
    command = [sys.executable, "-m", "invoke", *arguments]
    environment = os.environ | {"PYTHONPATH": str(Path(tasks.__file__).parent)}
    if os.geteuid() == 0:  # without the right to pass over modes, root is a user like any other
        command = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all", *command]
    return subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="setpriv is wanted, to be no root")
@pytest.mark.parametrize("closed", ["folder", "file", "nested"])
def test_what_cannot_be_read_is_said_before_the_tag(project: Path, run: Run, closed: str) -> None:
    """A database that belongs to somebody else: the cure is a commit, and the tag would stand before it."""
    shutil.copy(tasks.__file__, project / "tasks.py")
    (project / ".gitignore").write_text((project / ".gitignore").read_text() + "data/\n__pycache__/\n")
    git(project, "add", "-A")
    git(project, "commit", "-m", "Ignore the data")
    path = project / "data" / ("a/b/pg" if closed == "nested" else "pg")
    path.parent.mkdir(parents=True)
    path.mkdir() if closed == "folder" else path.write_text("x")
    path.chmod(0)
    done = as_nobody(project, "release")
    assert done.returncode == 1, done
    where = path.relative_to(project)
    assert (
        f"v1.1.0 is not released: {where} is unreadable (Permission denied); make it readable" in done.stderr
    )
    assert "leave it out with a line in .backupignore, and commit that" in done.stderr
    assert git(project, "tag") == ""
    assert not (project / "backups").exists()
    (project / ".backupignore").write_text("data/\n")
    git(project, "add", ".backupignore")
    git(project, "commit", "-m", "Leave the database out")
    assert as_nobody(project, "release").returncode == 0
    path.chmod(0o700)


def test_a_half_made_release_whose_cure_needs_a_commit_names_undo(project: Path, run: Run) -> None:
    """A file that fails only when it is read comes after the tag: undo, then the cure, then the release."""
    with unreadable(project / ".env"):
        outcome = run("release")
    assert outcome.code == 3
    assert (
        "first take back what is made with: invoke release --version 1.1.0 --undo; then leave it out"
        in outcome.err
    )
    assert run("release", "--undo", "--version", "1.1.0").code == 0
    (project / ".backupignore").write_text(".env\n")
    git(project, "add", ".backupignore")
    git(project, "commit", "-m", "Leave it out")
    assert run("release").code == 0


def test_a_tag_at_another_commit_is_refused(project: Path, run: Run) -> None:
    """A version is one commit."""
    git(project, "tag", "v1.1.0")
    git(project, "commit", "--allow-empty", "-m", "Second")

    refused(run("release"), 1, "the tag v1.1.0 is at")
    refused(run("tag"), 1, "the tag v1.1.0 is at")
    assert not (project / "backups").exists()


def test_a_tag_of_ones_own_is_taken(project: Path, run: Run) -> None:
    """A tag that is at HEAD already is not made again."""
    git(project, "tag", "v1.1.0")
    steps = run("release", "--json").json["result"]["steps"]

    assert [step["when"] for step in steps] == ["before", "now", "now", "now"]


def test_a_damaged_backup_is_made_again(project: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A backup that did not prove sound does not count: the next run makes another."""
    with monkeypatch.context() as patch:
        patch.setattr(release_module, "verify_backup", lambda *_: (_ for _ in ()).throw(StoreError("gone")))
        run("release")
    archive = next((project / "backups" / "v1.1.0").glob("*Z.tar.gz"))
    archive.write_bytes(archive.read_bytes()[:-1] + b"x")
    assert run("release").code in (0, 4)
    assert run("release").code == 0
    assert run("verify").code == 0


def test_a_release_that_lacks_a_file_is_not_finished(project: Path, run: Run) -> None:
    """What could not be read is no release; once it can be read, the next run makes it whole."""
    with unreadable(project / ".env"):
        outcome = run("release")
    assert outcome.code == 3
    assert "v1.1.0 is not released: .env is unreadable" in outcome.err
    assert "Created backup" not in (project / "CHANGELOG.md").read_text()
    assert run("release").code == 0


def test_a_dry_run_says_what_is_left_and_does_nothing(project: Path, run: Run) -> None:
    """Every step is told, none is done."""
    outcome = run("release", "--dry-run")

    assert outcome.code == 0
    assert outcome.out.count("would do") == 4
    assert git(project, "tag") == ""
    assert not (project / "backups").exists()


def test_without_a_repository_or_commit_it_is_refused(project: Path, run: Run, tmp_path: Path) -> None:
    """There must be something to tag."""
    bare = tmp_path / "no-git"
    bare.mkdir()
    (bare / "VERSION").write_text("1.0.0\n")
    for task in ("release", "tag"):
        refused(run(task, "--root", str(bare)), 1, "git init")
    git(bare, "init")
    for task in ("release", "tag"):
        refused(run(task, "--root", str(bare)), 1, "git commit")


def test_a_tag_is_annotated_with_its_message(project: Path, run: Run) -> None:
    """--message is the tag's own."""
    assert "Tagged v1.1.0" in run("tag", "--message", "The first one").out
    assert git(project, "tag", "-l", "--format=%(contents:subject)") == "The first one"
    assert "Already tagged" in run("tag").out


def test_a_dry_tag_makes_none(project: Path, run: Run) -> None:
    """would tag, in so many words."""
    assert "Would tag v1.1.0" in run("tag", "--dry-run").out
    assert git(project, "tag") == ""


def test_a_signature_that_cannot_be_made_is_one_clear_line(project: Path, run: Run) -> None:
    """--sign without a key says so."""
    outcome = run("tag", "--sign")

    assert outcome.code == 1
    assert len(outcome.err.splitlines()) == 1
    assert git(project, "tag") == ""


def test_tasks_can_be_chained(project: Path, run: Run) -> None:
    """release and clean, backup and verify: one command line."""
    run("release", "--version", "1.0.0")
    outcome = run("release", "--version", "1.1.0", "clean", "--keep", "1")
    assert outcome.code == 0, outcome
    assert [path.name for path in (project / "backups").glob("v*")] == ["v1.1.0"]
    assert run("backup", "verify").code == 0


def test_help_is_for_a_newcomer(project: Path, run: Run) -> None:
    """Every task and every flag says what it is for; -h never runs the task."""
    for task in ("tag", "backup", "verify", "restore", "clean", "release"):
        for line in ("-h", "--help"):
            outcome = run(task, line)
            assert outcome.code == 0
            assert f"{task} [--options]" in outcome.out
            assert "none" not in outcome.out
    assert not (project / "backups").exists()
    assert git(project, "tag") == ""


def test_a_failure_of_the_machine_is_told_with_its_file(
    project: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the system does not do, where nobody thought of it, is no bug of ours, and is not called one."""

    def fail(*_: object) -> None:
        raise OSError(errno.ENFILE, os.strerror(errno.ENFILE), str(project / "nowhere"))

    monkeypatch.setattr(release_module, "release", fail)
    refused(run("release"), 1, f"release: Too many open files in system: {project / 'nowhere'}; 'invoke")


def test_an_unexpected_error_is_one_line_and_debug_shows_where(
    project: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No traceback reaches a user; a developer can ask for it."""

    def fail(*_: object) -> None:
        raise RuntimeError("never thought of")

    monkeypatch.setattr(release_module, "release", fail)
    refused(run("release"), 1, "unexpected RuntimeError: never thought of")
    monkeypatch.setenv("INVOKE_DEBUG", "1")
    with pytest.raises(RuntimeError):
        run("release")


def test_errors_are_an_object_too(project: Path, run: Run) -> None:
    """With --json a failed run prints one object, and the line all the same."""
    outcome = run("verify", "--json")

    assert outcome.code == 10
    assert outcome.json["exit"] == 10
    assert "no backup" in outcome.json["error"]
    assert "no backup" in outcome.err


@pytest.mark.parametrize(
    "text", ["backup: [", "backup: 5", "backup:\n  hooks: npm\n", "backup:\n  exclude: 5\n"]
)
def test_a_configuration_that_cannot_be_used_is_one_clear_line(project: Path, text: str) -> None:
    """Broken YAML, or a value where a table belongs, is told without a traceback."""
    shutil.copy(tasks.__file__, project / "tasks.py")
    (project / "invoke.yaml").write_text(text)
    done = invoke(project, "backup")

    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "Traceback" not in done.stderr


def test_a_reader_that_goes_away_undoes_nothing(project: Path) -> None:
    """With stdout closed, or a pipe nobody reads, a backup is made all the same and nothing complains."""
    shutil.copy(tasks.__file__, project / "tasks.py")
    environment = os.environ | {"PYTHONPATH": str(Path(tasks.__file__).parent)}
    for end in (">&-", "| true", "2>&-", "<&- >&- 2>&-"):
        command = f"set -o pipefail; {sys.executable} -m invoke backup {end}"
        done = subprocess.run(["bash", "-c", command], env=environment, stderr=subprocess.PIPE, check=False)
        assert (done.returncode, done.stderr) == (0, b"")


def test_a_wrong_root_is_one_clear_line(project: Path, run: Run) -> None:
    """--root is a folder."""
    refused(run("backup", "--root", "nowhere"), 1, "--root nowhere is not a folder")


@pytest.mark.parametrize("number", [1, 2, 15])
def test_a_signal_ends_a_run_with_its_code_and_nothing_left(project: Path, number: int) -> None:
    """A terminal that is closed is 129, Ctrl-C 130, SIGTERM 143; nothing half-made stays."""
    recipes = Path(tasks.__file__).read_text()
    stop = (
        f"{HEEDING}import os, time, backup_lib.archive.intake as intake\n"
        f"def stop(*_): os.kill(os.getpid(), {number}); time.sleep(0.02)\n"
        "intake.open_source = stop\n"
    )
    (project / "tasks.py").write_text(f"{recipes}\n{stop}")
    done = invoke(project, "backup")
    assert done.returncode == 128 + number, done
    assert "Traceback" not in done.stderr
    left = {path.name for path in (project / "backups").iterdir()}
    assert left == {".lock", ".gitignore", "ledger.jsonl"}
    assert (project / "backups" / "ledger.jsonl").read_bytes() == b""
