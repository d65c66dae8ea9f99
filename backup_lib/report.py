"""What a person reads on stdout when a verb is done, and the one JSON object that a program reads."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from functools import singledispatch
from typing import Any

import msgspec

from backup_lib.backup import BackedUp, left_out_line
from backup_lib.clean import Cleaned
from backup_lib.errors import counted, printable, shortened
from backup_lib.model import STATES
from backup_lib.project.version import tag_name
from backup_lib.release import Released
from backup_lib.restore import Restored
from backup_lib.tag import Tagged
from backup_lib.text import as_text
from backup_lib.undo import Undone
from backup_lib.verify import Verified

__all__ = ["exit_code", "json_object", "lines", "size_text"]

SCHEMA_VERSION = 1
_SHOWN = 20
"""Findings and paths that are listed one by one; JSON lists all."""
_LONGEST = 500
"""Bytes of a line about something wrong; JSON has it whole."""


def json_object(task: str, result: object, dry_run: bool) -> bytes:
    """Return the one JSON object of a run, described in docs/json.md."""
    told = _text(msgspec.to_builtins(result, builtin_types=(bytes,)))
    return _object(task, dry_run, exit_code(result), result=told)


def json_error(task: str, what: str, dry_run: bool, code: int) -> bytes:
    """Return the one JSON object of a run that failed."""
    return _object(task, dry_run, code, error=_text(what))


def _object(task: str, dry_run: bool, code: int, **outcome: object) -> bytes:
    common = {"schema_version": SCHEMA_VERSION, "task": task, "exit": code, "dry_run": dry_run}
    return json.dumps(common | outcome, separators=(",", ":")).encode("ascii")  # the same in every locale


def _text(value: Any) -> Any:  # noqa: ANN401
    """Return built-in values with all text printable, whoever named it, and bytes as such text."""
    if isinstance(value, bytes | str):
        return printable(as_text(value))
    if isinstance(value, dict):
        return {_text(key): _text(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_text(item) for item in value]
    return value


def exit_code(result: object) -> int:
    """Return the exit code that a result calls for, by the table of the README."""
    if isinstance(result, BackedUp):
        return 0 if result.complete else 3
    if isinstance(result, list):
        return 4 if any(exit_code(each) for each in result) else 0
    if isinstance(result, Verified):
        return 4 if result.findings else 0
    return 3 if isinstance(result, Restored) and result.skipped else 0


@singledispatch
def lines(result: object, dry_run: bool) -> Iterator[str]:
    """Yield the lines a person reads of a result."""
    raise NotImplementedError(type(result), dry_run)


@lines.register
def _(result: Tagged, dry_run: bool) -> Iterator[str]:
    where = f"{result.tag} at {result.commit[:12]}"
    if result.created:
        yield f"Tagged {where}"
    else:
        yield f"Would tag {where}" if dry_run else f"Already tagged: {where}"


@lines.register
def _(result: BackedUp, dry_run: bool) -> Iterator[str]:
    amount = f"{counted(result.files, 'file')}, {size_text(result.bytes)}"
    if dry_run:
        yield f"Would back up {amount} into {result.archive}"
        for dropped in result.dropped:
            yield f"  left out  {dropped.path}  by {dropped.rule}"
    else:
        yield f"Backed up {amount} in {result.seconds:.1f} s"
        yield f"Archive: {shown(result.archive)} ({size_text(result.size)})"
        yield f"SHA-256: {result.sha256}"
    yield from _standing(result)
    for problem in result.problems[:_SHOWN]:
        yield shortened(f"  {problem.kind}  {printable(problem.path)}: {problem.reason}", _LONGEST)
    yield from _more(len(result.problems))
    if not result.complete:
        yield "Not everything is in it as it was: see above"
    if not dry_run:
        yield (
            "Proved: it was read back and matched" if result.proved else "Not proved yet: run 'invoke verify'"
        )


def _standing(result: BackedUp) -> Iterator[str]:
    told = [f"{result.states[state]} {words}" for state, words in STATES.items() if result.states.get(state)]
    if result.left_out:
        told.append(f"{counted(result.left_out, 'committed file')} left out")
    if told:
        yield "Git: " + ", ".join(told)
    if result.left_out_by:
        yield left_out_line(result.left_out_by)


@lines.register
def _(result: Verified, dry_run: bool) -> Iterator[str]:
    del dry_run
    if not result.findings:
        how = {"quick": "matches its digest", "full": "proved", "restore": "proved by restoring it"}[
            result.depth
        ]
        amount = f", {counted(result.files, 'file')}, {size_text(result.bytes)}" if result.files else ""
        how = how if result.compared else "readable to its end, but nothing is recorded to compare it with"
        yield f"{shown(result.archive)}: {how}{amount}, {result.seconds:.1f} s"
        if result.statement:
            yield f"  {result.statement}"
        return
    for finding in result.findings[:_SHOWN]:
        yield shortened(str(finding), _LONGEST)
    yield from _more(len(result.findings))


@lines.register
def _(result: list, dry_run: bool) -> Iterator[str]:  # type: ignore[type-arg]
    for each in result:
        yield from lines(each, dry_run)
    bad = sum(bool(each.findings) for each in result)
    yield (
        f"{counted(len(result), 'backup')} verified, {bad} with findings"
        if result
        else "The store holds no backup yet"
    )


@lines.register
def _(result: Restored, dry_run: bool) -> Iterator[str]:
    verb = "Would restore" if dry_run else "Restored"
    same = f", {result.unchanged} were there already" if result.unchanged else ""
    yield f"{verb} {counted(result.files, 'file')}, {size_text(result.bytes)}, to {shown(result.to)}{same}"
    for name in result.skipped[:_SHOWN]:
        yield f"  skipped  {name}: a device, fifo or the like"
    yield from _more(len(result.skipped))
    for command in result.ran:
        yield f"Ran: {command}"
    if result.go_back:
        yield f"To go back (what is new here stays): {result.go_back}"


@lines.register
def _(result: Cleaned, dry_run: bool) -> Iterator[str]:
    for fate in result.fates:
        verb = "keep" if fate.kept else "would remove" if dry_run else "removed"
        yield f"{verb:12}  {shown(fate.archive)}  {size_text(fate.size)}  ({fate.reason})"
    removed = sum(not fate.kept for fate in result.fates)
    verb = "Would free" if dry_run else "Freed"
    yield f"{verb} {size_text(result.freed)}: {removed} of {counted(len(result.fates), 'backup')}"


@lines.register
def _(result: Released, dry_run: bool) -> Iterator[str]:
    for step in result.steps:
        if step.when != "now":  # those were told when they were done
            yield f"{'would do' if step.when == 'would' else 'done before':12}  {step.what}"
    if dry_run:
        yield f"Would release v{result.version} at {result.commit[:12]}"
    elif all(step.when == "before" for step in result.steps):
        yield f"v{result.version} is released already: {shown(result.archive)}"
    else:
        yield f"Released v{result.version}: {shown(result.archive)}"


@lines.register
def _(result: Undone, dry_run: bool) -> Iterator[str]:
    words = {"now": "taken back", "would": "would go", "before": "gone before", "never": "left alone"}
    for step in result.steps:
        if step.step == "aside":
            yield f"{'would move' if dry_run else 'moved':12}  {step.what}"
            continue
        because = ": the release did not make it" if step.when == "never" else ""
        yield f"{words[step.when]:12}  {step.what}{because}"
    if not any(step.when in ("now", "would") for step in result.steps):
        yield f"v{result.version} is taken back already"
    else:
        yield f"{'Would take' if dry_run else 'Took'} v{result.version} back"
    if any(step.step == "tag" and step.when in ("now", "would") for step in result.steps):
        yield f"If the tag was pushed, it is still there: git push --delete REMOTE {tag_name(result.version)}"


def _more(count: int) -> Iterator[str]:
    if count > _SHOWN:
        yield f"  and {count - _SHOWN} more; --json lists all"


def shown(path: str) -> str:
    """Return a path as a person would type it: relative where it lies below the working directory."""
    here = os.getcwd()
    return os.path.relpath(path, here) if path.startswith(here + os.sep) else path


def size_text(count: int) -> str:
    """Return a number of bytes in binary units: ``5.3 MiB``."""
    size = float(count)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{count} bytes" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"
