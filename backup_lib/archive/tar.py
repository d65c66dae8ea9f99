"""The tar stream as we write it.

POSIX.1-2001 (pax) as in IEEE Std 1003.1 "pax", section "ustar Interchange Format":
plain ustar headers, and an extended header only where a field does not fit.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple
from zlib import adler32

from backup_lib.model import Kind, Source

__all__ = ["END", "RECORD", "Stamp", "checksum", "commit_header", "header", "padding", "plain_stamp"]

RECORD = 512
END = bytes(2 * RECORD)
"""The two zero records that end a tar stream."""

_TYPES: dict[Kind, bytes] = {"file": b"0", "hardlink": b"1", "symlink": b"2", "directory": b"5"}
_NAME, _PREFIX = 100, 155
_MOST_OCTAL = {"uid": 0o7777777, "gid": 0o7777777, "size": 0o77777777777, "mtime": 0o77777777777}
_NO_OWNER_NAMES = bytes(64)


class Stamp(NamedTuple):
    """What is restored of a thing besides its content."""

    mode: int
    """Permission bits, 0 to 0o7777."""
    mtime_ns: int
    """Nanoseconds since 1970."""


def header(name: bytes, source: Source, size: int, link: bytes) -> bytes:
    """Return the header records of one entry.

    `name` and `link` are as they stand in the archive; `size` is the number of content bytes that follow.
    """
    mtime = source.mtime_ns // 1_000_000_000
    if source.kind == "directory":
        name += b"/"
    split = _split(name)
    if (
        split
        and len(link) <= _NAME
        and size <= _MOST_OCTAL["size"]
        and 0 <= mtime <= _MOST_OCTAL["mtime"]
        and source.uid <= _MOST_OCTAL["uid"]
        and source.gid <= _MOST_OCTAL["gid"]
    ):
        prefix, short = split
        numbers = b"%07o\0%07o\0%07o\0%011o\0%011o\0" % (source.mode, source.uid, source.gid, size, mtime)
        return _ustar(short, prefix, numbers, _TYPES[source.kind] + link)
    return _extended(name, link, {"uid": source.uid, "gid": source.gid, "size": size, "mtime": mtime}, source)


def _split(name: bytes) -> tuple[bytes, bytes] | None:
    """Return ``prefix, name`` as ustar has it, or None where `name` does not fit."""
    if len(name) <= _NAME:
        return b"", name
    if len(name) > _PREFIX + 1 + _NAME:
        return None
    cut = name.find(b"/", len(name) - _NAME - 1, min(_PREFIX + 1, len(name) - 1))
    return None if cut <= 0 else (name[:cut], name[cut + 1 :])


def _ustar(name: bytes, prefix: bytes, numbers: bytes, type_and_link: bytes) -> bytes:
    record = b"%b%b        %bustar\00000%b0000000\x000000000\0%b" % (
        name.ljust(_NAME, b"\0"),
        numbers,
        type_and_link.ljust(1 + _NAME, b"\0"),
        _NO_OWNER_NAMES,
        prefix.ljust(_PREFIX + 12, b"\0"),
    )
    return record[:148] + b"%06o\0 " % checksum(record) + record[156:]


def checksum(record: bytes) -> int:
    """Return the sum of the bytes of a header record.

    The low half of Adler-32 is one more than that sum modulo 65,521, which half a record cannot reach.
    """
    return (adler32(record[:256]) & 0xFFFF) + (adler32(record[256:]) & 0xFFFF) - 2


def _extended(name: bytes, link: bytes, numbers: dict[str, int], source: Source) -> bytes:
    """Return a pax extended header and the ustar header after it, with what does not fit cut there."""
    records: dict[bytes, bytes] = {}
    if _split(name) is None:
        records[b"path"] = name
    if len(link) > _NAME:
        records[b"linkpath"] = link
    fitting = {}
    for key, number in numbers.items():
        fits = 0 <= number <= _MOST_OCTAL[key]
        fitting[key] = number if fits else 0
        if not fits:
            records[key.encode()] = b"%d" % number
    if not all(map(_is_utf8, records.values())):
        records = {b"hdrcharset": b"BINARY", **records}
    body = b"".join(_pax_record(key, value) for key, value in records.items())
    short = _ustar_fields(source.mode, fitting)
    prefix, cut_name = _split(name) or (b"", name[:_NAME])
    return (
        _meta_header(b"x", body)
        + body
        + padding(len(body))
        + _ustar(cut_name, prefix, short, _TYPES[source.kind] + link[:_NAME])
    )


def _ustar_fields(mode: int, numbers: dict[str, int]) -> bytes:
    return b"%07o\0%07o\0%07o\0%011o\0%011o\0" % (mode, *numbers.values())


def _meta_header(kind: bytes, body: bytes) -> bytes:
    name = b"pax_global_header" if kind == b"g" else b"pax_header"
    return _ustar(name, b"", b"0000644\x000000000\x000000000\0%011o\x0000000000000\0" % len(body), kind)


def _pax_record(key: bytes, value: bytes) -> bytes:
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    if len(str(length)) > len(str(rest)):
        length += 1
    return b"%d %b=%b\n" % (length, key, value)


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def commit_header(commit: str) -> bytes:
    """Return the pax global header that ``git get-tar-commit-id`` reads."""
    body = _pax_record(b"comment", commit.encode())
    return _meta_header(b"g", body) + body + padding(len(body))


def padding(size: int) -> bytes:
    """Return the zero bytes that fill `size` up to whole records."""
    return bytes(-size % RECORD)


_NUMBERS = re.compile(rb"([0-7]{7})\0[0-7]{7}\0[0-7]{7}\0[0-7]{11}\0([0-7]{11})\0")
"""Mode, owner, group, size and time, as `header` writes them."""


def plain_stamp(record: bytes, entry: tuple[bytes, Kind, int, bytes]) -> Stamp | None:
    """Return mode and time of a header record, where the rest of it is just what `header` makes of an entry.

    `entry` is name, kind, bytes of content and link, as they stand in the archive.
    None says nothing: a header may tell the same in other words, which only `TarReader` reads.
    """
    name, kind, size, link = entry
    if kind == "directory":
        name += b"/"
    split = (b"", name) if len(name) <= _NAME else _split(name)
    numbers = _NUMBERS.fullmatch(record, 100, 148)
    if split is None or numbers is None or len(link) > _NAME:
        return None
    prefix, short = split
    rest, sum_of_rest = _afterchecksum(_TYPES[kind] + link, prefix)
    made = b"%b%b%011o\0%b%06o\0 %b" % (
        short.ljust(_NAME, b"\0"),
        record[100:124],
        size,
        record[136:148],
        (adler32(record[:148]) & 0xFFFF) - 1 + sum_of_rest,
        rest,
    )
    if record != made:
        return None
    mode, mtime = numbers.groups()
    return Stamp(int(mode, 8) & 0o7777, int(mtime, 8) * 1_000_000_000)


@lru_cache(maxsize=256)
def _afterchecksum(type_and_link: bytes, prefix: bytes) -> tuple[bytes, int]:
    """Return what follows the checksum in a header record, and the sum of it and of a blank checksum."""
    rest = _ustar(b"", prefix, bytes(48), type_and_link)[156:]
    return rest, sum(rest) + sum(b"        ")
