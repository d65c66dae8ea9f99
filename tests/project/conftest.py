"""Real trees and real git repositories."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

_CONFIG = """[user]
\tname = A Person
\temail = person@example.com
[init]
\tdefaultBranch = main
[protocol "file"]
\tallow = always
[advice]
\tdetachedHead = false
"""


class Tree:
    """A folder to fill, and git in it."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def git(self, *command: str) -> str:
        """Run git; return what it printed."""
        done = subprocess.run(["git", "-C", self.root, *command], check=True, capture_output=True)
        return os.fsdecode(done.stdout).strip()

    def write(self, *paths: str | bytes, content: bytes = b"content\n") -> None:
        """Write files; a path that ends with a slash is a folder."""
        for path in paths:
            place = os.path.join(os.fsencode(self.root), os.fsencode(path))
            os.makedirs(os.path.dirname(place), exist_ok=True)
            if not place.endswith(b"/"):
                with open(place, "wb") as file:
                    file.write(content)

    def commit(self, *paths: str, message: str = "Change") -> str:
        """Commit files, made where missing; return the commit's id."""
        self.write(*(path for path in paths if not (self.root / path).exists()))
        self.git("add", "-A", "--", *(paths or (".",)))
        self.git("commit", "-q", "--allow-empty", "-m", message)
        return self.git("rev-parse", "HEAD")


@pytest.fixture(autouse=True)
def _own_git_settings(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path_factory.mktemp("home")
    (home / ".gitconfig").write_text(_CONFIG)
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(home / ".gitconfig"))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """Return an empty folder without git."""
    (tmp_path / "tree").mkdir()
    return Tree(tmp_path / "tree")


@pytest.fixture
def repository(tree: Tree) -> Tree:
    """Return a repository before its first commit."""
    tree.git("init", "-q")
    return tree
