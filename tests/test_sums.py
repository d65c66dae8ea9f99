"""SHA256SUMS: stock tools prove every backup; each line names a file that is there and matches."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from support import Run, archive_of, clock_at, git

from backup_lib.store import sums
from backup_lib.store.disk import new_file

NOON = 1_795_608_000
"""2026-11-25 12:00 UTC, seconds since 1970."""
SAFETY = "1.0.0-safety.20260101T000000Z"
BY_HAND = f"{'0' * 64}  notes/old-server.txt\n"


@pytest.fixture
def store(project: Path) -> Path:
    """The store of the project."""
    return project / "backups"


def made(run: Run, *arguments: str) -> str:
    """Make a backup; return its path below the store."""
    return os.path.relpath(archive_of(run("backup", *arguments, "--json")), "backups")


def by_stock_tools(store: Path) -> dict[str, bool]:
    """Return what GNU sha256sum, and BusyBox where it is there, say of each archive."""
    check = [["sha256sum", "--check", "--strict", "SHA256SUMS"]]
    check += [["busybox", "sha256sum", "-c", "SHA256SUMS"]] if shutil.which("busybox") else []
    told = []
    for command in check:
        done = subprocess.run(command, cwd=store, capture_output=True, text=True)
        lines = [line.rsplit(": ", 1) for line in done.stdout.splitlines()]
        told.append({name: result == "OK" for name, result in lines})
        assert (done.returncode == 0) == all(told[-1].values())
    assert all(each == told[0] for each in told)
    return told[0]


def sound(*names: str) -> dict[str, bool]:
    """Return what is said of archives that match."""
    return dict.fromkeys(names, True)


# --- the life of a backup


def test_every_published_archive_has_its_line(store: Path, run: Run) -> None:
    """Releases, the older archives of a version, both formats and daily backups: none has to be trusted."""
    names = [made(run), made(run), made(run, "--version", "2.0.0", "--format", "zst")]
    names += [made(run, "--daily"), made(run, "--daily", "--format", "zst")]
    assert by_stock_tools(store) == sound(*names)
    assert (store / "SHA256SUMS").stat().st_mode & 0o777 == 0o600
    assert run("verify", "--all").err == ""


def test_what_gzip_takes_for_whole_is_found(store: Path, run: Run) -> None:
    """A daily backup that lost its last members passes `gzip -t`, and has no manifest."""
    name = made(run, "--daily")
    content = (store / name).read_bytes()
    (store / name).write_bytes(content[:-90])
    assert subprocess.run(["gzip", "-t", store / name], check=False).returncode == 0
    assert by_stock_tools(store) == {name: False}


def test_a_daily_backup_that_is_replaced_has_one_line(store: Path, run: Run, project: Path) -> None:
    """That of the newest; one that replaces none has its own."""
    with clock_at(NOON):
        first = made(run, "--daily")
        (project / "src" / "server.js").write_text("require('https');\n")
        assert made(run, "--daily") == first
        assert by_stock_tools(store) == sound(first)
    with clock_at(NOON - 3600):
        second = made(run, "--daily")
    assert second == "2026-11-25-2.tar.gz"
    assert by_stock_tools(store) == sound(first, second)


def test_what_is_removed_loses_its_line(store: Path, run: Run) -> None:
    """`clean` and `release --undo` take the lines of what they remove, and no others."""
    kept = made(run, "--version", "3.0.0")
    made(run, "--version", "2.0.0")
    assert run("clean", "--keep", "1").code == 0
    assert by_stock_tools(store) == sound(kept)
    assert run("release").code == 0
    assert len(by_stock_tools(store)) == 2
    assert run("release", "--undo", "--version", "1.1.0").code == 0
    assert by_stock_tools(store) == sound(kept)


def test_without_an_archive_there_are_no_sums(store: Path, run: Run) -> None:
    """sha256sum calls an empty file an error."""
    assert run("release").code == 0
    assert (store / "SHA256SUMS").exists()
    assert run("release", "--undo", "--version", "1.1.0").code == 0
    assert not (store / "SHA256SUMS").exists()


def test_nothing_is_written_where_nothing_changes(store: Path, run: Run) -> None:
    """A clean that removes nothing leaves the very file."""
    made(run)
    before = (store / "SHA256SUMS").stat()
    assert run("clean").code == 0
    after = (store / "SHA256SUMS").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_archives_of_others_have_no_line(store: Path, run: Run, project: Path) -> None:
    """They are not published here; names of any letters are."""
    (store / "v0.1.0").mkdir(parents=True)
    subprocess.run(["tar", "-czf", store / "v0.1.0" / "old.tar.gz", "src"], check=True)
    (project / "package.json").write_text('{"name": "@café/größe x", "version": "1.1.0"}\n')
    git(project, "commit", "-am", "Another name")
    name = made(run, "--version", "1.2.0+b.1")
    assert "café-größe-x_v1.2.0+b.1_" in name
    assert by_stock_tools(store) == sound(name)


# --- what others do


def test_what_another_changed_or_removed_keeps_its_line(store: Path, run: Run) -> None:
    """The check fails, as it should, until clean takes what is gone; what is changed stays with its line."""
    changed, gone, kept = (made(run, "--version", version) for version in ("1.0.0", "2.0.0", "3.0.0"))
    shutil.rmtree((store / gone).parent)
    (store / changed).write_bytes(b"changed")
    assert made(run, "--version", "3.1.0")
    told = by_stock_tools(store)
    assert {name: told[name] for name in (changed, gone, kept)} == {changed: False, gone: False, kept: True}

    planned = run("clean", "--keep", "2", "--dry-run")
    assert (
        f"would remove  backups/{gone}  0 bytes  (gone already, and older than what is kept)" in planned.out
    )
    assert run("clean", "--keep", "2").code == 0
    told = by_stock_tools(store)
    assert gone not in told
    assert told[changed] is False
    assert "not there any more" not in run("verify", "--all").out


@pytest.mark.parametrize("keep", [("--keep", "3"), ("--keep", "1", "--keep-daily", "2")])
def test_what_is_gone_and_would_be_kept_stays_missing(store: Path, run: Run, keep: tuple[str, ...]) -> None:
    """clean does not pass over the loss of what it should have kept."""
    with clock_at(NOON):
        day = made(run, "--daily")
    names = [made(run, "--version", version) for version in ("1.0.0", "2.0.0")]
    (store / day).unlink()
    (store / names[1]).unlink()
    assert run("clean", *keep).code == 0
    assert by_stock_tools(store) == {day: False, **sound(names[0]), names[1]: False}
    assert "2.0.0" in run("verify", "--all").out


@pytest.mark.parametrize(
    ("versions", "gone", "goes"),
    [
        (("2.0.0-rc.1", "2.0.0", "3.0.0"), "2.0.0-rc.1", True),
        (("1.0.0", "2.0.0-rc.1", "3.0.0-rc.1"), "1.0.0", False),  # no newer one is stable
        ((SAFETY, SAFETY.replace("0101", "0102")), SAFETY, True),
        ((SAFETY, "1.0.0", "2.0.0", "3.0.0"), SAFETY, False),
        (("1.0.0", "2.0.0", "2.0.0"), "1.0.0", False),  # one newer version is not two
        (("2.0.0", "1.0.0", "3.0.0"), "1.0.0", True),
    ],
)  # fmt: skip
def test_what_is_gone_is_counted_with_its_kind(
    store: Path, run: Run, versions: tuple[str, ...], gone: str, goes: bool
) -> None:
    """It goes out of the sums where as many newer ones of its kind are kept as are asked for."""
    names = [made(run, "--version", version) for version in versions]
    [lost] = [name for name in names if name.startswith(f"v{gone}/")]
    (store / lost).unlink()
    assert run("clean", "--keep", "2").code == 0
    assert (lost not in by_stock_tools(store)) == goes
    assert (run("verify", "--all").code == 0) == goes


def test_a_day_that_is_gone_goes_with_its_time(store: Path, run: Run) -> None:
    """As many newer daily backups as are kept have to be there; without --keep-daily none is let go."""
    names = []
    for day in range(3):
        with clock_at(NOON + day * 86_400):
            names.append(made(run, "--daily"))
    (store / names[0]).unlink()
    for keep, goes in ((), False), (("--keep-daily", "3"), False), (("--keep-daily", "2"), True):
        assert run("clean", *keep).code == 0
        assert (names[0] not in by_stock_tools(store)) == goes


def test_what_is_linked_is_not_gone(store: Path, run: Run, tmp_path: Path) -> None:
    """An archive that was moved to another disk, with a link in its place, is left alone."""
    names = [made(run, "--version", version) for version in ("1.0.0", "2.0.0")]
    shutil.move(store / names[0], tmp_path / "elsewhere")
    (store / names[0]).symlink_to(tmp_path / "elsewhere")
    assert run("clean", "--keep", "1").code == 0
    assert by_stock_tools(store) == sound(*names)


def _text(path: Path) -> None:
    path.write_text(BY_HAND)


def _edited(path: Path) -> None:
    path.write_text(path.read_text() + BY_HAND)


def _cut(path: Path) -> None:
    path.write_text(path.read_text()[:-1])


def _link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def _fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "notes").write_text("mine")


def _long(path: Path) -> None:
    path.write_bytes(b"x" * (2 << 20))


def _huge(path: Path) -> None:
    os.truncate(path, 1 << 30)


@pytest.mark.parametrize("put", [_text, _edited, _cut, _link, _fifo, _folder, _long, _huge])
@pytest.mark.parametrize("task", [("backup", "--daily"), ("clean",)])
def test_what_another_wrote_is_moved_aside(
    store: Path, run: Run, put: Callable[[Path], None], task: tuple[str, ...]
) -> None:
    """A file of that name that we did not write is never written over; nothing is followed or waited for."""
    name = made(run)
    path = store / "SHA256SUMS"
    put(path)
    theirs = path.lstat()
    verified = run("verify")
    assert verified.code == 0
    assert "SHA256SUMS has no line for 1 archive, the first is v1.1.0/" in verified.err

    outcome = run(*task)
    assert outcome.code == 0
    assert f"was not made here; it was moved to {path}.theirs" in outcome.err
    moved = path.with_name("SHA256SUMS.theirs").lstat()
    assert (moved.st_ino, moved.st_size) == (theirs.st_ino, theirs.st_size)
    assert by_stock_tools(store)[name]
    assert run("verify").err == ""


def test_a_second_name_of_the_sums_stays_as_it_is(store: Path, run: Run, tmp_path: Path) -> None:
    """A hard link to them is not written to."""
    made(run)
    before = (store / "SHA256SUMS").read_bytes()
    os.link(store / "SHA256SUMS", tmp_path / "copy")
    name = made(run, "--daily")
    assert (tmp_path / "copy").read_bytes() == before
    assert by_stock_tools(store)[name]


@pytest.mark.parametrize("others", ["none", "before", "after"])
def test_an_undo_brings_back_what_it_moved_aside(store: Path, run: Run, project: Path, others: str) -> None:
    """Where nothing of ours is published any more, their sums stand where they stood before the release."""
    (store / "v0.9.0").mkdir(parents=True)
    (store / "v0.9.0" / "old.tar.gz").write_bytes(b"old")
    (store / "SHA256SUMS").write_text(BY_HAND)
    if others == "before":
        made(run, "--version", "1.0.0")
    outcome = run("release")
    assert outcome.code == 0
    assert (store / "SHA256SUMS.theirs").read_text() == BY_HAND
    if others == "after":
        made(run, "--daily")

    says = "moved         what was moved aside, back to SHA256SUMS\n"
    assert (says in run("release", "--undo", "--version", "1.1.0").out) == (others == "none")
    if others == "none":
        assert (store / "SHA256SUMS").read_text() == BY_HAND
        assert not (store / "SHA256SUMS.theirs").exists()
    else:
        assert len(by_stock_tools(store)) == 1
        assert (store / "SHA256SUMS.theirs").read_text() == BY_HAND


# --- what is missing


@pytest.mark.parametrize("left", [0, 1, 2])
def test_a_missing_line_is_mentioned_and_added(store: Path, run: Run, left: int) -> None:
    """Of an older store, or a killed run: verify says so and ends with 0, the next writer adds it."""
    names = [made(run), made(run, "--daily"), made(run, "--version", "2.0.0")]
    lines = (store / "SHA256SUMS").read_text().splitlines(keepends=True)
    (store / "SHA256SUMS").write_text("".join(lines[:left]))
    if not left:
        (store / "SHA256SUMS").unlink()

    outcome = run("verify", "--all", "--json")
    assert outcome.code == 0
    assert f"SHA256SUMS has no line for {3 - left} archive" in outcome.err
    assert [each["summed"] for each in outcome.json["result"]] == [number < left for number in range(3)]
    assert not left or len(by_stock_tools(store)) == left  # a reader writes nothing
    assert run("clean").code == 0
    assert by_stock_tools(store) == sound(*names)


def test_a_line_too_much_is_mentioned_and_taken_out(store: Path, run: Run) -> None:
    """An older version of this software removed an archive and knew of no sums."""
    made(run, "--version", "1.0.0")
    kept = made(run, "--version", "2.0.0")
    before = (store / "SHA256SUMS").read_bytes()
    assert run("clean", "--keep", "1").code == 0
    (store / "SHA256SUMS").write_bytes(before)
    assert "SHA256SUMS has lines of what is not published any more" in run("verify").err
    assert run("clean", "--keep", "1").code == 0
    assert by_stock_tools(store) == sound(kept)


def test_sums_that_cannot_be_read_fail_no_proof(
    store: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """verify says why, and proves the backup all the same; nothing that writes takes them for missing."""
    made(run)
    real, wanted = os.open, (store / "SHA256SUMS").stat().st_ino

    def failing(name: Any, flags: int, *more: Any, **named: Any) -> int:
        fd = real(name, flags, *more, **named)
        if os.fstat(fd).st_ino == wanted:
            os.close(fd)
            raise OSError(errno.EIO, os.strerror(errno.EIO), name)
        return fd

    monkeypatch.setattr(os, "open", failing)
    outcome = run("verify")
    assert outcome.code == 0
    assert "reading SHA256SUMS failed: Input/output error" in outcome.err
    refused = run("clean")
    assert (refused.code, refused.err.count("\n")) == (1, 1)
    assert "Input/output error" in refused.err
    assert (store / "SHA256SUMS").stat().st_ino == wanted


def test_a_manifest_that_cannot_be_read_just_now_is_not_left_behind(
    store: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its archive is gone: clean says why it is not done, and the next run is, without help."""
    made(run, "--version", "1.0.0")
    kept = made(run, "--version", "2.0.0")
    manifest = store / "v1.0.0" / "MANIFEST.txt"
    real = os.open

    def failing(name: Any, flags: int, *more: Any, **named: Any) -> int:
        if os.fspath(name) == str(manifest) and not list(manifest.parent.glob("*Z.tar.gz")):
            raise OSError(errno.EIO, os.strerror(errno.EIO), name)
        return real(name, flags, *more, **named)

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", failing)
        outcome = run("clean", "--keep", "1")
    assert outcome.code == 1
    assert "removing backups failed: Input/output error" in outcome.err
    assert by_stock_tools(store) == sound(kept)
    assert run("clean", "--keep", "1").code == 0
    assert not manifest.parent.exists()
    assert run("verify", "--all").code == 0


def test_a_full_disk_can_be_cleaned(store: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no room for shorter sums, all of them go; once there is, they are back."""
    made(run, "--version", "1.0.0")
    kept = made(run, "--version", "2.0.0")
    is_full = (store / "v1.0.0").exists

    def full(folder: Path, name: str) -> AbstractContextManager[tuple[BinaryIO, Path]]:
        if is_full():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), name)
        return new_file(folder, name)

    monkeypatch.setattr(sums, "new_file", full)
    assert run("clean", "--keep", "1").code == 0
    assert by_stock_tools(store) == sound(kept)


def test_no_line_of_a_ledger_names_what_is_not_of_the_store(store: Path, run: Run, tmp_path: Path) -> None:
    """Whatever a ledger says was published: paths that lead out, other names, digests that are none."""
    name = made(run)
    digest = "0" * 64
    forged = [
        ("../outside.tar.gz", digest),
        ("/etc/passwd", digest),
        ("v9.9.9/other.tar.gz", digest),
        ("v9.9.9/x\\n_v9.9.9_20260101T000000Z.tar.gz", digest),
        ("v1.0.0/x_v9.9.9_20260101T000000Z.tar.gz", digest),
        ("2026-01-01.tar.gz", "not a digest"),
        ("2026-01-02.tar.gz", f"{digest}  a\\n{digest}"),
    ]
    with (store / "ledger.jsonl").open("a") as ledger:
        for path, found in forged:
            line = (
                f'{{"time":"2026-01-01T00:00:00Z","act":"publish","archive":"{path}","sha256":"{found}"}}\n'
            )
            ledger.write(line)
    day = made(run, "--daily")
    assert by_stock_tools(store) == sound(name, day)
