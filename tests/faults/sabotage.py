"""Ways to break the software on purpose: a bench that does not notice them is worth nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .campaign import Kind

__all__ = ["SABOTAGES", "Sabotage"]


@dataclass(frozen=True, slots=True)
class Sabotage:
    """One change to a copy of the software, and what has to find it."""

    name: str
    what: str
    file: str
    """Below ``backup_lib``."""
    old: str
    """Occurs once in it."""
    new: str
    job: str
    kind: Kind

    def commit(self, library: Path) -> None:
        """Break the copy of the software in `library`."""
        path = library / "backup_lib" / self.file
        text = path.read_text()
        if text.count(self.old) != 1:
            raise RuntimeError(f"{self.name}: {self.file} is not what it was when this was written")
        path.write_text(text.replace(self.old, self.new))


_ARCHIVE_GETS_ITS_NAME = """\
                filesystem.rename_new(draft.path.name, draft.name, fd)
                filesystem.sync_folder(fd)
"""
_MANIFEST_GETS_ITS_NAME = """\
                os.replace(manifest, folder / MANIFEST)
"""

SABOTAGES = (
    Sabotage(
        name="no-sync",
        what="the archive is not synced before it gets its name",
        file="store/publish.py",
        old="        os.fsync(self.file.fileno())\n",
        new="",
        job="backup-gz",
        kind="power",
    ),
    Sabotage(
        name="no-folder-sync",
        what="the folder is not synced before the archive's new name is relied on",
        file="store/publish.py",
        old=_ARCHIVE_GETS_ITS_NAME,
        new=_ARCHIVE_GETS_ITS_NAME.partition("                filesystem.sync_folder")[0],
        job="backup-again",
        kind="power",
    ),
    Sabotage(
        name="manifest-first",
        what="the manifest gets its name before the archive",
        file="store/publish.py",
        old=_ARCHIVE_GETS_ITS_NAME + _MANIFEST_GETS_ITS_NAME,
        new=_MANIFEST_GETS_ITS_NAME + _ARCHIVE_GETS_ITS_NAME,
        job="backup-again",
        kind="kill",
    ),
    Sabotage(
        name="no-proof",
        what="a daily backup takes the place of the old one whether it could be read back or not",
        file="backup.py",
        old="    if not verified.sound:\n",
        new="    if False:\n",
        job="daily-gz",
        kind="error",
    ),
    Sabotage(
        name="no-intent",
        what="clean deletes before the ledger knows what",
        file="store/recover.py",
        old="    if doomed:\n",
        new="    if not doomed:\n",
        job="clean",
        kind="kill",
    ),
    Sabotage(
        name="late-line",
        what="clean removes an archive before its line in SHA256SUMS",
        file="store/recover.py",
        old="    sums.drop(store, book, doomed)\n",
        new="",
        job="clean",
        kind="kill",
    ),
    Sabotage(
        name="no-aside",
        what="a manifest of somebody else is written over",
        file="store/publish.py",
        old="move_aside(store, name, version)",
        new='""',
        job="backup-aside",
        kind="kill",
    ),
)
