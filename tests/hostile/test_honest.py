"""Odd but honest archives: what every reader takes comes out as GNU tar writes it."""

from __future__ import annotations

from pathlib import Path

import pytest

from .arena import Arena
from .build import wrapped
from .honest import gnu, honest_streams, present_times_left_out, tree


@pytest.mark.parametrize("name", honest_streams())
def test_odd_archives_come_out_as_with_gnu_tar(name: str, arena: Arena, tmp_path: Path) -> None:
    """Names, kinds, content, modes, times, links and what is one file: all as GNU tar makes them."""
    for suffix in (".tar", ".tar.gz", ".tar.zst"):
        verdict = arena.restore(wrapped(honest_streams()[name], suffix))
        assert verdict.code == 0, verdict
        found = present_times_left_out(tree(arena.target))
        assert found == gnu(arena.archive, tmp_path / suffix)
        arena.clear()
