"""verify on a small backup that is damaged in every way there is, one after the other."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from backup_lib.archive.reader import open_archive, open_for_reading
from backup_lib.backup import Order, back_up
from backup_lib.progress import Silent
from backup_lib.report import exit_code
from backup_lib.settings import Settings
from backup_lib.verify import verify_version
from backup_lib.workplace import Workplace

Verify = Callable[[bytes], int]


@pytest.fixture(params=["gz", "zst"])
def archive(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Make a backup of a few small files, in one block of entries and the two around it."""
    root = tmp_path / "endpoint"
    (root / "src").mkdir(parents=True)
    (root / "src" / "a.js").write_text("a\n")
    (root / "src" / "b.js").write_text("b\n" * 50)
    (root / ".env").write_text("SECRET=1\n")
    place = Workplace(root, Settings(format=request.param), Silent())
    return Path(back_up(place, Order("1.0.0")).archive)


@pytest.fixture
def verify(archive: Path) -> Verify:
    """Put bytes in the archive's place and return the exit code of a full verify; no proof is recorded."""

    def verify_bytes(data: bytes) -> int:
        archive.write_bytes(data)
        place = Workplace(archive.parents[2], Settings(), Silent(), dry_run=True)
        return exit_code(verify_version(place, "1.0.0", "full"))

    return verify_bytes


def test_as_it_was_published_it_is_sound(archive: Path, verify: Verify) -> None:
    """The bench can tell good from bad."""
    assert verify(archive.read_bytes()) == 0


def test_every_changed_byte_is_exit_4(archive: Path, verify: Verify) -> None:
    """No byte of an archive can change without being reported."""
    good = archive.read_bytes()
    for at in range(len(good)):
        for change in (0x01, 0xFF):
            assert verify(good[:at] + bytes([good[at] ^ change]) + good[at + 1 :]) == 4, at


def test_every_cut_is_exit_4(archive: Path, verify: Verify) -> None:
    """No archive can lose its end without being reported, at a member's border or elsewhere."""
    good = archive.read_bytes()
    for length in range(len(good)):
        assert verify(good[:length]) == 4, length


def test_every_dropped_doubled_or_swapped_member_is_exit_4(archive: Path, verify: Verify) -> None:
    """Members and frames that are whole, but missing, twice there or out of order, are reported."""
    good = archive.read_bytes()
    members = list(_members(archive))
    assert b"".join(members) == good
    assert len(members) >= 4
    for at in range(len(members)):
        assert verify(b"".join(members[:at] + members[at + 1 :])) == 4
        assert verify(b"".join(members[: at + 1] + members[at:])) == 4
    for one, other in itertools.combinations(range(len(members)), 2):
        swapped = members.copy()
        swapped[one], swapped[other] = members[other], members[one]
        assert verify(b"".join(swapped)) == 4


def _members(archive: Path) -> Iterator[bytes]:
    """Yield the blocks, and the members or frames after them."""
    data = archive.read_bytes()
    with open_for_reading(archive) as (read_at, size):
        reader = open_archive(read_at, size)
        assert reader is not None
        blocks = list(reader.blocks())
        lengths = [(placed.block.length, placed.block.size) for placed in blocks]
        for placed in blocks:
            yield data[placed.offset : placed.offset + placed.block.length]
        yield from reader.form.tail(reader.trailer, reader.index, lengths)
