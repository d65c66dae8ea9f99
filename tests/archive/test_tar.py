"""The tar stream: what we write, Python's tarfile and we read back; what others write, we read."""

from __future__ import annotations

import io
import os
import tarfile
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from support import ending

from backup_lib.archive.limits import Tally
from backup_lib.archive.members import Member, TarReader, members_in
from backup_lib.archive.tar import END, RECORD, Stamp, commit_header, header, padding, plain_stamp
from backup_lib.errors import DamageError
from backup_lib.model import Kind, Source

from .trees import COMMIT

SOURCE = Source(b"a", "file", 0o644, 0, 0, 0, 0, 0, 0, 0, b"", "")
BIG = 9 << 30

parts = st.binary(min_size=1, max_size=80).filter(
    lambda part: not set(part) & {0, 47} and part not in (b".", b"..")
)


def first(data: bytes) -> Member:
    """Return the first member of a tar stream of any maker."""
    return next(iter(TarReader(io.BytesIO(data).read)))


paths = st.lists(parts, min_size=1, max_size=8).map(b"/".join)
kinds: list[Kind] = ["file", "directory", "symlink", "hardlink"]


@given(
    name=paths,
    kind=st.sampled_from(kinds),
    link=paths,
    mode=st.integers(0, 0o7777),
    owners=st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1)),
    size=st.one_of(st.integers(0, 2**63), st.integers(2**33 - 2, 2**33 + 2)),
    seconds=st.integers(-(2**62), 2**62),
)
def test_a_header_reads_back_as_it_was(
    name: bytes, kind: Kind, link: bytes, mode: int, owners: tuple[int, int], size: int, seconds: int
) -> None:
    """Every name, link, mode, size and time is read back as it was written, by us and by Python."""
    link = link if kind in ("symlink", "hardlink") else b""
    size = size if kind == "file" else 0
    source = replace(
        SOURCE, kind=kind, mode=mode, uid=owners[0], gid=owners[1], mtime_ns=seconds % 10**18 * 10**9 + 5
    )
    data = header(name, source, size, link)
    assert len(data) % RECORD == 0
    [(member, content)] = members_in(data)
    assert (member.name, member.kind, member.stamp.mode, member.size, member.link, bytes(content)) == (
        name,
        kind,
        mode,
        size,
        link,
        b"",
    )
    assert member.stamp.mtime_ns == source.mtime_ns - 5
    info = tarfile.TarFile(fileobj=io.BytesIO(data + END), errors="surrogateescape", encoding="utf-8").next()
    assert info is not None
    assert os.fsencode(info.name) == name
    assert os.fsencode(info.linkname) == link
    assert (info.mode, info.uid, info.gid, info.size) == (mode, *owners, size)
    assert int(info.mtime) == int(float(source.mtime_ns // 10**9))


@pytest.mark.parametrize(
    ("name", "changes", "size", "records"),
    [
        (b"n" * 100, {}, 0, set()),
        (b"n" * 101, {}, 0, {b"path"}),
        (b"p" * 155 + b"/" + b"n" * 100, {}, 0, set()),
        (b"p" * 156 + b"/" + b"n" * 99, {}, 0, {b"path"}),
        (b"p/" + b"n" * 100, {}, 0, set()),
        (b"p" * 10 + b"/" + b"q" * 50 + b"/" + b"n" * 50, {}, 0, set()),
        (b"\xff", {}, 0, set()),
        (b"\xff" * 101, {}, 0, {b"path", b"hdrcharset"}),
        (b"a", {"uid": 0o7777777}, 0, set()),
        (b"a", {"uid": 0o10000000}, 0, {b"uid"}),
        (b"a", {"gid": 0o10000000}, 0, {b"gid"}),
        (b"a", {"mtime_ns": -1}, 0, {b"mtime"}),
        (b"a", {"mtime_ns": (2**33 - 1) * 10**9}, 0, set()),
        (b"a", {"mtime_ns": 2**33 * 10**9}, 0, {b"mtime"}),
        (b"a", {}, 2**33 - 1, set()),
        (b"a", {}, BIG, {b"size"}),
    ],
)
def test_extended_only_where_needed(
    name: bytes, changes: dict[str, int], size: int, records: set[bytes]
) -> None:
    """A pax record stands only for what the plain header has no room for."""
    data = header(name, replace(SOURCE, **changes), size, b"")
    found = set()
    if data[156:157] == b"x":
        body = data[RECORD : RECORD + int(data[124:135], 8)]
        found = {line.split(b" ", 1)[1].split(b"=")[0] for line in body.splitlines()}
    assert found == records
    assert len(data) == RECORD or records
    [(member, _)] = members_in(data)
    assert member.name == name


@pytest.mark.parametrize("kind", ["file", "directory", "symlink", "hardlink"])
@pytest.mark.parametrize("name", [b"a", b"n" * 99, b"p/" + b"n" * 99, b"p" * 155 + b"/n"])
def test_a_plain_header_is_known_without_reading_it(kind: Kind, name: bytes) -> None:
    """It has the stamp that the reader finds; of a header with any byte changed nothing else is ever said."""
    link = b"link" if "link" in kind else b""
    size = 7 if kind == "file" else 0
    entry = (name, kind, size, link)
    data = header(name, replace(SOURCE, kind=kind, mode=0o4751, mtime_ns=10**18), size, link)
    assert plain_stamp(data, entry) == Stamp(0o4751, 10**18)
    for at in range(RECORD):
        changed = bytearray(data)
        changed[at] ^= 1
        assert plain_stamp(bytes(changed), entry) is None
    for other in ((name + b"a", *entry[1:]), (*entry[:2], size + 1, link), (*entry[:3], link + b"a")):
        assert plain_stamp(data, other) is None


def test_extended_records_state_their_own_length() -> None:
    """A record whose length is about to gain a digit still states it right."""
    for length in range(80, 1100):
        [(member, _)] = members_in(header(b"n" * length, SOURCE, 0, b""))
        assert member.name == b"n" * length


def test_the_commit_comes_first() -> None:
    """The global header is no member, two records long, and nothing that belongs into a block of entries."""
    data = commit_header(COMMIT)
    assert len(data) == 2 * RECORD
    assert list(TarReader(io.BytesIO(data).read, Tally(len(data)))) == []
    with pytest.raises(DamageError, match="does not belong there"):
        list(members_in(data))


def pax(*records: bytes) -> bytes:
    """Return an extended header with these records, and the header of a file after it."""
    body = b"".join(records)
    info = tarfile.TarInfo("x")
    info.type, info.size = b"x", len(body)
    return info.tobuf(tarfile.USTAR_FORMAT) + body + padding(len(body)) + header(b"a", SOURCE, 0, b"")


@pytest.mark.parametrize(
    "record",
    [
        b"x path=a\n",
        b"0 path=a\n",
        b"1 path=a\n",
        b"-9 path=a\n",
        b"999999999 path=a\n",
        b"8 path=a\n",
        b"9 path=a ",
        b"7 path\n",
        b"11 path=a\0\n",
        b"8 path=\n",
        b"9 size=x\n",
        b"10 size=-1\n",
        b"8 size=\n",
        b"10 mtime=x\n",
        b"12 mtime=nan\n",
        b"9 mtime=\n",
        b"28 mtime=9999999999999999999\n",
        b" " * 100,
        b"\n",
    ],
)
def test_malformed_extended_records_are_damage(record: bytes) -> None:
    """An extended header that is none is refused by name, whatever is wrong with it."""
    with pytest.raises(DamageError):
        first(pax(record))


def test_times_have_all_their_digits() -> None:
    """A time of another program keeps its nanoseconds, also before 1970."""
    for record, nanoseconds in [(b"13 mtime=1.5\n", 15 * 10**8), (b"14 mtime=-1.5\n", -15 * 10**8)]:
        member = first(pax(record))
        assert member.stamp.mtime_ns == nanoseconds
    member = first(pax(b"30 mtime=8589934593.123456789\n"))
    assert member.stamp.mtime_ns == 8_589_934_593_123_456_789


def test_many_extended_records_take_no_time() -> None:
    """A full extended header of tiny records is read in a moment, and none of them is kept."""
    with ending():
        member = first(pax(b"6 a=b\n" * 170_000))
    assert member.name == b"a"


def _changed(data: bytes, at: int, field: bytes) -> bytes:
    """Return a header record with another field, and the checksum it then has."""
    record = bytearray(data)
    record[at : at + len(field)] = field
    record[148:156] = b"        "
    record[148:156] = b"%06o\0 " % sum(record[:RECORD])
    return bytes(record)


@pytest.mark.parametrize(
    ("at", "field"),
    [
        (124, b"\xff" * 12),  # a size below zero
        (124, b"00000000x00\0"),
        (100, b"rw-r--r-"),
        (136, b"\x80" + b"\xff" * 11),  # a time that no kernel takes
        (136, b"\xff" + bytes(11)),
        (124, b"\x80" + bytes(3) + (1 << 63).to_bytes(8, "big")),  # a file that no kernel can have
        (156, b"5\0" + bytes(100)),  # a folder with content, below
    ],
)
def test_impossible_headers_are_damage(at: int, field: bytes) -> None:
    """A header whose checksum is right and whose numbers are none is refused."""
    with pytest.raises(DamageError):
        first(_changed(header(b"a", SOURCE, 5, b""), at, field) + bytes(RECORD))


def test_numbers_in_base_256() -> None:
    """What GNU tar writes for numbers without room is read."""
    data = _changed(header(b"a", SOURCE, 0, b""), 124, b"\x80" + BIG.to_bytes(11, "big"))
    data = _changed(data, 136, b"\xff" * 12)
    member = first(data)
    assert (member.size, member.stamp.mtime_ns) == (BIG, -(10**9))


@pytest.mark.parametrize("cut", range(1, 3 * RECORD, 97))
def test_a_stream_cut_anywhere_is_noticed(cut: int) -> None:
    """A tar stream that ends inside a header or content is damage; one whose end is missing says so."""
    data = header(b"a", SOURCE, 600, b"") + bytes(600) + padding(600) + END
    reader = TarReader(io.BytesIO(data[: -len(END) - cut]).read)
    with pytest.raises(DamageError):
        list(reader)
    assert not reader.ended


def test_the_end_is_told() -> None:
    """Only a zero record marks the end; what follows it besides zeros is told, and never read."""
    data = header(b"a", SOURCE, 0, b"")
    for rest, ended in ((b"", False), (bytes(RECORD), True), (END + bytes(9000), True)):
        reader = TarReader(io.BytesIO(data + rest).read)
        assert len(list(reader)) == 1
        assert (reader.ended, reader.goes_on) == (ended, False)
    for rest in (END + b"more", END + data, bytes(RECORD) + data):
        reader = TarReader(io.BytesIO(data + rest).read)
        assert len(list(reader)) == 1
        assert (reader.ended, reader.goes_on) == (True, True)
    with pytest.raises(DamageError, match="after an extended header"):
        list(TarReader(io.BytesIO(pax(b"9 path=b\n")[: 2 * RECORD] + END).read))


def test_an_endless_extended_header_is_refused() -> None:
    """An extended header larger than 1 MiB is refused before it is read."""
    info = tarfile.TarInfo("x")
    info.type, info.size = b"x", 2 << 20
    with pytest.raises(DamageError, match="refused"):
        list(TarReader(io.BytesIO(info.tobuf(tarfile.USTAR_FORMAT)).read))


@given(st.binary(max_size=3 * RECORD))
def test_garbage_is_damage_and_nothing_else(data: bytes) -> None:
    """Whatever bytes come, nothing but damage is raised."""
    with suppress(DamageError):
        list(members_in(data))


@given(st.integers(0, 3 * RECORD - 1), st.integers(0, 255))
def test_a_changed_byte_raises_damage_or_nothing(at: int, value: int) -> None:
    """A byte changed in any header is refused as damage, or read as something else."""
    data = bytearray(header(b"n" * 200, replace(SOURCE, mtime_ns=-1), 0, b""))
    data[at] = value
    with suppress(DamageError):
        list(members_in(bytes(data)))
