"""A plugin for pytest: what each test runs of the library, and how much processor time it takes."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from coverage import Coverage

ANSWER = "MUTATION_ANSWER"
TEST = "MUTATION_TEST"
"""Environment: the file for the answer; the test that runs, told to its processes."""

_seconds: dict[str, float] = {}
_failed: set[str] = set()


def _processor() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Note which test runs, and for how long."""
    coverage = Coverage.current()
    assert coverage
    coverage.switch_context(item.nodeid)
    os.environ[TEST] = item.nodeid
    began = _processor()
    done = yield
    _seconds[item.nodeid] = round(_processor() - began, 2)
    return done


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note what did not pass: it tells nothing of a mutant."""
    if not report.passed:
        _failed.add(report.nodeid)


def pytest_sessionfinish() -> None:
    """Write down the processor seconds of each test that passed."""
    passed = {test: seconds for test, seconds in _seconds.items() if test not in _failed}
    Path(os.environ[ANSWER]).write_text(json.dumps(passed))
