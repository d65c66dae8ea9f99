"""What the figures were measured with: the machine, this software and its libraries, the peers."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks.measure import BenchmarkError, do
from benchmarks.workshop import CHECKOUT, PROCESSORS

__all__ = ["facts"]

LIBRARIES = ("invoke", "GitPython", "deflate", "isal", "zstandard", "msgspec", "google-re2")
PEERS = {
    "tar": "--version",
    "gzip": "--version",
    "pigz": "--version",
    "zstd": "--version",
    "bsdtar": "--version",
    "git": "--version",
    "restic": "version",
    "borg": "--version",
}


def facts() -> dict[str, object]:
    """Return what is worth knowing about this machine; no names of hosts, users or folders."""
    return {
        "processors": PROCESSORS,
        "processor": _processor(),
        "memory": _memory(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "load_before": round(os.getloadavg()[0], 2),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "revision": _revision(),
        "libraries": {name: found for name in LIBRARIES if (found := _library(name))},
        "peers": {name: _peer(name, flag) for name, flag in PEERS.items() if shutil.which(name)},
    }


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown"
    )


def _memory() -> int:
    """Return the bytes of memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _revision() -> str:
    try:
        commit = do("git", "rev-parse", "--short=12", "HEAD", folder=CHECKOUT).strip()
        dirty = do("git", "status", "--porcelain", "--", "backup_lib", "tasks.py", folder=CHECKOUT)
    except BenchmarkError:
        return "unknown"
    return f"{commit} and changes" if dirty else commit


def _library(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _peer(name: str, flag: str) -> str:
    said = subprocess.run([name, flag], capture_output=True, text=True)
    lines = (said.stdout or said.stderr).strip(" *\n").splitlines()
    return lines[0].strip(" *") if lines else sys.platform
