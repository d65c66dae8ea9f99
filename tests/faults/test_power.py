"""Power cuts: whatever the disk kept of what was not synced, the backups of before are sound."""

from __future__ import annotations

import pytest

from .campaign import SHORT, Task, face
from .conftest import ReadyFor
from .jobs import JOBS
from .power import Step, Tree, left, states_of


@pytest.mark.parametrize("job", [job.name for job in JOBS])
def test_the_power_may_be_cut_at_any_moment(ready_for: ReadyFor, job: str) -> None:
    """Old backups are sound, nothing bad is listed, what was done lasts, and the next run succeeds."""
    assert face(ready_for(job), Task(job, "power", SHORT)).broken == ()


START: Tree = {"": None, "a": None, "a/old": b"old"}
MADE = Step("make", 3, "a/new", node=b"")
WRITTEN = Step("write", 3, data=b"new")


def trees(*steps: Step) -> list[Tree]:
    """Return what may be left once all steps were made."""
    states = states_of(START, steps, len(steps), samples=20)
    found = [left(START, steps, state.fates) for state in states]
    return [{path: node for path, node in tree.items() if node is not None} for tree in found]


def test_what_is_not_synced_may_be_there_or_not() -> None:
    """A new file may be missing, empty, torn, zeros or whole."""
    left = trees(MADE, WRITTEN)
    assert {"a/old": b"old"} in left
    assert {tree.get("a/new") for tree in left} == {None, b"", b"n\0\0", b"\0\0\0", b"new"}


def test_a_synced_file_may_still_lack_its_name() -> None:
    """Syncing a file makes its content last, not its name; syncing the folder makes the name last."""
    sync_file, sync_folder = Step("sync file", 3), Step("sync folder", 1, "a")
    assert {tree.get("a/new") for tree in trees(MADE, WRITTEN, sync_file)} == {None, b"new"}
    assert trees(MADE, WRITTEN, sync_file, sync_folder) == [{"a/old": b"old", "a/new": b"new"}]
    assert trees(MADE, WRITTEN, Step("sync all", 0)) == [{"a/old": b"old", "a/new": b"new"}]


def test_a_name_is_moved_whole_or_not_at_all() -> None:
    """No power cut shows a file under both of its names, or under none, or half of what it replaced."""
    moved = Step("move", 3, "a/old", "a/new")
    synced = (MADE, WRITTEN, Step("sync file", 3), Step("sync folder", 1, "a"))
    assert trees(*synced, moved) == [{"a/old": b"new"}, {"a/old": b"old", "a/new": b"new"}]
