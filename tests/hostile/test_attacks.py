"""Hostile archives: refused in one line, soon, in little memory, and nothing outside the target changes."""

from __future__ import annotations

import os
from hashlib import sha256

import pytest

from backup_lib.archive.formats import FORMATS
from backup_lib.model import Entry

from .arena import Arena, outside_of
from .attacks import HARMLESS, Members, attacks, broken_streams, file
from .build import END, Made, forged, forged_stream, stream_of, wrapped

SUFFIXES = (".tar", ".tar.gz", ".tar.zst")
NAMES = list(attacks(b"/outside"))


def attack(arena: Arena, name: str) -> Members:
    """Return an attack on an arena."""
    return attacks(bytes(outside_of(arena.root)))[name]


@pytest.mark.parametrize("name", NAMES)
def test_attacks_are_refused(name: str, arena: Arena) -> None:
    """No archive without an index gets out, and none leaves half of itself in a new target."""
    for suffix in SUFFIXES:
        verdict = arena.restore(wrapped(stream_of(attack(arena, name)), suffix))
        assert verdict.code in (1, 4), verdict
        assert not arena.target.exists()


@pytest.mark.parametrize("name", NAMES)
def test_attacks_with_an_index_are_refused(name: str, arena: Arena) -> None:
    """No archive whose index was forged, all digests right, gets out either."""
    for form in FORMATS:
        verdict = arena.restore(forged(attack(arena, name), form, "."))
        assert verdict.code in (1, 4), verdict
        assert not arena.target.exists()
        below = arena.restore(forged(attack(arena, name), form, "demo"))
        assert below.code or not name.startswith("hard link"), below
        arena.clear()
        arena.restore(forged(attack(arena, name), form, "demo"), "--strip-components", "1")
        arena.clear()


def test_what_an_index_speaks_of_is_as_we_write_it(arena: Arena) -> None:
    """The forger is no worse than we are: else its attacks would be refused for their headers alone."""
    folders = [Made(name, b"5") for name in (b"", b"d/", b"n" * 250 + b"/")]
    long = Made(b"n" * 250 + b"/" + b"m" * 250, content=b"long")
    members = [folders[0], file(b"a", b"x"), folders[1], Made(b"l", b"2", link=b"a"), folders[2], long]
    for form in FORMATS:
        verdict = arena.verify(forged(members, form))
        assert verdict.code == 0, verdict


@pytest.mark.parametrize("name", NAMES)
def test_attacks_with_links_allowed(name: str, arena: Arena) -> None:
    """Where links may lead out, still nothing is written, linked or changed through one."""
    arena.restore(wrapped(stream_of(attack(arena, name)), ".tar"), "--outside-links")
    arena.clear()
    arena.restore(forged(attack(arena, name), "gz", "."), "--outside-links")


@pytest.mark.parametrize("name", NAMES)
def test_attacks_on_a_target_with_links(name: str, arena: Arena) -> None:
    """What an earlier restore, or anybody, left in a target is not followed either."""
    outside = outside_of(arena.root)
    arena.target.mkdir()
    for link in ("a", "d", "f", "h", "l", "evil"):
        (arena.target / link).symlink_to(outside / "folder")
    for data in (wrapped(stream_of(attack(arena, name)), ".tar"), forged(attack(arena, name), "gz", ".")):
        for flags in (["if-changed"], ["always", "--outside-links"]):
            arena.restore(data, "--overwrite", *flags)


def test_hard_links_in_a_target_are_replaced_not_written(arena: Arena) -> None:
    """A file that has another name outside the target is replaced by a new one; the other stays as it was."""
    secret = outside_of(arena.root) / "secret"
    for flag in ("if-changed", "always"):
        arena.target.mkdir(exist_ok=True)
        (arena.target / "f").unlink(missing_ok=True)
        os.link(secret, arena.target / "f")
        arena.restore(stream_of([file(b"f", flag.encode())]), "--overwrite", flag)
        assert (arena.target / "f").read_bytes() == flag.encode()
        assert secret.stat().st_nlink == 1


@pytest.mark.parametrize("name", broken_streams())
def test_broken_streams_are_refused(name: str, arena: Arena) -> None:
    """Headers that contradict themselves are refused, with an index that vouches for them, too."""
    stream = broken_streams()[name]
    for suffix in SUFFIXES:
        verdict = arena.restore(wrapped(stream, suffix))
        assert verdict.code in (1, 4), verdict
        assert not arena.target.exists()
        assert arena.verify(wrapped(stream, suffix)).code in (1, 4)
    entry = Entry(b"a", "file", 4, sha256(b"evil").digest(), b"", "")
    for form in FORMATS:
        data = forged_stream([(stream, (entry,)), (END, ())], form, ".") if stream else b""
        assert arena.restore(data).code in (1, 4)
        assert arena.verify(data).code in (1, 4)


@pytest.mark.parametrize("name", HARMLESS)
def test_odd_archives_do_no_harm(name: str, arena: Arena) -> None:
    """What is odd comes out harmless or not at all, by both ways of reading."""
    for suffix in SUFFIXES:
        arena.restore(wrapped(stream_of(HARMLESS[name]), suffix))
        arena.clear()
    for form in FORMATS:
        arena.restore(forged(HARMLESS[name], form))
        arena.verify(forged(HARMLESS[name], form))
        arena.clear()
