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
    "archive/maker: _so_far: 0 → 1 #2": "the size is put in once the block is packed",
    "archive/maker: Maker._pack: self._empty.append(buffer) → pass": "a new buffer is made, in more time",
    "archive/reuse: _makes_the_same_blocks: 0 < before.scanned_ns <= now.scanned_ns"
    " → 0 < before.scanned_ns < now.scanned_ns": "a nanosecond: everything is read again, once",
    "archive/writer: _batches: if size > _BATCH → if False": "how much is handed over at once: any will do",
    "archive/writer: _batches: 0 → 1 #2": "how much is handed over at once: any will do",
    "archive/writer: _Appender._append: if made.content → if True": "a step of nothing",
    "archive/writer: _Tally.__init__: for source in tree.sources if source.kind == 'hardlink'"
    " → for source in tree.sources": "more is remembered than is asked for",
    "archive/members: TarReader.zeros: if self._tally → if True": "whoever asks for zeros has a tally",
    "archive/members: _number: 64 → 65": "beside the sign there is a number that no field may have",
    "archive/check: _Judged.join: later.first is not None and later.last is not None"
    " → later.first is not None or later.last is not None": "both are there, or none is",
    "archive/target: _symlink: sys.platform != 'linux' → sys.platform == 'linux'": (
        "only another, who puts his own link in its place meanwhile, could tell"
    ),
    "archive/target: Writer.write_file: 384 → 385": "the mode is set before the file gets its name",
    "archive/target: _copy: if hashed → if True": "the digest is made, and not told",
    "archive/salvage: legible: left > 0 → left >= 0": "how much work is too much: any near it will do",
    "archive/salvage: : 16 → 17": "how much work is too much: any near it will do",
    "store/publish: _joined: 1 → 2": "how much is written at once: any will do",
    "store/publish: point_latest: 0 → 1": "no name sorts before none",
    "store/ledger: Record: False → True": "what is left out of a line is put in as it is read",
    "verify: _examine_plain: hash_members(reader) if told else"
    " ((member, b'') for member in read_members(reader))"
    " → hash_members(reader) if True else ((member, b'') for member in read_members(reader))": (
        "digests are made, and compared with nothing"
    ),
    "agreement: _is_manifest: return os.fstat(file.fileno()).st_size == len(head) + agreement.listed_size"
    " and file.read(len(head)) == head"
    " and (file_digest(file, 'sha256').digest() == agreement.listed.digest()) → return None": (
        "then it is compared line by line, in more time"
    ),
    "restore: Request: False → True": "whoever restores by the task says each of them",
    "archive/gz: unpack: _HEAD + _FOOT.size → _HEAD - _FOOT.size": (
        "a member without room for deflate data is damage further down, too"
    ),
    "archive/zst: payload: 1 → 2": "pieces in which the index is read: any will do",
    "archive/zst: : 1 → 2": "how hard it packs: any level near it will do",
    "archive/maker: Maker._whole_run: source.size <= _GIANT → source.size < _GIANT": (
        "a giant begins about there"
    ),
    "archive/maker: Maker._whole_run: 2 → 3": "how much is held at most: any near it will do",
    "archive/reuse: Reuse.take: 0 → 1": "the place of a block that is not there",
    "archive/writer: _Appender.__init__: 0 → 1 #2": "it is set before it is read",
    "archive/writer: _Appender.take_parcel: self._tally.settle(result) if parcel.sources else result"
    " → self._tally.settle(result) if True else result": "the pieces of a large file have no entries",
    "archive/order: is_plain: 1 → 2": "then it is looked at part by part, in more time",
    "archive/extract: extract: if files != len(placement.files) → if False": (
        "each block tells itself what it lacks"
    ),
    "archive/target: _symlink: False → True": "only where there is no Linux",
    "archive/target: Target._place: if not self.merge → if False": (
        "it gets its name in two steps, in more time"
    ),
    "archive/target: Writer.__init__: 1 → 2": "no descriptor is negative",
    "archive/salvage: legible: 0 → 1 #3": "how much work is too much: any near it will do",
    "store/publish: _joined: len(piece) >= size → len(piece) > size": (
        "how much is written at once: any will do"
    ),
    "store/ledger: Record: 0 → 1 #2": "what is left out of a line is put in as it is read",
    "store/manifest: read_manifest: raise _damage(1, 'the facts are cut off') → pass": (
        "then it lists fewer files than it says"
    ),
    "backup: BackedUp: False → True": "whoever makes one says it",
    "agreement: Agreement.take: if self._asked and self._asked.done() → if True": (
        "it is waited for, in more time"
    ),
    "agreement: Agreement.finish: self._asked.result() if self._asked else None"
    " → self._asked.result() if True else None": "it is begun before",
    "store/ledger: append: 1 → 2": "one byte is left of the file: no more can be read",
}
"""Why, by the name that `python -m tests.mutation` prints."""
