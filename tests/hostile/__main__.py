"""python -m tests.hostile: every mutation of a store, every command, as text and as JSON, on a terminal.

It ends with 1 where a promise was broken. The same arguments try the same cases.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from itertools import product
from multiprocessing import get_context
from random import Random

from .bench import VERBS, Case, judged
from .sabotage import SABOTAGES, Sabotage
from .scene import Scene, template
from .stores import MUTATIONS

_SHORT = 120
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


def _cases(options: argparse.Namespace) -> list[Case]:
    """Return the cases that are asked for, in a mixed order: so a long run soon has seen some of each."""
    cases = [Case(*each) for each in product(MUTATIONS, VERBS, (False, True))]
    Random(options.seed).shuffle(cases)
    if options.only:
        cases = [case for case in cases if re.search(options.only, str(case))]
    return cases[:_SHORT] if options.short else cases


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What came of a case."""

    case: Case
    flaws: list[str]
    seconds: float


def _face(case: Case, begin: Scene) -> _Verdict:
    began = time.monotonic()
    flaws = judged(case, begin, begin.folder.with_name(f"room-{os.getpid()}"))
    return _Verdict(case, flaws, time.monotonic() - began)


def _try(cases: Sequence[Case], begin: Scene, processes: int) -> int:
    """Face all cases; return how many broke a promise."""
    verdicts: list[_Verdict] = []
    began = time.monotonic()
    with ProcessPoolExecutor(processes, get_context("fork")) as pool:
        waiting = [pool.submit(_face, case, begin) for case in cases]
        for each in as_completed(waiting):
            if error := each.exception():  # of the bench itself
                pool.shutdown(cancel_futures=True)
                raise error
            verdict = each.result()
            verdicts.append(verdict)
            for line in (
                (f"{verdict.case}", *(f"  {flaw}" for flaw in verdict.flaws)) if verdict.flaws else ()
            ):
                _say(line)
            if len(verdicts) % 500 == 0:
                _say(f"{len(verdicts)} of {len(cases)} in {time.monotonic() - began:.0f} s")
    broken = sum(bool(verdict.flaws) for verdict in verdicts)
    mutations = len({case.mutation for case in cases})
    _say(f"{len(cases)} runs on {mutations} mutations in {time.monotonic() - began:.0f} s, {broken} broken")
    slowest = max(verdicts, key=lambda verdict: verdict.seconds)
    _say(f"the longest: {slowest.seconds:.1f} s, {slowest.case}")
    return broken


def _is_found(name: str, sabotage: Sabotage, begin: Scene) -> bool:
    """Report whether the bench notices that a wall is missing, and finds nothing where it stands."""
    room = begin.folder.with_name("room")
    sound = judged(sabotage.case, begin, room)
    with sabotage.done():
        flaws = judged(sabotage.case, begin, room, _HURRY)
    found = [flaw for flaw in flaws if flaw.startswith(f"{sabotage.flaw}: ")]
    for line in (f"{name} ({sabotage.what}): {found[0] if found else 'not found'}", *sound):
        _say(line)
    return bool(found) and not sound


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is asked for; return the exit code."""
    options = _parse(arguments)
    with template() as begin:
        if options.sabotage:
            chosen = [name for name in SABOTAGES if options.sabotage in (name, "all")]
            missed = [name for name in chosen if not _is_found(name, SABOTAGES[name], begin)]
            return int(bool(missed))
        return int(_try(_cases(options), begin, options.processes) > 0)


if __name__ == "__main__":
    sys.exit(main())
