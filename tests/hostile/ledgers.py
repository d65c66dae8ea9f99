"""Ledgers that say what is not so, or cannot be said."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

from backup_lib.store.ledger import Act

from .scene import RELEASED, Stage
from .things import STEERING

__all__ = ["LEDGERS"]

_ACTS = get_args(Act)
_LATE = "9999-12-31T23:59:59Z"
_TEXT = STEERING.decode("utf-8", "ignore") + "\x9b31m"
"""What steers a terminal, as JSON can hold it."""
_HALF = b'{"time":"","act":"publish","archive":"v1.0.0/\\ud800.tar.gz"}'
"""A line with half of a surrogate pair, which stands for no byte."""
_DEEP = 20_000

Mutation = Callable[[Stage], object]


def _paths(stage: Stage) -> Iterator[str]:
    """Yield what may stand for the path of an archive: ways out, what others put there, what is no path."""
    outside = stage.outside
    for target in ("victim.tar.gz", "folder/ours.tar.gz", "secret", "new.tar.gz"):
        yield os.path.relpath(outside / target, stage.store)
        yield str(outside / target)
        yield f"v{RELEASED}/" + os.path.relpath(outside / target, stage.store / f"v{RELEASED}")
    yield from ("theirs.tar.gz", "v0.5.0/theirs.tar.gz", "vendor/x.tar", "notes.txt", "vault", "v0.5.0")
    yield from (
        "ledger.jsonl",
        ".lock",
        ".gitignore",
        f"v{RELEASED}/MANIFEST.txt",
        f"v{RELEASED}",
        f"v{RELEASED}/",
    )
    yield from ("", ".", "..", "/", "../..", "v1.1.0/..", "v/..", "a\0b.tar.gz", "v1.1.0/a\0.tar.gz")
    yield from (
        "x" * 300 + ".tar.gz",
        "v1.0.0/" * 1000 + "x.tar.gz",
        f"v1.0.0/{_TEXT}.tar.gz",
        f"{_TEXT}.tar.gz",
    )
    yield from ("9999-12-31.tar.gz", "2026-13-45.tar.gz", "2026-11-28-999999999.tar.gz", "-rf.tar.gz")
    for each in (stage.archive, stage.daily):
        yield os.path.relpath(each, stage.store)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def _record(stage: Stage, act: str, archive: str, **more: Any) -> dict[str, Any]:
    """Return a line about a path that says what is so of it, digest and size included, as far as it can."""
    path = stage.store / archive if "\0" not in archive and len(archive) < 255 else stage.store
    known: dict[str, Any] = {"time": _LATE, "act": act, "archive": archive, "version": RELEASED}
    if path.is_file():
        known |= {"sha256": _digest(path), "size": path.stat().st_size}
    return known | {"created": _LATE, "project": "demo", "depth": "full", "result": "sound"} | more


def _of_every_path(act: str) -> Mutation:
    def mutate(stage: Stage) -> None:
        """Claim an act of all of these paths; what has to be published first is said to be."""
        paths = list(_paths(stage))
        before = [
            _record(stage, "publish", each) for each in paths if act in ("remove", "removed", "release")
        ]
        notes = [os.path.relpath(stage.outside / "new", stage.store), "v0.5.0/theirs.tar.gz", _TEXT]
        lines = [_record(stage, act, each, note=notes[at % 3], lines=_TEXT) for at, each in enumerate(paths)]
        stage.add(*before, *lines)

    return mutate


def _with(**fields: Any) -> Mutation:
    """Return what lets every record, and one of each act, say other things."""

    def mutate(stage: Stage) -> None:
        lines = [record | fields for record in stage.book]
        stage.ledger.write_bytes(b"")
        stage.add(*lines, *(_record(stage, act, lines[-1]["archive"]) | fields for act in _ACTS))

    return mutate


def _rewritten(change: Callable[[list[bytes]], list[bytes]]) -> Mutation:
    def mutate(stage: Stage) -> None:
        lines = stage.ledger.read_bytes().splitlines(keepends=True)
        stage.ledger.write_bytes(b"".join(change(lines)))

    return mutate


def _appended(*lines: bytes) -> Mutation:
    return lambda stage: stage.add(*lines)


def _publish_theirs(stage: Stage, *acts: str) -> None:
    """Say that what others put there was published here, and what is to become of it."""
    for archive in ("theirs.tar.gz", "v0.5.0/theirs.tar.gz", "vendor/x.tar"):
        stage.add(*(_record(stage, act, archive, index="0" * 64) for act in acts))


def _undo_theirs(stage: Stage) -> None:
    """Say that the release made what others put into the folder of its version, under names of ours, too."""
    for name in ("theirs.tar.gz", f"demo_v{RELEASED}_20200101T000000Z.tar.gz"):
        theirs = stage.archive.parent / name
        theirs.write_bytes((stage.store / "theirs.tar.gz").read_bytes())
        archive = os.path.relpath(theirs, stage.store)
        stage.add(*(_record(stage, act, archive, index="0" * 64) for act in ("release", "publish", "prove")))


def _replaced_archive(stage: Stage) -> None:
    """Damage the newest archive, and say that this is what was published and proved."""
    data = stage.archive.read_bytes()
    stage.archive.write_bytes(data[: len(data) // 2])
    archive = os.path.relpath(stage.archive, stage.store)
    stage.add(*(_record(stage, act, archive) for act in ("publish", "prove")))


def _note_of_their_lines(stage: Stage) -> None:
    """Say that the release wrote the whole changelog."""
    text = (stage.scene.project / "CHANGELOG.md").read_text()
    stage.add(_record(stage, "note", "x", file="CHANGELOG.md", lines=text.rstrip("\n"), made=True))


def _note_of(lines: str, replaced: str = "") -> Mutation:
    """Return what says that the release put these lines into the changelog."""
    return lambda stage: stage.add(
        _record(stage, "note", "x", file="CHANGELOG.md", lines=lines, replaced=replaced)
    )


def _tags(stage: Stage) -> None:
    for commit in ("", "HEAD", "0" * 40, "../../x", "--upload-pack=x", _TEXT):
        stage.add(_record(stage, "tag", "", commit=commit, tagger=_TEXT))


def _other_changelog(stage: Stage) -> None:
    for file in ("../../outside/secret", str(stage.outside / "secret"), ".git/config", ".env", _TEXT):
        stage.add(_record(stage, "note", "x", file=file, lines="secret", made=True))


def _asides(stage: Stage) -> None:
    """Name as moved aside what lies outside, and what was never in the way."""
    manifest = f"v{RELEASED}/MANIFEST.txt"
    for archive in (manifest, "2026-11-28.tar.gz", "v0.5.0/MANIFEST.txt"):
        for note in (*_paths(stage), f"v{RELEASED}/MANIFEST.theirs.txt", "MANIFEST.theirs.txt"):
            stage.add(_record(stage, "aside", archive, note=note))
    (stage.archive.parent / "MANIFEST.theirs.txt").symlink_to(stage.outside / "secret")


def _clean_kept(keep: Any) -> Mutation:
    return lambda stage: stage.add(_record(stage, "clean", "", keep=keep))


_OURS = f"- Created backup v{RELEASED} (x)"
_NOTED = {
    "nothing": "",
    "one empty line": "\n",
    "empty lines": "\n\n\n",
    "what steers a terminal": _TEXT,
    "a very long line": "x" * 900_000,
    "a line of theirs": "- A thing",
    "a section of theirs": "## [1.0.0] - 2026-10-01\n\n- Another",
    "a heading of theirs": f"## [{RELEASED}] - 2026-11-01",
    "their title": "# Changelog",
}
_TYPES: dict[str, Any] = {
    "numbers": 7,
    "negative numbers": -1,
    "huge numbers": 10**400,
    "fractions": 1e308,
    "texts": "x",
    "empty texts": "",
    "nulls": None,
    "lists": [[], [1]],
    "maps": {"a": {"b": 1}},
    "truths": True,
    "what steers a terminal": _TEXT,
    "100,000 characters": "ü" * 100_000,
}
_FIELDS = (
    *(
        "time",
        "act",
        "archive",
        "sha256",
        "size",
        "index",
        "project",
        "version",
        "commit",
        "created",
        "offset",
    ),
    *(
        "depth",
        "result",
        "findings",
        "seconds",
        "tool",
        "note",
        "keep",
        "tagger",
        "file",
        "made",
        "lines",
        "replaced",
    ),
)


def _every_field(value: Any) -> Mutation:
    """Return what adds lines in which one field each has that value, then one where all have it."""

    def mutate(stage: Stage) -> None:
        for record in (stage.last("publish", "v"), stage.last("prove"), stage.last("publish", "2")):
            stage.add(*(record | {field: value} for field in _FIELDS), record | dict.fromkeys(_FIELDS, value))

    return mutate


def _bytes_everywhere(stage: Stage) -> None:
    """Put broken UTF-8 and raw controls into texts, as no JSON may have them."""
    line = json.dumps(stage.last("publish", "v")).encode()
    stage.add(*(line.replace(b"demo", each) for each in (b"\xff\xfe", STEERING, b"\x00", b"\xed\xa0\x80")))


LEDGERS: dict[str, Mutation] = {
    **{f"{act} of every path": _of_every_path(act) for act in _ACTS},
    **{f"fields that are {name}": _every_field(value) for name, value in _TYPES.items()},
    "all of the future": _with(time=_LATE, created=_LATE, offset="+99:99"),
    "all before time": _with(time="0000-00-00T00:00:00Z", created="", offset=_TEXT),
    "all of one version": _with(version=RELEASED),
    "all of another project": _with(project=_TEXT),
    "all of one archive": _with(archive=f"v{RELEASED}/x.tar.gz"),
    "all of no digest": _with(sha256="", index="", size=0),
    "all of an act to come": _with(act="encrypt"),
    "reversed": _rewritten(lambda lines: lines[::-1]),
    "doubled": _rewritten(lambda lines: lines * 2),
    "a hundred times": _rewritten(lambda lines: lines * 100),
    "the first half": _rewritten(lambda lines: lines[: len(lines) // 2]),
    "the last half": _rewritten(lambda lines: lines[len(lines) // 2 :]),
    "without its publishings": _rewritten(lambda lines: [each for each in lines if b'"publish"' not in each]),
    "without its proofs": _rewritten(lambda lines: [each for each in lines if b'"prove"' not in each]),
    "torn": _rewritten(lambda lines: [*lines[:-1], lines[-1][:-20]]),
    "without line ends": _rewritten(lambda lines: [each.rstrip(b"\n") for each in lines]),
    "with the line ends of DOS": _rewritten(lambda lines: [each.replace(b"\n", b"\r\n") for each in lines]),
    "in UTF-16": _rewritten(lambda lines: [b"".join(lines).decode().encode("utf-16")]),
    "with a mark of byte order": _rewritten(lambda lines: [b"\xef\xbb\xbf", *lines]),
    "a list": _rewritten(lambda lines: [b"[", b",".join(lines), b"]"]),
    "nothing but line ends": _rewritten(lambda lines: [b"\n" * 200_000]),
    "lines of other JSON": _appended(
        b"null", b"[]", b"{}", b"0", b'""', b"true", _HALF, b"NaN", b"-Infinity", b"{", b"}"
    ),
    "numbers that are none": _appended(
        b'{"time":"","act":"publish","archive":"a","size":NaN,"seconds":Infinity}'
    ),
    "deep JSON": _appended(b"[" * _DEEP + b"]" * _DEEP, b'{"time":' * _DEEP + b"1" + b"}" * _DEEP),
    "keys twice": _appended(
        b'{"time":"","act":"publish","act":"remove","archive":"a","archive":"theirs.tar.gz"}'
    ),
    "a long line in its midst": _rewritten(
        lambda lines: [lines[0], b'"' + b"x" * (2 << 20) + b'"\n', *lines[1:]]
    ),
    "bytes that are no text": _bytes_everywhere,
    "theirs said to be ours": lambda stage: _publish_theirs(stage, "publish", "prove"),
    "theirs said to be removed": lambda stage: _publish_theirs(stage, "publish", "remove"),
    "theirs said to be gone": lambda stage: _publish_theirs(stage, "publish", "remove", "removed"),
    "theirs said to be of a release": lambda stage: _publish_theirs(stage, "release", "publish"),
    "theirs said to be of this release": _undo_theirs,
    "damage said to be proved": _replaced_archive,
    "their changelog said to be ours": _note_of_their_lines,
    **{f"a note of {name}": _note_of(lines) for name, lines in _NOTED.items()},
    "a note that took the place of another line": _note_of(_OURS, "forged"),
    "a note that took the place of many": _note_of(_OURS, "\n## [9.9.9]\n- forged\n" + _TEXT),
    "notes in other files": _other_changelog,
    "tags of other commits": _tags,
    "asides of other files": _asides,
    "a clean that kept nothing": _clean_kept(0),
    "a clean that kept less": _clean_kept(-(10**9)),
    "a clean that kept all": _clean_kept(10**9),
}
