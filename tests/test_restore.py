"""restore, as a person runs it."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import subprocess
import sys
import time
from contextlib import AbstractContextManager
from pathlib import Path

import pathspec
import pytest
from support import Run, archive_of, git, refused, setting, unreadable

from backup_lib import clock
from backup_lib.project import reading
from backup_lib.store.local import LocalStore


@pytest.fixture
def archive(project: Path, run: Run) -> Path:
    """A published backup."""
    return archive_of(run("backup", "--json"))


def tree(folder: Path) -> dict[str, bytes | str]:
    """Return every file and link below a folder, by path."""
    return {
        str(path.relative_to(folder)): os.readlink(path) if path.is_symlink() else path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


def test_without_a_target_it_makes_a_new_folder_and_says_so(archive: Path, project: Path, run: Run) -> None:
    """The default overwrites nothing."""
    outcome = run("restore")

    assert outcome.code == 0
    assert "to restored/v1.1.0" in outcome.out
    restored = project / "restored" / "v1.1.0" / "heymarket-endpoint"
    assert (restored / ".env").read_text() == "SECRET=1\n"
    refused(run("restore"), 1, "would be overwritten")


def test_it_is_the_tree_that_was_backed_up(archive: Path, project: Path, run: Run, tmp_path: Path) -> None:
    """Whole means whole, even after the project is gone."""
    before = {name: data for name, data in tree(project).items() if not name.startswith(SKIPPED)}
    for name in before:
        (project / name).unlink()

    assert run("restore", "--version", "1.1.0", "--to", str(tmp_path / "new")).code == 0
    assert tree(tmp_path / "new" / "heymarket-endpoint") == before


SKIPPED = (".git/", "backups/", "node_modules/")


@pytest.mark.parametrize("form", ["gz", "zst"])
def test_stock_tools_extract_the_same_tree(project: Path, run: Run, tmp_path: Path, form: str) -> None:
    """GNU tar and bsdtar give what restore gives: names, modes, links and times."""
    (project / "link").symlink_to("src/server.js")
    (project / "outside").symlink_to("/etc/hostname")
    os.link(project / "package.json", project / "hard.json")
    (project / "empty").mkdir(mode=0o750)
    (project / ("long " * 40)).write_text("x")
    os.utime(project / "src" / "server.js", (1, 1))
    archive = archive_of(run("backup", "--json", "--format", form))
    assert run("restore", "--to", str(tmp_path / "ours")).code == 0
    for tool in ("tar", "bsdtar"):
        folder = tmp_path / tool
        folder.mkdir()
        subprocess.run([tool, "-xpf", archive, "-C", folder], check=True)
        assert listing(folder / "heymarket-endpoint") == listing(tmp_path / "ours" / "heymarket-endpoint")
        subprocess.run(["diff", "-r", "--no-dereference", folder, tmp_path / "ours"], check=True)


def listing(folder: Path) -> str:
    """Return what GNU find says of every path."""
    form = "%P %y %m %n %Ts %l\n"
    done = subprocess.run(
        ["find", ".", "-printf", form], cwd=folder, check=True, capture_output=True, text=True
    )
    return "\n".join(sorted(done.stdout.splitlines()))


def test_globs_choose_what_is_restored(archive: Path, run: Run, tmp_path: Path) -> None:
    """Patterns work as in .gitignore, at any depth, and may be repeated."""
    to = tmp_path / "part"
    assert run("restore", "--to", str(to), "--path", "*.json", "--path", "*.config.js").code == 0
    assert set(tree(to)) == {"heymarket-endpoint/package.json", "heymarket-endpoint/src/app.config.js"}


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("src/", {"src/server.js", "src/app.config.js"}),
        ("/package.json", {"package.json"}),
        ("heymarket-endpoint/src/server.js", {"src/server.js"}),
        ("src/**/*.js", {"src/server.js", "src/app.config.js"}),
    ],
)
def test_a_path_may_be_a_folder_or_anchored(
    archive: Path, run: Run, tmp_path: Path, pattern: str, names: set[str]
) -> None:
    """A folder stands for what is in it; a leading slash is the project's root."""
    assert run("restore", "--to", str(tmp_path / "p"), "--path", pattern, "--strip-components", "1").code == 0
    assert set(tree(tmp_path / "p")) == names


def test_a_path_that_matches_nothing_is_refused(archive: Path, run: Run, tmp_path: Path) -> None:
    """To restore nothing is no success."""
    refused(run("restore", "--to", str(tmp_path / "p"), "--path", "*.cobol"), 1, "*.cobol")
    assert not (tmp_path / "p").exists()


def test_only_the_configuration_comes_back(archive: Path, run: Run, tmp_path: Path) -> None:
    """--config-only restores configuration, ignored by git or not, and no sources."""
    assert run("restore", "--to", str(tmp_path / "c"), "--config-only", "--strip-components", "1").code == 0
    assert set(tree(tmp_path / "c")) == {".env", ".gitignore", "package.json", "src/app.config.js"}


def test_the_configuration_is_what_the_settings_say(archive: Path, run: Run, tmp_path: Path) -> None:
    """backup.config_patterns decides."""
    with setting("CONFIG_PATTERNS", "*.md"):
        assert (
            run("restore", "--to", str(tmp_path / "c"), "--config-only", "--strip-components", "1").code == 0
        )
    assert set(tree(tmp_path / "c")) == {"CHANGELOG.md"}


def test_a_backup_that_is_removed_just_before_it_is_restored(
    archive: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a clean took between the look for it and the lock is said to be gone."""
    real = LocalStore.reading

    def reading(store: LocalStore, doing: str) -> AbstractContextManager[None]:
        archive.unlink()
        return real(store, doing)

    monkeypatch.setattr(LocalStore, "reading", reading)
    refused(run("restore", "--to", str(tmp_path / "to")), 10, "was removed just now")


def test_overwriting_must_be_asked_for(archive: Path, run: Run, tmp_path: Path) -> None:
    """never refuses, if-changed writes only what differs, always writes all."""
    to = tmp_path / "to"
    run("restore", "--to", str(to))
    server = to / "heymarket-endpoint" / "src" / "server.js"
    env = to / "heymarket-endpoint" / ".env"
    server.write_text("mine\n")
    refused(run("restore", "--to", str(to)), 1, "--overwrite if-changed")
    assert server.read_text() == "mine\n"
    inode = env.stat().st_ino
    changed = run("restore", "--to", str(to), "--overwrite", "if-changed", "--json").json["result"]
    assert (changed["files"], changed["unchanged"]) == (1, 5)
    assert server.read_text() == "require('http');\n"
    assert env.stat().st_ino == inode
    assert run("restore", "--to", str(to), "--overwrite", "always", "--json").json["result"]["files"] == 6
    assert env.stat().st_ino != inode
    refused(run("restore", "--overwrite", "maybe"), 1, "--overwrite takes")


def test_missing_files_are_added_without_being_asked(archive: Path, run: Run, tmp_path: Path) -> None:
    """Into a folder that has none of the files, nothing stands in the way."""
    to = tmp_path / "to"
    to.mkdir()
    (to / "other").write_text("other")

    assert run("restore", "--to", str(to)).code == 0
    assert (to / "other").read_text() == "other"


def test_in_place_makes_a_safety_backup_and_says_how_to_go_back(
    archive: Path, project: Path, run: Run
) -> None:
    """A restore over the project can be taken back with the command it prints."""
    server = project / "src" / "server.js"
    server.write_text("broken\n")
    outcome = run("restore", "--version", "1.1.0", "--in-place", "--json")
    assert outcome.code == 0
    assert server.read_text() == "require('http');\n"
    result = outcome.json["result"]
    assert Path(result["safety"]).exists()
    command = result["go_back"].split()
    assert command[:2] == ["invoke", "restore"]
    assert run(*command[1:]).code == 0
    assert server.read_text() == "broken\n"


@pytest.mark.parametrize("broken", ["<<<<<<<\n", '{"name": "@heymarket/endpoint", "version": "1.0"}'])
def test_in_place_mends_what_states_the_version(archive: Path, project: Path, run: Run, broken: str) -> None:
    """A package.json that is broken, or states another kind of version, is no reason not to bring it back."""
    package = project / "package.json"
    sound = package.read_text()
    package.write_text(broken)
    assert run("backup", "--daily").code == 0
    dry = run("restore", "--version", "1.1.0", "--in-place", "--dry-run")
    assert dry.code == 0, dry
    outcome = run("restore", "--version", "1.1.0", "--in-place", "--path", "package.json", "--json")
    assert outcome.code == 0, outcome
    assert package.read_text() == sound
    assert run(*outcome.json["result"]["go_back"].split()[1:]).code == 0
    assert package.read_text() == broken


@pytest.mark.skipif(sys.platform != "linux", reason="it takes a file whose reading fails")
def test_in_place_wants_to_read_what_states_the_version(
    archive: Path, project: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A package.json that cannot be read is not a broken one: nothing is restored."""
    server = project / "src" / "server.js"
    server.write_text("new\n")

    def failing(fd: int, most: int) -> bytes:
        os.close(fd)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(reading, "read_regular", failing)
    refused(
        run("restore", "--version", "1.1.0", "--in-place"), 1, "reading package.json failed: Input/output"
    )
    assert server.read_text() == "new\n"


def test_in_place_a_link_that_leads_out_gives_way(archive: Path, project: Path, run: Run) -> None:
    """What states the version is as good as broken then, and comes back."""
    package = project / "package.json"
    package.unlink()
    package.symlink_to("/proc/self/mem")
    assert run("restore", "--version", "1.1.0", "--in-place").code == 0
    assert '"1.1.0"' in package.read_text()


def test_each_restore_in_place_has_a_way_back_of_its_own(
    archive: Path, project: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where two are made within a second, or the clock stands still; and from another folder."""
    monkeypatch.setattr(clock, "_seconds", lambda: 1_795_383_900)
    server, config = project / "src" / "server.js", project / "src" / "app.config.js"
    server.write_text("new server\n")
    config.write_text("new config\n")
    monkeypatch.chdir(project.parent)
    backs = []
    for path in ("src/server.js", "src/app.config.js"):
        wanted = ("--root", str(project), "restore", "--version", "1.1.0", "--in-place", "--path", path)
        outcome = run(*wanted[2:], *wanted[:2], "--json")
        assert outcome.code == 0, outcome
        backs.append(outcome.json["result"]["go_back"].split()[1:])
    assert run(*backs[1]).code == 0
    assert (server.read_text(), config.read_text()) == ("require('http');\n", "new config\n")
    assert run(*backs[0]).code == 0
    assert (server.read_text(), config.read_text()) == ("new server\n", "new config\n")


def test_a_pattern_that_is_none_is_one_clear_line(archive: Path, run: Run) -> None:
    """It says what is wrong with it."""
    refused(run("restore", "--path", "[z-a]"), 1, "--path cannot be used: bad character range z-a")


def test_in_place_wants_a_safety_backup_that_lacks_nothing(archive: Path, project: Path, run: Run) -> None:
    """A file that cannot be read is named, not the fifo that no backup holds; nothing is written over."""
    os.mkfifo(project / "fifo")
    server = project / "src" / "server.js"
    (project / "src" / "app.config.js").write_text("changed\n")
    with unreadable(server):
        outcome = run("restore", "--in-place")
    assert outcome.code == 1
    assert "the safety backup lacks src/server.js (" in outcome.err
    assert (project / "src" / "app.config.js").read_text() == "changed\n"


@pytest.mark.parametrize("more", [(), ("--overwrite", "always"), ("--dry-run",)])
def test_in_place_writes_over_nothing_that_no_safety_backup_holds(
    project: Path, run: Run, more: tuple[str, ...]
) -> None:
    """A rule that came after the backup keeps a file out of the safety backup: it stays as it is."""
    data, link = project / "data", project / "data" / "link"
    data.mkdir()
    (data / "same").write_text("same\n")
    (data / "db").write_text("old\n")
    link.symlink_to("db")
    run("backup")
    (project / ".backupignore").write_text("data/\n")
    arguments = ("restore", "--version", "1.1.0", "--in-place", *more)
    assert run(*arguments).code == 0

    (data / "db").write_text("new\n")
    outcome = run(*arguments)
    assert (outcome.code, outcome.out) == (1, "")
    assert "data/db would be overwritten" in outcome.err.splitlines()[-1]
    assert (data / "db").read_text() == "new\n"
    (data / "db").write_text("old\n")
    link.unlink()
    link.symlink_to("same")
    assert "data/link would be overwritten" in run(*arguments).err
    assert os.readlink(link) == "same"


@pytest.mark.parametrize("to", ["backups", "backups/v1.1.0", "backups/v9.9.9", ".git/hooks", "link/new"])
def test_nothing_is_restored_into_the_store_or_a_repository(
    archive: Path, project: Path, run: Run, to: str
) -> None:
    """Neither into what is there nor as something new, by whatever name."""
    (project / "link").symlink_to("backups/v1.1.0")
    before = sorted(project.rglob("*"))
    outcome = run("restore", "--to", to, "--overwrite", "always")
    refused(outcome, 1, f"{to} lies in the store or a git repository")
    assert sorted(project.rglob("*")) == before


def test_a_safety_backup_is_not_the_latest(archive: Path, project: Path, run: Run) -> None:
    """What was broken when it was saved does not become what restore brings back by default."""
    run("restore", "--in-place")

    assert run("verify", "--json").json["result"]["archive"] == f"v1.1.0/{archive.name}"


def test_a_damaged_archive_restores_nothing(archive: Path, run: Run, tmp_path: Path) -> None:
    """A restore gives the whole tree as it was, or no folder at all."""
    data = bytearray(archive.read_bytes())
    data[len(data) // 3] ^= 0xFF
    archive.write_bytes(data)

    assert run("restore", "--to", str(tmp_path / "d")).code == 4
    assert list(tmp_path.glob("*d*/heymarket*")) == []
    assert not (tmp_path / "d").exists()
    assert not list(tmp_path.glob(".d.*"))


def test_a_dry_run_writes_nothing(archive: Path, project: Path, run: Run) -> None:
    """A dry run says what would be restored, and where."""
    outcome = run("restore", "--dry-run")
    assert outcome.code == 0
    assert "Would restore 6 files" in outcome.out
    assert not (project / "restored").exists()
    run("restore", "--in-place", "--dry-run")
    assert len(list((project / "backups").glob("v*"))) == 1


def test_setup_and_test_run_the_projects_own_commands(archive: Path, run: Run, tmp_path: Path) -> None:
    """Hooks run in the restored project, and their failure is the restore's."""
    with setting("HOOKS_SETUP", "touch was-set-up"), setting("HOOKS_TEST", "test -f was-set-up"):
        outcome = run("restore", "--to", str(tmp_path / "h"), "--setup", "--test")
    assert outcome.code == 0, outcome
    assert "Ran: touch was-set-up" in outcome.out
    assert (tmp_path / "h" / "heymarket-endpoint" / "was-set-up").exists()
    with setting("HOOKS_TEST", "false"):
        refused(run("restore", "--to", str(tmp_path / "i"), "--test"), 1, "ended with 1")
    refused(run("restore", "--to", str(tmp_path / "j"), "--test"), 1, "no test command is known")


def test_any_archive_can_be_restored_by_its_path(project: Path, run: Run, tmp_path: Path) -> None:
    """Plain archives of other makers, too, with and without a leading ``./``."""
    for number, names in enumerate((["src", "package.json"], ["./src", "./package.json"])):
        subprocess.run(["tar", "-czf", tmp_path / "plain.tar.gz", *names], check=True)
        to = tmp_path / str(number)
        outcome = run("restore", "--archive", str(tmp_path / "plain.tar.gz"), "--to", str(to), "--json")
        assert outcome.code == 0
        written = [path.stat().st_size for path in to.rglob("*") if path.is_file()]
        assert (outcome.json["result"]["files"], outcome.json["result"]["bytes"]) == (3, sum(written))
        assert set(tree(to)) == {"package.json", "src/app.config.js", "src/server.js"}
    refused(run("restore", "--archive", "nowhere.tar"), 10, "nowhere.tar")


def test_links_out_of_a_foreign_archive_are_refused_unless_asked_for(
    project: Path, run: Run, tmp_path: Path
) -> None:
    """Only an archive that this store published may point outside by itself."""
    (project / "outside").symlink_to("/etc/hostname")
    archive = archive_of(run("backup", "--json"))
    assert run("restore", "--to", str(tmp_path / "own")).code == 0
    copy = tmp_path / "copy.tar.gz"
    shutil.copy(archive, copy)
    refused(run("restore", "--archive", str(copy), "--to", str(tmp_path / "a")), 1, "--outside-links")
    assert not (tmp_path / "a").exists()
    assert run("restore", "--archive", str(copy), "--to", str(tmp_path / "b"), "--outside-links").code == 0
    assert os.readlink(tmp_path / "b" / "heymarket-endpoint" / "outside") == "/etc/hostname"


def test_a_link_in_the_target_is_never_followed(archive: Path, run: Run, tmp_path: Path) -> None:
    """A folder of the target that was replaced by a link leads nowhere."""
    to, elsewhere = tmp_path / "to", tmp_path / "elsewhere"
    (to / "heymarket-endpoint").mkdir(parents=True)
    elsewhere.mkdir()
    (to / "heymarket-endpoint" / "src").symlink_to(elsewhere)

    refused(run("restore", "--to", str(to), "--overwrite", "always"), 1, "move it away")
    assert list(elsewhere.iterdir()) == []


def test_a_folder_in_the_way_of_a_file_is_refused_before_anything_is_written(
    archive: Path, run: Run, tmp_path: Path
) -> None:
    """What cannot be done is said first."""
    to = tmp_path / "to"
    (to / "heymarket-endpoint" / "package.json").mkdir(parents=True)

    refused(run("restore", "--to", str(to), "--overwrite", "always"), 1, "a folder stands at")
    assert not (to / "heymarket-endpoint" / "src").exists()


def test_what_a_killed_restore_left_is_swept(archive: Path, run: Run, tmp_path: Path) -> None:
    """The next restore to the same place clears away what nobody holds any more."""
    left = tmp_path / ".to.0a1b2c3d.partial"
    left.mkdir()
    (left / "half").write_text("")

    assert run("restore", "--to", str(tmp_path / "to")).code == 0
    assert not left.exists()


def test_a_restore_stands_in_the_ledger(archive: Path, run: Run, tmp_path: Path) -> None:
    """The ledger tells that a backup was restored, and where to."""
    run("restore", "--to", str(tmp_path / "to"))

    last = (archive.parent.parent / "ledger.jsonl").read_text().splitlines()[-1]
    assert '"act":"restore"' in last
    assert str(tmp_path / "to") in last


@pytest.mark.parametrize("text", ["-1", "x", "1.5"])
def test_components_to_strip_are_a_whole_number(archive: Path, run: Run, text: str) -> None:
    """A wrong number is one clear line."""
    refused(run("restore", f"--strip-components={text}"), 1, "--strip-components")


def test_stripping_too_much_is_refused(archive: Path, run: Run, tmp_path: Path) -> None:
    """Two files must not end up as one."""
    git(Path(), "status")
    (Path("src") / "package.json").write_text("{}")
    run("backup")
    refused(run("restore", "--to", str(tmp_path / "s"), "--strip-components", "9"), 1, "nothing in")


@pytest.mark.parametrize("name", ["backups/ledger.jsonl", ".git/hooks/post-checkout", "src/.git/config"])
def test_nothing_is_written_into_the_store_or_a_repository(
    archive: Path, project: Path, run: Run, tmp_path: Path, name: str
) -> None:
    """No safety backup holds what is there, so an archive that would replace it is refused."""
    (tmp_path / "endpoint" / name).parent.mkdir(parents=True, exist_ok=True)
    evil = tmp_path / "evil" / "endpoint" / name
    evil.parent.mkdir(parents=True)
    evil.write_text("evil\n")
    subprocess.run(["tar", "-czf", "../evil.tgz", "endpoint"], cwd=tmp_path / "evil", check=True)

    outcome = run("restore", "--archive", str(tmp_path / "evil.tgz"), "--in-place", "--overwrite", "always")
    assert outcome.code == 1
    assert "would be written into the store or a git repository" in outcome.err


def test_what_a_killed_restore_left_beside_a_file_is_swept(archive: Path, run: Run, tmp_path: Path) -> None:
    """The next restore into the same folder removes it, unless another one is at work; and nothing else."""
    source = tmp_path / "there" / "heymarket-endpoint" / "src"
    source.mkdir(parents=True)
    left, foreign = source / ".server.js.0123abcd.partial", source / ".mine.0123abcd.partial"
    left.write_text("half\n")
    foreign.write_text("mine\n")
    to = ("--to", str(tmp_path / "there"), "--overwrite", "always")

    at_work = os.open(tmp_path / "there", os.O_RDONLY)
    fcntl.flock(at_work, fcntl.LOCK_SH)
    assert run("restore", *to).code == 0
    assert left.exists()
    os.close(at_work)
    assert run("restore", *to).code == 0
    assert not left.exists()
    assert foreign.exists()


def test_in_place_brings_back_the_executable_bit(project: Path, run: Run) -> None:
    """A file whose content is the same, but not its mode, gets its mode back."""
    script = project / "run.sh"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    run("backup")
    script.chmod(0o600)
    (project / "src" / "server.js").write_text("changed\n")

    outcome = run("restore", "--version", "1.1.0", "--in-place")
    assert outcome.code == 0
    assert script.stat().st_mode & 0o777 == 0o755
    assert "to go back: invoke restore --version" in outcome.err


def test_sound_files_come_out_of_a_damaged_archive(project: Path, run: Run, tmp_path: Path) -> None:
    """Where one file is hit, --path brings back the others, also those beside it in its block."""
    (project / "zz.txt").write_text("".join(f"{number * 7919 % 100003}\n" for number in range(4000)))
    archive = archive_of(run("backup", "--json"))
    data = bytearray(archive.read_bytes())
    data[len(data) // 2] ^= 0xFF
    archive.write_bytes(data)

    lost = run("restore", "--to", str(tmp_path / "a"))
    assert lost.code == 4
    assert "zz.txt cannot be read back as it was" in lost.err
    assert run("restore", "--to", str(tmp_path / "b"), "--path", ".env", "--path", "src/").code == 0
    assert set(tree(tmp_path / "b" / "heymarket-endpoint")) == {".env", "src/app.config.js", "src/server.js"}


def test_a_cut_archive_of_the_store_is_called_damaged(archive: Path, run: Run, tmp_path: Path) -> None:
    """A backup whose index is gone is no longer what was published."""
    archive.write_bytes(archive.read_bytes()[:-100])

    refused(run("restore", "--to", str(tmp_path / "x")), 4, "is damaged")
    assert run("restore", "--archive", str(archive), "--to", str(tmp_path / "y")).code in (1, 4)
    archive.unlink()
    refused(run("restore", "--version", "1.1.0"), 4, "not there any more")


PATTERNS = [
    "f17.txt",
    "d3/",
    "d3/sub/",
    "heymarket-endpoint/d5/sub/f5.txt",
    "heymarket*",
    "/d1",
    "d*/sub/*7.txt",
    "**/d2/**",
    "f[12].txt",
    "f\\1.txt",
    "*.t?t",
    "hard",
]


def test_it_tells_how_long_it_took(archive: Path, run: Run, tmp_path: Path) -> None:
    """In seconds, no more than passed here."""
    began = time.monotonic()
    seconds = run("restore", "--to", str(tmp_path / "x"), "--json").json["result"]["seconds"]
    assert 0 <= seconds <= time.monotonic() - began + 0.001


def test_another_archive_in_the_place_of_ours_is_not_restored(
    archive: Path, project: Path, run: Run, tmp_path: Path
) -> None:
    """A sound archive of another maker is no backup of ours, whatever it is called; named, it is restored."""
    archive.unlink()
    subprocess.run(["tar", "-czf", archive, "src"], check=True, cwd=project)
    refused(run("restore", "--to", str(tmp_path / "x")), 4, "its index is missing")
    assert not (tmp_path / "x").exists()
    assert run("restore", "--archive", str(archive), "--to", str(tmp_path / "y")).code == 0
    assert (tmp_path / "y" / "src" / "server.js").exists()


def test_only_what_can_hold_a_path_is_looked_at(project: Path, run: Run, tmp_path: Path) -> None:
    """Every pattern finds in many blocks what it finds among all names, and nothing else."""
    for number in range(200):
        path = project / f"d{number % 7}" / "sub" / f"f{number}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"%d\n" % number * 2000)
    os.link(project / "d0/sub/f0.txt", project / "hard")
    assert run("backup").code == 0
    assert run("restore", "--to", str(tmp_path / "all")).code == 0
    names = tree(tmp_path / "all")
    for number, pattern in enumerate(PATTERNS):
        to = tmp_path / str(number)
        assert run("restore", "--path", pattern, "--to", str(to)).code == 0, pattern
        spec = pathspec.GitIgnoreSpec.from_lines([pattern])
        below_top = {name: name.partition("/")[2] for name in names}
        wanted = {name for name in names if spec.match_file(name) or spec.match_file(below_top[name])}
        assert wanted, pattern
        assert tree(to) == {name: names[name] for name in wanted}, pattern


@pytest.mark.parametrize(
    "flags",
    [
        ("--path", "no/such/file"),
        ("--overwrite", "never"),
        ("--strip-components", "9"),
        ("--version", "9.9.9"),
        ("--path", "blocked"),
        ("--path", "taboo"),
    ],
)
def test_a_refused_restore_in_place_makes_nothing(project: Path, run: Run, flags: tuple[str, ...]) -> None:
    """No safety backup either: the next clean would throw the one before away, with unsaved work in it."""
    (project / "blocked").write_text("a file\n")
    (project / "taboo").write_text("committed, and then left out\n")
    assert run("backup").code == 0
    (project / "blocked").unlink()
    (project / "blocked").mkdir()
    (project / "taboo").write_text("unsaved, and in no safety backup\n")
    (project / ".backupignore").write_text("taboo\n")
    (project / "src" / "server.js").write_text("unsaved\n")
    before = sorted((project / "backups").rglob("*"))
    ledger = (project / "backups" / "ledger.jsonl").read_bytes()

    outcome = run("restore", "--in-place", *flags)
    assert outcome.code in (1, 10), outcome
    assert len(outcome.err.splitlines()) == 1
    assert sorted((project / "backups").rglob("*")) == before
    assert (project / "backups" / "ledger.jsonl").read_bytes() == ledger
    assert (project / "src" / "server.js").read_text() == "unsaved\n"


def test_a_refused_restore_makes_no_folder(project: Path, run: Run, tmp_path: Path) -> None:
    """Neither restored/ nor what lies above a target."""
    assert run("backup").code == 0
    for flags in ((), ("--to", str(tmp_path / "a" / "b"))):
        refused(run("restore", "--path", "no/such/file", *flags), 1, "nothing in")
    assert not (project / "restored").exists()
    assert not (tmp_path / "a").exists()


def test_what_is_restored_is_kept_out_of_git(project: Path, run: Run) -> None:
    """restored/ brings its own .gitignore, which stays as a person leaves it."""
    (project / ".gitignore").write_text("node_modules/\n.env\n")
    git(project, "commit", "-qam", "Ignore less")
    assert run("backup").code == 0
    assert run("restore").code == 0
    assert (project / "restored" / ".gitignore").read_text() == "*\n"
    git(project, "add", "-A")
    assert git(project, "status", "--short") == ""
    (project / "restored" / ".gitignore").write_text("v*\n")
    assert run("restore", "--version", "1.1.0", "--overwrite", "if-changed").code == 0
    assert (project / "restored" / ".gitignore").read_text() == "v*\n"
