"""The jobs: who does what, and what we mean to reach."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

from benchmarks.commands import TAR_OF, VERSION, Commands, task
from benchmarks.corpora import Corpus, git
from benchmarks.measure import Contestant
from benchmarks.workshop import Workshop

__all__ = ["JOBS", "Goal", "Job", "Plan"]

Metric = Literal["seconds", "written", "archives", "peak"]
MEBIBYTE = 1 << 20

FIRST, FAST, ZSTD = "backup", "backup --level fast", "backup --format zst"


@dataclass(frozen=True, slots=True)
class Goal:
    """A figure that is to be reached: a sum of medians, or the ratio of two."""

    what: str
    metric: Metric
    of: tuple[str, ...]
    """The contestants whose medians are summed."""
    to: tuple[str, ...] = ()
    """Those it is divided by; none where the figure itself is the goal."""
    least: float | None = None
    most: float | None = None

    def is_met(self, figure: float) -> bool:
        """Whether a figure is good enough."""
        return (self.least is None or figure >= self.least) and (self.most is None or figure <= self.most)


@dataclass(frozen=True, slots=True)
class Plan:
    """A job that is ready to be run."""

    corpora: tuple[Corpus, ...]
    contestants: list[Contestant]
    goals: tuple[Goal, ...] = ()
    most_rounds: int = 1_000


@dataclass(frozen=True, slots=True)
class Job:
    """What is compared."""

    name: str
    title: str
    plan: Callable[[Workshop], Plan]
    asked_for: bool = False
    """True where it only runs when it is named."""


def _faster(least: float, rival: str, than: str) -> Goal:
    """Return the goal that `than` be so many times as fast as `rival`."""
    return Goal(f"{than}: times as fast as {rival}", "seconds", (rival,), (than,), least=least)


def _smaller(most: float, rival: str, metric: Metric) -> Goal:
    what = "all bytes written" if metric == "written" else "bytes of the archive"
    return Goal(f"{FIRST}: {what}, to those of {rival}", metric, (FIRST,), (rival,), most=most)


def _lean(most: int, name: str) -> Goal:
    return Goal(f"{name}: peak memory, MiB", "peak", (name,), most=most * MEBIBYTE)


def _here(contestants: list[Contestant]) -> list[Contestant]:
    """Leave out the contestants that need a program which is not installed."""
    return [each for each in contestants if all(shutil.which(stage[0]) for stage in each.stages)]


def first_backup(workshop: Workshop) -> Plan:
    """Plan a backup with nothing to reuse, of many small files."""
    commands = Commands(workshop, workshop.corpus("packages"))
    commands.write_empty()
    peers = [commands.plain(name) for name in TAR_OF]
    ours = [
        commands.backup(FIRST),
        commands.backup(FAST, "--level", "fast"),
        commands.backup(ZSTD, "--format", "zst"),
    ]
    limit = commands.limit()
    return Plan(
        (commands.corpus,),
        _here([*ours, limit, *peers, commands.restic("empty"), commands.borg("empty")]),
        (
            _faster(5.0, "tar -czf", FIRST),
            _faster(2.2, "tar | pigz", FIRST),
            _faster(1.4, "restic backup", FIRST),
            _smaller(1.0, "restic backup", "written"),
            _smaller(1.02, "tar -czf", "archives"),
            _faster(9.0, "tar -czf", FAST),
            _faster(1.0, "tar | zstd -3", ZSTD),
            _lean(150, FIRST),
        ),
    )


def verify(workshop: Workshop) -> Plan:
    """Plan reading a backup back and proving it."""
    commands = Commands(workshop, workshop.corpus("packages"))
    commands.write_all()
    archive = str(commands.archive)
    ours = commands.verify()
    rivals = [
        commands.reading("gzip -t", "gzip", "-t", archive),
        commands.reading("pigz -t", "pigz", "-t", archive),
        commands.reading("restic check --read-data", "restic", "check", "--read-data", tool="restic"),
        commands.reading("borg check --verify-data", "borg", "check", "--verify-data", tool="borg"),
    ]
    goals = (_faster(2.5, "gzip -t", "verify"), _faster(2.5, "restic check --read-data", "verify"))
    return Plan((commands.corpus,), _here([ours, *rivals]), goals)


def restore(workshop: Workshop) -> Plan:
    """Plan restoring everything on a memory disk."""
    commands = Commands(workshop, workshop.corpus("packages"))
    commands.write_all()
    archive, out = str(commands.archive), str(workshop.memory / "out")
    ours = task("restore", "--version", VERSION, "--to", out)
    restoring = commands.restoring
    contestants = [
        restoring("restore", *ours, tool="store"),
        restoring("tar -xzf", "tar", "-xzf", archive, "-C", out),
        restoring("bsdtar -xzf", "bsdtar", "-xzf", archive, "-C", out),
        restoring("restic restore", "restic", "restore", "-q", "latest", "--target", out, tool="restic"),
        commands.in_out(restoring("borg extract", "borg", "extract", "::now", tool="borg")),
    ]
    return Plan((commands.corpus,), _here(contestants), (_faster(2.0, "tar -xzf", "restore"),))


def one_file(workshop: Workshop) -> Plan:
    """Plan restoring one file from the midst of many."""
    commands = Commands(workshop, workshop.corpus("packages"))
    commands.write_all()
    archive, out, path = str(commands.archive), str(workshop.memory / "out"), commands.one_file()
    ours = task("restore", "--version", VERSION, "--to", out, "--path", f"/{path}")
    restic = ("restic", "restore", "-q", "latest", "--target", out, "--include", f"/{path}")
    one = partial(commands.restoring, files=1)
    contestants = [
        one("restore --path", *ours, tool="store"),
        one("tar -xzf ARCHIVE PATH", "tar", "-xzf", archive, "-C", out, f"./{path}"),
        one("restic restore --include", *restic, tool="restic"),
        commands.in_out(one("borg extract PATH", "borg", "extract", "::now", path, tool="borg")),
    ]
    goal = _faster(10.0, "tar -xzf ARCHIVE PATH", "restore --path")
    return Plan((commands.corpus,), _here(contestants), (goal,))


def changed(workshop: Workshop) -> Plan:
    """Plan the next backup, when one file in a hundred changed."""
    commands = Commands(workshop, workshop.corpus("packages"))
    state = commands.corpus.name
    commands.write_all()
    workshop.change(commands.corpus, 100)
    borg = commands.borg(state)
    again = replace(borg, stages=((*borg.stages[0][:-2], "::next", "."),), check=None)
    contestants = [commands.backup(FIRST, state=state), commands.restic(state), again]
    return Plan((commands.corpus,), _here(contestants), (_faster(2.5, "restic backup", FIRST),))


def application(workshop: Workshop) -> Plan:
    """Plan backups of a small web application, the first one and the next one."""
    commands = Commands(workshop, workshop.corpus("application"))
    commands.write_all()
    workshop.change(commands.corpus, 100)
    again = "backup, 1 % changed"
    contestants = [
        commands.backup(FIRST),
        commands.backup(again, state=commands.corpus.name),
        commands.plain("tar -czf"),
        commands.plain("tar | pigz"),
        commands.restic(commands.corpus.name),
    ]
    goals = (_faster(1.0, "tar -czf", FIRST), _faster(1.5, "tar -czf", again))
    return Plan((commands.corpus,), _here(contestants), goals)


def release(workshop: Workshop) -> Plan:
    """Plan a whole release, and the two parts of it that are work."""
    commands = Commands(workshop, workshop.corpus("application"))
    commands.write_all()
    workshop.will_change(commands.corpus)
    contestants = [
        commands.backup(FIRST),
        commands.verify(),
        replace(commands.ours("release", "release", "--version", VERSION), check=None),
    ]
    unreleased = [
        replace(each, ready=partial(_unrelease, commands.corpus.path, each)) for each in contestants
    ]
    goal = Goal(
        "release: time, to that of backup and verify", "seconds", ("release",), (FIRST, "verify"), most=1.5
    )
    return Plan((commands.corpus,), unreleased, (goal,))


def _unrelease(path: Path, contestant: Contestant) -> None:
    """Take back what a release leaves in the project."""
    contestant.ready()
    git(path, "tag", "--delete", *git(path, "tag").split())
    (path / "CHANGELOG.md").unlink(missing_ok=True)


def growth(workshop: Workshop) -> Plan:
    """Plan backups of a tree, and of one ten times as large."""
    small = Commands(workshop, workshop.corpus("tenth"))
    large = Commands(workshop, workshop.corpus("tenfold"))
    contestants = [small.backup("backup of a tenth"), large.backup(FIRST)]
    goal = Goal("ten times the files: times the time", "seconds", (FIRST,), ("backup of a tenth",), most=10.5)
    return Plan((small.corpus, large.corpus), contestants, (goal,))


def large(workshop: Workshop) -> Plan:
    """Plan backups of large files, half of which compress."""
    commands = Commands(workshop, workshop.corpus("large"))
    peers = [commands.plain(name) for name in ("tar -czf", "tar | pigz", "tar | zstd -3")]
    ours = [commands.backup(FIRST), commands.backup(ZSTD, "--format", "zst")]
    return Plan((commands.corpus,), _here([*ours, *peers]), (_lean(150, FIRST),), most_rounds=1)


def million(workshop: Workshop) -> Plan:
    """Plan one backup of a million files, to see that memory holds out."""
    commands = Commands(workshop, workshop.corpus("million"))
    return Plan((commands.corpus,), [commands.backup(FIRST)], (_lean(400, FIRST),), most_rounds=1)


JOBS = (
    Job("first", "First backup of many small files", first_backup),
    Job("verify", "Proving that backup", verify),
    Job("restore", "Restoring all of it, on a memory disk", restore),
    Job("one-file", "Restoring one file of it", one_file),
    Job("changed", "Next backup, 1 % of the files changed", changed),
    Job("application", "Backup of a small web application", application),
    Job("release", "Releasing the small web application", release),
    Job("growth", "Ten times the files", growth),
    Job("large", "First backup of large files", large),
    Job("million", "First backup of a million tiny files", million, asked_for=True),
)
