"""What has to be true of a store and a project, whatever happened."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from backup_lib.progress import Silent
from backup_lib.settings import Settings
from backup_lib.store.layout import parse_latest_name
from backup_lib.store.listing import read_facts
from backup_lib.verify import verify_backup
from backup_lib.workplace import Workplace

from .jobs import THEIR_SUMS
from .workshop import Scene

__all__ = ["Seen", "flaws", "leftovers", "look", "steady", "surplus", "sweepings", "torn", "unsummed"]

_PARTIAL = re.compile(r"\..+\.[0-9a-f]{8}\.partial")
_MOMENT = re.compile(r"[_.][0-9]{8}T[0-9]{6}Z(-[0-9]+)?")
_SUM = re.compile(r"([0-9a-f]{64})  (.+)")
_NOTE = re.compile(rb"_[0-9]{8}T[0-9]{6}Z(-[0-9]+)?|[0-9]+ bytes|[0-9a-f]{64}")
"""What differs in a changelog from one release of the same version to the next."""
Tree = dict[str, tuple[str, int, str]]
"""Kind, mode, and digest or target, by path; the mode is 0 where modes are not looked at."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A scene as it was found."""

    tree: Tree
    """Everything outside the store and ``.git``."""
    store: Tree
    """Everything in the store but its lock."""
    listed: tuple[str, ...]
    """The backups that are listed, as paths below the store."""
    ours: frozenset[str]
    """What of the store is ours: archives and manifests, links to them, folders, the ledger."""
    proved: frozenset[str]
    """Those of them that are proved."""
    unsound: tuple[str, ...]
    """What a full verification of the listed ones, and of those that should be there, finds."""
    summed: frozenset[str]
    """The archives that have a line in ``SHA256SUMS``."""
    unreadable: int
    """Lines of the ledger that cannot be read."""

    def without_modes(self) -> Seen:
        """Return the same, as if all files and folders had the same mode."""
        return replace(self, tree=_without_modes(self.tree), store=_without_modes(self.store))

    def whole_tree(self) -> Tree:
        """Return what stands outside the store, without temporary files."""
        return {path: what for path, what in self.tree.items() if not _is_partial(path)}

    @property
    def labels(self) -> list[str]:
        """What is listed, without the moments in the names."""
        return sorted(map(steady, self.listed))


def _without_modes(tree: Tree) -> Tree:
    return {path: (kind, 0, content) for path, (kind, _, content) in tree.items()}


def look(scene: Scene, outside: Path) -> Seen:
    """Look at a scene; `outside` is an empty folder outside any repository."""
    place = Workplace(outside, Settings(project="demo", store=str(scene.store)), Silent(), dry_run=True)
    backups = place.store.backups()
    ledger = place.store.ledger()
    sums = _sums(scene.store)
    unsound = [f"{name} should be there" for name in place.store.missing()]
    unsound += _wrong_sums(scene.store, sums)
    proved = []
    for backup in backups:
        unsound += map(str, verify_backup(place, backup, "full").findings)
        facts = place.store.expected(backup)
        if facts and ledger.proved(backup.name, facts.sha256):
            proved.append(backup.name)
    return Seen(
        tree=dict(_tree(scene.folder, skip=(scene.store, scene.project / ".git"))),
        store={name: what for name, what in _tree(scene.store) if name != ".lock"},
        listed=tuple(backup.name for backup in backups),
        ours=frozenset(_ours(place)),
        proved=frozenset(proved),
        unsound=tuple(unsound),
        summed=frozenset(name for _, name in sums or ()),
        unreadable=len(ledger.unreadable),
    )


def _sums(store: Path) -> list[tuple[str, str]] | None:
    """Return digest and name of each line of the sums; None where there are none, or not ours."""
    path = store / "SHA256SUMS"
    if not path.exists() or path.read_text() == THEIR_SUMS:
        return None
    found = [_SUM.fullmatch(line) for line in path.read_text().splitlines()]
    return [(line[1], line[2]) if line else ("no sum", "") for line in found]


def _wrong_sums(store: Path, sums: list[tuple[str, str]] | None) -> Iterator[str]:
    """Yield each line of the sums that does not name a file that is there and matches."""
    if sums == []:
        yield "SHA256SUMS has no line"
    for digest, name in sums or ():
        path = store / name
        found = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "gone"
        if found != digest:
            yield f"SHA256SUMS says {digest[:12]} of {name}, which is {found[:12]}"


def _ours(place: Workplace) -> Iterator[str]:
    store = place.store
    yield from (backup.name for backup in store.backups() if backup.order)
    for path in store.path.rglob("*"):
        name = os.path.relpath(path, store.path)
        manifest = read_facts(path) if path.name == "MANIFEST.txt" else None
        is_made = path.name in ("ledger.jsonl", ".gitignore", "SHA256SUMS") or _is_partial(name)
        is_made = is_made and not (path.is_file() and path.read_bytes() == THEIR_SUMS.encode())
        if manifest or is_made or path.is_symlink() or path.is_dir():
            yield name


def _tree(top: Path, skip: tuple[Path, ...] = ()) -> Iterator[tuple[str, tuple[str, int, str]]]:
    for folder, folders, files in os.walk(top):
        folders[:] = [name for name in folders if Path(folder, name) not in skip]
        for name in (*folders, *files):
            path = Path(folder, name)
            yield os.path.relpath(path, top), _what(path)


def _what(path: Path) -> tuple[str, int, str]:
    status = path.lstat()
    mode = stat.S_IMODE(status.st_mode)
    if stat.S_ISLNK(status.st_mode):
        return "link", 0, str(path.readlink())
    if stat.S_ISDIR(status.st_mode):
        return "folder", mode, ""
    content = path.read_bytes()
    if path.name == "CHANGELOG.md":
        content = _NOTE.sub(b"", content)
    return "file", mode, hashlib.sha256(content).hexdigest()


def flaws(before: Seen, after: Seen, now: Seen) -> Iterator[str]:
    """Yield what is wrong with a scene that was `before`, and would be `after` had nothing happened."""
    yield from (f"unsound: {what}" for what in now.unsound)
    there = set(now.store.values())
    for name in sorted({*before.store} - {*before.ours}):
        if before.store[name] not in there:
            yield f"{name} is not ours, and lost"
    for name in before.listed:
        is_same = now.store.get(name) == before.store[name]
        if name not in before.ours and any(now.store[other] == before.store[name] for other in now.listed):
            continue  # it was moved aside
        if name not in after.listed:  # it is to be removed
            if name in now.listed and not is_same:
                yield f"{name} is listed, but not what it was"
            continue
        is_to_be_replaced = after.store[name] != before.store[name]
        if not is_same and not is_to_be_replaced:
            yield f"the old backup {name} is not what it was"
        if name not in now.listed:
            yield f"the old backup {name} is not listed"
        if name in before.proved and name not in now.proved:
            yield f"the old backup {name} is not proved any more"
    yield from _tree_flaws(before.tree, after.tree, now.tree)


def surplus(before: Seen, after: Seen, now: Seen) -> Iterator[str]:
    """Yield what is there more often than before and after."""
    for label in dict.fromkeys(now.labels):
        if now.labels.count(label) > max(before.labels.count(label), after.labels.count(label)):
            yield f"{label} is listed too often"


def _tree_flaws(before: Tree, after: Tree, now: Tree) -> Iterator[str]:
    for path in sorted({*before, *after, *now}):
        if _is_partial(path):
            continue
        allowed = (before.get(path), after.get(path))
        if now.get(path) not in allowed:
            yield f"{path} is {now.get(path)}, not {' or '.join(map(str, dict.fromkeys(allowed)))}"


def steady(text: str) -> str:
    """Return a text without the moments in it."""
    return _MOMENT.sub("", text)


def torn(after: Seen, now: Seen, target: str) -> Iterator[str]:
    """Yield what a new target lacks, where it is there at all."""
    wanted = {path for path in after.tree if path.startswith(f"{target}/")}
    if target in now.tree:
        yield from (f"{path} is missing in the target" for path in sorted(wanted - {*now.tree}))


def _is_partial(path: str) -> bool:
    return any(_PARTIAL.fullmatch(part) for part in path.split("/"))


def leftovers(now: Seen) -> list[str]:
    """Return the temporary files and folders that are there."""
    return [path for path in (*now.tree, *now.store) if _is_partial(path)]


def unsummed(now: Seen) -> list[str]:
    """Return the backups of ours that have no line in ``SHA256SUMS``."""
    return sorted({*now.listed} & now.ours - now.summed)


def sweepings(now: Seen) -> Iterator[str]:
    """Yield what should not be there once another run has made up for what happened."""
    yield from (f"{path} was not swept" for path in leftovers(now))
    yield from (f"{name} has no line in SHA256SUMS" for name in unsummed(now))
    for path in now.store:
        folder, _, name = path.rpartition("/")
        link = parse_latest_name(name)
        same = [other for other in now.listed if other.startswith(f"{folder}/") and link]
        if link and (not same or now.store[path][2] != same[-1].rpartition("/")[2]):
            yield f"{path} points to {now.store[path][2]}, but {same[-1:]} is the newest"
