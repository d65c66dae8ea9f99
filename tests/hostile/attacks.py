"""Archives that want out, by the classes of attack that extractors have fallen to.

Every list of members has to be refused; `outside` is the absolute path of a folder that must stay as it is.
"""

from __future__ import annotations

from collections.abc import Sequence

from .build import END, GNU, V7, Made, long_name, pax, pax_record

__all__ = ["HARMLESS", "attacks", "broken_streams"]

Members = Sequence[Made | bytes]

EVIL = b"evil"


def file(name: bytes, content: bytes = EVIL) -> Made:
    """Return a file."""
    return Made(name, content=content)


def folder(name: bytes, mode: int = 0o755) -> Made:
    """Return a folder."""
    return Made(name + b"/", b"5", mode=mode)


def link(name: bytes, target: bytes) -> Made:
    """Return a symlink."""
    return Made(name, b"2", link=target, mode=0o777)


def hard(name: bytes, target: bytes) -> Made:
    """Return a hard link."""
    return Made(name, b"1", link=target)


def attacks(outside: bytes) -> dict[str, Members]:
    """Return every attack by name."""
    return {
        **{f"name {name}": members for name, members in _names(outside).items()},
        **{f"link {name}": members for name, members in _links(outside).items()},
        **{f"chain {name}": members for name, members in _chains(outside).items()},
        **{f"hard link {name}": members for name, members in _hard_links(outside).items()},
        **{f"metadata {name}": members for name, members in _metadata(outside).items()},
        **{f"place {name}": members for name, members in _places().items()},
    }


def _names(outside: bytes) -> dict[str, Members]:
    """Names that lead out, in every header that can carry one, of every kind of thing."""
    names = {
        "dots": b"..",
        "sibling": b"../evil",
        "sibling with the target's name in front": b"../to-not/evil",
        "something there": b"../to-not/secret",
        "further up": b"../../outside/secret",
        "down and up": b"a/../../evil",
        "down, down, up": b"a/b/../../../evil",
        "dot first": b"./../evil",
        "slash first": b"/../evil",
        "slashes first": b"//../evil",
        "dots last": b"a/..",
        "dots last twice": b"a/../..",
        "dots and dots": b"a/./.././../evil",
        "to the root and back": b"../" * 30 + outside[1:] + b"/secret",
    }
    found: dict[str, Members] = {}
    for name, path in names.items():
        found[name] = [Made(path, content=EVIL)]
        found[f"{name}, pax"] = [pax((b"path", path)), file(b"a")]
        found[f"{name}, gnu"] = [long_name(path), file(b"a")]
        found[f"{name}, folder"] = [folder(path)]
        found[f"{name}, link"] = [link(path, b"a")]
    for name, path in (("sibling", b"../evil"), ("down and up", b"a/../../evil")):
        folders, _, last = path.rpartition(b"/")
        found[f"{name}, prefix"] = [Made(last, content=EVIL, prefix=folders)]
        found[f"{name}, fifo"] = [Made(path, b"6")]
        found[f"{name}, hard"] = [file(b"a"), hard(path, b"a")]
        found[f"{name}, sparse"] = [Made(path, b"S", magic=GNU)]
    found["nul in pax"] = [pax((b"path", b"a\0/../../evil")), file(b"a")]
    found["nul in pax link"] = [pax((b"linkpath", b"b\0/../../evil")), link(b"a", b"b")]
    found["too long"] = [long_name(b"n" * 256), file(b"a")]
    found["too deep"] = [long_name(b"d/" * 40_000 + b"f"), file(b"a")]
    return found


def _links(outside: bytes) -> dict[str, Members]:
    """Links that lead out by themselves."""
    targets = {
        "up": b"../outside",
        "up and up": b"../../outside",
        "absolute": outside,
        "absolute root": b"/",
        "double slash": b"//" + outside,
        "down and up": b"d/../../x",
        "dot dot": b"..",
        "down, up, up": b"d/../..",
        "self, up": b"./../x",
        "very long": b"../" * 1000 + b"x",
    }
    found: dict[str, Members] = {}
    for name, target in targets.items():
        short = target[:100] if target else b"x"
        found[name] = [link(b"l", target)] if len(target) <= 100 and target else []
        found[f"{name} pax"] = [pax((b"linkpath", target)), link(b"l", short)] if target else []
        found[f"{name} gnu"] = [long_name(target, b"K"), link(b"l", short)]
        if not target.startswith(b"/"):
            found[f"{name} below"] = [folder(b"d"), long_name(b"../" + target, b"K"), link(b"d/l", short)]
    return {name: members for name, members in found.items() if members}


def _chains(outside: bytes) -> dict[str, Members]:
    """Links that stay inside one by one, and lead out together; and what would be written through them."""
    long = b"d" * 247
    deep: list[Made | bytes] = []
    path = b""
    for step in b"abcdefghijklmnop":  # CVE-2025-4517: a path that resolves to more than PATH_MAX
        deep += [long_name(path + long), folder(path + long), link(path + bytes([step]), long)]
        path += bytes([step]) + b"/"
    return {
        "file through": [link(b"l", b"../outside"), file(b"l/secret")],
        "file through, absolute": [link(b"l", outside), file(b"l/secret")],
        "folder through": [link(b"l", b"../outside"), folder(b"l/evil")],
        "link through": [link(b"l", b"../outside"), link(b"l/evil", b"x")],
        "hard link through": [file(b"f"), link(b"l", b"../outside"), hard(b"l/evil", b"f")],
        "file through an inner link": [folder(b"d"), link(b"l", b"d"), file(b"l/evil")],
        "link to its own folder": [link(b"l", b"."), file(b"l/l/l/../../evil")],
        "two steps": [folder(b"a"), link(b"a/b", b"."), link(b"c", b"a/b/../.."), file(b"c/evil")],
        "three steps": [
            folder(b"a"),
            folder(b"a/b"),
            link(b"x", b"a/b"),
            link(b"y", b"x/.."),
            link(b"z", b"y/../.."),
            file(b"z/evil"),
        ],
        "through a later link": [file(b"l/evil"), link(b"l", b"../outside")],
        "link over its own file": [file(b"a"), link(b"a", b"../outside/secret")],
        "link in place of a folder": [folder(b"d"), link(b"d", b"../outside"), file(b"d/secret")],
        "link in place of a folder with files": [
            folder(b"d"),
            file(b"d/a"),
            link(b"d", b"../outside"),
            file(b"d/secret"),
        ],
        "a link as the target itself": [link(b".", b"../outside"), file(b"secret")],
        "a link as the target itself, slash": [link(b"./", b"../outside"), file(b"secret")],
        "an empty name": [link(b"", b"../outside"), file(b"secret")],
        "trailing slash": [link(b"l/", b"../outside"), file(b"l/secret")],
        "loop": [link(b"a", b"b"), link(b"b", b"a"), file(b"a/evil")],
        "more than the kernel resolves": [*deep, link(path + b"l", b"../" * 17), file(path + b"l/evil")],
        "backslash is no slash": [link(b"l\\m", b"../outside"), file(b"l\\m/secret")],
    }


def _hard_links(outside: bytes) -> dict[str, Members]:
    """Hard links to what is not of this archive, by every way there is."""
    return {
        "up": [hard(b"h", b"../../outside/secret")],
        "up to a sibling": [hard(b"h", b"../to-not/secret")],
        "absolute": [hard(b"h", outside + b"/secret")],
        "then written": [hard(b"h", b"../../outside/secret"), file(b"h")],
        "through a link": [link(b"l", b"../../outside"), hard(b"h", b"l/secret")],
        "through an inner link": [folder(b"d"), file(b"d/f"), link(b"l", b"d"), hard(b"h", b"l/f")],
        "to a link that leads out": [link(b"l", b"../../outside/secret"), hard(b"h", b"l")],
        "moves a link": [folder(b"d"), link(b"d/l", b"../secret"), hard(b"h", b"d/l")],
        "to a deeper link": [folder(b"a"), folder(b"a/b"), link(b"a/b/l", b"../../x"), hard(b"h", b"a/b/l")],
        "to nothing": [hard(b"h", b"nothing")],
        "to itself": [hard(b"h", b"h")],
        "to a folder": [folder(b"d"), hard(b"h", b"d")],
        "to the target": [hard(b"h", b".")],
        "to a later file": [hard(b"h", b"f"), file(b"f")],
        "to nothing by pax": [pax((b"linkpath", outside + b"/secret")), hard(b"h", b"f")],
        "to a fifo": [Made(b"p", b"6"), hard(b"h", b"p")],
        "named outside": [file(b"f"), hard(b"../evil", b"f")],
        "pending": [file(b"f"), hard(b"h", b"f/"), hard(b"i", b"../f")],
    }


def _metadata(outside: bytes) -> dict[str, Members]:
    """Modes and times that would be set on something outside, through a link that takes a place."""
    return {
        "folder, then link": [folder(b"d", 0o777), file(b"d/f"), link(b"d", b"../outside")],
        "link, then folder": [
            link(b"d", b"../outside"),
            folder(b"d", 0o777),
            file(b"d/f"),
            link(b"d", b".."),
        ],
        "file, then link": [file(b"f"), link(b"f", b"../../outside/secret")],
        "absolute": [link(b"d", outside), Made(b"d/", b"5", mode=0o4777, mtime=1)][:1],
        "twice": [folder(b"d"), link(b"d", outside), folder(b"d/folder", 0o777)],
    }


def _places() -> dict[str, Members]:
    """Things that cannot stand where they would have to."""
    return {
        "file below a file": [file(b"f"), file(b"f/g")],
        "file below a link": [link(b"l", b"x"), file(b"l/g")],
        "file over a full folder": [file(b"d/f"), file(b"d")],
        "folder over a file": [file(b"d"), file(b"d/f")],
        "file without a name": [file(b"")],
        "link without a target": [link(b"l", b"")],
        "file as the target": [file(b".")],
        "hard link as the target": [file(b"f"), hard(b".", b"f")],
    }


def broken_streams() -> dict[str, bytes]:
    """Return tar streams whose headers contradict themselves or each other, or say what cannot be."""
    good = bytes(file(b"a"))
    found = {
        "negative size": bytes(Made(b"a", fields=((124, b"\xff" * 12),))),
        "negative size, octal": bytes(Made(b"a", fields=((124, b"-0000000001\0"),))),
        "huge size": bytes(Made(b"a", fields=((124, b"\x80" + b"\x7f" * 11),))),
        "largest size": bytes(Made(b"a", fields=((124, b"777777777777"),))),
        "size that is no number": bytes(Made(b"a", fields=((124, b"00000000009\0"),))),
        "folder of a size that is no number": bytes(Made(b"d/", b"5", fields=((124, b"00000000009\0"),))),
        "folder of a huge size": bytes(Made(b"d/", b"5", fields=((124, b"\x80" + b"\x7f" * 11),))),
        "size as hexadecimal": bytes(Made(b"a", fields=((124, b"0x000000001\0"),))),
        "mode that is no number": bytes(Made(b"a", fields=((100, b"rwxr-xr\0"),))),
        "wrong checksum": bytes(Made(b"a", checksum=b"000001\0 ")),
        "no checksum": bytes(Made(b"a", checksum=b"       \0"))[:100] + b"x" + bytes(411),
        "pax size negative": bytes(pax((b"size", b"-1"))) + good,
        "pax size huge": bytes(pax((b"size", b"9" * 30))) + good,
        "pax size of 64 bits": bytes(pax((b"size", b"%d" % (1 << 63)))) + good,
        "pax size is no number": bytes(pax((b"size", b"0x10"))) + good,
        "pax size larger than the stream": bytes(pax((b"size", b"99999999"))) + good,
        "pax length zero": bytes(pax(b"0 path=a\n")) + good,
        "pax length too large": bytes(pax(b"99 path=a\n")) + good,
        "pax length too small": bytes(pax(b"3 path=a\n")) + good,
        "pax length negative": bytes(pax(b"-9 path=a\n")) + good,
        "pax length huge": bytes(pax(b"9" * 400 + b" path=a\n")) + good,
        "pax length missing": bytes(pax(b" path=a\n")) + good,
        "pax without newline": bytes(pax(b"8 path=a")) + good,
        "pax without equals": bytes(pax(b"8 patha\n")) + good,
        "pax without key": bytes(pax(b"5 =a\n")) + good,
        "pax of garbage": bytes(pax(b"\xff" * 300)) + good,
        "pax that ends in NUL": bytes(pax(b"9 path=a\n" + bytes(7))) + good,
        "pax header of 2 MiB": bytes(pax((b"comment", bytes(2 << 20)))) + good,
        "pax header without content": Made(b"x", b"x", size=1 << 40).header(),
        "pax header without member": bytes(pax((b"path", b"x"))),
        "long name without member": bytes(long_name(b"x" * 200)),
        "long name of 2 MiB": bytes(long_name(b"x/" * (1 << 20))) + good,
        "long name of negative size": Made(b"x", b"L", fields=((124, b"\xff" * 12),)).header() + good,
        "global path": bytes(pax((b"path", b"../evil"), kind=b"g")) + good,
        "global link": bytes(pax((b"linkpath", b"../evil"), kind=b"g")) + bytes(link(b"l", b"x")),
        "global size": bytes(pax((b"size", b"512"), kind=b"g")) + good,
        "ends in a header": good + Made(b"b").header()[:300],
        "ends in content": good + Made(b"b", size=10_000).header() + bytes(512),
        "ends before content": Made(b"b", size=10_000).header(),
        "nothing": b"",
        "noise": bytes(range(256)) * 8,
        "text": b"This is no archive.\n" * 100,
    }
    return {name: stream + (END if "end" not in name else b"") for name, stream in found.items() if stream}


_SPARSE_MAP = b"%011o\0%011o\0"


HARMLESS: dict[str, Members] = {
    "fifo": [Made(b"p", b"6"), file(b"f")],
    "character device": [Made(b"c", b"3"), file(b"f")],
    "block device": [Made(b"b", b"4"), file(b"f")],
    "device over a file": [file(b"f"), Made(b"f", b"3")],
    "set-user-ID": [Made(b"f", content=EVIL, mode=0o6755), folder(b"d", 0o7777)],
    "a folder that cannot be entered": [folder(b"d", 0), file(b"d/f")],
    "absolute name": [file(b"/evil"), file(b"//a//b")],
    "drive": [file(b"C:\\evil"), file(b"..\\evil"), file(b"C:/evil")],
    "terminal": [file(b"\x1b]0;owned\x07\x1b[2J"), file("\u202egpj.exe".encode()), file(b"a\nb\rc")],
    "not UTF-8": [file(b"\xff\xfe"), file(b"\xc3\x28")],
    "case": [file(b"Name"), file(b"name"), file(b"NAME"), file("stra\u00dfe".encode()), file(b"strasse")],
    "case of folders": [link(b"D", b"x"), file(b"d/f")],
    "Unicode forms": [file("\u00e9".encode()), file("e\u0301".encode())],
    "every time": [Made(b"a", mtime=0), Made(b"b", mtime=(1 << 33) - 1), Made(b"c", mtime=1 << 31)],
    "v7": [Made(b"a", kind=b"\0", content=EVIL, magic=V7)],
    "many pax records": [pax(*[(b"comment", b"x")] * 1000), file(b"a")],
    "unknown records": [
        pax((b"LIBARCHIVE.xattr.security", b"x"), (b"SCHILY.xattr.user.a", b"b")),
        file(b"a"),
    ],
    "link to a folder that is not there": [link(b"l", b"nowhere/at/all")],
    "links in a circle": [link(b"a", b"b"), link(b"b", b"a")],
    "link to itself": [link(b"a", b"a")],
    "pax record twice": [pax((b"path", b"x"), (b"path", b"y")), file(b"a")],
    "record by record": [pax(pax_record(b"path", b"x")), file(b"a")],
}
"""Archives that may come out or be refused, as long as they do no harm."""
