"""Mutations of a store: what a bug, a bad disk, another program or an attacker may have left there.

Each changes the store of a `Stage`, which also holds what has to live as long as the command runs.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .ledgers import LEDGERS
from .scene import RELEASED, Stage
from .things import STEERING, THINGS, emptied, put

__all__ = ["MUTATIONS", "Mutation"]

Mutation = Callable[[Stage], object]

_PLACES: dict[str, Callable[[Stage], Path]] = {
    "ledger.jsonl": lambda stage: stage.ledger,
    ".lock": lambda stage: stage.store / ".lock",
    ".gitignore": lambda stage: stage.store / ".gitignore",
    "SHA256SUMS": lambda stage: stage.store / "SHA256SUMS",
    "MANIFEST.txt": lambda stage: stage.manifest,
    "the newest archive": lambda stage: stage.archive,
    "the daily archive": lambda stage: stage.daily,
    "the link to the newest": lambda stage: stage.latest,
    "the folder of the version": lambda stage: stage.archive.parent,
    "the folder of a version to come": lambda stage: stage.store / "v2.0.0",
    "a temporary manifest": lambda stage: stage.archive.parent / ".MANIFEST.txt.0badcafe.partial",
    "a temporary archive": lambda stage: stage.archive.parent / f".{stage.archive.name}.0badcafe.partial",
    "a temporary daily archive": lambda stage: stage.store / f".{stage.daily.name}.0badcafe.partial",
    "a temporary link": lambda stage: stage.archive.parent / f".{stage.latest.name}.0badcafe.partial",
}


def _thing_at(place: str, thing: str) -> Mutation:
    return lambda stage: put(_PLACES[place](stage), thing, stage.outside)


# --- manifests


def _manifest(change: Callable[[bytes], bytes]) -> Mutation:
    """Return what rewrites the manifest of the newest archive."""
    return lambda stage: stage.manifest.write_bytes(change(stage.manifest.read_bytes()))


def _fact(name: str, value: bytes) -> Mutation:
    pattern = re.compile(rb"^# " + name.encode() + rb":( *).*$", re.MULTILINE)
    return _manifest(
        lambda text: pattern.sub(lambda match: b"# %b:%b%b" % (name.encode(), match[1], value), text)
    )


def _names_another(path: Callable[[Stage], str]) -> Mutation:
    def mutate(stage: Stage) -> None:
        text = stage.manifest.read_bytes()
        stage.manifest.write_bytes(text.replace(stage.archive.name.encode(), os.fsencode(path(stage))))

    return mutate


def _first_version(stage: Stage) -> Path:
    return next(stage.store.glob("v1.0.0/*Z.tar.gz"))


def _manifest_of_another(stage: Stage) -> None:
    shutil.copy(stage.store / "v1.0.0" / "MANIFEST.txt", stage.manifest)


def _manifest_in_waiting(stage: Stage) -> None:
    """Leave a whole manifest, under a temporary name, for an archive that nothing knows."""
    other = stage.archive.with_name(stage.archive.name.replace("Z.tar", "Z-2.tar"))
    shutil.copy(stage.outside / "victim.tar.gz", other)
    text = stage.manifest.read_bytes().replace(stage.archive.name.encode(), other.name.encode())
    text = re.sub(rb"(?m)^# Size:.*$", b"# Size:     %d" % other.stat().st_size, text)
    (stage.archive.parent / ".MANIFEST.txt.0badcafe.partial").write_bytes(text)


def _sums(change: Callable[[list[bytes]], list[bytes]]) -> Mutation:
    def changed(text: bytes) -> bytes:
        head, _, sums = text.partition(b"#\n")
        return head + b"#\n" + b"".join(change(sums.splitlines(keepends=True)))

    return _manifest(changed)


_ESCAPING = [
    b"%b  %b\n" % (b"0" * 64, name) for name in (b"../../outside/secret", b"/etc/passwd", b"..", STEERING[:9])
]

_MANIFESTS: dict[str, Mutation] = {
    **{
        f"manifest whose {name} steers a terminal": _fact(name, STEERING.replace(b"\n", b""))
        for name in (
            "Project",
            "Version",
            "Commit",
            "Note",
            "Archive",
            "Size",
            "SHA-256",
            "Index",
            "Files",
            "Excluded",
        )
    },
    **{
        f"manifest whose {name} is {value.decode()[:30]}": _fact(name, value)
        for name in ("Size", "Files", "Left out")
        for value in (b"-1", b"9" * 5000, b"NaN", b"1e308", b"0x10", "١".encode())
    },
    "manifest of another archive": _manifest_of_another,
    "manifest that names another": _names_another(lambda stage: _first_version(stage).name),
    "manifest that names one in another folder": _names_another(
        lambda stage: f"../v1.0.0/{_first_version(stage).name}"
    ),
    "manifest that names one outside": _names_another(lambda stage: "../../../outside/victim.tar.gz"),
    "manifest that names one by its whole path": _names_another(
        lambda stage: str(stage.outside / "victim.tar.gz")
    ),
    "manifest that names a folder": _names_another(lambda stage: ".."),
    "manifest that names itself": _names_another(lambda stage: "MANIFEST.txt"),
    "manifest that names the link": _names_another(lambda stage: stage.latest.name),
    "manifest with ways out in its sums": _sums(lambda lines: [*lines, *_ESCAPING]),
    "manifest with its sums twice": _sums(lambda lines: lines * 2),
    "manifest with its sums reversed": _sums(lambda lines: lines[::-1]),
    "manifest without sums": _sums(lambda lines: []),
    "manifest with 200,000 sums": _sums(lambda lines: lines[:1] * 200_000),
    "manifest with its facts twice": _manifest(
        lambda text: text.replace(b"#\n", text.partition(b"#\n")[0] + b"#\n", 1)
    ),
    "manifest with a long fact": _fact("Note", b"x" * (2 << 20)),
    "manifest with a mark of byte order": _manifest(lambda text: b"\xef\xbb\xbf" + text),
    "manifest with the line ends of DOS": _manifest(lambda text: text.replace(b"\n", b"\r\n")),
    "manifest cut off": _manifest(lambda text: text[: len(text) // 2]),
    "manifest with NULs": _manifest(lambda text: text.replace(b"#", b"#\0")),
    "a manifest in waiting": _manifest_in_waiting,
}

# --- names


def _archive_called(folder: bytes, name: bytes) -> Mutation:
    """Return what puts an archive into a folder of the store, where it gets a manifest like ours."""

    def mutate(stage: Stage) -> None:
        place = os.path.join(os.fsencode(stage.store), folder)
        os.makedirs(place, exist_ok=True)
        shutil.copy(os.fsencode(stage.outside / "folder/ours.tar.gz"), os.path.join(place, name))
        text = stage.manifest.read_bytes().replace(stage.archive.name.encode(), _as_in_manifest(name))
        manifest = os.path.join(place, b"MANIFEST.txt")
        if folder and not os.path.lexists(manifest):
            Path(os.fsdecode(manifest)).write_bytes(text)

    return mutate


def _as_in_manifest(name: bytes) -> bytes:
    return b"".join(b"\\x%02x" % each if each < 0x20 or each > 0x7E else bytes([each]) for each in name)


_LONG = b"x" * (255 - len(b".tar.gz")) + b".tar.gz"
_NAMES: dict[str, Mutation] = {
    "an archive whose name steers a terminal": _archive_called(b"", STEERING + b".tar.gz"),
    "one in the folder of the version": _archive_called(b"v1.1.0", STEERING + b".tar.gz"),
    "a version whose folder steers a terminal": _archive_called(b"v1.0.0" + STEERING, b"x.tar.gz"),
    "a project that steers a terminal": _archive_called(
        b"v1.4.0", STEERING + b"_v1.4.0_20261122T214500Z.tar.gz"
    ),
    "a version with a line of its own": _archive_called(
        b"v1.4.0\nforged", b"x_v1.4.0\nforged_20261122T214500Z.tar.gz"
    ),
    "a temporary name with a line of its own": _archive_called(b"", b".a\nforged.0badcafe.partial"),
    "names with backslashes": _archive_called(b"v1.4.0\\..\\..", b"..\\..\\outside.tar.gz"),
    "names of 255 bytes": _archive_called(b"v" + b"1" * 250, _LONG),
    "names that look like options": _archive_called(b"-rf", b"--help.tar.gz"),
    "a version of huge numbers": _archive_called(b"v" + b"9" * 100 + b".0.0", b"x.tar.gz"),
    "versions that are equal": _archive_called(b"v1.1.0+build", b"demo_v1.1.0+build_20261122T214500Z.tar.gz"),
    "a version from the future": _archive_called(b"v99.0.0", b"demo_v99.0.0_99991231T235959Z.tar.gz"),
    "a stamp that is no time": _archive_called(b"v1.1.0", b"demo_v1.1.0_00000000T999999Z-999999999.tar.gz"),
    "a day that is none": _archive_called(b"", b"2026-13-45.tar.gz"),
    "the last day": _archive_called(b"", b"9999-12-31.tar.zst"),
    "a day with a high number": _archive_called(b"", b"2026-11-28-999999999.tar.gz"),
    "an archive called by its suffix": _archive_called(b"v1.1.0", b".tar.gz"),
    "an archive without a version": _archive_called(b"v", b"x.tar.gz"),
    "names that are no UTF-8": _archive_called(b"v1.4.0-\xff\xfe", b"\xff\xfe.tar.gz"),
}


def _version_is_a_link_outside(stage: Stage) -> None:
    """Move the folder of a version out, and leave a link to it."""
    shutil.move(stage.archive.parent, stage.outside / "version")
    stage.archive.parent.symlink_to(stage.outside / "version")


def _version_is_a_link_to_another(stage: Stage) -> None:
    emptied(stage.archive.parent).symlink_to("v1.0.0")


def _archive_is_a_link_to_itself_outside(stage: Stage) -> None:
    """Move the archive out, and leave a link to it: whole, but not here."""
    shutil.move(stage.archive, stage.outside / "moved.tar.gz")
    stage.archive.symlink_to(stage.outside / "moved.tar.gz")


def _archive_has_another_name_outside(stage: Stage) -> None:
    os.link(stage.archive, stage.outside / "moved.tar.gz")


def _store_is_a_link(to: str) -> Mutation:
    def mutate(stage: Stage) -> None:
        shutil.move(stage.store, stage.scene.folder / "moved")
        (stage.outside / "bare").mkdir()
        stage.store.symlink_to(stage.outside / to)

    return mutate


def _all_archives(change: Callable[[Path], object]) -> Mutation:
    def mutate(stage: Stage) -> None:
        for archive in stage.store.rglob("*Z.tar.gz"):
            change(archive)

    return mutate


def _old_and_new(archive: Path) -> None:
    for at, seconds in enumerate((-(1 << 34), 1 << 40)):
        os.utime(archive if at else archive.parent, (seconds, seconds))


def _cut(archive: Path) -> None:
    os.truncate(archive, archive.stat().st_size // 2)


def _flipped(archive: Path) -> None:
    data = bytearray(archive.read_bytes())
    data[len(data) // 3] ^= 0xFF
    archive.write_bytes(data)


def _many(stage: Stage) -> None:
    """Leave thousands of empty archives and folders."""
    for number in range(2000):
        (stage.store / f"v0.0.{number}").mkdir()
        (stage.store / f"v0.0.{number}" / "x.tar.gz").write_bytes(b"")


def _latest_of_others(stage: Stage) -> None:
    for project in ("other", os.fsdecode(STEERING[:8])):
        name = f"{project}_v{RELEASED}_latest.tar.gz"
        (stage.archive.parent / name).symlink_to(stage.outside / "secret")


_LINKS: dict[str, Mutation] = {
    "the version is a link outside": _version_is_a_link_outside,
    "the version is a link to another": _version_is_a_link_to_another,
    "the archive is a link outside": _archive_is_a_link_to_itself_outside,
    "the archive has another name outside": _archive_has_another_name_outside,
    "the store is a link to nothing": _store_is_a_link("new"),
    "the store is a link to an empty folder": _store_is_a_link("bare"),
    "the store is a link to a folder of others": _store_is_a_link("folder"),
    "links of others to the newest": _latest_of_others,
    "archives beyond the calendar": _all_archives(_old_and_new),
    "archives cut off": _all_archives(_cut),
    "archives with a byte flipped": _all_archives(_flipped),
    "thousands of archives": _many,
}

# --- the lock, and sums


def _held_lock(note: bytes) -> Mutation:
    """Return what holds the store, and says other things about it."""

    def mutate(stage: Stage) -> None:
        file = stage.held.enter_context((stage.store / ".lock").open("w+b"))
        file.write(note)
        file.flush()
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    return mutate


def _sum_lines(lines: bytes) -> Mutation:
    return lambda stage: (stage.store / "SHA256SUMS").write_bytes(lines)


def _sum_of(*paths: str) -> Mutation:
    def mutate(stage: Stage) -> None:
        text = "".join(f"{'0' * 64}  {path}\n" for path in paths)
        (stage.store / "SHA256SUMS").write_text(text)

    return mutate


_NOTE: dict[str, Any] = {
    "a note that steers a terminal": b'{"pid": 1, "doing": "\\u001b[31m\\nforged", "since": "\\u202e"}',
    "a note of no process": b'{"pid": -1, "doing": "x", "since": "x"}',
    "a note of a huge process": b'{"pid": 99999999999999999999, "doing": "x", "since": "x"}',
    "a note that is noise": STEERING * 1000,
    "a deep note": b"[" * 4096,
}
_SHARED: dict[str, Mutation] = {
    **{f"a held lock with {name}": _held_lock(note) for name, note in _NOTE.items()},
    "SHA256SUMS with ways out": _sum_of(
        "../../outside/secret", "/etc/passwd", "..", "v1.1.0/../../../outside/secret"
    ),
    "SHA256SUMS of what others put there": _sum_of("theirs.tar.gz", "v0.5.0/theirs.tar.gz", "notes.txt"),
    "SHA256SUMS with lines that are none": _sum_lines(b"\n# x\n" + STEERING + b"\n" + b"0" * 64 + b"\n"),
    "SHA256SUMS with a NUL": _sum_lines(b"0" * 64 + b"  v1.1.0/a\0b.tar.gz\n"),
    "SHA256SUMS twice a line": _sum_of(*(["2026-11-28.tar.gz"] * 50_000)),
}

MUTATIONS: dict[str, Mutation] = {
    "nothing": lambda stage: None,
    **{f"{place} is {thing}": _thing_at(place, thing) for place in _PLACES for thing in THINGS},
    **{f"ledger: {name}": mutation for name, mutation in LEDGERS.items()},
    **_MANIFESTS,
    **{f"name: {name}": mutation for name, mutation in _NAMES.items()},
    **_LINKS,
    **_SHARED,
}
