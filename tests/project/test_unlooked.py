"""A file that git is told not to look at is compared all the same, as git would."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from .conftest import Tree
from .test_git import standing, states_of

FLAGS = ["--assume-unchanged", "--skip-worktree"]


@pytest.mark.parametrize("flag", FLAGS)
def test_it_is_committed_if_it_equals_the_commit(repository: Tree, flag: str) -> None:
    """Files, links, executables and odd names, with a new time, one that differs beside them."""
    odd = [b"a\nb", b'"q"', b"\xff\xfe", b"-x", b"end\r", b"back\\slash", b" "]
    repository.write(*odd, "plain", "run", "other", "mode", "sub/deep/x")
    (repository.root / "run").chmod(0o755)
    (repository.root / "link").symlink_to("plain")
    (repository.root / "turned").symlink_to("plain")
    repository.commit()
    files = [*odd, b"plain", b"run", b"other", b"mode", b"link", b"turned", b"sub/deep/x"]
    repository.git("update-index", flag, "--", *map(os.fsdecode, files))
    repository.write("other", content=b"CONTENT\n")
    (repository.root / "mode").chmod(0o755)
    (repository.root / "turned").unlink()
    (repository.root / "turned").symlink_to("PLAIN")
    os.utime(repository.root / "plain", (1, 1))
    different = {b"other", b"mode", b"turned"}

    found, states = standing(repository.root)

    assert states == {path: "modified" if path in different else "committed" for path in files}
    assert found.changed == different
    assert set(found.unlooked) == different
    assert found.unlooked[b"other"] == flag.removeprefix("--")


def test_it_goes_through_the_filters(repository: Tree) -> None:
    """Line ends that git converts are no difference, and told as converted."""
    repository.write(".gitattributes", content=b"*.txt text eol=crlf\n*.rot filter=rot\n")
    repository.git("config", "filter.rot.clean", "tr a-z n-za-m")
    repository.write("a.txt", "b.txt", content=b"line\r\n")
    repository.write("c.rot", "d.rot")
    repository.commit()
    repository.git("update-index", "--skip-worktree", "a.txt", "b.txt", "c.rot", "d.rot")
    repository.write("b.txt", content=b"LINE\r\n")
    repository.write("d.rot", content=b"CONTENT\n")

    assert states_of(repository.root) == {
        b".gitattributes": "committed", b"a.txt": "converted", b"b.txt": "modified",
        b"c.rot": "converted", b"d.rot": "modified",
    }  # fmt: skip


def test_the_executable_bit_counts_only_where_git_counts_it(repository: Tree) -> None:
    """On a file system without modes every file is executable."""
    repository.commit("a")
    repository.git("update-index", "--assume-unchanged", "a")
    (repository.root / "a").chmod(0o755)
    assert states_of(repository.root) == {b"a": "modified"}
    repository.git("config", "core.fileMode", "false")
    assert states_of(repository.root) == {b"a": "committed"}


def test_what_is_staged_is_modified_all_the_same(repository: Tree) -> None:
    """A file that equals the index, but not the commit; one that was only added."""
    repository.commit("a", "b")
    repository.write("a", content=b"CONTENT\n")
    repository.write("c")
    repository.git("add", "a", "c")
    repository.git("update-index", "--skip-worktree", "a", "b", "c")

    assert states_of(repository.root) == {b"a": "modified", b"b": "committed", b"c": "modified"}


def test_what_stands_elsewhere_or_is_no_file_differs(repository: Tree) -> None:
    """A fifo is not waited for, a link is not followed, a folder is no file."""
    repository.commit("fifo", "folder", "link", "sub/a", "sub/b")
    repository.git("update-index", "--assume-unchanged", "fifo", "folder", "link", "sub/a", "sub/b")
    for name in ("fifo", "folder"):
        (repository.root / name).unlink()
    os.mkfifo(repository.root / "fifo")
    repository.write("folder/x")
    (repository.root / "link").rename(repository.root / "elsewhere")
    (repository.root / "link").symlink_to("elsewhere")
    (repository.root / "sub").rename(repository.root / "moved")
    (repository.root / "sub").symlink_to("moved")

    found, states = standing(repository.root)

    assert set(found.unlooked) == {b"fifo", b"folder", b"link", b"sub/a", b"sub/b"}
    assert states[b"link"] == "modified"


def test_what_a_sparse_checkout_does_not_show_is_not_there(repository: Tree) -> None:
    """It is in the commit, not in the tree: deleted, and the flag is told."""
    repository.commit("src/a", "docs/b", "docs/c")
    repository.git("sparse-checkout", "set", "--cone", "src")

    found, states = standing(repository.root)

    assert states == {b"src/a": "committed"}
    assert found.deleted == {b"docs/b", b"docs/c"}
    assert found.unlooked == {b"docs/b": "skip-worktree", b"docs/c": "skip-worktree"}


def test_both_flags_and_a_root_below_the_top(repository: Tree) -> None:
    """Paths are below the project's root, and what lies beside it is not looked at."""
    repository.commit("su[b] */same", "su[b] */other", "top")
    for flag in FLAGS:
        repository.git("--literal-pathspecs", "update-index", flag, "su[b] */same", "su[b] */other", "top")
    repository.write("su[b] */other", "top", content=b"CONTENT\n")

    found, states = standing(repository.root / "su[b] *")

    assert states == {b"same": "committed", b"other": "modified"}
    assert found.unlooked == {b"other": "skip-worktree and assume-unchanged"}


def test_in_a_repository_of_sha256(tree: Tree) -> None:
    """Links are hashed as the repository hashes."""
    try:
        tree.git("init", "-q", "--object-format=sha256")
    except subprocess.CalledProcessError:
        pytest.skip("this git knows no sha256")
    (tree.root / "link").symlink_to("a")
    tree.commit("a", "link")
    tree.git("update-index", "--skip-worktree", "a", "link")

    assert states_of(tree.root) == {b"a": "committed", b"link": "committed"}


@pytest.mark.parametrize("flag", FLAGS)
def test_a_submodule_is_looked_into(repository: Tree, tmp_path: Path, flag: str) -> None:
    """At another commit, with a change or something new it differs; as it was, or not there, it does not."""
    library = Tree(tmp_path / "library")
    library.root.mkdir()
    library.git("init", "-q")
    library.commit("code")
    repository.git("submodule", "--quiet", "add", library.root.as_uri(), "sub")
    repository.commit()
    repository.git("update-index", flag, "sub")
    sub = Tree(repository.root / "sub")
    assert standing(repository.root)[0].unlooked == {}
    sub.write("new")
    assert standing(repository.root)[0].unlooked == {b"sub": flag.removeprefix("--")}
    sub.commit("new")
    assert set(standing(repository.root)[0].unlooked) == {b"sub"}
    sub.git("reset", "-q", "--hard", "HEAD~")
    sub.write("code", content=b"CONTENT\n")
    assert set(standing(repository.root)[0].unlooked) == {b"sub"}
    shutil.rmtree(sub.root)
    sub.root.mkdir()
    assert standing(repository.root)[0].unlooked == {}
