"""The changelog: the line that a backup leaves in it, and nothing else.

``- Created backup v1.1.0 (…)`` stands right below the heading of its version, once.
Every other byte of the file stays as it was, and what was put in can be taken out again.
Format of the file: https://keepachangelog.com/en/1.1.0/
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from backup_lib.errors import ProjectError, printable
from backup_lib.project.markdown import (
    BOM,
    HEADING,
    ITEM,
    SEMANTIC,
    Heading,
    bare,
    end_of_prose,
    ends_section,
    headings,
    lines_of,
    prose,
)

__all__ = [
    "Insertion",
    "begins",
    "is_title",
    "noted",
    "noting",
    "only_notes_differ",
    "with_note",
    "without_note",
]

_TITLE = b"# Changelog"
_SECTION = re.compile(rb"#{1,3} \[" + SEMANTIC + rb"\] - \d{4}-\d\d-\d\d\Z")
_DATED = re.compile(rb".*[ (](\d{4}-\d\d-\d\d)")
_NOTE = re.compile(rb" {0,3}[-*+] Created backup v(" + SEMANTIC + rb") \((.{,1000})\)[ \t]*\r?\n?\Z")
"""None of ours has 1,000 bytes: what gives way to a note has to fit into a line of the ledger."""
_MOST_NOTED = 32 << 20
"""Notes times bytes of a changelog: the text is gone through for each of them, some seconds at most."""


@dataclass(frozen=True, slots=True)
class Insertion:
    """What a note put into a changelog: enough to take it out again."""

    lines: str
    """With a line feed between two."""
    replaced: str = ""
    """The line that gave way to it: that of an earlier backup of the version."""


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


def is_title(text: bytes) -> bool:
    """Whether a changelog has nothing but the title that is put into an empty one."""
    return text.strip() == _TITLE


def begins(inserted: Insertion) -> bool:
    """Whether it was put into an empty changelog, the title with it."""
    return inserted.lines.encode("utf-8", "surrogateescape").startswith(_TITLE)


def noted(text: bytes, version: str) -> bool:
    """Whether the changelog `text` has the line of this version's backup."""
    return any(note.version == _plain(version) for note in _notes(lines_of(text)))


def with_note(text: bytes, version: str, detail: str, date: str) -> bytes:
    """Return the changelog `text` with the line of a backup; see `noting`."""
    return noting(text, version, detail, date)[0]


def noting(text: bytes, version: str, detail: str, date: str) -> tuple[bytes, Insertion]:
    """Return the changelog `text` with the line of a backup, and what that put in.

    The line takes the place of an earlier one of that version.
    A version without a heading gets a section of its own: before the first version, else at the end.
    `detail` is one line of what the backup is, `date` (``YYYY-MM-DD``) that of the release.
    """
    plain = _plain(version)
    note = _Note(plain, " ".join(detail.split()).encode("utf-8", "replace"), date.encode())
    lines = lines_of(text)
    for number, line in prose(lines):
        match = _NOTE.match(line)
        if match and match[1] == plain:
            instead = Insertion(_decoded(note.line), _decoded(bare(line)))
            return _bom(text) + _with_line(lines, number, note.line), instead
    at, new = _place_for(lines, note)
    return _bom(text) + _inserted(lines, at, new), Insertion(_decoded(b"\n".join(new)))


def without_note(text: bytes, inserted: Insertion) -> bytes:
    """Return the changelog `text` without what was put in; as it is where that is not there.

    Raises `ProjectError` where a section that was put in has been changed, or more stands in it, and where no
    release puts such lines into a changelog.
    """
    lines = lines_of(text)
    put_in = [line.encode("utf-8", "surrogateescape") for line in inserted.lines.split("\n")]
    line = _line_put_in(put_in, inserted.replaced.encode("utf-8", "surrogateescape"))
    if not any(bare(each) == line for _, each in prose(lines)):
        return text
    if inserted.replaced:
        at, _ = _find(lines, [line])
        return _bom(text) + _with_line(lines, at, inserted.replaced.encode("utf-8", "surrogateescape"))
    return _bom(text) + _cut(lines, *_around(lines, put_in))


def _line_put_in(put_in: list[bytes], replaced: bytes) -> bytes:
    """Return the line of the backup among those that were put in; raises `ProjectError` where others are.

    They come from the ledger, which others may have written: a line of theirs is not taken out on its word.
    """
    notes = [line for line in put_in if _NOTE.match(line)]
    rest = [line for line in put_in if line and line not in notes]
    is_ours = len(notes) == 1 and all(line == _TITLE or _SECTION.match(line) for line in rest)
    if not is_ours or (replaced and not _NOTE.match(replaced)):
        raise ProjectError(
            "the ledger names as noted in the changelog what no release puts there, so nothing is taken out; "
            f"first take out yourself what is of the release: {printable(b' '.join(put_in)[:200])}"
        )
    return notes[0]


def only_notes_differ(committed: bytes | None, current: bytes) -> bool:
    """Whether `current` is `committed` with nothing but lines (and sections for them) that this module wrote.

    Blank lines at the end do not count: one may stay where a section was taken out.
    `committed` is None where the commit has no such file. So many notes that they would take long to tell
    apart are no longer nothing: such a changelog is to be committed.
    """
    before = committed or b""
    # git may have written the file with CRLF on checkout.
    forms = {current, current if b"\r\n" in before else current.replace(b"\r\n", b"\n")}
    return any(_with_notes_of(before, form).rstrip() == form.rstrip() for form in forms)


def _with_notes_of(before: bytes, after: bytes) -> bytes:
    """Return `before` with the notes that only `after` has."""
    known = {note.line for note in _notes(lines_of(before))}
    new = [note for note in _notes(lines_of(after)) if note.line not in known]
    if len(new) * len(after) > _MOST_NOTED:
        return before
    for note in reversed(new):  # from the last to the first: new sections are put on top
        before = with_note(
            before, note.version.decode(), note.detail.decode(errors="replace"), note.date.decode()
        )
    return before


def _plain(version: str) -> bytes:
    return version.removeprefix("v").encode()


def _bom(text: bytes) -> bytes:
    return BOM if text.startswith(BOM) else b""


def _decoded(line: bytes) -> str:
    return line.decode("utf-8", "surrogateescape")


def _with_line(lines: list[bytes], number: int, line: bytes) -> bytes:
    """Join the lines, one of them replaced."""
    end = lines[number][len(bare(lines[number])) :]
    return b"".join((*lines[:number], line, end, *lines[number + 1 :]))


def _notes(lines: list[bytes]) -> Iterator[_Note]:
    date = b""
    for _, line in prose(lines):
        if HEADING.match(line):
            dated = _DATED.match(line)
            date = dated[1] if dated else b""
        match = _NOTE.match(line)
        if match:
            yield _Note(match[1], match[2], date)


def _place_for(lines: list[bytes], note: _Note) -> tuple[int, list[bytes]]:
    """Return before which line a note goes, and the lines to put there."""
    versions = headings(lines)
    own = next((heading for heading in versions if heading.version == note.version), None)
    if own is not None:
        return _below_heading(lines, own.line + 1, note)
    return _before_version(lines, versions[0], note) if versions else _at_end(lines, note)


def _below_heading(lines: list[bytes], first: int, note: _Note) -> tuple[int, list[bytes]]:
    """`first` is the line below the heading."""
    at = first
    while at < len(lines) and not lines[at].strip():
        at += 1
    if at < len(lines) and ITEM.match(lines[at]):
        return at, [note.line]
    below = min(first + 1, at)
    spaced = below == len(lines) or not lines[below].strip()
    return below, [note.line] if spaced else [note.line, b""]


def _before_version(lines: list[bytes], heading: Heading, note: _Note) -> tuple[int, list[bytes]]:
    at = heading.line
    return at, [*_space_above(lines, at), *note.section(heading.level), b""]


def _at_end(lines: list[bytes], note: _Note) -> tuple[int, list[bytes]]:
    """Place a section at the end, but above link references, and above a code fence that is never closed."""
    if not any(line.strip() for line in lines):
        return len(lines), [_TITLE, b"", *note.section(2)]
    at = end_of_prose(lines)
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


def _find(lines: list[bytes], wanted: list[bytes]) -> tuple[int, int]:
    """Return where the wanted lines begin and end, the last of them being prose.

    Raises `ProjectError` where not all of them are there.
    """
    for number, line in prose(lines):
        first = number + 1 - len(wanted)
        if bare(line) == wanted[-1] and first >= 0 and [*map(bare, lines[first : number + 1])] == wanted:
            return first, number + 1
    raise _edited(wanted[-1])


def _edited(line: bytes) -> ProjectError:
    return ProjectError(
        "the section that the release put into the changelog was changed; "
        f"first take this line out of it yourself: {printable(line)}"
    )


def _around(lines: list[bytes], put_in: list[bytes]) -> tuple[int, int]:
    """Return where what was put in begins and ends; raises like `_find`."""
    above, below = put_in[0] == b"", put_in[-1] == b""
    core = put_in[above : len(put_in) - below]
    if core[0] == _TITLE and sum(bool(line.strip()) for line in lines) > len(core) - core.count(b""):
        core = core[2:]  # what else came into the file needs its title
    first, end = _find(lines, core)
    heading = HEADING.match(core[0])
    if heading and not ends_section(lines, end, len(heading[1])):
        raise _edited(core[-1])
    goes_below = below and end < len(lines) and not bare(lines[end])
    # The section below may have gone before this one, and have taken the line between them along.
    goes_above = above or (below and heading and not goes_below)
    if goes_above and first and not bare(lines[first - 1]):
        first -= 1
    return first, end + goes_below


def _cut(lines: list[bytes], first: int, end: int) -> bytes:
    """Join the lines but for some; where a line end was put in before those, it goes with them."""
    left = [*lines[:first], *lines[end:]]
    if first and end == len(lines) and not lines[-1].endswith(b"\n"):
        line_end = b"\r\n" if first > 1 and lines[0].endswith(b"\r\n") else b"\n"
        left[-1] = left[-1].removesuffix(line_end)
    return b"".join(left)
