"""Calls that fail: one clear line, the exit code that is documented, everything as before or done."""

from __future__ import annotations

import pytest

from .campaign import SHORT, Task, face
from .jobs import JOBS
from .workshop import Workshop


@pytest.mark.parametrize("job", [job.name for job in JOBS])
def test_any_call_of_a_command_may_fail(place: Workshop, job: str) -> None:
    """A full, broken or read-only disk is told in one line, and costs nothing that was there."""
    assert face(place, Task(job, "error", SHORT)).broken == ()
