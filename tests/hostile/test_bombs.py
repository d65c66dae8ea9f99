"""Bombs: refused within five seconds of processor time and 256 MiB of memory, before much is written."""

from __future__ import annotations

import json

import pytest

from backup_lib.archive.reader import open_archive, open_for_reading

from .arena import Arena
from .attacks import file, link
from .bombs import BOMBS, HARMLESS, TRUSTED, large_blocks
from .build import long_name, stream_of, wrapped
from .judge import CPU, MEMORY


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_refused(name: str, arena: Arena) -> None:
    """What a few bytes ask for is refused in one line, by a restore and by a look at it; nothing is left."""
    data = BOMBS[name]()
    verdict = arena.restore(data)
    assert verdict.code in (1, 4), verdict
    assert not arena.target.exists()
    arena.verify(data)


@pytest.mark.parametrize("name", HARMLESS)
def test_what_costs_little_is_restored(name: str, arena: Arena) -> None:
    """What only looks like a bomb comes out; it takes no room, and hardly more time than a refusal may."""
    verdict = arena.restore(HARMLESS[name]())
    assert verdict.code == 0, verdict
    assert verdict.cpu < 2 * CPU, verdict
    assert verdict.memory < MEMORY, verdict
    assert sum(path.stat().st_blocks for path in arena.target.rglob("*")) * 512 < 1 << 26


def test_names_that_patterns_take_long_for_are_refused(arena: Arena) -> None:
    """Parts of an archive are looked for in no more time than all of it may take."""
    deep = [
        bytes(long_name(b"d/" * 500 + b"%d" % number)) + bytes(file(b"x", b"")) for number in range(19_000)
    ]
    data = wrapped(b"".join(deep) + stream_of([link(b".env", b"../../x")]), ".tar.zst")
    assert arena.restore(data, "--config-only").code == 1
    assert not arena.target.exists()


def test_a_refusal_names_the_flag_that_lifts_it(arena: Arena) -> None:
    """An archive that asks for more than most is restored, and verified, where somebody trusts it."""
    data = TRUSTED()
    assert "--unlimited" in arena.restore(data).err
    assert "--unlimited" in arena.verify(data).err
    assert arena.verify(data, "--unlimited").code == 0
    assert arena.restore(data, "--unlimited").code == 0
    assert (arena.target / "zeros").stat().st_size == 4 << 30


def test_what_was_published_here_has_no_limits(arena: Arena) -> None:
    """An archive whose index the ledger knows is read as far as it goes, wherever it lies."""
    root, data = arena.root / "work", BOMBS["index: folders in blocks"]()
    assert arena.verify(data, "--root", root).code == 1
    with open_for_reading(arena.archive) as (read_at, size):
        reader = open_archive(read_at, size)
        assert reader is not None
    line = {"time": "2026-11-22T21:45:00Z", "act": "publish", "archive": "v1.1.0/demo_v1.1.0.tar.zst"}
    (root / "backups").mkdir()
    (root / "backups" / "ledger.jsonl").write_text(
        json.dumps(line | {"index": reader.trailer.digest.hex()}) + "\n"
    )
    assert arena.verify(data, "--root", root).code == 4


def test_a_part_counts_as_that_part(arena: Arena) -> None:
    """A small file comes out of an archive that is refused as a whole: the rest is not unpacked."""
    data = BOMBS["index: zeros in blocks"]()
    assert arena.restore(data).code == 1
    assert arena.restore(data, "--path", "small").code == 0
    assert (arena.target / "demo" / "small").read_bytes() == b"x"


def test_large_blocks_take_little_memory(arena: Arena) -> None:
    """What is honest and has blocks as large as may be is read and written in the memory of a refusal."""
    data = large_blocks()
    for verdict in (arena.verify(data), arena.restore(data)):
        assert verdict.code == 0, verdict
        assert verdict.memory < MEMORY, verdict
