"""The second wall: what takes out an archive that may be anybody's is held to its ground by the kernel."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support import HEEDING, Run, archive_of

from backup_lib.archive.apart import apart
from backup_lib.archive.wall import Ground, has_wall
from backup_lib.progress import Console

from .attacks import file
from .build import stream_of

pytestmark = pytest.mark.skipif(not has_wall(), reason="the kernel has no Landlock, or too old a one")

REPOSITORY = Path(__file__).parents[2]
START = """
import os, signal, socket, sys
from pathlib import Path
import msgspec
from backup_lib import errors, restore
from backup_lib.archive import apart as module, wall
from backup_lib.archive.apart import apart
from backup_lib.archive.tar import Stamp
from backup_lib.archive.target import Target, Writer
from backup_lib.archive.wall import Ground
from backup_lib.progress import Silent

class Console(Silent):
    def say(self, line):
        print(line, flush=True)

def folder():
    return os.open("to", os.O_RDONLY)

def behind(work, kind=str, writes=True):
    return apart(work, kind, Ground(Path("archive"), folder(), writes), Console())

def invoke(*arguments):
    import tasks
    from invoke import Program
    Program(namespace=tasks.ns, version="3").run(["invoke", *arguments])
"""


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    """A folder with an archive, a target that is there, and a folder outside with a secret; our place."""
    for name in ("to", "outside"):
        (tmp_path / name).mkdir()
    (tmp_path / "archive").write_bytes(stream_of([file(b"f", b"content")]))
    (tmp_path / "to" / "there").write_text("there\n")
    (tmp_path / "outside" / "secret").write_text("secret\n")
    return tmp_path


def started(scene: Path, body: str, **how: object) -> subprocess.Popen[str]:
    """Start a program in a scene."""
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-c", HEEDING + START + body]
    return subprocess.Popen(command, cwd=scene, env=environment, text=True, **how)  # type: ignore[call-overload, no-any-return]


def said(scene: Path, body: str) -> str:
    """Return what a program says on stdout; it ends well, and with no process of its own left."""
    ending = "\ntry:\n    os.wait()\nexcept ChildProcessError:\n    pass\nelse:\n    sys.exit('a zombie')\n"
    with started(scene, body + ending, stdout=subprocess.PIPE) as process:
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    return str(out)


def left_in(scene: Path) -> dict[str, str]:
    """Return all that is in a scene."""
    return {
        str(path.relative_to(scene)): path.read_text() if path.is_file() else ""
        for path in scene.rglob("*")
        if path != scene / "archive"
    }


def test_inside_everything_can_be_done(scene: Path) -> None:
    """What a restore does in its target, it does behind the wall, too: also hard links between folders."""
    out = said(
        scene,
        """
def work(console):
    to = Target(folder(), merge=True)
    with Writer(to) as writer:
        writer.write_file(b"a/b/f", Stamp(0o640, 10**18), [b"x"], b"")
        writer.write_file(b"there", Stamp(0o640, 10**18), [b"new", bytes(1 << 20)], b"")
    to.later_hard_link(b"c/h", b"a/b/f")
    to.later_link(b"c/l", b"h", Stamp(0o777, 10**18))
    to.later_folder(b"a", Stamp(0o700, 10**18))
    to.finish()
    assert Path("archive").read_bytes()
    return str(os.getpid())

print(behind(work) != str(os.getpid()))
""",
    )
    assert out == "True\n"
    assert (scene / "to/a/b/f").samefile(scene / "to/c/h")
    assert os.readlink(scene / "to/c/l") == "h"
    assert (scene / "to/there").read_bytes() == b"new" + bytes(1 << 20)


OUTSIDE = """
os.open("outside/secret", os.O_RDONLY)
os.open("outside/secret", os.O_WRONLY)
os.open("outside/new", os.O_WRONLY | os.O_CREAT)
os.open("archive", os.O_WRONLY)
os.open("new", os.O_WRONLY | os.O_CREAT)
os.truncate("outside/secret", 0)
os.listdir("outside")
os.mkdir("outside/new")
os.symlink("secret", "outside/new")
os.link("outside/secret", "to/new")
os.link("to/there", "outside/new")
os.rename("to/there", "outside/new")
os.rename("outside/secret", "to/new")
os.rename("outside", "to/outside")
os.unlink("outside/secret")
os.rmdir("to")
os.mkfifo("to/fifo")
os.mknod("to/device", 0o60600, os.makedev(7, 0))
os.open("/proc/1/environ", os.O_RDONLY)
os.open(f"/proc/{os.getppid()}/mem", os.O_RDWR)
os.open("/dev/tty", os.O_RDWR)
os.execv(sys.executable, [sys.executable, "-c", ""])
""".strip().splitlines()


def test_outside_nothing_can_be_done(scene: Path) -> None:
    """The kernel refuses, also root, every way to read, write, make, link, move or run what is outside."""
    before = left_in(scene)
    body = f"""
def work(console):
    done = []
    for attempt in {OUTSIDE!r}:
        try:
            eval(attempt)
        except OSError as error:
            console.say(f"{{error.strerror}}: {{attempt}}")
        else:
            done.append(attempt)
    return repr(done)

print(behind(work))
"""
    *refusals, done = said(scene, body).splitlines()
    assert done == "[]"
    assert len(refusals) == len(OUTSIDE)
    allowed = ("Permission denied", "Invalid cross-device link")
    assert [line for line in refusals if not line.startswith(allowed)] == []
    assert left_in(scene) == before


def test_a_dry_run_writes_nothing(scene: Path) -> None:
    """Where nothing is to be written, also the target is only read."""
    out = said(
        scene,
        """
def work(console):
    assert Path("to/there").read_text() == "there\\n"
    try:
        Path("to/there").write_text("new")
    except OSError as error:
        return error.strerror

print(behind(work, writes=False))
""",
    )
    assert out == "Permission denied\n"


def test_what_was_open_is_not_open_behind_the_wall(scene: Path) -> None:
    """No file, terminal or pipe of the process that asked can be used, and no memory is left behind."""
    out = said(
        scene,
        """
import resource
secret = os.open("outside/secret", os.O_RDWR)

def work(console):
    os.write(1, b"nobody reads this")
    assert os.read(secret, 9) == b""
    assert not os.isatty(0) and os.getsid(0) == os.getpid()
    return str(resource.getrlimit(resource.RLIMIT_CORE))

print(behind(work), os.pread(secret, 9, 0))
""",
    )
    assert out == "(0, 0) b'secret\\n'\n"


def test_nobody_else_is_reached(scene: Path) -> None:
    """Where the kernel is new enough, nobody outside gets a signal or a connection."""
    out = said(
        scene,
        """
server = socket.create_server(("127.0.0.1", 0))

def work(console):
    for attempt in (lambda: os.kill(os.getppid(), 0), lambda: socket.create_connection(server_address)):
        try:
            attempt()
        except OSError as error:
            console.say(error.strerror)
    return ""

server_address = server.getsockname()
print(wall._version())
behind(work)
""",
    )
    version, *refusals = out.splitlines()
    expected = ["Operation not permitted"] * (int(version) >= 6) + ["Permission denied"] * (int(version) >= 4)
    assert refusals == expected


def test_what_happens_is_told(scene: Path) -> None:
    """Lines, progress to the last byte, and the result arrive, whatever bytes names have."""
    out = said(
        scene,
        """
from contextlib import contextmanager
class Result(msgspec.Struct):
    number: int
    names: tuple[str, ...]

class Telling(Console):
    @contextmanager
    def bar(self, label, total):
        counts = []
        yield counts.append
        print(label, total, sum(counts), len(counts) < 10)

def work(console):
    console.say("\\x1b[2J\\udcff")
    with console.bar("Restoring", 5_000_000) as advance:
        for _ in range(5000):
            advance(1000)
    return Result(7, ("a", "b"))

print(apart(work, Result, Ground(Path("archive")), Telling()))
""",
    )
    assert out.splitlines() == [
        "\\x1b[2J\\xff",
        "Restoring 5000000 5000000 True",
        "Result(number=7, names=('a', 'b'))",
    ]


def test_errors_are_raised_as_they_are(scene: Path) -> None:
    """Each error of ours keeps its kind, its text and its exit code; another tells where it came from."""
    out = said(
        scene,
        """
kinds = [errors.BackupError, *errors.BackupError.__subclasses__()]
for kind in kinds:
    def work(console):
        raise kind("what, where, what to do")
    try:
        behind(work)
    except errors.BackupError as error:
        assert type(error) is kind and str(error) == "what, where, what to do", error

def broken(console):
    return {}["key"]

try:
    behind(broken)
except RuntimeError as error:
    print(error, "in broken" in error.__notes__[0])
""",
    )
    assert out == "KeyError: 'key' True\n"


@pytest.mark.parametrize(
    "deed",
    [
        "os.kill(os.getpid(), signal.SIGKILL)",
        "os._exit(0)",
        "console._pipe.write(b'nonsense\\n')",
        'console._pipe.write(b\'{"type":"_Done","value":[1]}\\n\')',
        "console._pipe.write(b'\\xff\\n')",
        "console._pipe.write(b'[' * 9_999_999)",
    ],
)
def test_a_process_that_dies_or_lies_is_one_line(scene: Path, deed: str) -> None:
    """What codec or archive do to the process behind the wall is an error like others."""
    out = said(
        scene,
        f"""
def work(console):
    {deed}
    console._pipe.flush()
    os._exit(0)

try:
    behind(work)
except errors.RestoreError as error:
    print(error)
""",
    )
    assert out == "the process that read it was ended: from outside, or by what is in it\n"


def test_without_a_wall_it_is_done_here(scene: Path) -> None:
    """Where the kernel has none, or a thread forbids to fork, the same is done by the one who asked."""
    out = said(
        scene,
        """
import threading
def work(console):
    return str(os.getpid())

ended = threading.Event()
other = threading.Thread(target=ended.wait)
other.start()
print(behind(work) == str(os.getpid()))
ended.set()
other.join()
wall._OLDEST = 99
print(behind(work) == str(os.getpid()))
""",
    )
    assert out == "True\nTrue\n"


def test_a_restore_that_breaks_out_is_one_line(scene: Path) -> None:
    """A restore that writes outside, by whatever fault, is refused by the kernel and leaves nothing."""
    body = """
def broken(path, placement, target, advance):
    with Writer(target) as writer:
        writer.write_file(b"f", Stamp(0o640, 10**18), [b"x"], b"")
    os.close(os.open(Path.cwd() / "outside/new", os.O_WRONLY | os.O_CREAT))

restore.extract_plain = broken
invoke("restore", "--archive", "archive", "--to", "not/yet/there")
"""
    before = left_in(scene)
    with started(scene, body, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (1, "")
    assert err == f"restore: restoring failed: Permission denied: {scene}/outside/new\n"
    assert left_in(scene) == before


TERMINAL = """
import fcntl, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
"""
SLOW = """
def write(job, plan, console):
    def pieces():
        yield b"half of it"
        console.say(f"at work in {os.getpid()}")
        signal.pause()

    target = Target(job.destination.folder, merge=not job.destination.is_new)
    with Writer(target) as writer:
        writer.write_file(b"a/f", Stamp(0o640, 10**18), pieces(), b"")

restore._write = write
"""
RESTORE = "invoke('restore', '--archive', 'archive', '--to', '{}', '--overwrite', 'always')"
WAYS = ["not/yet/there", "to"]


@contextmanager
def at_work(scene: Path, to: str) -> Iterator[tuple[subprocess.Popen[str], int, int, int]]:
    """Run a restore in a terminal of its own, until it is in the midst of writing a file.

    Yield it, the terminal, and the process behind the wall as a pidfd and as a number.
    """
    ours, theirs = pty.openpty()
    body = TERMINAL + SLOW + RESTORE.format(to)
    how: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), theirs)
    with started(scene, body, start_new_session=True, **how) as process:
        os.close(theirs)
        try:
            shown = b""
            while not (told := re.search(rb"at work in (\d+)\r\n", shown)):
                shown += os.read(ours, 4096)
            behind = os.pidfd_open(int(told[1]))
            yield process, ours, behind, int(told[1])
            os.close(behind)
        finally:
            process.kill()
            os.close(ours)


def ended(behind: int) -> bool:
    """Wait until the process behind the wall has ended."""
    return bool(select.select([behind], [], [], 30)[0])


@pytest.mark.parametrize("to", WAYS)
@pytest.mark.parametrize("how", ["Ctrl-C", "SIGINT", "SIGTERM"])
def test_an_interrupt_ends_both(scene: Path, how: str, to: str) -> None:
    """However it is asked to end, both processes do, and nothing half done is left."""
    before = left_in(scene)
    with at_work(scene, to) as (process, terminal, behind, _):
        if how == "Ctrl-C":
            os.write(terminal, b"\x03")
        else:
            process.send_signal(signal.Signals[how])
        assert process.wait(timeout=30) == (143 if how == "SIGTERM" else 130)
        assert ended(behind)
        shown = os.read(terminal, 4096)
    assert shown.split(b"restore: ")[1] == (b"terminated\r\n" if how == "SIGTERM" else b"interrupted\r\n")
    after = left_in(scene)
    after.pop("to/a", None)  # a folder that a restore into a folder has made stays
    assert after == before


@pytest.mark.parametrize("to", WAYS)
def test_nothing_works_on_when_the_restore_is_killed(scene: Path, to: str) -> None:
    """The process behind the wall dies with the one that asked; the next restore sweeps what they left."""
    with at_work(scene, to) as (process, _, behind, _):
        process.kill()
        assert ended(behind)
    assert any(name.endswith(".partial") for name in left_in(scene))
    with started(scene, RESTORE.format(to), stdout=subprocess.PIPE) as again:
        again.communicate(timeout=60)
    assert again.returncode == 0
    assert (scene / to / "f").read_text() == "content"


def test_a_process_that_is_killed_behind_the_wall(scene: Path) -> None:
    """A restore whose process was ended from outside is one line, exit code 1, and leaves nothing."""
    before = left_in(scene)
    with at_work(scene, "new") as (process, terminal, _, pid):
        os.kill(pid, signal.SIGKILL)
        assert process.wait(timeout=30) == 1
        assert b"restore: the process that read it was ended" in os.read(terminal, 4096)
    assert left_in(scene) == before


def test_what_the_store_knows_is_not_walled(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An archive as the store published it is restored as ever; one that took its place is not trusted."""
    walled: list[Path] = []

    def noting(work: Callable[[Console], Any], kind: type[Any], ground: Ground, console: Console) -> Any:
        walled.append(ground.archive)
        return apart(work, kind, ground, console)

    monkeypatch.setattr("backup_lib.restore.apart", noting)
    archive = archive_of(run("backup", "--json"))
    assert run("restore", "--to", str(tmp_path / "1")).code == 0
    assert run("restore", "--archive", str(archive), "--to", str(tmp_path / "2")).code == 0
    assert walled == []
    (tmp_path / "copy.tar.gz").write_bytes(archive.read_bytes())
    assert run("restore", "--archive", str(tmp_path / "copy.tar.gz"), "--to", str(tmp_path / "3")).code == 0
    other = archive_of(run("backup", "--json", "--note", "another index"))
    archive.write_bytes(other.read_bytes())
    run("restore", "--archive", str(archive), "--to", str(tmp_path / "4"))
    assert walled == [tmp_path / "copy.tar.gz", archive]
