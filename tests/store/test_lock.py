"""One writer or many readers, across processes; the lock dies with its holder."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from backup_lib.errors import StoreError, StoreHeldError
from backup_lib.store import lock
from backup_lib.store.layout import LOCK

SCRIPT = """
import sys
from pathlib import Path
from backup_lib.store.lock import hold
with hold(Path(sys.argv[1]), shared=sys.argv[2] == "shared", doing="a test"):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def another(store: Path, how: str) -> Iterator[subprocess.Popen[str]]:
    """Let another process hold the store."""
    command = [sys.executable, "-c", SCRIPT, str(store), how]
    root = str(Path(lock.__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": root}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait less than a user would."""
    monkeypatch.setattr(lock, "_PATIENCE", 0.2)


def test_a_second_writer_is_told_who_holds_the_store(tmp_path: Path) -> None:
    """The message names the process, what it does and since when; exit code 11."""
    with another(tmp_path, "exclusive") as holder:
        with (
            pytest.raises(StoreHeldError, match=rf"process {holder.pid} \(a test, since 2.*Z\)") as caught,
            lock.hold(tmp_path, shared=False, doing="this"),
        ):
            pass
        with pytest.raises(StoreHeldError), lock.hold(tmp_path, shared=True, doing="this"):
            pass
    assert caught.value.exit_code == 11


def test_readers_do_not_keep_each_other_out_but_a_writer(tmp_path: Path) -> None:
    """Two verifications run at once; a backup waits for both."""
    with another(tmp_path, "shared"):
        with lock.hold(tmp_path, shared=True, doing="reading"):
            pass
        with (
            pytest.raises(StoreHeldError, match="other processes"),
            lock.hold(tmp_path, shared=False, doing="x"),
        ):
            pass


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    """There are no stale locks, and nobody long dead is blamed."""
    with another(tmp_path, "exclusive") as holder:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        assert b"a test" in (tmp_path / LOCK).read_bytes()
        with lock.hold(tmp_path, shared=False, doing="this"):
            pass
    assert (tmp_path / LOCK).read_bytes() == b""
    (tmp_path / LOCK).write_text(f'{{"pid": {holder.pid}, "doing": "a test", "since": ""}}')
    with (
        another(tmp_path, "shared"),
        pytest.raises(StoreHeldError, match="other processes"),
        lock.hold(tmp_path, shared=False, doing="x"),
    ):
        pass


def test_a_short_wait_is_waited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A holder that ends within two seconds is no error."""
    monkeypatch.setattr(lock, "_PATIENCE", 10)
    with another(tmp_path, "exclusive") as holder:
        monkeypatch.setattr("time.sleep", lambda seconds: holder.kill())
        with lock.hold(tmp_path, shared=False, doing="this"):
            pass


def test_the_lock_is_for_its_owner_and_not_inherited(tmp_path: Path) -> None:
    """A child process does not keep the store held."""
    with lock.hold(tmp_path, shared=False, doing="this"):
        assert (tmp_path / LOCK).stat().st_mode & 0o777 == 0o600
        fds = [int(name) for name in os.listdir("/proc/self/fd")]
        held = [fd for fd in fds if _path(fd) == str(tmp_path / LOCK)]
        assert held
        assert not any(map(os.get_inheritable, held))


def _path(fd: int) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return ""


def test_a_lock_file_deleted_meanwhile_does_not_let_two_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who locked the deleted file tries again with the new one."""
    real = fcntl.flock
    deleted: list[Path] = []

    def flock(fd: int, how: int) -> None:
        real(fd, how)
        if not deleted:
            deleted.append(tmp_path / LOCK)
            deleted[0].unlink()

    monkeypatch.setattr(fcntl, "flock", flock)
    with lock.hold(tmp_path, shared=False, doing="this"):
        assert (tmp_path / LOCK).exists()
    assert deleted


def test_a_store_that_is_not_there_is_read_as_empty(tmp_path: Path) -> None:
    """Reading makes no folder; writing says that there is none."""
    with lock.hold(tmp_path / "none", shared=True, doing="this"):
        pass
    assert not (tmp_path / "none").exists()
    with (
        pytest.raises(StoreError, match="locking the store failed"),
        lock.hold(tmp_path / "none", False, "this"),
    ):
        pass


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_a_read_only_store_is_read_without_a_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """A restore from a read-only disk works; a backup onto it is refused."""
    real = os.open

    def refuse(path: Any, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_CREAT:
            raise OSError(number, os.strerror(number), path)
        return real(path, flags, mode)

    monkeypatch.setattr(os, "open", refuse)
    with lock.hold(tmp_path, shared=True, doing="this"):
        pass
    with (
        pytest.raises(StoreError, match=os.strerror(number)),
        lock.hold(tmp_path, shared=False, doing="this"),
    ):
        pass
    monkeypatch.setattr(os, "open", real)
    (tmp_path / LOCK).touch()
    monkeypatch.setattr(os, "open", refuse)
    with lock.hold(tmp_path, shared=True, doing="this"):
        pass


def test_a_full_disk_does_not_let_readers_through_unlocked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only a store that cannot be written is read without a lock."""

    def fail(path: Any, flags: int, mode: int = 0o777) -> int:
        raise OSError(errno.ENOSPC if flags & os.O_CREAT else errno.ENOENT, "no")

    monkeypatch.setattr(os, "open", fail)
    with pytest.raises(StoreError), lock.hold(tmp_path, shared=True, doing="this"):
        pass


def test_a_file_system_without_locks_can_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some network file systems know no locks: reading goes on, writing does not."""

    def flock(fd: int, how: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)
    with lock.hold(tmp_path, shared=True, doing="this"):
        pass
    with pytest.raises(StoreError), lock.hold(tmp_path, shared=False, doing="this"):
        pass


def test_a_holder_of_another_user_is_named_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That it may not be signalled shows that it lives."""

    def kill(pid: int, number: int) -> None:
        raise PermissionError

    with another(tmp_path, "exclusive") as holder, monkeypatch.context() as patched:
        patched.setattr(os, "kill", kill)
        with (
            pytest.raises(StoreHeldError, match=f"process {holder.pid}"),
            lock.hold(tmp_path, False, "this"),
        ):
            pass
