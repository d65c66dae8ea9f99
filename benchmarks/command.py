"""The command line of the benchmark."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.chart import svg
from benchmarks.corpora import FULL, QUICK
from benchmarks.jobs import JOBS, Job
from benchmarks.machine import facts
from benchmarks.measure import BenchmarkError, take_turns
from benchmarks.results import Outcome, json_text, markdown
from benchmarks.workshop import CHECKOUT, PROCESSORS, Workshop

__all__ = ["main"]

METHOD = (
    "whole processes, taking turns in one run, another one first each round; before each sample the state is "
    "put back, everything is synced to disk, and what the command reads is read once, so that caches are "
    "warm for all; medians, no sample is dropped; peak memory is that of the largest process of a command"
)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks/run.py", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="small corpora: does it run? its figures say little"
    )
    names = [job.name for job in JOBS]
    parser.add_argument(
        "--only", action="append", choices=names, metavar="NAME", help=f"of {', '.join(names)}"
    )
    parser.add_argument("--rounds", type=int, help="samples of each command (default: 5, with --quick 2)")
    parser.add_argument("--million", action="store_true", help="back up a million files, too")
    parser.add_argument("--work", type=Path, default=_cache(), help="folder for corpora, kept: about 12 GB")
    parser.add_argument(
        "--out", type=Path, help="where the .json and the .svg go (default: docs/performance)"
    )
    return parser.parse_args(arguments)


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "backup-benchmark"


def _tell(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def _wanted(options: argparse.Namespace) -> list[Job]:
    if options.only:
        return [job for job in JOBS if job.name in options.only]
    return [job for job in JOBS if not job.asked_for or options.million]


def _run(job: Job, workshop: Workshop, rounds: int) -> Outcome:
    _tell(f"{job.name}: {job.title}")
    plan = job.plan(workshop)
    samples = take_turns(plan.contestants, min(rounds, plan.most_rounds), workshop.env, _tell)
    return Outcome(job.name, job.title, plan, samples)


def _write(out: Path, outcomes: list[Outcome], how: dict[str, object], workshop: Workshop) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    out.with_suffix(".json").write_text(json_text(outcomes, how, workshop))
    out.with_suffix(".svg").write_text(svg(outcomes))
    _tell(f"written: {out.with_suffix('.json')} and {out.with_suffix('.svg')}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is asked for; return the exit code."""
    options = _parse(arguments)
    scale = QUICK if options.quick else FULL
    rounds = max(1, options.rounds or (2 if options.quick else 5))
    machine = facts()
    if os.getloadavg()[0] > 0.3 * PROCESSORS:
        _tell(f"this machine is busy (load {os.getloadavg()[0]:.1f}): the figures will be, too")
    try:
        workshop = Workshop(options.work.resolve(), scale, _tell)
        try:
            outcomes = [_run(job, workshop, rounds) for job in _wanted(options)]
        finally:
            workshop.close()
    except KeyboardInterrupt:
        _tell("interrupted; nothing was written")
        return 130
    except BenchmarkError as error:
        _tell(f"stopped: {error}")
        return 1
    how = {"scale": scale.name, "rounds": rounds, "method": METHOD, "machine": machine}
    standard = workshop.folder if options.quick else CHECKOUT / "docs"
    _write(options.out or standard / "performance", outcomes, how, workshop)
    sys.stdout.write(markdown(outcomes))
    return 0
