"""Safe steps on a file system: beneath a folder, never over something, whole or not at all."""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

from backup_lib import filesystem
from backup_lib.filesystem import (
    OPEN_DIRECTORY,
    open_beneath,
    remove_tree,
    rename_new,
    replace_file,
    sync_file_system,
    sync_folder,
)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[int]:
    """Yield an open folder with something in it, beside something outside."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret").write_bytes(b"secret")
    inside = tmp_path / "inside"
    (inside / "d/e").mkdir(parents=True)
    (inside / "d/e/file").write_bytes(b"content")
    (inside / "d/up").symlink_to("../d")
    (inside / "out").symlink_to("../outside")
    (inside / "file").symlink_to("d/e/file")
    fd = os.open(inside, OPEN_DIRECTORY)
    yield fd
    os.close(fd)


@pytest.fixture(params=[True, False], ids=["openat2", "by parts"])
def _either_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filesystem, "_kernel_has_openat2", request.param)


@pytest.mark.usefixtures("_either_way")
def test_files_beneath_a_folder_are_opened(folder: int) -> None:
    """What lies beneath is opened, made and listed, with the kernel's help and without."""
    with open(open_beneath(folder, b"d/e/file", os.O_RDONLY), "rb") as file:
        assert file.read() == b"content"
    with open(open_beneath(folder, b"d/new", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640), "wb") as file:
        assert stat.S_IMODE(os.fstat(file.fileno()).st_mode) == 0o640
        assert not os.get_inheritable(file.fileno())
    for path, names in ((b"d/e", ["file"]), (b"", ["d", "file", "out"])):
        fd = open_beneath(folder, path, OPEN_DIRECTORY)
        assert sorted(os.listdir(fd)) == names
        os.close(fd)


@pytest.mark.usefixtures("_either_way")
@pytest.mark.parametrize(
    "path",
    [
        b"out",
        b"out/secret",
        b"file",
        b"d/up/e/file",
        b"../outside/secret",
        b"d/../../outside/secret",
        b"/etc/passwd",
        b"..",
    ],
)
def test_no_way_leads_out(folder: int, path: bytes) -> None:
    """Links, dots and absolute names are refused, and nothing stays open."""
    before = os.listdir("/proc/self/fd")
    with pytest.raises(OSError):
        open_beneath(folder, path, os.O_RDONLY)
    with pytest.raises(OSError):
        open_beneath(folder, path, OPEN_DIRECTORY)
    assert len(os.listdir("/proc/self/fd")) == len(before)


@pytest.mark.usefixtures("_either_way")
def test_what_is_not_there(folder: int) -> None:
    """A missing name says so by its own error."""
    with pytest.raises(FileNotFoundError):
        open_beneath(folder, b"d/none/file", os.O_RDONLY)
    with pytest.raises(FileExistsError):
        open_beneath(folder, b"d/e/file", os.O_WRONLY | os.O_CREAT | os.O_EXCL)


@pytest.mark.usefixtures("_either_way")
def test_paths_longer_than_the_kernel_takes(tmp_path: Path) -> None:
    """A path of any length is opened, in steps."""
    step = os.open(tmp_path, OPEN_DIRECTORY)
    for _ in range(40):
        os.mkdir(b"d" * 200, dir_fd=step)
        deeper = os.open(b"d" * 200, OPEN_DIRECTORY, dir_fd=step)
        os.close(step)
        step = deeper
    os.close(os.open(b"file", os.O_WRONLY | os.O_CREAT, dir_fd=step))
    os.close(step)
    root = os.open(tmp_path, OPEN_DIRECTORY)
    path = b"/".join([b"d" * 200] * 40)
    os.close(open_beneath(root, path + b"/file", os.O_RDONLY))
    with pytest.raises(FileNotFoundError):
        open_beneath(root, path + b"/none", os.O_RDONLY)
    os.close(root)


class _Libc:
    """A C library whose calls fail with the errors it is given, one after the other."""

    def __init__(self, *numbers: int) -> None:
        self.numbers = list(numbers)

    def __getattr__(self, name: str) -> Callable[..., int]:
        def call(*arguments: Any) -> int:
            ctypes.set_errno(self.numbers.pop(0))
            return -1

        return call


def test_a_kernel_without_the_call(folder: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the kernel, or a sandbox, does not know the call, it is asked once, and the parts are opened."""
    for number in (errno.ENOSYS, errno.EPERM):
        monkeypatch.setattr(filesystem, "_kernel_has_openat2", True)
        libc = _Libc(errno.EINTR, errno.EAGAIN, number, errno.EIO)
        monkeypatch.setattr(filesystem, "_libc", libc)
        for _ in range(2):
            os.close(open_beneath(folder, b"d/e/file", os.O_RDONLY))
        assert libc.numbers == [errno.EIO]
        assert not filesystem._kernel_has_openat2


def _by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filesystem, "_libc", _Libc(*[errno.EINVAL] * 99))


def _elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filesystem, "_libc", object())


def _without_links(number: int) -> Callable[[pytest.MonkeyPatch], None]:
    """A file system that knows hard links as little as the flag; each says it in its own way."""

    def refuse(*_: Any, **__: Any) -> NoReturn:
        raise OSError(number, os.strerror(number))

    def patch(monkeypatch: pytest.MonkeyPatch) -> None:
        _by_hand(monkeypatch)
        monkeypatch.setattr(os, "link", refuse)

    return patch


@pytest.mark.parametrize(
    "way",
    [
        pytest.param(lambda monkeypatch: None, id="at once"),
        pytest.param(_by_hand, id="by a link"),
        pytest.param(_elsewhere, id="no such call"),
        *(
            pytest.param(_without_links(number), id=errno.errorcode[number])
            for number in (errno.EPERM, errno.EIO, errno.ENOSYS, errno.EOPNOTSUPP, errno.EMLINK)
        ),
    ],
)
def test_renaming_never_takes_a_name(
    way: Callable[[pytest.MonkeyPatch], None], folder: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A file, a folder and a link get a new name only where nothing has it, and then lose the old one."""
    way(monkeypatch)
    inside = tmp_path / "inside"
    (inside / "a").write_bytes(b"a")
    (inside / "b").write_bytes(b"b")
    for old in ("a", "d", "out"):
        for taken in ("b", "file"):
            with pytest.raises(FileExistsError):
                rename_new(old, taken, folder)
    rename_new("a", "c", folder)
    rename_new(b"d", b"f", folder)
    rename_new("out", "g", folder)
    assert sorted(os.listdir(folder)) == ["b", "c", "f", "file", "g"]
    assert (inside / "b").read_bytes() == b"b"
    with pytest.raises(FileNotFoundError):
        rename_new("none", "new", folder)


def test_renaming_tells_other_errors(folder: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk is told as such, and nothing else is tried."""
    monkeypatch.setattr(filesystem, "_libc", _Libc(errno.ENOSPC))
    with pytest.raises(OSError, match="No space left"):
        rename_new("d", "new", folder)


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    """A file gets new content and mode in one step; whoever reads the old one keeps it."""
    path = tmp_path / "file"
    replace_file(path, b"one")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with path.open("rb") as old:
        replace_file(path, b"two", 0o644)
        assert old.read() == b"one"
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (b"two", 0o644)
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("step", ["fsync", "replace", "fchmod"])
def test_a_file_that_cannot_be_replaced(step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a step fails, or is interrupted, the old file stays as it was and nothing else is left."""
    path = tmp_path / "file"
    path.write_bytes(b"one")

    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(KeyboardInterrupt):
        replace_file(path, b"two")
    assert path.read_bytes() == b"one"
    assert os.listdir(tmp_path) == ["file"]


def test_syncing(folder: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders and file systems are synced, by path and by descriptor; a failure is told."""
    sync_folder(tmp_path)
    sync_folder(folder)
    sync_file_system(folder)
    with pytest.raises(FileNotFoundError):
        sync_folder(tmp_path / "none")
    with pytest.raises(OSError, match="Bad file descriptor"):
        sync_file_system(-1)
    if Path("/proc/self").exists():
        sync_folder(Path("/proc"))  # whose file system knows no sync, as on a disc that can only be read
    synced: list[bool] = []
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(os, "sync", lambda: synced.append(True))
    sync_file_system(folder)
    assert synced == [True]


def test_a_tree_of_any_modes_is_removed(tmp_path: Path) -> None:
    """Folders that their modes close are removed with what is in them; what links lead to keeps its mode."""
    outside = tmp_path / "outside"
    (outside / "kept").mkdir(parents=True)
    outside.chmod(0o750)
    tree = tmp_path / "tree"
    (tree / "read-only" / "closed" / "deep").mkdir(parents=True)
    (tree / "read-only" / "file").write_text("content")
    (tree / "link").symlink_to(outside)
    (tree / "read-only" / "closed").chmod(0)
    (tree / "read-only").chmod(0o555)
    done = os.fork() or _removed_by_nobody(tmp_path, tree)
    assert os.waitstatus_to_exitcode(os.waitpid(done, 0)[1]) == 0
    assert not tree.exists()
    assert (stat.S_IMODE(outside.stat().st_mode), os.listdir(outside)) == (0o750, ["kept"])


def _removed_by_nobody(above: Path, tree: Path) -> NoReturn:
    """Remove a tree as one whom modes keep out; in a child process, which ends."""
    try:
        if os.getuid() == 0:
            for path in (above, *above.rglob("*")):
                os.chown(path, 65534, 65534, follow_symlinks=False)
        os.chdir(above)
        if os.getuid() == 0:
            os.setuid(65534)
        remove_tree(tree.relative_to(above))
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
