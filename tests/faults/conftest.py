"""A workshop for all tests of this folder that run in one process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .campaign import workshops
from .strace import why_not
from .workshop import Workshop


@pytest.fixture(scope="session")
def shared_workshop() -> Iterator[Workshop]:
    """Where the commands run; skipped, by name, where nothing can be traced."""
    if reason := why_not():
        pytest.skip(reason)
    with workshops(1) as (place,):
        yield place


@pytest.fixture
def place(shared_workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> Workshop:
    """The workshop, with its environment in this process, too."""
    for name, value in shared_workshop.environment.items():
        monkeypatch.setenv(name, value)
    return shared_workshop
