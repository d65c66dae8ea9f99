"""Work done in threads, results in order: every codec and hash used here lets other threads run."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

__all__ = ["WORKERS", "in_order"]

Job = TypeVar("Job")
Done = TypeVar("Done")

WORKERS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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
