"""The ledger only grows, and no damage to it hides what is still there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backup_lib.store import ledger
from backup_lib.store.layout import LEDGER
from backup_lib.store.ledger import Record

A = "v1.0.0/a.tar.gz"
B = "v1.1.0/b.tar.gz"


def act(what: str, archive: str = A, **more: Any) -> Record:
    """Return a record."""
    return Record(time="2026-11-22T21:45:00Z", act=what, archive=archive, **more)


def prove(depth: str, result: str, sha256: str = "aa") -> Record:
    """Return a proof."""
    return act("prove", depth=depth, result=result, sha256=sha256)


def test_records_are_plain_json_lines_for_the_owner(tmp_path: Path) -> None:
    """Any tool reads the ledger, and only its owner."""
    ledger.append(tmp_path, act("publish", size=3), act("prove", depth="full"))
    path = tmp_path / LEDGER
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_text().splitlines() == [
        '{"time":"2026-11-22T21:45:00Z","act":"publish","archive":"v1.0.0/a.tar.gz","size":3}',
        '{"time":"2026-11-22T21:45:00Z","act":"prove","archive":"v1.0.0/a.tar.gz","depth":"full"}',
    ]


def test_a_store_without_a_ledger_has_an_empty_one(tmp_path: Path) -> None:
    """Reading makes nothing."""
    book = ledger.read(tmp_path)
    assert not book.records
    assert not book.unreadable
    assert book.standing() == book.being_removed() == ()
    assert book.last_publish_order(A) == 0
    assert book.proof(A, "aa") is None
    assert not os.listdir(tmp_path)
    assert ledger.read(tmp_path / "none" / "x").records == ()


def test_a_torn_line_is_passed_over_and_never_joined(tmp_path: Path) -> None:
    """After a power cut in the middle of a line the next record stands on its own line."""
    ledger.append(tmp_path, act("publish"))
    whole = (tmp_path / LEDGER).read_bytes()
    with open(tmp_path / LEDGER, "ab") as file:
        file.write(whole[: len(whole) // 2])
    assert ledger.read(tmp_path).unreadable == ()
    ledger.append(tmp_path, act("publish", B))
    book = ledger.read(tmp_path)
    assert [record.archive for _, record in book.records] == [A, B]
    assert book.unreadable == (2,)
    assert book.last_publish_order(B) == 3


def test_a_last_line_that_lacks_only_its_end_counts(tmp_path: Path) -> None:
    """A whole record is not lost for one byte."""
    ledger.append(tmp_path, act("publish"))
    data = (tmp_path / LEDGER).read_bytes()
    (tmp_path / LEDGER).write_bytes(data.rstrip(b"\n"))
    assert ledger.read(tmp_path).published(A)
    ledger.append(tmp_path, act("publish", B))
    assert ledger.read(tmp_path).unreadable == ()


@given(st.lists(st.binary(max_size=60)), st.integers(0, 3))
def test_any_garbage_is_counted_and_hides_nothing(garbage: list[bytes], place: int) -> None:
    """Whatever came between the records, each is still read."""
    line = b'{"time":"t","act":"publish","archive":"a.tar.gz","new":[1]}\n'
    lines = [piece.replace(b"\n", b"") + b"\n" for piece in garbage]
    lines.insert(place, line)
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / LEDGER).write_bytes(b"".join(lines))
        book = ledger.read(Path(folder))
    assert len(book.published("a.tar.gz")) >= 1
    assert len(book.records) + len(book.unreadable) == sum(bool(line.strip()) for line in lines)


def test_the_order_of_lines_is_the_order_of_backups(tmp_path: Path) -> None:
    """A wrong clock changes nothing."""
    ledger.append(tmp_path, act("publish", B), act("publish", A), act("publish", B, size=2))
    book = ledger.read(tmp_path)
    assert book.last_publish_order(B) == 3
    assert [record.size for record in book.published(B)] == [0, 2]
    assert book.standing() == (B, A)


@pytest.mark.parametrize(
    ("proofs", "proved"),
    [
        ([], False),
        ([prove("quick", "sound")], False),
        ([prove("full", "sound")], True),
        ([prove("restore", "sound"), prove("quick", "sound")], True),
        ([prove("full", "sound"), prove("quick", "damaged")], False),
        ([prove("full", "sound"), prove("quick", "damaged"), prove("quick", "sound")], False),
        ([prove("full", "damaged"), prove("restore", "sound")], True),
        ([prove("full", "sound", "bb")], False),
        ([prove("full", "sound"), prove("full", "damaged", "bb")], True),
        ([prove("full", "unheard-of")], False),
    ],
)
def test_proved_means_read_back_and_not_found_damaged_since(
    tmp_path: Path, proofs: list[Record], proved: bool
) -> None:
    """A quick look proves nothing, but what it finds broken is broken; other content does not count."""
    ledger.append(tmp_path, act("publish"), *proofs)
    book = ledger.read(tmp_path)
    assert book.proved(A, "aa") is proved
    last = [proof for proof in proofs if proof.sha256 == "aa"][-1:]
    assert book.proof(A, "aa") == (last[0] if last else None)


def test_a_removal_is_open_until_done_or_made_void(tmp_path: Path) -> None:
    """What is being removed is known to the next run."""
    ledger.append(tmp_path, act("publish"), act("remove"), act("prove"))
    assert ledger.read(tmp_path).being_removed() == (A,)
    assert ledger.read(tmp_path).stands(A)
    ledger.append(tmp_path, act("removed"))
    assert ledger.read(tmp_path).being_removed() == ()
    assert not ledger.read(tmp_path).stands(A)
    ledger.append(tmp_path, act("remove"), act("publish"))
    assert ledger.read(tmp_path).being_removed() == ()
    assert ledger.read(tmp_path).stands(A)


def test_a_name_that_is_no_text_is_noted_safely(tmp_path: Path) -> None:
    """A plain archive may be called anything."""
    ledger.append(tmp_path, act("prove", "v1/\udcff.tar.gz"))
    assert ledger.read(tmp_path).proof("v1/\\xff.tar.gz", "") is not None


def test_a_short_write_is_finished_or_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that takes half a line is asked once more; one that takes nothing is an error."""
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, data[:10]))
    ledger.append(tmp_path, act("publish"))
    assert ledger.read(tmp_path).stands(A)
    monkeypatch.setattr(os, "write", lambda fd, data: 0)
    with pytest.raises(OSError, match="Input/output error"):
        ledger.append(tmp_path, act("publish"))


def test_a_ledger_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    """Nobody makes us write elsewhere."""
    (tmp_path / LEDGER).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic"):
        ledger.append(tmp_path, act("publish"))
