"""Commands that are killed: nothing is lost, nothing half is listed, the next run needs no help."""

from __future__ import annotations

import pytest

from .campaign import SHORT, Task, face
from .conftest import ReadyFor
from .jobs import JOBS


@pytest.mark.parametrize("job", [job.name for job in JOBS])
def test_a_command_may_be_killed_at_any_call(ready_for: ReadyFor, job: str) -> None:
    """Old backups stay as they are, the new one is whole or not there, and the next run sweeps."""
    assert face(ready_for(job), Task(job, "kill", SHORT)).broken == ()
