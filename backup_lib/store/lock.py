"""One lock a store: ``flock`` on ``.lock``.

The kernel frees it when its holder dies, so there is no stale lock; the file itself is never removed.
What the exclusive holder writes into it is for people only.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from backup_lib.clock import now
from backup_lib.errors import StoreError, StoreHeldError, printable, translated
from backup_lib.filesystem import open_regular
from backup_lib.store.layout import LOCK

__all__ = ["hold"]

_PATIENCE = 2.0  # seconds
_PAUSE = 0.05  # seconds
_NOTE_LIMIT = 4096  # bytes
_NO_WRITING = (errno.EROFS, errno.EACCES, errno.EPERM)
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)


class _Holder(msgspec.Struct, frozen=True):
    pid: int
    doing: str
    since: str


@contextmanager
def hold(store: Path, shared: bool, doing: str, makes: bool = True) -> Iterator[None]:
    """Hold the store while the body runs: alone, or `shared` with other readers.

    Waits two seconds at most. Without ``.lock``, a reader makes one if it `makes` any and may write there;
    else it reads without a lock.

    Raises `StoreHeldError` naming who holds it, `StoreError` if it cannot be locked.
    """
    advice = "check that it is there, may be written, and that .lock in it is a plain file"
    with translated(StoreError, "locking the store", advice, store):
        fd = _locked(store / LOCK, shared, makes)
    if fd is None:
        yield
        return
    try:
        if not shared:
            _write_note(fd, msgspec.json.encode(_Holder(os.getpid(), printable(doing), now())))
        yield
    finally:
        if not shared:
            _write_note(fd, b"")
        os.close(fd)


def _locked(path: Path, shared: bool, makes: bool) -> int | None:
    deadline = time.monotonic() + _PATIENCE
    while True:
        fd = _opened(path, shared, makes)
        if fd is None:
            return None
        try:
            if _flock(fd, shared) and _is_at(path, fd):
                return fd
        except BaseException:
            os.close(fd)
            raise
        if time.monotonic() >= deadline:
            note = os.pread(fd, _NOTE_LIMIT, 0)
            os.close(fd)
            raise StoreHeldError(_complaint(path.parent, note))
        os.close(fd)
        time.sleep(_PAUSE)


def _opened(path: Path, shared: bool, makes: bool) -> int | None:
    if not shared:
        return open_regular(path, os.O_RDWR | os.O_CREAT)
    with suppress(FileNotFoundError):
        return open_regular(path)
    if not makes:
        return None
    try:
        return open_regular(path, os.O_RDONLY | os.O_CREAT)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno in _NO_WRITING:
            return None
        raise


def _flock(fd: int, shared: bool) -> bool:
    """Try once; True also for a reader where the file system has no locks."""
    try:
        fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if shared and error.errno in _NO_LOCKS:
            return True
        raise
    return True


def _is_at(path: Path, fd: int) -> bool:
    """Tell whether the locked file still has its name: somebody may have deleted it meanwhile."""
    try:
        return os.path.samestat(os.stat(path, follow_symlinks=False), os.fstat(fd))
    except FileNotFoundError:
        return False


def _write_note(fd: int, note: bytes) -> None:
    """Say who holds the store; a full disk must not keep anyone from it."""
    with suppress(OSError):
        os.ftruncate(fd, 0)
        os.pwrite(fd, note, 0)


def _complaint(store: Path, note: bytes) -> str:
    advice = "wait for it to finish and try again"
    where = printable(store)
    try:
        holder = msgspec.json.decode(note, type=_Holder)
        os.kill(holder.pid, 0)
    except PermissionError:
        pass
    except (msgspec.DecodeError, RecursionError, OSError, OverflowError):
        return f"other processes are using the store {where}; {advice}"
    who = f"process {holder.pid} ({printable(holder.doing)}, since {printable(holder.since)})"
    return f"{who} holds the store {where}; {advice}"
