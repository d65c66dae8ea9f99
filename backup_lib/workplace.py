"""What every verb works with: the project, its settings, its store, and where to say what happens."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from backup_lib.archive.reader import described
from backup_lib.errors import ProjectError, SettingsError, printable
from backup_lib.progress import Console
from backup_lib.project.git import Repository, open_repository, work_tree_of
from backup_lib.project.reading import StatementError, within
from backup_lib.project.version import parse_version, project_name, project_version, safe_name
from backup_lib.settings import Settings
from backup_lib.store.layout import LATEST, is_day
from backup_lib.store.local import LocalStore, open_store
from backup_lib.text import as_text

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
    new_store: bool = False
    """Whether a store may be made outside the project."""

    @cached_property
    def store(self) -> LocalStore:
        """The store; nothing is made until something is written."""
        return open_store(
            self.settings.store, self.root, self.releasing, self.new_store, described, self.console.say
        )

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
            return safe_name(as_text(self.settings.project))
        try:
            return project_name(self.root)
        except StatementError:
            known = [backup.project for backup in self.store.backups() if backup.project]
            if not known:
                raise
            return known[-1]

    @property
    def changelog(self) -> Path:
        """Where the changelog lies, there or not, its links followed as far as they may be.

        Raises `ProjectError` where one leads out of the work tree, into git's own folder or the store.
        """
        top = work_tree_of(self.root)
        file = within(top, self.root, self.settings.changelog)
        parts = [part.lower() for part in file.relative_to(top).parts]  # some disks take .GIT for it, too
        if ".git" in parts or file.is_relative_to(self.store.path):
            name, place = printable(self.settings.changelog), printable(file)
            raise ProjectError(
                f"the changelog {name} leads to {place}, which is no place for it; "
                "let backup.changelog name another file"
            )
        return file

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

    def refuse_stated(self, version: str | None, stated: str) -> None:
        """Refuse another version than the project states if that is to be strict; raises `ProjectError`."""
        if stated and self.settings.strict:
            raise ProjectError(
                f"the version is {version}, but the project states {stated}; set it there, "
                "choose another version, or set backup.strict to false"
            )

    def report_stated(self, version: str | None, stated: str) -> None:
        """Say which other version the project states."""
        if stated:
            self.console.say(f"Note: the version is {version}, but the project states {stated}")

    def known_version(self, given: str | None) -> str | None:
        """Return what names a backup of the store: a version, a date, or None for the newest."""
        if given is None or given == LATEST or is_day(given):
            return given
        return str(parse_version(given))
