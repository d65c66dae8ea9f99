"""Public collections of hostile and odd archives, where a machine has them.

``HOSTILE_CORPORA=DIR`` names a folder with ``EXPECT.tsv``: a header line, then for each archive its path
and its class, ``REFUSE`` or ``ACCEPT`` where all readers that were asked agree, else another word.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from archive.trees import Thing

from .arena import Arena
from .honest import gnu, present_times_left_out, tree

CORPORA = os.environ.get("HOSTILE_CORPORA", "")


def archives() -> list[tuple[Path, str]]:
    """Return every archive of the corpora with its class."""
    lines = Path(CORPORA, "EXPECT.tsv").read_text().splitlines()[1:] if CORPORA else []
    return [(Path(CORPORA, line.split("\t")[0]), line.split("\t")[1]) for line in lines]


@pytest.mark.skipif(not CORPORA, reason="HOSTILE_CORPORA names no folder with public archives")
def test_public_corpora(arena: Arena) -> None:
    """What every reader refuses is refused, what all take comes out as with GNU tar, nothing gets out."""
    wrong: list[str] = []
    counts = {"refused": 0, "as GNU tar": 0, "otherwise": 0}
    for number, (path, expected) in enumerate(archives()):
        code, found = restored(arena, path)
        if code:
            counts["refused"] += 1
            wrong += [f"refused: {path}"] * (expected == "ACCEPT")
            continue
        is_same = found == gnu(path, arena.root.parent / str(number))
        counts["as GNU tar" if is_same else "otherwise"] += 1
        wrong += [f"taken: {path}"] * (expected == "REFUSE")
        wrong += [f"differs: {path}"] * (expected == "ACCEPT" and not is_same)
    summary = f"{len(archives())} archives: {counts}, 0 escapes, {len(wrong)} not as they should"
    sys.stderr.write(f"\n{summary}\n")
    assert wrong == [], summary


def restored(arena: Arena, path: Path) -> tuple[int, dict[bytes, Thing]]:
    """Restore an archive; return the exit code and what came out; that nothing else did is asserted."""
    verdict = arena.restore(path.read_bytes())
    found = present_times_left_out(tree(arena.target)) if arena.target.exists() else {}
    arena.clear()
    return verdict.code, found
