"""python -m tests.races: race with the commands, and say what came of it.

Run it from the repository's folder. It ends with 1 where a promise was broken.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from .bench import Outcome
from .clocks import race_the_clock
from .crowd import race_in_a_crowd
from .source import race_under_source
from .target import race_under_target
from .writers import race_with_writers

Race = Callable[[Path, bool], Outcome]

RACES: dict[str, Race] = {
    "target": race_under_target,
    "source": race_under_source,
    "writers": race_with_writers,
    "crowd": race_in_a_crowd,
    "clocks": race_the_clock,
}


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m tests.races", description=__doc__)
    parser.add_argument("--long", action="store_true", help="as often as it was promised; without, as in CI")
    parser.add_argument("--only", action="append", choices=RACES, help="one of them")
    parser.add_argument("--json", action="store_true", help="one JSON object a line instead of a table")
    parser.add_argument("--folder", type=Path, help="where to race (default: the folder for temporary files)")
    return parser.parse_args(arguments)


def _run(race: Race, options: argparse.Namespace) -> Outcome:
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="races.", dir=options.folder, ignore_cleanup_errors=True) as name:
        outcome = race(Path(os.path.realpath(name)), options.long)
    outcome.seconds = round(time.monotonic() - began, 1)
    return outcome


def _lines(outcome: Outcome) -> list[str]:
    counts = [f"  {number:>12,} {what}" for what, number in outcome.tried.items()]
    return [
        f"{outcome.name}: {outcome.seconds} s, {len(outcome.broken)} broken",
        *counts,
        *(f"  BROKEN {what}" for what in outcome.broken[:20]),
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what was asked for; return the exit code."""
    options = _parse(arguments)
    broken = False
    for name in options.only or RACES:
        outcome = _run(RACES[name], options)
        broken |= bool(outcome.broken)
        told = [json.dumps(asdict(outcome))] if options.json else _lines(outcome)
        sys.stdout.write("".join(f"{line}\n" for line in told))
        sys.stdout.flush()
    return int(broken)


if __name__ == "__main__":
    sys.exit(main())
