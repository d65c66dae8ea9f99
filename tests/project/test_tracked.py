"""What git tracks is dropped by nobody but a person, whatever its shape and wherever it stands."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backup_lib.errors import ProjectError
from backup_lib.project.git import open_repository
from backup_lib.project.rules import rules_for
from backup_lib.project.selection import Selection, select
from backup_lib.project.tracked import Tracked
from backup_lib.settings import Settings

from .conftest import Tree


def chosen(root: Path, wanted: Settings | None = None, store: str = "backups") -> Selection:
    """Return the selection of a project in a git repository."""
    repository = open_repository(root)
    assert repository is not None
    with repository.comparing() as comparison:
        rules = rules_for(wanted or Settings(), root, root / store, comparison.tracked)
        return select(root, rules)


def kept(selection: Selection) -> set[bytes]:
    """Return the paths of the files that are kept."""
    return {source.path for source in selection.sources if source.kind != "directory"}


def dropped(selection: Selection) -> dict[bytes, str]:
    """Return the rule for each path that is left out, ``.git`` aside."""
    return {each.path: str(each.rule) for each in selection.dropped if each.path != b".git/"}


names = st.sampled_from([b"a", b"a.b", b"a-b", b"a0", b"b", b"\xff", b"c d", b"\n"])
paths = st.lists(names, min_size=1, max_size=4).map(b"/".join)


@given(st.sets(paths, max_size=12), st.sets(paths, max_size=3), st.lists(paths, max_size=20))
def test_paths_are_found_where_they_lie(there: set[bytes], more: set[bytes], asked: list[bytes]) -> None:
    """A path is held if it was put in; a folder holds something if a path begins with it."""
    runs = tuple(b"".join(path + b"\0" for path in sorted(some)) for some in (there, more) if some)
    tracked = Tracked(runs, frozenset(more))
    for path in (*asked, *there):
        assert tracked.holds(path, False) == (path in there | more)
        assert tracked.holds(path, True) == (path in more)
        assert tracked.below(path + b"/") == any(each.startswith(path + b"/") for each in there | more)


def test_only_the_tracked_files_of_a_dropped_folder_are_kept(repository: Tree) -> None:
    """Committed, staged, or taken out of the index but not out of the commit: each is kept, and no other."""
    repository.commit("dist/a.js", "dist/deep/er/b.js", "build/c", "web/node_modules/fixture/x", ".DS_Store")
    repository.write("dist/new.js", "dist/map/x", "dist/deep/er/new", "coverage/x", "node_modules/y")
    repository.write("build/staged", "build/not", "web/node_modules/y/z", "sub/.DS_Store")
    repository.git("add", "-f", "build/staged")
    repository.git("rm", "-q", "--cached", "build/c")

    selection = chosen(repository.root)

    assert kept(selection) == {
        b".DS_Store", b"build/c", b"build/staged", b"dist/a.js", b"dist/deep/er/b.js",
        b"web/node_modules/fixture/x",
    }  # fmt: skip
    assert dropped(selection) == {
        b"build/not": "build/ (built-in)",
        b"coverage/": "coverage/ (built-in)",
        b"dist/deep/er/new": "dist/ (built-in)",
        b"dist/map/": "dist/ (built-in)",
        b"dist/new.js": "dist/ (built-in)",
        b"node_modules/": "node_modules/ (built-in)",
        b"sub/.DS_Store": ".DS_Store (built-in)",
        b"web/node_modules/y/": "node_modules/ (built-in)",
    }
    assert b"dist/map" not in {source.path for source in selection.sources}


def test_marked_folders_keep_what_is_tracked(repository: Tree) -> None:
    """A fixture that is a virtual environment, a cache with a file in git, a target that is committed."""
    tag = b"Signature: 8a477f597d28d172789f06886806bc55"
    repository.write("cached/CACHEDIR.TAG", content=tag)
    repository.commit("env/pyvenv.cfg", "env/bin/python", "cached/keep", "Cargo.toml", "target/sub/committed")
    repository.write("env/lib/x", "target/sub/x", "target/debug/x")

    selection = chosen(repository.root)

    assert kept(selection) == {
        b"env/pyvenv.cfg", b"env/bin/python", b"cached/keep", b"Cargo.toml", b"target/sub/committed",
    }  # fmt: skip
    assert dropped(selection) == {
        b"cached/CACHEDIR.TAG": "CACHEDIR.TAG in it (built-in)",
        b"env/lib/": "pyvenv.cfg in it (built-in)",
        b"target/debug/": "target/ beside Cargo.toml (built-in)",
        b"target/sub/x": "target/ beside Cargo.toml (built-in)",
    }


def test_gitignore_drops_nothing_that_git_tracks(repository: Tree) -> None:
    """A file that was added by force, and one in a folder that is ignored, are git's all the same."""
    repository.write(".gitignore", content=b"*.log\nlogs/\nsecret\n")
    repository.write("a.log", "b.log", "logs/.keep", "logs/sub/x", "secret", "dist/c.log", "dist/d.log")
    repository.git("add", "-f", ".gitignore", "a.log", "logs/.keep", "dist/c.log")
    repository.git("commit", "-q", "-m", "Forced")

    selection = chosen(repository.root, Settings(use_gitignore=True))

    assert kept(selection) == {b".gitignore", b"a.log", b"logs/.keep", b"dist/c.log"}
    assert dropped(selection) == {
        b"b.log": "*.log (.gitignore:1)",
        b"dist/d.log": "*.log (.gitignore:1)",
        b"logs/sub/": "logs/ (.gitignore:2)",
        b"secret": "secret (.gitignore:3)",
    }


def test_what_a_person_writes_drops_anything(repository: Tree) -> None:
    """exclude and .backupignore ask nobody, at the root, below a dropped folder, and for all of one."""
    repository.write("dist/.backupignore", content=b"*.map\n")
    repository.commit(
        "dist/.backupignore", "dist/a.js", "dist/a.map", "dist/b.css", "build/x", "src/y.css", "docs/z"
    )
    repository.commit("coverage/w")
    repository.write(".backupignore", content=b"docs/\n")
    wanted = Settings(exclude=("*.css", "build/"), include=("build/none", "coverage/none"))

    selection = chosen(repository.root, wanted)

    assert kept(selection) == {b".backupignore", b"dist/.backupignore", b"dist/a.js", b"coverage/w"}
    assert dropped(selection) == {
        b"build/": "build/ (setting exclude)",
        b"dist/a.map": "*.map (dist/.backupignore:1)",
        b"dist/b.css": "*.css (setting exclude)",
        b"docs/": "docs/ (.backupignore:1)",
        b"src/y.css": "*.css (setting exclude)",
    }


def test_nothing_built_in_is_kept_below_what_a_person_drops(repository: Tree) -> None:
    """Where include leads into a folder that a person dropped, only what it names comes back."""
    repository.commit("stuff/dist/a", "stuff/dist/b", "stuff/c")

    selection = chosen(repository.root, Settings(exclude=("stuff/",), include=("stuff/dist/b",)))

    assert kept(selection) == {b"stuff/dist/b"}
    assert dropped(selection) == {b"stuff/": "stuff/ (setting exclude)"}


def test_include_and_git_bring_back_together(repository: Tree) -> None:
    """In a dropped folder stays what git tracks and what include names; ``!`` of a person brings back all."""
    repository.commit("dist/a", "build/b")
    repository.write("dist/named", "dist/other", "dist/sub/x", "dist/sub/y", "build/new")
    wanted = Settings(exclude=("!build/",), include=("dist/named", "dist/sub/x"))

    selection = chosen(repository.root, wanted)

    assert kept(selection) == {b"build/b", b"build/new", b"dist/a", b"dist/named", b"dist/sub/x"}
    assert dropped(selection) == {b"dist/other": "dist/ (built-in)", b"dist/sub/": "dist/ (built-in)"}


def test_what_never_goes_in_stays_out_although_git_tracks_it(repository: Tree) -> None:
    """An archive, a restored tree and a leftover that somebody committed are in no backup."""
    repository.commit("backups/v1/a.tar.gz", "restored/v1/x", ".a.0123abcd.partial", "sub/restored/y", "a")

    selection = chosen(repository.root, Settings(include=("backups/v1/a.tar.gz", "/restored/")))

    assert kept(selection) == {b"a", b"sub/restored/y"}


def test_a_file_in_place_of_a_folder_and_a_folder_in_place_of_a_file(repository: Tree) -> None:
    """A tracked file or link called dist is kept; where it became a folder, what is new in it is not."""
    (repository.root / "sub").mkdir()
    (repository.root / "sub/dist").symlink_to("../a")
    repository.commit("dist", "sub/dist", "build", "coverage/x", "a")
    (repository.root / "build").unlink()
    repository.write("build/new")
    shutil.rmtree(repository.root / "coverage")
    repository.write("coverage")

    selection = chosen(repository.root)

    assert kept(selection) == {b"dist", b"sub/dist", b"coverage", b"a"}
    assert dropped(selection) == {b"build/": "build/ (built-in)"}


def test_before_the_first_commit_the_index_counts(repository: Tree) -> None:
    """There is no HEAD to ask about yet."""
    repository.write("dist/a", "dist/b", "c")
    repository.git("add", "dist/a")

    assert kept(chosen(repository.root)) == {b"dist/a", b"c"}


def test_conflicts_and_odd_names_are_tracked(repository: Tree) -> None:
    """A file in the midst of a merge, and names with any bytes."""
    odd = [b"a\nb", b'"q"', b"\xff\xfe", b":(glob)*", b"-x", b" ", b"tab\there", "ü".encode()]
    repository.write(*(b"dist/" + name for name in odd), "build/a")
    repository.commit()
    repository.git("checkout", "-q", "-b", "side")
    repository.write("build/a", content=b"side\n")
    repository.commit()
    repository.git("checkout", "-q", "main")
    repository.write("build/a", content=b"main\n")
    repository.commit()
    with pytest.raises(subprocess.CalledProcessError):
        repository.git("merge", "-q", "side")
    repository.write(b"dist/\xff", b"dist/\xff\xfe\xfd", "dist/new")

    assert kept(chosen(repository.root)) == {b"build/a", *(b"dist/" + name for name in odd)}


def test_paths_are_below_the_root(repository: Tree) -> None:
    """In a project that is a folder of the repository, and in one that git ignores altogether."""
    repository.write(".gitignore", content=b"ignored/\n")
    repository.commit("su[b] */dist/a", "dist/b", "su[b] */c", ".gitignore")
    repository.write("su[b] */dist/b", "dist/new", "ignored/dist/x", "ignored/y")

    assert kept(chosen(repository.root / "su[b] *")) == {b"dist/a", b"c"}
    assert kept(chosen(repository.root / "ignored")) == {b"y"}


def test_a_sparse_checkout_tracks_what_it_does_not_show(repository: Tree) -> None:
    """Also where the index is sparse itself, tracked files that came back are kept."""
    repository.commit("dist/a", "src/b", "docs/dist/c")
    repository.git("sparse-checkout", "set", "--cone", "--sparse-index", "src")
    repository.write("docs/dist/c", "docs/dist/new")

    selection = chosen(repository.root)

    assert kept(selection) == {b"src/b", b"docs/dist/c"}
    assert dropped(selection) == {b"docs/dist/new": "dist/ (built-in)"}


def test_submodules_track_what_is_in_them(repository: Tree, tmp_path: Path) -> None:
    """Their own dist/, also of one inside another, and all of one that is called build itself."""
    inner, library = Tree(tmp_path / "inner"), Tree(tmp_path / "library")
    for each in (inner, library):
        each.root.mkdir()
        each.git("init", "-q")
        each.commit("code", "dist/a")
    library.git("submodule", "--quiet", "add", inner.root.as_uri(), "node_modules/in")
    library.commit(message="Inner")
    repository.commit("lib-x", "a")
    for place in ("lib", "web/build"):
        repository.git("submodule", "--quiet", "add", library.root.as_uri(), place)
    repository.git("submodule", "--quiet", "update", "--init", "--recursive")
    repository.write("lib/dist/new", "lib/node_modules/b/x", "web/build/new", "web/build/dist/new")

    selection = chosen(repository.root)

    below = {b".gitmodules", b"code", b"dist/a", b"node_modules/in/code", b"node_modules/in/dist/a"}
    assert kept(selection) == {
        b".gitmodules", b"lib-x", b"a", b"web/build/new",
        *(place + path for place in (b"lib/", b"web/build/") for path in below),
    }  # fmt: skip
    assert dropped(selection).keys() >= {b"lib/dist/new", b"lib/node_modules/b/", b"web/build/dist/new"}
    repository.git("commit", "-q", "-m", "Submodules")
    repository.git("rm", "-q", "-f", "--cached", "web/build")
    assert kept(chosen(repository.root)) >= {b"lib/dist/a", b"web/build/code"}


def test_without_git_a_built_in_pattern_drops_all_it_names(tree: Tree) -> None:
    """Nobody tracks anything there."""
    tree.write("dist/a", "b", "env/pyvenv.cfg")

    selection = select(tree.root, rules_for(Settings(), tree.root))

    assert {source.path for source in selection.sources} == {b"", b"b"}


def test_git_is_waited_for_only_where_a_rule_could_drop_what_it_tracks(repository: Tree) -> None:
    """A tree without any such name is walked while git still looks."""
    repository.commit("src/a", "b")
    (repository.root / "store").mkdir()

    def never() -> Tracked:
        raise AssertionError("asked")

    rules = rules_for(Settings(exclude=("b",)), repository.root, repository.root / "store", never)

    assert kept(select(repository.root, rules)) == {b"src/a"}


def test_an_index_that_cannot_be_read_is_an_error(repository: Tree) -> None:
    """Not to know what git tracks would be to leave it out."""
    repository.commit("dist/a", "b")
    found = open_repository(repository.root)
    assert found is not None
    (repository.root / ".git/index").write_bytes(b"nonsense")

    with pytest.raises(ProjectError, match="listing what git tracks failed: "), found.comparing() as looking:
        select(repository.root, rules_for(Settings(), repository.root, None, looking.tracked))
