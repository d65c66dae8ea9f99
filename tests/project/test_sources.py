"""Sources are the same after they were packed, whatever they are."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from backup_lib.model import Source
from backup_lib.project.sources import Sources

time = st.integers(-(1 << 90), 1 << 90)
number = st.integers(0, (1 << 64) - 1)
sources = st.builds(
    Source,
    path=st.binary(max_size=30),
    kind=st.sampled_from(["directory", "file", "symlink", "hardlink"]),
    mode=st.integers(0, 0o7777),
    uid=number,
    gid=number,
    size=st.integers(0, 1 << 62),
    mtime_ns=time,
    ctime_ns=time,
    device=number,
    inode=number,
    link=st.binary(max_size=10),
)


@given(st.lists(sources, max_size=8), st.integers(1, 700))
def test_sources_come_out_as_they_went_in(some: list[Source], times: int) -> None:
    """Every source comes back, in order, each time it is asked for; they are counted on the way."""
    packed = Sources(source for _ in range(times) for source in some)

    assert list(packed) == list(packed) == some * times
    assert len(packed) == len(some) * times
    assert packed.files == times * sum(source.kind in ("file", "hardlink") for source in some)
    assert packed.bytes == times * sum(source.size for source in some)
    assert all(source in packed for source in some)


@given(st.lists(sources, max_size=8))
def test_states_go_to_all_but_folders(some: list[Source]) -> None:
    """Each source that git knows of gets its state, in order."""
    packed = Sources(some)
    known = [source for source in some if source.kind != "directory"]
    packed.states = ["committed" if number % 2 else "ignored" for number in range(len(known))]
    expected = iter(packed.states)

    assert list(packed) == [
        source if source.kind == "directory" else replace(source, state=next(expected)) for source in some
    ]
