"""The project's own commands, which a restore may run: to set itself up, and to test itself."""

from __future__ import annotations

import subprocess
from pathlib import Path

import msgspec

from backup_lib.errors import ProjectError, RestoreError
from backup_lib.project.reading import read_within
from backup_lib.settings import Hooks

__all__ = ["found_hooks", "run_hook"]

_SETUPS = (
    ("pnpm-lock.yaml", "pnpm install --frozen-lockfile"),
    ("yarn.lock", "yarn install --frozen-lockfile"),
    ("package-lock.json", "npm ci"),
    ("npm-shrinkwrap.json", "npm ci"),
    ("package.json", "npm install"),
    ("uv.lock", "uv sync"),
    ("requirements.txt", "python3 -m venv .venv && .venv/bin/pip install -r requirements.txt"),
    ("pyproject.toml", "python3 -m venv .venv && .venv/bin/pip install ."),
)
_NODE_TESTS = (("pnpm-lock.yaml", "pnpm test"), ("yarn.lock", "yarn test"), ("package.json", "npm test"))
_PYTHON_TESTS = (("uv.lock", "uv run pytest"), ("requirements.txt", ".venv/bin/python -m pytest"))

_MOST = 1 << 20
"""Bytes of a package.json that are read for its test script."""
_STDERR = 2
_EXAMPLES = {"setup": "npm ci", "test": "npm test"}


def found_hooks(folder: Path, given: Hooks) -> Hooks:
    """Return the commands for a project: those given, else those its files call for."""
    tests = _NODE_TESTS if _has_test_script(folder) else _PYTHON_TESTS
    return Hooks(setup=given.setup or _first(folder, _SETUPS), test=given.test or _first(folder, tests))


def _first(folder: Path, choices: tuple[tuple[str, str], ...]) -> str | None:
    return next((command for name, command in choices if (folder / name).is_file()), None)


class _Scripts(msgspec.Struct):
    test: str = ""


class _Package(msgspec.Struct):
    scripts: _Scripts = msgspec.field(default_factory=_Scripts)


def _has_test_script(folder: Path) -> bool:
    """Whether package.json, which may come out of anybody's archive, has one; a broken one has none."""
    try:
        content = read_within(folder, folder, "package.json", _MOST)
        package = msgspec.json.decode(content.removeprefix(b"\xef\xbb\xbf"), type=_Package)
    except (OSError, ProjectError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return package.scripts.test != ""


def run_hook(name: str, command: str | None, folder: Path) -> str:
    """Run a command of the project in `folder`, its output on stderr; return the command.

    Raises `RestoreError` where there is none, or it fails.
    """
    if command is None:
        raise RestoreError(
            f"the files are restored, but no {name} command is known for them; "
            f"set backup.hooks.{name}, e.g. '{_EXAMPLES[name]}'"
        )
    done = subprocess.run(command, shell=True, cwd=folder, stdout=_STDERR, check=False)  # noqa: S602
    if done.returncode:
        raise RestoreError(f"the {name} command '{command}' ended with {done.returncode} in {folder}")
    return command
