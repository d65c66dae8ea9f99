"""Hostile stores: one mutation, one command on a terminal, and what is asked of it afterwards.

Nothing outside is written, nothing that is not ours is lost, nothing raw reaches the terminal; there is no
traceback and no waiting.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .scene import FOREIGN, RELEASED, Scene, Stage
from .snapshot import Snapshot, Thing, taken
from .stores import MUTATIONS
from .terminal import COLUMNS, HUNG, PATIENCE, Ended, on_terminal

__all__ = ["VERBS", "Case", "Verb", "judged"]

MEMORY = 256 << 20
"""Bytes of memory that a run may have in use at any time, whatever a store asks for."""
_CODES = (0, 1, 3, 4, 10, 11)
_LONGEST = 500
"""Bytes of an error line."""

_SEMANTIC = rb"\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?"
_VERSION = re.compile(rb"v" + _SEMANTIC)
_ARCHIVE = re.compile(rb"(v" + _SEMANTIC + rb"/[^/]+_v" + _SEMANTIC + rb"_|\d{4}-)[^/]*\.tar\.(gz|zst)")
_LATEST = re.compile(rb"v" + _SEMANTIC + rb"/[^/]+_latest\.tar\.(gz|zst)")
_MANIFEST = re.compile(rb"v" + _SEMANTIC + rb"/MANIFEST\.txt")
_ASIDE = re.compile(rb"(.*)\.theirs(-\d+)?((?:\.tar)?\.[a-z]+|)")
_PARTIAL = re.compile(rb"(.*/)?\.[^/]+\.[0-9a-f]{8}\.partial", re.DOTALL)
_OWN = (b"ledger.jsonl", b".lock", b".gitignore", b"SHA256SUMS")


@dataclass(frozen=True, slots=True)
class Verb:
    """One command, and what it is for: the rest it has to leave alone."""

    name: str
    arguments: tuple[str, ...]
    changes: tuple[str, ...] = ()
    """Paths below the scene at and below which it may change things, the store apart."""
    removes: str | None = None
    """A pattern of the archives of ours that it may take away, as paths below the store."""


def _tag(version: str) -> tuple[str, ...]:
    """Return where git keeps a tag and its object."""
    return ("demo/.git/objects", f"demo/.git/refs/tags/v{version}")


_CHANGELOG = "demo/CHANGELOG.md"
_TREE = tuple(f"demo/{name}" for name in ("src", "CHANGELOG.md", "package.json", ".gitignore", ".env"))
VERBS = {
    verb.name: verb
    for verb in (
        Verb("tag", ("tag", "--version", "3.0.0"), _tag("3.0.0")),
        Verb("backup", ("backup", "--version", RELEASED)),
        Verb("daily", ("backup", "--daily"), removes=r"\d{4}-.*"),
        Verb("verify", ("verify", "--version", RELEASED)),
        Verb("verify all", ("verify", "--all")),
        Verb("restore dry", ("restore", "--version", RELEASED, "--dry-run")),
        Verb("restore", ("restore", "--version", RELEASED, "--to", "../to"), ("to",)),
        Verb("restore newest", ("restore",), ("demo/restored",)),
        Verb("restore in place", ("restore", "--version", RELEASED, "--in-place"), _TREE),
        Verb("clean", ("clean", "--keep", "1", "--keep-daily", "1"), removes=".*"),
        Verb("release", ("release", "--version", "2.0.0"), (*_tag("2.0.0"), _CHANGELOG)),
        Verb(
            "undo",
            ("release", "--version", RELEASED, "--undo"),
            (*_tag(RELEASED), _CHANGELOG),
            removes=rf"v{re.escape(RELEASED)}/.*",
        ),
    )
}


@dataclass(frozen=True, slots=True)
class Case:
    """A command on a store with one mutation."""

    mutation: str
    verb: str
    as_json: bool

    def __str__(self) -> str:
        return f"{self.mutation} / {self.verb}{' --json' if self.as_json else ''}"


@dataclass
class _Run:
    """What was there before and after, and what was told."""

    verb: Verb
    as_json: bool
    ours: Snapshot
    """The store as the template has it, without what others put there."""
    before: Snapshot
    after: Snapshot
    around_before: Snapshot
    around_after: Snapshot
    ended: Ended
    lines: list[str] = field(default_factory=list)


def judged(case: Case, template: Scene, room: Path, patience: float = PATIENCE) -> list[str]:
    """Face one case in a copy of the template; return what it broke, each as ``KIND: what``."""
    verb = VERBS[case.verb]
    with template.copied(room) as scene, ExitStack() as held:
        ours = {path: each for path, each in taken(scene.store).items() if not _is_foreign(path)}
        MUTATIONS[case.mutation](Stage(scene, held))
        but = (scene.store,)
        store = Path(os.path.realpath(scene.store))
        before, around = taken(store), taken(scene.folder, but)
        arguments = (*verb.arguments, *(("--json",) if case.as_json else ()))
        ended = on_terminal(scene.project, arguments, scene.environment, patience)
        run = _Run(verb, case.as_json, ours, before, taken(store), around, taken(scene.folder, but), ended)
    return [*_written_outside(run), *_noted(run), *_lost(run), *_left(run), *_told(run), *_ended(run)]


def _is_foreign(path: bytes) -> bool:
    return os.fsdecode(path) in FOREIGN


# --- on the disk


def _written_outside(run: _Run) -> Iterator[str]:
    """Everything but the store is as it was, where the command is not for changing it."""
    for path in sorted(run.around_before.keys() | run.around_after.keys()):
        if any(_is_at_or_below(path, os.fsencode(each)) for each in run.verb.changes):
            continue
        was, now = run.around_before.get(path), run.around_after.get(path)
        if was is None:
            yield f"outside: {path!r} was made"
        elif _has_changing_names(path, run) and now is not None and stat.S_ISDIR(now.kind):
            continue
        elif not was.untouched_as(now):
            yield f"outside: {path!r} was changed"


_NOTE = re.compile(rb"- Created backup v.*|## \[2\.0\.0\] - \d{4}-\d\d-\d\d|")


def _noted(run: _Run) -> Iterator[str]:
    """Of the changelog a release adds, and an undo takes, its own lines and no others."""
    if run.verb.name not in ("release", "undo"):
        return
    was, now = (
        [line for line in around[os.fsencode(_CHANGELOG)].content.split(b"\n") if not _NOTE.fullmatch(line)]
        if os.fsencode(_CHANGELOG) in around
        else None
        for around in (run.around_before, run.around_after)
    )
    if was != now:
        yield f"lost: the changelog had {was}, and has {now}"


def _has_changing_names(path: bytes, run: _Run) -> bool:
    """Report whether a folder may get names, so that its time and size change: one above what may change.

    In the folder for temporary files, too, names may come and go.
    """
    folders = {
        os.path.dirname(os.fsencode(each)) for each in (*run.verb.changes, "demo/backups", "scratch/x")
    }
    return path in folders


def _is_at_or_below(path: bytes, folder: bytes) -> bool:
    return path == folder or path.startswith(folder + b"/")


def _lost(run: _Run) -> Iterator[str]:
    """What is not ours is where it was, or moved aside; of ours only what the command is for may go."""
    for path, was in sorted(run.before.items()):
        now = run.after.get(path)
        if was.holds_as(now) or _may_change(run, path, was, now) or _is_moved_aside(run, path, was):
            continue
        yield f"lost: {path!r} {'was changed' if now else 'is gone'}"
    if not _sound(run.after) and _sound(run.before):
        yield "lost: the last whole archive is gone"


def _sound(store: Snapshot) -> bool:
    """Report whether there is an archive that ends with our trailer: the template's own, or a copy."""
    return any(_ARCHIVE.fullmatch(path) and b"RT\x38\x00RBKP" in each.content for path, each in store.items())


def _may_change(run: _Run, path: bytes, was: Thing, now: Thing | None) -> bool:
    name = os.path.basename(path)
    if path == b"ledger.jsonl":
        return was.is_plain and now is not None and now.is_plain and _is_longer(was, now)
    if path == b".lock":
        return was.is_plain and now is not None and now.is_plain
    if _PARTIAL.fullmatch(path) and not _is_foreign(path):
        return not stat.S_ISDIR(was.kind)
    if stat.S_ISLNK(was.kind):
        return _LATEST.fullmatch(path) is not None
    if stat.S_ISDIR(was.kind):
        return _VERSION.fullmatch(path) is not None and now is None
    is_ours = was.holds_as(run.ours.get(path))
    if path == b"SHA256SUMS":
        return is_ours or (was.is_plain and not was.size)
    if name == b"MANIFEST.txt":
        return is_ours and run.verb.name not in ("tag", "verify", "verify all")
    return is_ours and run.verb.removes is not None and _goes(run.verb.removes, path)


def _goes(pattern: str, path: bytes) -> bool:
    return re.fullmatch(os.fsencode(pattern), path) is not None


def _is_longer(was: Thing, now: Thing) -> bool:
    """Report whether a ledger was only added to; of a very long one its start and size tell."""
    if was.size == len(was.content):
        return now.content.startswith(was.content) or now.size != len(now.content)
    return now.size >= was.size


def _is_moved_aside(run: _Run, path: bytes, was: Thing) -> bool:
    """Report whether a thing, or a folder that it is in, has another name, with ``.theirs`` in it."""
    return any(was.holds_as(now) for aside, now in run.after.items() if _before_aside(aside) == path)


def _before_aside(path: bytes) -> bytes | None:
    """Return the path that a thing had before it, or its folder, was moved aside; None for others."""
    parts = path.split(b"/")
    for at, part in enumerate(parts):
        if match := _ASIDE.fullmatch(part):
            return b"/".join((*parts[:at], match[1] + match[3], *parts[at + 1 :]))
    return None


def _left(run: _Run) -> Iterator[str]:
    """What is new in the store has a name of ours, or was moved aside."""
    named = (_VERSION, _ARCHIVE, _LATEST, _MANIFEST)
    for path in sorted(run.after.keys() - run.before.keys()):
        if path in _OWN or any(each.fullmatch(path) for each in named) or _before_aside(path) in run.before:
            continue
        yield f"left: {path!r} was made in the store"


# --- on the terminal


_FRAME = re.compile(rf".*: +\d+%\|.*|.*: \S+B \[.*|.{{{COLUMNS - 1},{COLUMNS}}}")
"""A bar as tqdm draws it: label, percentage, bar; or label and sum, where the total is 0.

One that is wider than the terminal is cut at the last column.
"""


def _told(run: _Run) -> Iterator[str]:
    """What came to the terminal is printable, line by line.

    The one control besides the end of a line is the carriage return of our own bar. It stands at the start of
    a line, behind a bar, or behind blanks that wipe one; so nothing that was not a bar is ever written over.
    """
    try:
        text = run.ended.told.decode()
    except UnicodeDecodeError as error:
        yield f"raw: {error}"
        return
    for line in text.split("\r\n"):
        *wiped, last = line.split("\r")
        run.lines.append(last)
        if any(not (each.isspace() or each == "" or _FRAME.fullmatch(each)) for each in wiped):
            yield f"raw: a carriage return in {line!r}"
        if not line.replace("\r", "").isprintable():
            yield f"raw: a control character in {line!r}"
        if re.match("forged", last):
            yield f"raw: a line of its own in {line!r}"
        if last.startswith(f"{run.verb.arguments[0]}: ") and len(last.encode()) > _LONGEST:
            yield f"long: an error of {len(last.encode())} bytes"
    if "Traceback" in text or "unexpected" in text:
        yield f"traceback: {text[-600:]!r}"
    if run.as_json:
        yield from _told_as_json(run)


def _told_as_json(run: _Run) -> Iterator[str]:
    objects = [line for line in run.lines if line.startswith("{")]
    try:
        [told] = [json.loads(line) for line in objects]
    except ValueError as error:
        yield f"json: {len(objects)} objects, {error}"
        return
    if not all(text.isprintable() for text in _texts(told)):
        yield "raw: a control character in a string of JSON"
    if told["exit"] != run.ended.code or told["dry_run"] is not ("--dry-run" in run.verb.arguments):
        yield f"json: exit {told['exit']}, dry_run {told['dry_run']}, but it ended with {run.ended.code}"


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield key
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)


def _ended(run: _Run) -> Iterator[str]:
    if run.ended.code == HUNG:
        yield f"waits: nothing more came after {run.ended.told[-200:]!r}"
    elif run.ended.code not in _CODES:
        yield f"ended: exit {run.ended.code}: {run.ended.told[-600:]!r}"
    if run.ended.memory > MEMORY:
        yield f"memory: {run.ended.memory} bytes"
