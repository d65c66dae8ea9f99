"""Archives byte by byte: any header, honest or not, in any wrapping, also with an index of ours that lies."""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256

import zstandard

from backup_lib.archive.formats import FORMATS
from backup_lib.archive.index import IndexWriter
from backup_lib.archive.trailer import Trailer
from backup_lib.model import Block, Counts, Entry, Format, Header, Kind, Summary

__all__ = [
    "END",
    "GNU",
    "USTAR",
    "V7",
    "Made",
    "forged",
    "forged_stream",
    "long_name",
    "pax",
    "pax_record",
    "stream_of",
    "wrapped",
]

END = bytes(1024)
USTAR, GNU, V7 = b"ustar\x0000", b"ustar  \0", bytes(8)
_KINDS: dict[bytes, Kind] = {b"0": "file", b"1": "hardlink", b"2": "symlink", b"5": "directory"}


@dataclass(frozen=True)
class Made:
    """One member as it is to stand in a tar stream, whether that makes sense or not.

    Where it makes sense, its header is the one that we write, byte for byte: an index may speak of it.
    Where its name or link is too long for a header, GNU tar's headers for long names come first.
    """

    name: bytes
    kind: bytes = b"0"
    content: bytes = b""
    link: bytes = b""
    mode: int = 0o644
    mtime: int = 1_700_000_000
    size: int | None = None
    """What the header says, where that is not the length of the content."""
    magic: bytes = USTAR
    prefix: bytes = b""
    fields: tuple[tuple[int, bytes], ...] = ()
    """Bytes to put at places of the header, before its checksum is made."""
    checksum: bytes = b""
    """In place of the right one."""

    def __bytes__(self) -> bytes:
        longer = [
            long_name(text, kind) for text, kind in ((self.name, b"L"), (self.link, b"K")) if len(text) > 100
        ]
        return b"".join(map(bytes, longer)) + self.header() + self.content + bytes(-len(self.content) % 512)

    def header(self) -> bytes:
        """Return the header record alone."""
        size = len(self.content) if self.size is None else self.size
        record = bytearray(512)
        for at, value in (
            (0, self.name[:100]),
            (100, b"%07o" % self.mode),
            (108, b"%07o" % 0),
            (116, b"%07o" % 0),
            (124, b"%011o" % size),
            (136, b"%011o" % self.mtime),
            (156, self.kind),
            (157, self.link[:100]),
            (257, self.magic),
            *(((329, b"0000000\0"), (337, b"0000000\0")) if self.magic == USTAR else ()),
            (345, self.prefix[:155]),
            *self.fields,
        ):
            record[at : at + len(value)] = value
        record[148:156] = b"        "
        record[148:156] = self.checksum or b"%06o\0 " % sum(record)
        return bytes(record)


def pax_record(key: bytes, value: bytes) -> bytes:
    """Return one record of an extended header, its length first."""
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    return b"%d %b=%b\n" % (length + (len(str(length)) > len(str(rest))), key, value)


def pax(*records: tuple[bytes, bytes] | bytes, kind: bytes = b"x") -> Made:
    """Return an extended header; records given as bytes are taken as they are."""
    body = b"".join(each if isinstance(each, bytes) else pax_record(*each) for each in records)
    return Made(b"pax_header", kind, body, mtime=0)


def long_name(name: bytes, kind: bytes = b"L") -> Made:
    """Return GNU tar's header for a long name, or with ``K`` for a long link."""
    return Made(b"././@LongLink", kind, name + b"\0", magic=GNU)


def stream_of(members: Iterable[Made | bytes], end: bytes = END) -> bytes:
    """Return the tar stream of some members."""
    return b"".join(map(bytes, members)) + end


def wrapped(stream: bytes, suffix: str) -> bytes:
    """Return a tar stream as ``.tar``, ``.tar.gz`` or ``.tar.zst``."""
    if suffix == ".tar":
        return stream
    return gzip.compress(stream, mtime=0) if suffix == ".tar.gz" else zstandard.compress(stream)


def forged(members: Sequence[Made | bytes], format: Format = "gz", top: str = "demo") -> bytes:
    """Return an archive with an index of ours, all digests right, that holds these members below `top`.

    Every member gets an entry that says the same; what is bytes only goes into the stream.
    """
    stream, entries = b"", []
    for member in members:
        if isinstance(member, bytes):
            stream += member
            continue
        moved, entry = _below(top.encode(), member)
        stream += moved
        if entry:
            entries.append(entry)
    return forged_stream([(stream, tuple(entries)), (END, ())], format, top)


def _below(top: bytes, member: Made) -> tuple[bytes, Entry | None]:
    """Return a member moved below the top folder, and its entry."""
    kind = _KINDS.get(member.kind)
    if kind is None:
        return bytes(member), None
    name = top + b"/" + member.name
    link = top + b"/" + member.link if kind == "hardlink" else member.link
    records = [(b"path", name)] if len(name) > 100 else []
    records += [(b"linkpath", link)] if len(link) > 100 else []
    moved = Made(**{**vars(member), "name": name, "link": link})
    digest = sha256(member.content).digest() if kind in ("file", "hardlink") else b""
    entry = Entry(member.name.rstrip(b"/"), kind, len(member.content), digest, member.link, "")
    content = member.content + bytes(-len(member.content) % 512)
    return (bytes(pax(*records)) if records else b"") + moved.header() + content, entry


def forged_stream(
    blocks: Sequence[tuple[bytes, tuple[Entry, ...]]], format: Format = "gz", top: str = "demo"
) -> bytes:
    """Return an archive of these blocks of tar stream, whose index says that they hold these entries."""
    form = FORMATS[format]
    packed = [(form.pack(data, "fast"), len(data), entries) for data, entries in blocks]
    writer = IndexWriter()
    writer.add(Header(top, None, "2026-11-22T21:45:00Z", 0, format, "fast"))
    for data, size, entries in packed:
        writer.add(Block(len(data), size, sha256(data).digest(), b"", entries))
    every = [entry for _, _, entries in packed for entry in entries]
    files = [entry.size for entry in every if entry.digest]
    writer.add(Summary(Counts(len(files), sum(files), len(every), {})))
    index = writer.finish()
    body = b"".join(data for data, _, _ in packed)
    lengths = [(len(data), size) for data, size, _ in packed]
    return body + b"".join(form.tail(Trailer(len(body), len(index), sha256(index).digest()), index, lengths))
