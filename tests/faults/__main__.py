"""python -m tests.faults: kill the commands, fail their calls, cut their power, and judge what is left.

Run it from the repository's folder. It ends with 1 where a promise was broken.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from .campaign import KINDS, LONG, SHORT, Result, Task, bench_of, face, run, workshops
from .jobs import JOBS
from .sabotage import SABOTAGES, Sabotage
from .strace import why_not
from .table import json_text, lines


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m tests.faults", description=__doc__)
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--short", action="store_true", help="a few of each, as the tests do")
    length.add_argument("--long", action="store_true", help="all of it (the default): about an hour")
    jobs = [job.name for job in JOBS]
    parser.add_argument("--only", action="append", choices=jobs, metavar="JOB", help=f"of {', '.join(jobs)}")
    parser.add_argument("--kind", action="append", choices=KINDS, help="leave out the other kinds")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="how many at once")
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="write all verdicts there, too")
    names = [sabotage.name for sabotage in SABOTAGES]
    parser.add_argument(
        "--sabotage", choices=[*names, "all"], help="break a copy of the software, which has to be found"
    )
    return parser.parse_args(arguments)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _tell(result: Result) -> None:
    task = result.task
    _say(f"{task.job}: {task.kind}: {result.tried} in {result.seconds:.0f} s, {len(result.broken)} broken")
    for verdict in result.broken:
        _say(f"  {verdict.fault}")
        for flaw in verdict.flaws:
            _say(f"    {flaw}")


def _is_found(sabotage: Sabotage) -> bool:
    """Tell whether the bench notices that the software is broken."""
    with workshops(1, sabotage.commit) as (place,):
        os.environ.clear()
        os.environ.update(place.environment)
        broken = face(bench_of(place, sabotage.job), Task(sabotage.job, sabotage.kind, LONG)).broken
    first = f": {broken[0].fault}: {broken[0].flaws[0]}" if broken else ""
    _say(f"{sabotage.name} ({sabotage.what}): found by {len(broken)} of {sabotage.job}{first}")
    return bool(broken)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is asked for; return the exit code."""
    options = _parse(arguments)
    if reason := why_not():
        _say(f"nothing was tried: {reason}")
        return 2
    if options.sabotage:
        chosen = [each for each in SABOTAGES if options.sabotage in (each.name, "all")]
        missed = [each for each in chosen if not _is_found(each)]
        return 1 if missed else 0
    plan = SHORT if options.short else LONG
    tasks = [
        Task(job.name, kind, plan)
        for kind in options.kind or KINDS
        for job in JOBS
        if not options.only or job.name in options.only
    ]
    began = time.monotonic()
    results = []
    for result in run(tasks, options.processes):
        _tell(result)
        results.append(result)
    seconds = time.monotonic() - began
    for line in lines(results):
        _say(line)
    if options.out:
        options.out.write_text(json_text(results, seconds))
    return 1 if any(result.broken for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
