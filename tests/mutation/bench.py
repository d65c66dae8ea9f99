"""Copies of the project, the tests that reach a line of it, and how they take a mutant."""

from __future__ import annotations

import compileall
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from py_compile import PycInvalidationMode
from typing import Any, Literal, Self

from coverage import CoverageData

from .mutants import Mutant
from .recorder import ANSWER, TEST

__all__ = ["Bench", "Reach", "Verdict", "copy_project", "record"]

ROOT = Path(__file__).parents[2]
TESTS = ("tests/archive/test_*.py", "tests/store/test_*.py", "tests/test_*.py")
_NOT_COPIED = shutil.ignore_patterns(".*", "*.egg-info", "backups", "dist")
_FAILED = re.compile(r"^(?:FAILED|ERROR) (\S+)", re.MULTILINE)
_RC = """\
[run]
source = {copy}/backup_lib
data_file = {data}/data
parallel = true
branch = false
patch = _exit
disable_warnings = no-data-collected, module-not-imported, module-not-measured, already-imported
context = ${{{test}-}}
"""
_SITE = "import coverage\n\ncoverage.process_startup()\n"

Reach = dict[str, dict[str, Any]]
"""By test: the processor ``seconds`` it takes, and the ``lines`` it runs by module."""
Verdict = Literal["killed", "hung", "survived", "not run"]


def copy_project(folder: Path) -> Path:
    """Copy the project as it is in the working tree into `folder`; return where it is."""
    copy = folder / "tree"
    shutil.copytree(ROOT, copy, ignore=_NOT_COPIED, symlinks=True)
    return copy


def record(known: Path) -> Reach:
    """Return what each passing test reaches: the files that changed are run, of the rest `known` tells."""
    book: dict[str, dict[str, Any]] = json.loads(known.read_text()) if known.exists() else {}
    library = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(ROOT.glob("backup_lib/**/*.py"))))
    files: dict[str, dict[str, Any]] = {}
    for path in sorted(path for pattern in TESTS for path in ROOT.glob(pattern)):
        state = hashlib.sha256(library.digest() + path.read_bytes()).hexdigest()
        name = str(path.relative_to(ROOT))
        files[name] = book[name] if book.get(name, {}).get("state") == state else {"state": state}
    changed = [name for name, facts in files.items() if "tests" not in facts]
    if changed:
        with tempfile.TemporaryDirectory(prefix="mutation.") as scratch:
            copy = copy_project(Path(scratch))
            for name in changed:
                files[name]["tests"] = _recorded(copy, name)
                known.write_text(json.dumps(files))
    return {test: facts for file in files.values() for test, facts in file["tests"].items()}


def _recorded(copy: Path, file: str) -> Reach:
    data = copy.parent / "coverage"
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir()
    rc, answer = data / "rc", data / "answer.json"
    rc.write_text(_RC.format(copy=copy, data=data, test=TEST))
    (copy / "sitecustomize.py").write_text(_SITE)
    environment = os.environ | {"COVERAGE_PROCESS_START": str(rc), ANSWER: str(answer), "CI": "1", TEST: ""}
    coverage = [sys.executable, "-m", "coverage"]
    pytest = ["run", f"--rcfile={rc}", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:cov"]
    command = [*coverage, *pytest, "-p", "tests.mutation.recorder", file]
    subprocess.run(command, cwd=copy, env=environment, check=False, stdout=subprocess.DEVNULL)
    subprocess.run([*coverage, "combine", "-q", f"--rcfile={rc}"], cwd=copy, env=environment, check=True)
    reach: Reach = {
        test: {"seconds": seconds, "lines": {}} for test, seconds in json.loads(answer.read_text()).items()
    }
    measured = CoverageData(str(data / "data"))
    measured.read()
    for path in measured.measured_files():
        module = str(Path(path).relative_to(copy))
        for line, tests in measured.contexts_by_lineno(path).items():
            for test in tests:
                if test in reach:
                    reach[test]["lines"].setdefault(module, []).append(line)
    return reach


@dataclass
class Bench:
    """A copy of the project in which mutants are tested, one after the other."""

    reach: Reach
    most: int
    """Processor seconds of tests that a mutant has to outlast, the quickest first."""
    folder: Path = field(init=False)
    copy: Path = field(init=False)

    def __enter__(self) -> Self:
        self.folder = Path(tempfile.mkdtemp(prefix="mutation."))
        self.copy = copy_project(self.folder)
        mode = PycInvalidationMode.CHECKED_HASH  # two mutants may be alike in size and second
        compileall.compile_dir(self.copy / "backup_lib", quiet=1, invalidation_mode=mode)
        unasked = {"CI": "1", "PYTHONDONTWRITEBYTECODE": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        self._server = subprocess.Popen(
            [sys.executable, "tests/mutation/server.py"],
            cwd=self.copy,
            env=os.environ | unasked,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._server.communicate()
        shutil.rmtree(self.folder)

    def tests_for(self, mutant: Mutant) -> list[str]:
        """Return tests that run a line of the mutant, about as many as there is time for.

        Those of its own test file come first, then the quickest.
        """
        own = f"/test_{Path(mutant.module).stem}.py:"
        best = sorted(self.reach, key=lambda test: (own not in test, self.reach[test]["seconds"], test))
        chosen, left = [], float(self.most)
        for test in best:
            reached = self.reach[test]["lines"].get(mutant.module, ())
            if (mutant.lines.intersection(reached) if mutant.lines else reached) and left > 0:
                left -= self.reach[test]["seconds"]
                chosen.append(test)
        return list(dict.fromkeys(test.partition("[")[0] for test in chosen))  # parameters may change, too

    def face(self, mutant: Mutant, tests: Iterable[str] | None = None) -> tuple[Verdict, str]:
        """Run tests on a mutant; return how it ended, and the test that noticed it."""
        chosen = self.tests_for(mutant) if tests is None else list(tests)
        if not chosen:
            return "not run", ""
        path = self.copy / mutant.module
        whole = path.read_text()
        path.write_text(mutant.text)
        try:
            code, log = self._run(chosen)
        finally:
            path.write_text(whole)
        if code in (0, 1, 2) or "ERROR collecting" in log:  # or the file of the test cannot be loaded
            failed = _FAILED.search(log)
            return ("killed" if code else "survived"), failed[1] if failed else ""
        if code < 0:
            return "hung", ""
        raise RuntimeError(f"pytest ended with {code}: {log[-2000:]}")

    def _run(self, tests: list[str]) -> tuple[int, str]:
        log = self.folder / "log"
        arguments = [f"--basetemp={self.folder / 'temp'}", *tests]
        asked = {"arguments": arguments, "log": str(log), "seconds": 3 * self.most + 30}
        assert self._server.stdin
        assert self._server.stdout
        self._server.stdin.write(json.dumps(asked) + "\n")
        self._server.stdin.flush()
        code = int(self._server.stdout.readline())
        return code, log.read_text(errors="replace")
