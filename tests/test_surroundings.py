"""Failures of what is around: they are told as what they are, and never taken for damage of a backup."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support import Run, archive_of, git, refused, unreadable

import tasks
from backup_lib.filesystem import DEEPEST, remove_tree


@pytest.fixture
def archive(project: Path, run: Run) -> Path:
    """A published backup."""
    return archive_of(run("backup", "--json"))


def ledger_of(archive: Path) -> bytes:
    """Return the ledger of the store that an archive lies in."""
    return (archive.parent.parent / "ledger.jsonl").read_bytes()


def shell(folder: Path, script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a shell script in which ``$invoke`` is the real command."""
    ours = Path(tasks.__file__).parent
    known = {"PYTHONPATH": str(ours), "invoke": f"{sys.executable} -m invoke --search-root {ours}"}
    return subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        env=os.environ | known | environment,
        capture_output=True,
        text=True,
        check=False,
    )


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Let no file grow beyond a size, as on a disk that is full."""
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)


def test_a_restore_test_that_has_no_room_proves_nothing(project: Path, run: Run) -> None:
    """That is no damage: it ends with one line, and the ledger stays as it is."""
    (project / "large.bin").write_bytes(bytes(range(256)) * 4000)
    archive = archive_of(run("backup", "--json"))
    before = ledger_of(archive)
    with files_of_at_most(1 << 19):
        outcome = run("verify", "--depth", "restore")
    refused(outcome, 1, "the restore test failed: File too large")
    assert "let TMPDIR name another folder" in outcome.err
    assert ledger_of(archive) == before
    with files_of_at_most(1 << 19):
        assert run("verify").code == 0


@pytest.mark.parametrize("places", [[], ["."]], ids=["nowhere", "the working folder"])
def test_a_restore_test_without_a_temporary_folder_is_made_in_the_store(
    archive: Path, run: Run, monkeypatch: pytest.MonkeyPatch, places: list[str]
) -> None:
    """Not in the project, which Python would take at last; and nothing of it stays."""
    made: list[Path] = []
    real = tempfile.mkdtemp

    def noted(prefix: str, dir: Path) -> str:
        made.append(dir)
        return real(prefix=prefix, dir=dir)

    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: [os.path.abspath(at) for at in places])
    monkeypatch.setattr(tempfile, "mkdtemp", noted)
    store = archive.parent.parent
    before = sorted(os.listdir(store))
    assert run("verify", "--depth", "restore").code == 0
    assert run("verify", "--depth", "restore", "--archive", str(archive)).code == 0
    assert made == [store, store]
    assert sorted(os.listdir(store)) == before


_READ_ONLY = """
set -e
mount --make-rprivate /
for place in /tmp /var/tmp "$top"; do mount --bind $place $place; mount -o remount,ro,bind $place; done
mount --bind "$store" "$store"; mount -o remount,rw,bind "$store"
unset TMPDIR TEMP TMP
"""


@pytest.mark.parametrize(
    "commands",
    [
        ["backup --new-store", "verify --depth restore"],
        ["backup --daily --new-store --format zst", "verify --all", "clean"],
        ["backup --new-store", "tag --dry-run", "restore --to $top/new --dry-run", "clean --keep 1"],
    ],
    ids=["version", "daily", "nothing else"],
)
def test_only_the_store_need_be_writable(project: Path, tmp_path: Path, commands: list[str]) -> None:
    """In a container with a read-only root and a volume for the backups all works, restore test included."""
    if subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount")
    store = tmp_path / "store"
    store.mkdir()
    tries = "".join(f"$invoke {command}\n" for command in commands)
    done = shell(
        project,
        'exec unshare -m bash -c "$inside"',
        inside=f"{_READ_ONLY}! touch {project}/x 2>/dev/null\n{tries}",
        top=str(tmp_path),
        store=str(store),
        INVOKE_BACKUP_STORE=str(store),
    )
    assert done.returncode == 0, done
    assert list(store.glob("**/*.tar.*"))
    assert not [name for name in os.listdir(store) if "restore-test" in name]


@pytest.mark.parametrize("files", [10, 12, 13, 14, 16, 20])
def test_too_few_open_files_are_no_damage(archive: Path, project: Path, files: int) -> None:
    """Where a process may open hardly any, verify works or says so; it proves nothing then."""
    before = ledger_of(archive)
    done = shell(project, f"ulimit -n {files}; exec $invoke verify")
    assert done.returncode in (0, 1), done
    if done.returncode:
        assert ledger_of(archive) == before
        assert "Traceback" not in done.stderr


def test_too_little_memory_is_one_line(project: Path) -> None:
    """Here for a changelog of more lines than it can hold."""
    (project / "CHANGELOG.md").write_bytes(b"\r\n" * (8 << 20))
    done = shell(project, "ulimit -v 250000; exec $invoke release --version 2.0.0")
    assert (done.returncode, done.stderr) == (1, "release: out of memory\n")
    assert git(project, "tag") == ""


@pytest.mark.parametrize("length", ["1G", "1T"])
@pytest.mark.parametrize("where", ["ledger", "manifest", "foreign manifest", "end of the manifest"])
def test_a_line_without_end_is_not_held(archive: Path, project: Path, length: str, where: str) -> None:
    """Of a ledger or a manifest: it counts for nothing, or is found, and takes neither memory nor time."""
    manifest = archive.parent / "MANIFEST.txt"
    path = project / "backups" / "ledger.jsonl" if where == "ledger" else manifest
    if where == "foreign manifest":
        path.write_text("by hand\n")
    elif where == "manifest":
        path.write_bytes(path.read_bytes()[:100])
    done = shell(project, f"truncate -s {length} {path}; ulimit -v 600000; exec timeout 60 $invoke verify")
    assert done.returncode == (0 if where == "ledger" else 4), done
    assert done.stderr == ""
    assert "MANIFEST.txt" in done.stdout or where == "ledger"
    assert all(len(line.encode()) <= 500 for line in done.stdout.splitlines())
    listed = shell(project, "ulimit -v 600000; exec timeout 60 $invoke clean --dry-run")
    assert (listed.returncode, listed.stderr) == (0, "")


@pytest.mark.parametrize("where", ["ledger.jsonl", "v1.1.0/MANIFEST.txt"])
def test_a_dense_line_takes_no_memory(archive: Path, project: Path, where: str) -> None:
    """One of 256 MB, which no hole saves from being read."""
    archive.parent.joinpath("MANIFEST.txt").write_text("by hand\n")
    fill = f"tr '\\0' x < /dev/zero | head -c 256M >> backups/{where}"
    done = shell(project, f'{fill}; exec {sys.executable} -c "$measure" $invoke verify', measure=_MEASURE)
    assert done.returncode == 0
    assert "MANIFEST.txt" in done.stdout
    assert int(done.stderr) < 150 << 10


_MEASURE = """
import os, subprocess, sys
process = subprocess.Popen(sys.argv[1:])
_, status, used = os.wait4(process.pid, 0)
print(used.ru_maxrss, file=sys.stderr)  # KiB
"""


@pytest.mark.parametrize("depth", ["quick", "full"])
def test_a_fifo_is_not_waited_for(archive: Path, run: Run, depth: str) -> None:
    """In the place of a manifest it is found, in that of the ledger it ends the command; a device too."""
    manifest, ledger = archive.parent / "MANIFEST.txt", archive.parent.parent / "ledger.jsonl"
    manifest.unlink()
    os.mkfifo(manifest)
    outcome = run("verify", "--depth", depth)
    assert outcome.code == 4
    assert f"it is no regular file: {manifest}" in outcome.out
    for make in (os.mkfifo, lambda path: path.symlink_to("/dev/zero")):
        ledger.unlink()
        make(ledger)
        for command in ("backup", "verify", "clean"):
            refused(run(command), 1, f"{ledger} is no regular file")


def test_what_this_user_may_not_read_is_no_damage(archive: Path, run: Run) -> None:
    """It is found, and named, but no proof is left: another user may read it."""
    before = ledger_of(archive)
    with unreadable(archive):
        outcome = run("verify")
    assert outcome.code == 4
    assert f"it cannot be read: Permission denied: {archive}" in outcome.out
    assert ledger_of(archive) == before


def test_what_git_shows_in_the_place_of_a_commit_does_not_count(
    archive: Path, project: Path, run: Run
) -> None:
    """`git replace` changes what git shows of a commit, and not the commit."""
    nothing = subprocess.run(["git", "mktree"], input=b"", check=True, capture_output=True, cwd=project)
    other = git(project, "commit-tree", "-m", "x", nothing.stdout.decode().strip())
    git(project, "replace", git(project, "rev-parse", "HEAD"), other)
    assert git(project, "ls-tree", "HEAD") == ""
    assert run("verify").code == 0


@pytest.mark.parametrize("killed", ["cat-file", "ls-tree", "rev-parse"])
def test_a_git_that_is_killed_is_no_answer(archive: Path, project: Path, tmp_path: Path, killed: str) -> None:
    """Neither that a commit is gone, nor that a file is not in it."""
    before = ledger_of(archive)
    real = shutil.which("git")
    wrapper = tmp_path / "bin" / "git"
    wrapper.parent.mkdir()
    wrapper.write_text(f'#!/bin/sh\ncase "$*" in *" {killed} "*) kill -9 $$;; esac\nexec {real} "$@"\n')
    wrapper.chmod(0o755)
    done = shell(project, "exec $invoke verify", PATH=f"{wrapper.parent}:{os.environ['PATH']}")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"verify: git {killed} was ended from outside; run it again\n"
    assert ledger_of(archive) == before


def test_a_full_disk_under_stderr_changes_no_exit_code(archive: Path, project: Path) -> None:
    """What cannot be said is not said; all else is done."""
    assert shell(project, "exec $invoke verify --version 9.9.9 2>/dev/full").returncode == 10
    assert shell(project, "exec $invoke backup 2>/dev/full").returncode == 0
    git(project, "add", "-A")
    git(project, "commit", "--allow-empty", "-m", "All")
    assert shell(project, "exec $invoke release --version 2.0.0 2>/dev/full").returncode == 0
    archive.write_bytes(b"")
    assert shell(project, "exec $invoke verify --version 1.1.0 --all 2>/dev/full").returncode in (1, 4)


def test_a_restore_that_cannot_be_noted_is_done(archive: Path, run: Run, tmp_path: Path) -> None:
    """On the day when the disk of the store is full, too."""
    with files_of_at_most(len(ledger_of(archive)) - 10):
        outcome = run("restore", "--to", str(tmp_path / "to"))
    assert outcome.code == 0
    assert f"{tmp_path / 'to'} is restored, but that is not noted in the ledger: " in outcome.err
    assert (tmp_path / "to" / "heymarket-endpoint" / "package.json").exists()


def test_a_folder_in_the_place_of_a_link_stops_nothing(archive: Path, run: Run) -> None:
    """The `_latest` links are a convenience."""
    [link] = [path for path in archive.parent.iterdir() if path.is_symlink()]
    link.unlink()
    (link / "kept").mkdir(parents=True)
    assert run("backup").code == 0
    assert run("backup", "--daily").code == 0
    assert (link / "kept").is_dir()


def test_folders_too_deep_to_be_restored_are_left_out(project: Path, run: Run, tmp_path: Path) -> None:
    """All else is backed up, and restored; the backup says that it lacks something."""
    fd = os.open(project, os.O_RDONLY)
    for _ in range(DEEPEST + 5):
        os.mkdir("d", dir_fd=fd)
        deeper = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = deeper
    os.close(fd)
    try:
        outcome = run("backup")
        assert outcome.code == 3
        assert f"nothing is restored from more than {DEEPEST} folders deep" in outcome.out + outcome.err
        assert run("verify", "--depth", "restore").code == 0
        assert run("restore", "--to", str(tmp_path / "to")).code == 0
        assert (tmp_path / "to" / "heymarket-endpoint" / "package.json").exists()
    finally:
        for deep in (project / "d", tmp_path / "to"):
            remove_tree(deep)
    assert not (project / "d").exists()
    assert not (tmp_path / "to").exists()
