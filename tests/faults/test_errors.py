"""Calls that fail: one clear line, the exit code that is documented, everything as before or done."""

from __future__ import annotations

from pathlib import Path

import pytest

from .campaign import SHORT, Task, face
from .conftest import ReadyFor
from .jobs import JOBS


@pytest.mark.parametrize("job", [job.name for job in JOBS])
def test_any_call_of_a_command_may_fail(ready_for: ReadyFor, job: str) -> None:
    """A full, broken or read-only disk is told in one line, and costs nothing that was there."""
    assert face(ready_for(job), Task(job, "error", SHORT)).broken == ()


@pytest.mark.parametrize(("job", "made"), [("restore-new", ".new."), ("restore-in-place", ".current.")])
def test_what_cannot_be_opened_once_it_is_made_is_not_left_behind(
    ready_for: ReadyFor, job: str, made: str
) -> None:
    """A new folder, and a new symlink under its first name, are taken back from their first moment on."""
    bench = ready_for(job)
    opened = [fault for fault in bench.errors() if fault.point.call == "openat" and fault.error == "EIO"]
    first = next(fault for fault in opened if Path(fault.point.path).name.startswith(made))
    assert bench.strike(first).flaws == ()
