"""What every verb works with: the project, its settings, its store, and where to say what happens."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from backup_lib.errors import SettingsError
from backup_lib.progress import Console
from backup_lib.project.git import Repository, open_repository
from backup_lib.project.version import (
    StatementError,
    parse_version,
    project_name,
    project_version,
    safe_name,
)
from backup_lib.settings import Settings
from backup_lib.store.local import LocalStore, open_store

__all__ = ["Workplace"]


@dataclass(frozen=True)
class Workplace:
    """One project and its store."""

    root: Path
    settings: Settings
    console: Console
    dry_run: bool = False
    releasing: bool = False
    """Whether a release is at work: the ledger says which archives are its own."""

    @cached_property
    def store(self) -> LocalStore:
        """The store; nothing is made until something is written."""
        return open_store(self.settings.store, self.root, self.releasing)

    @property
    def store_as_named(self) -> Path:
        """Where the settings say that the store is; what is a link in it is not resolved."""
        return self.root / os.path.expanduser(self.settings.store)

    @cached_property
    def repository(self) -> Repository | None:
        """The git repository around the root, if there is one."""
        return open_repository(self.root)

    @cached_property
    def project(self) -> str:
        """The name of the project, fit for a file name: where its own files are broken, that in the store.

        Raises `StatementError` where no backup tells it either, `ProjectError` where they cannot be read.
        """
        if self.settings.project:
            return safe_name(self.settings.project)
        try:
            return project_name(self.root)
        except StatementError:
            known = [backup.project for backup in self.store.backups() if backup.project]
            if not known:
                raise
            return known[-1]

    def version(self, given: str | None) -> str:
        """Return the version that was given, else the project's own.

        Raises `SettingsError` where there is none, or it is not semantic.
        """
        if given is not None:
            return str(parse_version(given))
        found = project_version(self.root, self.repository)
        if found is None:
            raise SettingsError(
                "this project has no version: package.json, pyproject.toml, VERSION and a tag at HEAD "
                "were looked at; say --version 1.1.0"
            )
        return found[0]

    def known_version(self, given: str | None) -> str | None:
        """Return what names a backup of the store: a version, a date, or None for the newest."""
        if given is None or given == "latest" or re.fullmatch(r"\d{4}-\d{2}-\d{2}", given):
            return given
        return str(parse_version(given))
