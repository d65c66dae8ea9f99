"""The races, as often as a build machine can: nothing outside is touched, nothing is lost or untrue."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


def race(name: str, folder: Path) -> dict[str, Any]:
    """Run one of the races in a process of its own; return what came of it."""
    command = [sys.executable, "-m", "tests.races", "--only", name, "--json", "--folder", str(folder)]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    outcome: dict[str, Any] = json.loads(done.stdout)
    assert outcome["broken"] == []
    assert done.returncode == 0
    return outcome["tried"]  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("target", {"swaps, new": 700, "swaps, into": 1_100, "swaps, in place": 200}),
        ("source", {"swaps": 3_000, "backed up": 12}),
        ("writers", {"backups": 30, "changes": 1_000}),
        ("crowd", {"published": 1, "killed": 1, "holders killed": 20}),
        ("clocks", {"release": 1, "daily": 1, "clean": 1}),
    ],
)
def test_race(name: str, least: dict[str, int], tmp_path: Path) -> None:
    """Whatever others do meanwhile, every promise is kept; see docs/reliability.md for each of them."""
    tried = race(name, tmp_path)
    for what, times in least.items():
        assert tried[what] >= times
