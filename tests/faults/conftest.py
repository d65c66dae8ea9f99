"""The jobs, each made ready once for all tests of this folder that run in one process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache

import pytest

from .bench import Bench
from .campaign import bench_of, workshops
from .strace import why_not
from .workshop import Workshop

ReadyFor = Callable[[str], Bench]


@pytest.fixture(scope="session")
def workshop() -> Iterator[Workshop]:
    """Where the commands run; the tests are skipped, by name, where nothing can be traced."""
    if reason := why_not():
        pytest.skip(reason)
    with workshops(1) as (place,):
        yield place


@pytest.fixture(scope="session")
def benches(workshop: Workshop) -> ReadyFor:
    """Make a job ready, told its name; each is made ready once."""

    @cache
    def ready(job: str) -> Bench:
        return bench_of(workshop, job)

    return ready


@pytest.fixture
def ready_for(workshop: Workshop, benches: ReadyFor, monkeypatch: pytest.MonkeyPatch) -> ReadyFor:
    """Make a job ready, with the environment of the workshop in this process, too."""
    for name, value in workshop.environment.items():
        monkeypatch.setenv(name, value)
    return benches
