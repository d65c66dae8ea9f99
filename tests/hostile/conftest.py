"""A judge for all tests, and an arena for each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .arena import Arena, Judge, make_arena


@pytest.fixture(scope="session")
def judge() -> Iterator[Judge]:
    """Yield the process that runs tasks with limits."""
    with Judge() as running:
        yield running


@pytest.fixture
def arena(tmp_path: Path, judge: Judge) -> Arena:
    """Return a fresh folder to let archives loose in."""
    return make_arena(tmp_path / "arena", judge)
