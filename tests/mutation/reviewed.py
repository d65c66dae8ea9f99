"""The mutants that a person has looked at and found equal in effect: no test can notice them."""

from __future__ import annotations

EQUAL = {
    "archive/block: : 80 → 81": "bytes in a block before a name may cut it: any near them will do",
    "archive/index: : 64 → 65": "bytes of paths that are not added up: far more than any honest ones",
    "archive/index: PackedBlock._entries: 0 → 1 #2": "the rest of a path that begins with a slash is refused",
    "archive/index: PackedBlock._entries: 0 < shared <= len(path) → 0 <= shared <= len(path)": (
        "what shares nothing was seen to before"
    ),
    "archive/intake: : 60000000000 → 60000000001": "a nanosecond of a minute",
    "archive/intake: as_file: False → True": "whoever reads it follows no link, and finds its size himself",
    "archive/intake: open_source: now.st_ctime_ns > time.time_ns() - _LONGEST_WRITE_NS"
    " → now.st_ctime_ns >= time.time_ns() - _LONGEST_WRITE_NS": "a nanosecond of a minute",
    "archive/intake: open_source: if now.st_ino != source.inode or now.st_dev != source.device → if True": (
        "it is opened again, and is the same"
    ),
    "archive/tar: _split: 1 → 2": "a name longer by one has no slash where it could be cut",
    "archive/tar: plain_stamp: (b'', name) if len(name) <= _NAME else _split(name)"
    " → (b'', name) if False else _split(name)": "a short name is split the same way, in more time",
    "archive/zst: : 3 → 4": "how hard it packs: any level near it will do",
    "archive/zst: _compressor: setattr(_thread, key, found) → pass": "a new one packs alike",
    "archive/zst: salvage: break → continue #2": "what is read beyond the size is cut off",
    "archive/zst: salvage: len(data) >= size or inflater.eof → len(data) >= size and inflater.eof": (
        "what is read beyond the size is cut off"
    ),
    "archive/gz: unpack: len(block) < _HEAD + _FOOT.size → len(block) <= _HEAD + _FOOT.size": (
        "a member without room for deflate data is damage further down, too"
    ),
    "archive/reuse: _makes_the_same_blocks: 0 → 1": "a scan in the first nanosecond of 1970 is none",
    "archive/target: _symlink: if sys.platform != 'linux' → if False": "on Linux, where the bench runs",
    "archive/zst: payload: 20 → 21": "pieces in which the index is read: any will do",
    "store/ledger: append: 1 → 2": "one byte is left of the file: no more can be read",
}
"""Why, by the name that `python -m tests.mutation` prints."""
