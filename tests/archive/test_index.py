"""The index: read back as it was written; damaged, it is named as damaged and nothing else happens."""

from __future__ import annotations

import random
import struct
import zlib
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from support import of_first_shape

from backup_lib.archive.index import IndexWriter, PackedBlock, read_records
from backup_lib.archive.trailer import TRAILER_LENGTH, Trailer
from backup_lib.errors import DamageError
from backup_lib.model import Block, Counts, Entry, Header, Problem, Summary

Record = Header | Block | Summary

big = st.integers(0, 2**63 - 1)
text = st.text(max_size=20)
digests = st.binary(min_size=32, max_size=32)
paths = st.binary(max_size=300) | st.lists(st.sampled_from([b"a", b"b", b"", b"long"]), max_size=5).map(
    b"/".join
)
bare = st.builds(
    Entry,
    path=paths,
    kind=st.sampled_from(["directory", "file", "symlink", "hardlink"]),
    size=big,
    digest=st.just(b""),
    link=st.binary(max_size=50),
    state=st.sampled_from(["", "committed", "modified", "ignored"]),
    changed=st.booleans(),
)
entries = st.builds(
    lambda entry, digest: replace(entry, digest=digest) if entry.kind in ("file", "hardlink") else entry,
    bare,
    digests,
)
blocks = st.builds(
    Block,
    length=big,
    size=st.integers(4 * 512, 2**63 - 1),  # there is room in it for its entries
    digest=digests,
    fingerprint=st.just(b"") | st.binary(min_size=16, max_size=16).filter(any),
    entries=st.lists(entries, max_size=4).map(tuple),
)
headers = st.builds(
    Header,
    project=text,
    version=st.none() | text,
    created=text,
    scanned_ns=big,
    format=st.sampled_from(["gz", "zst"]),
    level=st.sampled_from(["fast", "normal", "small"]),
    commit=st.none() | text,
    branch=st.none() | text,
    note=text,
    excluded=st.lists(text, max_size=3).map(tuple),
)
problems = st.builds(
    Problem,
    path=st.binary(max_size=20),
    kind=st.sampled_from(["unreadable", "vanished", "changed", "skipped"]),
    reason=text,
)
summaries = st.builds(
    Summary,
    counts=st.builds(
        Counts, files=big, bytes=big, entries=big, states=st.dictionaries(text, big, max_size=3)
    ),
    problems=st.lists(problems, max_size=3).map(tuple),
)
indexes = st.builds(
    lambda head, middle, end: [head, *middle, end], headers, st.lists(blocks, max_size=5), summaries
)


def written(records: list[Any]) -> bytes:
    """Return an index of these records."""
    writer = IndexWriter()
    for record in records:
        writer.add(record)
    return writer.finish()


def index_of(records: bytes, digests: bytes = b"") -> bytes:
    """Return an index whose records, not compressed yet, are given, and its digests."""
    stream = zlib.compress(records)
    return struct.pack("<Q", len(stream)) + stream + digests


def packed(*bodies: tuple[bytes, bytes]) -> bytes:
    """Return an index of records given as letter and msgpack, with the digests of one block."""
    records = b"".join(struct.pack("<cI", letter, len(body)) + body for letter, body in bodies)
    return index_of(records, bytes(48))


def read(index: bytes) -> list[Record]:
    """Return the records of an index, its blocks unpacked."""
    return [each.unpack() if isinstance(each, PackedBlock) else each for each in read_records(index)]


def damaged(index: bytes) -> bool:
    """Read an index; return whether it was called damaged. Anything else that is raised comes out."""
    try:
        read(index)
    except DamageError:
        return True
    return False


HEAD = Header("demo", None, "", 0, "gz", "fast")
SUMMARY = Summary(Counts(0, 0, 0, {}))
BODIES = [
    (b"H", msgspec.msgpack.encode(HEAD)),
    (b"B", msgspec.msgpack.encode((1, 1, 0, []))),
    (b"S", msgspec.msgpack.encode(SUMMARY)),
]


@given(indexes)
def test_an_index_reads_back_as_it_was(records: list[Record]) -> None:
    """Every record comes back, in order."""
    assert read(written(records)) == records


@given(indexes, st.data())
def test_a_cut_index_is_damaged(records: list[Record], data: st.DataObject) -> None:
    """An index that lost its end, or gained one, is never taken for whole."""
    whole = written(records)
    assert damaged(whole[: data.draw(st.integers(0, len(whole) - 1))])
    assert damaged(whole + b"x")


@given(indexes, st.integers(1, 9))
def test_an_index_of_the_first_shape_reads_as_one_of_today(records: list[Record], level: int) -> None:
    """Whatever level packed it, it says the same; cut, or with something behind it, it is damaged."""
    old = of_first_shape(records, level)
    assert read(old) == read(written(records)) == records
    assert damaged(old[:-1])
    assert damaged(old + b"x")


@pytest.mark.parametrize(
    "entry",
    [
        Entry(b"a", "file", 0, b"", b"", ""),
        Entry(b"a", "file", 0, bytes(31), b"", ""),
        Entry(b"a", "hardlink", 0, bytes(64), b"b", ""),
        Entry(b"a", "directory", 0, bytes(32), b"", ""),
        Entry(b"a", "symlink", 0, bytes(32), b"b", ""),
    ],
)
def test_an_entry_of_the_first_shape_with_a_digest_that_does_not_fit(entry: Entry) -> None:
    """A file or hard link has one SHA-256, anything else none."""
    assert damaged(of_first_shape([HEAD, Block(1, 512, bytes(32), b"", (entry,)), SUMMARY]))


def test_a_block_of_the_first_shape_has_no_more_entries_than_fit() -> None:
    """They are counted before they are unpacked, as those of today are."""
    entries = tuple(Entry(b"%d" % number, "directory", 0, b"", b"", "") for number in range(3))
    for size, fits in ((3 * 512, True), (3 * 512 - 1, False)):
        assert damaged(of_first_shape([HEAD, Block(1, size, bytes(32), b"", entries), SUMMARY])) != fits


def test_an_index_of_today_that_begins_like_a_zlib_stream() -> None:
    """Its first byte is that of a length, which may be any: it is not taken for one of the first shape."""
    text = random.Random(1).randbytes(1000).hex()
    heads = (msgspec.structs.replace(HEAD, note=text[:length]) for length in range(len(text)))
    found = next(index for head in heads if (index := written([head, SUMMARY]))[:1] == b"\x78")
    assert isinstance(read(found)[0], Header)


@given(indexes, st.data())
def test_a_changed_byte_never_breaks_the_reader(records: list[Record], data: st.DataObject) -> None:
    """A changed byte of the records themselves raises nothing but damage, in an index of any shape."""
    whole = written(records)
    length = struct.unpack_from("<Q", whole)[0]
    plain = bytearray(zlib.decompress(whole[8 : 8 + length]))
    plain[data.draw(st.integers(0, len(plain) - 1))] = data.draw(st.integers(0, 255))
    damaged(index_of(bytes(plain), whole[8 + length :]))
    first = bytearray(zlib.decompress(of_first_shape(records)))
    first[data.draw(st.integers(0, len(first) - 1))] = data.draw(st.integers(0, 255))
    damaged(zlib.compress(first))


@given(st.binary(max_size=200))
def test_garbage_is_damage(data: bytes) -> None:
    """Bytes that are no index are damaged, compressed or not."""
    assert damaged(data)
    assert damaged(index_of(data))


@pytest.mark.parametrize(
    ("files", "entries"),
    [
        (0, [(0, b"a", "file", 0)]),
        (1, [(0, b"a", "directory", 0)]),
        (1, [(1, b"a", "file", 0)]),
        (1, [(-1, b"a", "file", 0)]),
        (2, [(0, b"ab", "file", 0), (1, b"c", "file", 0)]),
        (2, [(0, b"a", "file", 0)]),
        (-1, []),
    ],
)
def test_entries_and_digests_that_do_not_fit(files: int, entries: list[Any]) -> None:
    """A path that goes on from nothing, and digests that are too few or too many, are damage."""
    body = msgspec.msgpack.encode((1, 1, files, entries))
    records = b"".join(
        struct.pack("<cI", letter, len(each)) + each for letter, each in (BODIES[0], (b"B", body), BODIES[2])
    )
    assert damaged(index_of(records, bytes(48 + 32)))


@pytest.mark.parametrize(
    "order",
    [[], [0], [1], [2], [0, 1], [1, 2], [2, 0], [0, 0, 2], [0, 2, 1], [0, 2, 2], [0, 1, 0, 2], [0, 2, 0]],
)
def test_records_out_of_order_are_damage(order: list[int]) -> None:
    """There is one header first, one summary last, and nothing else but blocks between."""
    assert not damaged(packed(*BODIES))
    assert damaged(packed(*(BODIES[number] for number in order)))


@pytest.mark.parametrize("length", [2**26 + 1, 2**31, 2**32 - 1])
def test_giant_lengths_are_refused(length: int) -> None:
    """A record that says it is huge is refused before anything of it is gathered."""
    for letter in (b"H", b"B"):
        with pytest.raises(DamageError, match="a record that is none"):
            read(index_of(struct.pack("<cI", letter, length) + bytes(100)))


@pytest.mark.parametrize(("letter", "most"), [(b"H", 1 << 20), (b"B", 16 << 20), (b"S", 16 << 20)])
def test_the_largest_records(letter: bytes, most: int) -> None:
    """A header is small: it is read before anything vouches for the archive."""
    with pytest.raises(DamageError, match="ends inside a record"):
        read(index_of(struct.pack("<cI", letter, most)))
    with pytest.raises(DamageError, match="a record that is none"):
        read(index_of(struct.pack("<cI", letter, most + 1)))


def test_paths_that_share_much_are_added_up() -> None:
    """A few bytes of an index may stand for very long paths, many times."""
    folder = b"d/" * 3500
    entries = [(0, folder, "directory", 0)]
    entries += [(len(folder), b"%d" % number, "directory", 0) for number in range(10_000)]
    body = msgspec.msgpack.encode((1, 512 * len(entries), 0, entries))
    with pytest.raises(DamageError, match="longer paths in a block"):
        read(packed(BODIES[0], (b"B", body), BODIES[2]))


def test_a_block_has_no_more_entries_than_fit() -> None:
    """Each takes a header record at least: more of them are refused before they are unpacked."""
    entries = [(0, b"%d" % number, "directory", 0) for number in range(3)]
    for size, fits in ((3 * 512, True), (3 * 512 - 1, False)):
        body = msgspec.msgpack.encode((1, size, 0, entries))
        assert damaged(packed(BODIES[0], (b"B", body), BODIES[2])) != fits


@pytest.mark.parametrize("count", [0, 15, 16, 70_000])
def test_entries_are_counted_before_they_are_unpacked(count: int) -> None:
    """However msgpack writes the length of an array."""
    entries = tuple(Entry(b"%06d" % number, "directory", 0, b"", b"", "") for number in range(count))
    block = Block(1, 512 * max(count, 1), bytes(32), b"", entries)
    [_, found, _] = read_records(written([HEAD, block, SUMMARY]))
    assert isinstance(found, PackedBlock)
    assert found.count == count
    assert found.unpack() == block


@pytest.mark.parametrize(
    "body",
    [
        b"\xc1",
        b"\xdd\xff\xff\xff\xff",
        b"\xdb\xff\xff\xff\xff",
        b"\x94\x01\x01\x00" + b"\x91" * 100_000,
        b"\x95\x01\x01\x00\x90" + b"\x91" * 100_000 + b"\xc0",
        b"\x94\x01\x01\x00\x91\xa1\xff",
        b"\x94\x01\x01\xa1d\x90",
    ],
)
def test_hostile_msgpack_is_damage(body: bytes) -> None:
    """msgpack that promises too much, nests too deep or is of another shape is damage."""
    assert damaged(packed(BODIES[0], (b"B", body), BODIES[2]))


@settings(max_examples=50)
@given(st.binary(max_size=2 * TRAILER_LENGTH))
def test_bytes_that_are_no_trailer(data: bytes) -> None:
    """A trailer is one only with its magic and its length."""
    assert Trailer.from_bytes(data) is None


@given(st.builds(Trailer, big, big, st.binary(min_size=32, max_size=32), st.integers(0, 2**32 - 1)))
def test_a_trailer_reads_back_as_it_was(trailer: Trailer) -> None:
    """A trailer has a fixed size and comes back as it was, of whatever version."""
    data = trailer.to_bytes()
    assert len(data) == TRAILER_LENGTH
    assert Trailer.from_bytes(data) == trailer
    assert Trailer.from_bytes(b"rbkp" + data[4:]) is None


def test_keys_that_a_reader_does_not_know() -> None:
    """A later version may add keys to the header and places to arrays: a reader passes over them."""
    header = BODIES[0]
    known = msgspec.msgpack.decode(header[1])
    later = msgspec.msgpack.encode(known | {"zone": "+02:00", "seen": [1, {"a": None}]})
    first, *others = read_records(packed((header[0], later), *BODIES[1:]))
    assert isinstance(first, Header)
    assert (first.project, first.format) == ("demo", "gz")
    assert [type(each) for each in others] == [PackedBlock, Summary]
