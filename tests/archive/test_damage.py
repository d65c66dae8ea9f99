"""Damage: whatever happens to the bytes of an archive is noticed, named, and raises nothing else."""

from __future__ import annotations

import functools
import gzip
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import pytest
from msgspec.structs import replace

from backup_lib.archive import gz, zst
from backup_lib.archive.block import PIECE
from backup_lib.archive.check import Checked, check_archive
from backup_lib.archive.extract import Wish, place
from backup_lib.archive.formats import FORMATS
from backup_lib.archive.index import IndexWriter
from backup_lib.archive.reader import GIANT, Reader, open_archive, open_remains
from backup_lib.archive.salvage import legible
from backup_lib.archive.tar import END, RECORD, _meta_header, checksum, commit_header, header, padding
from backup_lib.archive.trailer import VERSION, Trailer
from backup_lib.errors import DamageError, RestoreError
from backup_lib.model import Block, Counts, Entry, Format, Header, Level, Source, Summary

from .trees import COMMIT, back_up, head, quiet, reading, restore, run, write_file
from .trees import FORMATS as NAMES

SMALL = [b"d/one", b"d/two", b"three"]
LARGE = b"large"


@pytest.fixture(scope="module", params=NAMES)
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """Return an archive of a few KB and blocks: small files, a link, a file that runs over blocks."""
    root = tmp_path_factory.mktemp("tree")
    for number, path in enumerate(SMALL):
        write_file(root, path, b"".join(b"%d\n" % (line * number) for line in range(40)))
    write_file(root, LARGE, b"large\n" * 60_000)
    (root / "link").symlink_to("three")
    for thing in [*root.rglob("*"), root]:
        os.utime(thing, (1_700_000_000, 1_700_000_000), follow_symlinks=False)  # the same bytes in each run
    archive = root.parent / f"demo.tar.{request.param}"
    back_up(root, archive, head(request.param, level="small"))
    with reading(archive) as reader:
        blocks = [(placed.offset, placed.block.unpack()) for placed in reader.blocks()]
        return Whole(request.param, archive.read_bytes(), reader.trailer.offset, tuple(blocks))


@dataclass(frozen=True)
class Whole:
    """An archive before anything happened to it."""

    format: Format
    data: bytes
    end: int
    """Where the blocks end."""
    blocks: tuple[tuple[int, Block], ...]


@functools.lru_cache(maxsize=4)
def _sums(data: bytes) -> bytes:
    return sha256(data).digest()


def opened(data: bytes) -> Reader | None:
    """Open an archive in memory."""
    return open_archive(lambda offset, length: data[offset : offset + length], len(data))


def examine(data: bytes) -> Checked | None:
    """Check an archive; None where it cannot be opened at all. Only damage may be raised."""
    try:
        reader = opened(data)
        return check_archive(reader, quiet) if reader else None
    except DamageError:
        return None


def noticed(whole: Whole, data: bytes) -> bool:
    """Whether it shows, from the archive alone, that something happened to it."""
    checked = examine(data)
    if checked is None:
        return True
    assert checked.sha256 == sha256(data).digest() != _sums(whole.data)
    return bool(checked.flaws)


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do without threads: there are thousands of archives to check, each of a few blocks."""
    monkeypatch.setattr("backup_lib.archive.pool.in_order", lambda work, jobs: (work(job) for job in jobs))


def test_the_whole_archive_is_sound(whole: Whole) -> None:
    """Without damage there is no flaw, and everything is counted."""
    checked = examine(whole.data)
    assert checked is not None
    assert checked.flaws == ()
    assert (checked.files, checked.content) == (
        4,
        sum(entry.size for _, block in whole.blocks for entry in block.entries),
    )
    assert len(whole.blocks) > 4


@pytest.mark.parametrize("change", [lambda byte: byte ^ 1, lambda byte: 255 - byte])
def test_every_changed_byte_is_noticed(whole: Whole, change: object) -> None:
    """No byte of an archive can be changed without a flaw."""
    assert callable(change)
    data = bytearray(whole.data)
    for at in range(len(data)):
        before = data[at]
        data[at] = change(before)
        assert noticed(whole, bytes(data)), at
        data[at] = before


def test_flaws_name_the_lost_files_and_no_others(whole: Whole) -> None:
    """A flaw names each file that is lost with a block, and none whose bytes still read back right."""
    for at in range(0, whole.end, 3):
        data = bytearray(whole.data)
        data[at] ^= 0x55
        checked = examine(bytes(data))
        assert checked is not None
        named = {flaw.path for flaw in checked.flaws} - {None}
        legible = dict(_legible(whole, bytes(data)))
        assert named == {path for path, is_legible in legible.items() if not is_legible}, at
        assert checked.files == 4 - len(named & {*SMALL, LARGE})


def _legible(whole: Whole, data: bytes) -> Iterator[tuple[bytes, bool]]:
    """Yield each path, and whether its name and content are in what an inflater gives before it fails.

    Its mode and times have no more than tar's own checksum, which swapped digits pass.
    """
    for offset, block in whole.blocks:
        packed, before = (each[offset : offset + block.length] for each in (data, whole.data))
        form = FORMATS[whole.format]
        alone = before if offset else before.removesuffix(form.mark(VERSION))
        given, meant = form.salvage(packed, block.size), form.unpack(alone, block.size)
        for entry in block.entries:
            if entry.path != LARGE:
                start = meant.index(b"demo/" + entry.path if entry.path else b"demo")
                stop = start + 512 + entry.size
                told = slice(start, start + 100), slice(start + 148, stop)
                same = all(given[part] == meant[part] for part in told)
                yield entry.path, same and sum(given[start : start + 148]) == sum(meant[start : start + 148])
    large = [offset for offset, block in whole.blocks if block.entries and block.entries[0].path == LARGE]
    first = next(number for number, (offset, _) in enumerate(whole.blocks) if offset == large[0])
    last = next(
        (number for number, (_, block) in enumerate(whole.blocks) if number > first and block.entries),
        len(whole.blocks) - 1,
    )
    start, stop = whole.blocks[first][0], whole.blocks[last][0]
    yield LARGE, data[start:stop] == whole.data[start:stop]


def test_every_cut_is_noticed(whole: Whole) -> None:
    """An archive cut short anywhere is never taken for whole, also at the end of a block."""
    for length in range(len(whole.data)):
        assert noticed(whole, whole.data[:length]), length


def test_what_is_added_is_noticed(whole: Whole) -> None:
    """Bytes before or after an archive are noticed, an empty member or frame too."""
    more = FORMATS[whole.format].pack(b"", "fast")
    for data in (
        whole.data + b"\0",
        b"\0" + whole.data,
        whole.data + more,
        more + whole.data,
        whole.data * 2,
    ):
        assert noticed(whole, data)


def test_every_lost_doubled_or_swapped_block_is_noticed(whole: Whole) -> None:
    """No block can be dropped, doubled or put elsewhere, though each is sound in itself."""
    parts = [whole.data[offset : offset + block.length] for offset, block in whole.blocks]
    rest = whole.data[whole.end :]
    for at in range(len(parts)):
        assert noticed(whole, b"".join(parts[:at] + parts[at + 1 :]) + rest)
        assert noticed(whole, b"".join(parts[: at + 1] + parts[at:]) + rest)
        for other in range(at):
            swapped = [*parts]
            swapped[at], swapped[other] = swapped[other], swapped[at]
            if swapped != parts:
                assert noticed(whole, b"".join(swapped) + rest)


def test_sound_files_are_restored_from_a_damaged_archive(whole: Whole, tmp_path: Path) -> None:
    """A restore of a damaged archive fails, and leaves no file whose content is wrong."""
    offset, _ = next(placed for placed in whole.blocks if placed[1].entries)
    data = bytearray(whole.data)
    data[offset + 30] ^= 1
    (tmp_path / "demo").write_bytes(data)
    with pytest.raises(DamageError, match="cannot be read back as it was"):
        restore(tmp_path / "demo", tmp_path / "to")
    assert list((tmp_path / "to").glob("demo/d/*")) == []


# --- archives that nobody wrote by accident


Blocks = list[tuple[bytes, int, tuple[Entry, ...]]]
"""Packed bytes, bytes of tar stream, and what begins in it."""


def forged(blocks: Blocks, gap: bytes = b"", commit: str | None = None, **counts: int) -> bytes:
    """Return a gzip archive whose digests are right and whose index says what it likes.

    The folders that its first entry lies in stand before it.
    """
    return forged_as_told(_below_folders(blocks), gap, commit, **counts)


def _below_folders(blocks: Blocks) -> Blocks:
    """Put a block with the folders above the first entry before it."""
    at = next((at for at, (_, _, entries) in enumerate(blocks) if entries), None)
    path = b"" if at is None else blocks[at][2][0].path
    parts = path.split(b"/") if path else []
    folders = [replace(TOP, path=b"/".join(parts[:depth])) for depth in range(len(parts))]
    made = replace(SOURCE, kind="directory")
    data = b"".join(header(b"demo/" + each.path if each.path else b"demo", made, 0, b"") for each in folders)
    block = (gz.pack(data, "fast"), len(data), tuple(folders))
    return [*blocks[:at], block, *blocks[at:]] if folders else blocks


def forged_as_told(blocks: Blocks, gap: bytes = b"", commit: str | None = None, **counts: int) -> bytes:
    """Do as `forged`, and add nothing."""
    writer = IndexWriter()
    writer.add(Header("demo", None, "", 0, "gz", "fast", commit))
    for packed, size, entries in blocks:
        writer.add(Block(len(packed), size, sha256(packed).digest(), b"", entries))
    writer.add(
        Summary(Counts(counts.get("files", 0), counts.get("bytes", 0), sum(len(b[2]) for b in blocks), {}))
    )
    index = writer.finish()
    body = b"".join(packed for packed, _, _ in blocks) + gap
    return body + b"".join(gz.tail(Trailer(len(body), len(index), sha256(index).digest()), index, []))


FILE = Entry(b"a", "file", 0, sha256(b"").digest(), b"", "")
TOP = Entry(b"", "directory", 0, b"", b"", "")
ENDING = (gz.pack(END, "fast"), len(END), ())


def reader_of(data: bytes) -> Reader:
    """Return a reader of an archive in memory, whose index is whole."""
    reader = opened(data)
    assert reader is not None
    return reader


def flaws(data: bytes) -> str:
    """Return what is wrong with an archive, as one text; "" where it cannot even be read."""
    checked = examine(data)
    return "; ".join(flaw.what for flaw in checked.flaws) if checked else ""


@pytest.mark.parametrize(
    ("size", "told"),
    [(1 << 62, None), (-1, None), (0, None), (1 << 20, "another size"), (512, "another size"), (1024, "")],
)
def test_a_block_of_an_impossible_size(size: int, told: str | None) -> None:
    """A size that the index makes up is damage; no memory is set aside for it."""
    checked = examine(forged([(ENDING[0], size, ())]))
    if told is None:
        assert checked is None
    else:
        assert checked is not None
        assert told in "; ".join(flaw.what for flaw in checked.flaws)


def test_the_index_knows_more_than_the_stream() -> None:
    """Entries without a member, members without an entry and other names are flaws."""
    assert "something follows its last entry" in flaws(forged([(ENDING[0], 1024, (FILE,))]))
    assert "index knows" in flaws(forged([ENDING, ENDING, ENDING]))
    assert "index knows" in flaws(forged([ENDING, ENDING]))
    assert "is not the header with the commit" in flaws(forged([ENDING, ENDING], commit=COMMIT))
    packed = gz.pack(b"\1" * 1024, "fast")
    assert "end of the tar stream" in flaws(forged([(packed, 1024, ())]))
    assert "not as much" in flaws(forged([ENDING], files=1)).replace("does not hold as much", "not as much")


def _with_byte(data: bytes, at: int) -> bytes:
    at %= len(data)
    return data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]


@pytest.mark.parametrize(
    ("at", "told"), [(3, "header"), (-1, "another size"), (-5, "CRC-32"), (21, "compressed data")]
)
def test_a_block_that_was_written_wrong(at: int, told: str) -> None:
    """A block that is not what gzip takes is a flaw, though its digest is right."""
    assert told in flaws(forged([(_with_byte(ENDING[0], at), 1024, ())]))


def test_an_index_that_does_not_fit() -> None:
    """Blocks that do not reach the index, and a header of the other format, are damage."""
    with pytest.raises(DamageError, match="do not end where"):
        check_archive(reader_of(forged([ENDING], gap=b"?")), quiet)
    with pytest.raises(DamageError, match="do not end where"):
        _ = reader_of(forged([ENDING], gap=b"?")).summary
    assert reader_of(forged([ENDING], files=7)).summary.counts.files == 7
    writer = IndexWriter()
    writer.add(Header("demo", None, "", 0, "zst", "fast"))
    index = writer.finish()
    with pytest.raises(DamageError, match="no fitting header"):
        opened(b"".join(gz.tail(Trailer(0, len(index), sha256(index).digest()), index, [])))


SOURCE = Source(b"a", "file", 0o644, 0, 0, 0, 0, 0, 0, 0, b"", "")
MEMBERS = {
    "another name": header(b"demo/b", SOURCE, 0, b""),
    "nothing": END,
    "another kind": header(b"demo/a", replace(SOURCE, kind="directory"), 0, b""),
    "one too many": header(b"demo/a", SOURCE, 0, b"") * 2,
    "another size": header(b"demo/a", SOURCE, 1, b"") + bytes(512),
    "a link": header(b"demo/a", replace(SOURCE, kind="symlink"), 0, b"x"),
}


@pytest.mark.parametrize("name", MEMBERS)
def test_a_stream_that_the_index_does_not_know(name: str, tmp_path: Path) -> None:
    """Where index and stream disagree, with every digest right, the check has a flaw, a restore fails."""
    data = forged([(gz.pack(MEMBERS[name], "fast"), len(MEMBERS[name]), (FILE,)), ENDING], files=1)
    assert flaws(data)
    (tmp_path / "demo").write_bytes(data)
    with pytest.raises(DamageError):
        restore(tmp_path / "demo", tmp_path / "to")
    assert not (tmp_path / "to/demo/a").exists()


def test_a_file_that_is_not_what_the_index_says() -> None:
    """Content whose digest is another is a flaw of that file, small or large."""
    wrong = Entry(b"a", "file", 5, bytes(32), b"", "")
    data = header(b"demo/a", SOURCE, 5, b"") + b"wrong" + bytes(507)
    checked = examine(forged([(gz.pack(data, "fast"), len(data), (wrong,)), ENDING], files=1, bytes=5))
    assert checked is not None
    assert [flaw.path for flaw in checked.flaws] == [b"a"]


@pytest.mark.parametrize(("names", "told"), [((b"a", b"b"), ""), ((b"b", b"a"), "no entry of that name")])
def test_entries_far_apart_are_out_of_order(names: tuple[bytes, bytes], told: str) -> None:
    """Also those that are not read side by side: megabytes lie between them."""
    blocks: Blocks = []
    piece, digest = gz.pack(bytes(1 << 20), "fast"), sha256(bytes(3 << 20)).digest()
    for name in names:
        head = gz.pack(header(b"demo/" + name, SOURCE, 3 << 20, b""), "fast")
        blocks.append((head, 512, (Entry(name, "file", 3 << 20, digest, b"", ""),)))
        blocks += [(piece, 1 << 20, ())] * 3
    found = flaws(forged([*blocks, ENDING], files=2, bytes=6 << 20))
    assert (told in found) if told else not found


@pytest.mark.parametrize("last", [0, 1])
def test_a_giant_file_is_checked_whole(last: int) -> None:
    """Its blocks are read side by side; each byte of them counts once, and the file has its SHA-256."""
    size = (GIANT + 2) << 20
    giant = replace(FILE, size=size, digest=sha256(bytes(size)).digest())
    blocks = [(gz.pack(header(b"demo/a", SOURCE, size, b""), "fast"), RECORD, (giant,))]
    pieces = [(gz.pack(bytes(PIECE), "fast"), PIECE, ())] * (GIANT + 1)
    end = (gz.pack(bytes([last]) * PIECE, "fast"), PIECE, ())
    data = forged([*blocks, *pieces, end, ENDING], files=1, bytes=size)
    steps: list[int] = []
    reader = reader_of(data)
    checked = check_archive(reader, steps.append)
    assert (checked.sha256, sum(steps)) == (sha256(data).digest(), reader.trailer.offset)
    assert [flaw.path for flaw in checked.flaws] == [b"a"] * last


@pytest.mark.parametrize("name", [b"../a", b"b/../a", b"b/..", b"..", b"./a", b".", b"b//a", b"/a", b"a\0b"])
def test_names_that_none_may_have(name: bytes) -> None:
    """With every digest right, and a member of that name, an entry that leads elsewhere is a flaw."""
    data = header(b"demo/" + name, SOURCE, 0, b"")
    top = (gz.pack(header(b"demo", replace(SOURCE, kind="directory"), 0, b""), "fast"), 512, (TOP,))
    block = (gz.pack(data, "fast"), len(data), (replace(FILE, path=name),))
    assert flaws(forged([top, block, ENDING], files=1))
    assert flaws(forged([block, ENDING], files=1))
    plain = (gz.pack(header(b"demo/a", SOURCE, 0, b""), "fast"), 512, (FILE,))
    assert flaws(forged([top, plain, ENDING], files=1)) == ""


def test_a_commit_that_the_stream_does_not_name() -> None:
    """What the index says of it, `git get-tar-commit-id` has to say as well."""
    plain = (gz.pack(PLAIN, "fast"), RECORD, (FILE,))
    named = commit_header(COMMIT)
    first = (gz.pack(named, "fast"), len(named), ())
    assert flaws(forged([first, plain, ENDING], commit=COMMIT, files=1)) == ""
    assert "is not the header with the commit" in flaws(forged([plain, ENDING], commit=COMMIT, files=1))
    assert "is not the header with the commit" in flaws(forged([ENDING], commit=COMMIT))
    for name in (COMMIT, ""):
        unasked = commit_header(name)
        block = (gz.pack(unasked, "fast"), len(unasked), ())
        assert "nothing that the index knows" in flaws(forged([block, plain, ENDING], files=1))


def test_a_block_that_follows_a_small_file() -> None:
    """Nothing runs on after a small file: what comes then is not its content."""
    data = header(b"demo/a", SOURCE, 0, b"")
    small = (gz.pack(data, "fast"), len(data), (FILE,))
    assert flaws(forged([small, ENDING], files=1)) == ""
    assert "nothing that the index knows" in flaws(forged([small, (ENDING[0], 1024, ()), ENDING], files=1))


@pytest.mark.parametrize("count", [50, 100])
def test_folders_that_are_no_entries_count(count: int) -> None:
    """Each folder above an entry takes memory, though the index does not name it."""
    names = [b"%03d/" % number + b"d/" * 1000 + b"f" for number in range(count)]
    entries = tuple(replace(FILE, path=name) for name in names)
    reader = reader_of(forged([(gz.pack(bytes(1 << 19), "fast"), 1 << 19, entries), ENDING], files=count))
    if count == 50:
        assert len(place(reader, Wish()).contents) == count
    else:
        with pytest.raises(RestoreError, match="longer names"):
            place(reader, Wish())


def _pax(*records: bytes) -> bytes:
    """Return an extended header of whole records."""
    body = b"".join(records)
    return _meta_header(b"x", body) + body + padding(len(body))


def _with(record: bytes, at: int, field: bytes) -> bytes:
    """Return a header record with another field, and the checksum that it has then."""
    changed = record[:at] + field + record[at + len(field) :]
    return changed[:148] + b"%06o\0 " % checksum(changed[:148] + b" " * 8 + changed[156:]) + changed[156:]


PLAIN = header(b"demo/a", SOURCE, 0, b"")
UNLIKE = {
    "the type of old tars": _with(PLAIN, 156, b"\0"),
    "a label": _with(PLAIN, 156, b"V"),
    "a volume": _with(PLAIN, 156, b"Z"),
    "no magic": _with(PLAIN, 257, bytes(8)),
    "an owner that is no number": _with(PLAIN, 108, b"zzzzzzz\0"),
    "a device that is no number": _with(PLAIN, 329, b"zzzzzzz\0"),
    "a blank size": _with(PLAIN, 124, b" " * 12),
    "a mode after a zero": _with(PLAIN, 100, b"\0000644\0"),
    "more after the name": _with(PLAIN, 0, b"demo/a\0b"),
    "two extended headers": _pax(b"12 mtime=10\n") + _pax(b"12 mtime=10\n") + PLAIN,
    "a record of others": _pax(b"27 SCHILY.realsize=0000001\n") + PLAIN,
    "a record that is not needed": _pax(b"15 path=demo/a\n") + PLAIN,
    "a name that nobody else reads": _pax(b"00000022Xpath=demo/a\n") + header(b"demo/b", SOURCE, 0, b""),
    "a header for all": _meta_header(b"g", b"") + PLAIN,
    "a long name of GNU tar": _meta_header(b"L", b"demo/a\0") + b"demo/a\0".ljust(RECORD, b"\0") + PLAIN,
}


@pytest.mark.parametrize("name", UNLIKE)
def test_headers_that_readers_take_for_something_else(name: str) -> None:
    """Whatever is not a header as we write it is a flaw: each tool makes something else of it."""
    ours = _pax(b"21 mtime=99999999999\n") + _with(PLAIN, 136, b"00000000000\0")
    for data, told in ((UNLIKE[name], True), (ours, False), (PLAIN, False)):
        packed = (gz.pack(data, "fast"), len(data), (FILE,))
        assert bool(flaws(forged([packed, ENDING], files=1))) == told


def test_members_that_hide_behind_a_deflate_stream() -> None:
    """What libdeflate passes over, and every gunzip unpacks, is a flaw."""
    content = PLAIN
    deflated = gz.pack(content, "fast")[20:-8]
    hidden = deflated + _foot(content) + gzip.compress(b"hidden")[:-8]
    for inner in (hidden, deflated + b"junk", deflated):
        member = gz._member(b"", inner, _foot(content))
        told = flaws(forged([(member, len(content), (FILE,)), ENDING], files=1))
        assert ("its compressed data" in told) == (inner != deflated)


def _foot(content: bytes) -> bytes:
    return zlib.crc32(content).to_bytes(4, "little") + len(content).to_bytes(4, "little")


@pytest.mark.parametrize("lengths", [(512,), (511, 511, 2), (100,), ()])
def test_the_padding_of_a_large_file_has_its_length(lengths: tuple[int, ...]) -> None:
    """Zeros too many or too few put a reader off its records, or are an end to it."""
    content = b"x" * 700
    large = replace(FILE, size=700, digest=sha256(content).digest())
    began = header(b"demo/a", SOURCE, 700, b"")
    blocks: Blocks = [(gz.pack(began, "fast"), RECORD, (large,))]
    blocks += [(gz.pack(each, "fast"), len(each), ()) for each in (content, *map(bytes, lengths))]
    assert flaws(forged([*blocks, ENDING], files=1, bytes=700))
    whole = content + padding(700)
    sound = [blocks[0], (gz.pack(whole, "fast"), len(whole), ()), ENDING]
    assert flaws(forged(sound, files=1, bytes=700)) == ""


@pytest.mark.parametrize(
    ("path", "told"),
    [
        (b"n" * 255, False),
        (b"n" * 256, True),
        (b"n" * 200 + b"/" + b"n" * 255, False),
        (b"n" * 200 + b"/" + b"n" * 256, True),
        (b"/".join([b"n"] * 2047), False),
        (b"/".join([b"n"] * 2048), True),
    ],
)
def test_names_that_no_disk_takes(path: bytes, told: bool) -> None:
    """No restore could make them, so nothing that holds one is sound."""
    data = header(b"demo/" + path, SOURCE, 0, b"")
    block = (gz.pack(data, "fast"), len(data), (replace(FILE, path=path),))
    assert bool(flaws(forged([block, ENDING], files=1))) == told


@pytest.mark.parametrize("target", [b"", b"b\0c", b"b" * 4096])
def test_links_that_none_can_have(target: bytes) -> None:
    """A symlink that no restore could make is a flaw."""
    link = Entry(b"a", "symlink", 0, b"", target, "")
    data = header(b"demo/a", replace(SOURCE, kind="symlink"), 0, target)
    assert flaws(forged([(gz.pack(data, "fast"), len(data), (link,)), ENDING]))


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize(
    ("above", "path", "told"),
    [
        (Entry(b"a", "symlink", 0, b"", b"x", ""), b"a/b", "below what is no folder"),
        (FILE, b"a/b", "below what is no folder"),
        (replace(FILE, path=b""), b"a", "below what is no folder"),
        (Entry(b"a", "directory", 0, b"", b"", ""), b"a/b", ""),
        (FILE, b"ab", ""),
    ],
)
def test_nothing_lies_below_a_file(above: Entry, path: bytes, told: str, apart: bool) -> None:
    """Also where another block begins: GNU tar would write through the link."""
    below = replace(FILE, path=path)
    streams = [
        header(b"demo/" + each.path if each.path else b"demo", replace(SOURCE, kind=each.kind), 0, each.link)
        for each in (above, below)
    ]
    blocks: Blocks
    if apart:
        blocks = [(gz.pack(s, "fast"), RECORD, (e,)) for s, e in zip(streams, (above, below), strict=True)]
    else:
        blocks = [(gz.pack(b"".join(streams), "fast"), 2 * RECORD, (above, below))]
    found = flaws(forged([*blocks, ENDING], files=sum(each.kind == "file" for each in (above, below))))
    assert (told in found) if told else not found


@pytest.mark.parametrize(
    ("exponent", "told"), [(14, "compressed data"), (15, "more memory"), (18, "more memory")]
)
def test_a_frame_that_wants_more_memory_than_readers_give(exponent: int, told: str) -> None:
    """zstd, tar and bsdtar refuse a window of 256 MiB; no block of ours needs more than 16."""
    frame = b"\x28\xb5\x2f\xfd\x80" + bytes([exponent << 3]) + (300_000).to_bytes(4, "little") + b"\1\0\0"
    with pytest.raises(DamageError, match=told):
        zst.unpack(frame, 300_000)


def test_an_archive_without_blocks() -> None:
    """An index with nothing before it has lost the stream."""
    assert flaws(forged([])) == "the end of the tar stream is missing"


def test_a_deflate_stream_that_gives_too_much() -> None:
    """A damaged block that inflates to more than it should is damage; what follows is thrown away."""
    packed = bytearray(gz.pack(bytes(100_000), "normal"))
    assert len(gz.salvage(bytes(packed), 1000)) == 1000
    entry = Entry(b"a", "file", 9, bytes(32), b"", "")
    assert "another size" in flaws(forged([(bytes(packed), 1024, (entry,)), ENDING]))


@pytest.mark.parametrize("format", NAMES)
def test_salvage_takes_no_more_than_it_should(format: Format) -> None:
    """What is read of a damaged block never grows past the block's own size."""
    packed = FORMATS[format].pack(bytes(8 << 20), "fast")
    assert len(FORMATS[format].salvage(packed, 1000)) == 1000
    with pytest.raises(DamageError):
        FORMATS[format].unpack(packed, 1000)
    with pytest.raises(DamageError):
        FORMATS[format].unpack(packed[:-1], 8 << 20)
    with pytest.raises(DamageError):
        FORMATS[format].unpack(packed + packed, 8 << 20)


@pytest.mark.parametrize("format", NAMES)
def test_salvage_reads_up_to_the_damage(format: Format) -> None:
    """Of a block that is damaged, all that stands before is read, but for what zstd packs together."""
    data = b"".join(b"%d\n" % (number * 7919 % 100_003) for number in range(60_000))
    packed = bytearray(FORMATS[format].pack(data, "normal"))
    at = len(packed) * 3 // 4
    packed[at : at + 64] = bytes(64)
    found = FORMATS[format].salvage(bytes(packed), len(data))
    same = next(
        (at for at, pair in enumerate(zip(found, data, strict=False)) if len(set(pair)) > 1), len(found)
    )
    assert same > len(data) // 3


def test_what_follows_damage_is_read_to_its_end() -> None:
    """However many members there are: work is limited by what is read over again, not by what is read."""
    names = [b"demo/%d" % number for number in range(500)]
    data = b"".join(header(name, SOURCE, 600, b"") + name.ljust(1024) for name in names)
    found = [member.name for member, _ in legible(b"?" * RECORD + data[RECORD:])]
    assert found == names[1:]


def test_what_an_extended_header_hides_is_found() -> None:
    """Where one is damaged, what it says of its own length takes nothing with it."""
    names = [b"demo/a", b"demo/b"]
    members = b"".join(header(name, SOURCE, 0, b"") for name in names)
    assert [member.name for member, _ in legible(_meta_header(b"x", members) + members)] == names


def test_a_small_file_without_padding() -> None:
    """A block that ends with the content of a file is none that we write, and puts tar off its records."""
    content = b"x" * 700
    short = replace(FILE, size=700, digest=sha256(content).digest())
    for pad, told in ((padding(700), False), (b"", True)):
        data = header(b"demo/a", SOURCE, 700, b"") + content + pad
        found = flaws(forged([(gz.pack(data, "fast"), len(data), (short,)), ENDING], files=1, bytes=700))
        assert bool(found) == told


@pytest.mark.parametrize("length", range(25))
def test_the_start_of_a_member_may_be_cut(length: int) -> None:
    """What is too short to state its length is no block of ours."""
    start = gz.pack(b"data", "fast")[:length]
    assert gz.is_ours(lambda at, count: start[at : at + count], length) == (length >= 20)


@pytest.mark.parametrize("size", [1000, 1 << 50])
def test_a_frame_that_states_another_size_is_not_unpacked(size: int) -> None:
    """A zstd frame says how large it is: no memory is set aside for more than the index says."""
    frame = b"\x28\xb5\x2f\xfd\xe0" + size.to_bytes(8, "little") + b"\x01\0\0"
    with pytest.raises(DamageError, match="states another size"):
        zst.unpack(frame, 999)


@pytest.mark.parametrize("format", NAMES)
def test_an_index_of_many_pieces_is_read_whole(format: Format) -> None:
    """It is carried, and read, in pieces."""
    index = os.urandom((3 << 20) + 1)
    trailer = Trailer(100, len(index), sha256(index).digest())
    data = bytes(100) + b"".join(FORMATS[format].tail(trailer, index, []))
    pieces = FORMATS[format].payload(lambda at, length: data[at : at + length], trailer)
    assert b"".join(pieces) == index


def test_a_trailer_may_stand_at_the_first_byte() -> None:
    """It is found wherever the seek table says; whoever reads the index it tells of finds none."""
    trailer = Trailer(0, 9, bytes(32))
    tail = b"".join(zst.tail(trailer, b"", []))
    alone = tail[tail.index(trailer.to_bytes()) :]
    assert zst.find_trailer(lambda at, length: alone[at : at + length], len(alone)) == trailer
    assert zst.find_trailer(lambda at, length: alone[at + 1 :][:length], len(alone) - 1) is None


@pytest.mark.parametrize("format", NAMES)
def test_more_effort_makes_smaller_blocks(format: Format) -> None:
    """Each level makes our own modules smaller than the one before it, and they come out the same."""
    data = b"".join(path.read_bytes() for path in sorted(Path(gz.__file__).parent.glob("*.py")))
    levels: tuple[Level, ...] = ("fast", "normal", "small")
    packed = [FORMATS[format].pack(data, level) for level in levels]
    assert [FORMATS[format].unpack(each, len(data)) for each in packed] == [data] * 3
    assert len(packed[0]) > len(packed[1]) > len(packed[2])


def test_gzip_members_tell_where_the_next_begins(whole: Whole) -> None:
    """Where the tail is lost, the blocks that are left are found from the front, one after the other."""
    if whole.format != "gz":
        pytest.skip("zstd frames are found by their own headers")
    at, found = 0, []
    data = whole.data[: whole.end - 5]
    while at + 20 <= len(data):
        length = int.from_bytes(data[at + 16 : at + 20], "little")
        found.append((at, length))
        at += length
    assert found == [(offset, block.length) for offset, block in whole.blocks]
    assert run("gzip", "-dc", data=whole.data[: whole.end]).endswith(END)


# --- what is left


def left(data: bytes) -> Reader | None:
    """Open what is left of an archive in memory."""
    return open_remains(lambda offset, length: data[offset : offset + length], len(data))


def as_it_is(data: bytes, format: Format) -> bytes:
    """Return a block in which `data` stands as it is."""
    if format == "zst":
        start = b"\x28\xb5\x2f\xfd\xa0" + len(data).to_bytes(4, "little")
        return start + (len(data) << 3 | 1).to_bytes(3, "little") + data
    stored = b"\1" + len(data).to_bytes(2, "little") + (len(data) ^ 0xFFFF).to_bytes(2, "little") + data
    return gz._member(b"", stored, _foot(data))


@pytest.mark.parametrize("more", [b"", b"\x28\xb5\x2f", b"\x1f\x8b\x08", b"junk", None])
def test_an_archive_in_an_archive_is_not_taken_for_it(whole: Whole, more: bytes | None) -> None:
    """Where the index is lost, that of an archive which lies in there as a file stands for nothing."""
    pad = bytes(-len(whole.data) % RECORD)
    inner = header(b"demo/a", SOURCE, len(whole.data), b"") + whole.data + pad + os.urandom(RECORD)
    block = as_it_is(inner, whole.format)
    first = whole.data[: whole.blocks[1][0]]
    assert left(first + block + whole.data[whole.end :]) is not None
    assert left(first + (block[:-50] if more is None else block + more)) is None


def test_blocks_are_found_wherever_they_were_moved(whole: Whole) -> None:
    """Bytes that were lost or added in several places cost the blocks they were in, and no other."""
    (second, _), (fourth, _) = whole.blocks[1], whole.blocks[3]
    for lost, added in ((3, 7), (1, 1), (12, 1)):
        data = bytearray(whole.data)
        data[fourth + 30 : fourth + 30] = b"?" * added
        del data[second + 30 : second + 30 + lost]
        reader = left(bytes(data))
        assert reader is not None
        checked = check_archive(reader, quiet)
        told = {flaw.what.split()[1] for flaw in checked.flaws if flaw.what.startswith("block ")}
        assert told == {"1", "3"}


def test_a_block_that_was_moved_and_is_damaged(whole: Whole) -> None:
    """What stands in it before the damage is read where it lies now."""
    if whole.format == "zst":
        pytest.skip("nothing is left of a frame of one block")
    at, block = next(placed for placed in whole.blocks if placed[1].entries)
    meant = whole.blocks[0][0] + 30
    data = bytearray(whole.data)
    data[at + block.length - 3] ^= 0xFF
    data[meant:meant] = b"?"
    reader = left(bytes(data))
    assert reader is not None
    named = {flaw.path for flaw in check_archive(reader, quiet).flaws}
    assert not named & {entry.path for entry in block.entries}


@pytest.mark.parametrize("entry", [replace(FILE, link=b"x"), replace(TOP, path=b"a", link=b"x")])
@pytest.mark.parametrize("target", [b"", b"x"])
def test_only_links_have_a_target(entry: Entry, target: bytes) -> None:
    """A file or folder with one is none that we write, whatever its header has."""
    data = header(b"demo/a", replace(SOURCE, kind=entry.kind), 0, target)
    assert flaws(
        forged([(gz.pack(data, "fast"), len(data), (entry,)), ENDING], files=len(entry.digest) // 32)
    )


@pytest.mark.parametrize(
    ("paths", "told"),
    [
        ([b"", b"a", b"a/b"], False),
        ([b"", b"a", b"a/b", b"a/b/c", b"d"], False),
        ([b"a"], True),
        ([b"", b"a/b"], True),
        ([b"", b"a", b"a/b/c"], True),
        ([b"", b"a", b"aa/b"], True),
        ([b"", b"a", b"a/b", b"b/c"], True),
    ],
)
@pytest.mark.parametrize("apart", [False, True])
def test_each_folder_is_an_entry(paths: list[bytes], told: bool, apart: bool) -> None:
    """A folder whose entry is missing has lost its mode and time, also where another block begins."""
    entries = [replace(TOP, path=path) for path in paths]
    made = replace(SOURCE, kind="directory")
    streams = [header(b"demo/" + path if path else b"demo", made, 0, b"") for path in paths]
    blocks: Blocks = [
        (gz.pack(data, "fast"), len(data), (entry,)) for data, entry in zip(streams, entries, strict=True)
    ]
    if not apart:
        data = b"".join(streams)
        blocks = [(gz.pack(data, "fast"), len(data), tuple(entries))]
    assert bool(flaws(forged_as_told([*blocks, ENDING]))) == told
