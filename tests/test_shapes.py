"""Stores of each shape that was ever written: verified, restored, cleaned and backed up into, for ever."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest
from support import Run, archive_of

DATA = Path(__file__).parent / "data"
SHAPES = sorted(path.name for path in DATA.iterdir() if path.is_dir())


class Thing(NamedTuple):
    """What is at a path: of a folder no content, of a link only its target."""

    content: bytes
    mode: int = 0
    links: int = 0
    mtime: int = 0


@pytest.fixture(params=SHAPES)
def store(request: pytest.FixtureRequest, project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Copy an old store beside a project that is in no git repository."""
    shutil.rmtree(project / ".git")
    copy = project.parent / "store"
    shutil.copytree(DATA / request.param, copy, symlinks=True)
    monkeypatch.setenv("INVOKE_BACKUP_STORE", str(copy))
    monkeypatch.setenv("INVOKE_BACKUP_PROJECT", "demo")
    return copy


def archives(store: Path) -> dict[str, bytes]:
    """Return the archives of a store, links apart, with what they hold."""
    found = (path for path in store.rglob("*.tar.*") if not path.is_symlink())
    return {str(path.relative_to(store)): path.read_bytes() for path in sorted(found)}


def newest(store: Path) -> str:
    """Return the newest version that was released."""
    return "1.2.0" if (store / "v1.2.0").exists() else "1.1.0"


def unpacked(archive: Path, target: Path) -> Path:
    """Unpack an archive by stock tools."""
    target.mkdir()
    stream = subprocess.run(
        ["zstd" if archive.suffix == ".zst" else "gzip", "-dc", archive], check=True, capture_output=True
    )
    subprocess.run(["tar", "-xpf", "-", "-C", target], input=stream.stdout, check=True)
    return target


def tree(folder: Path) -> dict[bytes, Thing]:
    """Return all that is below a folder, by path."""
    top = os.fsencode(folder)
    found: dict[bytes, Thing] = {}
    for parent, folders, files in os.walk(top):
        for path in (os.path.join(parent, name) for name in folders + files):
            status = os.lstat(path)
            if stat.S_ISLNK(status.st_mode):
                thing = Thing(os.readlink(path))
            elif stat.S_ISDIR(status.st_mode):
                thing = Thing(b"", status.st_mode, mtime=int(status.st_mtime))
            else:
                content = Path(os.fsdecode(path)).read_bytes()
                thing = Thing(content, status.st_mode, status.st_nlink, int(status.st_mtime))
            found[path.removeprefix(top)] = thing
    return found


def summed(store: Path) -> set[str]:
    """Return the archives in the sums of a store, which ``sha256sum`` finds as they should be."""
    subprocess.run(["sha256sum", "--check", "--quiet", "--strict", "SHA256SUMS"], cwd=store, check=True)
    return {line[66:] for line in (store / "SHA256SUMS").read_text().splitlines()}


def test_each_shape_is_there() -> None:
    """No store of an older shape is ever taken away, nor anything out of one."""
    assert [name[0] for name in SHAPES] == [str(number + 1) for number in range(len(SHAPES))]
    assert len(SHAPES) >= 6
    for name in SHAPES:
        assert len(archives(DATA / name)) >= 9


@pytest.mark.parametrize("depth", ["full", "restore"])
def test_every_archive_is_sound(store: Path, run: Run, depth: str) -> None:
    """Each archive is found and proved, and its proof goes into the ledger behind the old lines."""
    before = (store / "ledger.jsonl").read_bytes()
    outcome = run("verify", "--all", "--depth", depth, "--json")
    assert outcome.code == 0, outcome
    proved = {each["archive"] for each in outcome.json["result"]}
    assert proved == set(archives(store))
    assert not any(each["findings"] for each in outcome.json["result"])

    ledger = (store / "ledger.jsonl").read_bytes()
    assert ledger.startswith(before)
    lines = [json.loads(line) for line in ledger.removeprefix(before).splitlines()]
    assert {line["archive"] for line in lines} == set(archives(store))
    assert {(line["act"], line["depth"], line["result"]) for line in lines} == {("prove", depth, "sound")}


def test_what_is_restored_is_what_tar_unpacks(store: Path, run: Run, tmp_path: Path) -> None:
    """Every archive comes back whole: names, modes, times, content and links, as stock tools bring them."""
    for number, name in enumerate(archives(store)):
        target = tmp_path / f"restored{number}"
        assert run("restore", "--archive", str(store / name), "--to", str(target)).code == 0
        wanted = tree(unpacked(store / name, tmp_path / f"unpacked{number}"))
        assert tree(target) == wanted
        assert b"/demo/src/server.js" in wanted


def test_manifests_prove_what_is_restored_and_what_tar_unpacks(store: Path, run: Run, tmp_path: Path) -> None:
    """``sha256sum`` takes the manifest of every version, which lists every file of its archive."""
    for folder in sorted(store.glob("v*")):
        manifest = folder / "MANIFEST.txt"
        head, _, sums = manifest.read_bytes().partition(b"\n#\n")
        [named] = re.findall(rb"^# Archive: +(.+)$", head, re.MULTILINE)
        restored = tmp_path / f"restored-{folder.name}"
        assert run("restore", "--version", folder.name[1:], "--to", str(restored)).code == 0
        for target in (restored, unpacked(folder / named.decode(), tmp_path / f"unpacked-{folder.name}")):
            check = ["sha256sum", "--check", "--quiet", "--strict", str(manifest)]
            subprocess.run(check, cwd=target, check=True)
            files = [entry for entry in tree(target).values() if stat.S_ISREG(entry.mode)]
            assert sums.count(b"\n") == len(files) > 10


def test_one_file_comes_back(store: Path, run: Run, tmp_path: Path) -> None:
    """A file of a version, a link of a daily backup, and what has an odd name are found by their paths."""
    day = max(path.name for path in store.glob("2*.tar.gz"))[:10]
    wanted = {
        ("0.9.0", "src/server.js"): b"require('http');\n",
        ("1.0.0-rc.1", "*/new.js"): b"// not yet known to git\n",
        ("0.9.0", "name-*"): b"a long name\n",
        ("1.0.0", ".env"): b"PORT=8080\n",
        (day, "twin.log"): b"a log\n",
    }
    for number, ((version, path), content) in enumerate(wanted.items()):
        target = tmp_path / str(number)
        assert run("restore", "--version", version, "--path", path, "--to", str(target)).code == 0
        found = [thing.content for thing in tree(target).values() if stat.S_ISREG(thing.mode)]
        assert found == [content]


def test_clean_keeps_the_newest_and_touches_nothing_else(store: Path, run: Run) -> None:
    """With ``--keep 1`` the newest release and all daily backups stay as they are; an older version goes."""
    before = archives(store)
    outcome = run("clean", "--keep", "1", "--json")
    assert outcome.code == 0, outcome
    after = archives(store)
    assert after.items() <= before.items()
    assert not any(name.startswith("v0.9.0/") for name in after)
    kept = {name for name in before if name.startswith((f"v{newest(store)}/", "2")) or "safety" in name}
    assert len(kept) >= 4
    assert kept <= set(after)
    assert summed(store) == set(after)
    assert run("verify", "--all").code == 0


def test_the_next_backup_is_added_to_it(store: Path, run: Run, project: Path) -> None:
    """A new release backup and a daily one are made and proved; the old ones are what they were."""
    before = archives(store)
    made = archive_of(run("backup", "--version", "3.0.0", "--json"))
    assert made.is_relative_to(store)
    daily = archive_of(run("backup", "--daily", "--json"))
    assert daily.parent == store
    after = archives(store)
    assert {name for name in before if after.get(name) != before[name]} <= {daily.name}
    assert summed(store) == set(after)
    assert run("verify", "--all").code == 0
    assert run("restore", "--to", "new").code == 0
    assert (project / "new" / "demo" / "src" / "server.js").read_bytes() == b"require('http');\n"
