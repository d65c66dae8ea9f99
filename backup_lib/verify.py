"""verify: read a backup back and prove it, or say exactly what is wrong with it."""

from __future__ import annotations

import errno
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import file_digest
from pathlib import Path
from typing import Literal, get_args

import msgspec

import backup_lib
from backup_lib.agreement import Agreement, manifest_differences, manifest_flaw
from backup_lib.archive.check import check_archive
from backup_lib.archive.plain import check_frames, hash_members, open_stream, read_members
from backup_lib.archive.reader import Reader, open_for_reading, open_with_flaw
from backup_lib.archive.trailer import ReadAt
from backup_lib.clock import now
from backup_lib.drill import restore_differences
from backup_lib.errors import (
    DamageError,
    NoSuchBackupError,
    RestoreError,
    StoreError,
    counted,
    printable,
    reason_of,
    translated,
)
from backup_lib.filesystem import open_file
from backup_lib.model import STATES, Header, Summary
from backup_lib.progress import Advance
from backup_lib.settings import one_of
from backup_lib.store.ledger import Record
from backup_lib.store.listing import Backup
from backup_lib.store.manifest import ArchiveFacts, read_manifest
from backup_lib.workplace import Workplace

__all__ = [
    "Depth",
    "Finding",
    "Verified",
    "parse_depth",
    "proof_of",
    "verify_all",
    "verify_archive",
    "verify_backup",
    "verify_draft",
    "verify_version",
]

Depth = Literal["quick", "full", "restore"]

_OF_THE_MACHINE = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN})
_NOT_ALLOWED = frozenset({errno.EACCES, errno.EPERM})


class Finding(msgspec.Struct, frozen=True):
    """One thing that is wrong."""

    archive: str
    """Path below the store, or of the file that was named."""
    what: str
    file: str | None = None
    """The damaged file, as it is called in the archive; None where it is the archive itself."""
    damage: bool = True
    """False where it is not the archive that is wrong: its manifest, or what the repository says of it."""

    def __str__(self) -> str:
        about = f"{self.archive}: {self.file}" if self.file is not None else self.archive
        return f"{about}: {self.what}"


class Verified(msgspec.Struct, frozen=True):
    """How one backup was found."""

    archive: str
    version: str | None
    depth: Depth
    findings: tuple[Finding, ...] = ()
    files: int = 0
    """Files that were read back and matched."""
    bytes: int = 0
    """Bytes of their content."""
    seconds: float = 0.0
    statement: str = ""
    """What the backup holds, measured against the commit."""
    compared: bool = True
    """False where nothing is recorded of the archive: it could only be read."""
    recorded: bool = False
    """Whether the proof stands in the ledger."""
    summed: bool = False
    """Whether ``SHA256SUMS`` of the store has its line."""

    @property
    def sound(self) -> bool:
        """Whether the archive is whole."""
        return not any(finding.damage for finding in self.findings)


@dataclass(slots=True)
class _Case:
    """One backup under examination."""

    place: Workplace
    backup: Backup
    name: str
    """What findings call the archive."""
    depth: Depth
    unlimited: bool = False
    """Let the archive ask for as much as it likes, though it may be anybody's."""
    findings: list[Finding] = field(default_factory=list)
    files: int = 0
    content: int = 0
    statement: str = ""
    compared: bool = True

    def find(self, what: str, file: bytes | None = None, damage: bool = True) -> None:
        """Note something wrong."""
        name = None if file is None else printable(file) or "the top folder"
        self.findings.append(Finding(self.name, what, name, damage))


def verify_backup(place: Workplace, backup: Backup, depth: Depth, unlimited: bool = False) -> Verified:
    """Verify one backup of the store and leave the proof in the ledger; what cannot be read is a finding.

    What this user may not read, or the machine cannot do now, tells nothing of it: no proof is left then.
    Raises `StoreError` for the latter, and where a restore test cannot be made.
    """
    began = time.monotonic()
    case = _Case(place, backup, backup.name, depth, unlimited)
    readable = True
    try:
        digest = _examine(case)
    except OSError as error:
        if error.errno in _OF_THE_MACHINE:
            raise StoreError(f"verifying {case.name} failed: {reason_of(error)}; run it again") from error
        case.find(f"it cannot be read: {reason_of(error)}")
        digest, readable = "", error.errno not in _NOT_ALLOWED
    except (DamageError, RestoreError) as error:
        case.find(str(error))
        digest = ""
    seconds = round(time.monotonic() - began, 3)
    verified = _verdict(case, seconds)
    if backup.kind == "plain" or place.dry_run or not readable:
        return verified
    reason = place.store.record(proof_of(verified, backup.size, digest))
    if reason:
        place.console.say(f"{reason}: the proof is not noted in a ledger")
    return msgspec.structs.replace(verified, recorded=not reason)


def verify_archive(place: Workplace, path: Path, depth: Depth, unlimited: bool) -> Verified:
    """Verify any archive by its path; nothing is recorded.

    Raises `NoSuchBackupError`, `StoreError`, and `RestoreError` where one that was not published here
    asks for more than most archives of its size do, unless it is `unlimited`.
    """
    if not path.is_file():
        raise NoSuchBackupError(f"there is no archive {printable(path)}")
    return _verify_file(_Case(place, _plain_backup(path), str(path), depth, unlimited))[0]


def verify_draft(place: Workplace, path: Path, name: str, digest: str) -> Verified:
    """Verify, whole, an archive that is not published yet, and whose SHA-256 should be `digest` (hex)."""
    verified, found = _verify_file(_Case(place, _plain_backup(path), name, "full", unlimited=True))
    if found == digest:
        return verified
    finding = Finding(name, f"its SHA-256 is {found}, but {digest} was written")
    return msgspec.structs.replace(verified, findings=(*verified.findings, finding))


def _plain_backup(path: Path) -> Backup:
    return Backup(path, path.name, "plain", "", None, "", "tar", path.stat().st_size, 0)


def _verify_file(case: _Case) -> tuple[Verified, str]:
    """Verify an archive by its path; return its SHA-256, too."""
    began = time.monotonic()
    with translated(StoreError, "reading the archive"):
        digest = _examine(case)
    return _verdict(case, round(time.monotonic() - began, 3)), digest


def verify_version(place: Workplace, version: str | None, depth: Depth, unlimited: bool = False) -> Verified:
    """Verify the newest backup of a version or day, or of all; see `verify_backup`.

    Raises `NoSuchBackupError`.
    """
    with place.store.reading("verify"):
        _tell_unreadable_lines(place)
        summed = _summed(place)
        verified = verify_backup(place, place.store.find(version), depth, unlimited)
    return msgspec.structs.replace(verified, summed=verified.archive in summed)


def verify_all(place: Workplace, depth: Depth, unlimited: bool = False) -> list[Verified]:
    """Verify every backup of the store, oldest first; what should be there and is not, last."""
    place.store.refuse_absent()
    if not place.store.path.is_dir():
        return []
    with place.store.reading("verify"):
        _tell_unreadable_lines(place)
        summed = _summed(place)
        found = [verify_backup(place, backup, depth, unlimited) for backup in place.store.backups()]
        for name in place.store.missing():
            finding = Finding(name, "it was published, but is not there any more")
            found.append(Verified(name, None, depth, (finding,)))
    return [msgspec.structs.replace(each, summed=each.archive in summed) for each in found]


def parse_depth(text: str) -> Depth:
    """Return a depth from its flag; raises `SettingsError`."""
    depth: Depth = one_of(text, get_args(Depth), "--depth")  # type: ignore[assignment]
    return depth


def _tell_unreadable_lines(place: Workplace) -> None:
    lines = place.store.ledger().unreadable
    if lines:
        place.console.say(
            f"{counted(len(lines), 'line')} of the ledger cannot be read, the first is {lines[0]}"
        )


def _summed(place: Workplace) -> frozenset[str]:
    """Return the archives that have their line in the sums of the store; say what is wrong with these."""
    try:
        sums = place.store.sums()
    except StoreError as error:
        place.console.say(str(error))
        return frozenset()
    if sums.flaw:
        place.console.say(f"{sums.flaw}; the next backup or clean puts that right")
    return sums.named


def _verdict(case: _Case, seconds: float) -> Verified:
    return Verified(
        archive=case.name,
        version=case.backup.version,
        depth=case.depth,
        findings=tuple(case.findings),
        files=case.files,
        bytes=case.content,
        seconds=seconds,
        statement=case.statement,
        compared=case.compared,
    )


def proof_of(verified: Verified, size: int, digest: str) -> Record:
    """Return the ledger's record of a verification; `digest` is the SHA-256 the archive should have, hex."""
    return Record(
        time=now(),
        act="prove",
        archive=verified.archive,
        sha256=digest,
        size=size,
        version=verified.version,
        depth=verified.depth,
        result="sound" if verified.sound else "damaged",
        findings=len(verified.findings),
        seconds=verified.seconds,
        tool=f"release-backup {backup_lib.__version__}",
    )


def _examine(case: _Case) -> str:
    """Examine a backup; return the SHA-256 it should have, else the one it has, hex."""
    with open_for_reading(case.backup.archive) as (read_at, size):
        reader = _opened(case, read_at, size)
        index = reader.trailer.digest.hex() if reader else ""
        expected = case.place.store.expected(case.backup, index) if case.backup.order else None
        if reader and case.depth != "quick" and not (case.unlimited or _is_known(case, expected, index)):
            reader.tally(whole=True)
        if expected and expected.size != size:
            case.find(f"it has {size} bytes, not the {expected.size} that were recorded")
        if reader is None and case.backup.kind != "plain" and not case.findings:
            case.find("its index is missing: it was cut off, or is another archive")
        if case.depth == "quick":
            found = _hash_file(case.backup.archive)
            _compare_digest(case, expected, found)
            if _has_manifest(case):
                _examine_manifest(case)
        elif reader is None:
            found = _examine_plain(case)
            _compare_digest(case, expected, found)
        else:
            found = _examine_indexed(case, reader, expected)
    return expected.sha256 if expected else found


def _opened(case: _Case, read_at: ReadAt, size: int) -> Reader | None:
    """Open an archive, or what is left of it; find what is wrong, and report what works."""
    reader, flaw = open_with_flaw(read_at, size)
    if flaw:
        works = "what is not named here comes back with 'restore --path'"
        if reader is None:
            works = "its index is lost, so only tar reads it, up to the damage"
        case.find(f"{flaw}; {works}")
    return reader


def _is_known(case: _Case, expected: ArchiveFacts | None, index: str) -> bool:
    return (expected is not None and expected.index == index) or case.place.store.knows(index)


def _compare_digest(case: _Case, expected: ArchiveFacts | None, found: str) -> None:
    if expected and expected.sha256 != found:
        case.findings.insert(
            0, Finding(case.name, f"its SHA-256 is {found}, not the recorded {expected.sha256}")
        )
    if expected is None and case.backup.kind != "plain":
        case.find("no digest is recorded for this archive: it took the place of another")


def _hash_file(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def _examine_indexed(case: _Case, reader: Reader, expected: ArchiveFacts | None) -> str:
    header = reader.header
    has_manifest = _has_manifest(case)
    bar = case.place.console.bar(f"Verifying {case.backup.archive.name}", reader.size)
    with ThreadPoolExecutor(1) as asking, bar as advance:
        agreement = Agreement(header, case.place.repository, asking, has_manifest)
        checked = check_archive(reader, advance, agreement)
        agreement.finish()
    for flaw in checked.flaws:
        case.find(flaw.what, flaw.path)
    case.files, case.content = checked.files, checked.content
    found = checked.sha256.hex()
    _compare_digest(case, expected, found)
    if has_manifest:
        digest = expected.sha256 if expected else found
        archive = ArchiveFacts(case.backup.archive.name, reader.size, digest, reader.trailer.digest.hex())
        _examine_manifest(case, manifest_differences(case.backup.archive, reader, archive, agreement))
    for disagreement in agreement.findings:
        case.find(*disagreement)
    case.statement = statement(header, reader.summary, case.backup.label)
    if case.depth == "restore" and not checked.flaws:
        with case.place.console.bar("Restoring it", reader.summary.counts.bytes) as advance:
            _drill(case, reader, advance)
    return found


def _drill(case: _Case, reader: Reader, advance: Advance) -> None:
    try:
        for path, what in restore_differences(case.backup.archive, reader, case.place.store.path, advance):
            case.find(what, path)
    except (DamageError, RestoreError) as error:
        case.find(f"it cannot be restored: {error}")


def _examine_manifest(case: _Case, differences: Iterable[str] | None = None) -> None:
    """Find what is wrong with the manifest, which is no damage of the archive, and the way back.

    It has to be whole; where they are given, its `differences` from what the archive gives are looked for.
    """
    told: list[str] = []
    try:
        flaw = manifest_flaw(case.backup.archive, whole=differences is None)
        told = [] if flaw else list(differences or ())
    except OSError as error:
        if error.errno in _OF_THE_MACHINE:
            raise
        flaw = f"its MANIFEST.txt cannot be read: {reason_of(error)}"
    if told:
        flaw = "its MANIFEST.txt is not the one that the archive gives"
    if flaw:
        is_whole = not any(finding.damage for finding in case.findings)
        again = f"invoke verify --version {case.backup.version} --rewrite-manifest"
        case.find(f"{flaw}; write it again with: {again}" if is_whole else flaw, damage=False)
    for what in told:
        case.find(what, damage=False)


def _has_manifest(case: _Case) -> bool:
    """Whether there should be one: only the newest archive of a version has."""
    if case.backup.kind != "release":
        return False
    folder = case.backup.archive.parent
    return not any(
        other.archive.parent == folder and other.order > case.backup.order
        for other in case.place.store.backups()
    )


def statement(header: Header, summary: Summary, label: str) -> str:
    """Say what a backup holds: ``v1.1.0 (3f2c1a9) as committed, plus 12 untracked and 2 ignored files``.

    Without a version it goes by its `label`.
    """
    name = f"v{header.version}" if header.version else label
    if header.commit is None:
        return f"{name}, {counted(summary.counts.files, 'file')}, without git"
    states = summary.counts.states
    besides = [f"{states[state]} {STATES[state]}" for state in ("untracked", "ignored") if states.get(state)]
    text = f"{name} ({header.commit[:12]}) as committed"
    if states.get("modified"):
        text += f", but {counted(states['modified'], 'file')} modified"
    if header.left_out:
        text += f", {counted(header.left_out, 'file')} left out"
    if header.deleted:
        text += f", {counted(header.deleted, 'file')} deleted"
    if besides:
        text += f", plus {' and '.join(besides)} {'file' if besides[-1].startswith('1 ') else 'files'}"
    if states.get("submodule"):
        text += f", and {counted(states['submodule'], 'file')} in submodules"
    return text


def _examine_plain(case: _Case) -> str:
    """Read an archive without usable index from start to end; compare it with a manifest, if there is one."""
    told = _listed_files(case)
    found: dict[bytes, bytes] = {}
    try:
        with open_stream(case.backup.archive, case.unlimited) as reader:
            members = hash_members(reader) if told else ((member, b"") for member in read_members(reader))
            for member, digest in members:
                name = member.name.removeprefix(b"./")
                if member.kind == "file":
                    found[name] = digest  # of several of one name, the last one counts
                    case.content += member.size
                elif member.kind == "hardlink":
                    found[name] = found.get(member.link.removeprefix(b"./"), b"")
        check_frames(case.backup.archive, case.unlimited)
    except DamageError as error:
        case.find(str(error))
    for name, digest in told.items():
        if name not in found:
            case.find("the manifest lists it, but it cannot be read from the archive", name)
        elif found[name] != digest:
            case.find("its content does not match the manifest", name)
    case.files = len(found)
    case.compared = bool(told)
    return _hash_file(case.backup.archive)


def _listed_files(case: _Case) -> dict[bytes, bytes]:
    path = case.place.store.manifest_of(case.backup) if case.backup.order or case.backup.version else None
    if path is None:
        return {}
    try:
        with open_file(path) as file:
            return {name.removeprefix(b"./"): digest for name, digest in read_manifest(file).files}
    except DamageError as error:
        case.find(f"its manifest is damaged: {error}")
        return {}
