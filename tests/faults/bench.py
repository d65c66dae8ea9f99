"""Killing a command, failing one of its calls, or cutting its power, at one point after the other."""

from __future__ import annotations

import errno
import os
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from .jobs import FIRST_OF_CRASH, Crash, Job
from .judge import Seen, flaws, leftovers, look, steady, surplus, sweepings, torn, unsummed
from .points import Point, points_of
from .power import State, left, put, states_of, steps_of, tree_at
from .strace import Call, calls_in, injecting, recording
from .workshop import Outcome, Workshop

__all__ = ["ERRORS", "Bench", "Fault", "Verdict"]

_TRIES = 3
_SYNCS = ("fsync", "fdatasync", "syncfs")
_FULL = ("ENOSPC", "EDQUOT")
_READ_ONLY = ("EROFS", "EACCES")
ERRORS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("openat", "openat2"), ("EIO", "EACCES", "EINTR")),
    **dict.fromkeys(("write", "pwrite64", "fsync", "fdatasync"), ("EIO", *_FULL, "EINTR")),
    "ftruncate": ("EIO", "EINTR"),
    "syncfs": ("EIO", *_FULL),
    **dict.fromkeys(
        ("rename", "renameat", "renameat2", "link", "linkat", "symlink", "symlinkat", "mkdir", "mkdirat"),
        ("EIO", *_FULL, *_READ_ONLY),
    ),
    **dict.fromkeys(("unlink", "unlinkat", "rmdir"), ("EIO", *_READ_ONLY)),
    **dict.fromkeys(("chmod", "fchmod", "fchmodat", "utimensat"), ("EIO", "EROFS", "EPERM")),
}
"""The errors that the manual page of a call names, of those that a disk causes, and ``EINTR``."""
FLIP = "FLIP"
"""No error: other bytes are written than were told."""
_NUMBERED = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}-[0-9]+\.tar\.(gz|zst)")
"""A daily backup that does not take the place of the one before."""
_ARCHIVE = re.compile(r".*\.tar\.(gz|zst)\.[0-9a-f]{8}\.partial")


@dataclass(frozen=True, slots=True)
class Fault:
    """What is done to a run, and where."""

    point: Point
    error: str = ""
    """Name of the error that the call returns, or `FLIP`; empty where the process is killed instead."""

    def __str__(self) -> str:
        return f"{self.error or 'SIGKILL'} at {self.point}"

    @property
    def injection(self) -> str:
        """What strace is told."""
        what = {"": "signal=SIGKILL", FLIP: "poke_enter=@arg2=00000000"}.get(
            self.error, f"error={self.error}"
        )
        return f"{what}:when={self.point.nth}"

    @property
    def is_gits(self) -> bool:
        """Whether it strikes a git that was started, not us."""
        return "/.git/" in f"/{self.point.path}"


def _errors_at(point: Point) -> tuple[str, ...]:
    if point.opens == "folder":
        return "EIO", "EACCES"  # opening a folder waits for nothing, so nothing interrupts it
    possible = (*ERRORS.get(point.call, ()), *(("EROFS", *_FULL) if point.opens == "new file" else ()))
    return tuple(error for error in possible if error != "EINTR" or "/.git/" not in f"/{point.path}")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of one fault."""

    job: str
    fault: str
    flaws: tuple[str, ...]
    """Promises that were broken; none, if all is well."""


class Bench:
    """One job, ready to be run again and again."""

    def __init__(self, workshop: Workshop, job: Job) -> None:
        self._workshop = workshop
        self._job = job
        self._template = workshop.folder / f"template-{job.name}"
        with workshop.building(self._template) as scene:
            job.build(scene)
        self._origin = tree_at(scene.folder)
        self._before = self._look()
        crashed = self._crash(job.crash) if job.crash else []
        workshop.reset(self._template)
        self._start = tree_at(scene.folder)
        self._left = leftovers(self._look())
        self._clean, self._calls = self._recorded(job.arguments)
        self._after = self._look()
        self._first = len(steps_of(crashed, scene.folder, self._origin))
        self._steps = steps_of([*crashed, *self._calls], scene.folder, self._origin)
        self._git = workshop.folder / f"git-{job.name}"
        shutil.rmtree(self._git, ignore_errors=True)
        shutil.copytree(scene.project / ".git", self._git)

    def _recorded(self, arguments: tuple[str, ...], first: int = 1) -> tuple[Outcome, list[Call]]:
        """Run a command that has to succeed; return its calls, too."""
        workshop = self._workshop
        outcome = workshop.run(recording(workshop.log), arguments, first)
        if outcome.code:
            raise RuntimeError(f"{arguments} fails by itself: {outcome.err}")
        return outcome, list(calls_in(workshop.log, str(workshop.scene.project)))

    def _crash(self, crash: Crash) -> list[Call]:
        """Let the template be what a killed command leaves of it; return the calls it had made."""
        scene = self._workshop.reset(self._template)
        _, calls = self._recorded(crash.arguments, FIRST_OF_CRASH)
        path = str(scene.store / crash.path.format(today=time.strftime("%Y-%m-%d")))
        made = calls[: crash.place(calls, path)]
        self._workshop.reset(self._template)
        put(left(self._origin, steps_of(made, scene.folder, self._origin), {}), self._origin, scene.folder)
        shutil.rmtree(self._template)
        shutil.copytree(scene.folder, self._template, symlinks=True)
        return made

    def kills(self) -> list[Fault]:
        """Return every point at which it can be killed."""
        return [Fault(point) for point in self._points()]

    def errors(self) -> list[Fault]:
        """Return every error of every call; where it proves what it writes, also every wrong byte."""
        points = self._points()
        found = [Fault(point, error) for point in points for error in _errors_at(point)]
        if "--daily" in self._job.arguments:
            written = [point for point in points if point.call == "write" and _ARCHIVE.fullmatch(point.path)]
            found += [Fault(point, FLIP) for point in written]
        return found

    def _points(self) -> list[Point]:
        return list(points_of(self._calls, self._workshop.scene))

    def states(self, samples: int) -> list[State]:
        """Return the states that a power cut may leave, `samples` of them at each moment drawn by lot."""
        return list(states_of(self._origin, self._steps, self._first, samples))

    def _look(self) -> Seen:
        return look(self._workshop.scene, self._workshop.judge)

    def strike(self, fault: Fault) -> Verdict:
        """Run the command with a fault, and judge what it leaves; then let the next run make up for it."""
        outcome, struck = self._run_with(fault)
        found = [] if struck else ["the point was not reached"]
        now, beside = self._without_numbered(outcome, self._look())
        if self._is_incomplete(outcome) and self._replaced() and not beside:
            found.append("an incomplete daily backup took the place of a complete one")
        found += self._flaws(now)
        if now.unreadable:
            found.append(f"{now.unreadable} lines of the ledger cannot be read")
        if outcome.code >= 0:
            found += _Ending(fault, struck, self._clean, outcome).flaws()
            found += self._state_flaws(fault, outcome, now)
        if struck and struck.name in _SYNCS and fault.error not in ("", "EINTR"):
            found += self._sync_flaws(struck)
        found += [f"afterwards: {what}" for what in self._next_flaws(now)]
        return Verdict(self._job.name, str(fault), tuple(found))

    def _is_incomplete(self, outcome: Outcome) -> bool:
        return outcome.code == 3 and "--daily" in self._job.arguments

    def _replaced(self) -> set[str]:
        """Return the backups of ours under whose names the clean run puts others."""
        ours = {*self._before.listed} & {*self._after.listed} & self._before.ours
        return {name for name in ours if self._before.store[name] != self._after.store[name]}

    def _without_numbered(self, outcome: Outcome, now: Seen) -> tuple[Seen, set[str]]:
        """Return what is seen but for an incomplete daily backup beside a complete one, and its name.

        It has a number, and takes no place.
        """
        numbered = {name for name in now.listed if _NUMBERED.match(name) and name not in self._before.listed}
        beside = numbered if self._is_incomplete(outcome) and len(numbered) == 1 else set()
        return replace(now, listed=tuple(name for name in now.listed if name not in beside)), beside

    def _run_with(self, fault: Fault) -> tuple[Outcome, Call | None]:
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

    def wake(self, state: State) -> Verdict:
        """Judge a state that a power cut left; then let the next run make up for it."""
        scene = self._workshop.reset(self._template)
        put(left(self._origin, self._steps[: state.after], state.fates), self._start, scene.folder)
        if state.after % 2 and self._job.task == "release":  # git syncs no tag, so it is there or not
            shutil.rmtree(scene.project / ".git")
            shutil.copytree(self._git, scene.project / ".git")
        now = self._look()
        found = [*self._flaws_but_modes(now), *self._other_flaws(now)]
        if state.after == len(self._steps):
            found += self._not_lasting(now)
        found += [f"afterwards: {what}" for what in self._next_flaws(now)]
        return Verdict(self._job.name, str(state), tuple(found))

    def _not_lasting(self, now: Seen) -> Iterator[str]:
        """Yield what did not last although the run had said that it is done."""
        if now.without_modes().whole_tree() != self._after.without_modes().whole_tree():
            yield "what it wrote outside the store did not last"
        yield from (f"{label} did not last" for label in {*self._after.labels} - {*now.labels})
        sums = {*map(steady, self._after.summed)} - {*map(steady, now.summed)}
        yield from (f"the line of {name} did not last" for name in sums)
        proved = set(map(steady, now.proved))
        yield from (
            f"the proof of {name} did not last" for name in {*map(steady, self._after.proved)} - proved
        )

    def _flaws(self, now: Seen) -> Iterator[str]:
        yield from flaws(self._before, self._after, now)
        yield from self._other_flaws(now)

    def _flaws_but_modes(self, now: Seen) -> Iterator[str]:
        yield from flaws(self._before.without_modes(), self._after.without_modes(), now.without_modes())

    def _other_flaws(self, now: Seen) -> Iterator[str]:
        yield from surplus(self._before, self._after, now)
        if self._job.target:
            yield from torn(self._after, now, self._job.target)

    def _state_flaws(self, fault: Fault, outcome: Outcome, now: Seen) -> Iterator[str]:
        """Yield what a run left that had the time to put everything right before it ended."""
        is_done = now.labels == self._after.labels and now.whole_tree() == self._after.whole_tree()
        is_done = is_done and {*map(steady, now.summed)} == {*map(steady, self._after.summed)}
        if outcome.code == 0 and not is_done and not self._removed_less(outcome, now):
            yield "it ended with 0, but is not done"
        if outcome.code == 3 and now.labels != self._after.labels:
            yield "it ended with 3, but nothing is published"
        if outcome.code and fault.point.call not in ("unlink", "unlinkat", "rmdir"):
            yield from (f"{path} was left behind" for path in {*leftovers(now)} - {*self._left})

    def _removed_less(self, outcome: Outcome, now: Seen) -> bool:
        """Whether a clean kept more than it was told to, and said of what that it could not be proved."""
        reasons = "damaged, so it does not count", "not as it was published here"
        is_told = self._job.task == "clean" and any(reason in outcome.out for reason in reasons)
        return is_told and {*self._after.listed} < {*now.listed}

    def _sync_flaws(self, struck: Call) -> Iterator[str]:
        """Yield what was synced again although that had failed."""
        failed = False
        for call in calls_in(self._workshop.log, str(self._workshop.scene.project)):
            if failed and call.name in _SYNCS and call.fds[0][1] == struck.fds[0][1]:
                yield f"{call.name} of {call.fds[0][1]} was called again"
            failed = failed or call.injected

    def _next_flaws(self, now: Seen) -> Iterator[str]:
        """Yield what is wrong once the command has been run again, and then another that writes."""
        scene = self._workshop.scene
        if not self._job.target or self._job.target not in now.tree:
            outcome = self._run_again()
            if outcome.code:
                yield f"the next run ended with {outcome.code}: {outcome.err.strip()}"
            now = self._look()
        if leftovers(now) or unsummed(now):  # the run had nothing to write
            scene.must("backup", "--version", "9.0.0")
            now = self._look()
        yield from self._lost(now)
        yield from sweepings(now)

    def _run_again(self) -> Outcome:
        """Run the command; of the locks that a killed git left, a person removes each that is named."""
        scene = self._workshop.scene
        while True:
            outcome = scene.invoke(*self._job.arguments)
            locks = [*(scene.project / ".git").rglob("*.lock")] if outcome.code == 1 else []
            named = [lock for lock in locks if f"'{lock}'" in outcome.err]
            if not named:
                return outcome
            named[0].unlink()

    def _lost(self, then: Seen) -> Iterator[str]:
        """Yield what is wrong after more runs, which may have made more backups."""
        yield from self._flaws_but_modes(then)
        yield from (f"{label} is missing" for label in {*self._after.labels} - {*then.labels})


@dataclass(frozen=True, slots=True)
class _Ending:
    """How a run ended that was not killed."""

    fault: Fault
    struck: Call | None
    clean: Outcome
    """How a run without fault ends."""
    outcome: Outcome

    @property
    def said(self) -> list[str]:
        """The lines on stderr that a run without fault does not say."""
        usual = steady(self.clean.err).splitlines()
        return [line for line in self.outcome.err.splitlines() if steady(line) not in usual]

    def flaws(self) -> Iterator[str]:
        """Yield what a person could not make sense of."""
        code, said = self.outcome.code, self.said
        if "Traceback" in self.outcome.err or "unexpected " in self.outcome.err:
            yield f"it did not expect this: {said[-1:]}"
        if self.fault.error == FLIP and code != 4:
            yield f"it did not find the damage, but ended with {code}: {said}"
        elif self.fault.error == "EINTR" and (code or said):
            yield f"it did not just try again, but ended with {code}: {said}"
        elif code == 1:
            yield from self._refusal_flaws()
        elif code == 3:
            yield from self._incomplete_flaws()
        elif code == 4 and self.fault.error not in ("", FLIP):
            if not self._tells_cause(self.outcome.out + self.outcome.err):
                yield f"it does not tell the damage: {self.outcome}"
        elif code not in (0, 4):
            yield f"it ended with {code}: {said}"

    def _refusal_flaws(self) -> Iterator[str]:
        if len(self.said) != 1:
            yield f"it said {len(self.said)} lines: {self.said}"
        elif self.fault.error and not self.fault.is_gits:
            line = self.said[0]
            if not self._tells_cause(line):
                yield f"it does not tell the cause: {line}"
            struck = self.struck.about if self.struck else ()
            if "/" not in line and not any(Path(path).name in line for path in struck):
                yield f"it does not tell where: {line}"

    def _tells_cause(self, text: str) -> bool:
        return os.strerror(getattr(errno, self.fault.error)) in text

    def _incomplete_flaws(self) -> Iterator[str]:
        text = self.outcome.out + self.outcome.err
        if self.struck and not any(Path(path).name in text for path in self.struck.paths):
            yield f"it does not tell what is not in it: {text}"
