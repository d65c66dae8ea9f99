"""Taking things out of an archive: all of it, or what is wanted, with every digest checked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import pairwise, takewhile

from backup_lib.archive.limits import Tally
from backup_lib.archive.names import check_link, inner_path, shown
from backup_lib.archive.pool import in_order, in_processes
from backup_lib.archive.reader import GIANT, Found, PlacedBlock, Reader, Unit, batches
from backup_lib.archive.salvage import whole_entries
from backup_lib.archive.tar import Stamp
from backup_lib.archive.target import Target, Writer
from backup_lib.errors import DamageError, RestoreError, printable
from backup_lib.model import Entry
from backup_lib.progress import Advance

__all__ = ["Placement", "Wish", "extract", "finish", "place"]


_WORTH_PROCESSES = 16 << 20
"""Bytes of content from which on it pays to write them in processes."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be taken out of an archive, and how it is to be named."""

    wanted: Callable[[bytes], bool] | None = None
    """Told a path as it stands in the archive, a folder's with ``/`` at its end; None wants everything."""
    strip: int = 0
    """Leading parts of each name, the top folder included, that are cut off."""
    outside_links: bool = False
    """Restore also symlinks that lead out of the target."""
    unlimited: bool = False
    """Let the archive ask for as much as it likes: it is ours, or somebody trusts it."""
    parts: tuple[bytes, ...] = ()
    """Where there are any: every wanted path, or one above it, has one of these in its last part."""

    def may_be_in(self, placed: PlacedBlock) -> bool:
        """Whether something wanted may begin in a block; its entries are not unpacked for that."""
        return not self.parts or any(part in placed.block.entries for part in self.parts)

    def out(self, name: bytes, is_folder: bool) -> bytes | None:
        """Return where the entry of that name goes below the target, or None where it is not wanted."""
        if self.wanted and not self.wanted(name + b"/" if is_folder else name):
            return None
        return self.stripped(name)

    def stripped(self, name: bytes) -> bytes | None:
        """Return the name without the leading parts that are cut off, or None where nothing is left."""
        return (b"/".join(name.split(b"/")[self.strip :]) if self.strip else name) or None


@dataclass(slots=True)
class Placement:
    """What of an archive goes where. Places are paths below the target."""

    blocks: set[int] = field(default_factory=set)
    """The numbers of the blocks in which something of it begins, in an archive with an index."""
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
    only_linked: set[bytes] = field(default_factory=set)
    """The names of files that are not wanted themselves, in an archive with an index."""
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

    def every_folder(self) -> set[bytes]:
        """Return the place of every folder that has to be there."""
        return _with_those_above(set(self.folders.values()), self.places())

    def check_links(self) -> None:
        """Refuse symlinks that lead out of the target; raises `RestoreError`."""
        folders: set[bytes] = set()
        for out, target in self.links.values():
            if b"/.." in target and not folders:
                folders = self.every_folder()
            check_link(out, target, folders)

    def check(self) -> None:
        """Refuse what would be written over a link, or twice.

        Raises `RestoreError`.
        """
        things = list(self.places())
        leaves = set(things)
        folders = set(self.folders.values())
        if len(leaves) == len(things) and leaves.isdisjoint(_with_those_above(folders, things)):
            return
        self._refuse(folders)

    def _refuse(self, folders: set[bytes]) -> None:
        """Tell what is wrong; what lies below a path comes right after it."""
        things = [(out.replace(b"/", b"\0"), False) for out in self.places()]
        things += [(folder.replace(b"/", b"\0"), True) for folder in folders]
        things.sort()
        for (above, is_folder), (below, _) in pairwise(things):
            if not is_folder and (above == below or below.startswith(above + b"\0")):
                name = shown(above.replace(b"\0", b"/"))
                if above == below:
                    raise RestoreError(f"refused: two things would be restored as {name}")
                raise RestoreError(f"refused: something lies below {name}, which is no folder")


def _with_those_above(folders: set[bytes], things: Iterable[bytes]) -> set[bytes]:
    """Return folders, those in which things lie, and all above them."""
    found: set[bytes] = set()
    more = folders | {thing.rpartition(b"/")[0] for thing in things}
    while more:
        found |= more
        more = {folder.rpartition(b"/")[0] for folder in more} - found
    return found - {b""}


def place(reader: Reader, wish: Wish) -> Placement:
    """Decide what of an archive goes where.

    A hard link whose file is not wanted becomes a file itself.
    Raises `RestoreError` where a name or link may not be restored, or the archive asks for too much.
    """
    placement = Placement()
    top = reader.header.project.encode()
    tally = None if wish.unlimited else reader.tally()
    for placed in filter(wish.may_be_in, reader.blocks()):
        for entry in placed.entries():
            if tally:
                tally.time()
            name = _name(top, entry.path)
            out = wish.out(inner_path(name), entry.kind == "directory")
            if out is not None:
                if tally:
                    _count(tally, placement, name, entry)
                placement.blocks.add(placed.number)
                _place_entry(placement, entry, (name, out), _name(top, entry.link))
    placement.blocks.update(_blocks_of_links(reader, placement, top))
    if tally:
        _count_stream(tally, placement, reader)
    placement.check()
    if not wish.outside_links:
        placement.check_links()
    return placement


def _count(tally: Tally, placement: Placement, name: bytes, entry: Entry) -> None:
    """Count an entry, and the folders it lies in where those are no entries; raises `RestoreError`."""
    tally.text(len(name) + len(entry.link))
    folder = name.rpartition(b"/")[0]
    if folder not in placement.folders:
        tally.folders(folder)


def _count_stream(tally: Tally, placement: Placement, reader: Reader) -> None:
    """Count what is going to be unpacked; raises `RestoreError`."""
    for unit in reader.units():
        if unit[0].number in placement.blocks:
            tally.stream(sum(placed.block.size for placed in unit))


def _blocks_of_links(reader: Reader, placement: Placement, top: bytes) -> Iterator[int]:
    """Yield in which blocks the files lie that are only wanted for a hard link to them.

    Raises `RestoreError` where one is not there.
    """
    missing = set(placement.only_linked)
    last_parts = {name.rpartition(b"/")[2] for name in placement.only_linked}
    wish = Wish(parts=tuple(last_parts))
    for placed in filter(wish.may_be_in, reader.blocks()) if last_parts else ():
        files = {_name(top, entry.path) for entry in placed.entries() if entry.kind == "file"}
        if not files.isdisjoint(missing):
            missing -= files
            yield placed.number
    if missing:
        raise RestoreError(
            f"refused: a hard link is to {shown(min(missing))}, which is no file of the archive"
        )


def _name(top: bytes, path: bytes) -> bytes:
    return top + b"/" + path if path else top


def _place_entry(placement: Placement, entry: Entry, named: tuple[bytes, bytes], link: bytes) -> None:
    name, out = named
    if entry.kind == "directory":
        placement.folders[name] = out
    elif entry.kind == "symlink":
        placement.links[name] = (out, entry.link)
    elif entry.kind == "file":
        _place_file(placement, name, out, (entry.size, entry.digest))
    elif link in placement.files:
        if out in placement.hard_links:
            raise _twice(out)
        placement.hard_links[out] = placement.files[link]
    else:
        placement.only_linked.add(link)
        _place_file(placement, link, out, (entry.size, entry.digest))


def _place_file(placement: Placement, name: bytes, out: bytes, content: tuple[int, bytes]) -> None:
    if out in placement.contents or name in placement.files:
        raise _twice(out)
    placement.files[name] = out
    placement.contents[out] = content


def _twice(out: bytes) -> RestoreError:
    return RestoreError(f"refused: two things would be restored as {shown(out)}")


def extract(reader: Reader, placement: Placement, target: Target, advance: Advance) -> None:
    """Take out what is placed, reading only the blocks that hold it.

    Raises `DamageError` where a block or a file does not match its digest, `OSError` where writing fails.
    """
    extractor = _Extractor(reader, placement, target)
    last = max(placement.blocks, default=-1)
    upto = takewhile(lambda unit: unit[0].number <= last, reader.units())
    units = (unit for unit in upto if unit[0].number in placement.blocks)
    files = 0
    with in_processes(extractor.take, batches(units), placement.size >= _WORTH_PROCESSES) as results:
        for result in results:
            taken = result if isinstance(result, _Taken) else extractor.take_giant(result)
            taken.leave_to(target)
            advance(taken.content)
            files += taken.files
    if files != len(placement.files):
        raise DamageError("it does not hold all the files that its index says")
    finish(placement, target)


def finish(placement: Placement, target: Target) -> None:
    """Do what has to wait until all files are there."""
    for place, file in placement.hard_links.items():
        target.later_hard_link(place, file)
    target.finish()


@dataclass(slots=True)
class _Taken:
    """What was done with some blocks, and what has to wait until everything is there."""

    content: int = 0
    """Bytes of content that were dealt with."""
    files: int = 0
    """Files that were dealt with."""
    kept: list[bytes] = field(default_factory=list)
    """The files that were not written again."""
    folders: list[tuple[bytes, Stamp]] = field(default_factory=list)
    links: list[tuple[bytes, bytes, Stamp]] = field(default_factory=list)

    def leave_to(self, target: Target) -> None:
        """Hand over what has to wait."""
        target.kept += self.kept
        for place, stamp in self.folders:
            target.later_folder(place, stamp)
        for place, link, stamp in self.links:
            target.later_link(place, link, stamp)


@dataclass(frozen=True, slots=True)
class _Extractor:
    reader: Reader
    placement: Placement
    target: Target

    def take(self, units: tuple[Unit, ...]) -> _Taken | Unit:
        """Write what is wanted of some units; a giant one is given back for `take_giant`."""
        if len(units[0]) > GIANT:
            return units[0]
        taken = _Taken()
        with Writer(self.target) as writer:
            for first, *others in units:
                self._take_unit(first, map(self.reader.unpack, others), writer, taken)
        taken.kept += writer.kept
        return taken

    def take_giant(self, unit: Unit) -> _Taken:
        """Write a giant file, its blocks unpacked side by side."""
        taken = _Taken()
        first, *others = unit
        with Writer(self.target) as writer, closing(in_order(self.reader.unpack, others)) as pieces:
            self._take_unit(first, pieces, writer, taken)
        taken.kept += writer.kept
        return taken

    def _take_unit(
        self, first: PlacedBlock, others: Iterable[bytes | bytearray], writer: Writer, taken: _Taken
    ) -> None:
        top = self.reader.header.project.encode()
        placement = self.placement
        for entry, stamp, content in self._found(first):
            name = _name(top, entry.path)
            if (place := placement.files.get(name)) is not None:
                pieces = (content,) if len(content) == entry.size else self._pieces(entry, content, others)
                writer.write_file(place, stamp, pieces, entry.digest)
                taken.content += entry.size
                taken.files += 1
            elif (place := placement.folders.get(name)) is not None:
                writer.make_folder(place)
                taken.folders.append((place, stamp))
            elif (link := placement.links.get(name)) is not None:
                taken.links.append((*link, stamp))

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
                raise self._loss(entry)
        return found

    def _loss(self, entry: Entry) -> DamageError:
        """Return the error that names an entry that is lost, and what is lost with it."""
        placement = self.placement
        name = _name(self.reader.header.project.encode(), entry.path)
        place = placement.files.get(name)
        links = [link for link, file in placement.hard_links.items() if file == place]
        if place is not None and name in placement.only_linked:
            links.insert(0, place)
        told = printable(entry.path) or "its top folder"
        if links:
            more = f" and {len(links) - 1} more" if len(links) > 1 else ""
            told += f", and with it the hard link {printable(links[0])}{more},"
        return DamageError(f"{told} cannot be read back as it was")

    def _is_wanted(self, entry: Entry) -> bool:
        name = _name(self.reader.header.project.encode(), entry.path)
        placement = self.placement
        return name in placement.files or name in placement.folders or name in placement.links

    def _pieces(
        self, entry: Entry, content: memoryview, others: Iterable[bytes | bytearray]
    ) -> Iterator[bytes | memoryview]:
        """Yield the content of a file that runs on in `others`, which have the padding after it, too."""
        yield content
        left = entry.size - len(content)
        try:
            for data in others:
                piece = memoryview(data)[:left]
                left -= len(piece)
                yield piece
        except DamageError as error:
            raise self._loss(entry) from error
