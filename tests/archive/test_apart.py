"""What a process behind the wall says, and what is made of it; the wall itself is in tests/hostile."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
import pytest

from backup_lib.archive.apart import _Done, _Failed, _Message, _Relay, _told
from backup_lib.errors import DamageError, RestoreError
from backup_lib.progress import Advance


class Seen:
    """A console that keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.done = 0

    def say(self, line: str) -> None:
        """Keep a line."""
        self.lines.append(line)

    @contextmanager
    def bar(self, label: str, total: int) -> Iterator[Advance]:
        """Keep the label, and count."""
        self.lines.append(f"{label}: {total}")

        def advance(count: int) -> None:
            self.done += count

        yield advance


def said(*messages: _Message) -> io.BytesIO:
    """Return the pipe of a process that says these things."""
    pipe = io.BytesIO()
    relay = _Relay(pipe)
    relay.say("one line\x1b[31m")
    with relay.bar("Restoring", 5 << 20) as advance:
        for _ in range(5):
            advance(1 << 20)
        advance(7)
    for message in messages:
        relay.tell(message)
    pipe.seek(0)
    return pipe


def test_what_is_said_is_shown() -> None:
    """Lines, the bar, every byte of progress and the result arrive; nothing steers the terminal."""
    console = Seen()
    assert _told(said(_Done(msgspec.Raw(b"[1,2]"))), list[int], console) == [1, 2]
    assert console.lines == ["one line\\x1b[31m", "Restoring: 5242880"]
    assert console.done == (5 << 20) + 7


def test_errors_keep_their_kind() -> None:
    """An error of ours is raised as what it was, any other with where it came from."""
    with pytest.raises(DamageError, match="it is cut off"):
        _told(said(_Failed("DamageError", "it is cut off", [])), int, Seen())
    with pytest.raises(RuntimeError, match="OSError: no") as raised:
        _told(said(_Failed("OSError", "no", ["in a line of ours"])), int, Seen())
    assert raised.value.__notes__ == ["in a line of ours"]


@pytest.mark.parametrize("end", [b"", b"nonsense\n", b'{"type":"_Done","value":"text"}\n', b'{"type":"_Do'])
def test_nonsense_is_refused(end: bytes) -> None:
    """A process that ends early, or says what means nothing, has read nothing for us."""
    pipe = io.BytesIO(said().getvalue() + end)
    with pytest.raises(RestoreError, match="was ended"):
        _told(pipe, int, Seen())
