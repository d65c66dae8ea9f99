"""The ignore rules are git's, and every path that is left out has one rule to name."""

from __future__ import annotations

import os
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from backup_lib.errors import ProjectError, SettingsError
from backup_lib.project.rules import BUILT_IN, rules_for
from backup_lib.project.selection import Selection, select
from backup_lib.settings import Settings

from .conftest import Tree


def chosen(tree: Tree, wanted: Settings | None = None, store: str | None = None) -> Selection:
    """Return the selection of a tree under some settings."""
    root = tree.root
    return select(root, rules_for(wanted or Settings(), root, root / store if store else None))


def kept(selection: Selection) -> set[bytes]:
    """Return the paths of the files that are kept."""
    return {source.path for source in selection.sources if source.kind != "directory"}


def dropped(selection: Selection) -> dict[bytes, str]:
    """Return the rule for each path that is left out."""
    return {path.path: str(path.rule) for path in selection.dropped}


def test_leaves_out_what_can_be_made_again(tree: Tree) -> None:
    """Each built-in pattern is honoured, at any depth unless it is anchored, and named."""
    folders = [pattern.replace("*", "x").strip("/") for pattern in BUILT_IN]
    tree.write(
        *(f"{folder}/file" for folder in folders), *(f"sub/{folder}/file" for folder in folders), "keep"
    )

    selection = chosen(tree)

    assert kept(selection) == {b"keep"}
    assert dropped(selection)[b"sub/node_modules/"] == "node_modules/ (built-in)"
    assert len(dropped(selection)) == 2 * len(BUILT_IN)


def test_folder_patterns_spare_files(tree: Tree) -> None:
    """A file called build is not the folder build/."""
    tree.write("build", "dist", "restored", "htmlcov", "a")

    assert kept(chosen(tree)) == {b"build", b"dist", b"restored", b"htmlcov", b"a"}


def test_what_git_and_restore_make_is_never_kept(tree: Tree) -> None:
    """No ``.git``, be it folder or file, and no ``restored/`` at the root, whatever include says."""
    tree.write(".git/HEAD", "sub/.git", "lib/.git/config", "restored/v1/a", "sub/restored/a", "a")
    wanted = Settings(include=(".git", ".git/HEAD", "/restored/", "restored/v1/a", "lib/.git/config"))

    selection = chosen(tree, wanted)

    assert kept(selection) == {b"a", b"sub/restored/a"}
    assert dropped(selection) == {
        b".git/": ".git (built-in)",
        b"lib/.git/": ".git (built-in)",
        b"restored/": "/restored/ (built-in)",
        b"sub/.git": ".git (built-in)",
    }


@pytest.mark.parametrize(
    "name", ["vendor", "out", "tmp", "data", "env", "cache", "target", ".nx", "lib", "bin"]
)
def test_common_names_mean_nothing(tree: Tree, name: str) -> None:
    """What people use for other things is kept."""
    tree.write(f"{name}/a", f"sub/{name}/b")

    assert kept(chosen(tree)) == {f"{name}/a".encode(), f"sub/{name}/b".encode()}


SIGNATURE = b"Signature: 8a477f597d28d172789f06886806bc55\n# made by a tool\n"


def test_marked_folders_are_dropped_by_what_marks_them(tree: Tree) -> None:
    """By what stands in them, beside or above them, at any depth; they leave no empty folder behind."""
    tree.write("env/pyvenv.cfg", "env/bin/python", "Cargo.toml", "target/debug/app", "sub/.nx/cache/1/x")
    tree.write("cached/CACHEDIR.TAG", "deep/er/cached/CACHEDIR.TAG", content=SIGNATURE)
    tree.write("deep/er/cached/x", "crates/a/Cargo.toml", "crates/a/target/x", "crates/b/target/kept")
    tree.write(".angular/cache/x", ".angular/config", ".nx/workspace-data/x", ".vitepress/cache/x", "cache/x")

    selection = chosen(tree)

    assert dropped(selection) == {
        b".angular/cache/": ".angular/cache/ (built-in)",
        b".nx/workspace-data/": ".nx/workspace-data/ (built-in)",
        b".vitepress/cache/": ".vitepress/cache/ (built-in)",
        b"cached/": "CACHEDIR.TAG in it (built-in)",
        b"crates/a/target/": "target/ beside Cargo.toml (built-in)",
        b"deep/er/cached/": "CACHEDIR.TAG in it (built-in)",
        b"env/": "pyvenv.cfg in it (built-in)",
        b"sub/.nx/cache/": ".nx/cache/ (built-in)",
        b"target/": "target/ beside Cargo.toml (built-in)",
    }
    paths = {source.path for source in selection.sources}
    assert paths >= {b"deep/er", b".nx", b"sub/.nx", b"crates/b/target/kept", b".angular/config", b"cache/x"}
    assert not paths & {b"env", b"cached", b"target", b"deep/er/cached"}


def test_what_only_looks_like_a_marker_marks_nothing(tree: Tree, tmp_path: Path) -> None:
    """Not another content, a link, a folder or a fifo of that name; the root is no cache."""
    tree.write("other/CACHEDIR.TAG", content=b"Signature: mine\n")
    tree.write("late/CACHEDIR.TAG", content=b"\n" + SIGNATURE)
    tree.write("empty/CACHEDIR.TAG", content=b"")
    tree.write("folder/CACHEDIR.TAG/x", "folder/pyvenv.cfg/x", "link/x", "fifo/x", "crate/target/x", "file/x")
    (tmp_path / "tag").write_bytes(SIGNATURE)
    for name in ("CACHEDIR.TAG", "pyvenv.cfg"):
        (tree.root / "link" / name).symlink_to(tmp_path / "tag")
        os.mkfifo(tree.root / "fifo" / name)
    (tree.root / "crate" / "Cargo.toml").symlink_to(tmp_path / "tag")
    tree.write("file/Cargo.toml", "file/target", "CACHEDIR.TAG", "pyvenv.cfg", content=SIGNATURE)

    assert dropped(chosen(tree)) == {}


def test_a_person_brings_back_what_is_marked(tree: Tree) -> None:
    """A marker is the weakest rule: ``!`` in exclude and .backupignore, and include, are heard."""
    tree.write("a/pyvenv.cfg", "b/pyvenv.cfg", "c/pyvenv.cfg", "d/pyvenv.cfg", "d/keep", "e/pyvenv.cfg")
    tree.write("Cargo.toml", "target/x")
    tree.write(".backupignore", content=b"!b/\n")

    selection = chosen(tree, Settings(exclude=("!a/", "!target/"), include=("c/", "d/keep")))

    assert kept(selection) >= {b"a/pyvenv.cfg", b"b/pyvenv.cfg", b"c/pyvenv.cfg", b"d/keep", b"target/x"}
    assert dropped(selection) == {
        b"d/": "pyvenv.cfg in it (built-in)",
        b"e/": "pyvenv.cfg in it (built-in)",
    }
    assert b"d/pyvenv.cfg" not in kept(selection)


def test_rules_in_a_marked_folder_are_not_read(tree: Tree) -> None:
    """A broken .backupignore in somebody's cache stops nothing."""
    tree.write("cached/CACHEDIR.TAG", content=SIGNATURE)
    tree.write("cached/.backupignore", content=b"a[\n")
    tree.write("a")

    assert kept(chosen(tree)) == {b"a"}


def test_ignored_configuration_is_kept_unless_asked(tree: Tree) -> None:
    """.gitignore counts only where the settings say so, and then as git reads it, nested ones too."""
    tree.write(".gitignore", content=b"\xef\xbb\xbf.env\r\n/only\n\n# no\n*.log \n[\n")
    tree.write("sub/.gitignore", content=b"!keep.log\nmine\n")
    tree.write(".env", "only/a", "sub/only", "a.log", "sub/keep.log", "sub/b.log", "sub/mine", "mine", "code")

    assert b".env" in kept(chosen(tree))
    selection = chosen(tree, Settings(use_gitignore=True))
    assert dropped(selection) == {
        b".env": ".env (.gitignore:1)",
        b"only/": "/only (.gitignore:2)",
        b"a.log": "*.log (.gitignore:5)",
        b"sub/b.log": "*.log (.gitignore:5)",
        b"sub/mine": "mine (sub/.gitignore:2)",
    }


def test_stronger_layers_decide(tree: Tree) -> None:
    """Built-in, .gitignore, exclude, .backupignore, include: the later one has the last word."""
    tree.write(".gitignore", content=b"a\n")
    tree.write(".backupignore", content=b"!c\nd\ne\n")
    tree.write("sub/.backupignore", content=b"!d\n")
    tree.write("dist/x", "a", "b", "c", "d", "e", "sub/d")
    wanted = Settings(use_gitignore=True, exclude=("!a", "!dist/", "b", "c"), include=("e",))

    selection = chosen(tree, wanted)

    assert kept(selection) >= {b"dist/x", b"a", b"c", b"e", b"sub/d"}
    assert dropped(selection) == {b"b": "b (setting exclude)", b"d": "d (.backupignore:2)"}


def test_a_gitignore_that_lists_what_to_keep_brings_back_nothing_built_in(tree: Tree) -> None:
    """``!`` in .gitignore undoes what .gitignore ignores, not what we leave out."""
    tree.write(".gitignore", content=b"*\n!*/\n!*.js\n")
    tree.write("sub/.gitignore", content=b"!keep.txt\n")
    tree.write(".git/x.js", "node_modules/a.js", "src/a.js", "src/b.css", "sub/keep.txt")

    selection = chosen(tree, Settings(use_gitignore=True))

    assert kept(selection) == {b"src/a.js", b"sub/keep.txt"}
    assert dropped(selection)[b".git/"] == ".git (built-in)"
    assert dropped(selection)[b"node_modules/"] == "node_modules/ (built-in)"


def test_rules_are_reported_weakest_layer_first(tree: Tree) -> None:
    """The list of rules that dropped something has each once, in the order of the layers."""
    tree.write(".backupignore", content=b"a\n")
    tree.write("a", "sub/a", "b", "z/node_modules/x", "dist/x", "sub/dist/x")
    tree.write("backups/x", "keep")

    selection = chosen(tree, Settings(exclude=("b",)), "backups")

    assert [str(rule) for rule in selection.excluded_rules] == [
        "dist/ (built-in)", "node_modules/ (built-in)", "b (setting exclude)", "a (.backupignore:1)",
        "the store",
    ]  # fmt: skip


def test_include_looks_into_dropped_folders_it_spells_out(tree: Tree) -> None:
    """Only what include names comes back, with the folders it needs; the folder stays reported as dropped."""
    tree.write(
        "node_modules/keep/x.js", "node_modules/keep/y.js", "node_modules/other/x.js", "node_modules/a.js"
    )
    tree.write("build/empty/", "dist/deep/er/app.js", "dist/app.css", "code")
    wanted = Settings(include=("node_modules/keep/x.js", "build/none", "dist/**/*.js", "node_modules/gone/z"))

    selection = chosen(tree, wanted)

    assert [source.path for source in selection.sources] == [
        b"", b"code", b"dist", b"dist/deep", b"dist/deep/er", b"dist/deep/er/app.js",
        b"node_modules", b"node_modules/keep", b"node_modules/keep/x.js",
    ]  # fmt: skip
    assert set(dropped(selection)) == {b"build/", b"dist/", b"node_modules/"}


def test_include_brings_back_whole_folders(tree: Tree) -> None:
    """Inside a folder that include brought back, the other rules hold again."""
    tree.write(
        "node_modules/keep/lib/a", "node_modules/keep/dist/b", "node_modules/keep/tmp", "x/build/c", "dist/d"
    )
    tree.write("node_modules/skip", "b.log", "c.log")
    wanted = Settings(
        include=("node_modules/keep/", "build", "*.log", "!c.log", "**/deep/x"), exclude=("*.log",)
    )

    assert kept(chosen(tree, wanted)) == {
        b"node_modules/keep/lib/a", b"node_modules/keep/tmp", b"x/build/c", b"b.log",
    }  # fmt: skip


def test_an_include_without_a_way_opens_no_dropped_folder(tree: Tree) -> None:
    """A bare name, or one below ``**``, does not make us read through node_modules."""
    tree.write("node_modules/x/.env", "node_modules/deep/x", "a")

    assert kept(chosen(tree, Settings(include=(".env", "**/deep/x")))) == {b"a"}


def test_the_store_and_leftovers_are_never_kept(tree: Tree) -> None:
    """No rule brings a backup into a backup."""
    tree.write(
        "var/backups/v1/a.tar.gz", "var/code", ".a.tar.gz.0123abcd.partial", ".x.partial",
        ".a\nb.0123abcd.partial/file", "z/backups/x",
    )  # fmt: skip
    everything = Settings(
        include=("/var/", "backups", "var/backups/", "*.partial", "var/backups/v1/a.tar.gz")
    )

    selection = chosen(tree, everything, "var/backups")

    assert kept(selection) == {b"var/code", b".x.partial", b"z/backups/x"}
    assert dropped(selection) == {
        b"var/backups/": "the store",
        b".a.tar.gz.0123abcd.partial": "the store",
        b".a\nb.0123abcd.partial/": "the store",
    }


def test_the_store_is_found_through_links(tree: Tree, tmp_path: Path) -> None:
    """A linked store is left out at both ends; one outside of the root is no rule at all."""
    tree.write("real/x", "a")
    (tree.root / "backups").symlink_to("real")
    (tree.root / "away").symlink_to(tmp_path)

    assert dropped(chosen(tree, None, "backups")) == {b"backups": "the store", b"real/": "the store"}
    assert dropped(chosen(tree, None, "away")) == {b"away": "the store"}
    assert dropped(chosen(tree, None, "../elsewhere")) == {}
    assert dropped(chosen(tree, None, "..a")) == {}


def test_each_link_that_leads_to_the_store_is_part_of_it(tree: Tree, tmp_path: Path) -> None:
    """Link to link, relative or absolute, nested, or a folder on the way that lies elsewhere."""
    disk = tmp_path / "disk"
    (disk / "backups").mkdir(parents=True)
    tree.write("var/x", "links/x", "a")
    (tree.root / "var/backups").symlink_to("../links/b")
    (tree.root / "links/b").symlink_to(disk / "backups")
    (tree.root / "out").symlink_to("../disk")
    (tree.root / "gone").symlink_to("nowhere/at/all")
    (tree.root / "round").symlink_to("round")

    linked = {b"var/backups": "the store", b"links/b": "the store"}
    assert dropped(chosen(tree, None, "var/backups")) == linked
    assert dropped(chosen(tree, None, "./links/../var//backups/")) == linked
    assert dropped(chosen(tree, None, str(tree.root / "links/b"))) == {b"links/b": "the store"}
    assert dropped(chosen(tree, None, "out/backups")) == {b"out": "the store"}
    assert dropped(chosen(tree, None, "gone")) == {b"gone": "the store"}
    assert dropped(chosen(tree, None, "round/x")) == {}


def test_a_link_within_the_project_is_the_projects(tree: Tree) -> None:
    """A link to a folder that holds more than the store is kept; the store is found behind it."""
    tree.write("releases/1/code", "releases/1/backups/x")
    (tree.root / "current").symlink_to("releases/1")

    selection = chosen(tree, None, "current/backups")

    assert kept(selection) == {b"releases/1/code", b"current"}
    assert dropped(selection) == {b"releases/1/backups/": "the store"}


def test_the_store_cannot_be_the_project(tree: Tree) -> None:
    """A store that is the root would drop everything."""
    with pytest.raises(SettingsError, match="is the project itself"):
        rules_for(Settings(), tree.root, tree.root / ".")


@pytest.mark.parametrize(
    "pattern", ["/", "!", "a[", "a\\", "[]", "x\0", "//", "[a[:nope:]]", "[[:alpha:", "[\\", "[a-\\", "[/]"]
)
def test_a_pattern_that_matches_nothing_is_named(tree: Tree, pattern: str) -> None:
    """A mistake in our own settings and files is not passed over in silence, as git would."""
    for wanted in (Settings(exclude=("ok", pattern)), Settings(include=(pattern,))):
        with pytest.raises(
            SettingsError, match=r"setting backup\.(ex|in)clude: the pattern .* matches nothing"
        ) as caught:
            rules_for(wanted, tree.root)
        assert repr(pattern.strip()) in str(caught.value)
    tree.write("sub/.backupignore", content=b"ok\n" + os.fsencode(pattern))
    with pytest.raises(SettingsError, match=r"^sub/\.backupignore:2: the pattern .* matches nothing"):
        chosen(tree)


def test_a_backupignore_that_cannot_be_read_is_an_error(tree: Tree) -> None:
    """Not to know the rules would be to back up what they keep out."""
    tree.write("a", "sub/.backupignore/x")

    with pytest.raises(
        ProjectError, match=r"sub/\.backupignore cannot be read: .*; make it a plain readable file"
    ):
        chosen(tree)


def test_a_gitignore_that_git_would_not_read_is_none(tree: Tree) -> None:
    """A folder, a link or a fifo of that name holds no rules."""
    tree.write("rules", content=b"*\n")
    tree.write("a/.gitignore/x", "b/y", "c/")
    (tree.root / "b/.gitignore").symlink_to("../rules")
    os.mkfifo(tree.root / "c/.gitignore")

    assert kept(chosen(tree, Settings(use_gitignore=True))) == {
        b"rules",
        b"a/.gitignore/x",
        b"b/y",
        b"b/.gitignore",
    }


def test_patterns_are_bytes(tree: Tree) -> None:
    """``?`` is one byte, as in git, and a name that is not UTF-8 can be matched."""
    tree.write(".backupignore", content=b"caf?\nx\xff\n[\xc3]*\n")
    tree.write("caf\u00e9", "cafe", b"x\xff", b"x\xfe", "\u00e9t\u00e9")

    assert kept(chosen(tree)) == {b".backupignore", "caf\u00e9".encode(), b"x\xfe"}


def test_any_number_of_patterns(tree: Tree) -> None:
    """Thousands of patterns are all heard, the last one that matches decides."""
    lines = [f"*a{number}*b*" for number in range(3000)] + ["!*a7*b*", f"{'x' * 200}/**/{'*y' * 40}"]
    tree.write(".backupignore", content="\n".join(lines).encode())
    tree.write("a2b", "a2999b", "a7b")

    selection = chosen(tree)

    assert dropped(selection) == {
        b"a2999b": "*a2999*b* (.backupignore:3000)",
        b"a2b": "*a2*b* (.backupignore:3)",
    }
    assert kept(selection) == {b".backupignore", b"a7b"}


def test_a_huge_pattern_is_named(tree: Tree) -> None:
    """A pattern beyond what the matcher can hold is one clear line, whatever stands around it."""
    with pytest.raises(SettingsError, match=r"the pattern h\*b.*… is too large"):
        rules_for(Settings(exclude=("*a", "h" + "*b" * 30_000, "*b")), tree.root)


PLAIN = ["a", "b", "ab", "foo", "-", ".", "/", "*", "**", "?", "!", "\\", "**/", "/**", "/**/", "a*", "*b"]
SETS = [
    "[ab]",
    "[!a]",
    "[^b]",
    "[a-c]",
    "[a-",
    "[]",
    "[]a]",
    "[[:alpha:]]",
    "[[:x:]]",
    "[[:]",
    "[[:a]",
    "[a\\]b]",
]
PIECES = st.sampled_from([*PLAIN, *SETS, "[\\a-b]"])
PATTERNS = st.lists(st.lists(PIECES, min_size=1, max_size=5).map("".join), min_size=1, max_size=4)
PATHS = st.lists(
    st.lists(st.sampled_from(["a", "b", "c", "ab", "foo", "a.b", "]", "-", "["]), min_size=1, max_size=4).map(
        "/".join
    )
)


@settings(max_examples=60, deadline=None)
@given(lines=PATTERNS, paths=PATHS)
@example(["foo**/**", "a/**", "!a/b"], ["foo", "a/b", "a/c"])
@example(["*a", "!/**/", "/b**"], ["a/b", "b/c/d", "a/a"])
@example(["a**/b", "/**\\/c", "[\\a-c]]", "[[:]"], ["ab", "axb", "a/x/b", "c", "x/c", "b]", ":", "["])
def test_matches_exactly_what_git_matches(lines: list[str], paths: list[str]) -> None:
    """For any patterns and any tree, the files that are kept are those git does not ignore."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Tree(Path(folder))
        tree.git("init", "-q")
        tree.write(".gitignore", content="\n".join(lines).encode())
        tree.write("kept.always")
        for path in paths:
            with suppress(FileExistsError, NotADirectoryError, IsADirectoryError):
                tree.write(path)
        selection = chosen(tree, Settings(use_gitignore=True, include=("kept.always",)))
        everything = {
            os.path.relpath(os.path.join(at, name), folder)
            for at, _, names in os.walk(folder)
            for name in names
        }
        files = sorted(path for path in everything if not path.startswith(".git/"))
        asked = ["git", "-C", folder, "check-ignore", "--no-index", "--stdin", "-z"]
        told = subprocess.run(
            asked, input="\0".join(f"./{path}" for path in files).encode(), capture_output=True
        )

    ignored = {path.removeprefix("./") for path in told.stdout.decode().split("\0")}
    assert {os.fsdecode(path) for path in kept(selection)} == (set(files) - ignored) | {"kept.always"}
