"""scripts/backup.sh in a fresh clone, as somebody who has just been given the repository would run it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
MACHINE = Path(os.path.expanduser("~"))
PREPARING = "Preparing the virtual environment (first use only) …\n"

pytestmark = pytest.mark.skipif(
    not (CHECKOUT / ".git").exists(), reason="a git checkout is wanted, to clone it"
)


def run(
    *command: str | Path, cwd: Path | None = None, home: Path | None = None, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run a command with the settings of the machine, but its package index, out of sight."""
    dropped = ("INVOKE_", "GIT_", "SOURCE_DATE", "PYTHON", "COV_", "VIRTUAL_ENV")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(dropped)} | {
        "HOME": str(home or MACHINE),
        "XDG_CACHE_HOME": os.environ.get("XDG_CACHE_HOME", str(MACHINE / ".cache")),
        "XDG_CONFIG_HOME": os.environ.get("XDG_CONFIG_HOME", str(MACHINE / ".config")),
    }
    return subprocess.run(
        command, cwd=cwd, env=environment | variables, capture_output=True, text=True, check=False
    )


def must(*command: str | Path, cwd: Path | None = None) -> str:
    """Run a command that must succeed, and return what it prints."""
    done = run(*command, cwd=cwd)
    assert done.returncode == 0, done
    return done.stdout


def clone_into(folder: Path) -> Path:
    """Clone the checkout, what is not committed in it included."""
    must("git", "clone", "--quiet", CHECKOUT, folder)
    changed = must("git", "ls-files", "-z", "--modified", "--others", "--exclude-standard", cwd=CHECKOUT)
    for name in changed.split("\0"):
        if (CHECKOUT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(CHECKOUT / name, folder / name)
        elif name:
            (folder / name).unlink(missing_ok=True)
    return folder


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh clone, in a folder with a space in its name."""
    return clone_into(tmp_path_factory.mktemp("scripts") / "a clone")


@pytest.fixture(scope="module")
def first(clone: Path) -> list[subprocess.CompletedProcess[str]]:
    """How two first runs ended that were started at once, one of them elsewhere and through a symlink."""
    link = clone.parent / "back up"
    link.symlink_to("a clone/scripts/backup.sh")
    home = clone.parent
    here = [str(clone / "scripts/backup.sh"), "--version", "1.1.0"]
    environment = os.environ | {"HOME": str(home), "XDG_CACHE_HOME": str(MACHINE / ".cache")}
    other = subprocess.Popen(
        [link, "--version", "1.2.0"],
        cwd="/",
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    ours = run(*here, cwd=clone, home=home)
    out, err = other.communicate()
    theirs = subprocess.CompletedProcess(other.args, other.returncode, out, err)
    return [_once_more_if_held(ours, here, home), _once_more_if_held(theirs, [*here[:2], "1.2.0"], home)]


def _once_more_if_held(
    done: subprocess.CompletedProcess[str], command: list[str], home: Path
) -> subprocess.CompletedProcess[str]:
    """Do what the message says where the other one held the store for long, as on a busy machine."""
    if done.returncode != 11:
        return done
    again = run(*command, cwd=home, home=home)
    return subprocess.CompletedProcess(again.args, again.returncode, again.stdout, done.stderr + again.stderr)


def test_a_fresh_clone_makes_a_backup_and_says_where(
    clone: Path, first: list[subprocess.CompletedProcess[str]]
) -> None:
    """With nothing installed, one command makes a backup; of two at once, one prepares and both end well."""
    for version, done in zip(("1.1.0", "1.2.0"), first, strict=True):
        assert done.returncode == 0, done
        (line,) = (line for line in done.stdout.splitlines() if line.startswith("Archive: "))
        archive = clone / line.split()[1]
        assert archive.parent == clone / "backups" / f"v{version}"
        assert archive.stat().st_size > 1000
    assert sum(PREPARING in done.stderr for done in first) in (1, 2 if shutil.which("flock") is None else 1)
    assert must("git", "status", "--porcelain", "--", ".venv", "backups", cwd=clone) == ""


@pytest.mark.usefixtures("first")
def test_the_next_run_starts_at_once(clone: Path) -> None:
    """What is ready stays as it is: nothing is prepared, and no package is installed again."""
    stamp = clone / ".venv/.stamp-requirements.txt"
    before = stamp.stat()
    done = run(clone / "scripts/backup.sh", "--dry-run", PIP_NO_INDEX="1", PIP_FIND_LINKS="")
    assert done.returncode == 0, done
    assert PREPARING not in done.stderr
    assert stamp.stat() == before


@pytest.mark.usefixtures("first")
def test_arguments_and_the_exit_code_pass_through(clone: Path) -> None:
    """The script is `invoke backup`, its flags and how it ends included."""
    done = run(clone / "scripts/backup.sh", "--version", "one two")
    assert done.returncode == 1
    assert "one two" in done.stderr
    noted = run(clone / "scripts/backup.sh", "--version=2.0.0", "--format", "zst", "--note", "a b  c")
    assert noted.returncode == 0, noted
    assert "a b  c" in (clone / "backups/v2.0.0/MANIFEST.txt").read_text()
    for flag in ("-h", "--help"):
        assert "--fresh" in run(clone / "scripts/backup.sh", flag).stdout


@pytest.mark.usefixtures("first")
@pytest.mark.parametrize("state", ["the lock has changed", "the first run was killed"])
def test_an_environment_that_is_not_of_this_lock_is_not_used(clone: Path, state: str, tmp_path: Path) -> None:
    """Whatever is half-made or outdated is made anew, and removed again where that fails."""
    copy = tmp_path / "copy"
    shutil.copytree(clone, copy, symlinks=True)
    if state == "the lock has changed":
        with (copy / "requirements.txt").open("a") as lock:
            lock.write("# another line\n")
    else:
        (copy / ".venv/.stamp-requirements.txt").unlink()
    done = run(
        copy / "scripts/backup.sh", PIP_NO_INDEX="1", PIP_FIND_LINKS="", UV_OFFLINE="1", UV_NO_CACHE="1"
    )
    assert done.returncode == 1
    assert done.stderr.startswith(PREPARING)
    assert "requirements.txt names could not be installed" in done.stderr.splitlines()[-1]
    assert not (copy / ".venv").exists()


OLD = 'case "$*" in *exit*) exit 1;; *) echo 3.9.2;; esac'
BARE = f'case "$*" in *ensurepip*) exit 1;; *) exec "{sys.executable}" "$@";; esac'


@pytest.mark.parametrize(
    ("python", "said"),
    [
        pytest.param(OLD, "Python 3.11 or newer is needed, and python3 is 3.9.2; install", id="too old"),
        pytest.param(BARE, "has no module venv; install it: apt install python3-venv", id="no venv"),
        pytest.param("exit 127", "Python 3.11 or newer is needed, and there is none; install", id="none"),
    ],
)
def test_what_is_missing_is_said_in_one_line(tmp_path: Path, python: str, said: str) -> None:
    """Without a fit Python, one line says what to install, and nothing half-made stays."""
    folder, path = tmp_path / "project", tmp_path / "bin"
    shutil.copytree(CHECKOUT / "scripts", folder / "scripts")
    shutil.copy(CHECKOUT / "requirements.txt", folder)
    path.mkdir()
    for name in ("bash", "cat", "dirname", "readlink", "rm"):
        (path / name).symlink_to(shutil.which(name) or name)
    (path / "python3").write_text(f"#!/bin/sh\n{python}\n")
    (path / "python3").chmod(0o755)
    done = run(folder / "scripts/backup.sh", PATH=str(path))
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("backup.sh: ")
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (folder / ".venv").exists()
