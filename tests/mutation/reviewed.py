"""The mutants that a person has looked at and found equal in effect: no test can notice them."""

from __future__ import annotations

EQUAL = {
    "archive/gz: unpack: len(block) < _HEAD + _FOOT.size → len(block) <= _HEAD + _FOOT.size": (
        "a member without room for deflate data is damage further down, too"
    ),
    "archive/reuse: _makes_the_same_blocks: 0 → 1": "a scan in the first nanosecond of 1970 is none",
    "archive/target: _symlink: if sys.platform != 'linux' → if False": "on Linux, where the bench runs",
    "archive/zst: payload: 20 → 21": "pieces in which the index is read: any will do",
    "store/ledger: append: 1 → 2": "one byte is left of the file: no more can be read",
}
"""Why, by the name that `python -m tests.mutation` prints."""
