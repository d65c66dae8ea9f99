"""Restoring archives without an index, made by anything.

Their members are played through by name first, as tar would do them one after the other: what is there
at the end, and nothing else, is then written. Nothing is ever placed on the way to something else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from backup_lib.archive.extract import Placement, Wish, finish
from backup_lib.archive.members import Member, TarReader
from backup_lib.archive.names import inner_path, shown
from backup_lib.archive.plain import check_frames, end_of, open_stream
from backup_lib.archive.tar import Stamp
from backup_lib.archive.target import Target, Writer
from backup_lib.errors import DamageError, RestoreError
from backup_lib.model import Kind
from backup_lib.progress import Advance

__all__ = ["Replayed", "extract_plain", "place_plain"]


@dataclass(slots=True)
class Replayed(Placement):
    """What of an archive without an index goes where."""

    members: dict[int, bytes] = field(default_factory=dict)
    """The place of the content of each member that is a file, by its number in the archive, from 0."""
    stamps: dict[bytes, Stamp] = field(default_factory=dict)
    """Of folders and symlinks, by place."""
    stored: int = 0
    """Bytes of content in the archive: those of all files but for the holes in sparse ones."""
    note: str = ""
    """What is odd about the archive, though tar takes it."""
    unlimited: bool = False
    """Whether the archive may ask for as much as it likes."""


class _Thing(NamedTuple):
    """What a member leaves behind; a hard link leaves the very thing that it is a link to."""

    number: int
    kind: Kind
    size: int
    stored: int
    stamp: Stamp
    link: bytes


class _Replay:
    """The names in an archive, and what is there after the members so far."""

    def __init__(self) -> None:
        self.things: dict[bytes, _Thing] = {}
        self.above: set[bytes] = set()
        """Every folder that something lies in."""
        self.skipped: list[bytes] = []

    def play(self, number: int, member: Member, reader: TarReader) -> None:
        """Do as tar does with a member; raises `RestoreError` where it must not, or cannot."""
        name = inner_path(member.name)
        if not name and member.kind not in ("directory", None):
            raise RestoreError("refused: a member has no name but that of the target")
        thing = self._thing(number, name, member)
        self._make_way(name, thing)
        if thing is None:
            self.skipped.append(name or b".")
        elif name:
            self._add_folders(name, reader)
            self.things[name] = thing

    def _thing(self, number: int, name: bytes, member: Member) -> _Thing | None:
        if member.kind is None:
            return None
        if member.kind != "hardlink":
            return _Thing(number, member.kind, member.size, member.stored, member.stamp, member.link)
        file = inner_path(member.link)
        thing = self.things.get(file)
        if thing is None or thing.kind == "directory" or file == name:
            raise RestoreError(
                f"refused: {shown(name)} is a hard link to {shown(file)}, which is no file before it"
            )
        return thing

    def _make_way(self, name: bytes, thing: _Thing | None) -> None:
        """Let go of what has that name; a folder stays."""
        before = self.things.get(name)
        is_folder = name in self.above or (before is not None and before.kind == "directory")
        if is_folder and thing is not None and thing.kind != "directory":
            raise RestoreError(f"refused: {shown(name)} is a folder, and then it is not")
        if before and not is_folder:
            del self.things[name]

    def _add_folders(self, name: bytes, reader: TarReader) -> None:
        folder = name.rpartition(b"/")[0]
        while folder and folder not in self.above:
            there = self.things.get(folder)
            if there is not None and there.kind != "directory":
                raise RestoreError(f"refused: something lies below {shown(folder)}, which is no folder")
            reader.count_name(len(folder))
            self.above.add(folder)
            folder = folder.rpartition(b"/")[0]


def place_plain(path: Path, wish: Wish) -> Replayed:
    """Decide what of an archive without index goes where; the last of several members of one name counts.

    Raises `RestoreError` where a name or link may not be restored, or it asks for too much,
    `DamageError` where it cannot be read.
    """
    replay = _Replay()
    with open_stream(path, wish.unlimited) as reader:
        number = -1
        for number, member in enumerate(reader):
            replay.play(number, member, reader)
        if number < 0 and not reader.ended:
            raise DamageError("it is no archive")
        check_frames(path, wish.unlimited)
        placement = Replayed(note=end_of(reader), unlimited=wish.unlimited)
    hurried = replace(wish, wanted=_counting(wish.wanted, reader)) if wish.wanted else wish
    placement.skipped = [name for name in replay.skipped if hurried.out(name, False) is not None]
    for out, name, thing in _wanted(replay, hurried):
        _place(placement, out, name, thing)
    if wish.strip:
        placement.check()
    if not wish.outside_links:
        placement.check_links()
    return placement


def _counting(wanted: Callable[[bytes], bool], reader: TarReader) -> Callable[[bytes], bool]:
    """Return `wanted`, whose time counts: patterns may take long for a name."""

    def counted(name: bytes) -> bool:
        reader.count_time()
        return wanted(name)

    return counted


def _wanted(replay: _Replay, wish: Wish) -> Iterator[tuple[bytes, bytes, _Thing]]:
    """Yield where each wanted thing goes, its name in the archive, and what it is."""
    taken: set[bytes] = set()
    for name, thing in replay.things.items():
        out = wish.out(name, thing.kind == "directory")
        if out is None:
            continue
        if wish.strip and thing.kind != "directory":
            if out in taken:
                raise RestoreError(f"refused: two things would be restored as {shown(out)}")
            taken.add(out)
        yield out, name, thing


def _place(placement: Replayed, out: bytes, name: bytes, thing: _Thing) -> None:
    if thing.kind == "directory":
        placement.folders[name] = out
        placement.stamps[out] = thing.stamp
    elif thing.kind == "symlink":
        placement.links[name] = (out, thing.link)
        placement.stamps[out] = thing.stamp
    elif (first := placement.members.get(thing.number)) is not None:
        placement.hard_links[out] = first
    else:
        placement.members[thing.number] = out
        placement.contents[out] = (thing.size, b"")
        placement.stored += thing.stored


def extract_plain(path: Path, placement: Replayed, target: Target, advance: Advance) -> None:
    """Take out what is placed of an archive without index, reading it from start to end.

    Raises `DamageError` where it cannot be read, `OSError` where it cannot be written.
    """
    written = 0
    with Writer(target) as writer:
        if placement.members:
            with open_stream(path, placement.unlimited, timed=False) as reader:
                for number, member in enumerate(reader):
                    place = placement.members.get(number)
                    if place is not None and member.kind == "file":
                        writer.write_file(place, member.stamp, reader.content(), b"")
                        advance(member.size)
                        written += 1
                    if written == len(placement.members):
                        break
        for folder in placement.folders.values():
            writer.make_folder(folder)
            target.later_folder(folder, placement.stamps[folder])
    if written != len(placement.members):
        raise DamageError("it changed while it was read")
    for place, link in placement.links.values():
        target.later_link(place, link, placement.stamps[place])
    finish(placement, target)
