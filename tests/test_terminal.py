"""What reaches a terminal, 100 columns wide, or a JSON string: no name steers it, no error fills it."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import Run, archive_of, git, setting

import tasks

NAME = os.fsdecode(b"a\x1b]0;owned\x07\x1b[31m\x9b\xc2\x9bm\xe2\x80\xae\r\nforged line\xff' \\")
"""Escapes of both sets, an override of the writing direction, a line of its own, broken UTF-8, and quotes."""


def on_terminal(folder: Path, *arguments: str) -> str:
    """Run ``invoke`` on a terminal of its own, and return what came there."""
    ours = Path(tasks.__file__).parent
    command = [sys.executable, "-m", "invoke", "--search-root", str(ours), *arguments]
    process, terminal = pty.fork()
    if process == 0:
        fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
        os.chdir(folder)
        os.execve(sys.executable, command, os.environ | {"PYTHONPATH": str(ours), "TERM": "xterm"})
    told = b""
    while piece := _read(terminal):
        told += piece
    os.waitpid(process, 0)
    os.close(terminal)
    return told.decode()


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 1 << 16)
    except OSError:  # EIO: the other end is closed
        return b""


def safe(told: str) -> str:
    """Assert that nothing in it steers a terminal but our bar, which goes back to the start of its line."""
    assert "unexpected" not in told
    assert "Traceback" not in told
    for line in told.split("\r\n"):
        assert line.replace("\r", "").isprintable(), repr(line)
    assert not re.search("^forged", told, re.MULTILINE)
    return told


def texts(value: Any) -> Iterator[str]:
    """Yield all strings in a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from texts(item)


def safe_json(text: str) -> None:
    """Assert that it is one JSON object whose strings, decoded, steer nothing."""
    assert text.rstrip("\n").isprintable()
    assert all(each.isprintable() for each in texts(json.loads(text)))


@pytest.fixture
def archive(project: Path, run: Run) -> Path:
    """A published backup."""
    return archive_of(run("backup", "--json"))


def test_the_name_of_an_archive(archive: Path, project: Path, run: Run, tmp_path: Path) -> None:
    """Outside of the store, in it, and in bars, which only a terminal gets."""
    outside = str(tmp_path / f"{NAME}.tar.gz")
    inside = archive.parent.parent / f"{NAME}.tar.gz"
    for place in (outside, inside):
        shutil.copy(archive, place)
    for command in (
        ("verify", "--archive", outside),
        ("verify", "--all"),
        ("restore", "--archive", outside, "--to", str(tmp_path / "to")),
        ("clean", "--dry-run"),
    ):
        told = safe(on_terminal(project, *command))
        assert "forged line" in told or command[0] == "restore"
        safe_json(run(*command, "--json").out)
    with open(outside, "r+b") as file:
        file.truncate(1000)
    for command in (("verify", "--archive", outside), ("restore", "--archive", outside)):
        safe(on_terminal(project, *command))
        safe_json(run(*command, "--json").out)


def test_the_name_of_the_root(project: Path, tmp_path: Path) -> None:
    """Every command tells of a place in it."""
    root = project.rename(tmp_path / NAME)
    os.chdir(root)
    commands: tuple[tuple[str, ...], ...] = (
        ("backup",),
        ("backup", "--daily"),
        ("verify", "--all"),
        ("restore",),
        ("restore",),
        ("restore", "--in-place"),
        ("release", "--version", "2.0.0"),
        ("release", "--version", "2.0.0", "--undo"),
        ("release", "--version", "3.0.0", "--undo"),
        ("restore", "--version", "9.9.9"),
        ("clean", "--keep", "1"),
        ("restore", "--to", NAME),
    )
    for command in commands:
        safe(on_terminal(root, *command))
        done = invoke(root, *command, "--json")
        safe_json(done.stdout)
        safe(done.stderr.replace("\n", "\r\n"))
    told = on_terminal(Path("/"), "backup", "--root", str(root))
    assert "forged line" in safe(told)


def invoke(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``invoke`` without a terminal."""
    ours = Path(tasks.__file__).parent
    command = [sys.executable, "-m", "invoke", "--search-root", str(ours), *arguments]
    environment = os.environ | {"PYTHONPATH": str(ours)}
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)


def test_the_name_of_a_file_of_the_project(archive: Path, project: Path, run: Run) -> None:
    """Dirt, what is left out, what would be overwritten, what cannot be read or is no file."""
    folder = project / NAME
    (folder / "dist").mkdir(parents=True)
    os.mkfifo(folder / NAME)
    (folder / "file").write_text("content")
    (project / ".backupignore").write_bytes(b"\x1b[31m\x9b\xc2\x9b\xff\n")
    for command in (
        ("release", "--version", "2.0.0"),
        ("backup", "--dry-run"),
        ("backup",),
        ("restore", "--to", str(project)),
        ("restore", "--to", ".", "--strip-components", "1"),
        ("verify",),
    ):
        safe(on_terminal(project, *command))
        safe_json(run(*command, "--json").out)
    (folder / ".backupignore").write_bytes(b"a[\x1b[31m\x9b\n")
    assert "matches nothing" in safe(on_terminal(project, "backup"))


def test_the_name_of_a_folder_of_a_version(archive: Path, project: Path, run: Run) -> None:
    """In the store anybody may have made one, with an archive in it, or a manifest that names one."""
    folder = archive.parent.parent / f"v1.0.0{NAME}"
    folder.mkdir()
    shutil.copy(archive, folder / "x.tar.gz")
    manifest = archive.parent / "MANIFEST.txt"
    forged = manifest.read_bytes().replace(archive.name.encode(), b"x\\x1b[31m\\x9b.tar.gz")
    (folder / "MANIFEST.txt").write_bytes(forged)
    for command in (
        ("verify", "--all"),
        ("clean", "--dry-run"),
        ("restore", "--version", "9.9.9"),
        ("backup",),
    ):
        safe(on_terminal(project, *command))
        safe_json(run(*command, "--json").out)
    manifest.write_bytes(manifest.read_bytes().replace(b"package.json", b"\x1b[31m\xc2\x9b"))
    assert "MANIFEST.txt, line" in safe(on_terminal(project, "verify", "--version", "1.1.0"))
    safe_json(run("verify", "--version", "1.1.0", "--json").out)


def test_a_setting_and_a_command_of_the_project(archive: Path, project: Path, tmp_path: Path) -> None:
    """Also where Invoke itself cannot take the configuration."""
    with setting("HOOKS_SETUP", "true '\x1b[31m\x9b'"):
        told = safe(on_terminal(project, "restore", "--to", str(tmp_path / "to"), "--setup"))
        assert "Ran: true '\\x1b[31m" in told
    for name, value in (("FORMAT", NAME), ("KEEP", NAME), ("STORE", NAME), ("CHANGELOG", f"../{NAME}")):
        with setting(name, value):
            for command in ("clean", "release", "backup"):
                safe(on_terminal(project, command))
    (project / "invoke.yaml").write_bytes(b"backup: {keep: 1\n" + b'"\\e[31m\\x9b": *\xc2\x9bm')
    done = invoke_here(project, "backup")
    assert done.stderr.startswith("invoke: the configuration cannot be used: ")
    safe(done.stderr.replace("\n", "\r\n"))


@pytest.mark.parametrize("name", [b"b\xff", b"b\xc2\x9b31m", b"b\xe2\x80\xae"])
def test_the_name_of_a_branch(project: Path, name: bytes) -> None:
    """git takes any bytes but ASCII's controls; the header and the manifest hold it escaped."""
    git(project, "checkout", "-q", "-b", os.fsdecode(name))
    for command in (("backup",), ("release", "--version", "2.0.0"), ("verify",)):
        safe(on_terminal(project, *command))
    assert "Branch:   b\\" in next((project / "backups" / "v2.0.0").glob("MANIFEST.txt")).read_text()


def test_the_way_back_can_be_pasted(project: Path, tmp_path: Path) -> None:
    """After a restore in place, whatever the root is called."""
    root = project.rename(tmp_path / NAME)
    invoke(root, "backup")
    server = root / "src" / "server.js"
    server.write_text("what is here now")
    done = invoke(Path("/"), "restore", "--in-place", "--root", str(root))
    assert done.returncode == 0, done
    assert server.read_text() == "require('http');\n"
    [line] = [line for line in done.stdout.splitlines() if line.startswith("To go back")]
    ours = Path(tasks.__file__).parent
    command = line.partition(": ")[2].replace("invoke ", f"{sys.executable} -m invoke --search-root {ours} ")
    environment = os.environ | {"PYTHONPATH": str(ours)}
    subprocess.run(["bash", "-c", command], cwd="/", env=environment, check=True, capture_output=True)
    assert server.read_text() == "what is here now"


LONG = "x" * 100_000


@pytest.mark.parametrize(
    "case", ["package", "setting", "flag", "pattern", "unknown setting", "archive", "commit hook", "yaml"]
)
def test_an_error_is_a_line_of_at_most_500_bytes(project: Path, run: Run, case: str) -> None:
    """Cause and advice are in it, whatever stands between; the JSON object says the same."""
    command: tuple[str, ...] = ("backup",)
    advice = ""
    if case == "package":
        (project / "package.json").write_text(f'{{"version": "1.{LONG}"}}')
        advice = "a version looks like 1.1.0 or 2.0.0-rc.1"
    elif case == "setting":
        (project / "invoke.yaml").write_text(f"backup: {{keep: {LONG}}}\n")
        command, advice = ("clean",), "takes a whole number"
    elif case == "flag":
        command, advice = ("backup", "--version", "ü" * 60_000), "a version looks like 1.1.0"
    elif case == "pattern":
        (project / ".backupignore").write_text(f"{LONG}[\n")
        advice = "see gitignore(5)"
    elif case == "unknown setting":
        (project / "invoke.yaml").write_text(f"backup: {{{LONG[:900]}: 1}}\n")
        advice = "the settings are: project, store"
    elif case == "archive":
        command, advice = ("verify", "--archive", "/tmp/" + "\x1b" * 60_000), "File name too long"
    elif case == "commit hook":
        hook = project / ".git" / "hooks" / "reference-transaction"
        hook.write_text(f"#!/bin/sh\nprintf 'error: \\033{LONG}' >&2\nexit 1\n")
        hook.chmod(0o755)
        command, advice = ("tag", "--version", "1.1.0"), "making the tag v1.1.0 failed"
    elif case == "yaml":
        (project / "invoke.yaml").write_text(f"backup: *{LONG[:900]}\n")
        advice = "; fix invoke.yaml"
    done = invoke_here(project, *command)
    assert done.returncode == 1
    [line] = done.stderr.splitlines(keepends=True)
    assert len(line.encode()) <= 500
    assert line[:-1].isprintable()
    assert advice in line
    if case != "yaml":
        told = json.loads(invoke_here(project, *command, "--json").stdout)["error"]
        assert line == f"{command[0]}: {told}\n"


def invoke_here(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``invoke`` with the ``invoke.yaml`` of the project."""
    ours = Path(tasks.__file__).parent
    (project / "tasks.py").write_text(
        f"import sys\nsys.path.insert(0, {str(ours)!r})\nimport importlib.util\n{_LOAD}"
    )
    environment = os.environ | {"OURS": str(ours / "tasks.py")}
    command = [sys.executable, "-m", "invoke", *arguments]
    return subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)


_LOAD = """
import os
spec = importlib.util.spec_from_file_location("ours", os.environ["OURS"])
ours = importlib.util.module_from_spec(spec)
spec.loader.exec_module(ours)
ns = ours.ns
"""
