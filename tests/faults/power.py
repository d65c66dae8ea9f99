"""What a power cut can leave of a recorded run: a model of a file system that keeps no more than it must.

It keeps what POSIX says that ``fsync`` makes last, and nothing else:

- The content of a file lasts once the file is synced; before that each write may be there, be missing, be
  zeros, or be torn.
- A name that was made, moved or removed lasts once its folder is synced; before that each such step may have
  happened or not, whatever came after it. One ``rename`` happens whole or not at all.
- ``syncfs`` makes everything last.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Literal

from .strace import OPENING, Call

__all__ = ["State", "Step", "Tree", "left", "put", "states_of", "steps_of", "tree_at"]

SECTOR = 512
"""Bytes that a disk writes whole."""
_TEARS = 8
"""How many ways of tearing one write are tried."""

Node = bytes | str | None
"""Content of a file, target of a link, or None for a folder."""
Tree = dict[str, Node]
"""What stands where, by path below the scene, whose own is empty."""
Fate = Literal["done", "lost", "zeros"] | int
"""What became of a step; a number is how many bytes of a write are there, the others being zeros."""


@dataclass(frozen=True, slots=True)
class Step:
    """One change that a run made, or one sync."""

    kind: Literal["make", "move", "remove", "write", "cut", "sync file", "sync folder", "sync all"]
    inode: int
    """Number of the file, link or folder; that of a removed name is of no matter."""
    path: str = ""
    """Name that is made or removed, the new one where it is moved, or the folder that is synced."""
    old: str = ""
    """Name before it was moved."""
    node: Node = b""
    """What is made."""
    offset: int = 0
    """Where a write begins, or where a file is cut off."""
    data: bytes = b""
    call: str = ""
    """The system call."""

    @property
    def folders(self) -> set[str]:
        """The folders whose sync makes it last."""
        return {_folder(path) for path in (self.path, self.old) if path and not self.is_sync}

    @property
    def is_sync(self) -> bool:
        """Whether it changes nothing."""
        return self.kind.startswith("sync")

    def __str__(self) -> str:
        return f"{self.call} of {self.path or f'file {self.inode}'}"


@dataclass(frozen=True, slots=True)
class State:
    """One state that a power cut may leave."""

    after: int
    """Number of steps that had been made, of all."""
    how: str
    """What became of those that were not synced, in words."""
    fates: dict[int, Fate]
    """The same, by number of the step; those that are not named happened."""

    def __str__(self) -> str:
        return f"power cut after step {self.after}, {self.how}"


def _folder(path: str) -> str:
    return path.rpartition("/")[0]


def tree_at(folder: Path) -> Tree:
    """Return what stands in a folder, but for ``.git``."""
    tree: Tree = {"": None}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if "/.git/" not in f"/{name}/":
            link = path.is_symlink()
            tree[name] = str(path.readlink()) if link else None if path.is_dir() else path.read_bytes()
    return tree


@dataclass(slots=True)
class _Recorder:
    """Follows a run call by call, and knows what each name stands for at that moment."""

    top: str
    names: dict[str, int]
    nodes: dict[int, Node]
    sizes: dict[int, int]
    offsets: dict[int, int] = field(default_factory=dict)
    """Where the next write to a descriptor goes."""
    appending: set[int] = field(default_factory=set)

    def steps(self, call: Call) -> Iterator[Step]:
        if call.error or call.result is None:
            return
        inside = [self._is_inside(path) for path in call.paths]
        paths = [self._name(path) for path in call.paths]
        if call.name in OPENING and paths:
            yield from self._opened(call, paths[0], inside[0])
        elif call.fds and not paths:
            yield from self._on_descriptor(call)
        elif paths and all(inside):
            yield from self._on_names(call, paths)

    def _is_inside(self, path: str) -> bool:
        return path == self.top or path.startswith(f"{self.top}/")

    def _name(self, path: str) -> str:
        return path[len(self.top) + 1 :]

    def _opened(self, call: Call, path: str, inside: bool) -> Iterator[Step]:
        fd = call.result or 0
        self.offsets[fd] = 0
        self.appending.discard(fd)
        if "O_APPEND" in call.text:
            self.appending.add(fd)
        if inside and "O_CREAT" in call.text and path not in self.names:
            yield self._make(call, path, b"")

    def _make(self, call: Call, path: str, node: Node) -> Step:
        inode = len(self.nodes)
        self.names[path], self.nodes[inode], self.sizes[inode] = inode, node, 0
        return Step("make", inode, path, node=node, call=call.name)

    def _on_descriptor(self, call: Call) -> Iterator[Step]:
        fd, path = call.fds[0][0], self._name(call.fds[0][1])
        inode = self.names.get(path) if self._is_inside(call.fds[0][1]) else None
        if call.name == "lseek":
            self.offsets[fd] = call.result or 0
        elif inode is None:
            return
        elif call.name in ("write", "pwrite64"):
            yield self._write(call, fd, inode)
        elif call.name == "ftruncate":
            size = int(call.text.rpartition(",")[2])
            self.sizes[inode] = size
            yield Step("cut", inode, offset=size, call=call.name)
        elif call.name == "syncfs":
            yield Step("sync all", inode, call=call.name)
        elif call.name in ("fsync", "fdatasync"):
            is_folder = self.nodes[inode] is None
            yield Step("sync folder" if is_folder else "sync file", inode, path, call=call.name)

    def _write(self, call: Call, fd: int, inode: int) -> Step:
        data = call.data[: call.result]
        if call.name == "pwrite64":
            offset = int(call.text.rpartition(",")[2])
        else:
            offset = self.sizes[inode] if fd in self.appending else self.offsets.get(fd, 0)
            self.offsets[fd] = offset + len(data)
        self.sizes[inode] = max(self.sizes[inode], offset + len(data))
        return Step("write", inode, offset=offset, data=data, call=call.name)

    def _on_names(self, call: Call, paths: list[str]) -> Iterator[Step]:
        *old, path = paths
        if call.name.startswith("mkdir"):
            yield self._make(call, path, None)
        elif call.name.startswith("symlink"):
            yield self._make(call, path, call.data.decode())
        elif call.name.startswith("rename"):
            inode = self.names[old[0]]
            _move(self.names, old[0], path)
            yield Step("move", inode, path, old[0], call=call.name)
        elif call.name.startswith("link"):
            self.names[path] = self.names[old[0]]
            yield Step("make", self.names[path], path, node=self.nodes[self.names[path]], call=call.name)
        elif call.name.startswith(("unlink", "rmdir")):
            yield Step("remove", self.names.pop(path), path, call=call.name)


def _move(names: dict[str, int], old: str, new: str) -> None:
    """Give what is called `old`, and everything below it, its new name."""
    for name in [name for name in names if name == old or name.startswith(f"{old}/")]:
        names[new + name[len(old) :]] = names.pop(name)


def steps_of(calls: Iterable[Call], top: Path, start: Tree) -> list[Step]:
    """Return what a recorded run of ours changed and synced below `top`, where `start` stood before."""
    numbers = {path: number for number, path in enumerate(start)}
    nodes = dict(enumerate(start.values()))
    sizes = {number: len(node) if isinstance(node, bytes) else 0 for number, node in nodes.items()}
    recorder = _Recorder(str(top), numbers, nodes, sizes)
    return [step for call in calls if "/.git/" not in "".join(call.about) for step in recorder.steps(call)]


def _unsynced(steps: Sequence[Step]) -> list[int]:
    """Return the numbers of the steps that the syncs among them do not make last."""
    left = []
    for number, step in enumerate(steps):
        if not step.is_sync and not _lasts(step, steps[number + 1 :]):
            left.append(number)
    return left


def _lasts(step: Step, later: Sequence[Step]) -> bool:
    if any(sync.kind == "sync all" for sync in later):
        return True
    if step.kind in ("write", "cut"):
        return any(sync.kind == "sync file" and sync.inode == step.inode for sync in later)
    synced = {sync.path for sync in later if sync.kind == "sync folder"}
    return step.folders <= synced


def put(tree: Tree, start: Tree, top: Path) -> None:
    """Make `top`, where `start` stands, hold `tree`; what is in both is not touched."""
    for path in sorted(start, key=len, reverse=True):
        if path not in tree or (start[path] is None) != (tree[path] is None):
            _remove(top / path)
    for path, node in tree.items():
        if path not in start or start[path] != node:
            _place(top / path, node)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    else:
        path.unlink()


def _place(path: Path, node: Node) -> None:
    if node is None:
        path.mkdir(0o700)
    elif isinstance(node, str):
        path.unlink(missing_ok=True)
        path.symlink_to(node)
    else:
        is_new = not path.exists()
        path.write_bytes(node)
        if is_new:
            path.chmod(0o600)


def left(start: Tree, steps: Sequence[Step], fates: dict[int, Fate]) -> Tree:
    """Return what stands after the steps, where those in `fates` did not simply happen."""
    names = {path: number for number, path in enumerate(start)}
    nodes: dict[int, Node] = dict(enumerate(start.values()))
    for number, step in enumerate(steps):
        fate = fates.get(number, "done")
        nodes.setdefault(step.inode, step.node)
        if fate == "lost":
            continue
        if step.kind == "move" and names.get(step.old) == step.inode:
            _move(names, step.old, step.path)
        elif step.kind in ("make", "move"):
            names[step.path] = step.inode
        elif step.kind == "remove":
            names.pop(step.path, None)
        elif step.kind in ("write", "cut"):
            nodes[step.inode] = _changed(nodes[step.inode], step, fate)
    tree: Tree = {}
    for path in sorted(
        names, key=lambda path: path.split("/") if path else []
    ):  # a folder comes before what is in it
        above = _folder(path)
        if not path or (above in tree and tree[above] is None):
            tree[path] = nodes[names[path]]
    return tree


def _changed(node: Node, step: Step, fate: Fate) -> bytes:
    content = node if isinstance(node, bytes) else b""
    if step.kind == "cut":
        return content[: step.offset].ljust(step.offset, b"\0")
    there = len(step.data) if fate == "done" else 0 if fate == "zeros" else int(fate)
    data = step.data[:there].ljust(len(step.data), b"\0")
    return content[: step.offset].ljust(step.offset, b"\0") + data + content[step.offset + len(data) :]


def _plans(steps: Sequence[Step], dice: random.Random, samples: int) -> Iterator[tuple[str, dict[int, Fate]]]:
    """Yield what may have become of the steps that were not synced."""
    unsynced = _unsynced(steps)
    writes = [number for number in unsynced if steps[number].kind == "write"]
    names = [number for number in unsynced if steps[number].folders]
    yield "all there", {}
    yield "all unsynced lost", dict.fromkeys(unsynced, "lost")
    yield "unsynced names lost", dict.fromkeys(names, "lost")
    yield "unsynced content lost", dict.fromkeys(writes, "lost")
    yield "unsynced content zeros", dict.fromkeys(writes, "zeros")
    for number in unsynced:
        yield f"lost: {steps[number]}", {number: "lost"}
        yield f"alone: {steps[number]}", dict.fromkeys(set(unsynced) - {number}, "lost")
    for number in writes:
        yield f"zeros: {steps[number]}", {number: "zeros"}
        for tear in _tears(steps[number]):
            yield f"torn at {tear}: {steps[number]}", {number: tear}
    for one, other in combinations(unsynced, 2):
        yield f"lost: {steps[one]}, {steps[other]}", {one: "lost", other: "lost"}
    for sample in range(samples if len(unsynced) > 1 else 0):
        yield f"sample {sample}", {number: _fate(steps[number], dice) for number in unsynced}


def _tears(step: Step) -> list[int]:
    cuts = list(range(SECTOR, len(step.data), SECTOR)) or [len(step.data) // 2]
    return cuts[:: max(1, len(cuts) // _TEARS)]


def _fate(step: Step, dice: random.Random) -> Fate:
    if step.kind != "write":
        return dice.choice(("done", "lost"))
    return dice.choice(("done", "lost", "zeros", dice.choice(_tears(step))))


def states_of(start: Tree, steps: Sequence[Step], first: int, samples: int) -> Iterator[State]:
    """Yield the states that a power cut after `first` steps or more may leave, each once.

    `samples` of them at each moment are drawn by lot, always the same ones.
    """
    seen: set[int] = set()
    dice = random.Random(len(steps))
    for after in range(first, len(steps) + 1):
        done = steps[:after]
        for how, fates in _plans(done, dice, samples):
            tree = left(start, done, fates)
            # What must be there when the run is over depends on whether it was over.
            mark = hash((after == len(steps), tuple(tree.items())))
            if mark not in seen:
                seen.add(mark)
                yield State(after, how, fates)
