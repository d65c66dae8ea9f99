"""Hostile stores: whatever stands in one, nothing outside changes, nothing is lost, nothing raw is told."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from .bench import VERBS
from .sabotage import SABOTAGES
from .scene import Stage, template
from .snapshot import taken
from .stores import MUTATIONS

ONCE_BROKEN = (
    r"ledger: theirs said to be (ours|of this release) / (clean|undo)( --json)?$",
    r"ledger: (a note of|their changelog).* / undo$",
    r"name: names that are no UTF-8 / clean",
    r"^nothing / (backup|clean|release)$",
)
"""Cases in which a promise was broken, or one much like them."""


def bench(*arguments: str) -> str:
    """Run the bench, which has to find nothing broken; return what it tells."""
    command = [sys.executable, "-m", "tests.hostile", *arguments]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_cases_drawn_by_lot() -> None:
    """A sample of all mutations and commands, as text and as JSON; HOSTILE_SEED draws others."""
    assert ", 0 broken" in bench("--short", "--seed", os.environ.get("HOSTILE_SEED", "1"))


def test_what_was_broken_once() -> None:
    """Each case that ever broke a promise holds it now."""
    assert ", 0 broken" in bench("--only", "|".join(ONCE_BROKEN))


def test_the_bench_sees_a_wall_that_is_missing() -> None:
    """A file outside written to, one of theirs removed, raw names, a traceback, a wait: each is found."""
    told = bench("--sabotage", "all")
    assert len(told.splitlines()) == len(SABOTAGES)
    assert "not found" not in told


def test_mutations_mutate(tmp_path: Path) -> None:
    """Each changes something, but for the one that is not to, and those that take away what is not there."""
    idle = set()
    with template() as begin:
        room = begin.folder.with_name("room")
        for name, mutate in MUTATIONS.items():
            with begin.copied(room) as scene, ExitStack() as held:
                before = taken(scene.folder)
                mutate(Stage(scene, held))
                if before == taken(scene.folder):
                    idle.add(name)
    absent = ("SHA256SUMS", "the folder of a version to come", "a temporary ")
    assert {name for name in idle if not name.startswith(absent)} == {"nothing"}
    assert all(name == "nothing" or name.endswith(" is nothing") for name in idle)


def test_the_bench_is_as_large_as_it_says() -> None:
    """At least fifty mutations; every command that there is."""
    assert len(MUTATIONS) >= 50
    commands = {verb.arguments[0] for verb in VERBS.values()}
    assert commands == {"tag", "backup", "verify", "restore", "clean", "release"}
