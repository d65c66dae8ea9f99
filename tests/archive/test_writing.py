"""Writing: the same bytes every time, few blocks moved by a change, one file read without the others."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path

import pytest
from msgspec.structs import replace

from backup_lib.archive import pool
from backup_lib.archive.block import LARGE, LEAST, MOST, PIECE
from backup_lib.archive.check import Listener, check_archive
from backup_lib.archive.extract import Wish, extract, place
from backup_lib.archive.reader import open_archive
from backup_lib.archive.target import Target
from backup_lib.archive.writer import Tree, write_archive
from backup_lib.model import Block, Format, Level, Source

from .trees import FORMATS, back_up, head, look, opened_folder, quiet, reading, restore, run, scan, write_file


def fill(root: Path, count: int) -> None:
    """Write a tree of small files that do not compress to the same bytes."""
    for number in range(count):
        seed = sha256(b"%d" % number).digest()
        write_file(root, b"d%d/f%d" % (number % 7, number), (seed * 200)[: 500 + seed[0] * 20])


def blocks(archive: Path) -> list[Block]:
    """Return the blocks of an archive."""
    with reading(archive) as reader:
        return [placed.block.unpack() for placed in reader.blocks()]


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("level", ["fast", "normal", "small"])
def test_same_tree_same_bytes(
    format: Format, level: Level, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two archives of the same tree are byte for byte the same, however many threads make them."""
    (tmp_path / "tree").mkdir()
    fill(tmp_path / "tree", 200)
    write_file(tmp_path / "tree", b"large", os.urandom(64) * 40_000)
    made = []
    for workers in (1, 2, 5):
        monkeypatch.setattr(pool, "WORKERS", workers)
        written = back_up(tmp_path / "tree", tmp_path / "demo", head(format, level=level))
        made.append((tmp_path / "demo").read_bytes())
        assert (written.size, written.sha256) == (len(made[-1]), sha256(made[-1]).digest())
    assert made[0] == made[1] == made[2]


def test_a_file_more_or_less_moves_few_blocks(tmp_path: Path) -> None:
    """Adding or removing one file leaves most blocks byte for byte as they were."""
    root = tmp_path / "tree"
    root.mkdir()
    fill(root, 1500)
    back_up(root, tmp_path / "before", head())
    before = {block.digest for block in blocks(tmp_path / "before")}
    assert len(before) > 20
    write_file(root, b"d3/a new one")
    os.utime(root / "d3", ns=(0, 0))
    (root / "d5" / "f5").unlink()
    back_up(root, tmp_path / "after", head())
    after = [block.digest for block in blocks(tmp_path / "after")]
    assert sum(digest not in before for digest in after) <= 6


def test_blocks_keep_their_sizes(tmp_path: Path) -> None:
    """A block of small files is neither tiny nor large; a large file has blocks of its own."""
    root = tmp_path / "tree"
    root.mkdir()
    fill(root, 1000)
    write_file(root, b"d2/large", bytes(3 * PIECE + 5))
    back_up(root, tmp_path / "demo", head(commit=None))
    sizes = [block.size for block in blocks(tmp_path / "demo") if len(block.entries) > 1]
    assert all(size <= MOST for size in sizes)
    assert sum(size < LEAST for size in sizes) <= 2  # before the large file, and the last
    made = blocks(tmp_path / "demo")
    at = next(n for n, block in enumerate(made) if block.entries and block.entries[0].size > LARGE)
    assert [block.size for block in made[at : at + 5]] == [512, PIECE, PIECE, PIECE, 512]


@pytest.mark.parametrize("format", FORMATS)
def test_one_file_of_a_gigabyte(format: Format, tmp_path: Path) -> None:
    """One small file comes out of 1 GiB by reading the index, its one block, and nothing else."""
    root = tmp_path / "tree"
    root.mkdir()
    fill(root, 1000)
    with (root / "huge").open("wb") as huge:
        huge.truncate(1 << 30)
    back_up(root, tmp_path / "demo", head(format))
    read: list[tuple[int, int]] = []
    with (tmp_path / "demo").open("rb") as file:

        def read_at(offset: int, length: int) -> bytes:
            read.append((offset, length))
            return os.pread(file.fileno(), length, offset)

        reader = open_archive(read_at, (tmp_path / "demo").stat().st_size)
        assert reader is not None
        if format == "gz" and reader.trailer.length <= 65_000:
            assert len(read) == 2
        assert sum(length for _, length in read) < reader.trailer.length + 2000
        wanted = next(p for p in reader.blocks() if any(entry.path == b"d4/f4" for entry in p.entries()))
        read.clear()
        placement = place(reader, Wish(wanted=lambda name: name == b"demo/d4/f4"))
        (tmp_path / "to").mkdir()
        with opened_folder(tmp_path / "to") as folder:
            extract(reader, placement, Target(folder, merge=False), quiet)
        assert read == [(wanted.offset, wanted.block.length)]
        assert sum(placed.block.size for placed in reader.blocks()) > 1 << 30
    assert (tmp_path / "to/demo/d4/f4").read_bytes() == (root / "d4/f4").read_bytes()


def test_reading_one_large_file_reads_its_blocks(tmp_path: Path) -> None:
    """A large file comes out of its own blocks, the ones that it runs over too."""
    root = tmp_path / "tree"
    root.mkdir()
    content = os.urandom(2 * PIECE + 100)
    for name in (b"a", b"b", b"c"):
        write_file(root, name, name + content)
    back_up(root, tmp_path / "demo", head())
    restore(tmp_path / "demo", tmp_path / "to", Wish(wanted=lambda name: name == b"demo/b", strip=1))
    assert {path: thing.content for path, thing in look(tmp_path / "to").items()} == {b"b": b"b" + content}


def test_links_to_what_is_not_wanted(tmp_path: Path) -> None:
    """A hard link whose first name is not wanted comes out as a file; a second one links to that."""
    root = tmp_path / "tree"
    root.mkdir()
    write_file(root, b"a", b"the same")
    for name in ("b", "c"):
        os.link(root / "a", root / name)
    back_up(root, tmp_path / "demo", head())
    restore(tmp_path / "demo", tmp_path / "to", Wish(wanted=lambda name: name != b"demo/a", strip=1))
    things = look(tmp_path / "to")
    assert {path: (thing.content, thing.same_as) for path, thing in things.items()} == {
        b"b": (b"the same", b"b"),
        b"c": (b"the same", b"b"),
    }


def _committed(source: Source) -> Source:
    return replace(source, state="" if source.kind == "directory" else "committed")


class Blobs(Listener):
    """Keeps the blob ids of the files of an archive."""

    def __init__(self, blob_hash: str) -> None:
        self.blob_hash = blob_hash
        self.found: dict[bytes, str] = {}

    def take(self, digested: Sequence[bytes], blobs: Sequence[tuple[bytes, str]]) -> None:
        """Keep them."""
        self.found.update(blobs)


def test_git_knows_the_files_again(tmp_path: Path) -> None:
    """The check makes git's own blob ids of committed files, links and large files, in both hashes."""
    root = tmp_path / "tree"
    root.mkdir()
    write_file(root, b"small", b"content\n")
    write_file(root, b"large", b"content\n" * 60_000)
    (root / "link").symlink_to("small")
    sources = [_committed(source) for source in scan(root)]
    back_up(root, tmp_path / "demo", head(), sources)
    for hash_name, length in (("sha1", 40), ("sha256", 64)):
        with reading(tmp_path / "demo") as reader:
            listener = Blobs(hash_name)
            check_archive(reader, quiet, listener)
            blobs = listener.found
        run("git", "init", "-q", f"--object-format={hash_name}", tmp_path / hash_name)
        for name in (b"small", b"large"):
            ids = run("git", "-C", tmp_path / hash_name, "hash-object", root / os.fsdecode(name))
            assert blobs[name] == ids.decode().strip()
        link = run("git", "-C", tmp_path / hash_name, "hash-object", "--stdin", data=b"small")
        assert blobs[b"link"] == link.decode().strip()
        assert all(len(blob) == length for blob in blobs.values())


def test_progress_tells_every_byte(tmp_path: Path) -> None:
    """Writing, checking and extracting tell as many bytes as there are."""
    root = tmp_path / "tree"
    root.mkdir()
    fill(root, 100)
    write_file(root, b"large", bytes(2 * PIECE))
    told: dict[str, int] = {"write": 0, "check": 0, "extract": 0}

    def count(what: str) -> Callable[[int], None]:
        def advance(done: int) -> None:
            told[what] += done

        return advance

    with opened_folder(root) as fd, (tmp_path / "demo").open("wb+") as file:
        write_archive(file, head(), Tree(fd, scan(root)), count("write"))
    (tmp_path / "to").mkdir()
    with reading(tmp_path / "demo") as reader, opened_folder(tmp_path / "to") as folder:
        check_archive(reader, count("check"))
        placement = place(reader, Wish())
        extract(reader, placement, Target(folder, merge=False), count("extract"))
        content = reader.summary.counts.bytes
        assert told == {"write": content, "check": reader.trailer.offset, "extract": content}
        assert placement.size == content


def test_memory_holds_a_few_blocks_only() -> None:
    """Jobs are taken no faster than results are, and a failed one ends the rest."""
    taken: list[int] = []

    def jobs() -> Iterator[int]:
        for number in range(1000):
            taken.append(number)
            yield number

    results = pool.in_order(lambda number: number, jobs())
    assert next(results) == 0
    assert len(taken) <= 4 * pool.WORKERS + 1
    results.close()
    with pytest.raises(ZeroDivisionError):
        list(pool.in_order(lambda number: 1 // number, [1, 1, 0, 1]))
