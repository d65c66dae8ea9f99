"""Backups in a local store: published whole or not at all, listed in order, removed for good."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import pytest

from backup_lib import filesystem
from backup_lib.clock import Instant
from backup_lib.errors import DamageError, NoSuchBackupError, SettingsError, StoreError, StoreHeldError
from backup_lib.model import Counts, Description, Entry, Header, Summary
from backup_lib.store import layout, ledger, listing, lock, sums
from backup_lib.store.ledger import Record
from backup_lib.store.listing import Backup
from backup_lib.store.local import LocalStore, open_store
from backup_lib.store.publish import Written

TIME = "2026-11-22T21:45:00Z"
NOW = Instant(TIME, "+00:00", TIME[:10])


def header(version: str | None = "1.0.0", created: str = TIME, **more: Any) -> Header:
    """Return what is known of an archive at first."""
    known: dict[str, Any] = {"scanned_ns": 0, "format": "gz", "level": "normal", "commit": "3f2c", **more}
    return Header(project="demo", version=version, created=created, **known)


def entries(content: bytes) -> list[Entry]:
    """Return what stands in an archive of one file."""
    digest = hashlib.sha256(content).digest()
    return [
        Entry(b"", "directory", 0, b"", b"", ""),
        Entry(b"a", "file", len(content), digest, b"", "committed"),
    ]


def written(content: bytes) -> Written:
    """Return what is known of an archive at last; its bytes are as good as any."""
    digest = hashlib.sha256(content).hexdigest()
    summary = Summary(Counts(1, len(content), 2, {"committed": 1}))
    return Written(summary, len(content), digest, f"index of {digest}")


def proof(archive: str, content: bytes) -> Record:
    """Return a full and sound proof."""
    digest = hashlib.sha256(content).hexdigest()
    return Record(time=TIME, act="prove", archive=archive, sha256=digest, depth="full", result="sound")


def at(of: Header) -> Instant:
    """Return the moment at which a header was made, in UTC."""
    return Instant(of.created, "+00:00", of.created[:10])


def release(store: LocalStore, content: bytes, of: Header | None = None) -> str:
    """Publish a release backup."""
    of = of or header()
    with store.writing("a test"), store.new_release(of, at(of)) as draft:
        draft.file.write(content)
        draft.commit(written(content), entries(content))
    return draft.archive


def release_failing(store: LocalStore, error: BaseException) -> None:
    """Fail in the middle of a release backup."""
    with store.writing("a test"), store.new_release(header(), NOW) as draft:
        draft.file.write(b"half")
        assert draft.path.read_bytes() == b"half"
        assert not {draft.archive} & set(names(store))
        raise error


def daily(store: LocalStore, content: bytes, of: Header | None = None) -> str:
    """Publish a daily backup."""
    of = of or header(None)
    with store.writing("a test"), store.new_daily(of, at(of)) as draft:
        draft.file.write(content)
        draft.commit(written(content), proof(draft.archive, content))
    return draft.archive


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    """Return a store that is not there yet."""
    return open_store("backups", tmp_path)


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for locks less than a user would."""
    monkeypatch.setattr(lock, "_PATIENCE", 0.2)


def names(store: LocalStore) -> list[str]:
    """Return the names of the backups, oldest first."""
    return [backup.name for backup in store.backups()]


def temporary(store: LocalStore) -> list[Path]:
    """Return what a crash left."""
    return [path for path in store.path.rglob("*") if layout.is_partial(path.name)]


# --- where a store may be


@pytest.mark.parametrize("path", [".", "", "x/..", ".git", ".git/backups"])
def test_a_store_is_not_the_project_and_not_in_git(tmp_path: Path, path: str) -> None:
    """One clear line says so before anything is made."""
    with pytest.raises(SettingsError, match="the store cannot"):
        open_store(path, tmp_path)
    assert not os.listdir(tmp_path)


def test_a_store_is_a_folder(tmp_path: Path) -> None:
    """A file of that name is left alone; what cannot be looked at is told."""
    (tmp_path / "backups").write_text("mine")
    with pytest.raises(StoreError, match="not a folder"):
        open_store("backups", tmp_path)
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(StoreError):
        open_store("loop", tmp_path)


def test_a_store_may_be_a_link_or_elsewhere(tmp_path: Path) -> None:
    """`backups` on another disk is an ordinary wish."""
    (tmp_path / "root").mkdir()
    (tmp_path / "disk").mkdir()
    (tmp_path / "root/backups").symlink_to("../disk")
    store = open_store("backups", tmp_path / "root")
    assert store.path == tmp_path / "disk"
    assert open_store(tmp_path / "disk", tmp_path / "root") == store
    assert store.is_outside
    release(replace(store, is_new=True), b"one")
    assert names(open_store("../disk", tmp_path / "root")) == names(store) != []
    release(store, b"two", header("1.1.0"))


@pytest.mark.parametrize("where", ["../disk", "../disk/deeper", "link", "link/deeper", "root-of-all"])
def test_outside_the_project_a_store_is_made_only_if_one_is_wanted(tmp_path: Path, where: str) -> None:
    """A disk that is not mounted is not filled in its stead: nothing at all is made."""
    root = tmp_path / "root"
    (tmp_path / "disk").mkdir()
    root.mkdir()
    (root / "link").symlink_to("../disk")
    (root / "root-of-all").symlink_to("/")
    store = open_store(where, root)
    with pytest.raises(StoreError, match=r"holds no ledger\.jsonl, so it is no store; mount"):
        release(store, b"1")
    assert os.listdir(tmp_path / "disk") == []
    if where != "root-of-all":
        release(replace(store, is_new=True), b"1")
        assert len(names(store)) == 1


@pytest.mark.parametrize("where", ["dangling", "dangling/deeper", "loop", "../far/dangling"])
def test_a_link_that_leads_nowhere_is_refused(tmp_path: Path, where: str) -> None:
    """The disk behind it is not there: no folder is made in its place, also if one is wanted."""
    root = tmp_path / "root"
    root.mkdir()
    (root / "loop").symlink_to("loop")
    (tmp_path / "far").mkdir()
    for link in (root / "dangling", tmp_path / "far" / "dangling"):
        link.symlink_to(tmp_path / "gone")
    with pytest.raises(StoreError, match=r"is a link to .*, which is not there; mount the disk"):
        open_store(where, root, is_new=True)
    assert not (tmp_path / "gone").exists()


@pytest.mark.parametrize("held", ["letter", "sub/letter", "ledger.txt", "v1.0"])
def test_a_folder_that_holds_other_things_becomes_no_store(tmp_path: Path, held: str) -> None:
    """What is in a store is not backed up, so nobody's folder becomes one; a lock makes none of it."""
    folder = tmp_path / "backups"
    (folder / held).parent.mkdir(parents=True)
    (folder / held).write_text("mine")
    store = open_store("backups", tmp_path, is_new=True)
    for _ in range(2):
        with store.reading("a test"):
            pass
        with pytest.raises(StoreError, match="holds other things"):
            release(store, b"1")
        (folder / ".lock").touch()


@pytest.mark.parametrize("held", ["README.md", ".keep", "lost+found", "old.tar.gz", "v0.9.0/a", "v2/a"])
def test_a_folder_with_older_backups_or_next_to_nothing_becomes_a_store(tmp_path: Path, held: str) -> None:
    """A team that moves here has its archives there already."""
    (tmp_path / "backups" / held).mkdir(parents=True)
    (tmp_path / "backups" / "notes.tar").write_bytes(b"theirs")
    store = open_store("backups", tmp_path)
    release(store, b"1")
    assert (tmp_path / "backups" / held).exists()


def test_readers_leave_nothing_in_what_is_no_store(store: LocalStore) -> None:
    """Neither a lock nor a ledger: both would make the next writer take it for one."""
    store.path.mkdir()
    (store.path / "letter").write_text("mine")
    with store.reading("a test"):
        assert store.backups() == []
    assert store.record(proof("x", b"")) == f"{store.path} holds no ledger"
    assert os.listdir(store.path) == ["letter"]


# --- publishing


def test_a_release_is_published_whole(store: LocalStore) -> None:
    """Archive, manifest, ledger and link are there, for the owner alone."""
    archive = release(store, b"content")
    assert archive == "v1.0.0/demo_v1.0.0_20261122T214500Z.tar.gz"
    path = store.path / archive
    assert path.read_bytes() == b"content"
    assert os.readlink(path.parent / "demo_v1.0.0_latest.tar.gz") == path.name
    for made in (path, path.parent / "MANIFEST.txt", store.path / "ledger.jsonl", store.path / ".lock"):
        assert stat.S_IMODE(made.stat().st_mode) == 0o600
    for made in (store.path, path.parent):
        assert stat.S_IMODE(made.stat().st_mode) == 0o700
    [backup] = store.backups()
    assert backup == Backup(path, archive, "release", "demo", "1.0.0", TIME, "gz", 7, 1)
    assert backup.label == "1.0.0"
    assert store.manifest_of(backup) == path.parent / "MANIFEST.txt"
    [record] = store.ledger().published(archive)
    assert (record.size, record.version, record.commit, record.created) == (7, "1.0.0", "3f2c", TIME)
    expected = store.expected(backup)
    assert expected is not None
    assert (expected.sha256, expected.size) == (hashlib.sha256(b"content").hexdigest(), 7)
    assert expected.index == record.index == f"index of {expected.sha256}"
    assert not temporary(store)


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="no sha256sum here")
def test_the_published_manifest_proves_an_extracted_tree(store: LocalStore, tmp_path: Path) -> None:
    """Stock `sha256sum` takes it as it is."""
    manifest = store.path / release(store, b"content")
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo/a").write_bytes(b"content")
    command = ["sha256sum", "--check", "--strict", "--quiet", str(manifest.parent / "MANIFEST.txt")]
    subprocess.run(command, cwd=tmp_path, check=True)


def test_backups_of_the_same_second_stand_side_by_side(store: LocalStore) -> None:
    """Nothing is overwritten, and the order is the one in which they came."""
    made = [release(store, b"%d" % number) for number in range(11)]
    assert made[1].endswith("Z-2.tar.gz")
    assert made[10].endswith("Z-11.tar.gz")
    assert names(store) == made
    assert store.find("1.0.0").name == store.find("latest").name == store.find(None).name == made[10]
    assert os.readlink(store.path / "v1.0.0/demo_v1.0.0_latest.tar.gz") == os.path.basename(made[10])
    (store.path / "ledger.jsonl").unlink()
    book = [backup.name for backup in store.backups() if backup.kind == "release"]
    assert book == [made[10]]


def test_a_clock_that_went_back_changes_no_order(store: LocalStore) -> None:
    """The newest backup is the one made last."""
    first = release(store, b"1", header("1.0.0", "2030-01-01T00:00:00Z"))
    second = release(store, b"2", header("1.1.0", "2020-01-01T00:00:00Z"))
    assert names(store) == [first, second]
    assert store.find().name == second


def test_the_link_follows_the_newest_whatever_its_format(store: LocalStore) -> None:
    """There is one newest backup of a version."""
    release(store, b"1")
    made = release(store, b"2", header(created="2026-11-22T21:45:01Z", format="zst"))
    links = [path for path in (store.path / "v1.0.0").iterdir() if path.is_symlink()]
    assert [path.name for path in links] == ["demo_v1.0.0_latest.tar.zst"]
    assert os.readlink(links[0]) == os.path.basename(made)


def test_an_archive_not_committed_is_gone(store: LocalStore) -> None:
    """Neither an error nor Ctrl-C leaves anything, the folder of the version included."""
    for error in (ValueError(), KeyboardInterrupt()):
        with pytest.raises(type(error)):
            release_failing(store, error)
        assert sorted(os.listdir(store.path)) == [".lock", "ledger.jsonl"]
    with store.writing("a test"), store.new_daily(header(None), NOW):
        pass
    assert sorted(os.listdir(store.path)) == [".lock", "ledger.jsonl"]


def test_a_release_has_a_version(store: LocalStore) -> None:
    """One clear line says what is missing."""
    with store.writing("a test"):
        with pytest.raises(SettingsError, match="needs a version"), store.new_release(header(None), NOW):
            pass
        with (
            pytest.raises(SettingsError, match="not a semantic version"),
            store.new_release(header("../x"), NOW),
        ):
            pass


@pytest.mark.parametrize("version", ["1.0.0", None])
def test_a_moment_that_no_name_can_hold(store: LocalStore, version: str | None) -> None:
    """A clock beyond the year 9999 is told of before anything is written."""
    of = header(version, created="10000-01-01T00:00:00Z")
    with store.writing("a test"), pytest.raises(SettingsError, match=r"not a (moment|date)"):
        (store.new_release if version else store.new_daily)(of, at(of)).__enter__()
    assert sorted(os.listdir(store.path)) == [".lock", "ledger.jsonl"]


def test_bytes_that_did_not_reach_the_disk_are_noticed(store: LocalStore) -> None:
    """The size on disk has to be the one that was written."""
    with store.writing("a test"), store.new_release(header(), NOW) as draft:
        draft.file.write(b"12")
        with pytest.raises(StoreError, match=r"5 bytes were written to .* but it has 2"):
            draft.commit(written(b"12345"), entries(b"12345"))
    assert names(store) == []


def test_a_full_disk_is_one_clear_line(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says how much is free, where that can be told, and that the old backups are untouched."""
    release(store, b"old")
    with pytest.raises(StoreError, match=r"No space left on device; [0-9]+ bytes are left at .* untouched"):
        release_failing(store, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    assert len(names(store)) == 1
    monkeypatch.setattr(os, "statvfs", _fail)
    with pytest.raises(StoreError, match=r"quota exceeded; .* the earlier backups are untouched"):
        release_failing(store, OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)))


def test_a_file_system_without_links_holds_backups_too(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The link is a convenience."""

    def symlink(target: str, path: Path) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "symlink", symlink)
    made = release(store, b"1")
    assert names(store) == [made]


def test_nothing_is_claimed_of_a_manifest_that_cannot_be_read(store: LocalStore) -> None:
    """Where the ledger does not know an archive, a manifest that fails is told as that."""
    release(store, b"content")
    [backup] = store.backups()
    manifest = backup.archive.parent / "MANIFEST.txt"
    (store.path / "ledger.jsonl").unlink()
    expected = store.expected(backup)
    assert expected is not None
    assert expected.sha256 == hashlib.sha256(b"content").hexdigest()
    manifest.unlink()
    assert store.expected(backup) is None
    manifest.symlink_to(manifest.name)
    with pytest.raises(DamageError, match=r"MANIFEST\.txt cannot be read: it is a symbolic link"):
        store.expected(backup)


def test_a_large_manifest_is_written_in_pieces(store: LocalStore) -> None:
    """Every line arrives, also where the disk takes less than it is given."""
    many = [Entry(b"%05d" % number, "file", 0, bytes(32), b"", "") for number in range(5000)]
    with store.writing("a test"), store.new_release(header(), NOW) as draft:
        known = Written(Summary(Counts(5000, 0, 5000, {})), 0, "", "")
        draft.commit(known, many)
    data = (store.path / "v1.0.0/MANIFEST.txt").read_bytes()
    assert data.count(b"\n0000") == 5000


# --- daily backups


def test_a_daily_backup_takes_the_place_of_the_last_one_of_the_day(store: LocalStore) -> None:
    """It is known, and proved, by the digest of its index; the earlier one stays in the ledger."""
    name = daily(store, b"morning")
    assert daily(store, b"the evening") == name == "2026-11-22.tar.gz"
    [backup] = store.backups()
    assert (backup.kind, backup.version, backup.project, backup.created) == ("daily", None, "demo", TIME)
    assert backup.label == "2026-11-22"
    assert backup.archive.read_bytes() == b"the evening"
    book = store.ledger()
    assert [record.size for record in book.published(name)] == [7, 11]
    assert book.proved(name, hashlib.sha256(b"the evening").hexdigest())
    assert store.find("2026-11-22") == store.find() == backup
    assert store.manifest_of(backup) is None
    for content in (b"morning", b"the evening"):
        expected = store.expected(backup, index=written(content).index)
        assert expected is not None
        assert expected.sha256 == hashlib.sha256(content).hexdigest()
    by_size = store.expected(backup)
    assert by_size is not None
    assert by_size.size == 11
    assert store.expected(backup, index="other") is None


def test_no_clock_replaces_a_daily_backup_of_another_moment(store: LocalStore) -> None:
    """Once that of another day came after it, or from a later moment, it stays: the new one gets a number."""
    first = daily(store, b"first")
    tomorrow = header(None, "2026-11-23T21:45:00Z")
    daily(store, b"second", tomorrow)
    assert daily(store, b"third") == "2026-11-22-2.tar.gz"
    assert daily(store, b"third again") == "2026-11-22-2.tar.gz"
    assert daily(store, b"before", header(None, "2026-11-22T21:44:59Z")) == "2026-11-22-3.tar.gz"
    assert (store.path / first).read_bytes() == b"first"
    assert (store.path / "2026-11-22-2.tar.gz").read_bytes() == b"third again"
    assert daily(store, b"fourth", tomorrow) == "2026-11-23-2.tar.gz"
    assert store.find("2026-11-22").name == "2026-11-22-3.tar.gz"
    assert store.find("2026-11-22-2").name == "2026-11-22-2.tar.gz"
    assert names(store)[-1] == "2026-11-23-2.tar.gz"


def test_the_day_is_that_of_the_place(store: LocalStore) -> None:
    """The name bears the local day, the ledger the moment in UTC, and how far local time is from it."""
    of = header(None, "2026-11-22T23:30:00Z")
    with store.writing("a test"), store.new_daily(of, Instant(of.created, "+01:00", "2026-11-23")) as draft:
        draft.file.write(b"1")
        draft.commit(written(b"1"), proof(draft.archive, b"1"))
    assert names(store) == ["2026-11-23.tar.gz"]
    [record] = store.ledger().published("2026-11-23.tar.gz")
    assert (record.created, record.offset) == ("2026-11-22T23:30:00Z", "+01:00")


def test_a_publication_from_the_future_stops_no_daily_backup(store: LocalStore) -> None:
    """Somebody's clock was ten years ahead, once: today's backups are made and replaced all the same."""
    daily(store, b"2036", header(None, "2036-01-01T00:00:00Z"))
    assert daily(store, b"1") == "2026-11-22.tar.gz"
    assert daily(store, b"2") == "2026-11-22.tar.gz"
    assert len(names(store)) == 2


def test_a_name_is_never_used_again(store: LocalStore) -> None:
    """A clock that stands still gives the name of a removed backup to no other."""
    first = release(store, b"first")
    with store.writing("a test"):
        store.remove(store.backups())
    assert release(store, b"second") != first


def test_a_daily_backup_that_fails_leaves_the_old_one(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And where there was none, the ledger does not say that there is."""
    real = os.replace

    def refuse(old: Any, new: Any) -> None:
        if str(new).endswith(".tar.gz"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        real(old, new)

    with store.writing("a test"):
        pass
    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", refuse)
        with watched(store) as done, pytest.raises(StoreError, match="the backup of before stands"):
            daily(store, b"first")
    name = "2026-11-22.tar.gz"
    assert done[-3:] == [f"name {name}", LEDGER, f"delete ~{name}"]  # what is taken back lasts, too
    assert store.missing() == ()
    daily(store, b"morning")
    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(StoreError):
        daily(store, b"evening")
    assert (store.path / "2026-11-22.tar.gz").read_bytes() == b"morning"
    assert store.missing() == ()
    assert not temporary(store)


def test_a_daily_backup_that_waits_for_its_name_is_not_missing(store: LocalStore) -> None:
    """What a crash left proved, under its temporary name, the next writer finishes; half of it is nothing."""
    archive = store.path / daily(store, b"morning")
    waiting = archive.with_name(f".{archive.name}.0123abcd.partial")
    archive.rename(waiting)
    assert store.missing() == ()
    waiting.write_bytes(b"morn")
    assert store.missing() == (archive.name,)


@pytest.mark.parametrize("action", [daily, release])
def test_no_file_is_synced_again_after_that_failed(
    store: LocalStore, action: Callable[[LocalStore, bytes], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ledger neither: what a sync lost, a second one would call safe."""
    release(store, b"before")
    with store.writing("a test"):
        store.record(Record(time=TIME, act="remove", archive="v1.0.0/gone.tar.gz"))
    real = os.fsync
    failed: list[int] = []

    def sync(fd: int) -> None:
        file = os.fstat(fd).st_ino
        assert file not in failed
        if file == (store.path / layout.LEDGER).stat().st_ino:
            failed.append(file)
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        real(fd)

    monkeypatch.setattr(os, "fsync", sync)
    with pytest.raises(StoreError, match=f"Input/output error: {store.path}"):
        action(store, b"new")
    assert failed


# --- listing and finding


def test_what_another_script_left_is_listed_as_plain(store: LocalStore) -> None:
    """It is restorable, older than anything of ours, and never taken for the newest."""
    folder = store.path / "v0.9.0"
    folder.mkdir(parents=True)
    (store.path / "vold").mkdir()
    (store.path / "other").mkdir()
    for path in (
        "v0.9.0/x.tgz",
        "v0.9.0/demo_v0.9.0_20200101T000000Z.tar.gz",
        "vold/y.tar",
        "2020-01-01.tar.gz",
        "z.tar.zst",
    ):
        (store.path / path).write_bytes(b"plain")
        os.utime(store.path / path, (0, 0))
    for path in ("v0.9.0/notes.txt", "other/a.tar.gz", "v0.9.0/.a.tar.gz.00000000.partial"):
        (store.path / path).write_bytes(b"no backup")
    (folder / "x_latest.tar.gz").symlink_to("x.tgz")
    (store.path / "vlink").symlink_to("v0.9.0")
    made = release(store, b"ours")
    held = store.backups()
    assert {
        backup.name: (backup.kind, backup.version, backup.created[:4], backup.format) for backup in held
    } == {
        "v0.9.0/x.tgz": ("plain", "0.9.0", "1970", "gz"),
        "v0.9.0/demo_v0.9.0_20200101T000000Z.tar.gz": ("plain", "0.9.0", "2020", "gz"),
        "vold/y.tar": ("plain", None, "1970", "tar"),
        "2020-01-01.tar.gz": ("plain", None, "2020", "gz"),
        "z.tar.zst": ("plain", None, "1970", "zst"),
        made: ("release", "1.0.0", "2026", "gz"),
    }
    assert held[-1].name == made
    assert store.find("old").name == "vold/y.tar"
    assert store.find("0.9.0").name == "v0.9.0/demo_v0.9.0_20200101T000000Z.tar.gz"
    assert store.expected(store.find("0.9.0")) is None
    assert held[0].label in ("0.9.0", "vold/y.tar", "z.tar.zst")
    assert os.readlink(folder / "x_latest.tar.gz") == "x.tgz"


@pytest.mark.parametrize(
    "archive",
    ["theirs.tar.gz", "vendor/x.tar", "v1.0.0/theirs.tar.gz", "v1.0.0/demo_v2.0.0_20260101T000000Z.tar.gz"],
)
def test_what_has_no_name_of_ours_is_plain_whatever_the_ledger_says(store: LocalStore, archive: str) -> None:
    """A publication that was forged makes nothing a backup of ours."""
    release(store, b"1")
    (store.path / archive).parent.mkdir(exist_ok=True)
    (store.path / archive).write_bytes(b"x")
    digest = hashlib.sha256(b"x").hexdigest()
    store.intend(Record(time=TIME, act="publish", archive=archive, size=1, sha256=digest))
    assert {backup.name: backup.kind for backup in store.backups()}[archive] == "plain"


@pytest.mark.parametrize("name", ["vault", "vendor-1.0", "v1.0", "v1.0.0\nx"])
def test_a_folder_of_others_stays_as_it_is(store: LocalStore, name: str) -> None:
    """Empty, or with files that are called like temporary ones or like the link to the newest."""
    release(store, b"1")
    for folder in (store.path / name, store.path / f"{name}-full"):
        folder.mkdir()
    for left in (".x.tar.gz.00000000.partial", ".MANIFEST.txt.00000000.partial"):
        (store.path / f"{name}-full" / left).write_bytes(b"theirs")
    (store.path / f"{name}-full" / "demo_v1.0.0_latest.tar.gz").symlink_to("nowhere")
    with store.writing("a test"):
        pass
    assert (store.path / name).is_dir()
    assert len(os.listdir(store.path / f"{name}-full")) == 3


def test_a_foreign_link_to_a_plain_archive_is_left_alone(store: LocalStore) -> None:
    """A store made by another script keeps its look, but for links that lead nowhere."""
    folder = store.path / "v1.0.0"
    folder.mkdir(parents=True)
    (folder / "other.tar.gz").write_bytes(b"plain")
    (folder / "other_v1.0.0_latest.tar.gz").symlink_to("other.tar.gz")
    (folder / "gone_v1.0.0_latest.tar.gz").symlink_to("gone.tar.gz")
    release(store, b"1")
    assert (folder / "other_v1.0.0_latest.tar.gz").is_symlink()
    assert not (folder / "gone_v1.0.0_latest.tar.gz").is_symlink()


def test_a_managed_backup_is_found_before_a_plain_one(store: LocalStore) -> None:
    """Of a version the newest of ours counts."""
    made = release(store, b"1")
    (store.path / "v1.0.0/new.tar.gz").write_bytes(b"plain")
    assert store.find("1.0.0").name == made
    assert store.find("1.0.0").kind == "release"


def test_a_manifest_of_another_speaks_of_the_newest(store: LocalStore) -> None:
    """A foreign or damaged manifest names nothing; ours speaks of what it names only."""
    folder = store.path / "v1.0.0"
    folder.mkdir(parents=True)
    for name, age in (("old.tar.gz", 0), ("new.tar.gz", 1)):
        (folder / name).write_bytes(b"plain")
        os.utime(folder / name, (age, age))
    old, new = store.backups()
    assert store.manifest_of(new) is None
    for content in ("00  a\n", "# Backup of demo v1.0.0\n# garbage\n"):
        (folder / "MANIFEST.txt").write_text(content)
        assert store.manifest_of(new) == folder / "MANIFEST.txt"
        assert store.manifest_of(old) is None
    first, second = store.path / release(store, b"1"), store.path / release(store, b"2")
    speaks = {backup.archive: store.manifest_of(backup) for backup in store.backups()}
    assert speaks[second] == folder / "MANIFEST.txt"
    assert speaks[first] is None
    [expected] = [store.expected(backup) for backup in store.backups() if backup.archive == first]
    assert expected is not None
    assert expected.sha256 == hashlib.sha256(b"1").hexdigest()


def test_safety_backups_are_not_the_latest(store: LocalStore) -> None:
    """A restore without a version never brings back what was saved before another restore."""
    safety = release(store, b"saved", header("1.0.0-safety.20261122T214500Z"))
    with pytest.raises(NoSuchBackupError, match="no backup of a release"):
        store.find("latest")
    made = release(store, b"1")
    safety = release(store, b"saved", header("1.0.0-safety.20261122T214501Z"))
    assert store.find().name == made
    assert store.find("1.0.0-safety.20261122T214501Z").name == safety


def test_what_is_not_there_is_told_with_what_is(store: LocalStore) -> None:
    """Exit code 10, and a line that helps."""
    with pytest.raises(NoSuchBackupError, match="make one with"):
        store.find()
    release(store, b"1")
    daily(store, b"2")
    with pytest.raises(
        NoSuchBackupError, match=r"no backup of 2\.0\.0 in .*; there are: 1\.0\.0, 2026-11-22"
    ) as caught:
        store.find("2.0.0")
    assert caught.value.exit_code == 10


def test_a_backup_that_vanished_is_missed(store: LocalStore) -> None:
    """Both ledger and manifest know what should be there; its name is not given again."""
    first = release(store, b"1")
    second = release(store, b"2")
    name = daily(store, b"3")
    for archive in (first, second, name):
        (store.path / archive).unlink()
    assert store.missing() == tuple(sorted((first, second, name)))
    (store.path / "ledger.jsonl").unlink()
    assert store.missing() == (second,)


# --- removing


def test_a_removed_backup_is_gone_for_good(store: LocalStore) -> None:
    """Manifest, link, archive and empty folder go; the ledger says so."""
    release(store, b"1")
    kept = release(store, b"2", header("1.1.0"))
    daily(store, b"3")
    with store.writing("a test"):
        store.remove(store.backups()[:1] + store.backups()[2:])
        store.remove([])
    assert names(store) == [kept]
    assert not (store.path / "v1.0.0").exists()
    assert store.missing() == store.ledger().being_removed() == ()
    acts = [record.act for _, record in store.ledger().records]
    assert acts == ["publish", "publish", "publish", "prove", "remove", "remove", "removed", "removed"]


def test_the_other_backups_of_a_version_stay(store: LocalStore) -> None:
    """The manifest goes with the archive it names, the link moves on."""
    first, second = release(store, b"1"), release(store, b"2")
    third = release(store, b"3")
    folder = store.path / "v1.0.0"
    with store.writing("a test"):
        store.remove([store.backups()[1]])
        assert names(store) == [first, third]
        assert (folder / "MANIFEST.txt").exists()
        store.remove([store.backups()[1]])
        assert names(store) == [first]
    assert second not in names(store)
    assert not (folder / "MANIFEST.txt").exists()
    assert os.readlink(folder / "demo_v1.0.0_latest.tar.gz") == os.path.basename(first)
    [backup] = store.backups()
    assert backup.kind == "release"
    expected = store.expected(backup)
    assert expected is not None
    assert expected.sha256 == hashlib.sha256(b"1").hexdigest()


@pytest.mark.parametrize(
    "archive",
    [
        "../precious.tar.gz",
        "vlink/precious.tar.gz",
        "v9/none.tar.gz",
        "README.md",
        "theirs.tar.gz",
        "v1/their.tgz",
    ],
)
@pytest.mark.parametrize("forged", ["nothing", "publication", "digest"])
def test_no_line_of_a_ledger_deletes(store: LocalStore, tmp_path: Path, archive: str, forged: str) -> None:
    """A removal that was begun is finished only for what is gone; what is there stays."""
    release(store, b"1")
    (tmp_path / "precious.tar.gz").write_bytes(b"x")
    (store.path / "v1").mkdir()
    for name in ("README.md", "theirs.tar.gz", "v1/their.tgz"):
        (store.path / name).write_bytes(b"x")
    (store.path / "vlink").symlink_to(tmp_path)
    digest = hashlib.sha256(b"x").hexdigest() if forged == "digest" else ""
    if forged != "nothing":
        store.intend(Record(time=TIME, act="publish", archive=archive, size=1, sha256=digest))
    store.intend(Record(time=TIME, act="remove", archive=archive, sha256=digest))
    store.intend(Record(time=TIME, act="remove", archive=names(store)[0]))
    with store.writing("a test"):
        pass
    assert (tmp_path / "precious.tar.gz").exists()
    assert all((store.path / name).exists() for name in ("README.md", "theirs.tar.gz", "v1/their.tgz"))
    assert store.find("1.0.0").archive.read_bytes() == b"1"
    assert store.ledger().being_removed() == ()


def test_what_cannot_be_deleted_stays_a_backup(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is listed with its manifest, stops nothing, and the next removal tries again."""
    archive = release(store, b"1", header("0.9.0"))
    real = os.unlink

    def unlink(path: Any, **more: Any) -> None:
        if str(path).endswith(archive):
            raise OSError(errno.EPERM, os.strerror(errno.EPERM), str(path))
        real(path, **more)

    with monkeypatch.context() as patched:
        patched.setattr(os, "unlink", unlink)
        with store.writing("a test"), pytest.raises(StoreError, match="removing backups failed"):
            store.remove(store.backups())
        made = release(store, b"2")
        assert names(store) == [archive, made]
    with store.writing("a test"):
        store.remove(store.backups()[:1])
    assert names(store) == [made]
    assert not (store.path / archive).parent.exists()


# --- what others left


THEIRS = {
    "by hand": b"Backup of 1.0.0\nBuilt on the old server\n",
    "sums only": b"00  a\n",
    "empty": b"",
    "broken": b"# Backup of demo v1.0.0\n# garbage\n",
}


@pytest.mark.parametrize("kind", THEIRS)
def test_a_manifest_of_somebody_else_is_moved_aside(store: LocalStore, kind: str) -> None:
    """It stays beside ours, byte for byte, and never over something."""
    folder = store.path / "v1.0.0"
    folder.mkdir(parents=True)
    (folder / "old.tar.gz").write_bytes(b"plain")
    (folder / "MANIFEST.txt").write_bytes(THEIRS[kind])
    (folder / "MANIFEST.theirs.txt").write_bytes(b"taken")
    with store.writing("a test"), store.new_release(header(), NOW) as draft:
        draft.file.write(b"1")
        assert draft.commit(written(b"1"), entries(b"1")).aside == "v1.0.0/MANIFEST.theirs-2.txt"
    assert (folder / "MANIFEST.theirs-2.txt").read_bytes() == THEIRS[kind]
    assert (folder / "MANIFEST.theirs.txt").read_bytes() == b"taken"
    assert (folder / "MANIFEST.txt").read_bytes().startswith(b"# Backup of demo v1.0.0\n# Project:")
    release(store, b"2")
    assert not (folder / "MANIFEST.theirs-3.txt").exists()  # ours gives way to ours


@pytest.mark.parametrize("edit", ["added", "changed", "fact", "command"])
def test_a_manifest_of_ours_that_a_person_edited_is_theirs(store: LocalStore, edit: str) -> None:
    """A line that neither the archive nor the ledger confirms is somebody's: it is kept."""
    manifest = store.path / release(store, b"1")
    manifest = manifest.with_name("MANIFEST.txt")
    text = manifest.read_text()
    edited = {
        "added": text + "see ticket 17\n",
        "changed": text.replace("  demo/a\n", " *demo/a\n"),
        "fact": text.replace("# Commit:   3f2c\n", "# Commit:   beef\n"),
        "command": text.replace("# Check:    ", "# Check:    ask Ann first, then "),
    }[edit]
    assert edited != text
    manifest.write_text(edited)
    release(store, b"2")
    assert manifest.with_name("MANIFEST.theirs.txt").read_text() == edited
    with store.writing("a test"):
        store.remove(store.backups())
    assert os.listdir(manifest.parent) == ["MANIFEST.theirs.txt"]
    assert store.missing() == ()


def put(path: Path, kind: str, victim: Path) -> None:
    """Put something there that is no file of its own."""
    if kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "hard link":
        path.hardlink_to(victim)
    else:
        path.symlink_to(victim)


@pytest.mark.parametrize("kind", ["folder", "link", "fifo"])
def test_what_is_no_file_is_moved_aside_too(store: LocalStore, kind: str) -> None:
    """Nothing foreign in the store stops a backup."""
    folder = store.path / "v1.0.0"
    folder.mkdir(parents=True)
    for path in (folder / "MANIFEST.txt", store.path / "2026-11-22.tar.gz"):
        put(path, kind, Path("elsewhere"))
    release(store, b"1")
    daily(store, b"2")
    assert os.path.lexists(folder / "MANIFEST.theirs.txt")
    assert os.path.lexists(store.path / "2026-11-22.theirs.tar.gz")
    assert len(names(store)) == 2


@pytest.mark.parametrize("case", ["unknown", "replaced", "without a ledger"])
def test_a_daily_archive_of_another_script_is_moved_aside(store: LocalStore, case: str) -> None:
    """Ours is what the ledger published under that name with that digest; all else stays beside."""
    path = store.path / "2026-11-22.tar.gz"
    if case == "unknown":
        store.path.mkdir()
    else:
        daily(store, b"ours")
    if case == "without a ledger":
        (store.path / "ledger.jsonl").unlink()
    path.write_bytes(b"theirs")
    daily(store, b"new")
    assert path.read_bytes() == b"new"
    assert (store.path / "2026-11-22.theirs.tar.gz").read_bytes() == b"theirs"
    daily(store, b"newer")
    assert sorted(path.name for path in store.path.glob("2026*")) == [
        "2026-11-22.tar.gz",
        "2026-11-22.theirs.tar.gz",
    ]


def test_what_gave_way_is_put_back_if_nothing_is_published(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A backup that fails leaves the store as it was."""
    folder = store.path / "v1.0.0"
    folder.mkdir(parents=True)
    (folder / "MANIFEST.txt").write_bytes(b"theirs")
    (store.path / "2026-11-22.tar.gz").write_bytes(b"theirs")
    with store.writing("a test"):
        pass
    real = os.replace

    def refuse(old: Any, new: Any, **more: Any) -> None:
        if os.path.basename(new) in ("MANIFEST.txt", "2026-11-22.tar.gz"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        real(old, new, **more)

    monkeypatch.setattr(os, "replace", refuse)
    for make in (release, daily):
        with pytest.raises(StoreError):
            make(store, b"1")
    assert os.listdir(folder) == ["MANIFEST.txt"]
    assert (
        (folder / "MANIFEST.txt").read_bytes() == (store.path / "2026-11-22.tar.gz").read_bytes() == b"theirs"
    )


def test_a_folder_whose_sync_failed_is_not_synced_again(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What gave way gets its name back all the same; a second fsync would call lost names safe."""
    theirs = store.path / "v1.0.0" / "MANIFEST.txt"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("theirs")
    really, failed, again = filesystem.sync_folder, [False], []

    def failing(folder: Path | int) -> None:
        is_it = isinstance(folder, int) and os.path.samestat(os.fstat(folder), theirs.parent.stat())
        named = any(theirs.parent.glob("demo_*.tar.gz"))
        if is_it and named and not failed[0]:
            failed[0] = True
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if failed[0] and (is_it or folder == theirs.parent):
            again.append(folder)
        really(folder)

    monkeypatch.setattr(filesystem, "sync_folder", failing)
    with pytest.raises(StoreError, match="publishing the backup failed"):
        release(store, b"1")
    assert failed[0]
    assert again == []
    assert theirs.read_text() == "theirs"


@pytest.mark.parametrize(
    ("name", "aside"),
    [
        ("../MANIFEST.txt", "../MANIFEST.theirs.txt"),
        ("../new/MANIFEST.txt", "../new/MANIFEST.theirs.txt"),
        ("vlink/MANIFEST.txt", "vlink/MANIFEST.theirs.txt"),
        ("v2.0.0/MANIFEST.txt", "v2.0.0/MANIFEST.theirs.txt"),
        ("v1.0.0/MANIFEST.txt", "v1.0.0/notes"),
        ("v1.0.0/other", "v1.0.0/other.theirs"),
        ("ledger.jsonl", "ledger.theirs.jsonl"),
        ("2026-11-22.tar.gz", "theirs.tar.gz"),
    ],
)
def test_no_line_of_a_ledger_renames(store: LocalStore, tmp_path: Path, name: str, aside: str) -> None:
    """Only what we could have moved aside gets a name back."""
    (store.path / "v1.0.0").mkdir(parents=True)
    (store.path / "vlink").symlink_to(tmp_path)
    (store.path / "v2.0.0").symlink_to(tmp_path)
    (tmp_path / "new").mkdir()
    for path in (store.path / aside, tmp_path / "MANIFEST.theirs.txt"):
        path.write_text("theirs")
    assert not store.can_come_back(name, aside)
    assert not store.bring_back(name, aside)
    assert (store.path / aside).read_text() == "theirs"


@pytest.mark.parametrize("seconds", [1 << 60, -(1 << 60), 1 << 40])
def test_a_time_beyond_the_calendar_stops_nothing(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch, seconds: int
) -> None:
    """Anybody can set one, where the file system holds it."""
    release(store, b"1")
    (store.path / "theirs.tar.gz").write_bytes(b"x")
    real = listing._changed

    def changed(status: os.stat_result) -> str:
        return real(os.stat_result((*status[:8], seconds, status[9])))

    monkeypatch.setattr(listing, "_changed", changed)
    assert "theirs.tar.gz" in names(store)
    assert store.backups()[0].created[:5] in ("1000-", "9999-")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read any folder")
def test_a_folder_of_others_that_may_not_be_read_stops_nothing(store: LocalStore) -> None:
    """One that holds backups of ours is an error, though."""
    release(store, b"1")
    (store.path / "vault").mkdir(0)
    release(store, b"2")
    (store.path / "v1.0.0").chmod(0)
    with pytest.raises(StoreError, match="Permission denied"):
        store.backups()
    (store.path / "v1.0.0").chmod(0o700)


@pytest.mark.parametrize("name", ["ledger.jsonl", ".lock"])
@pytest.mark.parametrize("kind", ["link", "fifo", "folder", "hard link"])
def test_a_file_of_the_store_is_what_it_must_be(
    store: LocalStore, tmp_path: Path, name: str, kind: str
) -> None:
    """Nothing is waited for, written through or emptied; a reader is told, too."""
    release(store, b"1")
    victim = tmp_path / "victim"
    victim.write_text("precious")
    path = store.path / name
    path.unlink()
    put(path, kind, victim)
    with pytest.raises(StoreError, match=f"{name}"):
        release(store, b"2")
    assert victim.read_text() == "precious"
    if kind != "hard link":
        with pytest.raises(StoreError, match=f"{name}"), store.reading("a test"):
            store.backups()


# --- locks and read-only stores


def test_who_writes_is_alone(store: LocalStore) -> None:
    """Neither a reader nor a writer comes in meanwhile."""
    with store.writing("a backup"), pytest.raises(StoreHeldError, match="a backup"), store.reading("a test"):
        pass
    with store.reading("a test"), store.reading("another"):
        assert store.backups() == []
        with pytest.raises(StoreHeldError), store.writing("a backup"):
            pass


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.EPERM])
def test_a_read_only_store_takes_no_record_and_that_is_no_failure(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Verifying a read-only copy works; it just cannot be noted there. A release needs it noted."""
    release(store, b"1")

    opened = os.open

    def refuse(path: Any, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_ACCMODE != os.O_RDONLY:
            raise OSError(number, os.strerror(number), path)
        return opened(path, flags, mode)

    monkeypatch.setattr(os, "open", refuse)
    assert store.record(proof("x", b"")) == "the store can only be read"
    with pytest.raises(StoreError, match=r"writing to the ledger failed: .*ledger\.jsonl$"):
        replace(store, releasing=True).record(proof("x", b""))
    with monkeypatch.context() as patched:
        patched.setattr(os, "open", _fail)
        with pytest.raises(StoreError, match="writing to the ledger failed: Input/output error"):
            store.record(proof("x", b""))


def _fail(*_: Any, **__: Any) -> Any:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def test_the_store_of_a_version_cannot_be_led_elsewhere(store: LocalStore, tmp_path: Path) -> None:
    """A link in the place of a version's folder is refused."""
    store.path.mkdir()
    (store.path / "v1.0.0").symlink_to(tmp_path)
    with pytest.raises(StoreError, match="writing the backup failed"):
        release(store, b"1")
    (store.path / "v2.0.0").write_text("a file")
    with pytest.raises(StoreError, match="writing the backup failed"):
        release(store, b"1", header("2.0.0"))


# --- lasting


@contextmanager
def watched(store: LocalStore) -> Iterator[list[str]]:
    """Yield what is synced, named and deleted in the store, in order; temporary files have a ``~``."""
    done: list[str] = []
    real = {name: getattr(os, name) for name in ("fsync", "replace", "unlink")}
    rename_new = filesystem.rename_new

    def note(what: str, path: Path) -> None:
        name = layout.partial_of(path.name)
        path = path.relative_to(store.path).with_name(f"~{name}" if name else path.name)
        done.append(f"{what} {path}")

    def fsync(fd: int) -> None:
        there = [store.path, *store.path.rglob("*")]
        [path] = [path for path in there if os.path.samestat(os.fstat(fd), path.lstat())]
        done.append("sync .") if path == store.path else note("sync", path)
        real["fsync"](fd)

    def replace(old: Path, new: Path) -> None:
        note("name", new)
        real["replace"](old, new)

    def new_name(old: str, new: str, fd: int) -> None:
        done.append(f"name {new}")
        rename_new(old, new, fd)

    def unlink(name: Any, **more: Any) -> None:
        real["unlink"](name, **more)
        note("delete", Path(name))

    with pytest.MonkeyPatch.context() as patched:
        for name, instead in (("fsync", fsync), ("replace", replace), ("unlink", unlink)):
            patched.setattr(os, name, instead)
        patched.setattr(filesystem, "rename_new", new_name)
        yield done


ONE = "demo_v1.0.0_20261122T214500Z.tar.gz"
LATEST = "v1.0.0/demo_v1.0.0_latest.tar.gz"
MANIFEST = "v1.0.0/MANIFEST.txt"
LEDGER = "sync ledger.jsonl"


def test_a_daily_backup_that_gets_no_name_leaves_the_ledger_as_it_was(store: LocalStore) -> None:
    """What stands is the backup of before: it is listed, proved and summed as that."""
    name = daily(store, b"morning")
    before = store.ledger().published(name)[-1]

    def refusing(*_: Any) -> None:
        raise broken()

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "replace", refusing)
        with pytest.raises(StoreError, match="Input/output error"):
            daily(store, b"evening")
    after = store.ledger().published(name)[-1]
    assert (after.sha256, after.created, after.size) == (before.sha256, before.created, before.size)
    assert store.ledger().proved(name, after.sha256)
    assert recover(store) == {name: b"morning"}


@pytest.mark.parametrize("other", [b"late", b"evening"])
def test_a_day_whose_replacement_is_only_recorded_is_that_of_before(tmp_path: Path, other: bytes) -> None:
    """Its name was not given, and nobody could say so then: the next writer does, by size, else by index."""

    @contextmanager
    def describe(path: Path) -> Iterator[Description]:
        of, known = header(None), written(path.read_bytes())
        yield Description(of, known.summary, known.index, iter(()))

    store = open_store("backups", tmp_path, describe=describe)
    name = daily(store, b"morning")
    [before] = store.ledger().published(name)
    known = written(other)
    last = msgspec.structs.replace(before, size=known.size, sha256=known.sha256, index=known.index)
    store.record(last)
    assert recover(store) == {name: b"morning"}
    after = store.ledger().published(name)[-1]
    assert (after.sha256, after.size, after.note) == (before.sha256, before.size, "recovered")
    assert len(store.ledger().published(name)) == 3
    assert recover(store) == {name: b"morning"}
    assert len(store.ledger().published(name)) == 3


def test_each_step_of_a_release_lasts_before_the_next(store: LocalStore) -> None:
    """Content before names, the archive before its manifest, both before the ledger; the link comes last."""
    release(store, b"before", header("0.9.0"))
    with store.writing("a test"), watched(store) as done, store.new_release(header(), NOW) as draft:
        draft.file.write(b"new")
        done.clear()
        draft.commit(written(b"new"), entries(b"new"))
    assert done == [
        f"sync v1.0.0/~{ONE}",
        "sync v1.0.0/~MANIFEST.txt",
        "sync v1.0.0",
        f"name {ONE}",
        "sync v1.0.0",
        f"name {MANIFEST}",
        "sync v1.0.0",
        LEDGER,
        f"name {LATEST}",
    ]


def test_each_step_of_a_daily_backup_lasts_before_the_next(store: LocalStore) -> None:
    """It is there under its temporary name before the ledger knows it, and then gets its own.

    The sum of the one before goes first of all.
    """
    daily(store, b"morning")
    with store.writing("a test"), watched(store) as done, store.new_daily(header(None), NOW) as draft:
        draft.file.write(b"evening")
        draft.commit(written(b"evening"), proof(draft.archive, b"evening"))
    name = "2026-11-22.tar.gz"
    assert done == [
        *(f"sync ~{name}", "sync .", f"delete {layout.SUMS}", "sync ."),
        *(LEDGER, f"name {name}", "sync ."),
    ]


def test_each_step_of_a_removal_lasts_before_the_next(store: LocalStore) -> None:
    """The intent, the sums, the archive, its manifest, what was done; the folder that is empty then goes."""
    release(store, b"1")
    daily(store, b"2")
    with store.writing("a test"), watched(store) as done:
        store.remove(store.backups())
    assert done == [
        LEDGER,
        *(f"delete {layout.SUMS}", "sync ."),
        *(f"delete v1.0.0/{ONE}", "sync v1.0.0", f"delete {MANIFEST}", "sync v1.0.0"),
        *(f"delete {LATEST}", "sync .", LEDGER),
        *("delete 2026-11-22.tar.gz", "sync .", LEDGER),
    ]


def test_what_a_crash_left_lasts_before_the_ledger_knows_it(store: LocalStore) -> None:
    """A manifest and a daily backup get their names, and the folder of the manifest is synced once more."""
    daily(store, b"2")
    known = (store.path / layout.LEDGER).read_bytes()
    release(store, b"1")
    (store.path / layout.LEDGER).write_bytes(known)
    day = store.path / "2026-11-22.tar.gz"
    day.rename(store.path / ".2026-11-22.tar.gz.0123abcd.partial")
    (store.path / MANIFEST).rename(store.path / "v1.0.0" / ".MANIFEST.txt.0123abcd.partial")
    (store.path / "v1.0.0" / ".x.tar.gz.0123abcd.partial").write_bytes(b"half")
    with watched(store) as done, store.writing("a test"):
        pass
    assert done[:2] == ["name 2026-11-22.tar.gz", "sync ."]
    assert done.index(f"name {MANIFEST}") + 1 == done.index("sync v1.0.0")
    assert "delete v1.0.0/~x.tar.gz" in done
    assert done[-2:] == ["sync v1.0.0", LEDGER]
    assert len(done) == 7


# --- crashes


class Crash(BaseException):
    """The machine stops."""


STEPS: list[tuple[Any, str]] = [
    (os, name) for name in ("fsync", "replace", "unlink", "rmdir", "symlink", "write", "mkdir")
] + [(filesystem, "rename_new")]


@contextmanager
def stopping(at: int, error: Callable[[], BaseException], forever: bool) -> Iterator[list[str]]:
    """Let the `at`-th change of the disk fail, and where `forever` every one after; yield the steps done."""
    steps: list[str] = []

    def wrapped(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def step(*args: Any, **more: Any) -> Any:
            steps.append(name)
            if len(steps) == at or (forever and len(steps) > at):
                raise error()
            return real(*args, **more)

        return step

    with pytest.MonkeyPatch.context() as patched:
        for module, name in STEPS:
            patched.setattr(module, name, wrapped(name, getattr(module, name)))
        yield steps


def crash() -> BaseException:
    """Stop dead: nothing is cleaned up, as nothing works any more."""
    return Crash()


def broken() -> BaseException:
    """Fail once as a bad disk does."""
    return OSError(errno.EIO, os.strerror(errno.EIO))


def interrupt() -> BaseException:
    """Ctrl-C."""
    return KeyboardInterrupt()


def every_step(
    action: Callable[[LocalStore], object], prepared: Callable[[Path], LocalStore]
) -> Iterator[Any]:
    """Run `action` on new stores, each time stopped one step later, in each way."""
    import tempfile

    for error, forever in ((crash, True), (broken, False), (broken, True), (interrupt, False)):
        for at in range(1, 100):
            with tempfile.TemporaryDirectory() as folder:
                store = prepared(Path(folder))
                before = snapshot(store)
                failed = False
                with stopping(at, error, forever) as steps:
                    try:
                        action(store)
                    except (Crash, StoreError, KeyboardInterrupt):
                        failed = True
                check_sums(store)
                if len(steps) < at:
                    assert not failed
                    break
                yield store, before, failed
        else:
            raise AssertionError("it never ends")


def snapshot(store: LocalStore) -> dict[str, bytes]:
    """Return the bytes of every archive listed."""
    return {backup.name: backup.archive.read_bytes() for backup in store.backups()}


def with_two(folder: Path) -> LocalStore:
    """Return a store with a release of two backups and a daily one."""
    store = open_store("backups", folder)
    release(store, b"one")
    release(store, b"two")
    daily(store, b"morning")
    return store


def summed(store: LocalStore) -> dict[str, str]:
    """Return the digest of each archive that has a line in the sums, which are never empty."""
    path = store.path / layout.SUMS
    if not path.exists():
        return {}
    lines = path.read_text().splitlines()
    assert lines
    return {name: digest for digest, name in (line.split("  ") for line in lines)}


def check_sums(store: LocalStore) -> None:
    """Each line names a file that is there and matches."""
    for name, digest in summed(store).items():
        assert hashlib.sha256((store.path / name).read_bytes()).hexdigest() == digest, name


def check_sound(store: LocalStore) -> None:
    """Nothing torn, unknown or left over is in the store, and every backup has its sum."""
    check_sums(store)
    assert summed(store).keys() == {backup.name for backup in store.backups()}
    assert not temporary(store)
    book = store.ledger()
    assert store.missing() == book.being_removed() == ()
    for backup in store.backups():
        assert backup.kind in ("release", "daily")
        expected = store.expected(backup, index=written(backup.archive.read_bytes()).index)
        assert expected is not None
        assert expected.sha256 == hashlib.sha256(backup.archive.read_bytes()).hexdigest()
        assert book.stands(backup.name)
    for folder in store.path.glob("v*"):
        held = [backup for backup in store.backups() if backup.archive.parent == folder]
        assert held
        for link in folder.glob("*_latest*"):
            assert os.readlink(link) == held[-1].archive.name


def recover(store: LocalStore) -> dict[str, bytes]:
    """Open the store for writing once more, and return what it then holds."""
    with store.writing("again"):
        check_sound(store)
        return snapshot(store)


def test_a_release_stopped_at_any_step_is_there_or_not() -> None:
    """The old backups are untouched, and the next run makes the store whole."""
    outcomes = set()
    for store, before, failed in every_step(lambda store: release(store, b"three"), with_two):
        with suppress(StoreError):
            assert {name: data for name, data in snapshot(store).items() if name in before} == before
        after = recover(store)
        assert {name: after[name] for name in before} == before
        assert sorted(data for name, data in after.items() if name not in before) in ([], [b"three"])
        outcomes.add((failed, len(after) - len(before)))
        assert release(store, b"four") in recover(store)
    assert {(True, 0), (True, 1)} <= outcomes


def test_a_first_release_stopped_at_any_step_is_there_or_not() -> None:
    """The same for a store that was not there."""
    for store, before, _ in every_step(
        lambda store: release(store, b"one"), lambda path: open_store("x/y", path)
    ):
        assert before == {}
        assert set(recover(store).values()) <= {b"one"}


def test_a_daily_backup_stopped_at_any_step_is_the_old_or_the_new() -> None:
    """Never none, and never one that the ledger does not know."""
    seen = set()
    for store, before, _ in every_step(lambda store: daily(store, b"evening"), with_two):
        now = snapshot(store)
        assert now.keys() == before.keys()
        seen.add(now["2026-11-22.tar.gz"])
        after = recover(store)
        assert after.pop("2026-11-22.tar.gz") in (b"morning", b"evening")
        assert after.items() <= before.items()
    assert seen == {b"morning", b"evening"}


def test_a_removal_stopped_at_any_step_is_finished_or_not_begun() -> None:
    """No half of a backup is ever listed."""
    doomed = "v1.0.0/demo_v1.0.0_20261122T214500Z-2.tar.gz"

    def remove(store: LocalStore) -> None:
        with store.writing("a test"):
            store.remove([backup for backup in store.backups() if backup.name == doomed])

    lengths = set()
    for store, before, _ in every_step(remove, with_two):
        assert before.items() >= snapshot(store).items()
        after = recover(store)
        assert after.items() <= before.items()
        assert before.keys() - after.keys() <= {doomed}
        lengths.add(len(after))
    assert lengths == {2, 3}


def test_a_recovery_stopped_at_any_step_is_recovered_from() -> None:
    """Crash upon crash, nothing is lost."""

    def half_done(folder: Path) -> LocalStore:
        store = with_two(folder)
        with suppress(Crash), stopping(8, crash, True):
            release(store, b"three")
        partial = store.path / ".2026-11-22.tar.gz.0123abcd.partial"
        partial.write_bytes(b"evening")
        digest = hashlib.sha256(b"evening").hexdigest()
        index = written(b"evening").index
        known = Record(
            time=TIME, act="publish", archive="2026-11-22.tar.gz", size=7, sha256=digest, index=index
        )
        doomed = Record(time=TIME, act="remove", archive="v1.0.0/demo_v1.0.0_20261122T214500Z.tar.gz")
        store.record(known, doomed)
        sums.drop(store.path, store.ledger(), [doomed.archive])
        (store.path / doomed.archive).unlink()  # as far as the removal came
        return store

    def again(store: LocalStore) -> None:
        with store.writing("again"):
            pass

    for store, _, _ in every_step(again, half_done):
        assert set(recover(store).values()) in ({b"two", b"evening"}, {b"two", b"three", b"evening"})


def test_a_store_copied_without_its_ledger_gets_one(store: LocalStore) -> None:
    """What the manifests prove is put down in the order of their making."""
    second = release(store, b"2", header("1.0.0", "2026-02-01T00:00:00Z"))
    first = release(store, b"1", header("2.0.0", "2026-01-01T00:00:00Z"))
    (store.path / "ledger.jsonl").unlink()
    assert names(store) == [first, second]
    with store.writing("a test"):
        pass
    assert [(record.archive, record.note) for _, record in store.ledger().records] == [
        (first, "recovered"),
        (second, "recovered"),
    ]
    check_sound(store)


@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES, errno.EMFILE])
def test_a_manifest_that_may_prove_what_is_published_has_to_be_read(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """A writer that cannot read it fails, and does not go on as if the archive beside it were nobody's."""
    archive = release(store, b"1")
    manifest = store.path / "v1.0.0" / "MANIFEST.txt"
    (store.path / "ledger.jsonl").write_text("")
    really = filesystem.open_file

    def failing(path: Path) -> BinaryIO:
        if path == manifest:
            raise OSError(number, os.strerror(number), str(path))
        return really(path)

    with monkeypatch.context() as patch:
        patch.setattr(filesystem, "open_file", failing)
        patch.setattr(listing, "open_file", failing)
        with pytest.raises(StoreError, match=r"recovering the store failed: .*MANIFEST\.txt"):
            release(store, b"2", header("2.0.0"))
    assert names(store) == [archive]
    release(store, b"2", header("2.0.0"))
    assert store.ledger().stands(archive)


def test_a_manifest_of_an_archive_that_is_elsewhere_is_not_recovered(store: LocalStore) -> None:
    """Neither a wrong folder nor a wrong size makes a backup."""
    archive = release(store, b"1")
    shutil.copytree(store.path / "v1.0.0", store.path / "v3.0.0", symlinks=True)
    (store.path / "ledger.jsonl").unlink()
    (store.path / archive).write_bytes(b"longer")
    with store.writing("a test"):
        pass
    assert store.ledger().records == ()
    manifest = store.path / "v1.0.0/MANIFEST.txt"
    manifest.rename(store.path / "v1.0.0/.MANIFEST.txt.01234567.partial")
    with store.writing("a test"):
        pass
    assert not temporary(store)
    assert not manifest.exists()


def test_a_publish_that_is_not_recorded_says_that_it_is_done(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the commit point a failure is no reason to make the backup again."""
    monkeypatch.setattr(ledger, "append", _fail)
    with pytest.raises(StoreError, match="the backup is published, but recording that failed"):
        release(store, b"1")
    monkeypatch.undo()
    assert len(names(store)) == 1
    assert list(recover(store).values()) == [b"1"]


def test_nobody_takes_a_name_that_was_chosen(store: LocalStore) -> None:
    """Where another program does, its file stays and ours is not published."""
    with store.writing("a test"), store.new_release(header(), NOW) as draft:
        draft.file.write(b"1")
        (store.path / draft.archive).write_bytes(b"theirs")
        with pytest.raises(StoreError, match="File exists"):
            draft.commit(written(b"1"), entries(b"1"))
    assert (store.path / draft.archive).read_bytes() == b"theirs"
    assert [backup.kind for backup in store.backups()] == ["plain"]
