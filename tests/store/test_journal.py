"""The journal is what releases of a version set out to do, up to where it was taken back."""

from __future__ import annotations

from pathlib import Path

from backup_lib.store import ledger
from backup_lib.store.journal import Journal, journal_of
from backup_lib.store.ledger import Record


def act(what: str, version: str = "1.1.0", archive: str = "") -> Record:
    """Return a record."""
    return Record(time="2026-11-22T21:45:00Z", act=what, archive=archive, version=version)


def test_it_holds_what_was_intended_until_all_was_taken_back(tmp_path: Path) -> None:
    """Other versions and acts do not count, nor what came before; what is intended after begins another."""
    first, archive, again = act("tag"), act("release", archive="v1.1.0/a.tar.gz"), act("note")
    aside = act("aside", archive="v1.1.0/MANIFEST.txt")
    ledger.append(
        tmp_path,
        *(aside, first, act("tag", "1.0.0"), archive, aside),
        *(act("publish"), act("undone", "1.0.0"), again),
    )
    book = ledger.read(tmp_path)
    assert journal_of(book, "1.1.0") == Journal((first,), (archive,), (again,), (aside,), taken_back=False)

    ledger.append(tmp_path, act("undone"))
    past = journal_of(ledger.read(tmp_path), "1.1.0")
    assert past == Journal((first,), (archive,), (again,), (aside,), taken_back=True)
    ledger.append(tmp_path, act("undone"), act("publish"), aside)
    assert journal_of(ledger.read(tmp_path), "1.1.0") == past
    ledger.append(tmp_path, again)
    assert journal_of(ledger.read(tmp_path), "1.1.0") == Journal((), (), (again,), (), taken_back=False)


def test_an_empty_ledger_has_an_empty_one(tmp_path: Path) -> None:
    """Nothing was set out, nothing taken back."""
    journal = journal_of(ledger.read(tmp_path), "1.1.0")
    assert journal.is_empty
    assert not journal.taken_back
