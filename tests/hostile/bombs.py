"""Archives of a few bytes that ask for a great deal: of content, of names, of memory, of time."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from hashlib import sha256

import msgspec
import zstandard

from backup_lib.archive.formats import FORMATS
from backup_lib.archive.trailer import Trailer
from backup_lib.model import Entry

from .attacks import file, folder, link
from .build import END, GNU, Made, forged_stream, long_name, pax, pax_record, stream_of, wrapped

__all__ = ["BOMBS", "HARMLESS", "TRUSTED", "large_blocks"]

_GZIP_HEAD = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
_encode = msgspec.msgpack.encode


def again_and_again(start: bytes, piece: bytes, times: int) -> bytes:
    """Return one gzip member of `start` and then `piece` over and over; it has no good end."""
    packer = zlib.compressobj(9, wbits=-15)
    begun = packer.compress(start + piece) + packer.flush(zlib.Z_FULL_FLUSH)
    packed = packer.compress(piece) + packer.flush(zlib.Z_FULL_FLUSH)  # stands on its own, ends with a byte
    return _GZIP_HEAD + begun + packed * times + b"\x03\0" + bytes(8)


def zeros_zst(start: bytes, blocks: int) -> bytes:
    """Return a zstd frame of `start` and then 128 KiB of zeros as often, four bytes for each."""
    raw = struct.pack("<I", len(start) << 3)[:3] + start
    more = struct.pack("<I", 128 << 10 << 3 | 1 << 1)[:3] + b"\0"
    last = struct.pack("<I", 1 << 3 | 1 << 1 | 1)[:3] + b"\0"
    return b"\x28\xb5\x2f\xfd" + bytes([0, 7 << 3]) + raw + more * blocks + last


def zeros_gz(size: int) -> bytes:
    """Return a file of that many zeros in gzip members of 8 MiB each, and no end."""
    head = wrapped(Made(b"zeros", size=size).header(), ".tar.gz")
    return head + wrapped(bytes(8 << 20), ".tar.gz") * (size >> 23)


def slow_zst(size: int) -> bytes:
    """Return an archive of one file of zeros in matches of three bytes: 12 bytes that are 43,690 steps."""
    steps = 43_690
    packed = b"\0\xff" + struct.pack("<H", steps - 0x7F00) + bytes([0b01010100, 0, 0, 0, 1])
    more = struct.pack("<I", len(packed) << 3 | 2 << 1)[:3] + packed
    count = size // (3 * steps)
    content = 512 + count * 3 * steps
    start = Made(b"zeros", size=content).header() + bytes(512)
    raw = struct.pack("<I", len(start) << 3)[:3] + start
    frame = b"\x28\xb5\x2f\xfd" + bytes([0, 7 << 3]) + raw + more * count + b"\x01\0\0"
    return frame + wrapped(bytes(-content % 512) + stream_of([file(b"../evil")]), ".tar.zst")


def padded(data: bytes, size: int) -> bytes:
    """Return an archive in zstd with a frame after it that is passed over: of so many bytes."""
    left = size - len(data) - 8
    return data + struct.pack("<II", 0x184D2A50, left) + bytes(left)


def one_file_zst(size: int) -> bytes:
    """Return an archive of one file of that many zeros, and what ends it."""
    return zeros_zst(Made(b"zeros", size=size).header(), (size >> 17) + 1)


def many_files(count: int) -> bytes:
    """Return the headers of so many empty files, each with a name of its own."""
    record = bytearray(Made(b"d/0000000").header())
    known = sum(record) - sum(record[148:156]) + 8 * 32 - sum(b"0000000")
    found = []
    for number in range(count):
        digits = b"%07d" % number
        record[2:9] = digits
        record[148:156] = b"%06o\0 " % (known + sum(digits))
        found.append(bytes(record))
    return b"".join(found)


def _content() -> Iterator[tuple[str, Callable[[], bytes]]]:
    huge = Made(b"zeros", size=8 << 30).header()
    yield "zeros in zstd", lambda: zeros_zst(huge, 1 << 16)
    yield "zeros in gzip", lambda: zeros_gz(4608 << 20)
    yield "zeros that are slow to unpack", lambda: slow_zst(3050 << 20)
    yield "more of them in 16 MiB", lambda: padded(slow_zst(6900 << 20), 16 << 20)
    yield (
        "zeros in many zstd frames",
        lambda: wrapped(huge, ".tar.zst") + wrapped(bytes(64 << 20), ".tar.zst") * 128,
    )
    yield (
        "zeros, at the end what gets out",
        lambda: zeros_gz(1 << 30) + wrapped(stream_of([file(b"../evil")]), ".tar.gz"),
    )
    yield "a whole that lies about its size", lambda: wrapped(Made(b"a", size=1 << 62).header(), ".tar")
    yield "a sparse file without end", lambda: wrapped(stream_of([_old_sparse((1 << 63) - 1)]), ".tar")
    yield "many sparse files", lambda: again_and_again(b"", _old_sparse(100 << 20), 10_000)


def _old_sparse(size: int) -> bytes:
    number = b"%011o\0" % size if size < 8 << 30 else b"\x80" + size.to_bytes(11, "big")
    return bytes(Made(b"s", b"S", magic=GNU, fields=((483, number),)))


def _entries() -> Iterator[tuple[str, Callable[[], bytes]]]:
    yield "entries", lambda: wrapped(many_files(170_000) + END, ".tar.zst")
    yield (
        "entries, at the end one that gets out",
        lambda: wrapped(many_files(60_000) + stream_of([file(b"../evil")]), ".tar.zst"),
    )
    again = bytes(file(b"a", b"")) + bytes(Made(b"p", b"6"))
    yield "a file and a fifo over and over", lambda: again_and_again(b"", again * 500, 3000)
    yield (
        "entries that 16 MiB may have, at the end one that gets out",
        lambda: padded(
            wrapped(many_files(155_000) + stream_of([link(b"x", b"e/../../x")]), ".tar.zst"), 16 << 20
        ),
    )
    yield "links that turn around, far down", lambda: wrapped(b"".join(_turning(1000)), ".tar.zst")
    yield "a link that turns around for long", lambda: wrapped(b"".join(_turning(1, 200_000)), ".tar")
    yield "long names", lambda: wrapped(b"".join(map(_long, range(6000))), ".tar.gz")
    yield "long links", lambda: wrapped(b"".join(map(_long_link, range(1000))), ".tar.gz")
    yield "deep names", lambda: wrapped(b"".join(map(_deep, range(3000))), ".tar.gz")
    yield (
        "one name as long as a header",
        lambda: wrapped(stream_of([long_name(b"d/" * 500_000), file(b"a")]), ".tar"),
    )


def _long(number: int) -> bytes:
    return bytes(pax((b"path", b"%d/" % number + b"/".join([b"n" * 250] * 20)))) + bytes(file(b"a", b""))


def _long_link(number: int) -> bytes:
    return bytes(pax((b"linkpath", b"t" * 100_000))) + bytes(Made(b"l%d" % number, b"2", link=b"t"))


def _turning(count: int, turns: int = 819) -> Iterator[bytes]:
    """Yield links below 2,040 folders that lead into a folder and out again; then one that gets out."""
    base = b"/".join([b"d"] * 2040)
    yield bytes(long_name(base + b"/d/")) + bytes(Made(b"x", b"5"))
    target = bytes(long_name((b"d/../" * turns)[:-1], b"K"))
    for number in range(count):
        yield bytes(long_name(base + b"/%d" % number)) + target + bytes(Made(b"l", b"2", link=b"x"))
    yield stream_of([link(b"out", b"../x")])


def _deep(number: int) -> bytes:
    return bytes(pax((b"path", b"%d/" % number + b"d/" * 2000 + b"f"))) + bytes(file(b"a", b""))


def _headers() -> Iterator[tuple[str, Callable[[], bytes]]]:
    small = bytes(Made(b"x", b"x", b"6 a=b\n" * 174_000))
    large = bytes(pax((b"comment", bytes((1 << 20) - 100))))
    numbers = bytes(Made(b"s", b"x", b"30 GNU.sparse.numbytes=000000\n" * 30_000))
    yield "records of extended headers", lambda: again_and_again(b"", small, 500)
    yield "regions of a sparse file that never comes", lambda: again_and_again(b"", numbers, 500)
    short = Made(b"s", b"x", pax_record(b"GNU.sparse.numbytes", b"00") * 40_000)
    yield "many regions in few bytes", lambda: wrapped(bytes(short) * 39 + bytes(file(b"a", b"")), ".tar.gz")
    yield "large extended headers", lambda: again_and_again(b"", large, 4000)
    yield "long names before nothing", lambda: again_and_again(b"", bytes(long_name(b"n" * 900_000)), 4000)
    yield (
        "global headers",
        lambda: again_and_again(b"", bytes(pax((b"mtime", b"1" * 99), kind=b"g")) * 100, 10_000),
    )
    yield (
        "a time of a million digits",
        lambda: wrapped(stream_of([pax((b"mtime", b"9" * 900_000)), file(b"a")]), ".tar"),
    )
    yield (
        "a length of a million digits",
        lambda: wrapped(stream_of([pax(b"9" * 900_000 + b" a=b\n"), file(b"a")]), ".tar"),
    )
    yield (
        "a sparse map without end",
        lambda: again_and_again(_goes_on(), b"0" * 504 + b"\1" + bytes(7), 4_000_000 // 64),
    )
    yield "a sparse map of a million regions", lambda: wrapped(_map_of(_regions(900_000)), ".tar.gz")
    yield (
        "a sparse map of more regions than there are",
        lambda: wrapped(_map_of(b"9" * 18 + b"\n"), ".tar.gz"),
    )
    yield "a sparse map without newline", lambda: wrapped(_map_of(b"9" * (4 << 20)), ".tar.gz")
    forgotten = bytes(pax((b"GNU.sparse.map", b"0," * 524_000 + b"0"))) + bytes(Made(b"label", b"V"))
    yield "sparse maps that a label lets forget", lambda: wrapped(forgotten * 100, ".tar.zst")
    yield "sparse maps in records", lambda: again_and_again(b"", numbers + bytes(file(b"a", b"")), 500)


def _goes_on() -> bytes:
    return Made(b"s", b"S", magic=GNU, fields=((386, b"0" * 96), (482, b"\1"))).header()


def _regions(count: int) -> bytes:
    return b"%d\n" % count + b"".join(b"%d\n0\n" % number for number in range(count, 0, -1))


def _map_of(text: bytes) -> bytes:
    records = [(b"major", b"1"), (b"minor", b"0"), (b"realsize", b"1000000")]
    head = pax(*[(b"GNU.sparse." + key, value) for key, value in records])
    return bytes(head) + bytes(Made(b"s", content=text + bytes(-len(text) % 512)))


def _wrappings() -> Iterator[tuple[str, Callable[[], bytes]]]:
    window = b"\x28\xb5\x2f\xfd\0"
    yield "a zstd window of 4 TiB", lambda: window + b"\xff" + b"\x01\0\0"
    yield "a zstd window of 1 GiB", lambda: window + bytes([20 << 3]) + b"\x01\0\0"
    yield "a zstd window of 128 MiB, filled", lambda: _window_filled()
    yield "empty gzip members", lambda: wrapped(b"", ".tar.gz") * 500_000
    yield "empty zstd frames", lambda: zstandard.compress(b"") * 1_000_000
    yield (
        "skippable zstd frames",
        lambda: b"\x28\xb5\x2f\xfd\x20\0\x01\0\0" + b"\x50\x2a\x4d\x18\0\0\0\0" * 1_000_000,
    )
    yield "a gzip name without end", lambda: b"\x1f\x8b\x08\x08" + bytes(6) + b"n" * (30 << 20)
    yield (
        "gzip members with names",
        lambda: (b"\x1f\x8b\x08\x08" + bytes(6) + b"n" * 60_000 + b"\0\x03\0" + bytes(8)) * 500,
    )
    yield (
        "gzip in gzip",
        lambda: wrapped(wrapped(again_and_again(b"", bytes(1 << 20), 1000), ".tar.gz"), ".tar.gz"),
    )


def _window_filled() -> bytes:
    packer = zstandard.ZstdCompressor(compression_params=zstandard.ZstdCompressionParameters(window_log=27))
    streaming = packer.compressobj()
    start = Made(b"zeros", size=8 << 30).header()
    return (
        streaming.compress(start)
        + b"".join(streaming.compress(bytes(16 << 20)) for _ in range(20))
        + streaming.flush()
    )


# --- with an index of ours


_BODY = FORMATS["gz"].pack(b"".join(sha256(bytes([number])).digest() for number in range(32)), "fast")
"""A block that is large enough to stand for as much as any."""


def _raw_index(records: list[tuple[bytes, bytes]], digests: bytes = bytes(48), level: int = 9) -> bytes:
    """Return an archive of one block, and of an index that says just that, its digest right."""
    packer = zlib.compressobj(level)
    packed = b"".join(
        packer.compress(struct.pack("<cI", *each[:1], len(each[1])) + each[1]) for each in records
    )
    packed += packer.flush()
    index = struct.pack("<Q", len(packed)) + packed + digests
    trailer = Trailer(len(_BODY), len(index), sha256(index).digest())
    return _BODY + b"".join(FORMATS["gz"].tail(trailer, index, []))


def _header(**more: object) -> bytes:
    known = {
        "project": "demo",
        "version": None,
        "created": "",
        "scanned_ns": 0,
        "format": "gz",
        "level": "fast",
    }
    return _encode(known | more)


def _block(entries: bytes, size: int = 16 << 20, files: int = 0) -> tuple[bytes, bytes]:
    return b"B", b"\x94" + _encode(len(_BODY)) + _encode(size) + _encode(files) + entries


_SUMMARY = (b"S", _encode(((0, 0, 0, {}), ())))


def _array(count: int, element: bytes) -> bytes:
    return b"\xdd" + struct.pack(">I", count) + element * count


def _growing(count: int) -> bytes:
    """Return entries each of which has the whole path of the one before, and a little more."""
    first = b"\x95\0\xc5\xff\xff" + (b"d/" * 32768)[:65535] + b"\xa9directory\0\xa0"
    more = b"\x95\xcd\xff\xfe\xc4\1a\xa9directory\0\xa0"
    return b"\xdd" + struct.pack(">I", count + 1) + first + more * count


def _indexes() -> Iterator[tuple[str, Callable[[], bytes]]]:
    most = 16 << 20
    text = b"\xdd" + struct.pack(">I", most // 2 - 500) + b"\xa1x" * (most // 2 - 500)
    rules = _header(excluded=[])[:-1] + text
    states = b"\x92\x94\0\0\0\xdf" + struct.pack(">I", 2_000_000) + b"\xa4abcd\0" * 2_000_000 + b"\x90"
    entry = b"\x95\0\xc4\0\xa4file\0\xa0"
    yield "rules", lambda: _raw_index([(b"H", rules), _SUMMARY])
    yield "states", lambda: _raw_index([(b"H", _header()), _block(b"\x90", 1024), (b"S", states)])
    yield (
        "problems",
        lambda: _raw_index(
            [
                (b"H", _header()),
                _block(b"\x90", 1024),
                (b"S", b"\x92\x94\0\0\0\x80" + _array(1_000_000, b"\x93\xc4\0\xa7skipped\xa0")),
            ]
        ),
    )
    yield (
        "entries of a block",
        lambda: _raw_index([(b"H", _header()), _block(_array(1_400_000, entry)), _SUMMARY]),
    )
    yield (
        "paths that grow",
        lambda: _raw_index([(b"H", _header()), _block(_growing(7000), 4 << 20), _SUMMARY]),
    )
    yield (
        "blocks",
        lambda: _raw_index(
            [(b"H", _header()), *[_block(b"\x90", 1024)] * 400_000, _SUMMARY], bytes(48) * 400_000
        ),
    )
    yield "summaries of zeros", lambda: _raw_index([(b"H", _header()), *[(b"S", bytes(most))] * 16])
    yield "blocks of zeros", lambda: _raw_index([(b"H", _header()), *[(b"B", bytes(most))] * 16])
    yield (
        "a name that is a book",
        lambda: _raw_index([(b"H", _header(project="x" * 900_000)), _block(b"\x90"), _SUMMARY]),
    )
    yield "zeros in blocks", lambda: _zeros_in_blocks(1600, 2 << 20)
    yield "zeros in large blocks", lambda: _zeros_in_blocks(33, 16 << 20)
    yield "folders in blocks", _folders_in_blocks
    yield "damaged blocks of extended headers", _damaged_blocks


def _zeros_in_blocks(count: int, piece: int) -> bytes:
    size = count * piece
    first = Entry(b"zeros", "file", size, bytes(32), b"", "")
    head = Made(b"demo/zeros", size=0, fields=((124, b"%011o\0" % size),)).header()
    small = Entry(b"small", "file", 1, sha256(b"x").digest(), b"", "")
    blocks = [(bytes(file(b"demo/small", b"x")), (small,)), (head, (first,))]
    return forged_stream([*blocks, *[(bytes(piece), ())] * count, (END, ())], "zst")


def large_blocks() -> bytes:
    """Return an honest archive whose blocks are as large as any reader of ours takes."""
    zeros = bytes(15 << 20)
    digest = sha256(zeros).digest()
    top = Entry(b"", "directory", 0, b"", b"", "")
    files = [Entry(b"%d" % number, "file", len(zeros), digest, b"", "") for number in range(9)]
    blocks = [(Made(b"demo/" + each.path, size=each.size).header() + zeros, (each,)) for each in files]
    return forged_stream([(bytes(folder(b"demo")), (top,)), *blocks, (END, ())], "zst")


def _folders_in_blocks() -> bytes:
    entries = tuple(Entry(b"%06d" % number, "directory", 0, b"", b"", "") for number in range(8000))
    stream = b"".join(bytes(folder(b"demo/%06d" % number)) for number in range(8000))
    return forged_stream([*[(stream, entries)] * 22, (END, ())], "zst")


def _damaged_blocks() -> bytes:
    """Return blocks that are not what their digest says, and take long to be looked through."""
    header = Made(b"x", b"x", size=1 << 20).header()
    stream = (header + pax_record(b"a", b"b") * 64)[:1024] * (4 << 10)
    entry = Entry(b"a", "file", 0, sha256(b"").digest(), b"", "")
    data = bytearray(forged_stream([*[(stream, (entry,))] * 40, (END, ())], "gz"))
    at = 0
    while int.from_bytes(data[at + 16 : at + 20], "little") > 100:
        length = int.from_bytes(data[at + 16 : at + 20], "little")
        data[at + length - 6] ^= 1
        at += length
    return bytes(data)


def _harmless() -> Iterator[tuple[str, Callable[[], bytes]]]:
    """What looks like a bomb, and costs little."""
    size = 2 << 30
    nothing = wrapped(bytes(16 << 20), ".tar.gz")
    yield "two gigabytes in gzip", lambda: zeros_gz(size) + wrapped(END, ".tar.gz")
    yield "zeros after the end", lambda: wrapped(bytes(file(b"a")), ".tar.gz") + nothing * 288
    yield "two gigabytes in zstd", lambda: one_file_zst(size)
    yield "a sparse file", lambda: wrapped(stream_of([_old_sparse(4 << 30)]), ".tar.gz")
    sparse = b"".join(Made(b"%d" % number).header() + _old_sparse(100 << 20) for number in range(3000))
    yield "many sparse files", lambda: wrapped(stream_of([sparse]), ".tar.gz")


HARMLESS = dict(_harmless())
TRUSTED = partial(one_file_zst, 4 << 30)
"""Makes an archive that is honest, and refused all the same."""
BOMBS: dict[str, Callable[[], bytes]] = {
    **{f"content: {name}": make for name, make in _content()},
    **{f"entries: {name}": make for name, make in _entries()},
    **{f"headers: {name}": make for name, make in _headers()},
    **{f"wrapping: {name}": make for name, make in _wrappings()},
    **{f"index: {name}": make for name, make in _indexes()},
}
