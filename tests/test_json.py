"""The one object that ``--json`` prints has the fields that docs/json.md names, whatever came of the run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support import Run

PAGE = Path(__file__).parents[1] / "docs" / "json.md"
FAILING = {
    "tag": ("--version", "none"),
    "backup": ("--format", "rar"),
    "verify": ("--version", "9.9.9"),
    "restore": ("--archive", "nowhere.tar.gz"),
    "clean": ("--keep", "-1"),
    "release": ("--version", "9.9.9", "--undo"),
}
FLAGS = [(), ("--dry-run",)]


def fields_of_the_page() -> set[str]:
    """Return the fields of the first table of the page: those of the object itself."""
    table = PAGE.read_text().split("\n\n")[2]
    return set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE))


@pytest.mark.parametrize("flags", FLAGS, ids=["", "dry"])
@pytest.mark.parametrize("task", FAILING)
def test_a_failure_says_whether_it_was_a_dry_run(
    project: Path, run: Run, task: str, flags: tuple[str, ...]
) -> None:
    """Every task that fails names all fields but the result, and the line that a person gets."""
    done = run(task, *FAILING[task], *flags, "--json")
    told = done.json
    assert set(told) == fields_of_the_page() - {"result"}
    assert told["dry_run"] is bool(flags)
    assert told["exit"] == done.code > 0
    assert done.err == f"{task}: {told['error']}\n"


@pytest.mark.parametrize("flags", FLAGS, ids=["", "dry"])
@pytest.mark.parametrize("task", ["tag", "backup", "release", "clean"])
def test_a_success_says_whether_it_was_a_dry_run(
    project: Path, run: Run, task: str, flags: tuple[str, ...]
) -> None:
    """Every task that is done names all fields but the error."""
    done = run(task, *flags, "--json")
    assert set(done.json) == fields_of_the_page() - {"error"}
    assert done.json["dry_run"] is bool(flags)
    assert done.json["exit"] == done.code == 0


def test_what_failed_before_the_verb_began_says_it_too(project: Path, run: Run) -> None:
    """A flag without its value, a root that is not there, a setting that cannot be used."""
    for arguments in (("--version", ""), ("--root", "nowhere"), ("--level", "best")):
        assert run("backup", *arguments, "--dry-run", "--json").json["dry_run"] is True
        assert run("backup", *arguments, "--json").json["dry_run"] is False
