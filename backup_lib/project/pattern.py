r"""One gitignore pattern as a regular expression that matches exactly what git matches.

Rules of git's ``dir.c`` and ``wildmatch.c``: a pattern decides a path itself, never what lies below it
(what lies below a dropped folder is never asked about).
Names are bytes, so ``?`` is one byte; here they travel as Latin-1 text, one letter a byte.

A path is asked about with an ending that no name can hold: ``a/b\0`` for a file, ``a/b\0/`` for a folder.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

__all__ = ["FILE", "FOLDER", "Pattern", "parse_pattern", "pattern_lines"]

FILE = "\0"
FOLDER = "\0/"

_SPECIAL = re.compile(r"[*?\[\\]")
_NEVER = r"[^\x00-\xff]"
_CLASSES = {
    "alnum": r"[A-Za-z0-9]",
    "alpha": r"[A-Za-z]",
    "blank": r"[ \t]",
    "cntrl": r"[\x00-\x1f\x7f]",
    "digit": r"[0-9]",
    "graph": r"[!-~]",
    "lower": r"[a-z]",
    "print": r"[ -~]",
    "punct": r"[!-/:-@\[-`{-~]",
    "space": r"[ \t-\r]",
    "upper": r"[A-Z]",
    "xdigit": r"[A-Fa-f0-9]",
}


@dataclass(frozen=True, slots=True)
class Pattern:
    """One parsed line."""

    text: str
    """As written, one letter a byte."""
    body: str
    """Without ``!``, a leading and a trailing ``/``."""
    negated: bool
    folders_only: bool
    anchored: bool
    """Bound to the folder that the pattern is for; else it names things at any depth."""

    @property
    def parts(self) -> tuple[str, ...]:
        """The body cut at each ``/``."""
        return tuple(self.body.split("/"))

    @property
    def is_name(self) -> bool:
        """Whether it can match single names only, never a path of several."""
        return not self.anchored or ("/" not in self.body and "**" not in self.body)

    @property
    def expression(self) -> str:
        """The regular expression; it starts where the path starts, or the name where not anchored."""
        return f"^{_translated(self.body, self.anchored)}{FOLDER if self.folders_only else FILE}"

    @property
    def literal(self) -> str | None:
        """The one path or name it matches; None for a glob."""
        return self.body if _SPECIAL.search(self.body) is None else None

    @property
    def suffix(self) -> str | None:
        """What names end with that it matches; None where it is more than a ``*`` before a literal."""
        rest = self.body.removeprefix("*")
        plain = not self.anchored and len(rest) == len(self.body) - 1 and _SPECIAL.search(rest) is None
        return rest if plain else None

    @property
    def matches_nothing(self) -> bool:
        """Whether it can match no path at all, such as ``/`` or ``a[``."""
        return not self.body or "\0" in self.body or _NEVER in self.expression


def parse_pattern(line: str) -> Pattern | None:
    """Return the pattern of a line; None for a blank one and for a comment."""
    text = _without_trailing_spaces(line)
    if not text or text.startswith("#"):
        return None
    negated = text.startswith("!")
    rest = text[1:] if negated else text
    body = rest.removesuffix("/")
    return Pattern(text, body.removeprefix("/"), negated, body != rest, "/" in body)


def pattern_lines(content: bytes) -> Iterator[tuple[int, str]]:
    """Yield the lines of an ignore file, numbered from 1, one letter a byte."""
    lines = content.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    for number, line in enumerate(lines, 1):
        yield number, line.removesuffix(b"\r").decode("latin-1")


def _without_trailing_spaces(line: str) -> str:
    kept = 0
    at = 0
    while at < len(line):
        escaped = line[at] == "\\"
        if escaped or line[at] != " ":
            kept = min(at + 1 + escaped, len(line))
        at += 1 + escaped
    return line[:kept]


def _translated(body: str, anchored: bool) -> str:
    """Translate as git matches: letters up to the first special one are compared, the rest goes to wildmatch.

    So ``**`` right after those letters counts as if it stood at the start, as in ``foo**/bar``.
    """
    special = _SPECIAL.search(body)
    if special is None:
        return re.escape(body)
    start = special.start()
    glob = _Glob(body, start, anchored)
    return re.escape(body[:start]) + "".join(glob.pieces())


class _Glob:
    """Reads a glob from left to right."""

    def __init__(self, text: str, start: int, slashes_matter: bool) -> None:
        self.text = text
        self.start = start
        self.at = start
        self.slashes_matter = slashes_matter

    def pieces(self) -> Iterator[str]:
        while self.at < len(self.text):
            letter = self.text[self.at]
            if letter == "*":
                yield self.stars()
            elif letter == "[":
                yield self.bracket()
            else:
                self.at += 1
                yield self.plain(letter)

    def plain(self, letter: str) -> str:
        if letter == "?":
            return r"[^/\x00]"
        if letter != "\\":
            return re.escape(letter)
        if self.at == len(self.text):
            return _NEVER
        self.at += 1
        return re.escape(self.text[self.at - 1])

    def stars(self) -> str:
        first = self.at
        while self.text.startswith("*", self.at):
            self.at += 1
        alone = first == self.start or self.text[first - 1] == "/"
        if self.at - first == 1 or not self.slashes_matter or not alone:
            return r"[^/\x00]*"
        if self.at == len(self.text):
            return r"[^\x00]*"
        if self.text[self.at] == "/":
            self.at += 1
            return r"(?:[^\x00]*/)?"
        return r"[^\x00]*" if self.text.startswith("\\/", self.at) else r"[^/\x00]*"

    def bracket(self) -> str:
        """Translate ``[…]`` by listing the bytes it takes."""
        self.at += 1
        negated = self.text[self.at : self.at + 1] in ("!", "^")
        self.at += negated
        first = self.at
        members: set[int] = set()
        previous = ""
        while self.at == first or self.text[self.at : self.at + 1] != "]":
            step = self.member(members, previous)
            if step is None:
                self.at = len(self.text)
                return _NEVER
            previous = step
            self.at += 1
        self.at += 1
        taken = set(range(1, 256)) - members if negated else members
        return _byte_class(taken - {0, ord("/")})

    def member(self, members: set[int], previous: str) -> str | None:
        """Add what stands here to `members`; return what may begin a range; None for a broken bracket."""
        letter = self.text[self.at : self.at + 1]
        following = self.text[self.at + 1 : self.at + 2]
        if letter == "-" and previous and following not in ("", "]"):
            self.at += 1
            last = self.literal()
            members.update(range(ord(previous), ord(last) + 1) if last else ())
            return "" if last else None
        if letter == "[" and following == ":":
            named = self.named_class(members)
            if named is not False:
                return named
        literal = self.literal()
        members.update(map(ord, literal))
        return literal or None

    def literal(self) -> str:
        if self.text[self.at : self.at + 1] == "\\":
            self.at += 1
        return self.text[self.at : self.at + 1]

    def named_class(self, members: set[int]) -> str | Literal[False] | None:
        """Take ``[:name:]``; False where it is not one, None where the name is unknown."""
        end = self.text.find("]", self.at + 2)
        if end < 0:
            return None
        if end < self.at + 3 or self.text[end - 1] != ":":
            return False
        known = _CLASSES.get(self.text[self.at + 2 : end - 1])
        if known is None:
            return None
        members.update(byte for byte in range(1, 256) if re.match(known, chr(byte)))
        self.at = end
        return ""


def _byte_class(taken: set[int]) -> str:
    if not taken:
        return _NEVER
    return "[" + "".join(f"\\x{byte:02x}" for byte in sorted(taken)) + "]"
