"""The bench itself: software that is broken on purpose does not pass it."""

from __future__ import annotations

import pytest

from .campaign import Plan, Task, bench_of, face, workshops
from .sabotage import SABOTAGES
from .strace import why_not

FEW = Plan({"kill": 20, "error": 20, "power": 20}, samples=0)


@pytest.mark.skipif(bool(why_not()), reason=why_not())
@pytest.mark.parametrize("name", ["no-sync"])
def test_broken_software_is_found_out(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An archive that is not synced before it gets its name may be cut off, and that is seen."""
    sabotage = next(each for each in SABOTAGES if each.name == name)
    with workshops(1, sabotage.commit) as (place,):
        for key, value in place.environment.items():
            monkeypatch.setenv(key, value)
        broken = face(bench_of(place, sabotage.job), Task(sabotage.job, sabotage.kind, FEW)).broken
    assert any("cut off" in flaw or "manifest" in flaw for verdict in broken for flaw in verdict.flaws)


def test_every_sabotage_still_fits_the_software() -> None:
    """The text that each of them changes is there, once."""
    with workshops(1) as (place,):
        for sabotage in SABOTAGES:
            path = place.folder / "library" / "backup_lib" / sabotage.file
            whole = path.read_text()
            sabotage.commit(place.folder / "library")
            assert path.read_text() != whole
            path.write_text(whole)
