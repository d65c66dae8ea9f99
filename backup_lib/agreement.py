"""Whether what an archive holds agrees with its repository and with its manifest."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future
from contextlib import suppress
from hashlib import file_digest, sha256
from itertools import zip_longest
from pathlib import Path

from backup_lib.archive.check import Listener
from backup_lib.archive.reader import Reader
from backup_lib.errors import DamageError, counted, shortened
from backup_lib.filesystem import open_file
from backup_lib.model import Entry, Header
from backup_lib.project.git import Repository
from backup_lib.store.layout import MANIFEST
from backup_lib.store.lines import numbered
from backup_lib.store.manifest import (
    ArchiveFacts,
    Facts,
    facts_of,
    file_lines,
    format_manifest,
    head_lines,
    listed,
    read_manifest,
)

__all__ = ["Agreement", "is_own_manifest", "manifest_differences", "manifest_flaw"]

_SHOWN_LINES = 3
"""Differing lines of a manifest that are told one by one."""
_SHOWN = 150
"""Bytes that are told of each."""


class Agreement(Listener):
    """Compares what an archive holds with the repository, and makes a digest of its manifest."""

    def __init__(self, header: Header, repository: Repository | None, asking: Executor, lists: bool) -> None:
        self._header = header
        self._repository = repository
        self._asking = asking
        self._asked: Future[dict[bytes, str] | None] | None = None
        self._lists = lists
        """Whether the archive has a manifest."""
        self._unseen: list[tuple[bytes, str]] = []
        """Paths and blob ids that came before the repository's answer."""
        self.listed = sha256()
        """Of the lines for files that the manifest should have."""
        self.listed_size = 0
        """Bytes of those lines."""
        self.findings: list[tuple[str, bytes | None, bool]] = []
        """What does not agree with the repository, of which file, and whether that is damage."""
        if header.commit is not None:
            self.blob_hash = "sha256" if len(header.commit) == 64 else "sha1"

    def begin(self) -> None:
        """Ask the repository while the archive is read."""
        self._asked = self._asking.submit(self._known_blobs)

    def _known_blobs(self) -> dict[bytes, str] | None:
        """Ask the repository, where there is one, whether it knows the commit, the tag and the files."""
        header, repository = self._header, self._repository
        if header.commit is None or repository is None:
            return None
        if not repository.has_commit(header.commit):
            if not repository.is_shallow:
                self.findings.append((f"its commit {header.commit} is not in this repository", None, False))
            return None
        tagged = repository.tag_commit(header.tag) if header.tag else None
        if header.tag and tagged != header.commit:
            now_at = f"at {tagged}" if tagged else "gone"
            self.findings.append((f"the tag {header.tag} is now {now_at}", None, False))
        return repository.blobs(header.commit)

    def digested(self, entries: Sequence[Entry]) -> bytes:
        """Return the lines that the manifest should have for the entries of a block."""
        return file_lines(self._header.project, entries) if self._lists else b""

    def take(self, digested: Sequence[bytes], blobs: Sequence[tuple[bytes, str]]) -> None:
        """Take the next lines of the manifest; compare blob ids as soon as the repository has answered."""
        for lines in digested:
            self.listed.update(lines)
            self.listed_size += len(lines)
        self._unseen += blobs
        if self._asked and self._asked.done():
            self.finish()

    def finish(self) -> None:
        """Compare the blob ids of files recorded as committed with those in the commit."""
        known = self._asked.result() if self._asked else None
        for path, blob in self._unseen:
            if known is not None and known.get(path) != blob:
                what = f"recorded as committed, but it is not what {self._header.commit} holds"
                self.findings.append((what, path, True))
        self._unseen.clear()


def manifest_flaw(archive: Path, whole: bool) -> str:
    """Return why the manifest beside an archive is none, or not its own, or "".

    Its list of files is looked at only where `whole` asks for it. Raises `OSError`.
    """
    try:
        with open_file(_beside(archive)) as file:
            manifest = read_manifest(file)
            facts = manifest.facts
            for _ in manifest.files if whole else ():
                pass
    except FileNotFoundError:
        return "its MANIFEST.txt is missing"
    except DamageError as error:
        return f"its manifest is damaged: {error}"
    return "" if facts and facts.archive == archive.name else "its MANIFEST.txt is that of another archive"


def manifest_differences(
    path: Path, reader: Reader, archive: ArchiveFacts, agreement: Agreement
) -> Iterator[str]:
    """Compare the manifest beside an archive, line by line, with the one that the archive itself gives.

    `agreement` has taken the lines for all files that it should have.
    """
    facts = facts_of(reader.header, reader.summary, archive)
    if _is_manifest(_beside(path), facts, agreement):
        return
    wrong = 0
    with open_file(_beside(path)) as file:
        expected = format_manifest(facts, listed(facts.project, reader.entries()))
        found = (line for _, line in numbered(file))
        for number, (right, there) in enumerate(zip_longest(expected, found), 1):
            if right == there:
                continue
            wrong += 1
            if wrong <= _SHOWN_LINES:
                yield f"MANIFEST.txt, line {number}, says {_told(there)}; the archive says {_told(right)}"
    if wrong > _SHOWN_LINES:
        yield f"MANIFEST.txt differs in {counted(wrong - _SHOWN_LINES, 'more line')}"


def is_own_manifest(archive: Path, facts: Facts, entries: Iterable[Entry]) -> bool:
    """Report whether the manifest beside an archive is, byte for byte, the one that the archive gives.

    Raises `DamageError` where the `entries` cannot be read.
    """
    with suppress(OSError), open_file(_beside(archive)) as file:
        found = (line for _, line in numbered(file))
        expected = format_manifest(facts, listed(facts.project, entries))
        return all(right == there for right, there in zip_longest(expected, found))
    return False


def _beside(archive: Path) -> Path:
    return archive.parent / MANIFEST


def _is_manifest(path: Path, facts: Facts, agreement: Agreement) -> bool:
    """Whether that file is the manifest, byte for byte; one of another size is not read."""
    head = b"".join(line + b"\n" for line in head_lines(facts))
    with open_file(path) as file:
        return (
            os.fstat(file.fileno()).st_size == len(head) + agreement.listed_size
            and file.read(len(head)) == head
            and file_digest(file, "sha256").digest() == agreement.listed.digest()
        )


def _told(line: bytes | None) -> str:
    return "nothing" if line is None else repr(shortened(os.fsdecode(line.rstrip(b"\n")), _SHOWN))
