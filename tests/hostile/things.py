"""What may stand at a name in place of what belongs there."""

from __future__ import annotations

import os
import shutil
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from random import Random

__all__ = ["STEERING", "THINGS", "emptied", "put"]

STEERING = b"\x1b]0;owned\x07\x1b[31m\x9b\xc2\x9bm\xe2\x80\xae\xe2\x81\xa7\r\nforged\xff"
"""Escapes of both sets, overrides of the writing direction, a line of its own, broken UTF-8."""
_SPARSE = 1 << 30
_SPARSE_ARCHIVE = 1 << 24
"""Bytes of an archive, which has to be read to its end."""

Thing = Callable[[Path, Path], object]
"""Makes something at a free path; the second is the folder outside."""


def emptied(path: Path) -> Path:
    """Remove what stands at a path, and return it."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    elif os.path.lexists(path):
        path.unlink()
    return path


def put(path: Path, thing: str, outside: Path) -> None:
    """Let a thing of that name stand at a path, and nothing else."""
    path.parent.mkdir(exist_ok=True)
    THINGS[thing](emptied(path), outside)


def _folder(path: Path, outside: Path) -> None:
    path.mkdir()
    (path / "theirs").write_text("theirs\n")


def _socket(path: Path, outside: Path) -> None:
    here = os.open(path.parent, os.O_RDONLY)
    try:
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(f"/proc/self/fd/{here}/{path.name}")  # its own path may be too long for a socket
    finally:
        os.close(here)


def _device(path: Path, outside: Path) -> None:
    try:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 5))  # /dev/zero has no end
    except PermissionError:  # only root may; others meet another thing that is no file
        path.symlink_to("/dev/zero")


def _sparse(path: Path, outside: Path) -> None:
    with path.open("wb") as file:
        file.truncate(_SPARSE_ARCHIVE if ".tar." in path.name else _SPARSE)


THINGS: dict[str, Thing] = {
    "nothing": lambda path, outside: None,
    "an empty file": lambda path, outside: path.write_bytes(b""),
    "an empty folder": lambda path, outside: path.mkdir(),
    "a folder with a file": _folder,
    "a fifo": lambda path, outside: os.mkfifo(path),
    "a socket": _socket,
    "a device without end": _device,
    "a link to a file outside": lambda path, outside: path.symlink_to(outside / "secret"),
    "a link to a folder outside": lambda path, outside: path.symlink_to(outside / "folder"),
    "a link to nothing outside": lambda path, outside: path.symlink_to(outside / "new"),
    "a relative link out": lambda path, outside: path.symlink_to(
        os.path.relpath(outside / "new", path.parent)
    ),
    "a link to itself": lambda path, outside: path.symlink_to(path.name),
    "a hard link to a file outside": lambda path, outside: os.link(outside / "secret", path),
    "a hard link to an archive outside": lambda path, outside: os.link(outside / "folder/ours.tar.gz", path),
    "a sparse file": _sparse,
    "noise": lambda path, outside: path.write_bytes(Random(1).randbytes(100_000)),
    "zeros": lambda path, outside: path.write_bytes(bytes(100_000)),
    "a line of 2 MiB": lambda path, outside: path.write_bytes(b"x" * (2 << 20) + b"\n"),
    "what steers a terminal": lambda path, outside: path.write_bytes((STEERING + b"\n") * 50),
    "text of theirs": lambda path, outside: path.write_text("What to do on the bad day\n"),
}
