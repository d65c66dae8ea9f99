"""MANIFEST.txt: facts in ``#`` lines, then what ``sha256sum`` prints; written and read as a stream.

Paths are those in the archive, the top folder included, so that after extracting
``sha256sum --check --strict --quiet MANIFEST.txt`` proves the tree with stock tools.
"""

from __future__ import annotations

import binascii
import re
import shlex
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any, BinaryIO

import msgspec

from backup_lib.errors import DamageError, StoreError
from backup_lib.model import STATES, Entry, Header, Problem, Summary
from backup_lib.store.layout import MANIFEST, extract_command
from backup_lib.store.lines import numbered
from backup_lib.text import as_file_name, as_text, utf8

__all__ = [
    "ArchiveFacts",
    "Facts",
    "Manifest",
    "facts_of",
    "file_line",
    "file_lines",
    "format_manifest",
    "head_lines",
    "listed",
    "read_manifest",
]

_LONGEST_PATH = 100_000  # bytes of the path of a problem: quoted, a byte may take four
_MOST_HEAD = 64 << 20  # bytes of all facts together
_COLUMN = 12  # where the value of a fact begins
_HEAD = b"# Backup of "
_END = b"#"
_FILES = re.compile(r"([0-9]+), ([0-9]+) bytes")
_STATE = re.compile(r"([0-9]+) (.+)")
_NUMBER = re.compile(r"[0-9]+")
_FILE = re.compile(rb"(\\?)([0-9a-f]{64}) ([ *])(.+)", re.DOTALL | re.IGNORECASE)
_ESCAPES = {b"\\": b"\\\\", b"\n": b"\\n", b"\r": b"\\r"}
_UNESCAPES = {escape: raw for raw, escape in _ESCAPES.items()}
_NEEDS_ESCAPE = re.compile(rb"[\\\n\r]")
_ESCAPED = re.compile(rb"\\(.?)", re.DOTALL)
_QUOTED = re.compile(rb"\\(\\|x[0-9a-f]{2})")

ListedFile = tuple[bytes, bytes]
"""A path in the archive and the SHA-256 of its content."""


class ArchiveFacts(msgspec.Struct, frozen=True):
    """What is known of an archive from outside."""

    name: str
    size: int
    """Bytes."""
    sha256: str
    """Hex digest."""
    index: str = ""
    """Hex digest of the index it carries."""


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What the ``#`` lines say."""

    project: str
    version: str | None = None
    created: str
    commit: str | None = None
    branch: str | None = None
    tag: str | None = None
    note: str = ""
    states: dict[str, int] = {}
    """Files by `GitState`."""
    left_out: int = 0
    deleted: int = 0
    stated: str = ""
    archive: str
    """File name."""
    size: int
    """Bytes of the archive."""
    sha256: str
    """Hex digest of the archive."""
    index: str = ""
    """Hex digest of the index in the archive."""
    files: int
    bytes: int
    excluded: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest being read: its facts at once, its files as they are asked for, one time."""

    facts: Facts | None
    """None where it is not one of ours."""
    files: Iterator[ListedFile]

    @property
    def foreign(self) -> bool:
        """Whether something else wrote it: then only its ``sha256sum`` lines count."""
        return self.facts is None


def facts_of(header: Header, summary: Summary, archive: ArchiveFacts) -> Facts:
    """Return what the manifest of an archive says above its files."""
    counts = summary.counts
    return Facts(
        project=header.project,
        version=header.version,
        created=header.created,
        commit=header.commit,
        branch=header.branch,
        tag=header.tag,
        note=header.note,
        states={state: counts.states[state] for state in STATES if counts.states.get(state)},
        left_out=header.left_out,
        deleted=header.deleted,
        stated=header.stated,
        archive=archive.name,
        size=archive.size,
        sha256=archive.sha256,
        index=archive.index,
        files=counts.files,
        bytes=counts.bytes,
        excluded=header.excluded,
        problems=summary.problems,
    )


def listed(project: str, entries: Iterable[Entry]) -> Iterator[ListedFile]:
    """Yield what a manifest lists of the entries of an archive: its files and hard links."""
    top = utf8(project) + b"/"
    return ((top + entry.path, entry.digest) for entry in entries if entry.kind in ("file", "hardlink"))


# --- writing


def format_manifest(facts: Facts, files: Iterable[ListedFile]) -> Iterator[bytes]:
    """Yield the lines of a manifest, each with its newline.

    Raises `StoreError` at the end where there were not as many files as the facts say.
    """
    for line in head_lines(facts):
        yield line + b"\n"
    count = 0
    for path, digest in files:
        yield file_line(digest, path)
        count += 1
    if count != facts.files:
        raise StoreError(f"the manifest would list {count} files, but the archive holds {facts.files}")


def file_line(digest: bytes, path: bytes) -> bytes:
    """Return the line ``sha256sum`` of coreutils 9 prints for a file, with its newline."""
    if _NEEDS_ESCAPE.search(path) is None:
        return binascii.hexlify(digest) + b"  " + path + b"\n"
    escaped = _NEEDS_ESCAPE.sub(lambda match: _ESCAPES[match[0]], path)
    return b"\\" + binascii.hexlify(digest) + b"  " + escaped + b"\n"


def file_lines(project: str, entries: Iterable[Entry]) -> bytes:
    """Return the lines for the files and hard links among some entries, faster than one by one."""
    top = b"  " + utf8(project) + b"/"
    held = [entry for entry in entries if entry.kind in ("file", "hardlink")]
    lines = b"".join([binascii.hexlify(entry.digest) + top + entry.path + b"\n" for entry in held])
    if lines.count(b"\n") == len(held) and b"\\" not in lines and b"\r" not in lines:
        return lines
    return b"".join(file_line(digest, path) for path, digest in listed(project, held))


def head_lines(facts: Facts) -> list[bytes]:
    """Return the ``#`` lines, without newlines; the last is a bare ``#``."""
    title = f"# Backup of {_quoted(facts.project)}" + (f" v{_quoted(facts.version)}" if facts.version else "")
    pairs = chain(_identity_facts(facts), _archive_facts(facts), _problem_facts(facts), _command_facts(facts))
    lines = [f"# {name + ':':<{_COLUMN - 2}}{value}" for name, value in pairs if value is not None]
    return [line.encode() for line in (title, *lines)] + [_END]


def _identity_facts(facts: Facts) -> Iterator[tuple[str, str | None]]:
    yield "Project", _quoted(facts.project)
    yield "Created", _quoted(facts.created)
    yield "Version", _maybe_quoted(facts.version)
    yield "Stated", _quoted(facts.stated) or None
    yield "Commit", _maybe_quoted(facts.commit)
    yield "Branch", _maybe_quoted(facts.branch)
    yield "Tag", _maybe_quoted(facts.tag)
    yield "Note", _quoted(facts.note) or None
    states = [f"{facts.states[state]} {words}" for state, words in STATES.items() if state in facts.states]
    yield "Git", ", ".join(states) or None
    yield "Left out", f"{facts.left_out} committed files" if facts.left_out else None
    yield "Deleted", f"{facts.deleted} committed files" if facts.deleted else None


def _archive_facts(facts: Facts) -> Iterator[tuple[str, str | None]]:
    yield "Archive", _quoted(as_text(facts.archive))
    yield "Size", str(facts.size)
    yield "SHA-256", _quoted(facts.sha256)
    yield "Index", _quoted(facts.index) or None
    yield "Files", f"{facts.files}, {facts.bytes} bytes"
    rules = [_quoted(rule).replace(" ", "\\x20") for rule in facts.excluded]
    yield "Excluded", " ".join(rules) if rules else None


def _problem_facts(facts: Facts) -> Iterator[tuple[str, str]]:
    for problem in facts.problems:
        path = problem.path[:_LONGEST_PATH].decode("utf-8", "surrogateescape")
        name = _quoted(path).replace(": ", "\\x3a ")
        yield "Problem", f"{problem.kind} {name}: {_quoted(problem.reason)}"


def _command_facts(facts: Facts) -> Iterator[tuple[str, str]]:
    archive = as_text(facts.archive)
    yield "Restore", _quoted(f"{extract_command(archive)} {shlex.quote(archive)} -C DIR")
    yield "Check", f"(cd DIR && sha256sum --check --quiet --strict /path/to/{MANIFEST})"


def _quoted(text: str) -> str:
    r"""Return any text as one safe line that `_unquoted` reads back: ``\\`` and ``\xNN`` for UTF-8 bytes."""
    safe = "".join(map(_quoted_character, text))
    if safe.startswith(" "):
        safe = "\\x20" + safe[1:]
    return safe[:-1] + "\\x20" if safe.endswith(" ") else safe


def _quoted_character(character: str) -> str:
    if character == "\\":
        return "\\\\"
    if character.isprintable():
        return character
    return "".join(f"\\x{byte:02x}" for byte in _encoded(character))


def _encoded(text: str) -> bytes:
    try:
        return utf8(text)
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace")


def _maybe_quoted(text: str | None) -> str | None:
    return None if text is None else _quoted(text)


# --- reading


def read_manifest(file: BinaryIO) -> Manifest:
    """Read a manifest as far as its facts; its files follow as they are asked for.

    Raises `DamageError` with the number of the line, also later from `Manifest.files`,
    where a manifest of ours was cut or edited. A foreign one is never damaged: what is no sum, or too long
    a line, is passed over.
    """
    lines = numbered(file)
    first = next(lines, None)
    if first is None or not first[1].startswith(_HEAD):
        return Manifest(None, _foreign_files(chain([first] if first else [], lines)))
    head = _Head()
    left = _MOST_HEAD
    for number, line in lines:
        if line == _END + b"\n":
            break
        left -= len(line)
        if left < 0:
            raise _damage(number, "there are too many facts")
        head.take(number, line)
    else:
        raise _damage(1, "the facts are cut off")
    facts = head.facts()
    return Manifest(facts, _own_files(facts.files, lines))


def _damage(number: int, reason: str) -> DamageError:
    return DamageError(f"{MANIFEST} line {number}: {reason}; the file was cut or edited")


def _own_files(count: int, lines: Iterator[tuple[int, bytes]]) -> Iterator[ListedFile]:
    number, found = 0, 0
    for number, line in lines:
        file = _parse_file(line.removesuffix(b"\n")) if line.endswith(b"\n") else None
        if file is None:
            raise _damage(number, "neither a checksum nor whole")
        found += 1
        yield file
    if found != count:
        raise _damage(number, f"{found} files are listed, but {count} were")


def _foreign_files(lines: Iterable[tuple[int, bytes]]) -> Iterator[ListedFile]:
    files = (_parse_file(line.rstrip(b"\r\n")) for _, line in lines)
    return (file for file in files if file is not None)


def _parse_file(line: bytes) -> ListedFile | None:
    match = _FILE.fullmatch(line)
    if match is None:
        return None
    escaped, digest, _, path = match.groups()
    try:
        raw = _ESCAPED.sub(lambda found: _UNESCAPES[found[0]], path) if escaped else path
    except KeyError:
        return None
    return raw, binascii.unhexlify(digest)


class _Head:
    """Gathers the facts of a head, line by line."""

    def __init__(self) -> None:
        self._facts: dict[str, Any] = {}
        self._problems: list[Problem] = []
        self._last = 1

    def take(self, number: int, line: bytes) -> None:
        self._last = number
        try:
            text = line.decode()
        except UnicodeDecodeError:
            text = ""
        name, colon, padding = text[2:_COLUMN].partition(":")
        if not (text.startswith("# ") and colon and padding.isspace() and text.endswith("\n")):
            raise _damage(number, "no fact")
        self._take_fact(number, name, text[_COLUMN:-1])

    def _take_fact(self, number: int, name: str, value: str) -> None:
        if name in _DERIVED:
            return
        reader = _READERS.get(name)
        if reader is None or (name != "Problem" and _FIELDS[name] & self._facts.keys()):
            raise _damage(number, f"unknown or repeated fact {name!r}")
        try:
            facts = reader(value)
        except (ValueError, KeyError, msgspec.ValidationError) as error:
            raise _damage(number, f"not what {name!r} should say") from error
        if name == "Problem":
            self._problems.append(facts["problem"])
        else:
            self._facts.update(facts)

    def facts(self) -> Facts:
        missing = [field for field in _REQUIRED if field not in self._facts]
        if missing:
            raise _damage(self._last, f"nothing says the {missing[0]}")
        return Facts(**self._facts, problems=tuple(self._problems))


def _unquoted(text: str) -> str:
    return _QUOTED.sub(_unquoted_byte, text.encode()).decode("utf-8", "surrogateescape")


def _unquoted_byte(match: re.Match[bytes]) -> bytes:
    return b"\\" if match[1] == b"\\" else bytes([int(match[1][1:], 16)])


def _text(field: str) -> Callable[[str], dict[str, Any]]:
    return lambda value: {field: _unquoted(value)}


def _number(field: str, ending: str = "") -> Callable[[str], dict[str, Any]]:
    def read(value: str) -> dict[str, Any]:
        if _NUMBER.fullmatch(digits := value.removesuffix(ending)) is None:
            raise ValueError(value)
        return {field: int(digits)}

    return read


def _read_states(value: str) -> dict[str, Any]:
    words = {word: state for state, word in STATES.items()}
    parts = [_matched(_STATE, part) for part in value.split(", ")]
    return {"states": {words[part[2]]: int(part[1]) for part in parts}}


def _read_files(value: str) -> dict[str, Any]:
    match = _matched(_FILES, value)
    return {"files": int(match[1]), "bytes": int(match[2])}


def _read_rules(value: str) -> dict[str, Any]:
    return {"excluded": tuple(map(_unquoted, value.split(" ")))}


def _read_problem(value: str) -> dict[str, Any]:
    kind, _, rest = value.partition(" ")
    name, _, reason = rest.partition(": ")
    path = _encoded(_unquoted(name))
    return {"problem": msgspec.convert((path, kind, _unquoted(reason)), Problem)}


def _matched(pattern: re.Pattern[str], value: str) -> re.Match[str]:
    match = pattern.fullmatch(value)
    if match is None:
        raise ValueError(value)
    return match


_DERIVED = ("Restore", "Check")
_REQUIRED = ("project", "created", "archive", "size", "sha256", "files")
_READERS: dict[str, Callable[[str], dict[str, Any]]] = {
    "Project": _text("project"),
    "Created": _text("created"),
    "Version": _text("version"),
    "Stated": _text("stated"),
    "Commit": _text("commit"),
    "Branch": _text("branch"),
    "Tag": _text("tag"),
    "Note": _text("note"),
    "Git": _read_states,
    "Left out": _number("left_out", " committed files"),
    "Deleted": _number("deleted", " committed files"),
    "Archive": lambda value: {"archive": as_file_name(_unquoted(value))},
    "Size": _number("size"),
    "SHA-256": _text("sha256"),
    "Index": _text("index"),
    "Files": _read_files,
    "Excluded": _read_rules,
    "Problem": _read_problem,
}
_FIELDS = {name: {name.lower()} for name in _READERS} | {
    "Git": {"states"},
    "Left out": {"left_out"},
    "SHA-256": {"sha256"},
}
