"""What came of a campaign, as a table for a person and as JSON."""

from __future__ import annotations

import json
import platform
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict

from .campaign import KINDS, Kind, Result

__all__ = ["json_text", "lines"]

_NAMES: dict[Kind, str] = {"kill": "killed at", "error": "calls failed", "power": "power cuts"}


def lines(results: Sequence[Result]) -> Iterator[str]:
    """Yield a Markdown table: how many faults of each kind each job faced, and how many broke a promise."""
    yield f"| job | {' | '.join(_NAMES[kind] for kind in KINDS)} | promises broken |"
    yield f"|---|{'--:|' * len(KINDS)}--:|"
    for job in sorted({result.task.job for result in results}):
        yield _row(job, [result for result in results if result.task.job == job])
    yield _row("**all**", results)


def _row(name: str, results: Sequence[Result]) -> str:
    tried = (sum(result.tried for result in results if result.task.kind == kind) for kind in KINDS)
    broken = sum(len(result.broken) for result in results)
    return f"| {name} | {' | '.join(f'{count:,}' for count in tried)} | {broken:,} |"


def json_text(results: Sequence[Result], seconds: float) -> str:
    """Return all of it, with what it was done on; `seconds` is how long it took."""
    version = subprocess.run(["strace", "-V"], capture_output=True, text=True, check=True)
    facts = {
        "schema_version": 1,
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "seconds": round(seconds, 1),
        "python": platform.python_version(),
        "kernel": platform.release(),
        "strace": version.stdout.splitlines()[0].rpartition(" ")[2],
        "tried": {kind: sum(each.tried for each in results if each.task.kind == kind) for kind in KINDS},
        "broken": sum(len(each.broken) for each in results),
        "results": [
            {
                "job": each.task.job,
                "kind": each.task.kind,
                "tried": each.tried,
                "seconds": round(each.seconds, 1),
                "broken": [asdict(verdict) for verdict in each.broken],
            }
            for each in results
        ],
    }
    return json.dumps(facts, indent=1) + "\n"
