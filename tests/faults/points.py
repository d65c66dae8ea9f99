"""The points of a run at which something can be done to it."""

from __future__ import annotations

import os
import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .strace import CHANGING, OPENING, Call
from .workshop import Scene

__all__ = ["Point", "points_of"]

_STAMP = re.compile(r"(?!2023)[0-9]{8}T[0-9]{6}Z(?:-[0-9]+)?")
"""In the name of a backup that the run made; those that were there before are of 2023."""
_SPAN = 60
"""Seconds from now within which a run gives its archives their names."""
_LAG = 3
"""Fewer seconds lie between two moments in a name: that of a safety version, and that of its backup."""
_NOT_OURS = re.compile(
    r"(?:.*/)?(?:tasks\.py|__pycache__(?:/.*)?|invoke\.(?:yaml|yml|json|py))"
    r"|demo/\.git/objects/.*"  # git draws names there, and hashes the time
)


@dataclass(frozen=True, slots=True)
class Point:
    """The n-th time that a thread makes a call about a path."""

    call: str
    path: str
    """As strace is to be told it; the scene's folder is ``SCENE``, a moment is that of the recorded run."""
    nth: int
    opens: Literal["", "file", "folder", "new file"]
    """What an opening call was to open; nothing for other calls."""

    def __str__(self) -> str:
        return f"{self.call} of {self.path.removeprefix('SCENE/')}, {self.nth}."

    def paths(self, scene: Path) -> list[str]:
        """Return what to tell strace for a run that starts now."""
        path = self.path.replace("SCENE", str(scene), 1)
        if not _STAMP.search(path) or _stands(path, scene):
            return [path]
        now = int(time.time())
        lags = range(_LAG) if len(_STAMP.findall(path)) > 1 else range(1)
        return [_stamped(path, now + second, lag) for second in range(_SPAN) for lag in lags]


def _stamped(path: str, second: int, lag: int) -> str:
    """Put a moment into a path, in seconds since 1970; the last one in it is later by so many seconds."""
    before, last = (time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(each)) for each in (second, second + lag))
    *_, found = _STAMP.finditer(path)
    return _STAMP.sub(before, path[: found.start()]) + last + path[found.end() :]


def _stands(path: str, scene: Path) -> bool:
    return os.path.lexists(path) if os.path.isabs(path) else any(scene.rglob(path))


def points_of(calls: Iterable[Call], scene: Scene) -> Iterator[Point]:
    """Yield the points of a recorded run, in order: every call that opens or changes something of the scene.

    So does every call that makes a temporary file without a name.
    Passed over is what Python and Invoke read to start, before the store is looked at, and what git reads.
    """
    calls = list(calls)
    began, others = False, _other_programs(calls)
    seen: Counter[tuple[int, str, str]] = Counter()
    first: dict[tuple[str, str, int], int] = {}
    for call in calls:
        names = tuple(dict.fromkeys((*call.literals, *(path for _, path in call.fds))))
        for name in names:
            seen[call.thread, call.name, name] += 1
            first.setdefault((call.name, name, seen[call.thread, call.name, name]), call.thread)
        began = began or any("/backups" in path for path in call.about)
        if not began or not _counts(call, scene) or (call.thread in others and _only_looks(call)):
            continue
        for name in names:
            nth = seen[call.thread, call.name, name]
            if first[call.name, name, nth] == call.thread:
                path = name.replace(str(scene.folder), "SCENE", 1)
                yield Point(call.name, path, nth, _opens(call))
                break


def _opens(call: Call) -> Literal["", "file", "folder", "new file"]:
    if call.name not in OPENING:
        return ""
    return "new file" if "O_CREAT" in call.text else "folder" if "O_DIRECTORY" in call.text else "file"


def _counts(call: Call, scene: Scene) -> bool:
    if call.name not in OPENING + CHANGING:
        return False
    if call.paths == (str(scene.scratch),):
        return True
    top = f"{scene.folder}/"
    inside = [path.removeprefix(top) for path in call.about if path.startswith(top)]
    return bool(inside) and not any(_NOT_OURS.fullmatch(path) for path in inside)


def _other_programs(calls: list[Call]) -> set[int]:
    """Return the threads of other programs than ours, which were started later: of git."""
    loading = {call.thread for call in calls if "/etc/ld.so.cache" in call.paths}
    return loading - {calls[0].thread}


def _only_looks(call: Call) -> bool:
    return call.name in OPENING and not re.search("O_CREAT|O_WRONLY|O_RDWR", call.text)
