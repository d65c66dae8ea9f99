"""Safe steps on a file system: what Python's ``os`` lacks, and what must not be done twice in two ways."""

from __future__ import annotations

import ctypes
import errno
import os
import re
import secrets
import stat
import sys
from contextlib import suppress
from io import BufferedReader
from pathlib import Path

__all__ = [
    "DEEPEST",
    "OPEN_DIRECTORY",
    "PATH_LIMIT",
    "SEE_FOLDER",
    "open_beneath",
    "open_file",
    "open_regular",
    "read_regular",
    "remove_tree",
    "rename_new",
    "replace_file",
    "sweep_partials",
    "sync_file_system",
    "sync_folder",
]

OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
SEE_FOLDER = OPEN_DIRECTORY | getattr(os, "O_PATH", 0)
"""Opens also a folder that its mode closes to us."""

DEEPEST = 2048
"""Folders below each other that are backed up and restored: no path that the kernel takes whole has more."""

PATH_LIMIT = 4000
"""Bytes of a path that are given to the kernel at once: PATH_MAX is 4096, its final NUL included."""

_libc = ctypes.CDLL(None, use_errno=True)
_SYS_OPENAT2 = 437
_BENEATH_NO_SYMLINKS = 0x08 | 0x04 | 0x02  # RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, RESOLVE_NO_MAGICLINKS
_RENAME_NOREPLACE = 1
_NO_SUCH_RENAME = (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP)
"""What kernels and file systems say that do not know RENAME_NOREPLACE; of FUSE, what its server thinks of."""
_kernel_has_openat2 = sys.platform == "linux"


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def open_beneath(folder: int, path: bytes, flags: int, mode: int = 0) -> int:
    """Open `path` below the open directory `folder`, through directories only.

    No part of `path`, the last included, is followed where it is a link, and none may lead out.
    Paths longer than the kernel takes at once are opened in steps.

    Raises `OSError` (``ELOOP`` for a link on the way, ``EXDEV`` for a way out).
    """
    if len(path) <= PATH_LIMIT:
        return _open_short(folder, path or b".", flags, mode)
    cut = path.rindex(b"/", 0, PATH_LIMIT)
    step = _open_short(folder, path[:cut], OPEN_DIRECTORY, 0)
    try:
        return open_beneath(step, path[cut + 1 :], flags, mode)
    finally:
        os.close(step)


def _open_short(folder: int, path: bytes, flags: int, mode: int) -> int:
    global _kernel_has_openat2
    if _kernel_has_openat2:
        how = _OpenHow(flags | os.O_CLOEXEC, mode, _BENEATH_NO_SYMLINKS)
        while True:
            fd = _libc.syscall(_SYS_OPENAT2, folder, path, ctypes.byref(how), ctypes.sizeof(how))
            if fd >= 0:
                return int(fd)
            number = ctypes.get_errno()
            if number not in (errno.EINTR, errno.EAGAIN):
                break
        if number not in (errno.ENOSYS, errno.EPERM):
            raise OSError(number, os.strerror(number), path)
        _kernel_has_openat2 = False
    return _open_by_parts(folder, path, flags, mode)


def _open_by_parts(folder: int, path: bytes, flags: int, mode: int) -> int:
    *parents, name = path.split(b"/")
    step = folder
    try:
        for part in parents:
            deeper = os.open(_inner(part), OPEN_DIRECTORY, dir_fd=step)
            if step != folder:
                os.close(step)
            step = deeper
        return os.open(_inner(name), flags | os.O_NOFOLLOW | os.O_CLOEXEC, mode, dir_fd=step)
    finally:
        if step != folder:
            os.close(step)


def _inner(part: bytes) -> bytes:
    if part in (b"", b".."):
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), part)
    return part


def rename_new(old: str | bytes, new: str | bytes, folder: int) -> None:
    """Rename `old` to `new` in the open directory `folder`; never over something that is there.

    Where the file system has no atomic way (FAT and exFAT by FUSE, rclone, vboxsf), whoever else makes names
    in that folder must be kept out: what is there is looked for before.

    Raises `FileExistsError` where `new` exists.
    """
    atomic = getattr(_libc, "renameat2", None)  # musl has it since 1.2.6 only
    if atomic is not None:
        if atomic(folder, os.fsencode(old), folder, os.fsencode(new), _RENAME_NOREPLACE) == 0:
            return
        number = ctypes.get_errno()
        if number not in _NO_SUCH_RENAME:
            raise OSError(number, os.strerror(number), new)
    _rename_new_by_hand(old, new, folder)


def _rename_new_by_hand(old: str | bytes, new: str | bytes, folder: int) -> None:
    """Do it by a hard link for a file, which is never made over anything; else by a look before."""
    if stat.S_ISREG(os.stat(old, dir_fd=folder, follow_symlinks=False).st_mode):
        try:
            os.link(old, new, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
        except FileExistsError:
            raise
        except OSError:  # EPERM on FAT, EIO and others by FUSE; what is truly wrong, the rename says again
            pass
        else:
            os.unlink(old, dir_fd=folder)
            return
    try:
        os.stat(new, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        os.rename(old, new, src_dir_fd=folder, dst_dir_fd=folder)
    else:
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), new)


def open_regular(path: Path, flags: int = os.O_RDONLY, mode: int = 0o600) -> int:
    """Open a regular file, at once: no link is followed, no fifo waited for, no device read without end.

    What is opened for writing must not be known by another name (a hard link), which would be written, too.
    Nothing is truncated: what the file is can only be seen once it is open.

    Raises `OSError`: ``ELOOP`` for a symbolic link, ``EINVAL`` for anything else, ``EMLINK`` for another
    name.
    """
    try:
        fd = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, mode)
    except OSError as error:
        if error.errno == errno.ELOOP and os.path.islink(path):
            raise OSError(errno.ELOOP, "it is a symbolic link, not a file", str(path)) from error
        raise
    facts = os.fstat(fd)
    if stat.S_ISREG(facts.st_mode) and (facts.st_nlink <= 1 or flags & os.O_ACCMODE == os.O_RDONLY):
        return fd
    os.close(fd)
    if stat.S_ISREG(facts.st_mode):
        raise OSError(errno.EMLINK, "it has another name (a hard link), so it is not written to", str(path))
    raise OSError(errno.EINVAL, "it is no regular file", str(path))


def open_file(path: Path) -> BufferedReader:
    """Open a regular file for reading; raises like `open_regular`."""
    return open(open_regular(path), "rb")


def read_regular(fd: int, most: int) -> bytes:
    """Read all of an open file, and close it.

    Raises `OSError`: ``EISDIR`` for a folder, ``EINVAL`` for anything else that is no regular file,
    ``EFBIG`` where it has more than `most` bytes; hardly more are read then.
    """
    try:
        facts = os.fstat(fd)
        if stat.S_ISDIR(facts.st_mode):
            raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not stat.S_ISREG(facts.st_mode):
            raise OSError(errno.EINVAL, "it is no regular file")
        content = b""
        if facts.st_size <= most:
            with open(fd, "rb", closefd=False) as file:
                content = file.read(most + 1)  # it may grow meanwhile, and /proc tells no sizes
        if max(facts.st_size, len(content)) > most:
            raise OSError(errno.EFBIG, f"it has more than {most} bytes")
        return content
    finally:
        os.close(fd)


def remove_tree(path: Path) -> None:
    """Remove a folder of our own with all that is in it, as far as that can be done; no link is followed."""
    for _ in range(2):  # what failed once may not fail again
        with suppress(OSError):
            top = os.open(path, OPEN_DIRECTORY)
            try:
                for folder in reversed(_own_all(top)):
                    with suppress(OSError):
                        _empty(top, folder)
            finally:
                os.close(top)
            os.rmdir(path)


def _own_all(top: int) -> list[bytes]:
    """Take every folder below an open one for ourselves, whatever its mode: else it keeps what is in it.

    Returns their paths, each after those above it; no recursion, as trees may be deep.
    """
    folders = [b""]
    for folder in folders:
        with suppress(OSError):
            seen = open_beneath(top, folder, SEE_FOLDER)
            try:
                _own(seen)
                folders += (folder + b"/" * bool(folder) + name for name in _folders_in(seen))
            finally:
                os.close(seen)
    return folders


def _empty(top: int, path: bytes) -> None:
    """Remove what is in a folder; the folders in it are empty."""
    folder = open_beneath(top, path, OPEN_DIRECTORY)
    try:
        with os.scandir(folder) as entries:
            for name, is_folder in [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]:
                with suppress(OSError):
                    (os.rmdir if is_folder else os.unlink)(name, dir_fd=folder)
    finally:
        os.close(folder)


def _own(seen: int) -> None:
    if sys.platform == "linux":
        os.chmod(f"/proc/self/fd/{seen}", 0o700)  # the one way for what is open by name only
    else:
        os.fchmod(seen, 0o700)


def _folders_in(seen: int) -> list[bytes]:
    fd = os.open(b".", OPEN_DIRECTORY, dir_fd=seen)
    try:
        with os.scandir(fd) as entries:
            return [os.fsencode(entry.name) for entry in entries if entry.is_dir(follow_symlinks=False)]
    finally:
        os.close(fd)


def sync_folder(folder: Path | int) -> None:
    """Make the names in a folder last through a power cut, where its file system knows how to."""
    if isinstance(folder, int):
        _sync_names(folder)
        return
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _sync_names(fd)
    finally:
        os.close(fd)


def _sync_names(folder: int) -> None:
    """Sync an open folder; ``EINVAL`` says that its file system has nothing of the kind."""
    try:
        os.fsync(folder)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise


def sync_file_system(folder: int) -> None:
    """Make everything written to the file system of the open directory `folder` last."""
    if sys.platform == "linux":
        if _libc.syncfs(folder) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
    else:
        os.sync()


def sweep_partials(path: Path) -> None:
    """Remove what a killed `replace_file` of this path left; none must be under way."""
    left = re.compile(re.escape(f".{path.name}.") + r"[0-9a-f]{8}\.partial")
    for name in filter(left.fullmatch, os.listdir(path.parent)):
        os.unlink(path.parent / name)


def replace_file(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Write `data` as `path` in one step: at any moment, the old bytes are there or the new ones.

    What a killed call for the same path left is removed; two must not be under way at once.
    """
    sweep_partials(path)
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(fd, mode)
            os.fsync(fd)
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)
