"""Calls that fail: one clear line, the exit code that is documented, everything as before or done."""

from __future__ import annotations

import pytest

from .campaign import SHORT, Task, face
from .conftest import ReadyFor
from .jobs import JOBS


@pytest.mark.parametrize("job", [job.name for job in JOBS])
def test_any_call_of_a_command_may_fail(ready_for: ReadyFor, job: str) -> None:
    """A full, broken or read-only disk is told in one line, and costs nothing that was there."""
    assert face(ready_for(job), Task(job, "error", SHORT)).broken == ()


def test_a_new_folder_that_cannot_be_opened_is_not_left_behind(ready_for: ReadyFor) -> None:
    """What a restore made is taken back from its first moment on."""
    bench = ready_for("restore-new")
    made = [fault for fault in bench.errors() if fault.point.path.endswith(".new.00000001.partial")]
    first = next(fault for fault in made if fault.point.opens == "folder" and fault.error == "EIO")
    assert bench.strike(first).flaws == ()
