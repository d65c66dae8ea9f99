"""The project's own files are read as what they must be, inside the work tree, and never without end."""

from __future__ import annotations

import json
import os
import re
import socket
from pathlib import Path

import pytest
from support import ending

from backup_lib.errors import ProjectError
from backup_lib.project.git import find_root
from backup_lib.project.reading import StatementError, read_within, within
from backup_lib.project.rules import rules_for
from backup_lib.project.selection import select
from backup_lib.project.version import project_name, project_version
from backup_lib.settings import Settings

from .conftest import Tree

MOST = 100


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """A work tree with a project in it, and something outside."""
    top = tmp_path / "top"
    (top / "app/docs").mkdir(parents=True)
    (top / "shared").mkdir()
    (top / "app/docs/log").write_text("inside")
    (top / "shared/log").write_text("shared")
    (tmp_path / "outside").write_text("secret")
    (tmp_path / "topsy").mkdir()
    (tmp_path / "topsy/log").write_text("secret")
    return top


@pytest.mark.parametrize(
    ("target", "found"),
    [
        ("docs/log", "app/docs/log"),
        ("./docs//../docs/log", "app/docs/log"),
        ("../shared/log", "shared/log"),
        ("../app/../shared/log", "shared/log"),
        ("{top}/shared/log", "shared/log"),
        ("{top}/app/down/log", "app/docs/log"),
        ("down/log", "app/docs/log"),
        ("docs/none", "app/docs/none"),
    ],
)
def test_a_link_is_followed_inside(top: Path, target: str, found: str) -> None:
    """From link to link, relative or absolute, also where nothing is there yet."""
    (top / "app/down").symlink_to("docs")
    (top / "app/LOG").symlink_to(target.format(top=top))
    assert within(top, top / "app", "LOG") == top / found
    if "none" in found:
        with pytest.raises(FileNotFoundError):
            read_within(top, top / "app", "LOG", MOST)
    else:
        assert read_within(top, top / "app", "LOG", MOST) == (top / found).read_bytes()


@pytest.mark.parametrize(
    "target",
    [
        "../../outside",
        "../../top/shared/log",
        "/etc/hostname",
        "{top}/../outside",
        "{top}sy/log",
        "down/outside",
        "up/top/shared/log",
        "../../none",
    ],
)
def test_no_step_leads_out(top: Path, target: str) -> None:
    """Not even to come back at once; the message says which file it is."""
    (top / "app/down").symlink_to("../../.")
    (top / "app/up").symlink_to(top.parent)
    (top / "app/LOG").symlink_to(target.format(top=top))
    for look in (
        lambda: within(top, top / "app", "LOG"),
        lambda: read_within(top, top / "app", "LOG", MOST),
    ):
        with pytest.raises(StatementError, match=f"^{re.escape(str(top))}/app/LOG leads out of {top}, "):
            look()


@pytest.mark.parametrize("name", ["../../outside", "/etc/hostname", "docs/../../../outside"])
def test_a_name_leads_out_no_more_than_a_link(top: Path, name: str) -> None:
    """It may come from a file of the project, too."""
    with pytest.raises(StatementError, match="leads out of"):
        within(top, top / "app", name)
    assert within(top, top / "app", "../shared/log") == top / "shared/log"


def test_a_name_ends_at_no_zero_byte(top: Path) -> None:
    """The kernel would take what stands before it for the whole name."""
    (top / "log").write_text("inside")
    for look in (lambda: within(top, top, "log\0x"), lambda: read_within(top, top, "log\0x", MOST)):
        with pytest.raises(StatementError, match=r"log\\x00x is no name a file can have"):
            look()


def test_links_that_lead_to_each_other_lead_nowhere(top: Path) -> None:
    """One line, and no waiting; a long way that ends is gone to its end."""
    (top / "a").symlink_to("b")
    (top / "b").symlink_to("a")
    with pytest.raises(StatementError, match="leads nowhere"):
        within(top, top, "a")
    for number in range(39):
        (top / f"l{number}").symlink_to(f"l{number + 1}")
    (top / "l39").symlink_to("shared/log")
    assert read_within(top, top, "l0", MOST) == b"shared"


def test_what_is_no_regular_file_is_not_waited_for(top: Path) -> None:
    """A fifo, a device behind no link, a socket, a folder: each is told apart, at once."""
    os.mkfifo(top / "fifo")
    with pytest.raises(StatementError, match="no regular file"):
        read_within(top, top, "fifo", MOST)
    with pytest.raises(IsADirectoryError):
        read_within(top, top, "app", MOST)
    with pytest.raises(NotADirectoryError):
        read_within(top, top, "shared/log/x", MOST)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(top / "socket"))
        with pytest.raises(OSError, match=f"'{top}/socket'"):
            read_within(top, top, "socket", MOST)


@pytest.mark.parametrize(("size", "is_read"), [(0, True), (MOST, True), (MOST + 1, False), (3 << 30, False)])
def test_no_more_is_read_than_may_be(top: Path, size: int, is_read: bool) -> None:
    """To the byte; of 3 GB nothing is read at all."""
    (top / "file").touch()
    os.truncate(top / "file", size)
    if is_read:
        assert len(read_within(top, top, "file", MOST)) == size
    else:
        with pytest.raises(StatementError, match="more than 100 bytes"):
            read_within(top, top, "file", MOST)


NAMES = ["package.json", "pyproject.toml", "VERSION"]
GOOD = {
    "package.json": '{"name": "named", "version": "1.2.3"}',
    "pyproject.toml": '[project]\nname = "named"\nversion = "1.2.3"\n',
    "VERSION": "1.2.3\n",
}


@pytest.mark.parametrize("name", NAMES)
def test_what_a_project_states_is_not_fetched_from_outside(repository: Tree, name: str) -> None:
    """A link inside the work tree is good, also out of the project's folder; one out of it is refused."""
    root = repository.root / "app"
    root.mkdir()
    repository.write(f"shared/{name}", content=GOOD[name].encode())
    (repository.root.parent / name).write_text(GOOD[name])
    (root / name).symlink_to(f"../shared/{name}")
    assert project_version(root) == ("1.2.3", name)
    (root / name).unlink()
    (root / name).symlink_to(f"../../{name}")
    with pytest.raises(StatementError, match="leads out of"):
        project_version(root)
    if name != "VERSION":
        with pytest.raises(StatementError, match="leads out of"):
            project_name(root)


@pytest.mark.parametrize("name", NAMES)
def test_without_git_the_root_is_the_bound(tree: Tree, name: str) -> None:
    """There is no other folder that the project is known to have."""
    root = tree.root / "app"
    root.mkdir()
    tree.write(name, content=GOOD[name].encode())
    (root / name).symlink_to(f"../{name}")
    with pytest.raises(StatementError, match=f"leads out of {root}"):
        project_version(root)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("what", ["fifo", "device", "huge", "growing"])
def test_what_cannot_state_anything_is_one_line_at_once(tree: Tree, name: str, what: str) -> None:
    """A fifo, a device, a sparse file of 3 GB, one byte more than is read."""
    path = tree.root / name
    if what == "fifo":
        os.mkfifo(path)
    elif what == "device":
        path.symlink_to("/dev/zero")
    else:
        path.touch()
        most = {"package.json": 16 << 20, "pyproject.toml": 1 << 20, "VERSION": 4 << 10}[name]
        os.truncate(path, 3 << 30 if what == "huge" else most + 1)
    with ending(), pytest.raises(ProjectError) as caught:
        project_version(tree.root)
    assert name in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_of_that_name_states_nothing(tree: Tree, name: str) -> None:
    """Nor does a link to nothing."""
    (tree.root / name).mkdir()
    assert project_version(tree.root) is None
    (tree.root / name).rmdir()
    (tree.root / name).symlink_to("none")
    assert project_version(tree.root) is None


@pytest.mark.parametrize(
    "content",
    [
        ".".join("a" * 100_000) + " = 1",
        "\n".join(f"{'.'.join('a' * 99)}.b{number} = 1" for number in range(5_000)),
        f"[{'.'.join('a' * 5_000)}]\n" + "\n".join(f"b{number} = 1" for number in range(70_000)),
        "\n".join(f"[c{number}.{'.'.join('a' * 60)}]" for number in range(8_000)),
        "\ufeff" + "\t[ " + " . ".join(["'a'"] * 50_000) + " ]\nb = 1",
        "a = " + "[" * 500_000,
        "a = " + "{a=" * 300_000,
        "\n".join(f"a{number} = " + "{a=" * 100 + "1" + "}" * 100 for number in range(2_000)),
        "a = [" + "{b = 1}," * 100_000 + "]",
        "\n".join(f"b{number} = 1" for number in range(90_000)) + "\n?",
    ],
)
def test_no_toml_takes_for_ever(tree: Tree, content: str) -> None:
    """Dotted keys, deep tables, nested arrays: it states nothing, or that is one line; it ends."""
    assert len(content) <= 1 << 20
    (tree.root / "pyproject.toml").write_text(content)
    with ending():
        try:
            assert project_version(tree.root) is None
        except StatementError as error:
            assert len(str(error)) < 100  # noqa: PT017


@pytest.mark.parametrize(
    "content",
    ['{"a":' * 3_000_000, '{"x":' + "[" * 1_000_000, '{"version":' + "[" * 1_000_000 + "}", "[" * 1_000_000],
)
def test_no_json_is_nested_too_deep(tree: Tree, content: str) -> None:
    """Where nothing reads it, either."""
    (tree.root / "package.json").write_text(content)
    for look in (project_version, project_name):
        with pytest.raises(StatementError, match=r"package\.json is not "):
            look(tree.root)


def test_a_large_pyproject_of_a_real_kind_is_read(tree: Tree) -> None:
    """A thousand dependencies, with the dots that versions and names have, are nothing special."""
    listed = "\n".join(f'  "some.package-{number}>=1.2.{number},<2.0.0",' for number in range(1_000))
    tools = "\n".join(f"[tool.a.b.c{number}]\nx.y = '.'" for number in range(1_000))
    one_line = ", ".join(f'"p{number}==1.2.3"' for number in range(300))
    content = f'[project]\nversion = "1.2.3"\ndependencies = [\n{listed}\n]\n{tools}\nz = [{one_line}]\n'
    (tree.root / "pyproject.toml").write_text(content)
    assert project_version(tree.root) == ("1.2.3", "pyproject.toml")


@pytest.mark.parametrize(
    "content", ["SECRET=hunter2", "ghp_0123456789abcdef", "root:x:0:0:root:/root:/bin/sh\n" * 9]
)
@pytest.mark.parametrize("name", NAMES)
def test_what_a_file_holds_is_not_printed(tree: Tree, name: str, content: str) -> None:
    """A link inside the work tree may lead to a secret, too."""
    (tree.root / ".env").write_text(content)
    (tree.root / name).symlink_to(".env")
    with pytest.raises(StatementError) as caught:
        project_version(tree.root)
    assert not any(word in str(caught.value) for word in ("hunter2", "ghp_", "root"))
    if name == "package.json":
        (tree.root / name).unlink()
        (tree.root / name).write_text(json.dumps({"version": content}))
        with pytest.raises(StatementError, match="states no semantic version"):
            project_version(tree.root)


@pytest.mark.parametrize("what", ["huge", "leads out", "fifo"])
def test_a_git_file_is_read_as_any_other(tree: Tree, what: str) -> None:
    """It says where the repository is, and git itself takes it only as a small file."""
    mark = tree.root / ".git"
    (tree.root.parent / "gitdir").write_text("gitdir: /tmp\n")
    if what == "huge":
        mark.write_text("gitdir: ")
        os.truncate(mark, 3 << 30)
    elif what == "fifo":
        os.mkfifo(mark)
    else:
        mark.symlink_to("../gitdir")
    if what == "fifo":  # git passes over it, too
        assert find_root(tree.root) is None
    else:
        with pytest.raises(StatementError, match=r"\.git "):
            find_root(tree.root)


@pytest.mark.parametrize("name", [".gitignore", ".backupignore"])
def test_rules_have_a_limit(tree: Tree, name: str) -> None:
    """Rules that are not applied would let into a backup what they keep out, so that is refused."""
    tree.write("kept.txt", f"sub/{name}", content=b"*.log\n")
    rules = rules_for(Settings(use_gitignore=True), tree.root)
    assert select(tree.root, rules).sources
    os.truncate(tree.root / "sub" / name, (1 << 20) + 1)
    with pytest.raises(ProjectError, match=f"sub/{name} .*more than 1048576 bytes"):
        select(tree.root, rules)
    (tree.root / "sub" / name).write_text("*.log\n" * 20_001)
    with pytest.raises(ProjectError, match=f"sub/{name} .*more than 20000 lines"):
        select(tree.root, rules)
