"""What was measured, as data, as JSON and as a Markdown fragment."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from statistics import median

from benchmarks.jobs import Goal, Metric, Plan
from benchmarks.measure import Contestant, Sample
from benchmarks.workshop import CHECKOUT, Workshop

__all__ = ["Outcome", "Verdict", "json_text", "markdown"]

MEBIBYTE = 1 << 20


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a goal stands."""

    goal: Goal
    figure: float | None
    """None where a contestant is not installed here."""

    @property
    def met(self) -> bool | None:
        """Whether the goal is reached; None where it was not measured."""
        return None if self.figure is None else self.goal.is_met(self.figure)


@dataclass(frozen=True, slots=True)
class Outcome:
    """A job that was run."""

    name: str
    title: str
    plan: Plan
    samples: dict[str, list[Sample]]

    def median(self, name: str, metric: Metric) -> float:
        """Return the median of one metric of one contestant."""
        figures: list[float] = [getattr(sample, metric) for sample in self.samples[name]]
        return median(figures)

    def verdicts(self) -> Iterator[Verdict]:
        """Yield how each goal stands."""
        for goal in self.plan.goals:
            there = all(name in self.samples for name in goal.of + goal.to)
            yield Verdict(goal, self._figure(goal) if there else None)

    def _figure(self, goal: Goal) -> float:
        above = sum(self.median(name, goal.metric) for name in goal.of)
        below = sum(self.median(name, goal.metric) for name in goal.to)
        return above / below if goal.to else above


def json_text(outcomes: list[Outcome], how: dict[str, object], workshop: Workshop) -> str:
    """Return all of it: every sample, every command line, and what it was measured with."""
    jobs = [_job(outcome, workshop) for outcome in outcomes]
    return json.dumps({"schema_version": 1, **how, "jobs": jobs}, indent=1) + "\n"


def _job(outcome: Outcome, workshop: Workshop) -> dict[str, object]:
    return {
        "name": outcome.name,
        "title": outcome.title,
        "corpora": [{"name": c.name, "files": c.files, "bytes": c.bytes} for c in outcome.plan.corpora],
        "contestants": [
            {
                "name": each.name,
                "command": _shown(each, workshop),
                "medians": {
                    metric: outcome.median(each.name, metric)
                    for metric in ("seconds", "written", "archives", "peak")
                },
                "samples": [asdict(sample) for sample in outcome.samples[each.name]],
            }
            for each in outcome.plan.contestants
        ],
        "goals": [
            asdict(verdict.goal) | {"figure": verdict.figure, "met": verdict.met}
            for verdict in outcome.verdicts()
        ],
    }


def _shown(contestant: Contestant, workshop: Workshop) -> str:
    """Return a command line without the folders of this machine."""
    line = " | ".join(map(shlex.join, contestant.stages))
    output = f" > {contestant.results}" if contestant.to_results else ""
    folders = {
        str(workshop.memory): "MEMORY",
        str(workshop.folder): "WORK",
        f"{CHECKOUT}/": "",
        f"{sys.executable} -m invoke": "invoke",
        sys.executable: "python",
    }
    text = line + output
    for path, name in folders.items():
        text = text.replace(path, name)
    return text


def markdown(outcomes: list[Outcome]) -> str:
    """Return a table for each job, and one of the goals."""
    return "\n".join(line for outcome in outcomes for line in _tables(outcome)) + "\n"


def _tables(outcome: Outcome) -> Iterator[str]:
    what = "; ".join(f"{c.files:,} files, {c.bytes / 1e6:,.0f} MB" for c in outcome.plan.corpora)
    yield f"#### {outcome.title} ({what})"
    yield ""
    yield "| | seconds (median) | least to most | times ours | written, MB | archive | peak memory, MiB |"
    yield "|---|--:|--:|--:|--:|--:|--:|"
    first = outcome.plan.contestants[0].name
    for name, samples in outcome.samples.items():
        seconds = [sample.seconds for sample in samples]
        middle = outcome.median(name, "seconds")
        yield (
            f"| {_cell(name)} | {middle:.2f} | {min(seconds):.2f} to {max(seconds):.2f} "
            f"| {middle / outcome.median(first, 'seconds'):.2f} "
            f"| {outcome.median(name, 'written') / 1e6:,.1f} | {outcome.median(name, 'archives') / 1e6:,.1f} "
            f"| {outcome.median(name, 'peak') / MEBIBYTE:,.0f} |"
        )
    yield ""
    if outcome.plan.goals:
        yield "| goal | is to be | is | |"
        yield "|---|--:|--:|---|"
        yield from map(_goal_row, outcome.verdicts())
        yield ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _goal_row(verdict: Verdict) -> str:
    goal = verdict.goal
    unit = MEBIBYTE if goal.metric == "peak" and not goal.to else 1
    bound = f"at least {goal.least:g}" if goal.least is not None else f"at most {(goal.most or 0) / unit:g}"
    figure = "not measured" if verdict.figure is None else f"{verdict.figure / unit:.3g}"
    word = {True: "met", False: "**missed**", None: ""}[verdict.met]
    return f"| {_cell(goal.what)} | {bound} | {figure} | {word} |"
