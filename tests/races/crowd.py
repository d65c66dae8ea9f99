"""Many processes on one store, some of them killed: nothing is lost, mixed up or left locked."""

from __future__ import annotations

import fcntl
import json
import os
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from backup_lib.backup import Order, back_up
from backup_lib.clean import Keep, clean
from backup_lib.errors import BackupError, NoSuchBackupError, StoreHeldError
from backup_lib.restore import Request, restore
from backup_lib.store import ledger
from backup_lib.store.layout import LOCK
from backup_lib.verify import Verified, verify_all, verify_version

from .bench import Outcome, fork, invoke, make_project, place, wait_for

__all__ = ["race_in_a_crowd"]

_VERSIONS = tuple(f"1.{number}.0" for number in range(6))
_KEEP = 2


class _Worker:
    """One process that does one thing after the other."""

    def __init__(self, root: Path, log: Path, rounds: int) -> None:
        self.root = root
        self.rounds = rounds
        self._log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def say(self, what: str, **facts: Any) -> None:
        """Put down, at once, what was reported."""
        os.write(self._log, json.dumps({"what": what, **facts}).encode() + b"\n")

    def run(self) -> None:
        """Do what there is to do, as often as was asked."""
        acts = (
            [self.release] * 5 + [self.daily] * 3 + [self.clean] * 3 + [self.verify] * 3 + [self.verify_all]
        )
        acts += [self.restore] * 3 + [self.command] * 2
        for _ in range(self.rounds):
            act = random.choice(acts)
            while not self.has_done(act):
                pass  # it waited for the store already

    def has_done(self, act: Callable[[], None]) -> bool:
        """Do one thing; False where the store was held, so that nothing was done."""
        try:
            act()
            self.say(f"{act.__name__}: done")
        except StoreHeldError:
            self.say(f"{act.__name__}, held off")
            return False
        except NoSuchBackupError:
            self.say(f"{act.__name__}: no such backup")
        except BackupError as error:
            self.say("broken", why=f"{act.__name__}: {type(error).__name__}: {error}")
        except Exception as error:
            self.say("broken", why=f"{act.__name__}: {type(error).__name__}, which is no answer: {error}")
        return True

    def edit(self) -> None:
        """Change the project a little."""
        file = self.root / "src" / f"{random.randrange(20)}.txt"
        new = file.with_name(f"{file.name}.{os.getpid()}.tmp")
        new.write_bytes(os.urandom(200).hex().encode())
        new.rename(file)

    def release(self) -> None:
        """Back a version up."""
        self.edit()
        made = back_up(place(self.root), Order(random.choice(_VERSIONS)))
        self.say("published", archive=self.name_of(made.archive), sha256=made.sha256)

    def daily(self) -> None:
        """Back the day up."""
        self.edit()
        made = back_up(place(self.root), Order(daily=True))
        self.say("published", archive=self.name_of(made.archive), sha256=made.sha256)

    def clean(self) -> None:
        """Remove what is old."""
        cleaned = clean(place(self.root), Keep(_KEEP, 1))
        for fate in cleaned.fates:
            if not fate.kept:
                self.say("removed", archive=self.name_of(fate.archive))

    def verify(self) -> None:
        """Prove one."""
        self.judge(verify_version(place(self.root), random.choice([None, *_VERSIONS]), "full"))

    def verify_all(self) -> None:
        """Prove all."""
        for verified in verify_all(place(self.root), "full"):
            self.judge(verified)

    def judge(self, verified: Verified) -> None:
        """Note what a proof found wrong."""
        if verified.findings:
            self.say("broken", why=f"verify: {verified.findings[0]}")

    def restore(self) -> None:
        """Bring one back."""
        to = self.root.parent / f"restored.{os.getpid()}"
        try:
            restore(place(self.root), Request(random.choice([None, *_VERSIONS]), to=to))
        finally:
            shutil.rmtree(to, ignore_errors=True)

    def command(self) -> None:
        """Run the real command."""
        made = invoke(self.root, "backup", "--json", "--version", random.choice(_VERSIONS))
        if made.returncode == StoreHeldError.exit_code:
            raise StoreHeldError(made.stderr)
        if made.returncode:
            raise RuntimeError(f"exit {made.returncode}: {made.stderr}")
        told = json.loads(made.stdout)["result"]
        self.say("published", archive=self.name_of(told["archive"]), sha256=told["sha256"])

    def name_of(self, archive: str) -> str:
        """Return the path below the store."""
        return str(Path(archive).relative_to(self.root.parent / "store"))


def race_in_a_crowd(folder: Path, long: bool) -> Outcome:
    """Let many processes back up, clean, verify and restore on one store, and kill some at any moment."""
    outcome = Outcome("in a crowd")
    root = folder / "demo"
    files = {f"src/{number}.txt": os.urandom(100).hex().encode() for number in range(20)}
    make_project(root, files | {"large.bin": os.urandom(400_000), ".backupignore": b"*.tmp\n"})
    back_up(place(root), Order(_VERSIONS[0]))
    _Crowd(folder, 200 if long else 12, outcome).run(16 if long else 8)
    with place(root).store.writing("the end"):
        pass  # what the killed ones left is finished, or swept
    said = _said(folder)
    for each in said:
        outcome.count(each["what"])
    outcome.broken += [each["why"] for each in said if each["what"] == "broken"]
    _judge_reports(folder / "store", said, outcome)
    _judge_removals(folder / "store", outcome)
    _judge_store(folder, outcome)
    _time_the_lock(folder, 200 if long else 20, outcome)
    return outcome


class _Crowd:
    """Keeps processes at work until each did its rounds; kills one now and then, and another goes on."""

    def __init__(self, folder: Path, rounds: int, outcome: Outcome) -> None:
        self.folder = folder
        self.rounds = rounds
        self.outcome = outcome
        self.running: dict[int, Path] = {}

    def start(self, log: Path) -> None:
        """Let a process do what is left to do of what this log tells of."""
        done = sum(": " in each["what"] for each in _lines(log)) if log.exists() else 0
        if done >= self.rounds:
            return

        def work() -> None:
            os.setpgid(0, 0)  # to be killed with all that it starts
            _Worker(self.folder / "demo", log, self.rounds - done).run()

        self.running[fork(work)] = log

    def run(self, workers: int) -> None:
        """Do it, and list the store all the while."""
        for number in range(workers):
            self.start(self.folder / f"log.{number}")
        next_kill = time.monotonic()
        while self.running:
            _list(self.folder / "demo", self.outcome)
            if time.monotonic() >= next_kill:
                with suppress(ProcessLookupError):  # it has no group of its own yet
                    os.killpg(random.choice(sorted(self.running)), signal.SIGKILL)
                next_kill = time.monotonic() + random.uniform(0, 2)
            self.collect()

    def collect(self) -> None:
        """Take note of who ended."""
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        end, log = os.waitstatus_to_exitcode(status), self.running.pop(pid)
        self.outcome.expect(end in (0, -signal.SIGKILL), f"a process ended with {end}")
        if end:
            self.outcome.count("killed")
            self.start(log)


def _list(root: Path, outcome: Outcome) -> None:
    """List the store while others write it; no lock is held."""
    names = [backup.name for backup in place(root).store.backups()]
    outcome.count("listings")
    outcome.expect(len(names) == len(set(names)), f"a name is listed twice: {names}")
    outcome.expect(not any(".partial" in name for name in names), f"a listing is torn: {names}")


def _lines(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()]


def _said(folder: Path) -> list[dict[str, Any]]:
    return [each for log in sorted(folder.glob("log.*")) for each in _lines(log)]


def _judge_reports(store: Path, said: list[dict[str, Any]], outcome: Outcome) -> None:
    """Look for each backup that was reported as published."""
    book = ledger.read(store)
    removed = {each["archive"] for each in said if each["what"] == "removed"}
    for each in said:
        if each["what"] != "published":
            continue
        name = each["archive"]
        records = [record for _, record in book.records if record.archive == name]
        acts = [record.act for record in records if record.act != "prove"]
        known = [record for record in records if record.act == "publish" and record.sha256 == each["sha256"]]
        outcome.expect(bool(known), f"{name} was published, but the ledger does not know it")
        if "remove" in acts and name not in removed:
            outcome.count("removed by a clean that was killed")
        elif "remove" not in acts:
            outcome.expect((store / name).exists(), f"{name} was published, but it is lost")


def _judge_removals(store: Path, outcome: Outcome) -> None:
    """Go through the ledger: whenever one was removed, newer ones must have stood."""
    standing: dict[str, int] = {}
    for number, record in ledger.read(store).records:
        if record.act == "publish":
            standing[record.archive] = number
        elif record.act == "remove":
            standing.pop(record.archive, None)
            others = {name for name in standing if ("/" in name) == ("/" in record.archive)}
            versions = {name.split("/")[0] for name in others}
            newer = [version for version in versions if version > record.archive.split("/")[0]]
            enough = len(newer) >= _KEEP if "/" in record.archive else bool(others)
            outcome.expect(enough, f"{record.archive} was removed while only {sorted(versions)} stood")


def _judge_store(folder: Path, outcome: Outcome) -> None:
    """Look at what stands in the store at the end."""
    store = folder / "store"
    book = ledger.read(store)
    outcome.expect(not book.unreadable, f"lines of the ledger that cannot be read: {book.unreadable}")
    releases = [record.archive for _, record in book.records if record.act == "publish"]
    twice = [name for name, times in Counter(releases).items() if times > 1 and "/" in name]
    outcome.expect(not twice, f"names that were given twice: {twice}")
    left = [path.name for path in store.rglob("*.partial")]
    outcome.expect(not left, f"left behind: {left}")
    for verified in verify_all(place(folder / "demo"), "full"):
        outcome.expect(not verified.findings, f"at the end: {verified.findings[:1]}")
        outcome.count("backups at the end")


def _time_the_lock(folder: Path, times: int, outcome: Outcome) -> None:
    """Kill who holds the store, and see how long it takes until it is free."""
    slowest = 0.0
    for _ in range(times):
        holder = fork(lambda: _hold_again_and_again(folder / "demo"))
        with open(folder / "store" / LOCK, "rb") as lock:
            while str(holder).encode() not in os.pread(lock.fileno(), 4096, 0):
                pass
            for _ in range(random.randrange(100_000)):
                pass
            os.kill(holder, signal.SIGKILL)
            killed = time.monotonic()
            while not _is_free(lock.fileno()):
                pass
            slowest = max(slowest, time.monotonic() - killed)
        wait_for(holder)
    outcome.count("holders killed", times)
    outcome.count("seconds until the store was free, at most", round(slowest, 4))
    outcome.expect(slowest < 1, f"the store was free only {slowest:.2f} s after its holder was killed")


def _hold_again_and_again(root: Path) -> None:
    while True:
        back_up(place(root), Order(daily=True))


def _is_free(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
