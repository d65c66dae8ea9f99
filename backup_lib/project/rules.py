"""Which paths are left out, and the one rule that decided it.

Five layers, the weakest first; the strongest one with a word about a path decides:

1. built-in patterns,
2. ``.gitignore`` files, where the settings ask for them,
3. ``exclude`` of the settings,
4. ``.backupignore`` files,
5. ``include`` of the settings, which brings back what any of the others dropped.

Within one file or setting the last matching pattern decides, and the file in the deeper folder wins.
A ``!`` in ``.gitignore`` says that git does not ignore a path; it does not bring back what a built-in
pattern drops, or the usual ``*``, ``!*/`` would back up ``node_modules``.

What git tracks is dropped by nobody but a person: not by the first two layers. Of a folder that they drop,
what git tracks in it stays.
Nothing brings back ``.git``, the store, ``/restored/``, and what an interrupted run left behind.
"""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from backup_lib.errors import SettingsError, printable
from backup_lib.project.pattern import FILE, FOLDER, Pattern, parse_pattern, pattern_lines
from backup_lib.project.tracked import Tracked
from backup_lib.settings import Settings

if TYPE_CHECKING:
    from pathspec import PathSpec
    from pathspec.pattern import RegexPattern

__all__ = ["BUILT_IN", "THE_STORE", "Rule", "Rules", "Scope", "built_in", "rules_for"]

BUILT_IN = (
    "node_modules/",
    "dist/",
    "build/",
    "coverage/",
    ".venv/",
    "venv/",
    "__pycache__/",
    ".pytest_cache/",
    ".mypy_cache/",
    ".ruff_cache/",
    ".tox/",
    ".nox/",
    ".hypothesis/",
    ".coverage",
    ".nyc_output/",
    ".cache/",
    ".next/",
    ".nuxt/",
    ".parcel-cache/",
    ".turbo/",
    "bower_components/",
    "*.egg-info/",
    ".eggs/",
    ".DS_Store",
    ".svelte-kit/",
    ".docusaurus/",
    ".expo/",
    ".pnpm-store/",
    ".sass-cache/",
    ".gradle/",
    ".dart_tool/",
    ".stack-work/",
    ".zig-cache/",
    ".terraform/",
    ".terragrunt-cache/",
    ".direnv/",
    "htmlcov/",
)
"""gitignore patterns of what its tool makes again by one command, by names that mean nothing else.

Folders that are known by more than their name are in `backup_lib.project.markers`.
"""

_TOGETHER = 100  # patterns that RE2's memory is enough for, unless they are huge
_MOST_LINKS = 40  # the kernel follows no more
_PARTIAL = re.compile(rb"\..+\.[0-9a-f]{8}\.partial", re.DOTALL)
_BUILT_IN_RANK, _GITIGNORE_RANK, _EXCLUDE_RANK, _BACKUPIGNORE_RANK, _INCLUDE_RANK, _STORE_RANK = range(6)


@dataclass(frozen=True, slots=True)
class Rule:
    """What decided about a path; as text: the pattern and where it stands."""

    pattern: str
    origin: str
    """``built-in``, ``setting exclude``, ``sub/.backupignore:3``."""
    rank: int
    """Of its layer: 0 is the weakest."""

    @property
    def spares_tracked(self) -> bool:
        """Whether it drops nothing that git tracks."""
        return self.rank <= _GITIGNORE_RANK and self not in _ALWAYS

    @property
    def is_a_persons(self) -> bool:
        """Whether a person wrote it for us."""
        return self.rank in (_EXCLUDE_RANK, _BACKUPIGNORE_RANK)

    def __str__(self) -> str:
        return f"{self.pattern} ({self.origin})" if self.origin else self.pattern


def built_in(pattern: str) -> Rule:
    """Return the rule of a built-in pattern."""
    return Rule(pattern, "built-in", _BUILT_IN_RANK)


THE_STORE = Rule("the store", "", _STORE_RANK)
_GIT = built_in(".git")
_RESTORED = built_in("/restored/")
_ALWAYS = (_GIT, _RESTORED)
"""They drop what they name whatever git tracks, and whatever ``include`` says."""


_Numbered = list[tuple[int, Pattern]]


class _Matcher:
    """Patterns asked together; knows the number of the last one that matches, -1 for none."""

    def __init__(self, patterns: _Numbered) -> None:
        self.suffixes = [
            (number, pattern.suffix) for number, pattern in patterns if pattern.suffix is not None
        ]
        globs = [
            (number, pattern) for number, pattern in patterns if pattern.literal is pattern.suffix is None
        ]
        self.literals = {
            pattern.literal: number for number, pattern in patterns if pattern.literal is not None
        }
        self.specs = [
            spec
            for start in range(0, len(globs), _TOGETHER)
            for spec in _specs(globs[start : start + _TOGETHER])
        ]
        self.idle = not patterns

    def number(self, text: str, ending: str) -> int:
        last = self.literals.get(text, -1)
        for number, suffix in self.suffixes:
            if number > last and text.endswith(suffix):
                last = number
        for numbers, spec in reversed(self.specs):
            index = spec.check_file(text + ending).index
            if index is not None:
                return max(last, numbers[index])
        return last


class _Names:
    """Patterns for names; the same names are asked about again and again."""

    def __init__(self, patterns: _Numbered) -> None:
        self.matcher = _Matcher(patterns)
        self.has_globs = bool(self.matcher.specs or self.matcher.suffixes)
        self.answers = {} if self.has_globs else self.matcher.literals

    def number(self, name: str, ending: str) -> int:
        answer = self.answers.get(name)
        if answer is None:
            if not self.has_globs:
                return -1
            answer = self.answers[name] = self.matcher.number(name, ending)
        return answer


def _specs(globs: _Numbered) -> list[tuple[list[int], PathSpec[RegexPattern]]]:
    """Compile patterns into as few sets as RE2 has the memory for.

    Raises `SettingsError` for a pattern that is too large on its own.
    """
    from pathspec import PathSpec
    from pathspec.pattern import RegexPattern
    from re2 import error

    expressions = [RegexPattern(re.compile(pattern.expression), True) for _, pattern in globs]
    try:
        return [([number for number, _ in globs], PathSpec(expressions, backend="re2"))]
    except error as cause:
        if len(globs) == 1:
            shown = printable(globs[0][1].text[:40].encode("latin-1"))
            raise SettingsError(f"the pattern {shown}… is too large; make it shorter") from cause
    half = len(globs) // 2
    return _specs(globs[:half]) + _specs(globs[half:])


class _Table:
    """The patterns of a layer that can match files, or those that can match folders."""

    def __init__(self, patterns: _Numbered) -> None:
        shallow = [(number, pattern) for number, pattern in patterns if pattern.is_name]
        self.top = _Names(shallow)
        self.below = _Names([(number, pattern) for number, pattern in shallow if not pattern.anchored])
        self.paths = _Matcher([(number, pattern) for number, pattern in patterns if not pattern.is_name])


class _Layer:
    """The patterns of one file or setting, for the paths below one folder."""

    def __init__(self, base: bytes, rules: list[tuple[Rule, Pattern]]) -> None:
        self.base = base
        self.rules = [(rule, not pattern.negated) for rule, pattern in rules]
        patterns = [(number, pattern) for number, (_, pattern) in enumerate(rules)]
        self.files = _Table([(number, pattern) for number, pattern in patterns if not pattern.folders_only])
        self.folders = _Table(patterns)

    def deciding(self, parent: bytes, name: str, folder: bool) -> tuple[Rule, bool] | None:
        """Return the deciding rule for `name` in the folder `parent`, and whether it matches."""
        table, ending = (self.folders, FOLDER) if folder else (self.files, FILE)
        number = (table.top if parent == self.base else table.below).number(name, ending)
        if not table.paths.idle:
            path = parent[len(self.base) :].decode("latin-1") + name
            number = max(number, table.paths.number(path, ending))
        return self.rules[number] if number >= 0 else None


@dataclass(frozen=True, slots=True)
class Scope:
    """The rules that hold in one folder."""

    rules: Rules
    layers: tuple[_Layer, ...]
    """Strongest first."""
    outer: Rule | None = None
    """What drops this folder, of which only what git tracks stays, or what ``include`` names."""
    is_told: bool = False
    """Whether the folder itself is told as dropped, and nothing in it any more."""

    def dropping(self, parent: bytes, name: bytes, folder: bool, marker: Rule | None = None) -> Rule | None:
        """Return the rule that leaves `name` out of the folder `parent`; None where it stays.

        `parent` is empty for the root, else it ends with ``/``. A `marker` is the built-in rule for what
        stands in a folder, or beside it.
        """
        always = self.rules.always_dropping(parent, name, folder)
        if always is not None:
            return always
        rule = self._decided(parent, name.decode("latin-1"), folder, marker)
        if rule is None or (self.outer is not None and self.outer.rank > rule.rank):
            rule = self.outer
        if rule is None or self.rules.includes(parent, name, folder):
            return None
        if rule.spares_tracked and self.rules.tracked().holds(parent + name, folder):
            return None
        return rule

    def _decided(self, parent: bytes, name: str, folder: bool, marker: Rule | None) -> Rule | None:
        pardoned = False
        for layer in self.layers:
            found = layer.deciding(parent, name, folder)
            if found is None or (pardoned and found[0].rank == _GITIGNORE_RANK):
                continue
            rule, drops = found
            if drops:
                return rule
            if rule.rank != _GITIGNORE_RANK:
                return None
            pardoned = True
        return marker

    def inside(self, parent: bytes, name: bytes, rule: Rule | None) -> Scope | None:
        """Return the scope for the folder `name`, which `rule` drops; None where nothing in it can stay."""
        if rule is None:
            return self if self.outer is None else replace(self, outer=None, is_told=False)
        if rule.spares_tracked and self.rules.tracked().below(parent + name + b"/"):
            return replace(self, outer=rule, is_told=False)
        if self.rules.leads_to_included(parent, name):
            return replace(self, outer=rule, is_told=True)
        return None

    def entered(self, folder: bytes, gitignore: bytes | None, backupignore: bytes | None) -> Scope:
        """Return the scope inside `folder` (empty, or ending with ``/``), given what its ignore files hold.

        Raises `SettingsError` for a line of ``.backupignore`` that can match nothing.
        """
        files = ((b".backupignore", backupignore), (b".gitignore", gitignore))
        read = [_file_rules(folder + name, content) for name, content in files if content]
        added = [_Layer(folder, rules) for rules in read if rules]
        if not added:
            return self
        return replace(self, layers=tuple(sorted((*added, *self.layers), key=_rank, reverse=True)))


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules of a project, before any folder of it was entered."""

    use_gitignore: bool
    store: frozenset[bytes]
    """Where the store is, below the root, and the links that lead to it; empty where it lies elsewhere."""
    tracked: Callable[[], Tracked]
    """Asked only where a rule would drop something that git may track."""
    include: _Layer
    ways: _Layer
    """The folders on the way to what ``include`` names."""
    fixed: tuple[_Layer, ...]
    """Strongest first."""

    @property
    def scope(self) -> Scope:
        """The scope of the root, its own ignore files aside."""
        return Scope(self, self.fixed)

    def always_dropping(self, parent: bytes, name: bytes, folder: bool) -> Rule | None:
        """Return the rule for what never goes in: git's own, the store, and what a restore made."""
        if parent + name in self.store or (name.endswith(b".partial") and _PARTIAL.fullmatch(name)):
            return THE_STORE
        if name == b".git":
            return _GIT
        return _RESTORED if name == b"restored" and folder and not parent else None

    def never_hold(self, path: bytes) -> bool:
        """Whether a file never goes in, whatever git tracks: it lies in the store, or in ``/restored/``."""
        parent = b""
        *folders, name = path.split(b"/")
        for above in folders:
            if self.always_dropping(parent, above, True):
                return True
            parent += above + b"/"
        return self.always_dropping(parent, name, False) is not None

    def includes(self, parent: bytes, name: bytes, folder: bool) -> bool:
        """Whether ``include`` names this path."""
        found = self.include.deciding(parent, name.decode("latin-1"), folder)
        return found is not None and found[1]

    def leads_to_included(self, parent: bytes, name: bytes) -> bool:
        """Whether a dropped folder must be looked into, since ``include`` spells out a path below it."""
        way = self.ways.deciding(parent, name.decode("latin-1"), True)
        return way is not None and self.always_dropping(parent, name, True) is None


def rules_for(
    settings: Settings, root: Path, store: Path | None = None, tracked: Callable[[], Tracked] = Tracked
) -> Rules:
    """Return the rules of the project at `root`; `store` is where backups go, as the settings name it.

    `tracked` tells what git tracks; without it there is no git.

    Raises `SettingsError` naming a pattern that can match nothing, and where the store is the project itself.
    """
    include = _setting_rules("include", settings.include, _INCLUDE_RANK)
    exclude = _setting_rules("exclude", settings.exclude, _EXCLUDE_RANK)
    ours = [(built_in(text), pattern) for text, pattern in _parsed(BUILT_IN)]
    ways = [(rule, way) for rule, pattern in include if not pattern.negated for way in _ways_to(pattern)]
    return Rules(
        use_gitignore=settings.use_gitignore,
        store=frozenset(_places_of(store, root)) if store is not None else frozenset(),
        tracked=tracked,
        include=_Layer(b"", include),
        ways=_Layer(b"", ways),
        fixed=tuple(_Layer(b"", rules) for rules in (exclude, ours) if rules),
    )


def _rank(layer: _Layer) -> tuple[int, int]:
    """Order layers by their kind, then by the depth of their folder."""
    return layer.rules[0][0].rank, len(layer.base)


def _parsed(lines: Iterable[str]) -> Iterable[tuple[str, Pattern]]:
    for line in lines:
        pattern = parse_pattern(os.fsencode(line).decode("latin-1"))
        if pattern is not None:
            yield line.strip(), pattern


def _setting_rules(setting: str, lines: Iterable[str], rank: int) -> list[tuple[Rule, Pattern]]:
    rules = []
    for text, pattern in _parsed(lines):
        if pattern.matches_nothing:
            raise SettingsError(
                f"setting backup.{setting}: the pattern {text!r} matches nothing; see gitignore(5)"
            )
        rules.append((Rule(printable(text), f"setting {setting}", rank), pattern))
    return rules


def _file_rules(path: bytes, content: bytes) -> list[tuple[Rule, Pattern]]:
    ours = path.endswith(b".backupignore")
    rules = []
    for number, line in pattern_lines(content):
        pattern = parse_pattern(line)
        if pattern is None:
            continue
        text = printable(pattern.text.encode("latin-1"))
        where = f"{printable(path)}:{number}"
        if ours and pattern.matches_nothing:
            raise SettingsError(f"{where}: the pattern {text!r} matches nothing; see gitignore(5)")
        if not pattern.matches_nothing:  # git passes over it in silence
            rules.append((Rule(text, where, _BACKUPIGNORE_RANK if ours else _GITIGNORE_RANK), pattern))
    return rules


def _ways_to(pattern: Pattern) -> Iterable[Pattern]:
    """Return patterns for the folders above what an anchored `pattern` matches.

    One that begins with ``**`` could lead anywhere: it leads into no dropped folder.
    """
    parts = pattern.parts
    for count in range(1, len(parts)):
        if parts[0] == "**":
            return
        deep = "**" in parts[:count]
        above = "/".join(parts[: parts.index("**") + 1] if deep else parts[:count])
        way = parse_pattern(f"/{above}/")
        if way is not None:
            yield way
        if deep:
            return


def _places_of(store: Path, root: Path) -> Iterator[bytes]:
    """Yield the paths below `root` of the store and of the links that lead to it.

    A link on the way that leads somewhere else in the project is a part of the project, not of the store.
    """
    real_root, real_store = os.path.realpath(root), os.path.realpath(store)
    if real_store == real_root:
        raise SettingsError(
            f"the store {printable(store)} is the project itself; name a folder in it or elsewhere"
        )
    for link in _links_to(os.path.join(os.getcwd(), store)):
        target = os.path.realpath(link)
        if target == real_store or not list(_below(real_root, target)):
            yield from _below(real_root, link)
    yield from _below(real_root, real_store)


def _below(root: str, path: str) -> Iterator[bytes]:
    relative = os.path.relpath(path, root)
    if relative.split(os.sep, 1)[0] != os.pardir:
        yield os.fsencode(relative)


def _links_to(path: str) -> Iterator[str]:
    """Yield the links that are followed on the way to an absolute path, each where it really lies."""
    at, ahead = os.sep, deque(path.split(os.sep))
    followed = 0
    while ahead and followed < _MOST_LINKS:
        part = ahead.popleft()
        place = os.path.dirname(at) if part == os.pardir else os.path.normpath(os.path.join(at, part))
        if part == os.pardir or not os.path.islink(place):
            at = place
            continue
        yield place
        followed += 1
        target = os.readlink(place)
        at = os.sep if os.path.isabs(target) else at
        ahead.extendleft(reversed(target.split(os.sep)))
