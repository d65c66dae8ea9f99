"""backup, as a person runs it."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest
from support import Run, archive_of, clock_at, git, invoke, refused, setting, unreadable

import tasks
from backup_lib.archive import writer


def test_it_says_where_the_archive_lies_and_that_it_is_not_proved(project: Path, run: Run) -> None:
    """A backup tells where it is, and claims no more than was done."""
    outcome = run("backup", "--version", "1.1.0")

    assert outcome.code == 0
    assert "Archive: backups/v1.1.0/heymarket-endpoint_v1.1.0_" in outcome.out
    assert "Not proved yet" in outcome.out
    assert outcome.err == ""


def test_the_archive_holds_ignored_configuration_and_no_packages(project: Path, run: Run) -> None:
    """What git ignores is in the backup, unless it can be made again."""
    archive = archive_of(run("backup", "--json"))

    with tarfile.open(archive) as tar:
        names = set(tar.getnames())
    assert "heymarket-endpoint/.env" in names
    assert "heymarket-endpoint/src/server.js" in names
    assert not any("node_modules" in name or ".git/" in name or "backups" in name for name in names)


def test_backups_hold_secrets_so_only_their_owner_reads_them(project: Path, run: Run) -> None:
    """Folders that are made are 0700, files 0600."""
    archive = archive_of(run("backup", "--json"))

    assert archive.stat().st_mode & 0o777 == 0o600
    assert archive.parent.stat().st_mode & 0o777 == 0o700
    assert archive.parent.parent.stat().st_mode & 0o777 == 0o700
    assert (archive.parent / "MANIFEST.txt").stat().st_mode & 0o777 == 0o600


def test_the_manifest_proves_the_extracted_tree_with_stock_tools(
    project: Path, run: Run, tmp_path: Path
) -> None:
    """tar and sha256sum are all it takes."""
    for form in ("gz", "zst"):
        archive = archive_of(run("backup", "--json", "--format", form))
        folder = tmp_path / form
        folder.mkdir()
        subprocess.run(["tar", "-xf", archive, "-C", folder], check=True)
        manifest = archive.parent / "MANIFEST.txt"
        subprocess.run(["sha256sum", "--check", "--strict", "--quiet", manifest], cwd=folder, check=True)
        (folder / "heymarket-endpoint" / ".env").write_text("other\n")
        done = subprocess.run(
            ["sha256sum", "--check", "--strict", "--quiet", manifest],
            cwd=folder,
            capture_output=True,
            check=False,
        )
        assert done.returncode == 1


def test_the_manifest_tells_how_the_files_stand_to_the_commit(project: Path, run: Run) -> None:
    """Modified, untracked and ignored files are told apart."""
    (project / "src" / "server.js").write_text("changed\n")
    (project / "new.txt").write_text("new\n")
    archive = archive_of(run("backup", "--json"))

    text = (archive.parent / "MANIFEST.txt").read_text()
    assert "# Git:      4 as committed, 1 modified, 1 untracked, 1 ignored\n" in text
    assert f"# Commit:   {git(project, 'rev-parse', 'HEAD')}\n" in text
    assert "# Branch:   main\n" in text
    assert "# Excluded: .git node_modules/ backups/\n" in text


def test_two_backups_in_one_second_do_not_overwrite_each_other(project: Path, run: Run) -> None:
    """The same second gets another name."""
    archives = {archive_of(run("backup", "--json")) for _ in range(4)}

    assert len(archives) == 4
    assert all(archive.exists() for archive in archives)


def test_the_latest_link_points_to_the_newest(project: Path, run: Run) -> None:
    """A relative link leads to the newest archive of a version."""
    run("backup")
    archive = archive_of(run("backup", "--json"))

    link = archive.parent / "heymarket-endpoint_v1.1.0_latest.tar.gz"
    assert os.readlink(link) == archive.name


def test_the_same_epoch_gives_the_same_bytes(
    project: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two backups of one tree with SOURCE_DATE_EPOCH set are byte-identical."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    (project / "backups").mkdir()  # else the first one makes it, which changes the time of the top folder
    for form in ("gz", "zst"):
        first = archive_of(run("backup", "--json", "--format", form))
        second = archive_of(run("backup", "--json", "--format", form))

        assert first != second
        assert first.read_bytes() == second.read_bytes()
        assert "_2023" not in first.name


def test_a_bad_epoch_is_one_clear_line(project: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """SOURCE_DATE_EPOCH is seconds since 1970 or nothing."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "yesterday")

    refused(run("backup"), 1, "SOURCE_DATE_EPOCH")
    assert not list((project / "backups").glob("v*"))


def test_dry_run_says_what_would_be_left_out_and_writes_nothing(project: Path, run: Run) -> None:
    """A dry run shows each path that a rule drops, and leaves no trace; Invoke's own --dry is the same."""
    for flag in ("--dry-run", "--dry"):
        outcome = run("backup", flag)
        assert outcome.code == 0
        assert "Would back up 6 files" in outcome.out
        assert "node_modules/  by node_modules/ (built-in)" in outcome.out
        assert not (project / "backups").exists()


def test_a_dry_run_counts_what_the_backup_then_holds(project: Path, run: Run) -> None:
    """The files, their bytes and how they stand to the commit are told beforehand."""
    (project / "src" / "server.js").write_text("changed\n")
    (project / "new.txt").write_text("new\n")
    would = run("backup", "--dry-run", "--json").json["result"]
    done = run("backup", "--json").json["result"]
    told = ("version", "commit", "files", "bytes", "states", "left_out", "proved")
    assert [would[name] for name in told] == [done[name] for name in told]
    assert would["proved"] is False
    assert would["states"] == {"committed": 4, "modified": 1, "untracked": 1, "ignored": 1}


def test_what_is_deleted_is_counted(project: Path, run: Run) -> None:
    """Files of the commit that are not in the tree are told, where there is a commit."""
    (project / "src" / "server.js").unlink()
    archive = archive_of(run("backup", "--json"))
    assert "# Deleted:  1 committed files\n" in (archive.parent / "MANIFEST.txt").read_text()
    assert " as committed, 1 file deleted" in run("verify").out
    shutil.rmtree(project / ".git")
    archive = archive_of(run("backup", "--json"))
    text = (archive.parent / "MANIFEST.txt").read_text()
    assert "Deleted" not in text
    assert "Left out" not in text


def test_a_daily_backup_is_proved_before_it_replaces_the_one_before(project: Path, run: Run) -> None:
    """One file a day, index inside, proved at once."""
    first = run("backup", "--daily", "--json").json["result"]
    (project / "src" / "server.js").write_text("changed\n")
    second = run("backup", "--daily", "--json").json["result"]

    assert first["archive"] == second["archive"]
    assert first["proved"]
    assert second["proved"]
    assert first["sha256"] != second["sha256"]
    assert run("verify").code == 0
    assert [path.name for path in (project / "backups").glob("*.tar.gz")] == [Path(first["archive"]).name]


def test_a_daily_backup_needs_no_version(project: Path, run: Run) -> None:
    """A project without any version can be backed up by the day."""
    (project / "package.json").unlink()

    assert run("backup", "--daily").code == 0
    refused(run("backup"), 1, "version")


def test_a_project_without_git_is_backed_up_all_the_same(project: Path, run: Run) -> None:
    """git is not needed for a backup."""
    subprocess.run(["rm", "-rf", project / ".git"], check=True)
    outcome = run("backup", "--root", ".", "--json")

    assert outcome.code == 0
    text = (archive_of(outcome).parent / "MANIFEST.txt").read_text()
    assert "# Commit" not in text
    assert "# Git" not in text
    assert run("verify", "--root", ".").code == 0


def test_from_a_sub_folder_it_is_the_same_project(
    project: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The root is that of the work tree, wherever one stands in it."""
    monkeypatch.chdir(project / "src")

    assert archive_of(run("backup", "--json")).parent == project / "backups" / "v1.1.0"


@pytest.mark.parametrize("version", ["1.1", "-h", "one", "1.1.0 ", "01.1.0", "", "1.1.0\n", "v"])
def test_a_version_that_is_not_semantic_is_refused(project: Path, run: Run, version: str) -> None:
    """Only semantic versions name backups."""
    refused(run("backup", f"--version={version}"), 1, "version")
    assert not (project / "backups").exists()


def test_a_leading_v_is_dropped(project: Path, run: Run) -> None:
    """v2.0.0 is 2.0.0."""
    assert archive_of(run("backup", "--version", "v2.0.0", "--json")).parent.name == "v2.0.0"


def test_sockets_and_fifos_are_skipped_and_named(project: Path, run: Run) -> None:
    """What is no file cannot hang a backup, nor does it make it incomplete."""
    os.mkfifo(project / "pipe")
    outcome = run("backup")

    assert outcome.code == 0
    assert "skipped  pipe: fifo" in outcome.out


def test_an_unreadable_file_is_named_and_the_exit_code_is_3(project: Path, run: Run) -> None:
    """What could not be read is said, in the output and in the manifest; the rest is published."""
    with unreadable(project / "src" / "server.js"):
        outcome = run("backup")

    assert outcome.code == 3
    assert "unreadable  src/server.js: Permission denied" in outcome.out
    manifest = next((project / "backups" / "v1.1.0").glob("MANIFEST.txt")).read_text()
    assert "# Problem:  unreadable src/server.js" in manifest
    assert run("verify").code == 0


def test_an_empty_selection_is_refused(project: Path, run: Run) -> None:
    """A backup of nothing is no backup."""
    (project / ".backupignore").write_text("*\n")

    refused(run("backup"), 1, "no file to back up")


def test_a_store_that_is_the_project_or_a_file_is_refused(project: Path, run: Run) -> None:
    """A store is a folder of its own."""
    (project / "file").write_text("")
    with setting("STORE", "."):
        refused(run("backup"), 1, "the store cannot be the project itself")
    with setting("STORE", "file"):
        refused(run("backup"), 1, "not a folder")


def test_a_store_outside_the_project_works(project: Path, run: Run, tmp_path: Path) -> None:
    """The store may lie anywhere."""
    with setting("STORE", str(tmp_path / "elsewhere")):
        for command in ("backup", "release"):
            for flag in ((), ("--dry-run",)):
                refused(
                    run(command, *flag), 1, "mount the disk, or make a new store there with: invoke backup"
                )
        assert git(project, "tag") == ""
        assert not (tmp_path / "elsewhere").exists()
        archive = archive_of(run("backup", "--new-store", "--json"))
        assert archive.parent.parent == tmp_path / "elsewhere"
        assert run("backup").code == 0
        assert run("verify").code == 0


def test_another_process_in_the_store_is_said_and_exits_11(project: Path, run: Run) -> None:
    """Two backups do not write at once."""
    run("backup")
    lock = os.open(project / "backups" / ".lock", os.O_RDWR)
    fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        refused(run("backup"), 11, "store")
        refused(run("verify"), 11, "store")
    finally:
        os.close(lock)
    assert run("backup").code == 0


def test_an_unknown_setting_is_named(project: Path, run: Run) -> None:
    """A typo in the configuration is one clear line."""
    shutil.copy(tasks.__file__, project / "tasks.py")
    (project / "invoke.yaml").write_text("backup:\n  kepe: 3\n")
    done = invoke(project, "backup")

    assert done.returncode == 1
    assert "unknown setting backup.kepe" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("name", "value"), [("KEEP", "abc"), ("FORMAT", "zip"), ("LEVEL", "9"), ("KEEP", "0")]
)
def test_a_setting_of_the_wrong_type_is_named(project: Path, run: Run, name: str, value: str) -> None:
    """A wrong value says which setting it is."""
    with setting(name, value):
        refused(run("backup"), 1, name.lower())


def test_a_store_belongs_to_one_project(project: Path, run: Run) -> None:
    """Another project would mix up versions, days and what is newest."""
    run("backup")
    with setting("PROJECT", "another"):
        refused(run("backup"), 1, "holds backups of heymarket-endpoint")


def test_a_folder_of_sources_cannot_become_the_store(project: Path, run: Run) -> None:
    """What is in the store is not in a backup, so a store holds nothing else."""
    with setting("STORE", "src"):
        refused(run("backup"), 1, "holds other things")
    assert sorted(path.name for path in (project / "src").iterdir()) == ["app.config.js", "server.js"]


def test_committed_files_that_a_rule_leaves_out_are_said(project: Path, run: Run) -> None:
    """A backup that lacks files of the commit says how many, and which rule of a person's leaves them out."""
    with setting("EXCLUDE", "*.js"):
        for flag in ("--dry-run", "--note=x"):
            lines = run("backup", flag).out.splitlines()
            assert any("2 committed files left out" in line for line in lines)
            assert "Left out by a rule of yours: 2 committed files, by *.js (setting exclude)" in lines
        assert "# Left out: 2 committed files\n" in next(project.glob("backups/v*/MANIFEST.txt")).read_text()


def test_many_rules_that_leave_out_what_is_committed_are_one_line(project: Path, run: Run) -> None:
    """The ones that leave out most are named, the others counted; JSON has them all."""
    for number, folder in enumerate(("docs", "a/docs", "b", "c", "d", "e"), 1):
        for file in range(number):
            (project / folder).mkdir(parents=True, exist_ok=True)
            (project / folder / f"{file}.txt").write_text("x\n")
    (project / "dist").mkdir()
    (project / "dist" / "new").write_text("nobody tracks it\n")
    git(project, "add", "-A", ":!dist")
    (project / ".backupignore").write_text("docs/\n/b/*\n/c\n/node_modules/\n")
    (project / "e" / ".backupignore").write_text("*\n")
    git(project, "commit", "-m", "Many")
    with setting("EXCLUDE", "d/"):
        outcome = run("backup")
        told = run("backup", "--json").json["result"]

    assert told["left_out_by"] == {
        "* (e/.backupignore:1)": 6,
        "d/ (setting exclude)": 5,
        "/c (.backupignore:3)": 4,
        "/b/* (.backupignore:2)": 3,
        "docs/ (.backupignore:1)": 3,
    }
    assert told["left_out"] == 21
    assert (
        "Left out by rules of yours: 21 committed files, 6 by * (e/.backupignore:1), "
        "5 by d/ (setting exclude), 4 by /c (.backupignore:3), 6 by 2 more rules"
    ) in outcome.out.splitlines()


def test_what_is_committed_is_in_the_backup(project: Path, run: Run) -> None:
    """A built-in pattern drops what git does not track, and the dry run names it file by file."""
    (project / "dist").mkdir()
    for name in ("index.js", "index.js.map"):
        (project / "dist" / name).write_text("x\n")
    (project / "target").mkdir()
    (project / "target" / "app").write_text("x\n")
    (project / "Cargo.toml").write_text("")
    git(project, "add", "-f", "dist/index.js", "Cargo.toml")
    git(project, "commit", "-m", "Product")
    outcome = run("backup", "--dry-run")
    archive = archive_of(run("backup", "--json"))

    assert "  left out  dist/index.js.map  by dist/ (built-in)" in outcome.out.splitlines()
    assert "  left out  target/  by target/ beside Cargo.toml (built-in)" in outcome.out.splitlines()
    assert "committed file left out" not in outcome.out
    with tarfile.open(archive) as tar:
        names = set(tar.getnames())
    assert "heymarket-endpoint/dist/index.js" in names
    assert not names & {"heymarket-endpoint/dist/index.js.map", "heymarket-endpoint/target"}


def test_without_git_everything_that_can_be_made_again_is_left_out(project: Path, run: Run) -> None:
    """Nobody tracks it there."""
    (project / "dist").mkdir()
    (project / "dist" / "index.js").write_text("x\n")
    git(project, "add", "-f", "dist")
    git(project, "commit", "-m", "Product")
    shutil.rmtree(project / ".git")

    assert (
        "  left out  dist/  by dist/ (built-in)" in run("backup", "--dry-run", "--root", ".").out.splitlines()
    )


@pytest.mark.parametrize(
    "flags",
    [
        ("backup", "--daily", "--version", "1.0.0"),
        ("verify", "--all", "--version", "1.1.0"),
        ("restore", "--to", "x", "--in-place"),
        ("restore", "--archive", "x", "--version", "1.1.0"),
    ],
)
def test_flags_that_contradict_each_other_are_refused(
    project: Path, run: Run, flags: tuple[str, ...]
) -> None:
    """No flag is silently ignored."""
    refused(run(*flags), 1, "exclude each other")


@pytest.mark.parametrize("flags", [("restore", "--to="), ("restore", "--path="), ("backup", "--version=")])
def test_a_flag_without_its_value_is_refused(project: Path, run: Run, flags: tuple[str, ...]) -> None:
    """An empty value is a mistake, not a default."""
    refused(run(*flags), 1, "needs a value")


def test_a_wrong_choice_names_the_choices(project: Path, run: Run) -> None:
    """--format and the setting of that name say what they take."""
    refused(run("backup", "--format", "rar"), 1, "--format takes gz or zst, not 'rar'")
    with setting("LEVEL", "9"):
        refused(run("backup"), 1, "setting backup.level takes fast, normal or small, not '9'")


def test_an_unreadable_backup_before_does_not_stop_the_next(project: Path, run: Run) -> None:
    """What cannot be copied is made anew; the ledger confirms the manifest of the unreadable one."""
    archive = archive_of(run("backup", "--json"))
    with unreadable(archive):
        assert run("backup").code == 0
    assert [path.name for path in archive.parent.glob("MANIFEST*")] == ["MANIFEST.txt"]


def test_a_hard_link_is_not_given_the_content_of_what_replaced_its_file(
    project: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the first of two names is replaced between scan and read, the other keeps its own content."""
    first, second = project / "src" / "a.txt", project / "src" / "b.txt"
    first.write_text("original\n")
    os.link(first, second)
    (project / "edited").write_text("edited\n")
    real = writer.write_archive

    def replacing(*given: Any) -> Any:
        os.replace(project / "edited", first)
        return real(*given)

    monkeypatch.setattr(writer, "write_archive", replacing)
    assert run("backup").code == 3  # "edited" has vanished
    assert run("restore", "--to", str(tmp_path / "to")).code == 0
    restored = tmp_path / "to" / "heymarket-endpoint" / "src"
    assert (restored / "a.txt").read_text() == "edited\n"
    assert (restored / "b.txt").read_text() == "original\n"


def test_a_note_that_is_no_text_is_refused(project: Path, run: Run) -> None:
    """The shell gives any bytes."""
    refused(run("backup", "--note", "a\udcff"), 1, "--note takes text in UTF-8")


def tracked_after_add_all(project: Path) -> list[str]:
    """Return what ``git add -A`` takes of the store."""
    git(project, "add", "-A")
    return git(project, "ls-files", "backups").splitlines()


@pytest.mark.parametrize("ignored", ["", "backups/v*\n", "backups/*.tar.gz\n", "*.tar.gz\n", "backups\n"])
@pytest.mark.parametrize("there", [False, True])
def test_git_does_not_take_backups(project: Path, run: Run, ignored: str, there: bool) -> None:
    """.env is in them: a new store, and one that git does not ignore whole, brings its own .gitignore."""
    (project / ".gitignore").write_text(f"node_modules/\n.env\n{ignored}")
    if there:
        (project / "backups").mkdir()
        (project / "backups" / "README.md").write_text("Backups\n")
    assert run("backup").code == 0
    assert run("backup", "--daily").code == 0
    assert set(tracked_after_add_all(project)) <= {"backups/README.md"}
    own = project / "backups" / ".gitignore"
    assert own.exists() == (not there or ignored != "backups\n")
    assert not own.exists() or own.read_text() == "*\n"


@pytest.mark.parametrize("text", ["", "*\n!README.md\n", "v*\n"])
def test_a_gitignore_that_is_there_stays(project: Path, run: Run, text: str) -> None:
    """A person wrote it; if it does not ignore the backups, one line says so."""
    (project / ".gitignore").write_text("node_modules/\n.env\n")
    (project / "backups").mkdir()
    (project / "backups" / ".gitignore").write_text(text)
    outcome = run("backup")
    assert outcome.code == 0
    assert (project / "backups" / ".gitignore").read_text() == text
    assert ("git does not ignore the backups in" in outcome.err) == (not text.startswith("*"))


@pytest.mark.parametrize(
    ("ignored", "command"),
    [
        ("*.tar.gz\nMANIFEST.txt\nledger.jsonl\n.lock\n", ("backup", "--format", "zst")),
        ("backups/2023-1[01]*\nbackups/v*\nbackups/ledger.jsonl\n.lock\n", ("backup", "--daily")),
        ("backups/v1.*\nbackups/2*\n.lock\n", ("backup", "--version", "2.0.0")),
    ],
)
def test_git_is_asked_about_the_names_that_come(
    project: Path, run: Run, ignored: str, command: tuple[str, ...]
) -> None:
    """Patterns that happen to ignore other backups do not ignore these."""
    (project / ".gitignore").write_text(f"node_modules/\n.env\n{ignored}")
    (project / "backups").mkdir()
    (project / "backups" / "README.md").write_text("Backups\n")
    with clock_at(1_701_800_000):
        assert run(*command).code == 0
    assert set(tracked_after_add_all(project)) <= {"backups/README.md"}


def test_an_incomplete_daily_backup_replaces_no_complete_one(project: Path, run: Run) -> None:
    """What became unreadable since the morning is only in that of the morning."""
    with clock_at(1_700_000_000):
        morning = archive_of(run("backup", "--daily", "--json"))
        with unreadable(project / ".env"):
            first = run("backup", "--daily", "--json")
            (project / "src" / "server.js").write_text("evening\n")
            second = run("backup", "--daily", "--json")
        evening = archive_of(run("backup", "--daily", "--json"))
    assert (first.code, second.code) == (3, 3)
    assert [archive_of(first).name, archive_of(second).name, evening.name] == ["2023-11-14-2.tar.gz"] * 3
    with tarfile.open(morning) as tar:
        assert "heymarket-endpoint/.env" in tar.getnames()
    assert sorted(path.name for path in (project / "backups").glob("2*")) == [
        "2023-11-14-2.tar.gz",
        "2023-11-14.tar.gz",
    ]
    assert not [path for path in (project / "backups").iterdir() if path.name.endswith(".partial")]
    assert run("verify", "--all").code == 0


@pytest.mark.parametrize("number", ["9" * 5000, "9" * 240, "999999999", "10000", "-2"])
def test_no_name_in_the_ledger_stops_a_daily_backup(project: Path, run: Run, number: str) -> None:
    """Whatever number somebody wrote there."""
    with clock_at(1_700_000_000):
        run("backup", "--daily")
        line = {"time": "x", "act": "publish", "archive": f"2023-11-14-{number}.tar.gz", "sha256": "0"}
        with (project / "backups" / "ledger.jsonl").open("a") as ledger:
            ledger.write(json.dumps(line) + "\n")
        for _ in range(2):
            assert run("backup", "--daily").code == 0
    assert (project / "backups" / "2023-11-14.tar.gz").exists()


def test_a_ledger_that_cannot_be_written_to_is_found_first(project: Path, run: Run, tmp_path: Path) -> None:
    """Nothing is published that could not be recorded."""
    (tmp_path / "theirs").write_text("")
    (project / "backups").mkdir()
    os.link(tmp_path / "theirs", project / "backups" / "ledger.jsonl")
    refused(run("backup"), 1, "it has another name (a hard link), so it is not written to")
    assert set(os.listdir(project / "backups")) <= {".lock", "ledger.jsonl"}
    assert run("release").code == 1
    assert git(project, "tag") == ""


def test_a_store_that_is_ignored_but_for_a_readme_is_left_as_it_is(project: Path, run: Run) -> None:
    """``backups/*`` with ``!backups/README.md`` ignores backups."""
    (project / ".gitignore").write_text("node_modules/\n.env\nbackups/*\n!backups/README.md\n")
    (project / "backups").mkdir()
    (project / "backups" / "README.md").write_text("Backups\n")
    assert run("backup").code == 0
    assert not (project / "backups" / ".gitignore").exists()


@pytest.mark.parametrize("taken", ["*.tar.gz", "MANIFEST.txt", "*.tar.zst"])
def test_a_team_that_commits_its_backups_is_told_and_left_alone(project: Path, run: Run, taken: str) -> None:
    """Its copy is git, or LFS: nothing is written, and one line says what goes into the history."""
    (project / ".gitignore").write_text("node_modules/\n.env\n")
    form = "zst" if taken.endswith("zst") else "gz"
    assert run("backup", "--format", form).code == 0
    (project / "backups" / ".gitignore").unlink()
    git(project, "add", "-f", *map(str, (project / "backups").rglob(taken)))
    git(project, "commit", "-m", "Keep backups in git")
    outcome = run("backup", "--format", form)
    assert outcome.code == 0
    assert "goes into the history, .env included" in outcome.err
    assert not (project / "backups" / ".gitignore").exists()
    assert run("backup").err.count("goes into the history") == 1


@pytest.mark.skipif(shutil.which("npm") is None, reason="npm is wanted, to pack")
@pytest.mark.parametrize("npmignore", [False, True])
def test_npm_does_not_pack_backups(project: Path, run: Run, npmignore: bool) -> None:
    """npm reads the .gitignore of each folder, unless there is an .npmignore beside."""
    (project / ".gitignore").write_text("node_modules/\n")
    if npmignore:
        (project / ".npmignore").write_text("src/app.config.js\n")
    assert run("backup").code == 0
    assert run("restore").code == 0
    packed = subprocess.run(
        ["npm", "pack", "--dry-run", "--json", "--offline"], cwd=project, capture_output=True, check=True
    )
    paths = [file["path"] for file in json.loads(packed.stdout)[0]["files"]]
    assert "src/server.js" in paths
    assert not [path for path in paths if path.startswith(("backups", "restored"))]


@pytest.mark.parametrize(
    ("zone", "day"), [("UTC", "2023-11-14"), ("EAST-14", "2023-11-15"), ("WEST+12", "2023-11-14")]
)
def test_a_daily_backup_is_named_by_the_day_of_the_place(
    project: Path, run: Run, zone: str, day: str
) -> None:
    """The ledger keeps the instant in UTC and the offset; SOURCE_DATE_EPOCH names nothing."""
    for more in ({}, {"SOURCE_DATE_EPOCH": "315532800"}):
        with clock_at(1_700_000_000, zone), pytest.MonkeyPatch.context() as patch:
            for name, value in more.items():
                patch.setenv(name, value)
            outcome = run("backup", "--daily", "--json")
        assert archive_of(outcome).name == f"{day}.tar.gz"
    published = [line for line in ledger_lines(project) if line["act"] == "publish"]
    assert {line["created"] for line in published} == {"2023-11-14T22:13:20Z"}
    assert {line["offset"] for line in published} == {
        {"UTC": "+00:00", "EAST-14": "+14:00", "WEST+12": "-12:00"}[zone]
    }
    assert f"{day} (" in run("verify").out


def ledger_lines(project: Path) -> list[dict[str, Any]]:
    """Return the records of the ledger."""
    return [json.loads(line) for line in (project / "backups" / "ledger.jsonl").read_text().splitlines()]


def test_no_clock_refuses_a_daily_backup(project: Path, run: Run) -> None:
    """Cron in UTC, a person in Berlin after midnight, a flight west, a clock that was ten years ahead."""
    moments = [
        (1_700_000_000, "UTC", "2023-11-14.tar.gz"),  # 22:13
        (1_700_003_700, "Europe/Berlin", "2023-11-15.tar.gz"),  # 00:15 the next day
        (1_700_004_000, "UTC", "2023-11-14-2.tar.gz"),  # 23:20, still the day before
        (1_700_004_300, "UTC", "2023-11-14-2.tar.gz"),  # the same day again
        (2_100_000_000, "UTC", "2036-07-18.tar.gz"),
        (1_700_004_600, "UTC", "2023-11-14-3.tar.gz"),
    ]
    for seconds, zone, name in moments:
        (project / "src" / "server.js").write_text(f"{seconds}\n")
        with clock_at(seconds, zone):
            outcome = run("backup", "--daily", "--json")
        assert outcome.code == 0, outcome
        assert archive_of(outcome).name == name
    assert "The clock says 2023-11-14T23:30:00Z, but the newest backup was made at 2036-07-18" in outcome.err
    assert len(outcome.err.splitlines()) == 1
    assert run("verify", "--all").code == 0
    newest = run("verify", "--version", "2023-11-14", "--json").json["result"]
    assert newest["archive"] == "2023-11-14-3.tar.gz"
    second = run("verify", "--version", "2023-11-14-2", "--json").json["result"]
    assert second["archive"] == "2023-11-14-2.tar.gz"


def test_a_daily_archive_of_an_older_script_is_kept_and_said(project: Path, run: Run) -> None:
    """Every first user has these on the day they move here."""
    (project / "backups").mkdir()
    with clock_at(1_700_000_000):
        (project / "backups" / "2023-11-14.tar.gz").write_bytes(b"theirs")
        outcome = run("backup", "--daily", "--json")
    assert outcome.json["result"]["aside"] == "2023-11-14.theirs.tar.gz"
    assert "was not made here; it was moved to" in outcome.err
    assert (project / "backups" / "2023-11-14.theirs.tar.gz").read_bytes() == b"theirs"


@pytest.mark.parametrize("edit", ["a sum", "a line more", "a fact"])
def test_an_edited_manifest_is_not_written_over(project: Path, run: Run, edit: str) -> None:
    """Each line is asked of the archive itself: one that it does not confirm is a person's."""
    folder = archive_of(run("backup", "--json")).parent
    text = (folder / "MANIFEST.txt").read_text()
    edited = {
        "a sum": text.replace("  heymarket-endpoint/.env\n", "  heymarket-endpoint/.env2\n"),
        "a line more": text + "# see ticket 17\n",
        "a fact": text.replace("# Branch:   main", "# Branch:   hotfix"),
    }[edit]
    assert edited != text
    (folder / "MANIFEST.txt").write_text(edited)
    assert run("backup").code == 0
    assert (folder / "MANIFEST.theirs.txt").read_text() == edited
    assert run("backup").code == 0
    assert sorted(path.name for path in folder.glob("MANIFEST*")) == ["MANIFEST.theirs.txt", "MANIFEST.txt"]


@pytest.mark.parametrize(
    "command",
    [
        ("backup", "--note", "a\udcff"),
        ("backup", "--version", f"1.0.0-{'x' * 250}"),
        ("backup", "--format", "rar"),
        ("release", "--version", f"1.0.0-{'x' * 250}"),
        ("verify",),
        ("restore",),
        ("clean", "--keep", "1"),
        ("release", "--undo", "--version", "1.1.0"),
        ("backup", "--dry-run"),
        ("release", "--dry-run"),
    ],
)
def test_refused_and_tried_dry_nothing_is_made(project: Path, run: Run, command: tuple[str, ...]) -> None:
    """No store, no tag, no temporary file."""
    before = sorted(path for path in project.rglob("*") if ".git/" not in f"{path}/")
    assert run(*command).code in (0, 1, 10)
    assert sorted(path for path in project.rglob("*") if ".git/" not in f"{path}/") == before
    assert git(project, "tag") == ""


@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES, errno.EMFILE])
def test_a_daily_backup_of_ours_that_cannot_be_read_is_not_taken_for_theirs(
    project: Path, run: Run, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """It stays under its name, the run is refused, and the next one replaces it."""
    first = archive_of(run("backup", "--daily", "--json"))
    before = first.read_bytes()

    def fail(path: Path) -> str:
        raise OSError(number, os.strerror(number), str(path))

    with monkeypatch.context() as patch:
        patch.setattr("backup_lib.store.theirs.sha256_of", fail)
        refused(run("backup", "--daily"), 1, first.name)
    assert first.read_bytes() == before
    assert not list(first.parent.glob("*.theirs*"))
    assert run("verify", "--all").code == 0
    assert archive_of(run("backup", "--daily", "--json")) == first
