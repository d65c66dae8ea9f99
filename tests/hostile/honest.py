"""Odd archives that every reader takes, and what GNU tar makes of an archive, to compare with."""

from __future__ import annotations

import stat
import subprocess
import time
from dataclasses import replace
from pathlib import Path

from archive.trees import Thing, look

from .attacks import file, folder, hard, link
from .build import END, GNU, V7, Made, long_name, pax, pax_record, stream_of

__all__ = ["gnu", "honest_streams", "present_times_left_out", "tree"]

_PRESENT = 3600
STAR = ((476, b"0" * 11), (488, b"0" * 11), (508, b"tar\0"))


def tree(root: Path) -> dict[bytes, Thing]:
    """Return everything below a folder, with the modes that a restore keeps."""
    return look(root, lambda mode: mode & 0o777)


def gnu(archive: Path, root: Path) -> dict[bytes, Thing] | None:
    """Return what GNU tar makes of an archive, in a folder that is made for it; None where it refuses."""
    root.mkdir()
    command = ["tar", "--no-same-owner", "--delay-directory-restore", "-C", str(root), "-xpf", str(archive)]
    done = subprocess.run(command, capture_output=True, check=False)
    return None if done.returncode else present_times_left_out(tree(root))


def present_times_left_out(things: dict[bytes, Thing]) -> dict[bytes, Thing]:
    """Leave out the time of folders that no member tells: it is that of the restore, and seconds pass."""
    recent = time.time() - _PRESENT
    return {
        path: replace(thing, mtime=0) if thing.kind == stat.S_IFDIR and thing.mtime > recent else thing
        for path, thing in things.items()
    }


def honest_streams() -> dict[str, bytes]:
    """Return tar streams that GNU tar, bsdtar and Python take and make the same of, and we must, too."""
    return {
        **{f"end: {name}": stream for name, stream in _ends().items()},
        **{f"field: {name}": stream_of(members) for name, members in _fields().items()},
        **{f"pax: {name}": stream_of(members) for name, members in _extended().items()},
        **{f"name: {name}": stream_of(members) for name, members in _names().items()},
        **{f"again: {name}": stream_of(members) for name, members in _again().items()},
        **{f"sparse: {name}": stream for name, stream in _sparse().items()},
    }


def _ends() -> dict[str, bytes]:
    """Every way to end."""
    good = bytes(file(b"a"))
    return {
        "none": good,
        "one record": good + bytes(512),
        "one record and a byte": good + bytes(513),
        "two records less a byte": good + bytes(1023),
        "twenty records": (good + bytes(10240))[:10240],
        "data after it": good + END + b"data" * 500,
        "an archive after it": good + END + bytes(file(b"b")) + END,
        "a member after one record": good + bytes(512) + bytes(file(b"b")) + END,
        "nothing but it": END,
        "nothing but zeros": bytes(10240),
        "the folder itself": stream_of([folder(b".")]),
    }


def _fields() -> dict[str, list[Made]]:
    """Every way to write a number, and sizes for what has no content."""
    found = {
        "folder with the size on its disk": [Made(b"d/", b"5", size=4096), file(b"d/f")],
        "link with the length of its target": [Made(b"l", b"2", link=b"f", size=1), file(b"f")],
        "hard link with the size of its file": [file(b"f"), Made(b"h", b"1", link=b"f", size=4), file(b"g")],
        "folder without slash": [Made(b"d", b"5"), file(b"d/f")],
        "folder of type NUL": [Made(b"d/", b"\0"), file(b"d/f")],
        "a type that nobody knows": [Made(b"f", b"Z", b"content"), Made(b"g", b"8", b"x"), file(b"h")],
        "types of vendors": [Made(letter, letter, b"content") for letter in (b"E", b"I", b"N")],
        "contiguous file": [Made(b"f", b"7", b"content")],
        "v7": [
            Made(b"f", b"\0", b"x", magic=V7),
            Made(b"d/", b"\0", magic=V7),
            Made(b"l", b"2", link=b"f", magic=V7),
        ],
        "unknown magic": [Made(b"f", content=b"x", magic=b"abcdefgh")],
        "times of GNU tar in place of a prefix": [
            Made(b"f", content=b"x", magic=GNU, fields=((345, b"00000000001\0"), (357, b"00000000001\0")))
        ],
        "star": [
            Made(
                b"f", content=b"x", prefix=b"p", fields=((476, b"0" * 11), (488, b"0" * 11), (508, b"tar\0"))
            )
        ],
        "owner in base 256": [Made(b"f", content=b"x", fields=((108, b"\x80\0\0\0\xff\xff\xff\xff"),))],
        "no owner": [Made(b"f", content=b"x", fields=((108, bytes(16)),))],
        "garbage after a name": [Made(b"f\0garbage", content=b"x"), Made(b"l", b"2", link=b"f\0/../../x")],
    }
    modes = {"zeros": b"00000644", "space": b" 000644\0", "none": bytes(8), "with type": b"0100644\0"}
    modes |= {"base 256": b"\x80\0\0\0\0\0\x01\xa4"}
    sizes = {
        "space": b"          3 ",
        "short": b"3\0" + bytes(10),
        "full": b"000000000003",
        "spaces": b"%12d" % 3,
    }
    sizes |= {"base 256": b"\x80" + bytes(10) + b"\x03", "space and NUL": b"3          \0"}
    times = {"zero": bytes(12), "full": b"777777777777", "base 256": b"\x80" + (1 << 33).to_bytes(11, "big")}
    times |= {"before 1970": b"\xff" * 12, "far away": b"\x80" + (1 << 62).to_bytes(11, "big")}
    for at, name, values in ((100, "mode", modes), (124, "size", sizes), (136, "time", times)):
        for how, value in values.items():
            found[f"{name}, {how}"] = [Made(b"f", content=b"xyz", fields=((at, value),))]
    total = sum(Made(b"f", content=b"xyz", checksum=b"        ").header())
    for form in (b"%06o\0 ", b"%07o\0", b"%7o\0", b" %6o ", b"%08o", b"%o\0", b"%o \0"):
        found[f"checksum as {form!r}"] = [
            Made(b"f", content=b"xyz", checksum=(form % total).ljust(8, b"\0")[:8])
        ]
    signed = sum(Made(b"\xff\xfe", content=b"xyz", checksum=b"        ").header()) - 512
    found["checksum of signed bytes"] = [Made(b"\xff\xfe", content=b"xyz", checksum=b"%06o\0 " % signed)]
    return found


def all_of(time: bytes) -> Made:
    """Return a global header that gives a time to all that follow."""
    return pax((b"mtime", time), kind=b"g")


def _extended() -> dict[str, list[Made]]:
    """Extended headers that say more, or less, or the same in other words."""
    f = file(b"f")
    found = {
        "of Solaris": [pax((b"path", b"x"), kind=b"X"), f],
        "empty": [pax(), f],
        "size in many digits": [pax((b"size", b"4".rjust(40, b"0"))), f],
        "size instead of the header's": [pax((b"size", b"8")), Made(b"f", content=b"12345678", size=0)],
        "length with zeros": [Made(b"P", b"x", b"011 path=a\n"), f],
        "value with a newline": [pax((b"path", b"a\nb=c")), f],
        "binary name": [pax((b"hdrcharset", b"BINARY"), (b"path", b"\xff\xfe")), f],
        "records of other makers": [
            pax((b"SCHILY.dev", b"1"), (b"LIBARCHIVE.creationtime", b"1"), (b"comment", b"")),
            f,
        ],
        "a record twice": [pax((b"path", b"x"), (b"path", b"y")), f],
        "global comment": [pax((b"comment", b"a" * 40), kind=b"g"), f],
        "global time": [
            pax((b"mtime", b"1000"), kind=b"g"),
            f,
            pax((b"mtime", b"2000")),
            file(b"g"),
            file(b"h"),
        ],
        "global time, another": [
            pax((b"mtime", b"9"), kind=b"g"),
            f,
            pax((b"mtime", b"8"), kind=b"g"),
            file(b"g"),
        ],
        "global header in between": [pax((b"path", b"x")), pax((b"comment", b"c"), kind=b"g"), f],
        "long name, then pax": [long_name(b"long"), pax((b"path", b"pax")), f],
        "pax, then long name": [pax((b"path", b"pax")), long_name(b"long"), f],
        "long name twice": [
            long_name(b"l1"),
            long_name(b"l2"),
            long_name(b"k1", b"K"),
            long_name(b"k2", b"K"),
            link(b"a", b"b"),
        ],
        "long name without NUL": [Made(b"L", b"L", b"name", magic=GNU), f],
        "long name with more after it": [Made(b"L", b"L", b"name\0more", magic=GNU), f],
        "long name and prefix": [long_name(b"long"), Made(b"f", content=b"x", prefix=b"p")],
        "long link of a file": [long_name(b"link", b"K"), f],
        "folder by its long name": [long_name(b"d/"), Made(b"x", b"0"), file(b"d/f")],
        "record in pieces": [pax(pax_record(b"path", b"x"), pax_record(b"mtime", b"1.25")), f],
    }
    times = [
        b"1.5",
        b"-1.5",
        b"-0.5",
        b"1.",
        b"-1.",
        b"1.123456789012",
        b"1 ",
        b"0x10",
        b"0" * 30 + b"1",
        b"2147483648",
    ]
    return found | {f"time {time!r}": [pax((b"mtime", time)), f] for time in times}


def _names() -> dict[str, list[Made]]:
    """Names and links that look worse than they are."""
    return {
        "absolute": [file(b"/abs/f"), folder(b"/abs2"), link(b"/l", b"abs/f"), file(b"//a//b")],
        "slashes and dots": [folder(b"./d//"), file(b".//d/./f"), Made(b"d//e///", b"5")],
        "dots": [file(b"..."), file(b"..a"), file(b"a.."), file(b".a"), file(b"d/...")],
        "backslash": [file(b"a\\b\\c"), file(b"..\\evil"), link(b"l\\m", b"x\\y")],
        "controls": [file(b"a\x01\x1b[0m\x7f"), file(b"a\nb"), link(b"l\t", b"x\ny")],
        "not UTF-8": [file(b"caf\xe9"), link(b"l\xe9", b"caf\xe9")],
        "case": [file(b"A"), file(b"a"), folder(b"D"), file(b"d/f")],
        "longest": [file(b"n" * 255), file(b"d" * 100 + b"/" + b"m" * 100), Made(b"n" * 100, content=b"x")],
        "deep": [file(b"d/" * 50 + b"f")],
        "prefix": [Made(b"f", content=b"x", prefix=b"p/q"), Made(b"g", content=b"x", prefix=b"r/")],
        "prefix without ustar": [Made(b"f", content=b"x", prefix=b"p", magic=V7)],
        "links inside": [
            folder(b"a"),
            link(b"a/l", b"../f"),
            file(b"f"),
            link(b"m", b"a/../f"),
            link(b"n", b"a/l/"),
        ],
        "links to folders": [folder(b"a"), link(b"l", b"."), link(b"m", b"a//b/./c"), link(b"a/n", b"..")],
        "longest link": [link(b"l", (b"x/" * 2100)[:4095])],
        "slash after a link": [Made(b"l/", b"2", link=b"f"), file(b"f"), Made(b"h/", b"1", link=b"./f")],
        "hard links": [file(b"a/f"), hard(b"b/c/h", b"a//f"), hard(b"i", b"b/c/h"), hard(b"i", b"a/f")],
        "hard link to a link": [folder(b"d"), file(b"d/f"), link(b"d/l", b"f"), hard(b"d/h", b"d/l")],
        "modes": [
            Made(b"d/", b"5", mode=0),
            file(b"d/f"),
            Made(b"e/", b"5", mode=0o555),
            file(b"e/f"),
            Made(b"g", mode=0),
        ],
    }


def _again() -> dict[str, list[Made]]:
    """Names that come more than once, as in an archive that was added to."""
    return {
        "file": [file(b"f", b"1"), file(b"f", b"22")],
        "file, then link": [file(b"f", b"1"), link(b"f", b"x")],
        "link, then file": [file(b"x", b"first"), link(b"f", b"x"), file(b"f", b"1")],
        "link": [link(b"f", b"x"), link(b"f", b"y")],
        "folder": [Made(b"d/", b"5", mtime=5), file(b"d/f"), Made(b"d/", b"5", mode=0o700, mtime=9)],
        "folders after what they hold": [
            file(b"d/e/f"),
            Made(b"d/e/", b"5", mtime=7),
            Made(b"d/", b"5", mtime=8),
        ],
        "folder in place of a file": [file(b"d"), folder(b"d"), file(b"d/f")],
        "folder in place of a link": [link(b"d", b"e"), folder(b"d")],
        "file with a hard link": [file(b"f", b"1"), hard(b"h", b"f"), link(b"f", b"x")],
        "hard link": [file(b"f", b"1"), hard(b"h", b"f"), file(b"h", b"2")],
        "hard link in place of a file": [file(b"f", b"1"), file(b"h", b"2"), hard(b"h", b"f")],
        "hard link in place of a link": [file(b"f", b"1"), link(b"h", b"f"), hard(b"h", b"f")],
        "hard link to the later one": [file(b"f", b"1"), file(b"f", b"2"), hard(b"h", b"f")],
        "hard link twice": [file(b"f"), hard(b"h", b"f"), hard(b"h", b"f")],
    }


def old_sparse(size: int, regions: list[tuple[int, bytes]], goes_on: bytes = b"") -> bytes:
    """Return a sparse file in the old format of GNU tar, at most four regions in its header."""
    where = b"".join(b"%011o\0%011o\0" % (offset, len(data)) for offset, data in regions)
    fields = ((386, where), (482, b"\1" if goes_on else b"\0"), (483, b"%011o\0" % size))
    content = b"".join(data for _, data in regions)
    made = Made(b"s", b"S", size=len(content), magic=GNU, fields=fields)
    return made.header() + goes_on + content + bytes(-len(content) % 512)


def pax_sparse(records: list[tuple[bytes, bytes]], content: bytes) -> bytes:
    """Return a sparse file of a pax archive, with these records of it."""
    keyed = [(b"GNU.sparse." + key, value) for key, value in records]
    return stream_of([pax(*keyed), Made(b"GNUSparseFile.0/s", content=content)], b"")


def _sparse() -> dict[str, bytes]:
    """Sparse files in all formats, with holes at all places, and none."""
    data = b"a" * 512 + b"def"
    one = [(b"major", b"1"), (b"minor", b"0"), (b"name", b"s"), (b"realsize", b"9999")]
    two = [(b"size", b"9999"), (b"numblocks", b"3"), (b"name", b"s")]
    pairs = [(b"offset", b"0"), (b"numbytes", b"512"), (b"offset", b"600"), (b"numbytes", b"3")]
    pairs += [(b"offset", b"9999"), (b"numbytes", b"0")]
    streams = {
        "old": old_sparse(9999, [(0, data[:512]), (600, data[512:]), (9999, b"")]),
        "old, nothing but a hole": old_sparse(9999, [(9999, b"")]),
        "old, no hole": old_sparse(1000, [(0, b"x" * 1000)]),
        "1.0": pax_sparse(one, b"3\n0\n512\n600\n3\n9999\n0\n".ljust(512, b"\0") + data),
        "1.0, nothing but a hole": pax_sparse(one, b"1\n9999\n0\n".ljust(512, b"\0")),
        "1.0, no hole": pax_sparse(one, b"1\n0\n9999\n".ljust(512, b"\0") + b"x" * 9999),
        "0.1": pax_sparse([*two, (b"map", b"0,512,600,3,9999,0")], data),
        "0.0": pax_sparse([*two, *pairs], data),
    }
    return {name: stream + bytes(file(b"z")) + END for name, stream in streams.items()}
