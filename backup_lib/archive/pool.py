"""Work done side by side, results in order.

In threads, where little is done by Python itself: every codec and hash used here lets other threads run.
In forked processes, where Python has much to do: one thread of it runs at a time.
"""

from __future__ import annotations

import fcntl
import gc
import os
import pickle
import signal
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from itertools import cycle, islice
from typing import BinaryIO, NoReturn, TypeVar

from backup_lib.errors import BackupError

__all__ = ["SIGNALS", "WORKERS", "in_order", "in_processes", "may_fork"]

Job = TypeVar("Job")
Done = TypeVar("Done")

WORKERS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

_PIPE = 1 << 20
"""Bytes of results that a process may be ahead: what an unprivileged pipe holds at most."""
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""What ends a command, and is for the process that a person or a terminal knows of."""


def in_order(work: Callable[[Job], Done], jobs: Iterable[Job]) -> Generator[Done, None, None]:
    """Yield ``work(job)`` for each job, in the order of the jobs, a few of them under way at a time.

    Jobs are taken as results are, so that memory holds no more than the few under way.
    Close it (`contextlib.closing`): what interrupts it then goes on to where it is handled.
    """
    waiting: deque[Future[Done]] = deque()
    pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="block")
    try:
        for job in jobs:
            waiting.append(pool.submit(work, job))
            if len(waiting) > 4 * WORKERS:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def in_processes(
    work: Callable[[Job], Done], jobs: Iterable[Job], pays: bool = True
) -> Iterator[Iterator[Done]]:
    """Yield an iterator like `in_order`; the work is done in forked processes, where that `pays` and is safe.

    They begin at once, and each goes through all `jobs` for itself, so going through them must be cheap.
    When the body ends, or this process does, each of them ends what it has in hand and no more.
    Raises what `work` raises, and `BackupError` where a process was ended from outside.
    """
    workers = _forked(work, jobs) if pays and WORKERS > 1 and may_fork() else []
    if not workers:
        with closing(in_order(work, jobs)) as results:
            yield results
        return
    try:
        yield _results(workers)
    finally:
        _end(workers)


def may_fork() -> bool:
    """Whether a fork is a whole process: not where other threads run, nor on macOS, whose libraries break."""
    if sys.platform != "linux":
        return False
    try:
        return len(os.listdir("/proc/self/task")) == 1
    except OSError:
        return False


@dataclass(frozen=True, slots=True)
class _Worker:
    pid: int
    results: BinaryIO


def _forked(work: Callable[[Job], Done], jobs: Iterable[Job]) -> list[_Worker]:
    """Start the processes; none where there cannot be as many."""
    workers: list[_Worker] = []
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        for number in range(WORKERS):
            workers.append(_fork(work, islice(jobs, number, None, WORKERS), workers))
    except OSError:
        _end(workers)
        return []
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return workers


def _end(workers: list[_Worker]) -> None:
    """Let the processes end what they have in hand, and see them end."""
    for worker in workers:
        worker.results.close()  # whoever writes to it now ends
    for worker in workers:
        os.waitpid(worker.pid, 0)


def _fork(work: Callable[[Job], Done], jobs: Iterable[Job], others: list[_Worker]) -> _Worker:
    ours, theirs = os.pipe()
    with suppress(OSError):
        fcntl.fcntl(theirs, fcntl.F_SETPIPE_SZ, _PIPE)
    try:
        pid = os.fork()
    except OSError:
        os.close(ours)
        os.close(theirs)
        raise
    if pid == 0:
        _serve(work, jobs, theirs, [ours, *(other.results.fileno() for other in others)])
    os.close(theirs)
    return _Worker(pid, open(ours, "rb"))


def _serve(work: Callable[[Job], Done], jobs: Iterable[Job], pipe: int, not_ours: list[int]) -> NoReturn:
    """Do the jobs and write the results; nothing of what called this goes on in this process."""
    try:
        gc.freeze()  # what there is already is not looked at again, so its memory stays shared
        for fd in not_ours:
            os.close(fd)
        for number in SIGNALS:  # the parent tells by its pipe when to end
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        with open(pipe, "wb") as results:
            _work_off(work, jobs, results)
    finally:
        os._exit(0)


def _work_off(work: Callable[[Job], Done], jobs: Iterable[Job], results: BinaryIO) -> None:
    def send(what: str, value: object) -> None:
        pickle.dump((what, value), results, pickle.HIGHEST_PROTOCOL)
        results.flush()

    try:
        for job in jobs:
            send("done", work(job))
        send("end", None)
    except Exception as error:  # noqa: BLE001  whatever it is, the parent raises it
        send("failed", error)


def _results(workers: list[_Worker]) -> Iterator[Done]:
    for worker in cycle(workers):
        try:
            what, value = pickle.load(worker.results)  # noqa: S301  our own process wrote it
        except (EOFError, pickle.UnpicklingError) as error:
            raise BackupError("a process of ours was ended from outside; run it again") from error
        if what == "failed":
            raise value
        if what == "end":
            return
        yield value
