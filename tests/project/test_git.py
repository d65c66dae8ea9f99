"""What is said of the repository is what git knows, whatever its shape and the environment."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import pytest

from backup_lib.errors import ProjectError
from backup_lib.model import GitState
from backup_lib.project.git import Repository, TagObject, find_root, open_repository
from backup_lib.project.rules import rules_for
from backup_lib.project.selection import select
from backup_lib.project.standing import _CLOCK_OF_FILES, Sight, Standing
from backup_lib.settings import Settings

from .conftest import Tree


def opened(root: Path) -> Repository:
    """Return the repository around a folder that has one."""
    repository = open_repository(root)
    assert repository is not None
    return repository


def standing(root: Path) -> tuple[Standing, dict[bytes, GitState]]:
    """Return how a scan of the folder stands to its commit, and the state of each path."""
    answers: list[Standing] = []

    def states(sights: Iterable[Sight]) -> tuple[GitState, ...]:
        time.sleep(0.02)  # what was made just before the scan is older than git's look, as in a real run
        with opened(root).comparing() as comparison:
            answers.append(comparison.standing(sights))
        return answers[0].states

    sources = select(root, rules_for(Settings(), root), states).sources
    return answers[0], {source.path: source.state for source in sources if source.kind != "directory"}


def states_of(root: Path) -> dict[bytes, GitState]:
    """Return the state of each file below a folder."""
    return standing(root)[1]


def test_tells_committed_modified_untracked_and_ignored_apart(repository: Tree) -> None:
    """Every file of the tree is in one state, links and staged files included."""
    repository.write(".gitignore", content=b"*.env\n!b.env\n")
    repository.write("same", "changed", "staged", "mode", "removed", "unindexed", "forced.env")
    (repository.root / "link").symlink_to("same")
    (repository.root / "turned").symlink_to("same")
    repository.commit()
    repository.git("add", "-f", "forced.env")
    repository.commit()
    repository.write("changed", "staged", content=b"other bytes\n")
    repository.write("added", "new/file", ".env", "b.env", content=b"x")
    repository.git("add", "staged", "added")
    (repository.root / "mode").chmod(0o755)
    (repository.root / "removed").unlink()
    (repository.root / "turned").unlink()
    (repository.root / "turned").symlink_to("else")
    repository.git("rm", "-q", "--cached", "unindexed")

    found, states = standing(repository.root)

    assert states == {
        b".gitignore": "committed", b"same": "committed", b"link": "committed", b"forced.env": "committed",
        b"changed": "modified", b"staged": "modified", b"mode": "modified", b"turned": "modified",
        b"added": "modified", b"unindexed": "modified",
        b"new/file": "untracked", b"b.env": "untracked", b".env": "ignored",
    }  # fmt: skip
    assert found.deleted == {b"removed"}
    assert found.unseen == {b"removed"}


def test_dropped_files_are_not_deleted(repository: Tree) -> None:
    """A file of the commit that a rule dropped is still in the tree; one behind a link is not."""
    repository.commit("dist/a", "keep", "sub/b")
    shutil.rmtree(repository.root / "sub")
    (repository.root / "sub").symlink_to("dist")
    repository.write("dist/b")

    found, _ = standing(repository.root)

    assert found.deleted == {b"sub/b"}


def test_hard_links_have_a_state_of_their_own(repository: Tree) -> None:
    """A second name of a committed file is judged by that name."""
    repository.commit("a")
    os.link(repository.root / "a", repository.root / "b")

    assert states_of(repository.root) == {b"a": "committed", b"b": "untracked"}


def test_names_are_bytes(repository: Tree) -> None:
    """Newlines, quotes, broken UTF-8, patterns and 255 bytes in names are nothing special."""
    names = [
        b"a\nb",
        b'"q"',
        b"\xff\xfe",
        b":(glob)*",
        b"-x",
        b"*",
        b" lead",
        b"n" * 255,
        b"back\\slash",
        "ü".encode(),
    ]
    repository.write(".gitignore", content=b"ignored*\n")
    repository.write(*(b"dir\n/" + name for name in names))
    repository.commit()
    repository.write(*(b"dir\n/new" + name[:200] for name in names))
    repository.write(*(b"dir\n/ignored" + name[:200] for name in names))

    states = states_of(repository.root)

    assert {states[b"dir\n/" + name] for name in names} == {"committed"}
    assert {states[b"dir\n/new" + name[:200]] for name in names} == {"untracked"}
    assert {states[b"dir\n/ignored" + name[:200]] for name in names} == {"ignored"}


def test_a_file_git_converts_is_not_called_as_committed(repository: Tree) -> None:
    """Line ends, keywords and filters make bytes that do not hash to the blob."""
    repository.write(
        ".gitattributes", content=b"* text eol=crlf\n.gitattributes -text\n*.id ident\n*.rot filter=rot\n"
    )
    repository.git("config", "filter.rot.clean", "tr a-z n-za-m")
    repository.git("config", "filter.rot.smudge", "tr a-z n-za-m")
    repository.write("a.txt", "b.id", "c.rot", content=b"line $Id$\r\n")
    repository.write("empty", content=b"")
    repository.commit()
    (repository.root / "b.id").unlink()
    repository.git("checkout", "b.id")

    assert states_of(repository.root) == {
        b".gitattributes": "committed", b"a.txt": "converted", b"b.id": "converted", b"c.rot": "converted",
        b"empty": "committed",
    }  # fmt: skip


def test_a_filter_that_keeps_the_size_is_seen(repository: Tree) -> None:
    """A file as long as its blob is still converted where it goes through a program."""
    repository.write(".gitattributes", content=b"*.rot filter=rot\n*.off -filter\n")
    repository.git("config", "filter.rot.clean", "tr a-z n-za-m")
    repository.commit("a.rot", "b.off", ".gitattributes")

    states = states_of(repository.root)

    assert states == {b".gitattributes": "committed", b"a.rot": "converted", b"b.off": "committed"}


@pytest.mark.parametrize(
    ("filters", "said"),
    [
        ({"process": "no-lfs filter-process"}, "no-lfs: not found"),
        ({"clean": "no-lfs clean -- %f"}, "no-lfs: not found"),
        ({"clean": "echo 'lfs: no space left' >&2; exit 3"}, "lfs: no space left"),
        ({"process": "echo 'warming up' >&2; echo nonsense"}, "warming up"),
    ],
    ids=["process", "clean", "its own line", "no filter"],
)
@pytest.mark.parametrize("flag", ["", "--assume-unchanged"])
def test_what_a_filter_says_is_shown(repository: Tree, filters: dict[str, str], said: str, flag: str) -> None:
    """git-LFS that is needed and missing is named, and whatever else a filter says before git gives up."""
    repository.commit("a.bin", ".gitattributes")
    if flag:
        repository.git("update-index", flag, "a.bin")
    repository.write(".gitattributes", content=b"*.bin filter=lfs\n")
    repository.git("config", "filter.lfs.required", "true")
    for name, command in filters.items():
        repository.git("config", f"filter.lfs.{name}", command)
    os.utime(repository.root / "a.bin", (1, 1))

    with pytest.raises(ProjectError, match=f"failed: .*{said}; .") as refused:
        standing(repository.root)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("flag", ["--assume-unchanged", "--skip-worktree"])
def test_a_file_git_does_not_look_at_is_not_called_as_committed(repository: Tree, flag: str) -> None:
    """Git was told to believe it; we do not."""
    repository.commit("a", "b")
    repository.git("update-index", flag, "a")
    repository.write("a", content=b"CONTENT\n")

    assert states_of(repository.root) == {b"a": "modified", b"b": "committed"}


def test_merge_conflicts_are_modified(repository: Tree) -> None:
    """A file with conflict markers is not what was committed."""
    repository.commit("a")
    repository.git("checkout", "-q", "-b", "side")
    repository.write("a", content=b"side\n")
    repository.commit("a")
    repository.git("checkout", "-q", "main")
    repository.write("a", content=b"main\n")
    repository.commit("a")
    with pytest.raises(subprocess.CalledProcessError):
        repository.git("merge", "-q", "side")

    assert states_of(repository.root) == {b"a": "modified"}


def test_before_the_first_commit(repository: Tree) -> None:
    """A repository without a commit has a branch, and files that are staged, ignored or untracked."""
    repository.write(".gitignore", content=b"*.env\n")
    repository.write("staged", "new", ".env", "HEAD")
    repository.git("add", "staged")
    found = opened(repository.root)

    assert (found.commit, found.branch, found.is_shallow) == (None, "main", False)
    assert found.tags_at_head() == ()
    assert states_of(repository.root) == {
        b".gitignore": "untracked", b"new": "untracked", b"HEAD": "untracked", b".env": "ignored",
        b"staged": "modified",
    }  # fmt: skip
    assert standing(repository.root)[0].unseen == frozenset()
    with pytest.raises(ProjectError, match=r"no commit yet to tag as v1\.0\.0; commit first"):
        found.create_tag("v1.0.0", "One")


def test_detached_head_has_no_branch(repository: Tree) -> None:
    """On a checked-out commit there is a commit but no branch."""
    first = repository.commit("a")
    repository.commit("b")
    repository.git("checkout", "-q", first)

    assert (opened(repository.root).commit, opened(repository.root).branch) == (first, None)


def test_shallow_clone_says_so(repository: Tree, tmp_path: Path) -> None:
    """A shallow clone is known for one; it does not have the older commits."""
    first = repository.commit("a")
    second = repository.commit("b")
    repository.git("clone", "-q", "--depth", "1", repository.root.as_uri(), str(tmp_path / "shallow"))
    clone = opened(tmp_path / "shallow")

    assert clone.is_shallow
    assert (clone.has_commit(second), clone.has_commit(first)) == (True, False)
    assert not opened(repository.root).is_shallow
    assert set(states_of(tmp_path / "shallow").values()) == {"committed"}


def test_worktree_has_its_own_branch(repository: Tree, tmp_path: Path) -> None:
    """A linked work tree is a root of its own."""
    commit = repository.commit("a")
    repository.git("worktree", "add", "-q", "-b", "side", str(tmp_path / "linked"))
    (tmp_path / "linked/b").write_text("x")
    found = opened(tmp_path / "linked")

    assert find_root(tmp_path / "linked") == tmp_path / "linked"
    assert (found.commit, found.branch) == (commit, "side")
    assert states_of(tmp_path / "linked") == {b"a": "committed", b"b": "untracked"}


@pytest.fixture
def with_submodule(repository: Tree, tmp_path: Path) -> Tree:
    """Return a repository with a committed submodule at lib/sub."""
    library = Tree(tmp_path / "library")
    library.root.mkdir()
    library.git("init", "-q")
    library.commit("code", "dir/more")
    repository.commit("a")
    repository.git("submodule", "--quiet", "add", library.root.as_uri(), "lib/sub")
    return repository


def test_files_of_a_submodule_are_told_apart(with_submodule: Tree) -> None:
    """What another repository holds is neither committed nor untracked here, committed or only added."""
    added = states_of(with_submodule.root)
    with_submodule.commit()
    with_submodule.write("lib/sub/new", "lib/sub2")

    states = states_of(with_submodule.root)

    assert states == {
        b".gitmodules": "committed", b"a": "committed", b"lib/sub/code": "submodule",
        b"lib/sub/dir/more": "submodule", b"lib/sub/new": "submodule", b"lib/sub2": "untracked",
    }  # fmt: skip
    assert added[b"lib/sub/code"] == "submodule"
    assert set(opened(with_submodule.root).blobs("HEAD")) == {b".gitmodules", b"a"}


def test_a_submodule_is_a_root_of_its_own(with_submodule: Tree) -> None:
    """Inside a submodule the project is the submodule."""
    sub = with_submodule.root / "lib/sub"

    assert find_root(sub / "dir") == sub
    assert states_of(sub) == {b"code": "committed", b"dir/more": "committed"}


def test_files_of_a_repository_inside_are_untracked(repository: Tree) -> None:
    """A repository that is merely lying there is not a submodule."""
    repository.commit("a")
    inner = Tree(repository.root / "inner")
    inner.root.mkdir()
    inner.git("init", "-q")
    inner.commit("code")

    assert states_of(repository.root) == {b"a": "committed", b"inner/code": "untracked"}


def test_paths_are_below_the_root(repository: Tree) -> None:
    """A project in a folder of the work tree has paths below that folder, whatever its name."""
    repository.write(".gitignore", content=b"*.env\n")
    commit = repository.commit(".gitignore", "su[b] */a", "su[b] */gone", "sub x/other", "top")
    root = repository.root / "su[b] *"
    (root / "gone").unlink()
    repository.write("su[b] */x.env", "su[b] */new", "su[b] */a", content=b"changed")
    found = opened(root)

    assert found.tree.prefix == b"su[b] */"
    assert found.tree.top == repository.root
    assert states_of(root) == {b"a": "modified", b"new": "untracked", b"x.env": "ignored"}
    assert standing(root)[0].deleted == {b"gone"}
    assert set(found.blobs(commit)) == {b"a", b"gone"}
    assert found.file_at(commit, b"a") == b"content\n"


def test_files_of_a_commit(repository: Tree) -> None:
    """Blob ids and contents are those of the commit, links included, folders not."""
    repository.write("dir/a\nb", content=b"\x00bytes")
    (repository.root / "link").symlink_to("dir")
    commit = repository.commit()
    found = opened(repository.root)

    assert found.blobs(commit) == {
        b"dir/a\nb": repository.git("hash-object", "dir/a\nb"),
        b"link": repository.git("rev-parse", "HEAD:link"),
    }
    assert found.file_at(commit, b"dir/a\nb") == b"\x00bytes"
    assert found.file_at(commit, b"link") == b"dir"
    assert found.file_at(commit, b"dir") is None
    assert found.file_at(commit, b"nowhere") is None


@pytest.mark.parametrize("unknown", ["0" * 40, "--all", "nothing"])
def test_an_unknown_commit_is_an_error(repository: Tree, unknown: str) -> None:
    """What the repository does not hold is not taken for empty."""
    repository.commit("a")
    found = opened(repository.root)

    assert not found.has_commit(unknown)
    with pytest.raises(ProjectError, match="listing the files of"):
        found.blobs(unknown)
    with pytest.raises(ProjectError, match="looking for a in"):
        found.file_at(unknown, b"a")


def test_tags(repository: Tree) -> None:
    """Tags of both kinds are found, and lead to their commit."""
    first = repository.commit("a")
    found = opened(repository.root)

    assert found.create_tag("v1.0.0", "One\n# not a comment\n")
    assert repository.git("cat-file", "-t", "v1.0.0") == "tag"
    assert repository.git("tag", "-l", "--format=%(contents)", "v1.0.0") == "One\n# not a comment"
    repository.git("tag", "plain")
    assert found.tags_at_head() == ("plain", "v1.0.0")
    assert found.tag_commit("v1.0.0") == found.tag_commit("plain") == first
    assert found.tag_commit("v2.0.0") is None


def test_a_tag_is_made_once(repository: Tree) -> None:
    """The same tag again is no error at its commit, and one clear line anywhere else."""
    repository.commit("a")

    assert opened(repository.root).create_tag("v1.0.0", "One")
    assert not opened(repository.root).create_tag("v1.0.0", "One")
    repository.commit("b")
    with pytest.raises(ProjectError, match=r"v1\.0\.0 is at [0-9a-f]{12} already, but HEAD is [0-9a-f]{12}"):
        opened(repository.root).create_tag("v1.0.0", "One")


def test_a_tag_is_known_by_what_it_is(repository: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who makes it and when can be told before it is made; a lightweight tag has neither, nor a message."""
    first = repository.commit("a")
    found = opened(repository.root)
    monkeypatch.setenv("GIT_COMMITTER_DATE", "@1700000000 +0130")
    tagger = found.tagger("v1.0.0")
    monkeypatch.delenv("GIT_COMMITTER_DATE")

    assert found.create_tag("v1.0.0", "One\n\nand more\n", tagger=tagger)
    repository.git("tag", "plain")
    assert found.tag_object("v1.0.0") == TagObject(
        repository.git("rev-parse", "v1.0.0"), first, tagger, "One\n\nand more"
    )
    assert tagger.endswith("> 1700000000 +0130")
    assert found.tag_object("plain") == TagObject(first, "", "", "")
    assert found.tag_object("v2.0.0") is None


def test_a_tag_is_deleted_only_if_it_is_what_was_found(repository: Tree) -> None:
    """One that was moved in between stays, and that is one clear line."""
    repository.commit("a")
    found = opened(repository.root)
    found.create_tag("v1.0.0", "One")
    before = found.tag_object("v1.0.0")
    assert before
    repository.git("tag", "--force", "--annotate", "v1.0.0", "--message", "Two")

    with pytest.raises(ProjectError, match=r"deleting the tag v1\.0\.0 failed: cannot lock ref"):
        found.delete_tag("v1.0.0", before)
    after = found.tag_object("v1.0.0")
    assert after
    assert after.message == "Two"
    found.delete_tag("v1.0.0", after)
    assert found.tag_object("v1.0.0") is None


def test_why_a_tag_cannot_be_made(repository: Tree) -> None:
    """No name, no key, no legal tag: each is one line that says what to do."""
    repository.commit("a")
    found = opened(repository.root)

    with pytest.raises(ProjectError, match="making the tag a b failed: 'a b' is not a valid tag name"):
        found.create_tag("a b", "One")
    repository.git("config", "gpg.program", "/bin/false")
    with pytest.raises(ProjectError, match=r"signing the tag v1\.0\.0 failed: .*user\.signingKey"):
        found.create_tag("v1.0.0", "One", sign=True)
    repository.git("config", "--global", "--unset", "user.email")
    repository.git("config", "user.useConfigOnly", "true")
    with pytest.raises(ProjectError, match=r"who makes the tag; run git config --global user\.name"):
        found.create_tag("v1.0.0", "One")
    with pytest.raises(ProjectError, match="who makes the tag"):
        found.tagger("v1.0.0")
    assert found.tag_commit("v1.0.0") is None


def test_the_environment_leads_nowhere_else(
    repository: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Run inside a hook of another repository, git still answers for this one."""
    commit = repository.commit("a")
    other = Tree(tmp_path / "other")
    other.root.mkdir()
    other.git("init", "-q")
    other.commit("b")
    monkeypatch.setenv("GIT_DIR", str(other.root / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other.root))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other.root / ".git/index"))

    assert opened(repository.root).commit == commit
    assert states_of(repository.root) == {b"a": "committed"}


def test_asking_changes_nothing(repository: Tree) -> None:
    """The index is not rewritten, though git would like to refresh it."""
    repository.commit("a")
    os.utime(repository.root / "a", (1, 1))
    before = (repository.root / ".git/index").read_bytes()

    assert states_of(repository.root) == {b"a": "committed"}
    assert (repository.root / ".git/index").read_bytes() == before


def test_finds_the_work_tree_around_a_folder(repository: Tree, tmp_path: Path) -> None:
    """From a sub-folder or through a link the root is the same; outside there is none."""
    repository.write("deep/er/")
    (tmp_path / "link").symlink_to(repository.root / "deep")
    repository.write("deep/.git/")

    assert find_root(repository.root / "deep/er") == repository.root
    assert find_root(tmp_path / "link/er") == repository.root
    assert find_root(tmp_path) is None
    assert open_repository(tmp_path) is None


def test_a_bare_repository_is_no_work_tree(tmp_path: Path) -> None:
    """There are no files to back up in a bare repository."""
    subprocess.run(["git", "init", "-q", "--bare", tmp_path / "bare.git"], check=True)

    assert find_root(tmp_path / "bare.git") is None


@pytest.mark.parametrize("content", ["gitdir: /nowhere\n", "nonsense"])
def test_a_broken_git_file_is_an_error(tree: Tree, content: str) -> None:
    """A work tree whose repository is gone is not silently backed up as one without git."""
    (tree.root / ".git").write_text(content)

    with pytest.raises(
        ProjectError, match=r"\.git does not lead to a git repository; see git worktree repair"
    ):
        find_root(tree.root)


def test_what_changes_while_git_looks_is_not_told_as_committed(repository: Tree) -> None:
    """A file of the same size that changed after git began to look may have been missed by it."""
    repository.commit("a", "b")
    found = opened(repository.root)

    with found.comparing() as comparison:
        comparison.answer.result()
        repository.write("a", content=b"CONTENT\n")
        sources = select(repository.root, rules_for(Settings(), repository.root)).sources
        sights = [Sight(source.path, source.size, source.ctime_ns) for source in sources if source.path]
        states = comparison.standing(sights).states

    assert dict(zip([sight.path for sight in sights], states, strict=True)) == {
        b"a": "modified",
        b"b": "committed",
    }


def test_the_clock_of_files_is_never_ahead_of_them(tmp_path: Path) -> None:
    """What changes after git began to look has a later time than that: the kernel stamps by whole ticks."""
    for number in range(300):
        began_ns = time.clock_gettime_ns(_CLOCK_OF_FILES)
        (tmp_path / str(number)).mkdir()
        assert (tmp_path / str(number)).stat().st_ctime_ns >= began_ns


def test_files_from_the_future_are_as_committed(repository: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the clock was set back, what was changed before is not taken for changed just now."""
    repository.commit("a")
    ago = time.time_ns() - 10**18
    monkeypatch.setattr(time, "clock_gettime_ns", lambda _: ago)
    monkeypatch.setattr(time, "time_ns", lambda: ago + 10**9)

    assert states_of(repository.root) == {b"a": "committed"}


def test_a_commit_made_meanwhile_is_not_mixed_with_the_one_before(repository: Tree) -> None:
    """What git finds to be as in the new commit is not told as being as in the old one."""
    repository.commit("a")
    repository.write("a", content=b"CONTENT\n")
    found = opened(repository.root)
    repository.commit("a")

    with pytest.raises(ProjectError, match="HEAD moved"), found.comparing() as comparison:
        comparison.standing([])


def test_a_broken_repository_is_an_error(repository: Tree) -> None:
    """A repository that git cannot read is one clear line, also where the tree is compared."""
    repository.commit("a")
    found = opened(repository.root)
    (repository.root / ".git/HEAD").write_text("nonsense\n")

    with pytest.raises(ProjectError, match=r"opening the repository .* failed: "):
        open_repository(repository.root)
    with (
        pytest.raises(ProjectError, match="comparing the tree with the commit failed: "),
        found.comparing() as comparison,
    ):
        comparison.standing([])


def test_a_work_tree_elsewhere_is_an_error(repository: Tree, tmp_path: Path) -> None:
    """Where git's settings put the work tree elsewhere, we do not mix the two."""
    repository.commit("a")
    repository.git("config", "core.worktree", str(tmp_path))

    with pytest.raises(ProjectError, match="has its work tree at"):
        open_repository(repository.root)


def test_git_missing_is_an_error_only_where_there_is_a_repository(
    repository: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without git a project that uses it is not backed up as if it did not."""
    monkeypatch.setenv("PATH", str(tmp_path))

    assert open_repository(tmp_path) is None
    with pytest.raises(ProjectError, match="git is not installed, but the project has a git repository"):
        open_repository(repository.root)


def test_git_missing_from_the_start_is_an_error_too(repository: Tree, tmp_path: Path) -> None:
    """GitPython looks for git when it is first imported; that failure is translated too."""
    asked = f"open_repository(Path({str(repository.root)!r}))"
    code = f"from pathlib import Path; from backup_lib.project.git import *; {asked}"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PATH": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
    )

    assert "ProjectError: git is not installed" in done.stderr


def test_finding_the_root_does_not_load_gitpython() -> None:
    """Start-up is part of the speed."""
    code = (
        "import sys; from pathlib import Path; import backup_lib.project.git as g; "
        "import backup_lib.project.selection; "
        "import backup_lib.project.version; g.find_root(Path('/')); "
        "sys.exit(any(name in sys.modules for name in ('git', 'pathspec', 're2', 'semver')))"
    )

    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder away")
def test_a_repository_of_somebody_else_is_refused_with_advice(repository: Tree) -> None:
    """Git's own advice is passed on, in one line."""
    repository.commit("a")
    for place in (repository.root, repository.root / ".git"):
        os.chown(place, 12345, 12345)

    with pytest.raises(
        ProjectError, match=r"git does not trust .*; if you do, run: git config --global --add safe"
    ):
        open_repository(repository.root)
