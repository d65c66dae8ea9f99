"""The walk finds everything there is, in one order, whatever it is called and however deep it lies."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from backup_lib.errors import ProjectError
from backup_lib.filesystem import open_beneath
from backup_lib.model import GitState, Problem
from backup_lib.project.rules import rules_for
from backup_lib.project.selection import Selection, select
from backup_lib.project.standing import Sight
from backup_lib.settings import Settings

from .conftest import Tree


def chosen(root: Path, **wanted: tuple[str, ...]) -> Selection:
    """Return the selection of a folder."""
    return select(root, rules_for(Settings(**wanted), root))  # type: ignore[arg-type]


def test_goes_depth_first_in_the_order_of_bytes(tree: Tree) -> None:
    """The root comes first, then each folder with all that is in it, by the bytes of the names."""
    tree.write("b/x", "b.a", "b-", "a/z/1", "a/z.txt", "Z", b"\xff", "é", "empty/")

    assert [source.path for source in chosen(tree.root).sources] == [
        b"", b"Z", b"a", b"a/z", b"a/z/1", b"a/z.txt", b"b", b"b/x", b"b-", b"b.a",
        b"empty", "é".encode(), b"\xff",
    ]  # fmt: skip


def test_says_what_stat_says(tree: Tree) -> None:
    """Mode, owner, size, times and place of each source are those of the file system."""
    tree.write("file", content=b"12345")
    (tree.root / "file").chmod(0o4751)
    (tree.root / "link").symlink_to("no/where")
    root, file, link = chosen(tree.root).sources
    facts = (tree.root / "file").stat()

    assert (root.kind, root.path, root.size) == ("directory", b"", 0)
    assert (file.kind, file.mode, file.size, file.link) == ("file", 0o4751, 5, b"")
    assert (file.uid, file.gid, file.device, file.inode) == (
        facts.st_uid,
        facts.st_gid,
        facts.st_dev,
        facts.st_ino,
    )
    assert (file.mtime_ns, file.ctime_ns) == (facts.st_mtime_ns, facts.st_ctime_ns)
    assert (link.kind, link.link, link.size) == ("symlink", b"no/where", 0)


def test_counts_files(tree: Tree) -> None:
    """Hard links count as files, their bytes once; symlinks and folders count as neither."""
    tree.write("a", content=b"12345")
    os.link(tree.root / "a", tree.root / "b")
    (tree.root / "c").symlink_to("a")

    assert (chosen(tree.root).sources.files, chosen(tree.root).sources.bytes) == (2, 5)


def test_second_names_of_a_file_are_hard_links(tree: Tree) -> None:
    """The first name in the order of the walk is the file; one that is left out is not the first."""
    tree.write("z/first", "m")
    for name in ("z/second", "node_modules/x", "y"):
        tree.write(os.path.dirname(name) + "/")
        os.link(tree.root / "z/first", tree.root / name)

    found = {source.path: (source.kind, source.link) for source in chosen(tree.root).sources}

    assert found[b"y"] == ("file", b"")
    assert found[b"z/first"] == found[b"z/second"] == ("hardlink", b"y")
    assert found[b"m"] == ("file", b"")


def test_links_are_never_followed(tree: Tree, tmp_path: Path) -> None:
    """A link to a folder is a link, also where it leads back up or out of the tree."""
    (tmp_path / "secret").write_text("x")
    tree.write("dir/a")
    (tree.root / "dir/up").symlink_to("..")
    (tree.root / "dir/self").symlink_to("self")
    (tree.root / "out").symlink_to(tmp_path)

    assert [(source.path, source.kind) for source in chosen(tree.root).sources] == [
        (b"", "directory"), (b"dir", "directory"), (b"dir/a", "file"), (b"dir/self", "symlink"),
        (b"dir/up", "symlink"), (b"out", "symlink"),
    ]  # fmt: skip


def test_a_link_to_the_root_is_followed(tree: Tree, tmp_path: Path) -> None:
    """The project may be reached through a link."""
    tree.write("a")
    (tmp_path / "link").symlink_to(tree.root)

    assert [source.path for source in chosen(tmp_path / "link").sources] == [b"", b"a"]


def test_sockets_and_their_like_are_named(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    """What has no content is skipped, and said to be; a rule may drop it without a word."""
    tree.write("a")
    os.mkfifo(tree.root / "pipe")
    os.mkfifo(tree.root / "quiet")
    monkeypatch.chdir(tree.root)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("sock")

    found = chosen(tree.root, exclude=("quiet",))

    assert [source.path for source in found.sources] == [b"", b"a"]
    assert found.problems == (Problem(b"pipe", "skipped", "fifo"), Problem(b"sock", "skipped", "socket"))


@pytest.mark.skipif(os.getuid() != 0, reason="only root can make devices")
def test_devices_are_named(tree: Tree) -> None:
    """A device is skipped like a socket."""
    tree.write("a")
    try:
        os.mknod(tree.root / "null", 0o600 | stat.S_IFCHR, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("no devices here")

    assert chosen(tree.root).problems == (Problem(b"null", "skipped", "character device"),)


@pytest.mark.parametrize(
    "name", [b"a\nb", b"\xff\xfe\x01", b"n" * 255, b" ", b"-rf", b"\\", b"*", b":x", "é".encode()]
)
def test_any_legal_name_is_kept(tree: Tree, name: bytes) -> None:
    """Names are bytes, to the last one."""
    tree.write(name + b"/" + name)

    assert [source.path for source in chosen(tree.root).sources] == [b"", name, name + b"/" + name]


def test_paths_may_be_longer_than_the_kernel_takes(tree: Tree) -> None:
    """A path of more than 4096 bytes, and more folders than Python would recurse into."""
    part, fd = b"d" * 200, os.open(tree.root, os.O_RDONLY)
    for depth in range(1500):
        name = part if depth < 40 else b"d"
        os.mkdir(name, dir_fd=fd)
        deeper = os.open(name, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = deeper
    os.symlink(b"x", b"link", dir_fd=fd)
    os.close(os.open(b"file", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
    os.close(fd)

    sources = list(chosen(tree.root).sources)

    deepest = b"/".join([part] * 40 + [b"d"] * 1460)
    assert len(sources) == 1503
    assert [source.path for source in sources[-2:]] == [deepest + b"/file", deepest + b"/link"]
    subprocess.run(["rm", "-rf", tree.root], check=True)


def test_gives_each_file_its_state(tree: Tree) -> None:
    """States are asked for once, with the sizes git would compare, and folders have none."""
    tree.write("a", "dir/b", content=b"12345")
    (tree.root / "link").symlink_to("dir")
    os.link(tree.root / "a", tree.root / "z")
    asked: list[tuple[bytes, int]] = []

    def states(sights: Iterable[Sight]) -> list[GitState]:
        asked.extend((sight.path, sight.size) for sight in sights)
        return ["committed", "modified", "ignored", "untracked"]

    sources = select(tree.root, rules_for(Settings(), tree.root), states).sources

    assert asked == [(b"a", 5), (b"dir/b", 5), (b"link", 3), (b"z", 5)]
    assert [source.state for source in sources] == ["", "committed", "", "modified", "ignored", "untracked"]


def test_an_empty_selection_is_an_error(tree: Tree) -> None:
    """A backup of nothing is a mistake."""
    tree.write("dist/a", "empty/")

    with pytest.raises(ProjectError, match=r"there is no file to back up in .*; see with --dry-run"):
        chosen(tree.root)


def test_a_missing_root_is_an_error(tree: Tree) -> None:
    """The root is named where it is not there, or not a folder."""
    tree.write("a")

    with pytest.raises(
        ProjectError, match=r"^reading the project failed: No such file or directory: .*nowhere$"
    ):
        chosen(tree.root / "nowhere")
    with pytest.raises(ProjectError, match="reading the project failed: Not a directory"):
        chosen(tree.root / "a")


def test_what_cannot_be_read_is_named(tree: Tree) -> None:
    """A folder that may not be listed is kept as an empty one, and a problem names it."""
    tree.write("open/a", "closed/b", "listed/c")
    (tree.root / "closed").chmod(0)
    (tree.root / "listed").chmod(0o444)
    tree.root.chmod(0o755)
    code = (
        "import os\n"
        "from pathlib import Path\n"
        "from backup_lib.project.rules import rules_for\n"
        "from backup_lib.project.selection import select\n"
        "from backup_lib.settings import Settings\n"
        "rules = rules_for(Settings(), Path())\n"
        "os.getuid() or os.setuid(65534)\n"
        "found = select(Path(), rules)\n"
        "print([source.path for source in found.sources])\n"
        "print([(problem.path, problem.kind, problem.reason) for problem in found.problems])"
    )
    env = {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tree.root, env=env, capture_output=True, text=True
    )
    for folder in ("closed", "listed"):
        (tree.root / folder).chmod(0o700)

    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "[b'', b'closed', b'listed', b'open', b'open/a']",
        "[(b'closed', 'unreadable', 'Permission denied'), (b'listed/c', 'unreadable', 'Permission denied')]",
    ]


def test_what_vanishes_during_the_walk_is_named(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that is gone when its turn comes, or a link in its place, is a vanished source."""
    tree.write("a/x", "b/x", "c")

    def changing(folder: int, path: bytes, flags: int) -> int:
        if path == b"a":
            os.rename(tree.root / "a", tree.root / "gone")
        if path == b"b":
            os.rename(tree.root / "b", tree.root / "moved")
            os.symlink("moved", tree.root / "b")
        return open_beneath(folder, path, flags)

    monkeypatch.setattr("backup_lib.project.selection.open_beneath", changing)
    found = chosen(tree.root)

    assert [(problem.path, problem.kind) for problem in found.problems] == [
        (b"a", "vanished"),
        (b"b", "vanished"),
    ]
    assert [source.path for source in found.sources][-1] == b"c"


def test_a_listing_that_fails_is_named(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of the disk while a folder is listed does not stop the walk."""
    tree.write("a/x", "b")
    real = os.scandir

    def failing(fd: int) -> object:
        if os.readlink(f"/proc/self/fd/{fd}").endswith("/a"):
            raise OSError(5, "Input/output error")
        return real(fd)

    monkeypatch.setattr(os, "scandir", failing)

    assert chosen(tree.root).problems == (Problem(b"a", "unreadable", "Input/output error"),)
