"""The version and the name of the project, as its own files state them."""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from backup_lib.errors import ProjectError, SettingsError, printable, translated

if TYPE_CHECKING:
    from semver import Version

__all__ = [
    "StatementError",
    "Tagged",
    "parse_version",
    "project_name",
    "project_version",
    "safe_name",
    "tag_name",
]

_EXAMPLE = "a version looks like 1.1.0 or 2.0.0-rc.1"
_LONGEST_NAME = 80
_NAME_LETTERS = "LMN"  # Unicode's letters, marks and numbers


class StatementError(ProjectError):
    """A file of the project is broken, or what it states cannot be used; it could be read."""


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
    readers: tuple[tuple[str, Callable[[Path], object]], ...] = (
        ("package.json", lambda path: _package(path).get("version")),
        ("pyproject.toml", lambda path: _stated(_pyproject(path), "version")),
        ("VERSION", _first_line),
    )
    for name, read in readers:
        stated = read(root / name) if (root / name).is_file() else None
        if stated is not None:
            return _semantic(stated, name), name
    tagged = (
        [version for tag in repository.tags_at_head() if (version := _version(tag))] if repository else []
    )
    return (str(max(tagged)), "the tag at HEAD") if tagged else None


def project_name(root: Path) -> str:
    """Return the project's name, safe in file names: from package.json, pyproject.toml or the folder.

    Raises `StatementError` naming a file that is broken, `ProjectError` where one cannot be read.
    """
    readers: tuple[tuple[str, Callable[[Path], object]], ...] = (
        ("package.json", lambda path: _package(path).get("name")),
        ("pyproject.toml", lambda path: _stated(_pyproject(path), "name")),
    )
    for name, read in readers:
        stated = read(root / name) if (root / name).is_file() else None
        if isinstance(stated, str) and stated.strip():
            return safe_name(stated)
    return safe_name(root.resolve().name)


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

    if not text.isascii():  # semver's expression takes digits of any script
        return None
    try:
        return Version.parse(text.removeprefix("v"))
    except ValueError:
        return None


def _semantic(stated: object, name: str) -> str:
    version = _version(stated) if isinstance(stated, str) else None
    if version is None:
        shown = printable(stated) if isinstance(stated, str) else str(stated)
        raise StatementError(f"{name} states the version {shown!r}, which is not semantic; {_EXAMPLE}")
    return str(version)


def _package(path: Path) -> Mapping[str, Any]:
    content = _content(path)
    try:
        package = msgspec.json.decode(content.removeprefix(b"\xef\xbb\xbf"))
    except (msgspec.DecodeError, RecursionError) as error:
        raise StatementError(f"package.json is not JSON: {error}") from error
    if not isinstance(package, dict):
        raise StatementError("package.json is not a JSON object")
    return package


def _pyproject(path: Path) -> Mapping[str, Any]:
    content = _content(path)
    try:
        return tomllib.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise StatementError(f"pyproject.toml is not TOML: {error}") from error


def _stated(pyproject: Mapping[str, Any], key: str) -> object:
    """Return a key of ``[project]``, else of ``[tool.poetry]``."""
    tool = pyproject.get("tool")
    tables = (pyproject.get("project"), tool.get("poetry") if isinstance(tool, dict) else None)
    found = (table.get(key) for table in tables if isinstance(table, dict))
    return next((value for value in found if value is not None), None)


def _first_line(path: Path) -> str:
    return _content(path).decode("utf-8-sig", "replace").strip()


def _content(path: Path) -> bytes:
    with translated(ProjectError, f"reading {path.name}", folder=path):
        return path.read_bytes()
