"""The version and the name of the project, as its own files state them."""

from __future__ import annotations

import os
import re
import tomllib
import unicodedata
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import msgspec

from backup_lib.errors import ProjectError, SettingsError, printable, translated
from backup_lib.project.git import work_tree_of
from backup_lib.project.reading import StatementError, read_within
from backup_lib.text import as_text

if TYPE_CHECKING:
    from semver import Version

__all__ = [
    "Tagged",
    "parse_version",
    "project_name",
    "project_version",
    "safe_name",
    "stated_otherwise",
    "tag_name",
]

_EXAMPLE = "a version looks like 1.1.0 or 2.0.0-rc.1"
_LONGEST_VERSION = 255
"""No file name has room for more."""
_LIKE_A_VERSION = re.compile(r"v?[0-9]{1,9}(?:[.+-][0-9A-Za-z]{1,20}){0,6}")
"""What may be shown of a file's content: anything else may be a secret that a link leads to."""
_LARGE = 1e9
"""A number that is no version that a person forgot to quote."""
_LONGEST_NAME = 80
_BOM = b"\xef\xbb\xbf"
_MOST_EFFORT = 2_000_000
"""Steps of tomllib, about three seconds."""
_PLACE = re.compile(r" \((at [a-z0-9, ]+)\)\Z")
_NAME_LETTERS = "LMN"  # Unicode's letters, marks and numbers


class Tagged(Protocol):
    """What has tags at its commit."""

    def tags_at_head(self) -> tuple[str, ...]:
        """Return the names of those tags."""


def parse_version(text: str) -> Version:
    """Return the semantic version that `text` is, with or without one leading ``v``.

    Raises `SettingsError` for anything else. Format: https://semver.org/spec/v2.0.0.html
    """
    version = _version(text)
    if version is None:
        raise SettingsError(f"--version takes a semantic version, not {printable(text)!r}; {_EXAMPLE}")
    return version


def tag_name(version: str | Version) -> str:
    """Return the git tag of a version: ``v1.1.0``."""
    return f"v{parse_version(str(version))}"


def project_version(root: Path, repository: Tagged | None = None) -> tuple[str, str] | None:
    """Return the project's own version without ``v``, and where it was found; None where nothing states one.

    Raises `StatementError` naming a file that is broken or states a version that is not semantic,
    `ProjectError` where one cannot be read.
    """
    for name in _FILES:
        stated = _stated(root, name, "version")
        if stated is not None:
            return _semantic(stated, name), name
    tagged = (
        [version for tag in repository.tags_at_head() if (version := _version(tag))] if repository else []
    )
    return (str(max(tagged)), "the tag at HEAD") if tagged else None


def stated_otherwise(root: Path, version: str) -> str:
    """Return what files of the project state of another version, ``1.0.0 in package.json``, or "".

    What is broken or no text states nothing.
    """
    others = []
    for name in _FILES:
        with suppress(StatementError):
            stated = _stated(root, name, "version")
            if isinstance(stated, str) and stated.removeprefix("v") != version:
                others.append(f"{_shown(stated) or 'another version'} in {name}")
    return ", ".join(others)


def project_name(root: Path) -> str:
    """Return the project's name, safe in file names: from package.json, pyproject.toml or the folder.

    Raises `StatementError` naming a file that is broken, `ProjectError` where one cannot be read.
    """
    for name in ("package.json", "pyproject.toml"):
        stated = _stated(root, name, "name")
        if isinstance(stated, str) and stated.strip():
            return safe_name(stated)
    return safe_name(as_text(os.fsencode(root.resolve().name)))  # by its bytes: the same under any locale


def safe_name(text: str) -> str:
    """Return `text` as a part of file names: ``@heymarket/endpoint`` is ``heymarket-endpoint``.

    Lower case, NFC, letters of any script, digits, ``.``, ``_`` and ``-``; at most 80 bytes of UTF-8;
    never empty, and never led by ``.`` or ``-``.
    """
    lower = unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).lower())
    letters = "".join(letter if _is_name_letter(letter) else "-" for letter in lower)
    name = re.sub("-{2,}", "-", letters).strip(".-")
    short = name.encode()[:_LONGEST_NAME].decode(errors="ignore")
    return short.rstrip(".-") or "project"


def _is_name_letter(letter: str) -> bool:
    return letter in "._-" or unicodedata.category(letter)[0] in _NAME_LETTERS


def _version(text: str) -> Version | None:
    from semver import Version

    if not text.isascii() or len(text) > _LONGEST_VERSION:  # semver takes digits of any script
        return None
    try:
        return Version.parse(text.removeprefix("v"))
    except ValueError:
        return None


def _semantic(stated: object, name: str) -> str:
    version = _version(stated) if isinstance(stated, str) else None
    if version is None:
        shown = _shown(stated)
        what = f"the version {shown!r}, which is not semantic" if shown else "no semantic version"
        raise StatementError(f"{name} states {what}; {_EXAMPLE}")
    return str(version)


def _shown(stated: object) -> str:
    """Return what a file states where that may be shown, else ""."""
    is_small = isinstance(stated, int | float) and abs(stated) < _LARGE
    text = stated if isinstance(stated, str) else str(stated) if is_small else ""
    return text if _LIKE_A_VERSION.fullmatch(text) else ""


def _stated(root: Path, name: str, key: str) -> object:
    """Return what a file of the project states; None where it states nothing of the kind, or is not there.

    Raises `StatementError`, `ProjectError` like `project_version`.
    """
    most, read = _FILES[name]
    with translated(ProjectError, f"reading {name}"):
        try:
            content = read_within(work_tree_of(root), root, name, most)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None
    return read(content, key)


class _Package(msgspec.Struct):
    """What is read of package.json; the rest of it is passed over, however much there is."""

    name: msgspec.Raw = msgspec.Raw(b"null")
    version: msgspec.Raw = msgspec.Raw(b"null")


def _in_package(content: bytes, key: str) -> object:
    try:
        package = msgspec.json.decode(content.removeprefix(_BOM), type=_Package)
        return _simple(getattr(package, key))
    except msgspec.ValidationError as error:
        raise StatementError("package.json is not a JSON object; make it one") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise StatementError(f"package.json is not JSON: {error}; fix it") from error
    except RecursionError as error:
        raise StatementError("package.json is not JSON: it is nested too deep; make it flatter") from error


def _simple(value: msgspec.Raw) -> object:
    """Return a JSON value; an empty list for any array or object, which may take much memory."""
    try:
        return msgspec.json.decode(value, type=str | int | float | bool | None)
    except msgspec.ValidationError:
        return []


def _in_pyproject(content: bytes, key: str) -> object:
    """Return a key of ``[project]``, else of ``[tool.poetry]``."""
    if _effort(content) > _MOST_EFFORT:
        raise StatementError("pyproject.toml has keys of too many parts; write them with fewer dots")
    try:
        pyproject = tomllib.loads(content.decode("utf-8-sig"))
    except RecursionError as error:
        raise StatementError("pyproject.toml is not TOML: it is nested too deep; make it flatter") from error
    except ValueError as error:
        place = _PLACE.search(str(error))  # the rest of the message may be what the file says
        where = place[1] if place else "not UTF-8, or a number too long"
        raise StatementError(f"pyproject.toml is not TOML: {where}; fix it") from error
    tool = pyproject.get("tool")
    tables = (pyproject.get("project"), tool.get("poetry") if isinstance(tool, dict) else None)
    found = (table.get(key) for table in tables if isinstance(table, dict))
    return next((value for value in found if value is not None), None)


def _effort(content: bytes) -> int:
    """Return what the time that tomllib takes grows with, roughly the steps that it makes along keys.

    For each part of a key it looks at all the parts again, those of the table around it included. Dots are
    counted, whatever they stand for; a line that begins with a bracket may be the head of a table.
    """
    effort = table = 0
    for line in content.removeprefix(_BOM).split(b"\n"):
        parts = line.count(b".") + 1
        if line.lstrip().startswith(b"["):
            table = max(table, parts)
        effort += parts * (parts + table)
    return effort


def _in_version_file(content: bytes, _key: str) -> str:
    return content.decode("utf-8-sig", "replace").strip()


_FILES: Mapping[str, tuple[int, Callable[[bytes, str], object]]] = {
    "package.json": (16 << 20, _in_package),
    "pyproject.toml": (1 << 20, _in_pyproject),
    "VERSION": (4 << 10, _in_version_file),
}
"""Where a project states what it is: how many bytes are read of the file, and how."""
