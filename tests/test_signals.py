"""What ends a run counts where it is heeded, and the tests of it pass where it was ignored on entry."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SENDING = [
    "archive/test_pool.py::test_no_process_works_on_alone",
    "archive/test_pool.py::test_signals_are_for_the_one_that_asked",
    "hostile/test_wall.py::test_an_interrupt_ends_both",
    "test_release.py::test_a_signal_ends_a_run_with_its_code_and_nothing_left",
]
IGNORING = """
import os, signal, sys
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


@pytest.mark.parametrize("test", SENDING, ids=[name.rpartition("::")[2] for name in SENDING])
def test_tests_that_send_signals_pass_where_those_were_ignored(test: str) -> None:
    """As under ``nohup ./scripts/test.sh``, or in a job in the background of a script."""
    pytest_run = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "--no-cov", "-x", str(HERE / test)]
    command = [sys.executable, "-c", IGNORING, *pytest_run]
    done = subprocess.run(command, cwd=HERE.parent, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stdout
    assert "passed" in done.stdout or "skipped" in done.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP, signal.SIGTERM])
def test_a_signal_that_was_ignored_ends_no_run(project: Path, number: signal.Signals) -> None:
    """Whoever starts a backup with ``nohup`` wants it to end by itself."""
    (project / "tasks.py").write_text(
        "import os\nfrom backup_lib import backup\nfrom tests_of_ours import ns\nreal = backup.look\n"
        f"def look(*them):\n    os.kill(os.getpid(), {int(number)})\n    return real(*them)\n"
        "backup.look = look\n"
    )
    (project / "tests_of_ours.py").write_text((HERE.parent / "tasks.py").read_text())
    command = [sys.executable, "-c", IGNORING, "-m", "invoke", "backup"]
    known = os.environ | {"PYTHONPATH": str(HERE.parent)}
    done = subprocess.run(command, cwd=project, env=known, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done
    assert list(project.glob("backups/v1.1.0/*.tar.gz"))
