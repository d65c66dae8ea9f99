"""What an archive that may be anybody's may ask for, at the very edge."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from backup_lib.archive.limits import FLAG, Tally
from backup_lib.errors import RestoreError

GIB = 1 << 30


@pytest.fixture(autouse=True)
def unhurried() -> None:
    """The limit of processor time stands here as it is."""


EDGES: dict[str, tuple[Callable[[Tally], None], Callable[[Tally], None]]] = {
    "stream": (lambda tally: tally.stream(3 * GIB + 250 * 1000), lambda tally: tally.stream(1)),
    "names": (lambda tally: tally.text((64 << 20) // 3), lambda tally: tally.name(1)),
    "entries": (lambda tally: tally.entries((64 << 20) // 400), lambda tally: tally.entries(1)),
    "folders": (lambda tally: tally.folders(b"a/" * 8000), lambda tally: tally.folders(b"a/" * 2000)),
    "records": (lambda tally: tally.records(1_000_000), lambda tally: tally.records(1)),
    "pieces": (lambda tally: tally.piece(2 << 20), lambda tally: tally.piece((2 << 20) + 1)),
}


@pytest.mark.parametrize("what", EDGES)
def test_what_is_allowed_and_one_more(what: str) -> None:
    """All that is allowed passes; one more is refused, and the flag that allows it is named."""
    fill, overflow = EDGES[what]
    tally = Tally(1000)
    fill(tally)
    with pytest.raises(RestoreError, match=f"^refused: .*{FLAG}$"):
        overflow(tally)


@pytest.mark.parametrize("what", sorted({*EDGES} - {"pieces"}))
def test_what_is_trusted_has_no_limit(what: str) -> None:
    """With the flag, as much again passes."""
    tally = Tally(1000, unlimited=True)
    for act in EDGES[what]:
        act(tally)
        act(tally)


def test_what_is_read_counts() -> None:
    """Bytes that are read count as they come."""
    read = Tally(0).counting(lambda count: bytes(count))
    for _ in range(3):
        assert len(read(1 << 20)) == 1 << 20
    greedy = Tally(0)
    greedy.stream(3 * GIB - 5)
    assert greedy.counting(bytes)(5) == bytes(5)
    with pytest.raises(RestoreError, match="250 times its size"):
        greedy.counting(bytes)(1)


def test_processor_time_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four seconds for a small archive, more for a larger one; none where it is written, or trusted."""
    used = 7.0
    monkeypatch.setattr("time.process_time", lambda: used)
    small, large = Tally(16 << 20), Tally(40 << 20)
    writing, trusted = Tally(1000, timed=False), Tally(1000, unlimited=True)
    used = 11.0
    small.time()
    used = 11.1
    for tally in (large, writing, trusted):
        tally.name(1)
    with pytest.raises(RestoreError, match=f"^refused: it takes more time .*{FLAG}$"):
        small.name(1)
    with pytest.raises(RestoreError, match="it takes more time"):
        small.counting(bytes)(1)
    used = 17.1
    with pytest.raises(RestoreError, match="it takes more time"):
        large.time()
