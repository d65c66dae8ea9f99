"""Ten thousand inputs that are nearly right: results or errors of ours, soon, and nothing gets out."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

INPUTS = 10_000


def test_ten_thousand_inputs() -> None:
    """No input raises anything but our errors, takes long or much memory, or writes outside."""
    seed = os.environ.get("FUZZ_SEED", "1")
    command = [sys.executable, "-m", "tests.fuzz", "--inputs", str(INPUTS), "--seed", seed]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"{INPUTS} inputs, 0 failures" in done.stderr
