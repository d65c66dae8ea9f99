"""What a person sees while something runs: plain lines and one bar, both on stderr."""

from __future__ import annotations

import codecs
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol, TextIO

from backup_lib.errors import escaped, printable

__all__ = ["Advance", "Console", "Silent", "Terminal", "write_lines"]

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


def write_lines(stream: TextIO | None, lines: Iterable[str]) -> None:
    """Write lines to stdout or stderr, if it is open: the one door for all that we print.

    What a terminal could take for a command, or for the end of a line, is escaped here, whoever named it, and
    what the stream cannot encode. A reader that is gone, or a full disk, stops nothing.
    """
    if stream is None:
        return
    try:
        stream.writelines(f"{shown_by(stream, line)}\n" for line in lines)
        stream.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def shown_by(stream: TextIO, line: str) -> str:
    """Return a line as safe text that a stream can encode: what it cannot is escaped, as bytes are."""
    text, encoding = printable(line), stream.encoding or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return text.replace("…", "...").encode(encoding, _ESCAPING).decode(encoding)
    return text


def _escaped(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return escaped(error.object[error.start : error.end]), error.end


_ESCAPING = "backup_lib.escaped"
codecs.register_error(_ESCAPING, _escaped)


class Terminal:
    """Lines to stderr, and a bar where stderr is a terminal."""

    def say(self, line: str) -> None:
        """Write one line to stderr."""
        write_lines(sys.stderr, [line])

    @contextmanager
    def bar(self, label: str, total: int) -> Iterator[Advance]:
        """Show a tqdm bar in bytes; nothing where stderr is not a terminal."""
        if sys.stderr is None or not sys.stderr.isatty():
            yield _ignore
            return
        from tqdm import tqdm

        tqdm.monitor_interval = 0  # no thread of its own: a process with threads must not fork
        name = shown_by(sys.stderr, label)
        with tqdm(total=total, desc=name, unit="B", unit_scale=True, unit_divisor=1024, leave=False) as bar:
            yield bar.update


def _ignore(count: int) -> None:
    pass
