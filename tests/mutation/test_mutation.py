"""The bench itself: it changes what matters, leaves alone what does not, and sees what the tests say."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from .bench import ROOT, Bench
from .mutants import Mutant, mutants_of

TEXT = '''
"""What it is for: 1 + 1."""
__all__ = ["area"]
Number = int | float
EDGE = 3

def area(side: int = 2, unit: str = "m") -> str | None:
    """Say how large a square is, if side > 0."""
    if side <= EDGE and not unit == "cm":
        return f"{side * side + 0}"
    console.say("too large", 5)
    raise ValueError("it is more than 3" + unit)
'''
CHANGES = {
    "": ["3 → 4"],
    "area": [
        "2 → 3",
        "if side <= EDGE and (not unit == 'cm') → if True",
        "if side <= EDGE and (not unit == 'cm') → if False",
        "side <= EDGE and (not unit == 'cm') → side <= EDGE or not unit == 'cm'",
        "side <= EDGE → side < EDGE",
        "not unit == 'cm' → unit == 'cm'",
        "unit == 'cm' → unit != 'cm'",
        "'cm' → 'cm?'",
        "return f'{side * side + 0}' → return None",
        "raise ValueError('it is more than 3' + unit) → pass",
    ],
}


def test_what_matters_is_changed_and_nothing_else() -> None:
    """Docstrings, annotations, aliases, text for people stay as they are; each mutant has one change."""
    found: dict[str, list[str]] = {}
    for mutant in mutants_of("area.py", TEXT):
        found.setdefault(mutant.where, []).append(mutant.change)
        compile(mutant.text, mutant.module, "exec")
    assert found == CHANGES


def test_a_mutant_knows_the_lines_that_may_tell_it() -> None:
    """For a constant those that read it, for a default those of the function, else those of its statement."""
    lines = {mutant.change: mutant.lines for mutant in mutants_of("area.py", TEXT)}
    assert lines["3 → 4"] == {9}
    assert lines["2 → 3"] == set(range(8, 13))
    assert lines["side <= EDGE → side < EDGE"] == {9}


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    """A copy of the project in which mutants meet tests."""
    if not hasattr(os, "pidfd_open"):
        pytest.skip("the bench needs Linux")
    with Bench({}, most=20) as bench:
        yield bench


def mutant_of(module: str, change: str) -> Mutant:
    """Return the mutant that makes this change."""
    every = mutants_of(module, (ROOT / module).read_text())
    return next(mutant for mutant in every if mutant.change == change)


def test_a_change_that_matters_is_noticed(bench: Bench) -> None:
    """A journal that heeds the acts of all versions but the one asked for fails its test, which is named."""
    mutant = mutant_of("backup_lib/store/journal.py", "record.version != version → record.version == version")
    verdict, test = bench.face(mutant, ["tests/store/test_journal.py"])
    assert verdict == "killed"
    assert test.startswith("tests/store/test_journal.py::")


def test_a_change_without_effect_is_not(bench: Bench) -> None:
    """To cut a file to the length that it has changes nothing; and the module is whole again afterwards."""
    mutant = mutant_of("backup_lib/archive/target.py", "written < size → written <= size")
    assert bench.face(mutant, ["tests/archive/test_target.py"]) == ("survived", "")
    assert (bench.copy / mutant.module).read_bytes() == (ROOT / mutant.module).read_bytes()
