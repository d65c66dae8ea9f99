"""A second wall, around whoever takes out an archive that may be anybody's.

The first one is our own code: `names`, `limits`, `target`. Should an archive ever turn a fault in it,
or in a codec, into code of its own, then that code runs in a process that the kernel holds to its ground
(Landlock): it writes, makes, links and removes files below the target only, and reads nothing but the archive
and what Python still needs. Where the kernel is new enough, it reaches nobody by TCP or a signal either.

The rights and the calls are those of ``Documentation/userspace-api/landlock.rst`` in Linux.
"""

from __future__ import annotations

import ctypes
import os
import resource
import stat
import struct
import sys
from contextlib import suppress
from dataclasses import dataclass
from enum import IntFlag, auto
from pathlib import Path

import msgspec

__all__ = ["Ground", "has_wall", "raise_wall"]

_libc = ctypes.CDLL(None, use_errno=True)
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_ASK_VERSION = 1
_PATH_BENEATH = 1
_SET_NO_NEW_PRIVS = 38

_OLDEST = 2
"""The version of Landlock (Linux 5.19) from which on a hard link may go from one folder to another."""
_NET_SINCE, _NET = 4, 0b11
"""To take and to make TCP connections."""
_SCOPE_SINCE, _SCOPE = 6, 0b11
"""Abstract sockets of others, and signals to them."""


class _Right(IntFlag):
    """What Landlock can forbid to do with files, in the order of its bits."""

    EXECUTE = auto()
    WRITE_FILE = auto()
    READ_FILE = auto()
    READ_DIR = auto()
    REMOVE_DIR = auto()
    REMOVE_FILE = auto()
    MAKE_CHAR = auto()
    MAKE_DIR = auto()
    MAKE_REG = auto()
    MAKE_SOCK = auto()
    MAKE_FIFO = auto()
    MAKE_BLOCK = auto()
    MAKE_SYM = auto()
    REFER = auto()
    TRUNCATE = auto()
    IOCTL_DEV = auto()


_SINCE = {_Right.TRUNCATE: 3, _Right.IOCTL_DEV: 5}
"""The version that brought a right, where that is not the oldest."""
_READ = _Right.READ_FILE | _Right.READ_DIR
_MAKE = _Right.MAKE_DIR | _Right.MAKE_REG | _Right.MAKE_SYM | _Right.REFER
_WRITE = _READ | _MAKE | _Right.WRITE_FILE | _Right.TRUNCATE | _Right.REMOVE_FILE


@dataclass(frozen=True, slots=True)
class Ground:
    """What can be reached behind the wall, besides what Python still needs."""

    archive: Path
    """What is read."""
    folder: int | None = None
    """The open folder that is written into, if there is one."""
    writes: bool = True
    """False where the folder is only looked at."""


def has_wall() -> bool:
    """Whether the kernel has a wall that honest archives do not meet."""
    return _version() >= _OLDEST


def raise_wall(ground: Ground) -> None:
    """Hold this thread, and all that it starts, to its ground, for ever.

    What is open stays open: close it before. Needs `has_wall`; raises `OSError`.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # what breaks here leaves no copy of our memory
    version = _version()
    files = sum(right for right in _Right if version >= _SINCE.get(right, _OLDEST))
    net, scope = _NET * (version >= _NET_SINCE), _SCOPE * (version >= _SCOPE_SINCE)
    rules = struct.pack("=QQQ", files, net, scope)
    ruleset = _call(_CREATE_RULESET, rules, ctypes.c_size_t(len(rules)), ctypes.c_uint32(0))
    try:
        for path in (str(ground.archive), *_needed_by_python()):
            with suppress(OSError):  # whoever needs it will say that it is not there
                _allow_reading(ruleset, path)
        if ground.folder is not None:
            _allow(ruleset, ground.folder, (_WRITE if ground.writes else _READ) & files)
        one, none = ctypes.c_ulong(1), ctypes.c_ulong(0)
        if _libc.prctl(_SET_NO_NEW_PRIVS, one, none, none, none) != 0:
            raise _error()
        _call(_RESTRICT_SELF, ruleset, ctypes.c_uint32(0))
    finally:
        os.close(ruleset)


def _needed_by_python() -> set[str]:
    """Return what the standard library and our dependencies are read from, and where threads are counted."""
    ours, others = Path(__file__).parents[1], Path(msgspec.__path__[0]).parent
    return {sys.prefix, sys.base_prefix, str(ours), str(others), "/proc/self/task"}


def _allow_reading(ruleset: int, path: str) -> None:
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        is_folder = stat.S_ISDIR(os.fstat(fd).st_mode)
        _allow(ruleset, fd, _READ if is_folder else _Right.READ_FILE)
    finally:
        os.close(fd)


def _allow(ruleset: int, fd: int, rights: int) -> None:
    rule = struct.pack("=Qi", rights, fd)
    _call(_ADD_RULE, ruleset, ctypes.c_int(_PATH_BENEATH), rule, ctypes.c_uint32(0))


def _version() -> int:
    """Return the version of Landlock; 0 where there is none, or it may not be used."""
    if sys.platform != "linux":
        return 0
    nothing = ctypes.c_size_t(0)
    return max(0, int(_libc.syscall(_CREATE_RULESET, None, nothing, ctypes.c_uint32(_ASK_VERSION))))


def _call(number: int, *arguments: object) -> int:
    done = int(_libc.syscall(ctypes.c_long(number), *arguments))
    if done < 0:
        raise _error()
    return done


def _error() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))
