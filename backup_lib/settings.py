"""The settings: what ``backup:`` in Invoke's own configuration may say.

Invoke reads files, environment and defaults; `settings_from` turns what it says, once, into a frozen value.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from types import NoneType
from typing import Any, get_args

import msgspec
from invoke import Config
from invoke.exceptions import AmbiguousEnvVar, UncastableEnvVar

from backup_lib.errors import SettingsError
from backup_lib.model import Format, Level
from backup_lib.text import as_local

__all__ = [
    "DEFAULTS",
    "Hooks",
    "Settings",
    "configured",
    "exclusive",
    "one_of",
    "settings_from",
    "whole_number",
]


class Hooks(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Commands of the project itself; found by themselves where not given."""

    setup: str | None = None
    test: str | None = None


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How this project is backed up."""

    project: str | None = None
    """Name in file names and of the top folder; else that of package.json, pyproject.toml or the folder."""
    store: str = "backups"
    """Folder of the store, relative to the root."""
    exclude: tuple[str, ...] = ()
    """gitignore patterns on top of the built-in ones."""
    include: tuple[str, ...] = ()
    """gitignore patterns that bring back what a rule dropped."""
    use_gitignore: bool = False
    config_patterns: tuple[str, ...] = (
        ".env",
        ".env.*",
        "*.env",
        ".*rc",
        ".*rc.json",
        ".*rc.js",
        ".*rc.cjs",
        ".*rc.yml",
        ".*rc.yaml",
        "*.config.js",
        "*.config.cjs",
        "*.config.mjs",
        "*.config.ts",
        "package.json",
        "package-lock.json",
        "tsconfig*.json",
        "jsconfig.json",
        "config/",
        "*.yaml",
        "*.yml",
        "*.toml",
        "*.ini",
        "*.conf",
        "*.properties",
        "Dockerfile",
        ".dockerignore",
        ".gitignore",
        ".gitattributes",
        ".editorconfig",
        ".backupignore",
        "Procfile",
        ".nvmrc",
        ".node-version",
        ".python-version",
    )
    """gitignore patterns of what ``restore --config-only`` brings back."""
    format: Format = "gz"
    level: Level = "normal"
    keep: int = 3
    """Versions that ``clean`` keeps."""
    strict: bool = False
    """Whether a version is refused that a file of the project contradicts."""
    changelog: str = "CHANGELOG.md"
    """The file that ``release`` notes a backup in, relative to the root."""
    hooks: Hooks = Hooks()


DEFAULTS: dict[str, Any] = dict.fromkeys(Settings.__struct_fields__) | {
    "hooks": dict.fromkeys(Hooks.__struct_fields__)
}
"""Invoke reads ``INVOKE_BACKUP_KEEP`` and the like only for keys it knows; None keeps the text as it is."""

_VARIABLES = {
    "_".join(path).upper(): path
    for path in (
        *((name,) for name in Settings.__struct_fields__ if name != "hooks"),
        *(("hooks", name) for name in Hooks.__struct_fields__),
    )
}
"""Where in the table a variable belongs, by what follows ``INVOKE_BACKUP_``."""
_LISTS = ("exclude", "include", "config_patterns")


def configured(config: Config, say: Callable[[str], object]) -> dict[str, Any]:
    """Return what Invoke's configuration and the environment tell of us, however a task of ours was reached.

    Invoke reads of the environment only the keys that it knows. Where a project has ``backup`` in a
    `configure` of its own, or takes our tasks one by one, it knows few of ours, or none: those are read here.
    What names none is reported to `say`.

    Raises `SettingsError` where the configuration or the environment has what cannot be in its place.
    """
    whole = config.clone()
    try:
        whole.load_shell_env()  # a task that another one calls may bring a configuration that is not complete
    except (AmbiguousEnvVar, UncastableEnvVar, ValueError) as error:
        raise SettingsError(f"the environment does not fit the configuration: {error}; change one") from error
    told = whole.get("backup") or {}
    if not isinstance(told, Mapping):
        raise SettingsError(f"the setting backup is a table of settings, not {told!r}; write it as one")
    prefix = f"{getattr(config, '_env_prefix', 'INVOKE_')}BACKUP_"
    table = dict(told)
    for name, text in sorted(os.environ.items()):
        key = name.removeprefix(prefix)
        if key in _VARIABLES:
            _set_default(table, _VARIABLES[key], text)
        elif key != name and f"backup_{key}".lower() not in whole:  # else the project itself knows it
            say(f"Note: {name} names no setting, so it does nothing; the README has them all")
    return table


def _set_default(table: dict[str, Any], path: tuple[str, ...], text: str) -> None:
    """Set what a table does not have, nor one in it; what stands in the place of that is left alone."""
    *tables, key = path
    for name in tables:
        inner = table.get(name)
        if not isinstance(inner, Mapping | NoneType):
            return
        table[name] = dict(inner or {})
        table = table[name]
    table.setdefault(key, text)


def settings_from(configured: Mapping[str, Any], **flags: object) -> Settings:
    """Return the settings that Invoke's configuration and a task's flags make; None means not given.

    Raises `SettingsError` naming the key that is unknown or of the wrong type.
    """
    unknown = sorted(set(configured) - set(Settings.__struct_fields__))
    if unknown:
        known = ", ".join(Settings.__struct_fields__)
        raise SettingsError(f"unknown setting backup.{unknown[0]}; the settings are: {known}")
    given = {
        name: value for source in (configured, flags) for name, value in source.items() if value is not None
    }
    given = {name: _as_local(value) for name, value in given.items()}
    for name in _LISTS:
        if isinstance(text := given.get(name), str):
            given[name] = [part.strip() for part in text.split(",") if part.strip()]
    hooks = given.get("hooks")
    if isinstance(hooks, Mapping):
        given["hooks"] = {name: value for name, value in hooks.items() if value is not None}
    for name, kind in (("format", Format), ("level", Level)):
        if name in given:
            one_of(given[name], get_args(kind), _called(name, flags))
    if "keep" in given:
        given["keep"] = whole_number(given["keep"], _called("keep", flags))
    try:
        return msgspec.convert(given, Settings, strict=False)
    except msgspec.ValidationError as error:
        reason, _, place = str(error).partition(" - at `$.")
        name = place.rstrip("`") or "?"
        raise SettingsError(f"setting backup.{name}: {reason[0].lower()}{reason[1:]}") from error


def _as_local(value: object) -> object:
    """Return a value with all text in it as the names of files and commands are here."""
    if isinstance(value, str):
        return as_local(value)
    if isinstance(value, Mapping):
        return {name: _as_local(each) for name, each in value.items()}
    return list(map(_as_local, value)) if isinstance(value, list | tuple) else value


def _called(name: str, flags: Mapping[str, object]) -> str:
    return f"--{name}" if flags.get(name) is not None else f"setting backup.{name}"


def one_of(text: object, choices: tuple[str, ...], name: str) -> str:
    """Return `text` where it is one of the choices.

    `name` is what a person calls the flag or setting. Raises `SettingsError`.
    """
    if text not in choices:
        raise SettingsError(f"{name} takes {', '.join(choices[:-1])} or {choices[-1]}, not {text!r}")
    return str(text)


def exclusive(**flags: object) -> None:
    """Refuse flags that exclude each other; raises `SettingsError`."""
    given = [f"--{name.replace('_', '-')}" for name, value in flags.items() if value]
    if len(given) > 1:
        raise SettingsError(f"{given[0]} and {given[1]} exclude each other")


def whole_number(text: object, name: str, least: int = 1) -> int:
    """Return `text` as a whole number of at least `least`.

    `name` is what a person calls the flag or setting. Raises `SettingsError`.
    """
    digits = str(text)
    if not (digits.isascii() and digits.isdigit()) or len(digits) > 9 or int(digits) < least:
        raise SettingsError(f"{name} takes a whole number of at least {least}, not {digits!r}")
    return int(digits)
