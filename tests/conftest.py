"""A project like a user's, and a way to run the tasks on it."""

from __future__ import annotations

import io
import os
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from hypothesis import settings
from invoke import Program
from support import Installed, Outcome, Run, git

import tasks
from backup_lib.archive import limits

settings.register_profile("patient", settings(deadline=None))  # a busy machine fails no test
settings.load_profile("patient")


@pytest.fixture(autouse=True)
def own_environment(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the settings of the machine, or leaves any there."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    (home / ".gitconfig").write_text(
        "[user]\nname = A Tester\nemail = tester@example.com\n[init]\ndefaultBranch = main\n"
    )
    for name in [name for name in os.environ if name.startswith(("INVOKE_", "SOURCE_DATE"))]:
        monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """No archive is refused for its processor time: coverage and a busy machine multiply it."""
    monkeypatch.setattr(limits, "_FREE_SECONDS", 600.0)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small web application in a git repository, with ignored configuration; the working directory."""
    root = tmp_path / "endpoint"
    (root / "src").mkdir(parents=True)
    (root / "node_modules" / "react").mkdir(parents=True)
    (root / "node_modules" / "react" / "index.js").write_text("module.exports = {};\n")
    (root / "package.json").write_text('{"name": "@heymarket/endpoint", "version": "1.1.0"}\n')
    (root / "src" / "server.js").write_text("require('http');\n")
    (root / "src" / "app.config.js").write_text("module.exports = {port: 80};\n")
    (root / ".gitignore").write_text("node_modules/\n.env\nbackups/\n")
    (root / ".env").write_text("SECRET=1\n")
    (root / "CHANGELOG.md").write_text("# Changelog\n\n## [1.1.0] - 2026-11-01\n\n### Added\n\n- A thing\n")
    git(root, "init")
    git(root, "add", "-A")
    git(root, "commit", "-m", "First")
    monkeypatch.chdir(root)
    return root


@pytest.fixture
def run(project: Path) -> Run:
    """Runs ``invoke`` with some arguments in the project."""

    def run_tasks(*arguments: str) -> Outcome:
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            try:
                Program(namespace=tasks.ns, version="3").run(["invoke", *arguments])
                code = 0
            except SystemExit as ended:
                code = int(ended.code or 0)
        return Outcome(code, out.getvalue(), err.getvalue())

    return run_tasks


@pytest.fixture
def installed(tmp_path: Path) -> Installed:
    """The package beside the project, as a wheel lays it down."""
    return Installed.at(tmp_path / "installed")
