"""Comparing members with the index, and reading what can still be read of a damaged block."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import suppress
from hashlib import sha256

from backup_lib.archive.members import Member, TarReader
from backup_lib.archive.tar import RECORD, Stamp
from backup_lib.errors import DamageError
from backup_lib.model import Entry

__all__ = ["legible", "matches", "whole_entries"]


_MOST_WORK = 16
"""How often damaged tar stream is read over at most: headers in it may say what they like."""


def legible(data: bytes) -> Iterator[tuple[Member, memoryview]]:
    """Yield every member that can be read in damaged tar stream, wherever it begins, with its content."""
    stream = io.BytesIO(data)
    view = memoryview(data)
    at = 0
    left = _MOST_WORK * len(data)
    while at < len(data) and left > 0:
        began = at
        stream.seek(at)
        at += RECORD
        if data.count(0, began, at) == RECORD:
            continue
        with suppress(DamageError, StopIteration):
            member = next(iter(TarReader(stream.read)))
            start = stream.tell()
            if start + member.size <= len(data):
                yield member, view[start : start + member.size]
                at = start + member.size + -member.size % RECORD
        left -= stream.tell() - began


def whole_entries(
    entries: tuple[Entry, ...], data: bytes, top: bytes
) -> list[tuple[Entry, Stamp, memoryview]]:
    """Return those of the entries that are in damaged tar stream, whole: files with their SHA-256."""
    if not entries:
        return []
    members = {
        (member.name, member.kind, sha256(content).digest() if member.kind == "file" else b""): (
            member,
            content,
        )
        for member, content in legible(data)
    }
    found: list[tuple[Entry, Stamp, memoryview]] = []
    for entry in entries:
        name = top + b"/" + entry.path if entry.path else top
        member, content = members.get(
            (name, entry.kind, entry.digest if entry.kind == "file" else b""), (None, memoryview(b""))
        )
        if member and matches(entry, member, top):
            found.append((entry, member.stamp, content))
    return found


def matches(entry: Entry, member: Member, top: bytes) -> bool:
    """Whether a member of the tar stream is what the index says is there."""
    return (
        member.name == (top + b"/" + entry.path if entry.path else top)
        and member.kind == entry.kind
        and (entry.kind == "hardlink" or member.size == entry.size)
        and (entry.kind in ("hardlink", "symlink") or not entry.link)
        and member.link == (top + b"/" + entry.link if entry.kind == "hardlink" else entry.link)
    )
