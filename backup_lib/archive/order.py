"""Where entries stand: in the order of their paths, each below a folder, with names that disks take."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

from backup_lib.archive.names import LONGEST_LINK, LONGEST_NAME
from backup_lib.filesystem import DEEPEST
from backup_lib.model import Entry

__all__ = ["follows", "is_plain", "keys_of", "misplaced"]


def keys_of(entries: Sequence[Entry]) -> list[bytes]:
    """Return what sorts as the paths of entries do part by part, as long as none has a zero byte."""
    return [entry.path.replace(b"/", b"\0") for entry in entries]


def follows(key: bytes, before: bytes, is_leaf: bool) -> bool:
    """Whether one key may come right after another, which is that of a leaf or of a folder.

    The folder it lies in is then the one before, or one that the one before lies in.
    """
    folder = key.rpartition(b"\0")[0]
    has_folder = not folder or (before + b"\0").startswith(folder + b"\0")
    return before < key and has_folder and not (is_leaf and _is_below(key, before))


def _is_below(key: bytes, above: bytes) -> bool:
    """Whether one key is that of a path below another."""
    return not above or key.startswith(above + b"\0")


def is_plain(entries: Sequence[Entry], keys: Sequence[bytes]) -> bool:
    """Whether `misplaced` finds nothing in the entries of a block, for sure; much faster than that."""
    paths = [entry.path for entry in entries if entry.path]
    text = b"/\0/".join([b"", *paths, b""])
    kinds = [entry.kind for entry in entries]
    return (
        all(
            follows(key, before, kind != "directory")
            for key, before, kind in zip(islice(keys, 1, None), keys, kinds, strict=False)
        )
        and "hardlink" not in kinds
        and ("symlink" not in kinds or all(_is_link(entry) for entry in entries if entry.kind == "symlink"))
        and text.count(b"\0") == len(paths) + 1
        and not (b"//" in text or b"/./" in text or b"/../" in text)
        and all(_fits(key.split(b"\0")) for key in keys if len(key) > LONGEST_NAME)
    )


def misplaced(entries: Callable[[], Iterable[Entry]]) -> Iterator[tuple[bytes, str]]:
    """Find entries out of order, twice there, without their folder, with names and links that none may have.

    Yields path and what is wrong; goes through the entries twice.
    """
    linked = {entry.link for entry in entries() if entry.kind == "hardlink"}
    files: dict[bytes, tuple[int, bytes]] = {}
    before: list[bytes] = []
    is_leaf = False
    for number, entry in enumerate(entries()):
        parts = entry.path.split(b"/") if entry.path else []
        is_name = not ({b"..", b".", b""}.intersection(parts) or b"\0" in entry.path) and _fits(parts)
        if (number and parts <= before) or not is_name:
            yield entry.path, "it stands where no entry of that name belongs"
        if is_leaf and parts[: len(before)] == before:
            yield entry.path, "it lies below what is no folder"
        elif parts and (not number or parts[:-1] != before[: len(parts) - 1]):
            yield entry.path, "the folder that it lies in does not come before it"
        if entry.kind == "symlink" and not _is_link(entry):
            yield entry.path, "no link can lead there"
        before, is_leaf = parts, entry.kind != "directory"
        if entry.path in linked and entry.kind == "file":
            files[entry.path] = (entry.size, entry.digest)
        if entry.kind == "hardlink" and files.get(entry.link) != (entry.size, entry.digest):
            yield entry.path, "it is not the file that it is a hard link to"


def _fits(parts: Sequence[bytes]) -> bool:
    """Whether a path of such parts can be restored, below a top folder."""
    return len(parts) < DEEPEST and all(len(part) <= LONGEST_NAME for part in parts)


def _is_link(entry: Entry) -> bool:
    """Whether a symlink can have such a target."""
    return 0 < len(entry.link) <= LONGEST_LINK and b"\0" not in entry.link
