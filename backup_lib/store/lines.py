"""Reading the files of a store line by line, in bounded memory, whoever wrote them."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from typing import BinaryIO

__all__ = ["LONGEST_LINE", "numbered"]

LONGEST_LINE = 1 << 20
"""Bytes of a line, its newline not counted; nothing that we write is longer."""
_TOO_LONG = b"\0"


def numbered(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Yield each line, with its newline where it has one, and its number, from 1.

    One that is too long is not held: in its place comes a single NUL, which is no line of anything here.
    """
    number = 0
    while line := file.readline(LONGEST_LINE + 1):
        number += 1
        if len(line) > LONGEST_LINE and not line.endswith(b"\n"):
            line = _TOO_LONG + _end_of_line(file)
        yield number, line


def _end_of_line(file: BinaryIO) -> bytes:
    """Read on behind the newline that ends this line, and return that; nothing at the end of the file."""
    while True:
        _pass_hole(file)
        piece = file.readline(LONGEST_LINE)
        if piece.endswith(b"\n") or not piece:
            return piece[-1:]


def _pass_hole(file: BinaryIO) -> None:
    """Go on to the next data where the file is sparse: a hole of 1 TB would take minutes to read."""
    try:
        file.seek(file.tell(), os.SEEK_DATA)
    except (OSError, ValueError, AttributeError) as error:  # not every system and file knows of holes
        if isinstance(error, OSError) and error.errno == errno.ENXIO:  # a hole up to the end
            file.seek(0, os.SEEK_END)
