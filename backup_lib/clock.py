"""The machine's clock, read in one place. It may be wrong: nothing is ordered by it."""

from __future__ import annotations

import time
from typing import NamedTuple

__all__ = ["Instant", "instant", "now"]

_seconds = time.time


class Instant(NamedTuple):
    """One moment, as the clock and the time zone of the machine have it."""

    utc: str
    """``YYYY-MM-DDTHH:MM:SSZ``."""
    offset: str
    """What local time is ahead of UTC: ``+02:00``."""
    day: str
    """The local day, ``YYYY-MM-DD``."""


def instant() -> Instant:
    """Return the present moment."""
    seconds = _seconds()
    local = time.localtime(seconds)
    sign, minutes = "-" if local.tm_gmtoff < 0 else "+", abs(local.tm_gmtoff) // 60
    return Instant(
        utc=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds)),
        offset=f"{sign}{minutes // 60:02}:{minutes % 60:02}",
        day=time.strftime("%Y-%m-%d", local),
    )


def now() -> str:
    """Return the present moment in UTC, ``YYYY-MM-DDTHH:MM:SSZ``."""
    return instant().utc
