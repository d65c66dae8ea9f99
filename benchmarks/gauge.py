"""Run one command line, a pipeline, and tell what it took; a program of its own, which imports little.

The kernel counts the memory of the process that starts another one as that one's peak, until it
has more itself. This process is small and always the same, so what it cannot see is small too.

stdin: {"stages": [[program, argument, …], …], "folder": …, "output": path}, stdout: {"seconds": …, …}
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from typing import Any

KIBIBYTES = sys.platform != "darwin"  # what the kernel counts ru_maxrss in


def start(stages: list[list[str]], folder: str, output: int) -> list[subprocess.Popen[bytes]]:
    """Start every stage, each reading from the one before."""
    running: list[subprocess.Popen[bytes]] = []
    source: Any = subprocess.DEVNULL
    for number, stage in enumerate(stages, 1):
        sink = output if number == len(stages) else subprocess.PIPE
        process = subprocess.Popen(stage, cwd=folder, stdin=source, stdout=sink)
        if running and running[-1].stdout:
            running[-1].stdout.close()
        running.append(process)
        source = process.stdout
    return running


def gauge(stages: list[list[str]], folder: str, output: str) -> dict[str, Any]:
    """Run a pipeline to its end."""
    codes: list[int] = []
    processor = 0.0
    peak = 0
    sink = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    began = time.perf_counter()
    for process in start(stages, folder, sink):
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        codes.append(process.returncode)
        processor += usage.ru_utime + usage.ru_stime
        peak = max(peak, usage.ru_maxrss)
    seconds = time.perf_counter() - began
    return {
        "seconds": seconds,
        "processor": processor,
        "peak": peak * 1024 if KIBIBYTES else peak,
        "codes": codes,
    }


if __name__ == "__main__":
    wanted = json.load(sys.stdin)
    sys.stdout.write(json.dumps(gauge(wanted["stages"], wanted["folder"], wanted["output"])))
