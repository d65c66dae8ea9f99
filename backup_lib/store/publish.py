"""Making a backup appear in a store: all at once, or not at all.

A release: the archive and its manifest are written under temporary names and made to last; the archive
gets its name, then the manifest gets its own. That rename is the commit point; ledger and link follow,
now or by recovery.
A daily backup has no manifest: the ledger knows it, as proved, before it takes the place of the old one.
What is not ours where one of these goes is moved aside before, and put back if nothing is published.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import BinaryIO, NamedTuple

from msgspec.structs import replace

from backup_lib import filesystem
from backup_lib.clock import Instant, now
from backup_lib.errors import SettingsError, StoreError
from backup_lib.model import Entry, Format, Header, Summary
from backup_lib.store import ledger, sums
from backup_lib.store.disk import discard, guarded, link_to, make_folder, new_file, open_folder, write_whole
from backup_lib.store.layout import (
    MANIFEST,
    archive_name,
    daily_name,
    latest_name,
    next_stamp,
    parse_archive_name,
    parse_daily_name,
    parse_latest_name,
    partial_name,
    stamp_of,
    version_folder,
)
from backup_lib.store.ledger import Ledger, Record
from backup_lib.store.listing import scan
from backup_lib.store.manifest import ArchiveFacts, Facts, facts_of, format_manifest, listed
from backup_lib.store.theirs import Describe, bring_back, is_as_published, is_our_manifest, move_aside

_MOST_A_DAY = 10_000
"""Numbers of daily backups from which on a ledger is not believed."""

__all__ = [
    "DailyDraft",
    "Draft",
    "Published",
    "ReleaseDraft",
    "Written",
    "new_daily",
    "new_release",
    "point_latest",
    "publication",
    "refuse_names",
    "rewrite_manifest",
]


@dataclass(frozen=True, slots=True)
class Written:
    """What is known of an archive once it is written."""

    summary: Summary
    size: int
    """Bytes."""
    sha256: str
    """Hex digest of the whole archive."""
    index: str
    """Hex digest of the index in it."""


class Published(NamedTuple):
    """What became of a draft; both are paths below the store."""

    archive: str
    aside: str
    """Of what somebody else had put in the way, and was moved aside; empty for nothing."""


@dataclass(frozen=True, slots=True)
class Draft:
    """An archive being written under a temporary name; gone at the end, unless committed."""

    store: Path
    header: Header
    made: Instant
    archive: str
    """Path below the store that it will have."""
    file: BinaryIO
    """Unbuffered and for writing only: a call may write less than it was given."""
    path: Path
    """Where it lies for now."""

    @property
    def name(self) -> str:
        """The file name that it will have."""
        return self.archive.rpartition("/")[2]

    def facts(self, written: Written) -> Facts:
        """Return what the manifest of this archive says."""
        archive = ArchiveFacts(self.name, written.size, written.sha256, written.index)
        return facts_of(self.header, written.summary, archive)

    def publication(self, written: Written) -> Record:
        """Return the record of publishing this archive."""
        record = publication(self.archive, self.facts(written))
        return replace(record, created=self.made.utc, offset=self.made.offset)

    def settle(self, written: Written) -> None:
        """Make the bytes last; raises `StoreError` where there are not as many as were written."""
        size = os.fstat(self.file.fileno()).st_size
        if size != written.size:
            raise StoreError(
                f"{written.size} bytes were written to {self.name}, but it has {size}; try again"
            )
        os.fsync(self.file.fileno())


@dataclass(frozen=True, slots=True)
class ReleaseDraft(Draft):
    """A release backup being written."""

    describe: Describe
    releasing: bool
    """Whether a release makes it: the ledger says so before it is published."""

    def commit(self, written: Written, entries: Iterable[Entry]) -> Published:
        """Publish it, unproved, with a manifest that lists the files among `entries`.

        Raises `StoreError`; then nothing was published, unless the message says so.
        """
        record = self.publication(written)
        with guarded(self.store, "publishing the backup"):
            self.settle(written)
            if self.releasing:
                ledger.append(self.store, replace(record, act="release"))
            aside = _publish(self, self.facts(written), entries)
        done = "the backup is published, but recording that"
        with guarded(self.store, done, "the next backup or clean makes up for it"):
            filesystem.sync_folder(self.path.parent)
            ledger.append(self.store, record)
            point_latest(self.path.parent, ledger.read(self.store))
        return Published(self.archive, aside)


@dataclass(frozen=True, slots=True)
class DailyDraft(Draft):
    """A daily backup being written."""

    describe: Describe

    def commit(self, written: Written, proof: Record) -> Published:
        """Put it, proved by `proof` while it still had its temporary name, in the place of the old one.

        One that lacks something takes the place of none that is complete: it gets the next number of the day.
        Raises `StoreError`; then the old one stands.
        """
        with guarded(self.store, "publishing the backup", "the backup of before stands"):
            self.settle(written)
            if written.summary.complete or not self._would_replace_complete():
                return self._publish(written, proof)
            with self._beside() as draft:
                return draft._publish(written, replace(proof, archive=draft.archive))

    def _would_replace_complete(self) -> bool:
        path = self.store / self.archive
        if not os.path.lexists(path) or not self._is_free():
            return False  # what is not ours is moved aside
        with self.describe(path) as description:
            return description is not None and description.summary.complete

    @contextmanager
    def _beside(self) -> Iterator[DailyDraft]:
        """Yield it under another name of the same day; what keeps its temporary name is discarded."""
        name = _next_name(ledger.read(self.store), self.made, self.header.format)
        path = self.store / partial_name(name)
        os.rename(self.path, path)
        try:
            yield DailyDraft(self.store, self.header, self.made, name, self.file, path, self.describe)
        finally:
            discard(path)

    def _publish(self, written: Written, proof: Record) -> Published:
        filesystem.sync_folder(self.store)  # what the ledger knows must be there, if only under this name
        book = ledger.read(self.store)
        sums.drop(self.store, book, [self.archive])
        with _way_made(self.store, self.archive, None, self._is_free) as aside:
            recorded = False
            try:
                ledger.append(self.store, self.publication(written), proof)
                recorded = True
                os.replace(self.path, self.store / self.archive)
            except BaseException:
                self._retract(book, recorded)
                raise
        filesystem.sync_folder(self.store)
        return Published(self.archive, aside)

    def _is_free(self) -> bool:
        return is_as_published(self.store, self.archive, ledger.read(self.store))

    def _retract(self, before: Ledger, recorded: bool) -> None:
        """Where it has its temporary name still, let the ledger say again what it said `before`.

        A ledger that could not be synced is not synced again.
        """
        if not os.path.lexists(self.path):
            return
        again = Record(time=now(), act="removed", archive=self.archive)
        if before.stands(self.archive):
            again = replace(before.published(self.archive)[-1], time=again.time)
        with suppress(OSError):
            ledger.append(self.store, again, lasting=recorded)


@contextmanager
def _way_made(store: Path, name: str, version: str | None, is_free: Callable[[], bool]) -> Iterator[str]:
    """Move what stands at `name` below the store aside, unless it is ours to replace.

    Yields its new path below the store, or "". If the body fails, it is put back.
    """
    aside = "" if not os.path.lexists(store / name) or is_free() else move_aside(store, name, version)
    try:
        yield aside
    except BaseException:
        # Not fsynced: what failed may be the fsync of this folder, and one that failed is not tried again.
        with suppress(OSError):
            bring_back(store, name, aside, lasting=False)
        raise


def refuse_names(header: Header, made: Instant) -> None:
    """Refuse a backup that can have no name in a store; raises `SettingsError`."""
    if header.version is None:
        daily_name(made.day, header.format)
    else:
        archive_name(header.project, header.version, stamp_of(made.utc), header.format)


@contextmanager
def new_release(
    store: Path, header: Header, made: Instant, describe: Describe, releasing: bool
) -> Iterator[ReleaseDraft]:
    """Open a new archive in the folder of the version; the store must be held alone.

    If it is `releasing`, the ledger says so before the archive is published.

    Raises `SettingsError` if it has no version or no usable name, `StoreError` if the store fails.
    """
    if header.version is None:
        raise SettingsError("a release backup needs a version; say --version 1.1.0")
    folder = store / version_folder(header.version)
    with guarded(store, "writing the backup"), _kept_folder(folder):
        name = _free_name(folder, header, header.version, stamp_of(made.utc))
        with new_file(folder, name) as (file, path):
            archive = f"{folder.name}/{name}"
            yield ReleaseDraft(store, header, made, archive, file, path, describe, releasing)


@contextmanager
def new_daily(store: Path, header: Header, made: Instant, describe: Describe) -> Iterator[DailyDraft]:
    """Open a new archive for the local day on which it is `made`; the store must be held alone.

    Raises `SettingsError` if the day has no name, `StoreError` if the store fails.
    """
    with guarded(store, "writing the backup"):
        name = _name_of_day(ledger.read(store), made, header.format)
        with new_file(store, name) as (file, path):
            yield DailyDraft(store, header, made, name, file, path, describe)


def _name_of_day(book: Ledger, made: Instant, format: Format) -> str:
    """Return the name of the newest daily backup if it is of that day and not from later, else a new one.

    So a clock that went back, another time zone or a flight west replaces no backup of another moment.
    """
    days = [name for name in book.standing() if parse_daily_name(name)]
    newest = parse_daily_name(max(days, key=book.last_publish_order, default=""))
    if newest and (newest.date, newest.format) == (made.day, format):
        name = daily_name(newest.date, format, newest.number)
        if book.published(name)[-1].created <= made.utc:
            return name
    return _next_name(book, made, format)


def _next_name(book: Ledger, made: Instant, format: Format) -> str:
    """Return the name of a day with the number after the highest that stands."""
    standing = [parse_daily_name(name) for name in book.standing()]
    of_day = [parts for parts in standing if parts and (parts.date, parts.format) == (made.day, format)]
    highest = max((parts.number for parts in of_day if parts.number < _MOST_A_DAY), default=0)
    names = (daily_name(made.day, format, number) for number in count(highest + 1))
    return next(name for name in names if not book.stands(name))


@contextmanager
def _kept_folder(folder: Path) -> Iterator[None]:
    """Make a folder, and leave none behind that stayed empty."""
    make_folder(folder)
    try:
        yield
    finally:
        with suppress(OSError):
            os.rmdir(folder)


def _free_name(folder: Path, header: Header, version: str, stamp: str) -> str:
    """Look for a name that no backup has or had; nobody takes it meanwhile, as the store is held."""
    book = ledger.read(folder.parent)
    while True:
        name = archive_name(header.project, version, stamp, header.format)
        if not os.path.lexists(folder / name) and not book.published(f"{folder.name}/{name}"):
            return name
        stamp = next_stamp(stamp)


def _publish(draft: ReleaseDraft, facts: Facts, entries: Iterable[Entry]) -> str:
    """Give archive and manifest their names; return the path of what was moved aside for it, or ""."""
    folder = draft.path.parent

    def is_free() -> bool:
        return is_our_manifest(folder, ledger.read(draft.store), draft.describe)

    with open_folder(folder) as fd, new_file(folder, MANIFEST) as (file, manifest):
        _write_manifest(file, facts, entries)
        filesystem.sync_folder(fd)
        with _way_made(draft.store, f"{folder.name}/{MANIFEST}", facts.version, is_free) as aside:
            try:
                filesystem.rename_new(draft.path.name, draft.name, fd)
                filesystem.sync_folder(fd)
                os.replace(manifest, folder / MANIFEST)
            except BaseException:
                if os.path.lexists(manifest) and not os.path.lexists(draft.path):
                    discard(folder / draft.name)
                raise
    return aside


def _write_manifest(file: BinaryIO, facts: Facts, entries: Iterable[Entry]) -> None:
    for part in _joined(format_manifest(facts, listed(facts.project, entries))):
        write_whole(file, part)
    os.fsync(file.fileno())


def rewrite_manifest(store: Path, folder: Path, facts: Facts, entries: Iterable[Entry], ours: bool) -> str:
    """Write the manifest in the folder of a version again, in one step.

    What is there is moved aside, unless it is `ours`; returns its new path below the store, or "".
    Raises `OSError`, and `DamageError` where the `entries` cannot be read: then nothing has changed.
    """
    with new_file(folder, MANIFEST) as (file, manifest):
        _write_manifest(file, facts, entries)
        with _way_made(store, f"{folder.name}/{MANIFEST}", None, lambda: ours) as aside:
            os.replace(manifest, folder / MANIFEST)
        filesystem.sync_folder(folder)
    return aside


def _joined(lines: Iterable[bytes], size: int = 1 << 18) -> Iterator[bytes]:
    """Yield the lines in pieces of about `size` bytes."""
    piece = bytearray()
    for line in lines:
        piece += line
        if len(piece) >= size:
            yield bytes(piece)
            piece.clear()
    yield bytes(piece)


def publication(archive: str, facts: Facts, note: str = "") -> Record:
    """Return the record of publishing an archive."""
    return Record(
        time=now(),
        act="publish",
        archive=archive,
        sha256=facts.sha256,
        size=facts.size,
        index=facts.index,
        project=facts.project,
        version=facts.version,
        commit=facts.commit,
        created=facts.created,
        note=note,
    )


def point_latest(folder: Path, book: Ledger) -> None:
    """Let the ``_latest`` links of a version point to the newest backup of each project, or vanish.

    What is no link, but has the name of one, stays.
    """
    newest: dict[str, tuple[int, str]] = {}
    for name in scan(folder, f"{folder.name}/").archives:
        parts = parse_archive_name(name)
        order = book.last_publish_order(f"{folder.name}/{name}")
        if parts and book.stands(f"{folder.name}/{name}"):
            newest[parts.project] = max(newest.get(parts.project, (0, "")), (order, name))
    wanted = {_latest_of(name): name for _, name in newest.values()}
    for name in os.listdir(folder):
        link = parse_latest_name(name)
        if link and name not in wanted and _is_stale(folder / name, link.project in newest):
            os.unlink(folder / name)
    for latest, name in wanted.items():
        path = folder / latest
        if not _points_to(path, name) and (path.is_symlink() or not path.exists()):
            link_to(name, path)


def _is_stale(link: Path, is_ours: bool) -> bool:
    """Tell whether a link points nowhere, or elsewhere than to the newest; one that another made may stay."""
    return link.is_symlink() and (is_ours or not link.exists())


def _latest_of(name: str) -> str:
    parts = parse_archive_name(name)
    return latest_name(parts.project, parts.version, parts.format) if parts else name


def _points_to(link: Path, target: str) -> bool:
    try:
        return os.readlink(link) == target
    except OSError:
        return False
