"""As much of Markdown as a changelog needs: lines, which of them are prose, and headings of versions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = [
    "BOM",
    "HEADING",
    "ITEM",
    "SEMANTIC",
    "Heading",
    "bare",
    "end_of_prose",
    "ends_section",
    "headings",
    "lines_of",
    "prose",
]

BOM = b"\xef\xbb\xbf"
SEMANTIC = rb"[0-9]+\.[0-9]+\.[0-9]+(?:-[0-9A-Za-z.-]+)?(?:\+[0-9A-Za-z.-]+)?"
HEADING = re.compile(rb" {0,3}(#{1,3})[ \t]+\[?v?(" + SEMANTIC + rb")(?![0-9A-Za-z.+-])")
"""The heading of a version."""
_ANY_HEADING = re.compile(rb" {0,3}(#{1,6})(?:[ \t]|\r?\n|\Z)")
ITEM = re.compile(rb" {0,3}(?:[-*+]|\d{1,9}[.)])(?:[ \t]|\r?\n|\Z)")
_FENCE = re.compile(rb" {0,3}(`{3,}|~{3,})(.*)", re.DOTALL)
_COMMENT = re.compile(rb" {0,3}<!--")
_REFERENCE = re.compile(rb" {0,3}\[[^\]]+\]:[ \t]*\S")


@dataclass(frozen=True, slots=True)
class Heading:
    """The heading of a version."""

    line: int
    """From 0."""
    level: int
    version: bytes


def lines_of(text: bytes) -> list[bytes]:
    """Cut after each line feed; a byte order mark is left out."""
    return re.findall(rb"[^\n]*\n|[^\n]+\Z", text.removeprefix(BOM))


def bare(line: bytes) -> bytes:
    """Return a line without its end."""
    return line.rstrip(b"\r\n")


def prose(lines: list[bytes]) -> Iterator[tuple[int, bytes]]:
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


def headings(lines: list[bytes]) -> list[Heading]:
    """Return the headings of versions."""
    matches = ((number, HEADING.match(line)) for number, line in prose(lines))
    return [Heading(number, len(match[1]), match[2]) for number, match in matches if match]


def end_of_prose(lines: list[bytes]) -> int:
    """Return which line comes after the last one that says something.

    Link references at the end say nothing, nor does a code fence or a comment that is never closed.
    """
    told = dict(prose([*lines, b""]))
    at = len(lines) if len(lines) in told else max(told, default=-1) + 1
    while at and at - 1 in told and (not told[at - 1].strip() or _REFERENCE.match(told[at - 1])):
        at -= 1
    return at


def ends_section(lines: list[bytes], at: int, level: int) -> bool:
    """Tell whether a section below a heading of some level ends at a line, but for blank ones."""
    while at < len(lines) and not lines[at].strip():
        at += 1
    if at >= end_of_prose(lines):
        return True
    heading = _ANY_HEADING.match(lines[at])
    return heading is not None and len(heading[1]) <= level
