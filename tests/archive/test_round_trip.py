"""What goes in comes out: by our own restore, and by the tar of the machine."""

from __future__ import annotations

import gzip
import io
import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backup_lib.archive.block import LEAST, MOST, PIECE
from backup_lib.archive.check import check_archive
from backup_lib.archive.extract import Wish
from backup_lib.model import Format

from .trees import COMMIT, FORMATS, back_up, head, inside, look, quiet, reading, restore, restore_plain, run
from .trees import write_file as write

SIZES = [0, 1, 511, 512, 513, 1024, LEAST - 1, LEAST, MOST - 512, MOST - 1, MOST, MOST + 1]
LARGE_SIZES = [PIECE - 1, PIECE, PIECE + 1, 2 * PIECE + 513]
TIMES = [-1, 0, 1, -86_400_000, 1_700_000_000, 2**33 - 1, 2**33, 2**33 + 12_345, 15_000_000_001]
ODD_NAMES = [
    b"new\nline",
    b"back\\slash",
    b"\xff\xfe",
    b"caf\xc3\xa9",
    b"x" * 255,
    b"\xe4" * 255,
    b"n" * 99,
    b"n" * 100,
    b"n" * 101,
    b" lead",
    b"trail ",
    b"-rf",
    b"...",
    b"%s",
    b"a=b",
    b"*",
    b"\r",
    b"\x7f\x01",
]
LINKS = [
    b"nowhere",
    b"/etc/hostname",
    b"../outside",
    b"../../../..",
    b".",
    b"\xff\n",
    b"l" * 101,
    b"l" * 1000,
]


@dataclass(frozen=True)
class Node:
    """One thing to make in a tree: a file, unless it has a link."""

    path: tuple[bytes, ...]
    size: int
    mode: int
    mtime_ns: int
    link: bytes | None
    is_folder: bool = False


names = st.one_of(
    st.binary(min_size=1, max_size=8).filter(
        lambda name: name not in (b".", b"..") and not set(name) & {0, 47}
    ),
    st.sampled_from(ODD_NAMES),
)
nodes = st.builds(
    Node,
    path=st.lists(names, min_size=1, max_size=4).map(tuple),
    size=st.one_of(st.integers(0, 2000), st.sampled_from(SIZES)),
    mode=st.integers(0, 0o7777),
    mtime_ns=st.builds(
        lambda seconds, rest: seconds * 10**9 + rest,
        st.sampled_from(TIMES),
        st.sampled_from([0, 1, 999_999_999]),
    ),
    link=st.one_of(st.none(), st.none(), st.none(), st.sampled_from(LINKS)),
    is_folder=st.booleans(),
)


def make(root: Path, wanted: list[Node], pairs: list[tuple[int, int]]) -> None:
    """Make a tree of these nodes, where they do not clash, and hard links between its files."""
    made = [node for node in wanted if _make(root, node)]
    files = [node.path for node in made if node.link is None and not node.is_folder]
    for number, (one, other) in enumerate(pairs if files else []):
        _hard_link(root, files[one % len(files)], files[other % len(files)][:-1], b"hard%d" % number)
    for node in reversed(made):
        _stamp(root, node)


def _make(root: Path, node: Node) -> bool:
    *parents, name = node.path
    try:
        with inside(root, parents) as folder:
            if node.is_folder:
                os.mkdir(name, dir_fd=folder)
            elif node.link is not None:
                os.symlink(node.link, name, dir_fd=folder)
            else:
                fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, dir_fd=folder)
                with open(fd, "wb") as file:
                    file.write((b"%d " % node.mtime_ns * (node.size // 2 + 1))[: node.size])
    except OSError:  # something else is there
        return False
    return True


def _hard_link(root: Path, of: tuple[bytes, ...], parents: tuple[bytes, ...], name: bytes) -> None:
    with inside(root, of[:-1]) as old, inside(root, parents) as new:
        os.link(of[-1], name, src_dir_fd=old, dst_dir_fd=new)


def _stamp(root: Path, node: Node) -> None:
    with inside(root, node.path[:-1]) as folder:
        name = node.path[-1]
        if node.link is None:
            os.chmod(name, node.mode, dir_fd=folder)
        os.utime(name, ns=(0, node.mtime_ns), dir_fd=folder, follow_symlinks=False)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return a tree with something of everything."""
    root = tmp_path / "tree"
    root.mkdir()
    for number, size in enumerate(SIZES + LARGE_SIZES):
        write(root, b"sizes/%d" % size, os.urandom(size // 2) + bytes(size - size // 2), 0o600 + number % 8)
    for number, name in enumerate(ODD_NAMES):
        write(root, b"names/" + name, name * 10)
        write(root, b"names of folders/%b/%d" % (name, number), name)
    for number, link in enumerate(LINKS):
        os.symlink(link, os.fsencode(root) + b"/names/link%d" % number)
    for length in (90, 98, 99, 100, 154, 155, 156, 240, 255, 256, 257, 400, 1000, 2000):
        parts = [b"d" * 60] * (length // 61)
        write(root, b"/".join([b"long", *parts, b"f" * max(1, length % 61)]), b"%d" % length)
    for number, seconds in enumerate(TIMES):
        write(root, b"times/%d" % number)
        os.utime(root / "times" / str(number), ns=(0, seconds * 10**9 + 123_456_789))
    os.link(root / "sizes" / "513", root / "zz hard")
    os.link(root / "sizes" / str(PIECE + 1), root / "zz large hard")
    write(root, b"setuid", b"", 0o6755)
    (root / "empty").mkdir(mode=0o711)
    (root / "empty").chmod(0o1711)
    return root


@pytest.fixture(params=FORMATS)
def archive(request: pytest.FixtureRequest, tree: Path, tmp_path: Path) -> Path:
    """Return an archive of the tree."""
    archive = tmp_path / f"demo.tar.{request.param}"
    back_up(tree, archive, head(request.param))
    return archive


@pytest.fixture
def scratch() -> Iterator[Path]:
    """Return a fresh folder."""
    path = Path(tempfile.mkdtemp())
    yield path
    shutil.rmtree(path)


@pytest.mark.parametrize("format", FORMATS)
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    wanted=st.lists(nodes, max_size=12), pairs=st.lists(st.tuples(st.integers(0), st.integers(0)), max_size=3)
)
def test_restore_undoes_backup(format: Format, wanted: list[Node], pairs: list[tuple[int, int]]) -> None:
    """Any tree comes back as it was, by us with and without the index, by GNU tar and by bsdtar."""
    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        (base / "tree").mkdir()
        make(base / "tree", wanted, pairs)
        archive = base / "demo.tar"
        back_up(base / "tree", archive, head(format))
        with reading(archive) as reader:
            assert check_archive(reader, quiet).flaws == ()
        expected = look(base / "tree")
        restore(archive, base / "indexed")
        restore_plain(archive, base / "plain")
        for tar in ("tar", "bsdtar"):
            (base / tar).mkdir()
            run(tar, "-C", base / tar, "-xpf", archive)
        for way in ("indexed", "plain", "tar", "bsdtar"):
            assert look(base / way / "demo") == expected, way


@pytest.mark.parametrize("tar", ["tar", "bsdtar"])
def test_tar_gives_the_tree_back(tar: str, archive: Path, tree: Path, scratch: Path) -> None:
    """GNU tar and bsdtar restore everything, set-user-ID bits and times included."""
    run(tar, "-C", scratch, "-xpf", archive)
    assert look(scratch / "demo", lambda mode: mode) == look(tree, lambda mode: mode)


def test_busybox_gives_the_contents_back(archive: Path, tree: Path, scratch: Path) -> None:
    """The tar of busybox, which knows no pax times, restores every file and link."""
    if archive.suffix == ".gz":
        run("busybox", "tar", "-C", scratch, "-xzf", archive)
    else:
        run("busybox", "tar", "-C", scratch, "-xf", "-", data=run("zstd", "-dc", archive))
    found = {path: (thing.kind, thing.content) for path, thing in look(scratch / "demo").items()}
    assert found == {path: (thing.kind, thing.content) for path, thing in look(tree).items()}


def test_python_reads_every_member(archive: Path, tree: Path) -> None:
    """Python's tarfile lists and reads all of it."""
    data = gzip.decompress(archive.read_bytes()) if archive.suffix == ".gz" else run("zstd", "-dc", archive)
    expected = look(tree)
    with tarfile.open(fileobj=io.BytesIO(data), errors="surrogateescape", encoding="utf-8") as tar:
        found = {
            os.fsencode(member.name).removeprefix(b"demo/"): member for member in tar if member.name != "demo"
        }
        assert found.keys() == expected.keys()
        for path, member in found.items():
            if member.issym():
                assert os.fsencode(member.linkname) == expected[path].content
            elif content := tar.extractfile(member):
                assert content.read() == expected[path].content
            assert member.mtime == expected[path].mtime
        assert tar.pax_headers["comment"] == COMMIT


def test_stock_tools_find_it_sound(archive: Path) -> None:
    """``gzip -t`` and ``zstd -t`` take the file; git finds the commit; two zero records end it."""
    if archive.suffix == ".gz":
        run("gzip", "-t", archive)
        data = run("gzip", "-dc", archive)
    else:
        run("zstd", "-qt", archive)
        data = run("zstd", "-dc", archive)
    assert run("git", "get-tar-commit-id", data=data).strip() == COMMIT.encode()
    assert data.endswith(bytes(1024))
    assert run("tar", "-tf", "-", data=data[:-512])  # a lone zero record is warned about: there were two


@pytest.mark.skipif(not shutil.which("node"), reason="there is no node")
def test_node_reads_all_of_the_stream(archive: Path, tree: Path) -> None:
    """Node's zlib, which front-end people unpack with, gives the whole tar stream."""
    if archive.suffix != ".gz":
        pytest.skip("Node 20 knows no zstd")
    code = "process.stdout.write(require('zlib').gunzipSync(require('fs').readFileSync(process.argv[1])))"
    assert run("node", "-e", code, archive) == gzip.decompress(archive.read_bytes())


def test_our_restore_gives_the_tree_back(archive: Path, tree: Path, scratch: Path) -> None:
    """We restore everything but set-user-ID, set-group-ID and sticky bits."""
    restore(archive, scratch / "to", Wish(strip=1, outside_links=True))
    assert look(scratch / "to") == look(tree)


def test_paths_longer_than_the_kernel_takes(tmp_path: Path, scratch: Path) -> None:
    """A path of more than 4096 bytes is backed up, and restored by us, though by no tar."""
    root = tmp_path / "tree"
    root.mkdir()
    path = b"/".join([b"d" * 255] * 18)
    write(root, path + b"/deep", b"deep", 0o640)
    with inside(root, path.split(b"/")) as folder:
        os.link("deep", "hard", src_dir_fd=folder, dst_dir_fd=folder)
        os.symlink("deep", "soft", dir_fd=folder)
    back_up(root, tmp_path / "demo.tar.gz", head())
    restore(tmp_path / "demo.tar.gz", scratch / "ours")
    assert look(scratch / "ours" / "demo") == look(root)


def test_without_a_commit_there_is_no_global_header(tmp_path: Path) -> None:
    """A project without git begins with its top folder."""
    (tmp_path / "tree").mkdir()
    back_up(tmp_path / "tree", tmp_path / "demo.tar.gz", head(commit=None))
    assert gzip.decompress((tmp_path / "demo.tar.gz").read_bytes()).startswith(b"demo/\0")
    with reading(tmp_path / "demo.tar.gz") as reader:
        assert check_archive(reader, quiet).flaws == ()
