"""The scripts in a fresh clone, as somebody who has just been given the repository would run them."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name

CHECKOUT = Path(__file__).parents[2]
MACHINE = Path(os.path.expanduser("~"))
PREPARING = "Preparing the virtual environment (first use only) …\n"
LOCKS = ("requirements.txt", "requirements-dev.txt")
INSTALLERS = [
    "pip",
    pytest.param("uv", marks=pytest.mark.skipif(shutil.which("uv") is None, reason="uv is wanted")),
]

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


def path_with(folder: Path, *, python: str, installer: str = "pip") -> str:
    """Return a PATH with what the scripts need and no more: a ``python3`` of these lines, uv if wanted."""
    folder.mkdir()
    for name in ("bash", "cat", "dirname", "flock", "mkdir", "readlink", "rm", "touch"):
        if found := shutil.which(name):
            (folder / name).symlink_to(found)
    if installer == "uv":
        (folder / "uv").symlink_to(shutil.which("uv") or "uv")
    (folder / "python3").write_text(f"#!/bin/sh\n{python}\n")
    (folder / "python3").chmod(0o755)
    return str(folder)


def locked(lock: str) -> dict[NormalizedName, Requirement]:
    """Return what a lock names, by its normal name."""
    lines = (CHECKOUT / lock).read_text().splitlines()
    pins = [Requirement(line.rstrip("\\ ")) for line in lines if line[:1].isalnum()]
    return {canonicalize_name(pin.name): pin for pin in pins}


def write_wheel(folder: Path, name: str, version: str, *lines: str) -> str:
    """Write an empty wheel with these lines in its metadata, and return its SHA-256."""
    stem = f"{name.replace('-', '_')}-{version}"
    files = {
        "METADATA": "\n".join(["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", *lines, ""]),
        "WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "RECORD": "".join(f"{stem}.dist-info/{file},,\n" for file in ("METADATA", "WHEEL", "RECORD")),
    }
    path = folder / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for file, text in files.items():
            wheel.writestr(f"{stem}.dist-info/{file}", text)
    return hashlib.sha256(path.read_bytes()).hexdigest()


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


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_pins_whatever_is_wanted_with_its_extras(lock: str) -> None:
    """What a pinned package wants is pinned too, with the extras it wants: pip looks for nothing newer."""
    pins = locked(lock)
    edges = []
    for name, pin in pins.items():
        if pin.marker and not pin.marker.evaluate():
            continue
        for line in metadata.distribution(name).requires or ():
            wanted = Requirement(line)
            if not wanted.marker or any(wanted.marker.evaluate({"extra": e}) for e in ("", *pin.extras)):
                edges.append((pin, wanted))
    assert edges
    for pin, wanted in edges:
        found = pins[canonicalize_name(wanted.name)]
        (version,) = found.specifier
        assert version.operator == "=="
        assert wanted.extras <= found.extras, (pin, wanted)
        assert wanted.specifier.contains(version.version), (pin, wanted)


@pytest.mark.parametrize("installer", INSTALLERS)
@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_installs_on_the_day_after_everything_has_a_newer_release(
    lock: str, installer: str, tmp_path: Path
) -> None:
    """With the pip that Python brings, or with uv: a newer release of any package changes nothing."""
    folder, newer = tmp_path / "project", tmp_path / "newer"
    newer.mkdir()
    for pin in locked(lock).values():
        write_wheel(newer, pin.name, "99999", *(f"Provides-Extra: {extra}" for extra in pin.extras))
    shutil.copytree(CHECKOUT / "scripts", folder / "scripts")
    for name in LOCKS:
        shutil.copy(CHECKOUT / name, folder)
    done = run(
        *("bash", "-c", 'set -euo pipefail; source scripts/venv.sh; prepare_venv "$1"', "test.sh", lock),
        cwd=folder,
        PATH=path_with(tmp_path / "bin", python=f'exec "{sys.executable}" "$@"', installer=installer),
        PIP_FIND_LINKS=f"{os.environ.get('PIP_FIND_LINKS', '')} {newer}",
        UV_FIND_LINKS=f"{os.environ.get('UV_FIND_LINKS', '')},{newer}".lstrip(","),
    )
    assert done.returncode == 0, done
    (found,) = (folder / ".venv/lib").glob("python*/site-packages")
    there = {canonicalize_name(each.name): each.version for each in metadata.distributions(path=[str(found)])}
    for name, pin in locked(lock).items():
        assert (name in there) == (pin.marker is None or pin.marker.evaluate())
        assert name not in there or pin.specifier.contains(there[name])


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment that holds pip and nothing else."""
    folder = tmp_path_factory.mktemp("ready") / "venv"
    must(sys.executable, "-m", "venv", folder)
    return folder


LOCK = "outer==1.0 --hash=sha256:{outer}\ninner[more]==1.0 --hash=sha256:{inner}\n"
NOT_THERE = {"PIP_FIND_LINKS": "", "UV_FIND_LINKS": ""}
NOBODY = "http://127.0.0.1:9/simple"  # the port of a service that no machine offers any more
REFUSED = NOT_THERE | {"PIP_NO_INDEX": "0", "PIP_RETRIES": "0", "UV_OFFLINE": "0", "UV_HTTP_RETRIES": "0"}


@pytest.mark.parametrize("installer", INSTALLERS)
@pytest.mark.parametrize(
    ("lock", "variables", "said"),
    [
        pytest.param(
            LOCK,
            NOT_THERE,
            {"pip": "No matching distribution found for outer==1.0", "uv": "outer was not found"},
            id="no index",
        ),
        pytest.param(
            LOCK,
            REFUSED | {"PIP_INDEX_URL": NOBODY, "UV_DEFAULT_INDEX": NOBODY},
            {"pip": "No matching distribution found for outer==1.0", "uv": "Connection refused"},
            id="no connection",
        ),
        pytest.param(
            LOCK.replace("[more]==1.0", "[more]==3.0"),
            {},
            {"pip": "No matching distribution found for inner[more]==3.0", "uv": "inner[more]==3.0"},
            id="no such version",
        ),
        pytest.param(
            LOCK.replace("[more]==", "[more]>="),
            {},
            {"pip": "These do not: inner[more]>=1.0", "uv": "but found: inner[more]>=1.0"},
            id="not pinned",
        ),
        pytest.param(
            LOCK.replace("[more]", ""),
            {},
            {"pip": "These do not: inner[more]>=1.0"},  # uv takes it for pinned
            id="pinned without its extra",
        ),
        pytest.param(
            LOCK.replace(" --hash=sha256:{inner}", ""),
            {},
            {"pip": "inner[more]==1.0 --hash", "uv": "none were provided for: inner[more]==1.0"},
            id="no hash",
        ),
        pytest.param(
            LOCK.replace("{outer}", "0" * 64),
            {},
            {"pip": "DO NOT MATCH THE HASHES", "uv": "Hash mismatch for `outer==1.0`"},
            id="wrong hash",
        ),
    ],
)
def test_a_failed_install_ends_with_the_cause_that_the_installer_gave(
    lock: str, variables: dict[str, str], said: dict[str, str], installer: str, ready: Path, tmp_path: Path
) -> None:
    """The last line holds the last error of pip or uv, whatever it is about, and no guess of ours."""
    if installer not in said:
        pytest.skip(f"{installer} installs it")
    folder, wheels = tmp_path / "project", tmp_path / "wheels"
    wheels.mkdir()
    hashes = {
        "outer": write_wheel(wheels, "outer", "1.0", "Requires-Dist: inner[more]>=1.0"),
        "inner": write_wheel(wheels, "inner", "1.0", "Provides-Extra: more"),
    }
    write_wheel(wheels, "inner", "2.0", "Provides-Extra: more")
    shutil.copytree(CHECKOUT / "scripts", folder / "scripts")
    (folder / "requirements.txt").write_text(lock.format(**hashes))
    (folder / ".venv").symlink_to(ready)
    alone = {
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(wheels),
        "UV_NO_CONFIG": "1",
        "UV_NO_CACHE": "1",
        "UV_OFFLINE": "1",
        "UV_FIND_LINKS": str(wheels),
        "FORCE_COLOR": "1",  # as build machines say it: what is looked for is found in colour too
        "PATH": path_with(tmp_path / "bin", python="exit 1", installer=installer),
    }
    done = run(folder / "scripts/backup.sh", cwd=folder, home=None, **(alone | variables))
    assert done.returncode == 1
    *before, last = done.stderr.splitlines()
    assert last.startswith("backup.sh: what requirements.txt names could not be installed: ")
    assert said[installer] in last
    errors = [line for line in before if line.startswith(("ERROR: ", "error: "))]
    assert errors[-1][:250] in last
    assert len(last.encode()) <= 500
    assert not list(ready.glob(".stamp-*"))


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        pytest.param(
            "WARNING: Retrying after connection broken\nERROR: None found\nERROR: No matching x==1\n\n"
            "[notice] A new release of pip is available: 23.2.1 -> 99\n[notice] To update, run: pip install",
            "ERROR: No matching x==1",
            id="notices of pip",
        ),
        pytest.param(
            "  × No solution found when resolving dependencies:\n  ╰─▶ Because x was not found in\n"
            "      the package registry, it\n\n      is unsatisfiable.",
            "× No solution found when resolving dependencies: ╰─▶ Because x was not found in "
            "the package registry, it is unsatisfiable.",
            id="an older uv",
        ),
        pytest.param(
            "error: Failed to fetch: `x`\n  Caused by: error sending request\n  Caused by: dns error",
            "error: Failed to fetch: `x` Caused by: error sending request Caused by: dns error",
            id="a chain of causes",
        ),
        pytest.param(
            "Traceback (most recent call last):\n  File x\nOSError: [Errno 28] No space left on device",
            "OSError: [Errno 28] No space left on device",
            id="a traceback",
        ),
        pytest.param(
            "ERROR: THESE DO NOT MATCH.\n    x==1:\n" + "        Expected     or 0\n" * 90 + "        Got 7",
            "ERROR: THESE DO NOT MATCH. x==1: Expected or 0 … Expected or 0 Got 7",
            id="a long one",
        ),
        pytest.param("", "exit 7 without a word", id="nothing"),
    ],
)
def test_the_last_line_holds_what_counts_of_what_was_said(said: str, shown: str, tmp_path: Path) -> None:
    """Notices, lines that were broken, and long lists do not hide the cause: head and end are shown."""
    folder = tmp_path / "project"
    shutil.copytree(CHECKOUT / "scripts", folder / "scripts")
    (folder / "requirements.txt").touch()
    (folder / "said").write_text(said)
    (folder / ".venv/bin").mkdir(parents=True)
    python = folder / ".venv/bin/python"
    python.write_text(f'#!/bin/sh\ncat "{folder}/said"\nexit 7\n')
    python.chmod(0o755)
    done = run(folder / "scripts/backup.sh", PATH=path_with(tmp_path / "bin", python="exit 1"))
    assert done.returncode == 1
    assert said in done.stderr
    last = done.stderr.splitlines()[-1]
    head, _, end = shown.partition(" … ")
    assert last.startswith(f"backup.sh: what requirements.txt names could not be installed: {head}")
    assert last.endswith(end)
    assert len(last.encode()) <= 500


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
    folder = tmp_path / "project"
    shutil.copytree(CHECKOUT / "scripts", folder / "scripts")
    shutil.copy(CHECKOUT / "requirements.txt", folder)
    done = run(folder / "scripts/backup.sh", PATH=path_with(tmp_path / "bin", python=python))
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("backup.sh: ")
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (folder / ".venv").exists()
