"""Many faults, faced by several processes side by side."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from typing import Literal, TypeVar, get_args

from .bench import Bench, Verdict
from .jobs import JOBS
from .workshop import Workshop

__all__ = ["KINDS", "LONG", "SHORT", "Kind", "Plan", "Result", "Task", "bench_of", "face", "run", "workshops"]

Kind = Literal["kill", "error", "power"]
KINDS: tuple[Kind, ...] = get_args(Kind)
Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is tried."""

    most: dict[Kind, int]
    """Faults of each kind that are tried on a job, chosen evenly; 0 for all."""
    samples: int
    """States of a power cut drawn by lot at each moment, besides those that are always tried."""


SHORT = Plan({"kill": 3, "error": 5, "power": 25}, samples=1)
LONG = Plan({"kill": 0, "error": 160, "power": 0}, samples=14)


@dataclass(frozen=True, slots=True)
class Task:
    """The faults of one kind on one job."""

    job: str
    kind: Kind
    plan: Plan


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a task."""

    task: Task
    tried: int
    broken: tuple[Verdict, ...]
    """Those with flaws."""
    seconds: float


@contextmanager
def workshops(count: int, change: Callable[[Path], None] | None = None) -> Iterator[list[Workshop]]:
    """Yield workshops, in memory where it can be; `change` is done to their copies of the software."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    folder = Path(tempfile.mkdtemp(prefix="faults-", dir=memory))
    processors = sorted(os.sched_getaffinity(0))
    try:
        yield [
            Workshop.made(folder / str(number), processors[number % len(processors)], change)
            for number in range(count)
        ]
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run(tasks: Iterable[Task], processes: int) -> Iterator[Result]:
    """Yield the results of tasks as they come, done by several processes."""
    context = get_context("spawn")
    places = context.SimpleQueue()
    with workshops(processes) as made:
        for place in made:
            places.put(place)
        with ProcessPoolExecutor(processes, context, _take_place, (places,)) as pool:
            try:
                for future in as_completed([pool.submit(_do, task) for task in tasks]):
                    yield future.result()
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise


_place: Workshop
"""That of this process."""


def _take_place(places: SimpleQueue[Workshop]) -> None:
    global _place
    _place = places.get()
    os.environ.clear()
    os.environ.update(_place.environment)


def _do(task: Task) -> Result:
    return face(bench_of(_place, task.job), task)


def bench_of(place: Workshop, job: str) -> Bench:
    """Make a job ready in a workshop."""
    return Bench(place, next(each for each in JOBS if each.name == job))


def face(bench: Bench, task: Task) -> Result:
    """Face the faults of a task on its job."""
    began = time.monotonic()
    if task.kind == "power":
        states = _chosen(bench.states(task.plan.samples), task)
        verdicts = [_verdict(task, state, bench.wake) for state in states]
    else:
        faults = _chosen(bench.kills() if task.kind == "kill" else bench.errors(), task)
        verdicts = [_verdict(task, fault, bench.strike) for fault in faults]
    broken = tuple(verdict for verdict in verdicts if verdict.flaws)
    return Result(task, len(verdicts), broken, time.monotonic() - began)


def _verdict(task: Task, item: Item, judge: Callable[[Item], Verdict]) -> Verdict:
    """Judge one fault or state; what leaves the judge at a loss is a flaw like any other."""
    try:
        return judge(item)
    except Exception as error:
        return Verdict(task.job, str(item), (f"nobody foresaw this: {type(error).__name__}: {error}",))


def _chosen(items: list[Item], task: Task) -> list[Item]:
    """Return the middle of each of as many stretches as are to be tried."""
    most = min(task.plan.most[task.kind], len(items)) or len(items)
    return [items[int((number + 0.5) * len(items) / most)] for number in range(most)]
