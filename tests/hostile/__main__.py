"""python -m tests.hostile: every mutation of a store, every command, as text and as JSON, on a terminal.

It ends with 1 where a promise was broken. The same arguments try the same cases.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from random import Random

from .bench import VERBS, Case, judged
from .sabotage import SABOTAGES, Sabotage
from .scene import Scene, make_template
from .stores import MUTATIONS

_SHORT = 150
"""Cases of the short form."""
_HURRY = 5.0
"""Seconds without any work after which a sabotaged run hangs."""


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m tests.hostile", description=__doc__)
    parser.add_argument("--short", action="store_true", help=f"{_SHORT} cases drawn by lot, as the tests do")
    parser.add_argument("--seed", type=int, default=1, help="another lot")
    parser.add_argument("--only", metavar="PATTERN", help="cases whose name, as it is told, matches")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="how many at once")
    parser.add_argument(
        "--sabotage", choices=[*SABOTAGES, "all"], help="break the software, which has to be found"
    )
    return parser.parse_args(arguments)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


@contextmanager
def _template() -> Iterator[Scene]:
    """Yield the scene that cases begin with, in memory where it can be."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    folder = Path(tempfile.mkdtemp(prefix="hostile-", dir=memory))
    try:
        yield make_template(folder / "template")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _cases(options: argparse.Namespace) -> list[Case]:
    """Return the cases that are asked for, in a mixed order: so a long run soon has seen some of each."""
    cases = [Case(*each) for each in product(MUTATIONS, VERBS, (False, True))]
    Random(options.seed).shuffle(cases)
    if options.only:
        cases = [case for case in cases if re.search(options.only, str(case))]
    return cases[:_SHORT] if options.short else cases


def _face(case: Case, template: Scene) -> tuple[Case, list[str]]:
    return case, judged(case, template, template.folder.with_name(f"room-{os.getpid()}"))


def _try(cases: Sequence[Case], template: Scene, processes: int) -> int:
    """Face all cases; return how many broke a promise."""
    broken, began = 0, time.monotonic()
    with ProcessPoolExecutor(processes, get_context("fork")) as pool:
        waiting = [pool.submit(_face, case, template) for case in cases]
        for done, each in enumerate(as_completed(waiting), 1):
            case, flaws = each.result()
            broken += bool(flaws)
            for line in (f"{case}", *(f"  {flaw}" for flaw in flaws)) if flaws else ():
                _say(line)
            if done % 500 == 0:
                _say(f"{done} of {len(cases)} in {time.monotonic() - began:.0f} s, {broken} broken")
    mutations = len({case.mutation for case in cases})
    _say(f"{len(cases)} runs on {mutations} mutations in {time.monotonic() - began:.0f} s, {broken} broken")
    return broken


def _is_found(name: str, sabotage: Sabotage, template: Scene) -> bool:
    """Report whether the bench notices that a wall is missing, and finds nothing where it stands."""
    room = template.folder.with_name("room")
    sound = judged(sabotage.case, template, room)
    with sabotage.done():
        flaws = judged(sabotage.case, template, room, _HURRY)
    found = [flaw for flaw in flaws if flaw.startswith(f"{sabotage.flaw}: ")]
    for line in (f"{name} ({sabotage.what}): {found[0] if found else 'not found'}", *sound):
        _say(line)
    return bool(found) and not sound


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is asked for; return the exit code."""
    options = _parse(arguments)
    with _template() as template:
        if options.sabotage:
            chosen = [name for name in SABOTAGES if options.sabotage in (name, "all")]
            missed = [name for name in chosen if not _is_found(name, SABOTAGES[name], template)]
            return int(bool(missed))
        return int(_try(_cases(options), template, options.processes) > 0)


if __name__ == "__main__":
    sys.exit(main())
