"""The index: read back as it was written; damaged, it is named as damaged and nothing else happens."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backup_lib.archive.index import IndexWriter, read_records
from backup_lib.archive.trailer import TRAILER_LENGTH, Trailer
from backup_lib.errors import DamageError
from backup_lib.model import Block, Counts, Entry, Header, Problem, Summary

Record = Header | Block | Summary

big = st.integers(0, 2**63 - 1)
text = st.text(max_size=20)
entries = st.builds(
    Entry,
    path=st.binary(max_size=300),
    kind=st.sampled_from(["directory", "file", "symlink", "hardlink"]),
    size=big,
    digest=st.binary(max_size=32),
    link=st.binary(max_size=50),
    state=st.sampled_from(["", "committed", "modified", "ignored"]),
    changed=st.booleans(),
)
blocks = st.builds(
    Block,
    length=big,
    size=big,
    digest=st.binary(max_size=32),
    fingerprint=st.binary(max_size=16),
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


def packed(*bodies: tuple[bytes, bytes]) -> bytes:
    """Return an index of records given as letter and msgpack."""
    return zlib.compress(b"".join(struct.pack("<cI", letter, len(body)) + body for letter, body in bodies))


def damaged(data: list[bytes]) -> bool:
    """Read an index; return whether it was called damaged. Anything else that is raised comes out."""
    try:
        for _ in read_records(data):
            pass
    except DamageError:
        return True
    return False


HEAD = Header("demo", None, "", 0, "gz", "fast")
BLOCK = Block(1, 1, b"d", b"", ())
SUMMARY = Summary(Counts(0, 0, 0, {}))
BODIES = [
    (b"H", msgspec.msgpack.encode(HEAD)),
    (b"B", msgspec.msgpack.encode(BLOCK)),
    (b"S", msgspec.msgpack.encode(SUMMARY)),
]


@given(indexes, st.integers(1, 50))
def test_an_index_reads_back_as_it_was(records: list[Record], step: int) -> None:
    """Every record comes back, in order, however the bytes are handed over."""
    data = written(records)
    assert list(read_records([data])) == records
    assert list(read_records(data[at : at + step] for at in range(0, len(data), step))) == records


@given(indexes, st.data())
def test_a_cut_index_is_damaged(records: list[Record], data: st.DataObject) -> None:
    """An index that lost its end, or gained one, is never taken for whole."""
    whole = written(records)
    assert damaged([whole[: data.draw(st.integers(0, len(whole) - 1))]])
    assert damaged([whole + b"x"])


@given(indexes, st.data())
def test_a_changed_byte_never_breaks_the_reader(records: list[Record], data: st.DataObject) -> None:
    """A changed byte of the records themselves raises nothing but damage."""
    plain = bytearray(zlib.decompress(written(records)))
    plain[data.draw(st.integers(0, len(plain) - 1))] = data.draw(st.integers(0, 255))
    damaged([zlib.compress(bytes(plain))])


@given(st.binary(max_size=200))
def test_garbage_is_damage(data: bytes) -> None:
    """Bytes that are no index are damaged, compressed or not."""
    assert damaged([data])
    assert damaged([zlib.compress(data)])


@pytest.mark.parametrize(
    "order",
    [[], [0], [1], [2], [0, 1], [1, 2], [2, 0], [0, 0, 2], [0, 2, 1], [0, 2, 2], [0, 1, 0, 2], [0, 2, 0]],
)
def test_records_out_of_order_are_damage(order: list[int]) -> None:
    """There is one header first, one summary last, and nothing else but blocks between."""
    assert not damaged([packed(*BODIES)])
    assert damaged([packed(*(BODIES[number] for number in order))])


@pytest.mark.parametrize("length", [2**26 + 1, 2**31, 2**32 - 1])
def test_giant_lengths_are_refused(length: int) -> None:
    """A record that says it is huge is refused before anything of it is gathered."""
    assert damaged([zlib.compress(struct.pack("<cI", b"H", length) + bytes(100))])


@pytest.mark.parametrize(
    "body",
    [
        b"\xc1",
        b"\xdd\xff\xff\xff\xff",
        b"\xdb\xff\xff\xff\xff",
        b"\x95\x01\x01\xc4\x01d\xc4\x00" + b"\x91" * 100_000,
        b"\x96\x01\x01\xc4\x01d\xc4\x00\x90" + b"\x91" * 100_000 + b"\xc0",
        b"\x95\x01\x01\xa1\xff\xc4\x00\x90",
        b"\x95\x01\x01\xa1d\xc4\x00\x90",
    ],
)
def test_hostile_msgpack_is_damage(body: bytes) -> None:
    """msgpack that promises too much, nests too deep or is of another shape is damage."""
    assert damaged([packed(BODIES[0], (b"B", body), BODIES[2])])


@settings(max_examples=50)
@given(st.binary(max_size=2 * TRAILER_LENGTH))
def test_bytes_that_are_no_trailer(data: bytes) -> None:
    """A trailer is one only with its magic and its length."""
    assert Trailer.from_bytes(data) is None


@given(st.builds(Trailer, big, big, st.binary(min_size=32, max_size=32)))
def test_a_trailer_reads_back_as_it_was(trailer: Trailer) -> None:
    """A trailer has a fixed size and comes back as it was; of another version, it is none."""
    data = trailer.to_bytes()
    assert len(data) == TRAILER_LENGTH
    assert Trailer.from_bytes(data) == trailer
    assert Trailer.from_bytes(data[:4] + b"\x02" + data[5:]) is None
