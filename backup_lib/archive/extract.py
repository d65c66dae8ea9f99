"""Taking things out of an archive: all of it, or what is wanted, with every digest checked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from backup_lib.archive.names import check_link, inner_path
from backup_lib.archive.plain import all_members, open_stream
from backup_lib.archive.pool import in_order
from backup_lib.archive.reader import Found, PlacedBlock, Reader
from backup_lib.archive.salvage import whole_entries
from backup_lib.archive.tar import Member, Stamp
from backup_lib.archive.target import Target
from backup_lib.errors import DamageError, RestoreError, printable
from backup_lib.model import Entry
from backup_lib.progress import Advance

__all__ = ["Placement", "Wish", "extract", "extract_plain", "place", "place_plain"]


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be taken out of an archive, and how it is to be named."""

    wanted: Callable[[bytes], bool] | None = None
    """Told a path as it stands in the archive, a folder's with ``/`` at its end; None wants everything."""
    strip: int = 0
    """Leading parts of each name, the top folder included, that are cut off."""
    outside_links: bool = False
    """Restore also symlinks that lead out of the target."""

    def out(self, name: bytes, is_folder: bool) -> bytes | None:
        """Return where the entry of that name goes below the target, or None where it is not wanted."""
        if self.wanted and not self.wanted(name + b"/" if is_folder else name):
            return None
        return self.stripped(name)

    def stripped(self, name: bytes) -> bytes | None:
        """Return the name without the leading parts that are cut off, or None where nothing is left."""
        return b"/".join(name.split(b"/")[self.strip :]) or None


@dataclass(slots=True)
class Placement:
    """What of an archive goes where. Places are paths below the target."""

    files: dict[bytes, bytes] = field(default_factory=dict)
    """The place of each file, by the name it has in the archive."""
    contents: dict[bytes, tuple[int, bytes]] = field(default_factory=dict)
    """Size in bytes and SHA-256 (empty where unknown) of each file, by place."""
    folders: dict[bytes, bytes] = field(default_factory=dict)
    """The place of each folder, by name."""
    links: dict[bytes, tuple[bytes, bytes]] = field(default_factory=dict)
    """The place and target of each symlink, by name."""
    hard_links: dict[bytes, bytes] = field(default_factory=dict)
    """By place: the place of the file that it is the same as."""
    linked: set[bytes] = field(default_factory=set)
    """The places of files that hard links stand for, in an archive without index."""
    skipped: list[bytes] = field(default_factory=list)
    """Names of devices, fifos and the like, which are never restored."""

    @property
    def size(self) -> int:
        """Bytes of content."""
        return sum(size for size, _ in self.contents.values())

    def places(self) -> Iterator[bytes]:
        """Yield every place that something other than a folder will take."""
        yield from self.contents
        yield from self.hard_links
        yield from (place for place, _ in self.links.values())

    def check(self) -> None:
        """Refuse what would be written over a link, or twice.

        Raises `RestoreError`.
        """
        things = [(out.replace(b"/", b"\0"), False) for out in self.places()]
        things += [(folder.replace(b"/", b"\0"), True) for folder in set(self.folders.values())]
        things.sort()  # what lies below a path comes right after it
        for (above, is_folder), (below, _) in pairwise(things):
            name = printable(above.replace(b"\0", b"/"))
            if above == below:
                raise RestoreError(f"refused: two things would be restored as {name}")
            if not is_folder and below.startswith(above + b"\0"):
                raise RestoreError(f"refused: something lies below {name}, which is no folder")


def place(reader: Reader, wish: Wish) -> Placement:
    """Decide what of an archive goes where.

    A hard link whose file is not wanted becomes a file itself.
    Raises `RestoreError` where a name or link may not be restored.
    """
    placement = Placement()
    top = reader.header.project.encode()
    for entry in reader.entries():
        name = _name(top, entry.path)
        out = wish.out(inner_path(name), entry.kind == "directory")
        if out is not None:
            _place_entry(placement, entry, (name, out), (_name(top, entry.link), wish))
    placement.check()
    return placement


def _name(top: bytes, path: bytes) -> bytes:
    return top + b"/" + path if path else top


def _place_entry(
    placement: Placement, entry: Entry, named: tuple[bytes, bytes], linked: tuple[bytes, Wish]
) -> None:
    (name, out), (link, wish) = named, linked
    if entry.kind == "directory":
        placement.folders[name] = out
    elif entry.kind == "symlink":
        if not wish.outside_links:
            check_link(out, entry.link)
        placement.links[name] = (out, entry.link)
    elif entry.kind == "file":
        _place_file(placement, name, out, (entry.size, entry.digest))
    elif link in placement.files:
        placement.hard_links[out] = placement.files[link]
    else:
        _place_file(placement, link, out, (entry.size, entry.digest))


def _place_file(placement: Placement, name: bytes, out: bytes, content: tuple[int, bytes]) -> None:
    if out in placement.contents:
        raise RestoreError(f"refused: two things would be restored as {printable(out)}")
    placement.files[name] = out
    placement.contents[out] = content


def extract(reader: Reader, placement: Placement, target: Target, advance: Advance) -> None:
    """Take out what is placed, reading only the blocks that hold it.

    Raises `DamageError` where a block or a file does not match its digest, `OSError` where writing fails.
    """
    _make_folders(placement, target)
    extractor = _Extractor(reader, placement, target)
    with closing(in_order(extractor.take, extractor.units())) as results:
        for written in results:
            advance(written)
    target.finish()


def _make_folders(placement: Placement, target: Target) -> None:
    parents = {place.rpartition(b"/")[0] for place in placement.places()}
    for folder in sorted(parents | set(placement.folders.values())):
        target.make_folders(folder)
    for place, file in placement.hard_links.items():
        target.later_hard_link(place, file)


@dataclass(frozen=True, slots=True)
class _Extractor:
    reader: Reader
    placement: Placement
    target: Target

    def units(self) -> Iterator[tuple[PlacedBlock, ...]]:
        """Yield each wanted block, together with those that its last file runs on in."""
        unit: list[PlacedBlock] = []
        for placed in self.reader.blocks():
            if not placed.is_empty:
                if unit:
                    yield tuple(unit)
                unit = [placed] if any(map(self._is_wanted, placed.entries())) else []
            elif unit:
                unit.append(placed)
        if unit:
            yield tuple(unit)

    def _is_wanted(self, entry: Entry) -> bool:
        name = _name(self.reader.header.project.encode(), entry.path)
        placement = self.placement
        return name in placement.files or name in placement.folders or name in placement.links

    def take(self, unit: tuple[PlacedBlock, ...]) -> int:
        """Write what is wanted of one block; return the bytes of content that were dealt with."""
        first, *others = unit
        done = 0
        top = self.reader.header.project.encode()
        for entry, stamp, content in self._found(first):
            name = _name(top, entry.path)
            if (place := self.placement.files.get(name)) is not None:
                pieces = self._pieces(content, entry.size, others)
                self.target.write_file(place, stamp, pieces, entry.digest)
                done += entry.size
            else:
                self._put_off(name, stamp)
        return done

    def _found(self, placed: PlacedBlock) -> list[Found]:
        """Return what is in a block; of a damaged one all that is wanted, or nothing.

        Raises `DamageError` naming what is wanted and cannot be read.
        """
        try:
            data = self.reader.unpack(placed)
        except DamageError:
            return self._salvaged(placed)
        return self.reader.found(placed.entries(), data)

    def _salvaged(self, placed: PlacedBlock) -> list[Found]:
        packed, entries = self.reader.packed(placed), placed.entries()
        data = self.reader.form.salvage(packed, placed.block.size)
        found = whole_entries(entries, data, self.reader.header.project.encode())
        whole = {entry.path for entry, _, _ in found}
        for entry in entries:
            if self._is_wanted(entry) and entry.path not in whole:
                name = printable(entry.path) or "its top folder"
                raise DamageError(f"{name} cannot be read back as it was")
        return found

    def _pieces(
        self, content: memoryview, size: int, others: list[PlacedBlock]
    ) -> Iterator[bytes | memoryview]:
        """Yield the content of a file, from the blocks after its first one too."""
        yield content
        left = size - len(content)
        for placed in others:
            if not left:
                return
            piece = self.reader.unpack(placed)[:left]
            left -= len(piece)
            yield piece

    def _put_off(self, name: bytes, stamp: Stamp) -> None:
        if (folder := self.placement.folders.get(name)) is not None:
            self.target.later_folder(folder, stamp)
        elif (link := self.placement.links.get(name)) is not None:
            self.target.later_link(*link, stamp)


def place_plain(path: Path, wish: Wish) -> Placement:
    """Decide what of an archive without index goes where; the last of several members of one name counts.

    Raises `RestoreError` where a name or link may not be restored, `DamageError` where it cannot be read.
    """
    placement = Placement()
    with open_stream(path) as reader:
        for member in all_members(reader):
            name = inner_path(member.name)
            out = wish.out(name, member.kind == "directory")
            if out is None:
                continue
            _forget(placement, name, out)
            _place_member(placement, member, (name, out), wish)
    placement.check()
    return placement


def _forget(placement: Placement, name: bytes, out: bytes) -> None:
    """Forget an earlier member of the same name."""
    if (place := placement.files.pop(name, None)) is not None:
        if place in placement.linked:
            raise RestoreError(f"refused: {printable(name)} comes twice, with a hard link to it between")
        placement.contents.pop(place)
    placement.links.pop(name, None)
    placement.hard_links.pop(out, None)


def _place_member(placement: Placement, member: Member, named: tuple[bytes, bytes], wish: Wish) -> None:
    name, out = named
    if member.kind is None:
        placement.skipped.append(name)
    elif member.kind == "directory":
        placement.folders[name] = out
    elif member.kind == "file":
        _place_file(placement, name, out, (member.size, b""))
    elif member.kind == "symlink":
        if not wish.outside_links:
            check_link(out, member.link)
        placement.links[name] = (out, member.link)
    else:
        _place_hard_link(placement, inner_path(member.link), named, wish)


def _place_hard_link(placement: Placement, file: bytes, named: tuple[bytes, bytes], wish: Wish) -> None:
    name, out = named
    there = wish.stripped(file)
    if file in placement.links:  # tar records a symlink of two names so
        if not wish.outside_links:
            check_link(out, placement.links[file][1])
        placement.links[name] = (out, placement.links[file][1])
    elif file in placement.files:
        placement.hard_links[out] = placement.files[file]
        placement.linked.add(placement.files[file])
    elif there in placement.hard_links:
        placement.hard_links[out] = placement.hard_links[there]
    else:
        raise RestoreError(
            f"refused: {printable(name)} is a hard link to {printable(file)}, which is not restored"
        )


def extract_plain(path: Path, placement: Placement, target: Target, advance: Advance) -> None:
    """Take out what is placed of an archive without index, reading it from start to end.

    Raises `DamageError` where it cannot be read, `OSError` where it cannot be written.
    """
    _make_folders(placement, target)
    last: dict[bytes, int] = {}
    with open_stream(path) as reader:
        for number, member in enumerate(reader):
            last[inner_path(member.name)] = number
    with open_stream(path) as reader:
        for number, member in enumerate(reader):
            name = inner_path(member.name)
            if last[name] != number:
                continue
            if name in placement.files and member.kind == "file":
                target.write_file(placement.files[name], member.stamp, reader.content(), b"")
                advance(member.size)
            elif name in placement.folders:
                target.later_folder(placement.folders[name], member.stamp)
            elif name in placement.links:
                target.later_link(*placement.links[name], member.stamp)
    target.finish()
