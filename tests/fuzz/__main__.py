"""``python -m tests.fuzz --inputs 1000000 --seed 1``: the same seed gives the same inputs."""

from __future__ import annotations

import argparse
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

_SHARE = 1000
"""Inputs that a process takes at once."""
sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]


def main() -> int:
    """Fuzz, or show one input again."""
    from fuzz.loop import fuzz, one, say

    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", type=int, help="the number of one input, which is kept as fuzz-input")
    asked = parser.parse_args()
    if asked.only is not None:
        Path("fuzz-input").write_bytes(one(asked.seed, asked.only)[1])
        return int(bool(fuzz(asked.seed, range(asked.only, asked.only + 1), say)))
    shares = [range(at, min(at + _SHARE, asked.inputs)) for at in range(0, asked.inputs, _SHARE)]
    began, failures = time.monotonic(), 0
    with ProcessPoolExecutor(asked.jobs, get_context("fork")) as pool:  # one that dies ends it all
        tasks = [pool.submit(_fuzz, asked.seed, share) for share in shares]
        for done, task in enumerate(as_completed(tasks), 1):
            failures += task.result()
            if done % 20 == 0 or done == len(shares):
                seconds = time.monotonic() - began
                say(f"{min(done * _SHARE, asked.inputs)} inputs, {failures} failures, {seconds:.0f} s")
    return int(bool(failures))


def _fuzz(seed: int, share: range) -> int:
    from fuzz.loop import fuzz, say

    return len(fuzz(seed, share, say))


if __name__ == "__main__":
    sys.exit(main())
