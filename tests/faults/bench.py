"""Killing a command, or failing one of its calls, at one point after the other."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .jobs import Job
from .judge import Seen, flaws, leftovers, look, steady, sweepings, torn
from .points import Point, points_of
from .strace import Call, calls_in, injecting, recording
from .workshop import Outcome, Workshop

__all__ = ["ERRORS", "Bench", "Fault", "Verdict", "faults_of"]

_TRIES = 3
_SYNCS = ("fsync", "fdatasync", "syncfs")
_FULL = ("ENOSPC", "EDQUOT")
_READ_ONLY = ("EROFS", "EACCES")
ERRORS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("openat", "openat2"), ("EIO", "EACCES", "EINTR")),
    **dict.fromkeys(("write", "pwrite64"), ("EIO", *_FULL, "EINTR")),
    "ftruncate": ("EIO", "EINTR"),
    **dict.fromkeys(("fsync", "fdatasync"), ("EIO", *_FULL, "EINTR")),
    "syncfs": ("EIO", *_FULL),
    **dict.fromkeys(
        ("rename", "renameat", "renameat2", "link", "linkat", "symlink", "symlinkat", "mkdir", "mkdirat"),
        ("EIO", *_FULL, *_READ_ONLY),
    ),
    **dict.fromkeys(("unlink", "unlinkat", "rmdir"), ("EIO", *_READ_ONLY)),
    **dict.fromkeys(("chmod", "fchmod", "fchmodat", "utimensat"), ("EIO", "EROFS", "EPERM")),
}
"""The errors that the manual page of a call names, of those that a disk causes, and ``EINTR``."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What is done to a run, and where."""

    point: Point
    error: str
    """Name of the error that the call returns; empty where the process is killed instead."""

    def __str__(self) -> str:
        return f"{self.error or 'SIGKILL'} at {self.point}"

    @property
    def injection(self) -> str:
        """What strace is told."""
        return f"{f'error={self.error}' if self.error else 'signal=SIGKILL'}:when={self.point.nth}"


def faults_of(points: list[Point], kind: Literal["kill", "error"]) -> list[Fault]:
    """Return every fault of one kind at these points."""
    if kind == "kill":
        return [Fault(point, "") for point in points]
    return [Fault(point, error) for point in points for error in _errors(point)]


def _errors(point: Point) -> tuple[str, ...]:
    if point.opens == "folder":
        return ("EIO", "EACCES")  # opendir(3) may end with EINTR on no file system of this machine's own
    return (*ERRORS.get(point.call, ()), *(("EROFS", *_FULL) if point.opens == "new file" else ()))


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of one fault."""

    job: str
    fault: str
    flaws: tuple[str, ...]
    """Promises that were broken; none, if all is well."""
    code: int
    """Exit code; negative for a signal."""


class Bench:
    """One job, ready to be run again and again."""

    def __init__(self, workshop: Workshop, job: Job) -> None:
        self._workshop = workshop
        self._job = job
        self._template = workshop.folder / f"template-{job.name}"
        with workshop.building(self._template) as scene:
            job.build(scene)
        self._before = self._look()
        workshop.reset(self._template)
        self._clean = workshop.run(recording(workshop.log), job.arguments)
        if self._clean.code:
            raise RuntimeError(f"{job.name} fails by itself: {self._clean.err}")
        self.calls: list[Call] = list(calls_in(workshop.log, str(scene.project)))
        """Every call of the clean run."""
        self._after = self._look()

    @property
    def points(self) -> list[Point]:
        """The points of the clean run."""
        return list(points_of(self.calls, self._workshop.scene.folder))

    def _look(self) -> Seen:
        return look(self._workshop.scene, self._workshop.judge)

    def face(self, fault: Fault) -> Verdict:
        """Run the command with a fault, and judge what it leaves; then let the next run make up for it."""
        outcome, injected = self._strike(fault)
        found = [] if injected else ["the point was not reached"]
        found += self._judge(fault, outcome, injected)
        return Verdict(self._job.name, str(fault), tuple(found), outcome.code)

    def _strike(self, fault: Fault) -> tuple[Outcome, Call | None]:
        """Run the command with a fault; again, where a slow machine let the moment pass."""
        workshop, project = self._workshop, str(self._workshop.scene.project)
        for _ in range(_TRIES):
            scene = workshop.reset(self._template)
            paths = fault.point.paths(scene.folder)
            traced = injecting(workshop.log, paths, fault.point.call, fault.injection)
            outcome = workshop.run(traced, self._job.arguments)
            for call in calls_in(workshop.log, project):
                if call.injected or call.result is None:
                    return outcome, call
        return outcome, None

    def _judge(self, fault: Fault, outcome: Outcome, injected: Call | None) -> Iterator[str]:
        now = self._look()
        yield from self._flaws(now)
        if outcome.code >= 0:
            yield from self._exit_flaws(fault, outcome, injected, now)
        if injected and injected.name in _SYNCS and fault.error and fault.error != "EINTR":
            yield from self._sync_flaws(injected)
        yield from (f"afterwards: {what}" for what in self._next_flaws(now))

    def _flaws(self, now: Seen) -> Iterator[str]:
        yield from flaws(self._before, self._after, now)
        if self._job.target:
            yield from torn(self._after, now, self._job.target)

    def _exit_flaws(self, fault: Fault, outcome: Outcome, injected: Call | None, now: Seen) -> Iterator[str]:
        """Yield what is wrong with how a run ended that was not killed."""
        usual = steady(self._clean.err).splitlines()
        said = [line for line in outcome.err.splitlines() if steady(line) not in usual]
        if "Traceback" in outcome.err or "unexpected " in outcome.err:
            yield f"it did not expect this: {said[-1:]}"
        if outcome.code == 0:
            if now.labels != self._after.labels or now.tree != self._after.tree:
                yield "it ended with 0, but is not done"
            if fault.error == "EINTR" and said:
                yield f"it did not just try again: {said}"
            return
        if fault.error == "EINTR":
            yield f"it did not just try again, but ended with {outcome.code}: {said}"
            return
        if outcome.code not in (1, 3, 4):
            yield f"it ended with {outcome.code}: {said}"
        if outcome.code == 3:
            yield from self._incomplete_flaws(outcome, injected, now)
        elif outcome.code == 4 and not said:
            yield from () if "damaged" in outcome.out else (f"it does not tell the damage: {outcome.out}",)
        elif len(said) != 1:
            yield f"it said {len(said)} lines: {said}"
        elif fault.error and outcome.code == 1:
            yield from _told_badly(fault, said[0])
        if fault.point.call not in ("unlink", "unlinkat", "rmdir"):
            yield from (f"{path} was left behind" for path in leftovers(now))

    def _incomplete_flaws(self, outcome: Outcome, injected: Call | None, now: Seen) -> Iterator[str]:
        if now.labels != self._after.labels:
            yield "it ended with 3, but nothing is published"
        if injected and not any(Path(path).name in outcome.out + outcome.err for path in injected.paths):
            yield f"it does not tell what is not in it: {outcome.out}"

    def _sync_flaws(self, injected: Call) -> Iterator[str]:
        """Yield what was synced again although that had failed."""
        again = False
        for call in calls_in(self._workshop.log, str(self._workshop.scene.project)):
            if again and call.name in _SYNCS and call.fds == injected.fds:
                yield f"{call.name} of {call.fds[0][1]} was called again"
            again = again or call.injected

    def _next_flaws(self, now: Seen) -> Iterator[str]:
        """Yield what is wrong after the next run."""
        if self._job.target and any(path.startswith(f"{self._job.target}/") for path in now.tree):
            yield from sweepings(now)
            return
        outcome = self._workshop.scene.invoke(*self._job.arguments)
        for lock in (self._workshop.scene.project / ".git").rglob("*.lock"):
            # A git that was killed leaves its own lock, and says so; to remove it is a person's to decide.
            if outcome.code != 1 or lock.name not in outcome.err:
                yield f"the next run ended with {outcome.code} though {lock} is there: {outcome.err}"
            lock.unlink()
            outcome = self._workshop.scene.invoke(*self._job.arguments)
        if outcome.code:
            yield f"the next run ended with {outcome.code}: {outcome.err.strip()}"
        then = self._look()
        yield from self._lasting(then)
        yield from sweepings(then)

    def _lasting(self, then: Seen) -> Iterator[str]:
        """Yield what is wrong once it ran again: it may have made one backup more."""
        for flaw in flaws(self._before, self._after, then):
            if not flaw.endswith("is listed too often"):
                yield flaw
        yield from (
            f"{label} is missing" for label in {*self._after.labels} - {*then.labels}
        )


def _told_badly(fault: Fault, line: str) -> Iterator[str]:
    cause = os.strerror(getattr(errno, fault.error))
    if "/.git/" in fault.point.path:
        return  # git's own words
    if cause not in line and fault.error not in ("ENOSPC", "EDQUOT"):
        yield f"it does not tell the cause: {line}"
    if "/" not in line:
        yield f"it does not tell where: {line}"
