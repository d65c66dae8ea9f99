"""What a person sees while something runs: plain lines and one bar, both on stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol, TextIO

__all__ = ["Advance", "Console", "Silent", "Terminal", "write_line"]

Advance = Callable[[int], object]
"""Told the number of bytes just done; all that copying code knows of progress."""


class Console(Protocol):
    """Where the verbs say what they do."""

    def say(self, line: str) -> None:
        """Show one line."""

    def bar(self, label: str, total: int) -> AbstractContextManager[Advance]:
        """Show a bar of `total` bytes while the body runs."""


class Silent:
    """Says nothing."""

    def say(self, line: str) -> None:
        """Drop the line."""

    @contextmanager
    def bar(self, label: str, total: int) -> Iterator[Advance]:  # noqa: ARG002
        """Show nothing."""
        yield _ignore


def write_line(stream: TextIO | None, line: str) -> None:
    """Write to stdout or stderr, if it is open; a reader that is gone, or a full disk, stops nothing."""
    if stream is None:
        return
    try:
        stream.write(f"{line}\n")
        stream.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


class Terminal:
    """Lines to stderr, and a bar where stderr is a terminal."""

    def say(self, line: str) -> None:
        """Write one line to stderr."""
        write_line(sys.stderr, line)

    @contextmanager
    def bar(self, label: str, total: int) -> Iterator[Advance]:
        """Show a tqdm bar in bytes; nothing where stderr is not a terminal."""
        if sys.stderr is None or not sys.stderr.isatty():
            yield _ignore
            return
        from tqdm import tqdm

        tqdm.monitor_interval = 0  # no thread of its own: a process with threads must not fork
        with tqdm(total=total, desc=label, unit="B", unit_scale=True, unit_divisor=1024, leave=False) as bar:
            yield bar.update


def _ignore(count: int) -> None:
    pass
