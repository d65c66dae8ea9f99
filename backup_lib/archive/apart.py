"""Work done apart: in a process of its own, behind the wall, whose word is taken as plain data.

Other than in `pool`, the two do not trust each other: nothing that comes back is unpickled.
"""

from __future__ import annotations

import ctypes
import os
import signal
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from types import FrameType
from typing import BinaryIO, NoReturn, TypeVar

import msgspec

from backup_lib.archive.pool import SIGNALS, may_fork
from backup_lib.archive.wall import Ground, has_wall, raise_wall
from backup_lib.errors import BackupError, RestoreError, printable, translated
from backup_lib.progress import Advance, Console

__all__ = ["apart"]

Done = TypeVar("Done")

_SET_DEATH_SIGNAL = 1
_AT_ONCE = 1 << 20
"""Bytes of progress that are told at once."""


class _Line(msgspec.Struct, tag=True):
    text: str


class _Bar(msgspec.Struct, tag=True):
    label: str
    total: int


class _Advanced(msgspec.Struct, tag=True):
    count: int


class _Done(msgspec.Struct, tag=True):
    value: msgspec.Raw


class _Failed(msgspec.Struct, tag=True):
    kind: str
    text: str
    trace: list[str]


_Message = _Line | _Bar | _Advanced | _Done | _Failed
_DECODER: msgspec.json.Decoder[_Message] = msgspec.json.Decoder(_Message)


def apart(work: Callable[[Console], Done], kind: type[Done], ground: Ground, console: Console) -> Done:
    """Return what `work` returns, of a type that msgspec knows, and show what it says.

    It is done behind the wall where the kernel has one and nothing forbids a fork, and here where not.
    What interrupts this process ends both; so does its death.
    Raises what `work` raises where that is a `BackupError`, and `RestoreError` where its process just ends.
    """
    if not (has_wall() and may_fork()):
        return work(console)
    ours, theirs = os.pipe()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        parent, child = os.getpid(), os.fork()
        if child == 0:
            _serve(work, ground, theirs, parent)
        os.close(theirs)
        try:
            with open(ours, "rb") as told:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)  # what came meanwhile is raised here
                return _told(told, kind, console)
        except BaseException:
            os.kill(child, signal.SIGTERM)
            raise
        finally:
            os.waitpid(child, 0)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _told(told: BinaryIO, kind: type[Done], console: Console) -> Done:
    """Show what the other process says, until it is done."""
    with ExitStack() as bar, suppress(msgspec.MsgspecError):
        advance: Advance = int
        for message in map(_DECODER.decode, told):
            match message:
                case _Line(text):
                    console.say(printable(text))
                case _Bar(label, total):
                    advance = bar.enter_context(console.bar(printable(label), total))
                case _Advanced(count):
                    advance(count)
                case _Failed():
                    raise _error(message)
                case _Done(value):
                    return msgspec.json.decode(value, type=kind)
    raise RestoreError("the process that read it was ended: from outside, or by what is in it")


def _error(failed: _Failed) -> Exception:
    kinds: list[type[BackupError]] = [BackupError, *BackupError.__subclasses__()]
    for kind in kinds:
        if kind.__name__ == failed.kind:
            return kind(printable(failed.text))
    unexpected = RuntimeError(f"{failed.kind}: {failed.text}")
    unexpected.add_note("\n".join(map(printable, failed.trace)))
    return unexpected


class _Relay:
    """The console there: all is told to the one here."""

    def __init__(self, pipe: BinaryIO) -> None:
        self._pipe = pipe

    def tell(self, message: _Message) -> None:
        """Tell one thing."""
        self._pipe.write(msgspec.json.encode(message) + b"\n")
        self._pipe.flush()

    def say(self, line: str) -> None:
        """Have one line shown."""
        self.tell(_Line(printable(line)))

    @contextmanager
    def bar(self, label: str, total: int) -> Iterator[Advance]:
        """Have a bar of `total` bytes shown."""
        done = 0

        def advance(count: int) -> None:
            nonlocal done
            done += count
            if done >= _AT_ONCE:
                self.tell(_Advanced(done))
                done = 0

        self.tell(_Bar(printable(label), total))
        yield advance
        self.tell(_Advanced(done))


def _serve(work: Callable[[Console], Done], ground: Ground, pipe: int, parent: int) -> NoReturn:
    """Do the work and tell of it; nothing of what called this goes on in this process."""
    try:
        try:
            _end_with(parent)
            with open(pipe, "wb") as told:
                _do(work, ground, _Relay(told), pipe)
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
    finally:
        os._exit(0)


def _end_with(parent: int) -> None:
    """Let the parent's SIGTERM interrupt this process once, and its death end it."""
    ctypes.CDLL(None).prctl(_SET_DEATH_SIGNAL, ctypes.c_ulong(signal.SIGKILL))
    if os.getppid() != parent:
        os._exit(0)

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, interrupt)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def _do(work: Callable[[Console], Done], ground: Ground, relay: _Relay, pipe: int) -> None:
    try:
        with translated(RestoreError, "raising the wall"):
            _let_go({pipe, ground.folder})
            raise_wall(ground)
        relay.tell(_Done(msgspec.Raw(msgspec.json.encode(work(relay)))))
    except Exception as error:  # noqa: BLE001  whatever it is, the parent raises it
        trace = [printable(line) for line in "".join(traceback.format_exception(error)).splitlines()]
        relay.tell(_Failed(type(error).__name__, printable(str(error)), trace))


def _let_go(kept: set[int | None]) -> None:
    """Let go of the terminal, and of all that is open but what is kept; what held it holds nothing."""
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDWR)
    for fd in map(int, os.listdir("/proc/self/fd")):
        if fd not in kept:
            os.dup2(nothing, fd)
