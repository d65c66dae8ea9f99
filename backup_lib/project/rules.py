"""Which paths are left out, and the one rule that decided it.

Five layers, the weakest first; the strongest one with a word about a path decides:

1. built-in patterns,
2. ``.gitignore`` files, where the settings ask for them,
3. ``exclude`` of the settings,
4. ``.backupignore`` files,
5. ``include`` of the settings, which brings back what any of the others dropped.

Within one file or setting the last matching pattern decides, and the file in the deeper folder wins.
Nothing brings back the store and what an interrupted run left behind.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from backup_lib.errors import SettingsError, printable
from backup_lib.project.pattern import FILE, FOLDER, Pattern, parse_pattern, pattern_lines
from backup_lib.settings import Settings

if TYPE_CHECKING:
    from pathspec import PathSpec
    from pathspec.pattern import RegexPattern

__all__ = ["BUILT_IN", "THE_STORE", "Rule", "Rules", "Scope", "rules_for"]

BUILT_IN = (
    ".git",
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
    ".cache/",
    ".next/",
    ".nuxt/",
    ".parcel-cache/",
    ".turbo/",
    "bower_components/",
    "*.egg-info/",
    ".DS_Store",
    "/restored/",
)
"""gitignore patterns of what can be made again, and of what ``restore`` makes."""

_PARTIAL = ".?*." + "[0-9a-f]" * 8 + ".partial"
_BUILT_IN_RANK, _GITIGNORE_RANK, _EXCLUDE_RANK, _BACKUPIGNORE_RANK, _INCLUDE_RANK, _STORE_RANK = range(6)


@dataclass(frozen=True, slots=True)
class Rule:
    """What decided about a path; as text: the pattern and where it stands."""

    pattern: str
    origin: str
    """``built-in``, ``setting exclude``, ``sub/.backupignore:3``."""
    rank: int
    """Of its layer: 0 is the weakest."""

    def __str__(self) -> str:
        return f"{self.pattern} ({self.origin})" if self.origin else self.pattern


THE_STORE = Rule("the store", "", _STORE_RANK)


class _Matcher:
    """Patterns asked together; knows the number of the last one that matches."""

    def __init__(self, patterns: Iterable[tuple[int, Pattern]]) -> None:
        numbered = list(patterns)
        self.numbers = [number for number, _ in numbered]
        self.answers: dict[str, int] = {}
        self.spec: PathSpec[RegexPattern] | None = (
            _spec([pattern for _, pattern in numbered]) if numbered else None
        )

    def name(self, text: str) -> int:
        """Return the number for a name, which is asked about again and again; -1 for none."""
        answer = self.answers.get(text)
        if answer is None:
            answer = self.answers[text] = self.path(text)
        return answer

    def path(self, text: str) -> int:
        """Return the number for a path; -1 for none."""
        if self.spec is None:
            return -1
        index = self.spec.check_file(text).index
        return -1 if index is None else self.numbers[index]


def _spec(patterns: list[Pattern]) -> PathSpec[RegexPattern]:
    from pathspec import PathSpec
    from pathspec.pattern import RegexPattern

    return PathSpec(
        [RegexPattern(re.compile(pattern.expression), True) for pattern in patterns], backend="re2"
    )


class _Layer:
    """The patterns of one file or setting, for the paths below one folder."""

    def __init__(self, base: bytes, rules: list[tuple[Rule, Pattern]]) -> None:
        self.base = base.decode("latin-1")
        self.rules = [(rule, not pattern.negated) for rule, pattern in rules]
        patterns = [(number, pattern) for number, (_, pattern) in enumerate(rules)]
        shallow = [(number, pattern) for number, pattern in patterns if len(pattern.parts) == 1]
        self.top = _Matcher(shallow)
        self.below = _Matcher((number, pattern) for number, pattern in shallow if not pattern.anchored)
        self.paths = _Matcher((number, pattern) for number, pattern in patterns if len(pattern.parts) > 1)

    def deciding(self, parent: str, name: str) -> tuple[Rule, bool] | None:
        """Return the deciding rule for `name` in the folder `parent`, and whether it matches."""
        number = (self.top if parent == self.base else self.below).name(name)
        if self.paths.spec is not None:
            number = max(number, self.paths.path(parent[len(self.base) :] + name))
        return self.rules[number] if number >= 0 else None


@dataclass(frozen=True, slots=True)
class Scope:
    """The rules that hold in one folder."""

    rules: Rules
    layers: tuple[_Layer, ...]
    """Strongest first."""

    def dropping(self, parent: bytes, name: bytes, folder: bool) -> Rule | None:
        """Return the rule that leaves `name` out of the folder `parent`; None where it stays.

        `parent` is empty for the root, else it ends with ``/``.
        """
        if parent + name in self.rules.store:
            return THE_STORE
        above, text = _asked(parent, name, folder)
        if self.rules.leftovers.deciding(above, text):
            return THE_STORE
        for layer in self.layers:
            found = layer.deciding(above, text)
            if found is not None:
                rule, drops = found
                return rule if drops and not self.rules.includes(above, text) else None
        return None

    def brought_back(self, parent: bytes, name: bytes, folder: bool) -> bool:
        """Whether ``include`` names this path in a folder that is itself left out."""
        above, text = _asked(parent, name, folder)
        return parent + name not in self.rules.store and self.rules.includes(above, text)

    def entered(self, folder: bytes, gitignore: bytes | None, backupignore: bytes | None) -> Scope:
        """Return the scope inside `folder` (empty, or ending with ``/``), given what its ignore files hold.

        Raises `SettingsError` for a line of ``.backupignore`` that can match nothing.
        """
        if gitignore is None and backupignore is None:
            return self
        added = []
        if backupignore is not None:
            added.append(_file_layer(folder, b".backupignore", backupignore))
        if gitignore is not None:
            added.append(_file_layer(folder, b".gitignore", gitignore))
        layers = sorted((*added, *self.layers), key=_rank, reverse=True)
        return Scope(self.rules, tuple(layers))


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules of a project, before any folder of it was entered."""

    use_gitignore: bool
    store: frozenset[bytes]
    """Where the store is, below the root; empty where it lies elsewhere."""
    leftovers: _Layer
    include: _Layer
    ways: _Layer
    """The folders on the way to what ``include`` names."""
    fixed: tuple[_Layer, ...]
    """Strongest first."""

    @property
    def scope(self) -> Scope:
        """The scope of the root, its own ignore files aside."""
        return Scope(self, self.fixed)

    def includes(self, parent: str, name: str) -> bool:
        """Whether ``include`` names this path; text as :func:`deciding <_Layer.deciding>` takes it."""
        found = self.include.deciding(parent, name)
        return found is not None and found[1]

    def leads_to_included(self, parent: bytes, name: bytes) -> bool:
        """Whether a dropped folder must be looked into, since ``include`` spells out a path below it."""
        return self.ways.deciding(*_asked(parent, name, True)) is not None


def rules_for(settings: Settings, root: Path, store: Path | None = None) -> Rules:
    """Return the rules of the project at `root`; `store` is where backups go.

    Raises `SettingsError` naming a pattern that can match nothing, and where the store is the project itself.
    """
    include = _setting_rules("include", settings.include, _INCLUDE_RANK)
    exclude = _setting_rules("exclude", settings.exclude, _EXCLUDE_RANK)
    built_in = [(Rule(text, "built-in", _BUILT_IN_RANK), pattern) for text, pattern in _parsed(BUILT_IN)]
    leftovers = [(THE_STORE, pattern) for _, pattern in _parsed((_PARTIAL,))]
    ways = [(rule, way) for rule, pattern in include if not pattern.negated for way in _ways_to(pattern)]
    return Rules(
        use_gitignore=settings.use_gitignore,
        store=_below(root, store) if store is not None else frozenset(),
        leftovers=_Layer(b"", leftovers),
        include=_Layer(b"", include),
        ways=_Layer(b"", ways),
        fixed=(_Layer(b"", exclude), _Layer(b"", built_in)),
    )


def _asked(parent: bytes, name: bytes, folder: bool) -> tuple[str, str]:
    return parent.decode("latin-1"), name.decode("latin-1") + (FOLDER if folder else FILE)


def _rank(layer: _Layer) -> tuple[int, int]:
    """Order layers by their kind, then by the depth of their folder."""
    rank = layer.rules[0][0].rank if layer.rules else -1
    return rank, len(layer.base)


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


def _file_layer(folder: bytes, name: bytes, content: bytes) -> _Layer:
    ours = name == b".backupignore"
    where = printable(folder + name)
    rules = []
    for number, line in pattern_lines(content):
        pattern = parse_pattern(line)
        if pattern is None:
            continue
        text = printable(pattern.text.encode("latin-1"))
        if ours and pattern.matches_nothing:
            raise SettingsError(f"{where}:{number}: the pattern {text!r} matches nothing; see gitignore(5)")
        if not pattern.matches_nothing:
            rank = _BACKUPIGNORE_RANK if ours else _GITIGNORE_RANK
            rules.append((Rule(text, f"{where}:{number}", rank), pattern))
    return _Layer(folder, rules)


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


def _below(root: Path, store: Path) -> frozenset[bytes]:
    """Return the paths below `root` at which the store stands: as named, and where its links lead."""
    real_root = os.path.realpath(root)
    named = os.path.join(os.path.realpath(os.path.dirname(os.path.abspath(store))), os.path.basename(store))
    found = set()
    for place in (named, os.path.realpath(store)):
        relative = os.path.relpath(place, real_root)
        if relative == os.curdir:
            raise SettingsError(
                f"the store {printable(store)} is the project itself; name a folder in it or elsewhere"
            )
        if relative.split(os.sep, 1)[0] != os.pardir:
            found.add(os.fsencode(relative))
    return frozenset(found)
