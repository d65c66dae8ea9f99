"""What was put in comes out once, whatever the order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from backup_lib.project.committed import Committed

names = st.sampled_from([b"a", b"b", b"a.b", b"\xff", b"c d"])
paths = st.lists(names, min_size=1, max_size=4).map(b"/".join)


@given(st.dictionaries(paths, st.integers(-1, 1 << 70), max_size=20), st.lists(paths, max_size=30))
def test_each_path_is_taken_out_once(sizes: dict[bytes, int], asked: list[bytes]) -> None:
    """A path gives its size the first time, nothing after; what nobody asked for is the rest."""
    committed = Committed()
    for path, size in sizes.items():
        committed.add(path, size)

    for path in asked:
        assert committed.take(path) == sizes.pop(path, None)

    assert sorted(committed.rest()) == sorted(sizes)
