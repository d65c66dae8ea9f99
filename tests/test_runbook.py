"""The runbook of stock tools: every line of docs/runbook.md is run, with GNU tar, bsdtar and BusyBox."""

from __future__ import annotations

import io
import os
import re
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random

import pytest
from invoke import Program
from support import clock_at, git

import tasks
from backup_lib.archive.reader import PlacedBlock, open_archive, open_for_reading

PAGE = Path(__file__).parents[1] / "docs" / "runbook.md"
TOOLS = ("GNU tar", "bsdtar", "BusyBox")
NAME = "heymarket-endpoint"
"""What the project is called on the page."""
CLONE = f"/srv/{NAME}"
"""Where the page has a clone of it: the one thing that is put in its place."""
MOMENT = 1_795_383_900
"""2026-11-22T21:45:00Z, as in the names on the page."""
LONG = "ü" * 60 + ".txt"
"""A name that no ustar header holds."""

needed = [name for name in ("tar", "bsdtar", "busybox", "zstd", "git") if shutil.which(name) is None]
pytestmark = pytest.mark.skipif(bool(needed), reason=f"{', '.join(needed)} wanted")


# --- the page


@dataclass(frozen=True)
class Line:
    """One command of the page, which may go over several lines of it."""

    command: str
    cannot: frozenset[str]
    """The tools that do not take it."""


@cache
def sections() -> dict[str, tuple[Line, ...]]:
    """Return the commands of each section by its heading; those before the first have none."""
    found: dict[str, tuple[Line, ...]] = {}
    for part in re.split(r"^## ", f"\n{PAGE.read_text()}", flags=re.MULTILINE):
        title = part.partition("\n")[0].strip()
        blocks = re.findall(r"^```(\w*)\n(.*?)^```$", part, re.MULTILINE | re.DOTALL)
        assert all(kind == "console" for kind, _ in blocks), "all that is fenced is run"
        found[title] = tuple(line for _, text in blocks for line in lines_of(text))
    return found


def lines_of(block: str) -> Iterator[Line]:
    """Yield the commands of one fenced block: ``$ `` begins one, ``> `` goes on with it."""
    for text in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command = text.rstrip("\n").replace("\n> ", "\n")
        assert "\n" not in text.rstrip("\n").replace("\n> ", ""), f"no prompt: {text}"
        command, _, named = command.partition("    # not ")
        cannot = frozenset(filter(None, named.split(", ")))
        assert cannot <= set(TOOLS), named
        yield Line(command, cannot)


# --- what it is run on


@dataclass(frozen=True)
class Desk:
    """A copy of the version's folders, a clone, and the tools of one machine."""

    folder: Path
    clone: Path
    tool: str

    @property
    def recovered(self) -> Path:
        """What is restored."""
        return self.folder / "recovered"

    @property
    def tree(self) -> Path:
        """The project in it."""
        return self.recovered / NAME

    def archive(self, version: str) -> Path:
        """An archive."""
        return next((self.folder / f"v{version}").glob(f"*_v{version}_20261122T214500Z.tar.*"))

    def run(self, lines: Sequence[Line | str]) -> list[Done]:
        """Run commands one after the other in one shell, in the machine's own words."""
        said = self.folder / "said"
        said.mkdir()
        script = []
        for number, line in enumerate(lines):
            command = (line if isinstance(line, str) else line.command).replace(CLONE, str(self.clone))
            # not around the command: dash forgets redirections of its own within a group that has some
            script.append(f"exec > {said}/{number}.out 2> {said}/{number}.err")
            script.append(f"{command}\necho $? >> {said}/codes")
        path = shells(self.tool, self.folder)
        environment = {"PATH": path, "LC_ALL": "C", "HOME": str(self.folder)}
        shell = shutil.which("sh", path=path) or "sh"
        subprocess.run([shell, "-c", "\n".join(script)], cwd=self.folder, env=environment, check=True)
        codes = (said / "codes").read_text().split()
        texts = [
            [(said / f"{at}.{way}").read_text(errors="replace") for way in ("out", "err")]
            for at in range(len(lines))
        ]
        shutil.rmtree(said)
        return [Done(int(code), *text) for code, text in zip(codes, texts, strict=True)]


@dataclass(frozen=True)
class Done:
    """How one command ended."""

    code: int
    out: str
    err: str


def shells(tool: str, folder: Path) -> str:
    """Return a PATH on which the tools are those of one machine; git and zstd are on each."""
    if tool == "GNU tar":
        return os.environ["PATH"]
    tools = folder / "tools"
    if not tools.exists():
        tools.mkdir()
        names = ["tar"] if tool == "bsdtar" else busybox_has()
        program = shutil.which("bsdtar" if tool == "bsdtar" else "busybox") or tool
        for name in names:
            (tools / name).symlink_to(program)
        for name in ("git", "zstd"):
            (tools / name).unlink(missing_ok=True)
            (tools / name).symlink_to(shutil.which(name) or name)
    return f"{tools}:{os.environ['PATH']}" if tool == "bsdtar" else str(tools)


@cache
def busybox_has() -> list[str]:
    """Return the tools that are in BusyBox."""
    return subprocess.run(["busybox", "--list"], capture_output=True, text=True, check=True).stdout.split()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with backups as the page names them: of three versions, the last with odd names."""
    root = tmp_path_factory.mktemp("made") / NAME
    with pytest.MonkeyPatch.context() as patch, clock_at(MOMENT):
        for who in ("AUTHOR", "COMMITTER"):
            patch.setenv(f"GIT_{who}_NAME", "A Tester")
            patch.setenv(f"GIT_{who}_EMAIL", "tester@example.com")
        fill(root)
        patch.chdir(root)
        invoke("release", "--version", "1.1.0")
        git(root, "checkout", "-q", "CHANGELOG.md")
        invoke("backup", "--version", "1.2.0", "--format", "zst")
        (root / "src" / LONG).write_text("long\n")
        (root / "src" / "back\\slash.txt").write_text("slash\n")
        invoke("backup", "--version", "1.3.0")
        for path in (root / "src" / LONG, root / "src" / "back\\slash.txt"):
            path.unlink()
    return root


def fill(root: Path) -> None:
    """Write a project: small files in several blocks, a large one, links, modes, an empty folder, secrets."""
    random = Random(1)
    for folder in ("src/parts", "src/later", "empty"):
        (root / folder).mkdir(parents=True)
    (root / "package.json").write_text(f'{{"name": "{NAME}", "version": "1.1.0"}}\n')
    (root / "CHANGELOG.md").write_text("# Changelog\n\n## [1.1.0] - 2026-11-22\n")
    (root / ".env").write_text("SECRET=1\n")
    (root / ".gitignore").write_text(".env\nbackups/\n")
    (root / "src" / "app.config.js").write_text("module.exports = {};\n")
    (root / "src" / "server.js").write_text("require('http');\n")
    (root / "src" / "first.js").write_text("one file, two names\n")
    (root / "src" / "twin.js").hardlink_to(root / "src" / "first.js")
    (root / "src" / "Zürich.txt").write_text("grüezi\n")
    (root / "src" / f"{'n' * 120}.txt").write_text("long\n")
    (root / "src" / "with space.txt").write_text("space\n")
    (root / "link").symlink_to("src/server.js")
    (root / "run.sh").write_text("#!/bin/sh\n")
    (root / "run.sh").chmod(0o755)
    (root / "src" / "large.bin").write_bytes(random.randbytes(3 << 20))
    for folder in ("parts", "later"):
        for number in range(12):
            (root / "src" / folder / f"{number}.bin").write_bytes(random.randbytes(40_000))
    git(root, "init", "-q")
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "First")


def invoke(*arguments: str) -> None:
    """Run a task that has to succeed."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        Program(namespace=tasks.ns, version="3").run(["invoke", *arguments])  # which exits where it fails


@pytest.fixture(params=TOOLS)
def desk(made: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Desk:
    """A fresh copy of the backups, for one of the tools."""
    for version in ("1.1.0", "1.2.0", "1.3.0"):
        shutil.copytree(made / "backups" / f"v{version}", tmp_path / f"v{version}", symlinks=True)
    shutil.copy(made / "backups" / "SHA256SUMS", tmp_path)
    return Desk(tmp_path, made, request.param)


def told(folder: Path) -> dict[str, object]:
    """Return what stands below a folder: kind and mode of each thing, and its content or target."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if name.split("/")[0] in (".git", "backups"):
            continue
        if path.is_symlink():
            found[name] = os.readlink(path)
        else:
            found[name] = (stat.S_IMODE(path.stat().st_mode), path.read_bytes() if path.is_file() else b"")
    return found


# --- what each section has to come to


def is_all(desk: Desk, done: list[Done]) -> None:
    """The tree is the project's own."""
    expected, found = told(desk.clone), told(desk.tree)
    assert found == expected


def is_one_file(desk: Desk, done: list[Done]) -> None:
    """Nothing but the file, and one more where it was asked for."""
    assert [path.name for path in desk.recovered.rglob("*") if path.is_file()] == ["server.js"]
    assert (desk.folder / ".env").read_text() == "SECRET=1\n"
    assert f"{NAME}/src/server.js\n" in done[0].out


def is_the_configuration(desk: Desk, done: list[Done]) -> None:
    """The same by patterns and by names."""
    files = {str(path.relative_to(desk.recovered)) for path in desk.recovered.rglob("*") if path.is_file()}
    assert files == {"package.json", "src/app.config.js", ".env"}
    assert (desk.recovered / "package.json").read_bytes() == (desk.clone / "package.json").read_bytes()


def is_a_pair(desk: Desk, done: list[Done]) -> None:
    """Both names of one file."""
    assert f"{NAME}/src/first.js" in done[1].out
    assert (desk.tree / "src/twin.js").samefile(desk.tree / "src/first.js")
    assert (desk.tree / "src/twin.js").read_text() == "one file, two names\n"


def is_the_commit(desk: Desk, done: list[Done]) -> None:
    """All four lines show it."""
    commit = git(desk.clone, "rev-parse", "HEAD")
    assert [commit in each.out for each in done] == [True] * 4


def is_as_in_git(desk: Desk, done: list[Done]) -> None:
    """Nothing differs; what is ignored is shown."""
    assert done[-2].out == ""
    assert done[-1].out.split() == [".env"]


def is_proved(desk: Desk, done: list[Done]) -> None:
    """No file and no archive fails."""
    assert not any("FAILED" in each.out + each.err for each in done)


def is_the_same(desk: Desk, done: list[Done]) -> None:
    """No difference is shown."""
    assert done[-2].out == ""
    assert desk.tool != "GNU tar" or done[-1].out == ""


def is_odd(desk: Desk, done: list[Done]) -> None:
    """The odd names are there."""
    assert (desk.tree / "src" / LONG).read_text() == "long\n"
    assert (desk.tree / "src" / "back\\slash.txt").read_text() == "slash\n"


def is_saved(desk: Desk, done: list[Done]) -> None:
    """Where nothing is damaged, nothing is lost; BusyBox reads that, too, since it has no gap."""
    if desk.tool == "BusyBox":
        desk.run(["cd v1.1.0; tar -xf saved.tar -C ../recovered"])
    assert told(desk.tree) == told(desk.clone)


CHECKS: dict[str, Callable[[Desk, list[Done]], None]] = {
    "Everything": is_all,
    "Everything, from a .tar.zst": is_all,
    "One file": is_one_file,
    "Some files, or the configuration": is_the_configuration,
    "A hard link alone": is_a_pair,
    "The commit": is_the_commit,
    "Compare with git": is_as_in_git,
    "Prove the archive": is_proved,
    "Prove the files": is_proved,
    "What sha256sum does not see": is_the_same,
    "Odd names": is_odd,
    "A damaged .tar.gz": is_saved,
    "A damaged .tar.zst": is_saved,
}


def of_section(desk: Desk, title: str, which: Callable[[Line], bool], *tampering: str) -> list[Done]:
    """Run the lines of a section that are asked for; one that is left out ends well, and says nothing.

    What tampers with the tree comes behind the last line that extracts all of it.
    """
    begin, lines = sections()[""], sections()[title]
    chosen: list[Line | str] = [line if which(line) else "true" for line in lines]
    at = 1 + max(number for number, line in enumerate(lines) if " -xzf " in line.command) if tampering else 0
    done = desk.run([*begin, *chosen[:at], *tampering, *chosen[at:]])[len(begin) :]
    return [*done[:at], *done[at + len(tampering) :]]


def test_every_section_is_checked() -> None:
    """What is added to the page is said here to do something; no section has nothing to run."""
    assert set(sections()) == {"", *CHECKS}
    assert all(sections().values())


@pytest.mark.parametrize("title", CHECKS)
def test_every_line_does_what_the_page_says(desk: Desk, title: str) -> None:
    """The lines that a tool takes end well, and come to what is wanted."""
    done = of_section(desk, title, lambda line: desk.tool not in line.cannot)
    for line, each in zip(sections()[title], done, strict=True):
        assert each.code == 0, (line, each)
    CHECKS[title](desk, done)


@pytest.mark.parametrize(
    "title", [title for title, lines in sections().items() if any(each.cannot for each in lines)]
)
def test_a_tool_cannot_where_the_page_says_so(desk: Desk, title: str) -> None:
    """What a line is said not to be for complains, or fails."""
    done = of_section(desk, title, lambda line: True)
    for line, each in zip(sections()[title], done, strict=True):
        assert desk.tool not in line.cannot or each.code or each.err, (line, each)


# --- what the checks of the page see, and what they do not

TAMPERING = {
    "a file changed": f"printf x >> ../recovered/{NAME}/src/server.js",
    "a file missing": f"rm ../recovered/{NAME}/src/server.js",
    "a file too many": f"touch ../recovered/{NAME}/src/extra.js",
    "a link missing": f"rm ../recovered/{NAME}/link",
    "a link that leads elsewhere": f"ln -sf src/first.js ../recovered/{NAME}/link",
    "a folder missing": f"rmdir ../recovered/{NAME}/empty",
    "a mode changed": f"chmod 600 ../recovered/{NAME}/run.sh",
}
SUMS_SEE = {"a file changed", "a file missing"}
NAMES_DO_NOT = {"a file changed"}
GIT_DOES_NOT = {"a folder missing"}


@pytest.mark.parametrize("what", TAMPERING)
def test_sha256sum_sees_what_the_page_says_and_no_more(desk: Desk, what: str) -> None:
    """It proves the files that the manifest names, and looks at no link, folder, mode or file too many."""
    done = of_section(desk, "Prove the files", lambda line: desk.tool not in line.cannot, TAMPERING[what])
    assert bool(done[-1].code) == (what in SUMS_SEE), done
    assert desk.tool == "BusyBox" or bool(done[-2].code) == (what in SUMS_SEE), done


@pytest.mark.parametrize("what", TAMPERING)
def test_names_modes_and_links_show_what_sha256sum_does_not(desk: Desk, what: str) -> None:
    """Comparing with a second extraction shows all the rest; with GNU tar's own, all but what is too many."""
    title = "What sha256sum does not see"
    done = of_section(desk, title, lambda line: desk.tool not in line.cannot, TAMPERING[what])
    assert bool(done[-2].out) == (what not in NAMES_DO_NOT), done
    assert desk.tool != "GNU tar" or bool(done[-1].code) == (what != "a file too many"), done


@pytest.mark.parametrize("what", TAMPERING)
def test_git_shows_what_is_other_than_in_the_commit(desk: Desk, what: str) -> None:
    """The first command what differs, the second what is too many; git knows no empty folders."""
    begin = ("Compare with git", lambda line: True)
    done = of_section(desk, *begin, f"cd ../v1.1.0; {TAMPERING[what]}; cd ../recovered/{NAME}")
    seen = bool(done[-2].out) or done[-1].out.split() != [".env"]
    assert seen == (what not in GIT_DOES_NOT), done


def test_only_the_sum_proves_the_archive(desk: Desk) -> None:
    """A byte that is flipped, and members that were cut off; gzip does not miss those."""
    archive = desk.archive("1.1.0")
    data = archive.read_bytes()
    for damaged, gzip_sees in (
        (data[:5000] + bytes([data[5000] ^ 1]) + data[5001:], True),
        (data[: cut(archive)], False),
    ):
        archive.write_bytes(damaged)
        done = of_section(desk, "Prove the archive", lambda line: True)
        assert done[0].code, done
        assert bool(done[1].code) == gzip_sees, done
        shutil.rmtree(desk.recovered)


# --- salvage


def blocks(archive: Path) -> list[PlacedBlock]:
    """Return the blocks of an archive."""
    with open_for_reading(archive) as (read_at, size):
        reader = open_archive(read_at, size)
        assert reader is not None
        return list(reader.blocks())


def cut(archive: Path) -> int:
    """Return where the last third of the blocks begins."""
    found = blocks(archive)
    return found[len(found) * 2 // 3].offset


def flip(archive: Path, *places: int) -> None:
    """Invert some bytes."""
    data = bytearray(archive.read_bytes())
    for place in places:
        data[place] ^= 0xFF
    archive.write_bytes(data)


def small(archive: Path) -> PlacedBlock:
    """Return a block of small files that has others on both sides."""
    return [each for each in blocks(archive) if len(each.entries()) > 1][1]


def large(archive: Path) -> list[PlacedBlock]:
    """Return the blocks of the large file: its header, then its pieces."""
    found = blocks(archive)
    first = next(
        at for at, each in enumerate(found) if [one.path for one in each.entries()] == [b"src/large.bin"]
    )
    return [
        found[first],
        *(each for each in found[first + 1 :] if each.is_empty and each.end != found[-1].end),
    ]


DAMAGE: dict[str, Callable[[Path], object]] = {
    "in a block of small files": lambda archive: flip(archive, small(archive).offset + 1000),
    "where such a block begins": lambda archive: flip(archive, small(archive).offset),
    "at the end of such a block": lambda archive: flip(archive, small(archive).end - 6),
    "in a piece of a large file": lambda archive: flip(archive, large(archive)[2].offset + 1000),
    "where a piece begins": lambda archive: flip(archive, large(archive)[2].offset + 2),
    "in its header": lambda archive: flip(archive, large(archive)[0].offset + 30),
    "at several places": lambda archive: flip(
        archive, small(archive).offset + 99, large(archive)[1].offset + 99
    ),
    "in the index": lambda archive: flip(archive, blocks(archive)[-1].end + 40),
    "in the first block": lambda archive: flip(archive, 40),
}


def lost_by(archive: Path, sound: bytes, where: str) -> set[str]:
    """Return the paths that a damaged archive lost, by what the sound one says of its blocks."""
    data = archive.read_bytes()
    archive.write_bytes(sound)
    found, end = blocks(archive), large(archive)[-1].end
    archive.write_bytes(data)
    lost = {
        at for at, each in enumerate(found) if data[each.offset : each.end] != sound[each.offset : each.end]
    }
    if "begins" in where and archive.name.endswith(".zst"):
        lost |= {at - 1 for at in lost}
    if where == "where a piece begins" and archive.name.endswith(".zst"):
        lost |= {at for at, each in enumerate(found) if end <= each.offset < end + (1 << 20)}
    return {os.fsdecode(path) for at in lost for path in begun_in(found, at)}


def begun_in(found: list[PlacedBlock], at: int) -> set[bytes]:
    """Return the paths of what begins in a block, or runs on in it."""
    while found[at].is_empty and at:
        at -= 1
    entries = found[at].entries()
    return {entry.path for entry in entries}


@pytest.mark.parametrize("where", DAMAGE)
@pytest.mark.parametrize(
    ("title", "version"), [("A damaged .tar.gz", "1.1.0"), ("A damaged .tar.zst", "1.2.0")]
)
def test_salvage_loses_what_the_page_says_and_no_more(
    desk: Desk, where: str, title: str, version: str
) -> None:
    """All else is as it was; BusyBox reads it up to the first gap, and another tar reads what it saved."""
    archive = desk.archive(version)
    sound = archive.read_bytes()
    DAMAGE[where](archive)
    lost = lost_by(archive, sound, where)
    done = of_section(desk, title, lambda line: desk.tool not in line.cannot)
    assert not any(each.code for each in done[:-1]), done
    if desk.tool == "BusyBox":
        desk = Desk(desk.folder, desk.clone, "GNU tar")
        desk.run(["cd v1.1.0", sections()[title][-1]])
    expected, found = told(desk.clone), told(desk.tree)
    assert {name for name in expected if expected[name] != found.get(name)} <= lost
    assert found.keys() <= expected.keys()
    if where == "in a piece of a large file":
        assert (desk.tree / "src/large.bin").stat().st_size == 3 << 20


def test_salvage_of_an_archive_that_was_cut_off(desk: Desk) -> None:
    """What stands before the cut comes back; tar itself gets as far."""
    for title, version in (("A damaged .tar.gz", "1.1.0"), ("A damaged .tar.zst", "1.2.0")):
        archive = desk.archive(version)
        end = cut(archive)
        kept = {
            os.fsdecode(entry.path) for each in blocks(archive) if each.end <= end for entry in each.entries()
        }
        os.truncate(archive, end + 100)
        of_section(desk, title, lambda line: desk.tool not in line.cannot)
        if desk.tool == "BusyBox":
            desk.run(["cd v1.1.0; tar -xf saved.tar -C ../recovered"])
        expected, found = told(desk.clone), told(desk.tree)
        assert kept - {"", "src/large.bin"} <= {
            name for name in expected if expected[name] == found.get(name)
        }
        assert len(found) < len(expected)
        shutil.rmtree(desk.recovered)
