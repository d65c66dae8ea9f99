"""Comparing members with the index, and reading what can still be read of a damaged block."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import suppress
from hashlib import sha256

from backup_lib.archive.tar import RECORD, Member, Stamp, TarReader
from backup_lib.errors import DamageError
from backup_lib.model import Entry

__all__ = ["legible", "matches", "whole_entries"]


def legible(data: bytes) -> Iterator[tuple[Member, memoryview]]:
    """Yield every member that can be read in damaged tar stream, wherever it begins, with its content."""
    stream = io.BytesIO(data)
    view = memoryview(data)
    at = 0
    while at < len(data):
        stream.seek(at)
        at += RECORD
        with suppress(DamageError, StopIteration):
            member = next(iter(TarReader(stream.read)))
            start = stream.tell()
            if start + member.size <= len(data):
                yield member, view[start : start + member.size]
                at = start + member.size + -member.size % RECORD


def whole_entries(
    entries: tuple[Entry, ...], data: bytes, top: bytes
) -> list[tuple[Entry, Stamp, memoryview]]:
    """Return those of the entries that are in damaged tar stream, whole: files with their SHA-256."""
    if not entries:
        return []
    members = [(member, content, sha256(content).digest()) for member, content in legible(data)]
    found: list[tuple[Entry, Stamp, memoryview]] = []
    for entry in entries:
        for member, content, digest in members:
            if matches(entry, member, top) and (entry.kind != "file" or entry.digest == digest):
                found.append((entry, member.stamp, content))
                break
    return found


def matches(entry: Entry, member: Member, top: bytes) -> bool:
    """Whether a member of the tar stream is what the index says is there."""
    return (
        member.name == (top + b"/" + entry.path if entry.path else top)
        and member.kind == entry.kind
        and (entry.kind == "hardlink" or member.size == entry.size)
        and (
            (entry.kind == "file" and not member.link)
            or entry.kind == "directory"
            or member.link == (top + b"/" + entry.link if entry.kind == "hardlink" else entry.link)
        )
    )
