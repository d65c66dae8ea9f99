"""Work side by side: results in order, errors as they are, and no process that outlives its use."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from support import HEEDING

from backup_lib.archive.extract import Wish
from backup_lib.archive.pool import in_processes
from backup_lib.model import Format, Source

from .trees import FORMATS, back_up, head, look, restore, scan, write_file

START = """
import errno, os, signal, sys, time
from contextlib import closing
from backup_lib.archive import pool
from backup_lib.errors import BackupError, DamageError
pool.WORKERS = 3
main = os.getpid()

def work(number):
    return number, os.getpid()
"""


@contextmanager
def program(body: str) -> Iterator[subprocess.Popen[str]]:
    """Run a program that has one thread, and so may fork."""
    command = [sys.executable, "-c", HEEDING + START + body]
    folder = Path(__file__).parents[2]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def said(body: str) -> str:
    """Return what a program writes to stdout."""
    with program(body) as process:
        out, _ = process.communicate(timeout=60)
        assert process.returncode == 0
    return out


def will_end(pid: int) -> bool:
    """Wait until a process of another has ended."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([fd], [], [], 30)[0])
    finally:
        os.close(fd)


linux = pytest.mark.skipif(sys.platform != "linux", reason="nothing is forked elsewhere")


@linux
def test_results_come_in_order_from_several_processes() -> None:
    """Every job is done once, none of them in the process that asked; none of the others is left."""
    out = said(
        """
with pool.in_processes(work, range(100)) as results:
    done = list(results)
assert [number for number, _ in done] == list(range(100))
assert len({pid for _, pid in done} - {main}) == 3
try:
    os.wait()
except ChildProcessError:
    print("alone")
"""
    )
    assert out == "alone\n"


@linux
def test_errors_are_raised_as_they_are() -> None:
    """What a job raises is raised where its result was due, with all that it says."""
    out = said(
        """
def failing(number):
    if number == 7:
        raise DamageError("seven")
    if number == 8:
        raise OSError(errno.EIO, os.strerror(errno.EIO), b"name")
    return number

seen = []
try:
    with pool.in_processes(failing, range(100)) as results:
        for each in results:
            seen.append(each)
except DamageError as error:
    print(seen, error)
try:
    with pool.in_processes(failing, [1, 8]) as results:
        list(results)
except OSError as error:
    print(error.errno == errno.EIO, error.filename)
"""
    )
    assert out == "[0, 1, 2, 3, 4, 5, 6] seven\nTrue b'name'\n"


@linux
def test_a_process_that_is_killed_is_told() -> None:
    """A process that the kernel ends for want of memory is no damage, and nothing waits for it."""
    out = said(
        """
def dying(number):
    if number == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return number

try:
    with pool.in_processes(dying, range(100)) as results:
        list(results)
except BackupError as error:
    print(type(error).__name__, error)
"""
    )
    assert out == "BackupError a process of ours was ended from outside; run it again\n"


SLOW = """
def slow(number):
    time.sleep(0.05)
    return number, os.getpid()

with pool.in_processes(slow, range(10_000)) as results:
    pids = {next(results)[1] for _ in range(3)}
    print(*pids, flush=True)
    for _ in results:
        pass
"""


@linux
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_no_process_works_on_alone(end: signal.Signals) -> None:
    """However the one that asked ends, the others end with the job that they have in hand."""
    with program(SLOW) as process:
        assert process.stdout
        pids = [int(pid) for pid in process.stdout.readline().split()]
        assert len(pids) == 3
        process.send_signal(end)
        process.wait(timeout=30)
        assert all(map(will_end, pids))


@linux
def test_signals_are_for_the_one_that_asked() -> None:
    """Ctrl-C goes to all of them: the others go on until they are told, and leave nothing half done."""
    out = said(
        """
def signalled(number):
    os.kill(os.getpid(), signal.SIGINT)
    os.kill(os.getpid(), signal.SIGTERM)
    return number

with pool.in_processes(signalled, range(9)) as results:
    print(list(results))
"""
    )
    assert out == "[0, 1, 2, 3, 4, 5, 6, 7, 8]\n"


def test_threads_do_it_where_there_are_threads() -> None:
    """A process with threads is not forked: it might hold their locks for ever."""
    ended = threading.Event()
    other = threading.Thread(target=ended.wait)
    other.start()
    try:
        with in_processes(lambda _: os.getpid(), range(20)) as results:
            assert set(results) == {os.getpid()}
    finally:
        ended.set()
        other.join()


READ = """
from pathlib import Path
from backup_lib.archive import check, extract
from backup_lib.archive.reader import open_archive, open_for_reading
from backup_lib.archive.target import Target

class Ids(check.Listener):
    blob_hash = "sha1"
    def __init__(self):
        self.seen = []
    def digested(self, entries):
        return b"".join(entry.path for entry in entries)
    def take(self, digested, blobs):
        self.seen += [*digested, *blobs]

def checked(worth):
    check.WORTH_PROCESSES = worth
    told, ids = [], Ids()
    with open_for_reading(Path({archive!r})) as (read_at, size):
        found = check.check_archive(open_archive(read_at, size), told.append, ids)
    return found, sum(told), ids.seen

def restored(worth, to):
    extract._WORTH_PROCESSES = worth
    told = []
    folder = os.open(to, os.O_RDONLY)
    with open_for_reading(Path({archive!r})) as (read_at, size):
        reader = open_archive(read_at, size)
        placement = extract.place(reader, extract.Wish())
        extract.extract(reader, placement, Target(folder, merge=False), told.append)
    return sum(told)
"""


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """An archive of small files, links, a large file and a giant one."""
    root = tmp_path / "tree"
    root.mkdir()
    for number in range(2000):
        write_file(root, b"d%d/f%d" % (number % 9, number), b"%d\n" % number * (number % 900))
    write_file(root, b"d3/large", b"large\n" * 500_000)
    write_file(root, b"d5/giant", b"giant\n" * 7_000_000)
    (root / "d4/link").symlink_to("f4")
    os.link(root / "d1/f1", root / "d8/hard")
    sources = [replaced(source) for source in scan(root)]
    back_up(root, tmp_path / "demo", head(), sources)
    return tmp_path / "demo"


def replaced(source: Source) -> Source:
    """Return a source as committed."""
    return msgspec.structs.replace(source, state="committed" if source.kind in ("file", "symlink") else "")


@linux
def test_processes_find_what_threads_find(archive: Path) -> None:
    """A check says the same of an archive, sound or damaged, whoever does it."""
    ask = READ.format(archive=str(archive)) + (
        "apart, together = checked(0), checked(1 << 60)\n"
        "assert apart == together\n"
        "print(len(apart[0].flaws), apart[0].files, len(apart[2]))\n"
    )
    assert said(ask).split()[:2] == ["0", "2003"]
    data = bytearray(archive.read_bytes())
    for part in (5, 20, 40):
        data[len(data) * part // 100] ^= 1
    archive.write_bytes(data)
    assert int(said(ask).split()[0]) > 3


@linux
def test_processes_write_what_threads_write(archive: Path, tmp_path: Path) -> None:
    """A restore makes the same tree, whoever does it, and tells every byte."""
    for name in ("apart", "together"):
        (tmp_path / name).mkdir()
    ask = READ.format(archive=str(archive)) + (
        f"apart = restored(0, {str(tmp_path / 'apart')!r})\n"
        f"together = restored(1 << 60, {str(tmp_path / 'together')!r})\n"
        "print(apart, together)\n"
    )
    apart, together = said(ask).split()
    assert apart == together
    assert look(tmp_path / "apart") == look(tmp_path / "together")
    assert look(tmp_path / "apart/demo") == look(tmp_path / "tree")


WRITE = """
from pathlib import Path
from backup_lib.archive import maker, writer
from tests.archive.trees import back_up, head, scan

root = Path({root!r})
sources = scan(root)
(root / "d1/f1").unlink()  # of which d8/hard is another name
(root / "d2/f2").write_bytes(b"grown to a large file" * 50_000)
os.truncate(root / "d3/large", 50_000_000)
os.truncate(root / "d5/giant", 5_000_000)

def written(worth, name):
    writer._WORTH_PROCESSES = worth
    return back_up(root, root.parent / name, head({format!r}), sources)

apart, together = written(0, "apart"), written(1 << 60, "together")
assert apart == together
print(apart.summary.counts.files, *(problem.kind for problem in apart.summary.problems))
"""


@linux
@pytest.mark.parametrize("format", FORMATS)
def test_processes_make_the_archive_that_threads_make(archive: Path, format: Format) -> None:
    """An archive is the same whoever makes its blocks, whatever changed since the scan."""
    root = archive.parent / "tree"
    assert said(WRITE.format(root=str(root), format=format)) == "2002 vanished\n"
    assert (root.parent / "apart").read_bytes() == (root.parent / "together").read_bytes()
    restore(root.parent / "apart", root.parent / "to", Wish(strip=1))
    apart = {path: thing.content for path, thing in look(root.parent / "to").items()}
    assert apart == {path: thing.content for path, thing in look(root).items()}
