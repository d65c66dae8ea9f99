"""The selection: which paths of the project go into a backup, found in one walk of the tree."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec

from backup_lib.errors import ProjectError, printable, translated
from backup_lib.filesystem import DEEPEST, OPEN_DIRECTORY, open_beneath, read_regular
from backup_lib.model import GitState, Kind, Problem, Source
from backup_lib.project.markers import marked_from_outside, marked_inside
from backup_lib.project.rules import Rule, Rules, Scope
from backup_lib.project.sources import Sources
from backup_lib.project.standing import Sight

__all__ = ["Dropped", "Selection", "States", "select"]

States = Callable[[Iterable[Sight]], Sequence[GitState]]
"""Told of each file, hard link and symlink; answers in that order."""

_MOST_RULES = 1 << 20
"""Bytes of a ``.gitignore`` or ``.backupignore``."""
_MOST_LINES = 20_000
"""Its lines; a pattern takes up to half a millisecond to make ready."""
_KINDS: dict[int, Kind] = {stat.S_IFDIR: "directory", stat.S_IFREG: "file", stat.S_IFLNK: "symlink"}
_NOT_KEPT = {
    stat.S_IFSOCK: "socket",
    stat.S_IFIFO: "fifo",
    stat.S_IFCHR: "character device",
    stat.S_IFBLK: "block device",
}


@dataclass(frozen=True, slots=True)
class Dropped:
    """A path that a rule left out, with all that is below it."""

    path: bytes
    """Below the root; ends with ``/`` for a folder."""
    rule: Rule


@dataclass(frozen=True, slots=True)
class Selection:
    """What goes into a backup, and what does not."""

    sources: Sources
    """The root first, then depth first, the children of a folder in the order of their names' bytes."""
    dropped: tuple[Dropped, ...]
    """In the order of the walk."""
    problems: tuple[Problem, ...]

    @property
    def excluded_rules(self) -> tuple[Rule, ...]:
        """Each rule that left something out, the weakest layer first, then as the walk met them."""
        met = dict.fromkeys(dropped.rule for dropped in self.dropped)
        return tuple(sorted(met, key=lambda rule: rule.rank))


_Step = tuple[Source, Scope]
"""A source, and for a folder the scope that its parent gives it."""
_Listed = tuple[Scope, list[_Step]]
"""The scope of a folder, in which a marker may have been found by then, and what is kept of its children."""


@dataclass(frozen=True, slots=True)
class _Folder:
    """An open folder of the walk."""

    fd: int
    prefix: bytes
    """Its path, ending with ``/``; empty for the root."""
    scope: Scope
    entries: dict[bytes, os.DirEntry[str]]


@dataclass(slots=True)
class _Walk:
    """One walk of a tree, and what it has met so far."""

    root: int
    rules: Rules
    many_named: set[bytes] = field(default_factory=set)
    """Files that have another name somewhere."""
    link_sizes: dict[bytes, int] = field(default_factory=dict)
    """The size in bytes of each hard link's file."""
    dropped: list[Dropped] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    first_names: dict[tuple[int, int], bytes] = field(default_factory=dict)

    def run(self) -> Iterator[Source]:
        """Go through the whole tree; a stack instead of recursion, since trees may be deep."""
        top = _seen(b"", "directory", os.fstat(self.root))
        yield top
        stack = [(top, iter(self.children(top, self.rules.scope)[1]))]
        unsure: list[Source] = []
        """The dropped folders on the way here, which are kept only if something in them is."""
        while stack:
            folder, steps = stack[-1]
            step = next(steps, None)
            if step is None:
                stack.pop()
                if unsure and unsure[-1] is folder:
                    unsure.pop()
                continue
            source, scope = step
            if source.kind == "directory":
                scope, children = self.children(source, scope)
                stack.append((source, iter(children)))
                if scope.outer is not None:
                    unsure.append(source)
                    continue
            yield from unsure
            unsure.clear()
            yield self.once(source) if source.path in self.many_named else source

    def once(self, source: Source) -> Source:
        """Make a hard link of a file that was met under another name."""
        first = self.first_names.setdefault((source.device, source.inode), source.path)
        if first == source.path:
            return source
        self.link_sizes[source.path] = source.size
        return msgspec.structs.replace(source, kind="hardlink", size=0, link=first)

    def sights(self, sources: Iterable[Source]) -> Iterator[Sight]:
        """Yield what `States` is told."""
        for source in sources:
            if source.kind != "directory":
                yield Sight(source.path, self.git_size(source), source.ctime_ns)

    def git_size(self, source: Source) -> int:
        if source.kind == "symlink":
            return len(source.link)
        return source.size if source.kind == "file" else self.link_sizes[source.path]

    def children(self, folder: Source, scope: Scope) -> _Listed:
        """List a folder; everything in it is looked at before this returns, and the folder closed again."""
        if folder.path.count(b"/") + 3 > DEEPEST:  # with the top folder, this one and what is in it
            reason = f"nothing is restored from more than {DEEPEST} folders deep"
            self.problems.append(Problem(folder.path, "unreadable", reason))
            return scope, []
        try:
            fd = open_beneath(self.root, folder.path, OPEN_DIRECTORY)
        except OSError as error:
            self.note(folder.path, error)
            return scope, []
        try:
            return self.listed(fd, folder.path, scope)
        except OSError as error:
            self.note(folder.path, error)
            return scope, []
        finally:
            os.close(fd)

    def listed(self, fd: int, path: bytes, scope: Scope) -> _Listed:
        with os.scandir(fd) as found:
            entries = {os.fsencode(entry.name): entry for entry in found}
        marker = marked_inside(fd, entries) if path and scope.outer is None else None
        if marker is not None:
            parent, slash, name = path.rpartition(b"/")
            judged = self.judged(scope, parent + slash, name, True, marker)
            if judged is None:
                return replace(scope, outer=marker), []
            scope = judged
        prefix = path + b"/" if path else b""
        inner = scope.entered(
            prefix,
            _read_gitignore(fd, prefix) if self.rules.use_gitignore and b".gitignore" in entries else None,
            _read_backupignore(fd, prefix) if b".backupignore" in entries else None,
        )
        folder = _Folder(fd, prefix, inner, entries)
        looked_at = (self.look(folder, name) for name in sorted(entries))
        return scope, [step for step in looked_at if step is not None]

    def look(self, folder: _Folder, name: bytes) -> _Step | None:
        """Return what stands there; None where it is not kept, which is noted."""
        path, entry = folder.prefix + name, folder.entries[name]
        try:
            is_folder = entry.is_dir(follow_symlinks=False)
            marker = marked_from_outside(folder.prefix, name, folder.entries) if is_folder else None
            scope = self.judged(folder.scope, folder.prefix, name, is_folder, marker)
            if scope is None:
                return None
            facts = entry.stat(follow_symlinks=False)
            kind = _KINDS.get(stat.S_IFMT(facts.st_mode))
            if kind is None:
                self.skip(path, facts)
                return None
            if kind == "file" and facts.st_nlink > 1:
                self.many_named.add(path)
            link = os.readlink(name, dir_fd=folder.fd) if kind == "symlink" else b""
            return _seen(path, kind, facts, link), scope
        except OSError as error:
            self.note(path, error)
            return None

    def judged(
        self, scope: Scope, parent: bytes, name: bytes, is_folder: bool, marker: Rule | None
    ) -> Scope | None:
        """Return the scope for what stands in `parent`; None where a rule leaves it out, which is noted."""
        rule = scope.dropping(parent, name, is_folder, marker)
        if rule is None:
            return scope.inside(parent, name, None)
        inside = scope.inside(parent, name, rule) if is_folder else None
        if not scope.is_told and (inside is None or inside.is_told):
            self.dropped.append(Dropped(parent + name + (b"/" if is_folder else b""), rule))
        return inside

    def skip(self, path: bytes, facts: os.stat_result) -> None:
        reason = _NOT_KEPT.get(stat.S_IFMT(facts.st_mode), "neither file, folder nor symlink")
        self.problems.append(Problem(path, "skipped", reason))

    def note(self, path: bytes, error: OSError) -> None:
        gone = isinstance(error, (FileNotFoundError, NotADirectoryError)) or error.errno == errno.ELOOP
        self.problems.append(
            Problem(path, "vanished" if gone else "unreadable", error.strerror or str(error))
        )


def select(root: Path, rules: Rules, states: States | None = None) -> Selection:
    """Walk the project at `root` once and return what goes into a backup of it.

    A folder that cannot be listed is kept as an empty one and named in the problems.
    `states` tells how each file stands to the commit; without it there is no git.

    Raises `ProjectError` where the root or an ignore file cannot be read, and where no file is left;
    `SettingsError` for a line of ``.backupignore`` that can match nothing.
    """
    with translated(ProjectError, "reading the project"):
        fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        walk = _Walk(fd, rules)
        sources = Sources(walk.run())
    finally:
        os.close(fd)
    if all(source.kind == "directory" for source in sources):
        for problem in walk.problems:
            where = printable(root / os.fsdecode(problem.path))
            raise ProjectError(f"reading the project failed: {problem.reason}: {where}")
        raise ProjectError(
            f"there is no file to back up in {printable(root)}; see with --dry-run what the rules drop"
        )
    if states is not None:
        sources.states = states(walk.sights(sources))
    return Selection(sources, tuple(walk.dropped), tuple(walk.problems))


def _seen(path: bytes, kind: Kind, facts: os.stat_result, link: bytes = b"") -> Source:
    return Source(
        path,
        kind,
        stat.S_IMODE(facts.st_mode),
        facts.st_uid,
        facts.st_gid,
        facts.st_size if kind == "file" else 0,
        facts.st_mtime_ns,
        facts.st_ctime_ns,
        facts.st_dev,
        facts.st_ino,
        link,
    )


def _read_backupignore(folder: int, prefix: bytes) -> bytes:
    """Read the rules a person wrote for us; without them we would back up what they keep out."""
    try:
        return _read_ignore_file(folder, b".backupignore")
    except OSError as error:
        where = printable(prefix + b".backupignore")
        raise ProjectError(
            f"{where} cannot be read: {error.strerror}; make it a plain readable file"
        ) from error


def _read_gitignore(folder: int, prefix: bytes) -> bytes | None:
    """Read what git would read: not a link, not a folder; a huge one is refused."""
    try:
        return _read_ignore_file(folder, b".gitignore")
    except OSError as error:
        if error.errno != errno.EFBIG:
            return None
        raise ProjectError(
            f"{printable(prefix + b'.gitignore')} is not read: {error.strerror}; make it smaller"
        ) from error


def _read_ignore_file(folder: int, name: bytes) -> bytes:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    content = read_regular(os.open(name, flags, dir_fd=folder), _MOST_RULES)
    if content.count(b"\n") > _MOST_LINES:
        raise OSError(errno.EFBIG, f"it has more than {_MOST_LINES} lines")
    return content
