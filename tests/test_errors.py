"""What a message becomes before anybody reads it: safe, of bounded length, and a command still a command."""

from __future__ import annotations

import os
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backup_lib.errors import printable, reason_of, shell_word, shortened

STEERING = ["\x1b[31m", "\x07", "\n", "\r", "\x7f", "\x80", "\x9b31m", "\u202e", "\u2028", "\udcff", "\ud800"]
ANY_TEXT = st.text(st.characters(exclude_categories=())) | st.sampled_from(STEERING)


@pytest.mark.parametrize("steering", STEERING)
def test_what_steers_a_terminal_is_escaped_once(steering: str) -> None:
    """Controls of both sets, bidi overrides, line ends and broken text; text that is safe stays as it is."""
    told = printable(f"a{steering}b")
    assert told.isprintable()
    assert told.startswith("a\\x")
    assert printable(told) == told
    assert printable("Zürich 東京 ✓ \\x1b") == "Zürich 東京 ✓ \\x1b"


@given(ANY_TEXT)
def test_any_text_becomes_one_safe_line(text: str) -> None:
    """Also halves of surrogate pairs, which stand for no byte at all."""
    assert printable(text).isprintable()


@given(ANY_TEXT.map(lambda text: text * 40), st.integers(16, 500))
def test_a_shortened_line_fits_and_keeps_both_ends(text: str, most: int) -> None:
    """In bytes of UTF-8, whatever the text is; what fits is not touched."""
    told = shortened(text, most)
    assert told.isprintable()
    assert len(told.encode()) <= most
    if len(printable(text).encode()) <= most:
        assert told == printable(text)
    else:
        assert "…" in told


@pytest.mark.parametrize("filler", ["x", "\x1b", "ü", "東"])
def test_the_cause_and_the_advice_are_kept(filler: str) -> None:
    """What is long stands between them; a million characters take no time."""
    told = shortened(f"the tag {filler * 1_000_000} cannot be made; choose another version", 500)
    assert told.startswith("the tag ")
    assert told.endswith("cannot be made; choose another version")
    assert 490 <= len(told.encode()) <= 500


@pytest.mark.parametrize("shell", ["bash", "zsh", "ksh"])
def test_a_word_for_the_shell_is_read_back(shell: str) -> None:
    """Whatever bytes a folder is called, the command that names it works when it is pasted."""
    names = [f"a{steering}1'\\ $(b)" for steering in STEERING[:-1]] + ["plain", "with space", "", "'", "~"]
    words = [shell_word(name) for name in names]
    assert all(word.isprintable() for word in words)
    try:
        done = subprocess.run(
            [shell, "-c", f"printf '%s\\0' {' '.join(words)}"], check=True, capture_output=True
        )
    except FileNotFoundError:
        pytest.skip(f"no {shell} here")
    assert done.stdout.split(b"\0")[:-1] == [os.fsencode(name) for name in names]


def test_the_number_of_an_open_file_is_no_name() -> None:
    """A call on an open folder names it by its number, which the folder's own name replaces."""
    with pytest.raises(OSError) as caught:
        os.listdir(1 << 20)
    assert reason_of(caught.value, "/the/folder").endswith(": /the/folder")
