"""The names in a store, each with the function that reads it back; nothing here touches a disk."""

from __future__ import annotations

import os
import re
import secrets
from dataclasses import dataclass
from typing import Literal, cast

import semver

from backup_lib.errors import SettingsError, printable
from backup_lib.model import Format
from backup_lib.text import as_file_name, as_text

__all__ = [
    "GITIGNORE",
    "LATEST",
    "LEDGER",
    "LOCK",
    "MANIFEST",
    "SUMS",
    "ArchiveName",
    "DailyName",
    "LatestName",
    "PlainFormat",
    "archive_format",
    "archive_name",
    "daily_name",
    "extract_command",
    "is_archive_path",
    "is_aside_of",
    "is_day",
    "is_moment",
    "is_our_path",
    "is_partial",
    "is_safety",
    "is_version",
    "latest_name",
    "moment_of",
    "name_of_theirs",
    "next_stamp",
    "parse_archive_name",
    "parse_daily_name",
    "parse_latest_name",
    "parse_version_folder",
    "partial_name",
    "partial_of",
    "stamp_of",
    "version_folder",
]

MANIFEST = "MANIFEST.txt"
SUMS = "SHA256SUMS"
LEDGER = "ledger.jsonl"
GITIGNORE = ".gitignore"
LOCK = ".lock"
LATEST = "latest"

PlainFormat = Literal["gz", "zst", "tar"]
"""What a file in a store may be; only `Format` is written by this package."""

_NAME_LIMIT = 255  # bytes; NAME_MAX of every file system in use
_SUFFIXES: dict[str, PlainFormat] = {".tar.gz": "gz", ".tgz": "gz", ".tar.zst": "zst", ".tar": "tar"}
_ENDING = r"\.tar\.(?P<format>gz|zst)"
_NUMBER = r"(?:[2-9]|[1-9][0-9]{1,8})"  # of what came after the first of its name
_BEGINNING = r"(?P<project>[^/]+)_v(?P<version>[^_/]+)_"
_STAMP = re.compile(rf"[0-9]{{8}}T[0-9]{{6}}Z(?:-{_NUMBER})?")
_ARCHIVE = re.compile(rf"{_BEGINNING}(?P<stamp>{_STAMP.pattern}){_ENDING}")
_LATEST = re.compile(rf"{_BEGINNING}{LATEST}{_ENDING}")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_DAY = re.compile(rf"(?P<date>{_DATE.pattern})(?:-(?P<number>{_NUMBER}))?")
_DAILY = re.compile(rf"{_DAY.pattern}{_ENDING}")
_PARTIAL = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{8}\.partial", re.DOTALL)
_MOMENT = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})Z")


@dataclass(frozen=True, slots=True)
class ArchiveName:
    """What the name of a release backup says."""

    project: str
    version: str
    stamp: str
    """``YYYYMMDDTHHMMSSZ``, then ``-2`` and so on for a later one in the same second."""
    format: Format


@dataclass(frozen=True, slots=True)
class LatestName:
    """What the name of a link to the newest backup of a version says."""

    project: str
    version: str
    format: Format


@dataclass(frozen=True, slots=True)
class DailyName:
    """What the name of a daily backup says."""

    date: str
    """``YYYY-MM-DD``, by the clock of the place where it was made."""
    format: Format
    number: int = 1
    """From 2 on for a later one of the day that could not take the place of the one before."""

    @property
    def label(self) -> str:
        """What a person calls it: ``2026-11-22``, or ``2026-11-22-2``."""
        return self.date if self.number == 1 else f"{self.date}-{self.number}"


def archive_name(project: str, version: str, stamp: str, format: Format) -> str:
    """Return the file name of a release backup.

    Raises `SettingsError` where a part cannot stand in a file name.
    """
    if _STAMP.fullmatch(stamp) is None:
        raise SettingsError(f"not a time stamp: {printable(stamp)}")
    return _named(project, version, stamp, format)


def latest_name(project: str, version: str, format: Format) -> str:
    """Return the file name of the link to the newest backup of a version; raises like `archive_name`."""
    return _named(project, version, LATEST, format)


def daily_name(date: str, format: Format, number: int = 1) -> str:
    """Return the file name of a backup of a day, ``YYYY-MM-DD``; raises `SettingsError` for other text."""
    if _DATE.fullmatch(date) is None:
        raise SettingsError(f"not a date: {printable(date)}; set the clock of this machine right")
    return f"{DailyName(date, format, number).label}.tar.{format}"


def parse_archive_name(name: str) -> ArchiveName | None:
    """Return the parts that `archive_name` was given, or None for any other name."""
    parts = _parts(_ARCHIVE, name)
    return ArchiveName(**parts, format=_format(name)) if parts else None


def parse_latest_name(name: str) -> LatestName | None:
    """Return the parts that `latest_name` was given, or None for any other name."""
    parts = _parts(_LATEST, name)
    return LatestName(**parts, format=_format(name)) if parts else None


def parse_daily_name(name: str) -> DailyName | None:
    """Return the parts that `daily_name` was given, or None for any other name."""
    match = _DAILY.fullmatch(name)
    return DailyName(match["date"], _format(name), int(match["number"] or 1)) if match else None


def is_day(text: str) -> bool:
    """Report whether `text` is the label of a daily backup: ``2026-11-22`` or ``2026-11-22-2``."""
    return _DAY.fullmatch(text) is not None


def _named(project: str, version: str, last: str, format: Format) -> str:
    if not _is_project(project):
        advice = "choose a name with the setting backup.project"
        raise SettingsError(f"the project name {printable(project)!r} cannot stand in a file name; {advice}")
    name = as_file_name(f"{project}_{version_folder(version)}_{last}.tar.{format}")
    if len(os.fsencode(name)) > _NAME_LIMIT:
        raise SettingsError(f"the name of the backup is longer than {_NAME_LIMIT} bytes: {name}")
    return name


def _parts(pattern: re.Pattern[str], name: str) -> dict[str, str]:
    match = pattern.fullmatch(as_text(name))
    if match is None or not is_version(match["version"]) or not _is_project(match["project"]):
        return {}
    return {key: value for key, value in match.groupdict().items() if key != "format"}


def _format(name: str) -> Format:
    return cast(Format, name.rpartition(".")[2])


def _is_project(name: str) -> bool:
    return name not in ("", ".", "..") and "/" not in name and name.isprintable()


def is_version(text: str) -> bool:
    """Tell whether `text` is a strict semantic version, without a ``v``."""
    try:
        return str(semver.Version.parse(text)) == text
    except ValueError:
        return False


_SAFETY = re.compile(r"safety\.\d{8}T\d{6}Z(\.\d+)?")


def is_safety(version: str) -> bool:
    """Tell whether a version is that of a backup made before a restore in place."""
    prerelease = semver.Version.parse(version).prerelease if is_version(version) else None
    return prerelease is not None and _SAFETY.fullmatch(prerelease) is not None


def version_folder(version: str) -> str:
    """Return the folder of a version; raises `SettingsError` where it is no semantic version."""
    if not is_version(version):
        raise SettingsError(f"not a semantic version: {printable(version)}; write it like 1.1.0")
    return f"v{version}"


def parse_version_folder(name: str) -> str | None:
    """Return the version that `version_folder` was given, or None for any other name."""
    return name[1:] if name.startswith("v") and is_version(name[1:]) else None


def stamp_of(moment: str) -> str:
    """Return ``YYYY-MM-DDTHH:MM:SSZ`` as it stands in a file name; raises `SettingsError` for other text."""
    match = _MOMENT.fullmatch(moment)
    if match is None:
        raise SettingsError(f"not a moment in UTC: {printable(moment)}; write it like 2026-11-22T21:45:00Z")
    year, month, day, *clock = match.groups()
    return f"{year}{month}{day}T{''.join(clock)}Z"


def is_moment(text: str) -> bool:
    """Report whether `text` is a moment in UTC, ``YYYY-MM-DDTHH:MM:SSZ``."""
    return _MOMENT.fullmatch(text) is not None


def moment_of(stamp: str) -> str:
    """Return the moment ``YYYY-MM-DDTHH:MM:SSZ`` of a stamp."""
    return f"{stamp[:4]}-{stamp[4:6]}-{stamp[6:8]}T{stamp[9:11]}:{stamp[11:13]}:{stamp[13:15]}Z"


def next_stamp(stamp: str) -> str:
    """Return the stamp of one more backup in the same second."""
    second, _, number = stamp.partition("-")
    return f"{second}-{int(number or '1') + 1}"


def archive_format(name: str) -> PlainFormat | None:
    """Return what kind of archive a file name promises, or None where it promises none."""
    return next((kind for suffix, kind in _SUFFIXES.items() if name.endswith(suffix)), None)


def extract_command(name: str) -> str:
    """Return the start of the tar command that extracts an archive of that name."""
    return {"gz": "tar -xzf", "zst": "tar --zstd -xf"}.get(archive_format(name) or "", "tar -xf")


def name_of_theirs(name: str, number: int = 1) -> str:
    """Return the name that a file of somebody else gets to give way: ``MANIFEST.theirs.txt``."""
    stem, suffix = _without_suffix(name)
    return f"{stem}.theirs{f'-{number}' if number > 1 else ''}{suffix}"


def is_aside_of(aside: str, name: str) -> bool:
    """Report whether `aside` is what `name_of_theirs` makes of `name`, both as paths below the store.

    `name` has to be that of the manifest of a version, of a daily backup, or of the sums.
    """
    folder, slash, base = name.rpartition("/")
    is_manifest = base == MANIFEST and parse_version_folder(folder) is not None
    if not is_manifest and (slash or (parse_daily_name(base) is None and base != SUMS)):
        return False
    stem, suffix = map(re.escape, _without_suffix(name))
    return re.fullmatch(rf"{stem}\.theirs(-{_NUMBER})?{suffix}", aside) is not None


def _without_suffix(name: str) -> tuple[str, str]:
    suffix = next((ending for ending in (".txt", *_SUFFIXES) if name.endswith(ending)), "")
    return name.removesuffix(suffix), suffix


def is_archive_path(path: str) -> bool:
    """Tell whether `path`, relative to the store, is where an archive may stand."""
    folder, _, name = path.rpartition("/")
    sound_folder = folder == "" if "/" not in path else folder.startswith("v") and "/" not in folder
    return sound_folder and "\0" not in path and archive_format(name) is not None and not is_partial(name)


def is_our_path(path: str) -> bool:
    """Report whether `path`, relative to the store, is one that we give to an archive.

    What has no name of ours is not ours, whatever a ledger says.
    """
    folder, slash, name = path.rpartition("/")
    parts = parse_archive_name(name)
    if parts:
        return folder == version_folder(parts.version)
    return not slash and parse_daily_name(name) is not None


def partial_name(name: str) -> str:
    """Return a new temporary name for what will be called `name`: ``.NAME.XXXXXXXX.partial``."""
    ending = f".{secrets.token_hex(4)}.partial"
    room = _NAME_LIMIT - 1 - len(ending)
    if len(os.fsencode(name)) > room:
        name = os.fsencode(name)[:room].decode("utf-8", "ignore")
    return f".{name}{ending}"


def is_partial(name: str) -> bool:
    """Tell whether a name is a temporary one."""
    return _PARTIAL.fullmatch(name) is not None


def partial_of(name: str) -> str | None:
    """Return what `name` is the temporary name of (shortened where it was long), or None."""
    match = _PARTIAL.fullmatch(name)
    return match["name"] if match else None
