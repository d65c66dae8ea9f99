"""Lines of a store's files are read in bounded memory, and one that is too long counts for nothing."""

from __future__ import annotations

import io
import json
import tracemalloc
from pathlib import Path

import pytest

from backup_lib.errors import DamageError
from backup_lib.store import ledger
from backup_lib.store.layout import LEDGER
from backup_lib.store.lines import LONGEST_LINE, numbered
from backup_lib.store.manifest import read_manifest

RECORD = b'{"time":"t","act":"publish","archive":"%s"}\n'


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"", []),
        (b"a", [b"a"]),
        (b"a\n\nb\n", [b"a\n", b"\n", b"b\n"]),
        (b"x" * LONGEST_LINE + b"\nb", [b"x" * LONGEST_LINE + b"\n", b"b"]),
        (b"x" * LONGEST_LINE, [b"x" * LONGEST_LINE]),
        (b"x" * (LONGEST_LINE + 1), [b"\0"]),
        (b"x" * (LONGEST_LINE + 1) + b"\nb\n", [b"\0\n", b"b\n"]),
        (b"a\n" + b"x" * (3 * LONGEST_LINE) + b"\n\n", [b"a\n", b"\0\n", b"\n"]),
        (b"x" * (2 * LONGEST_LINE + 1) + b"\n" + b"y" * (2 * LONGEST_LINE), [b"\0\n", b"\0"]),
    ],
)
def test_lines_come_whole_or_not_at_all(tmp_path: Path, data: bytes, lines: list[bytes]) -> None:
    """In the place of one that is too long comes one that nothing takes for its own; the numbers go on."""
    assert list(numbered(io.BytesIO(data))) == list(enumerate(lines, 1))
    (tmp_path / "file").write_bytes(data)
    with open(tmp_path / "file", "rb") as file:
        assert list(numbered(file)) == list(enumerate(lines, 1))


def test_a_line_is_not_held_and_a_hole_not_read(tmp_path: Path) -> None:
    """Of a dense line of 64 MB a piece at a time is in memory; a hole of 1 TB takes no time."""
    path = tmp_path / "file"
    with open(path, "wb") as file:
        file.writelines(b"x" * (1 << 20) for _ in range(64))
        file.write(b"\nafter\n")
        file.seek(1 << 39)
        file.write(b"in the hole\nbehind\n")
        file.truncate(1 << 40)
    tracemalloc.start()
    try:
        with open(path, "rb") as file:
            told = list(numbered(file))
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert told == [(1, b"\0\n"), (2, b"after\n"), (3, b"\0\n"), (4, b"behind\n"), (5, b"\0")]
    assert most < 5 << 20


@pytest.mark.parametrize("filler", [b"x", b"\0", b" "])
def test_a_ledger_goes_on_behind_a_line_that_is_too_long(tmp_path: Path, filler: bytes) -> None:
    """It is counted like any line that is no record, even where its beginning or its end would be one."""
    long = filler * (2 * LONGEST_LINE)
    record = RECORD.strip() % b"long"
    lines = [RECORD % b"a", record + long + b"\n", long + record + b"\n", RECORD % b"b"]
    (tmp_path / LEDGER).write_bytes(b"".join(lines))
    book = ledger.read(tmp_path)
    assert book.standing() == ("a", "b")
    assert book.unreadable == (2, 3)
    assert (book.last_publish_order("b"), book.lines) == (4, 5)


@pytest.mark.parametrize("padding", [0, 1])
def test_a_record_of_just_the_longest_line_counts(tmp_path: Path, padding: int) -> None:
    """One byte more, and it does not."""
    line = json.dumps({"time": "t", "act": "publish", "archive": "a"})
    (tmp_path / LEDGER).write_bytes(line.encode() + b" " * (LONGEST_LINE + padding - len(line)) + b"\n")
    assert bool(ledger.read(tmp_path).records) is (padding == 0)


def test_a_torn_line_that_is_too_long_is_passed_over(tmp_path: Path) -> None:
    """Like any torn one: the next record stands behind it, on a line of its own."""
    (tmp_path / LEDGER).write_bytes(RECORD % b"a" + b"x" * (2 * LONGEST_LINE))
    book = ledger.read(tmp_path)
    assert (book.standing(), book.unreadable, book.lines) == (("a",), (), 2)
    ledger.append(tmp_path, *(record for _, record in book.records))
    book = ledger.read(tmp_path)
    assert (book.unreadable, book.last_publish_order("a")) == ((2,), 3)


@pytest.mark.parametrize("before", [b"", b"# Release\n", b"0f" * 32 + b"  a\n"])
def test_in_a_foreign_manifest_it_counts_for_nothing(before: bytes) -> None:
    """Also where a piece of it would be a sum."""
    digest = b"0f" * 32
    long = b"x" * (LONGEST_LINE + 1) + digest + b"  hidden"
    manifest = read_manifest(io.BytesIO(before + long + b"\n" + digest + b"  z\n"))
    assert manifest.foreign
    assert [path for path, _ in manifest.files] == ([b"a"] if b"0f" in before else []) + [b"z"]


@pytest.mark.parametrize("place", ["a fact", "a sum", "behind the last sum"])
def test_in_a_manifest_of_ours_it_is_damage(place: str) -> None:
    """The number of the line is told."""
    head = (
        b"# Backup of demo\n# Project:  demo\n# Created:  now\n# Archive:  a\n# Size:     1\n# SHA-256:  ab\n"
    )
    long = b"x" * (2 * LONGEST_LINE)
    fact, path, rest = {
        "a fact": (b"# Note:     " + long + b"\n", b"demo/a", b""),
        "a sum": (b"", b"demo/" + long, b""),
        "behind the last sum": (b"", b"demo/a", long),
    }[place]
    data = head + fact + b"# Files:    1, 1 bytes\n#\n" + b"0f" * 32 + b"  " + path + b"\n" + rest
    with pytest.raises(DamageError, match=r"MANIFEST\.txt line [0-9]+: "):
        list(read_manifest(io.BytesIO(data)).files)


def test_facts_without_end_are_damage() -> None:
    """They are held, so there is a bound; what we write is far below it."""
    problem = b"# Problem:  changed " + b"a" * (LONGEST_LINE - 100) + b": b\n"
    with pytest.raises(DamageError, match="there are too many facts"):
        read_manifest(io.BytesIO(b"# Backup of demo\n" + problem * 65))
