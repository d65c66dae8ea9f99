"""The changelog: the line that a backup leaves in it, and nothing else.

``- Created backup v1.1.0 (…)`` stands right below the heading of its version, once.
Every other byte of the file stays as it was. Format of the file: https://keepachangelog.com/en/1.1.0/
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from backup_lib.errors import ProjectError, printable, translated
from backup_lib.filesystem import replace_file

__all__ = ["note_backup", "noted", "only_notes_differ", "with_note"]

_BOM = b"\xef\xbb\xbf"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_TITLE = b"# Changelog"
_SEMANTIC = rb"[0-9]+\.[0-9]+\.[0-9]+(?:-[0-9A-Za-z.-]+)?(?:\+[0-9A-Za-z.-]+)?"
_HEADING = re.compile(rb" {0,3}(#{1,3})[ \t]+\[?v?(" + _SEMANTIC + rb")(?![0-9A-Za-z.+-])")
_DATED = re.compile(rb".*[ (](\d{4}-\d\d-\d\d)")
_NOTE = re.compile(rb" {0,3}[-*+] Created backup v(" + _SEMANTIC + rb") \((.*)\)[ \t]*\r?\n?\Z")
_FENCE = re.compile(rb" {0,3}(`{3,}|~{3,})(.*)", re.DOTALL)
_COMMENT = re.compile(rb" {0,3}<!--")
_ITEM = re.compile(rb" {0,3}(?:[-*+]|\d{1,9}[.)])(?:[ \t]|\r?\n|\Z)")
_REFERENCE = re.compile(rb" {0,3}\[[^\]]+\]:[ \t]*\S")


@dataclass(frozen=True, slots=True)
class _Heading:
    """The heading of a version."""

    line: int
    """From 0."""
    level: int
    version: bytes


@dataclass(frozen=True, slots=True)
class _Note:
    """A line of ours."""

    version: bytes
    detail: bytes
    date: bytes
    """Of the heading that it stands below; empty where it has none."""

    @property
    def line(self) -> bytes:
        return b"- Created backup v%b (%b)" % (self.version, self.detail)

    def section(self, level: int) -> list[bytes]:
        return [b"#" * level + b" [%b] - %b" % (self.version, self.date), b"", self.line]


def noted(text: bytes, version: str) -> bool:
    """Whether the changelog `text` has the line of this version's backup."""
    return any(note.version == _plain(version) for note in _notes(_lines(text)))


def with_note(text: bytes, version: str, detail: str, date: str) -> bytes:
    """Return the changelog `text` with the line of a backup, in the place of an earlier one of that version.

    A version without a heading gets a section of its own: before the first version, else at the end.
    `detail` is one line of what the backup is, `date` (``YYYY-MM-DD``) that of the release.
    """
    plain = _plain(version)
    note = _Note(plain, " ".join(detail.split()).encode("utf-8", "replace"), date.encode())
    lines = _lines(text)
    bom = _BOM if text.startswith(_BOM) else b""
    for number, line in _prose(lines):
        match = _NOTE.match(line)
        if match and match[1] == plain:
            lines[number] = note.line + line[len(line.rstrip(b"\r\n")) :]
            return bom + b"".join(lines)
    headings = _headings(lines)
    own = next((heading for heading in headings if heading.version == plain), None)
    if own is not None:
        at, new = _below_heading(lines, own.line + 1, note)
    elif headings:
        at, new = _before_version(lines, headings[0], note)
    else:
        at, new = _at_end(lines, note)
    return bom + _inserted(lines, at, new)


def only_notes_differ(committed: bytes | None, current: bytes) -> bool:
    """Whether `current` is `committed` with nothing but lines (and sections for them) that this module wrote.

    `committed` is None where the commit has no such file.
    """
    before = committed or b""
    # git may have written the file with CRLF on checkout.
    forms = {current, current if b"\r\n" in before else current.replace(b"\r\n", b"\n")}
    return any(_with_notes_of(before, form) == form for form in forms)


def note_backup(path: Path, version: str, detail: str, date: str) -> bool:
    """Write the line of a backup into the changelog at `path`, in one step; False where it stood there.

    A missing file is made. A link is followed to the file.

    Raises `ProjectError` where it cannot be read or written, or is UTF-16.
    """
    with translated(ProjectError, "noting the backup in the changelog"):
        target = Path(os.path.realpath(path))
        try:
            text, mode = target.read_bytes(), stat.S_IMODE(target.stat().st_mode)
        except FileNotFoundError:
            text, mode = b"", 0o644
        if text.startswith(_UTF16):
            raise ProjectError(f"the changelog {printable(path)} is UTF-16; save it as UTF-8")
        noted_text = with_note(text, version, detail, date)
        if noted_text == text:
            return False
        replace_file(target, noted_text, mode)
        return True


def _with_notes_of(before: bytes, after: bytes) -> bytes:
    """Return `before` with the notes that only `after` has."""
    known = {note.version for note in _notes(_lines(before))}
    # From the last to the first: new sections are put on top.
    for note in reversed(list(_notes(_lines(after)))):
        if note.version not in known:
            before = with_note(
                before, note.version.decode(), note.detail.decode(errors="replace"), note.date.decode()
            )
    return before


def _plain(version: str) -> bytes:
    return version.removeprefix("v").encode()


def _lines(text: bytes) -> list[bytes]:
    """Cut after each line feed; a byte order mark is left out."""
    return re.findall(rb"[^\n]*\n|[^\n]+\Z", text.removeprefix(_BOM))


def _prose(lines: list[bytes]) -> Iterator[tuple[int, bytes]]:
    """Yield the numbered lines that are Markdown: not in a code fence or an HTML comment."""
    fence = b""
    comment = False
    for number, line in enumerate(lines):
        mark = _FENCE.match(line)
        if comment:
            comment = b"-->" not in line
        elif fence:
            if mark and mark[1].startswith(fence) and not mark[2].strip():
                fence = b""
        elif mark and not (mark[1].startswith(b"`") and b"`" in mark[2]):
            fence = mark[1]
        elif _COMMENT.match(line) and b"-->" not in line:
            comment = True
        else:
            yield number, line


def _headings(lines: list[bytes]) -> list[_Heading]:
    matches = ((number, _HEADING.match(line)) for number, line in _prose(lines))
    return [_Heading(number, len(match[1]), match[2]) for number, match in matches if match]


def _notes(lines: list[bytes]) -> Iterator[_Note]:
    date = b""
    for _, line in _prose(lines):
        if _HEADING.match(line):
            dated = _DATED.match(line)
            date = dated[1] if dated else b""
        match = _NOTE.match(line)
        if match:
            yield _Note(match[1], match[2], date)


def _below_heading(lines: list[bytes], first: int, note: _Note) -> tuple[int, list[bytes]]:
    """Return the lines to add and before which line; `first` is the one below the heading."""
    at = first
    while at < len(lines) and not lines[at].strip():
        at += 1
    if at < len(lines) and _ITEM.match(lines[at]):
        return at, [note.line]
    below = min(first + 1, at)
    spaced = below == len(lines) or not lines[below].strip()
    return below, [note.line] if spaced else [note.line, b""]


def _before_version(lines: list[bytes], heading: _Heading, note: _Note) -> tuple[int, list[bytes]]:
    at = heading.line
    return at, [*_space_above(lines, at), *note.section(heading.level), b""]


def _at_end(lines: list[bytes], note: _Note) -> tuple[int, list[bytes]]:
    """Place a section at the end, but above link references, and above a code fence that is never closed."""
    if not any(line.strip() for line in lines):
        return len(lines), [_TITLE, b"", *note.section(2)]
    prose = dict(_prose([*lines, b""]))
    at = len(lines) if len(lines) in prose else max(prose, default=-1) + 1
    while at and at - 1 in prose and (not prose[at - 1].strip() or _REFERENCE.match(prose[at - 1])):
        at -= 1
    while at < len(lines) and not lines[at].strip():
        at += 1
    return at, [*_space_above(lines, at), *note.section(2), *([b""] if at < len(lines) else [])]


def _space_above(lines: list[bytes], at: int) -> list[bytes]:
    return [b""] if at and lines[at - 1].strip() else []


def _inserted(lines: list[bytes], at: int, new: list[bytes]) -> bytes:
    """Join all lines, the new ones before line `at`, with line ends as the file has them."""
    end = b"\r\n" if lines and lines[0].endswith(b"\r\n") else b"\n"
    added = end.join(new)
    if at == len(lines) and lines and not lines[-1].endswith(b"\n"):
        return b"".join((*lines, end, added))
    return b"".join((*lines[:at], added, end, *lines[at:]))
