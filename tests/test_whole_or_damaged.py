"""An archive of ours that does not fit is damage wherever it lies, and says what is lost; nobody else's is.

Each is judged from its bytes alone: by its path, with no ledger and no manifest that knows it.
"""

from __future__ import annotations

import gzip
import io
import itertools
import os
import random
import shutil
import struct
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import zstandard
from archive.trees import back_up, head, look, reading, write_file
from support import Outcome, Run, archive_of

from backup_lib.errors import printable
from backup_lib.model import Format

DATA = Path(__file__).parent / "data"
SHAPES = {
    "gz": None,
    "zst": None,
    "gz of version 1": "6-parts-of-65000/v0.9.0",
    "zst of version 1": "6-parts-of-65000/v1.0.0",
    "gz of the first shape": "2-index-in-one-piece/v1.1.0",
    "zst of the first shape": "2-index-in-one-piece/v1.0.0",
}


@dataclass(frozen=True)
class Whole:
    """An archive before anything happened to it."""

    format: Format
    top: str
    blocks: tuple[bytes, ...]
    paths: tuple[tuple[str, ...], ...]
    """What is lost with each block: paths below the top folder, hard links to its files with them."""
    index: bytes
    """What carries the index."""
    trailer: bytes
    """What carries the trailer."""
    table: bytes
    """The seek table of a zst."""
    is_marked: bool
    """Whether its start tells that it is ours."""

    @property
    def stream(self) -> bytes:
        """All blocks."""
        return b"".join(self.blocks)

    @property
    def end(self) -> bytes:
        """All that follows them."""
        return self.index + self.trailer + self.table

    @property
    def data(self) -> bytes:
        """All of it."""
        return self.stream + self.end


def _taken_apart(archive: Path, format: Format) -> Whole:
    with reading(archive) as reader:
        data = archive.read_bytes()
        placed = list(reader.blocks())
        entries = [block.entries() for block in placed]
        links = {each.path: each.link for some in entries for each in some if each.kind == "hardlink"}
        lost = []
        for number, some in enumerate(entries):
            run = number  # a block in which nothing begins belongs to the large file before it
            while run and not entries[run] and number + 1 < len(placed):
                run -= 1
            paths = {each.path for each in entries[run] if some or each.size > 262_144}
            paths |= {link for link, file in links.items() if file in paths}
            lost.append(tuple(sorted(os.fsdecode(path) for path in paths)))
        end = data[reader.trailer.offset :]
        at = end.rindex(reader.trailer.to_bytes()) - (24 if format == "gz" else 8)
        length = 90 if format == "gz" else 64
        return Whole(
            format=format,
            top=reader.header.project,
            blocks=tuple(data[block.offset : block.end] for block in placed),
            paths=tuple(lost),
            index=end[:at],
            trailer=end[at : at + length],
            table=end[at + length :],
            is_marked=format == "gz" or reader.trailer.version > 1,
        )


@pytest.fixture(scope="module", params=SHAPES)
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """Return an archive of some blocks, with an index over 16,000 bytes, a large file and a hard link."""
    packed: Format = "gz" if request.param.startswith("gz") else "zst"
    if folder := SHAPES[request.param]:
        [archive] = (path for path in (DATA / folder).glob("*.tar.*") if not path.is_symlink())
        return _taken_apart(archive, packed)
    root = tmp_path_factory.mktemp("tree")
    for number in range(600):
        write_file(root, b"src/%d.js" % number, b"%d\n" % number * 9)
    write_file(root, b"large", random.Random(1).randbytes(300_000))
    os.link(root / "large", root / "src" / "same")
    archive = root.parent / f"demo.tar.{packed}"
    back_up(root, archive, head(packed))
    return _taken_apart(archive, packed)


Damages = Iterator[tuple[bytes, tuple[str, ...] | None]]
"""Bytes, and what they have lost; None where nothing tells that any more, or where more may be named."""


def _dropped(whole: Whole) -> Damages:
    for at, paths in enumerate(whole.paths):
        yield b"".join(whole.blocks[:at] + whole.blocks[at + 1 :]) + whole.end, paths


def _doubled(whole: Whole) -> Damages:
    for at in range(len(whole.blocks)):
        yield b"".join(whole.blocks[: at + 1] + whole.blocks[at:]) + whole.end, ()


def _swapped(whole: Whole) -> Damages:
    for at, (one, other) in enumerate(itertools.pairwise(whole.blocks)):
        if one != other:
            yield b"".join((*whole.blocks[:at], other, one, *whole.blocks[at + 2 :])) + whole.end, None


def _flipped(data: bytes) -> Iterator[bytes]:
    for number, at in enumerate([*range(0, len(data) - 1, len(data) // 4 + 1), len(data) - 1]):
        yield data[:at] + bytes([data[at] ^ (0x01, 0xFF)[number % 2]]) + data[at + 1 :]


def _without_trailer(whole: Whole) -> Damages:
    yield whole.stream + whole.index + whole.table, ()
    yield whole.stream + whole.index, ()
    for trailer in _flipped(whole.trailer):
        yield whole.stream + whole.index + trailer + whole.table, ()


def _without_index(whole: Whole) -> Damages:
    yield whole.stream + whole.trailer + whole.table, None
    for index in _flipped(whole.index):
        yield whole.stream + index + whole.trailer + whole.table, None


def _without_table(whole: Whole) -> Damages:
    if whole.table:
        yield whole.stream + whole.index + whole.trailer, ()
        for table in _flipped(whole.table):
            yield whole.stream + whole.index + whole.trailer + table, ()


def _appended(whole: Whole) -> Damages:
    empty = gzip.compress(b"") if whole.format == "gz" else zstandard.compress(b"")
    for more in (b"x", bytes(600), empty, b"\x50\x2a\x4d\x18\1\0\0\0x", whole.blocks[-1]):
        yield whole.data + more, ()
    yield b"x" + whole.data, ()
    yield whole.blocks[0] + whole.data, ()


def _cut(whole: Whole) -> Damages:
    data, middle = whole.data, len(whole.stream) // 2
    yield data[:-1], ()
    yield data[1:], whole.paths[0]
    yield data[:middle] + data[middle + 1 :], None
    yield data[:middle] + data[middle + middle // 3 :], None
    if whole.is_marked:
        yield data[: len(whole.stream) // 2], None
        yield whole.stream, None
    yield whole.stream + whole.index[: len(whole.index) // 2], None


DAMAGES: dict[str, Callable[[Whole], Damages]] = {
    "a block is dropped": _dropped,
    "a block is doubled": _doubled,
    "two blocks are swapped": _swapped,
    "the trailer is lost": _without_trailer,
    "the index is lost": _without_index,
    "the seek table is lost": _without_table,
    "bytes are added": _appended,
    "bytes are cut out": _cut,
}


@pytest.fixture(autouse=True)
def no_repository(project: Path) -> None:
    """No repository says anything of the commit that an archive names."""
    shutil.rmtree(project / ".git")


def restored(run: Run, archive: Path, to: Path, *arguments: str) -> Outcome:
    """Restore an archive by its path."""
    return run("restore", "--archive", str(archive), "--to", str(to), *arguments)


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_ours_and_does_not_fit_is_damage(damage: str, whole: Whole, run: Run, tmp_path: Path) -> None:
    """Whatever is dropped, doubled, swapped, flipped, added or cut: exit 4, and the list of what is lost."""
    archive, to = tmp_path / f"copy.tar.{whole.format}", tmp_path / "to"
    for number, (data, lost) in enumerate(DAMAGES[damage](whole)):
        archive.write_bytes(data)
        verified = run("verify", "--archive", str(archive), "--json")
        assert verified.code == 4, (number, verified)
        if lost is not None:
            named = {finding.get("file") for finding in verified.json["result"]["findings"]} - {None}
            assert named == {path or "the top folder" for path in map(printable, lost)}, number
        outcome = restored(run, archive, to)
        assert outcome.code == 4, (number, outcome)
        assert len(outcome.err.splitlines()) == 1
        assert not to.exists()


def test_undamaged_it_is_whole(whole: Whole, run: Run, tmp_path: Path) -> None:
    """The bench can tell good from bad."""
    archive = tmp_path / f"copy.tar.{whole.format}"
    archive.write_bytes(whole.data)
    assert run("verify", "--archive", str(archive)).code == 0
    assert restored(run, archive, tmp_path / "to").code == 0


# --- where it is ours for sure: in a store


@pytest.mark.parametrize("format", ["gz", "zst"])
@pytest.mark.parametrize("kind", ["--daily", "--version=1.1.0"])
@pytest.mark.parametrize("ledger", [True, False])
def test_in_a_store_too(
    kind: str, format: Format, ledger: bool, project: Path, run: Run, tmp_path: Path
) -> None:
    """A daily backup and that of a version, with the ledger and without: exit 4, and what is lost."""
    (project / "large").write_bytes(random.Random(1).randbytes(300_000))
    archive = archive_of(run("backup", kind, "--format", format, "--json"))
    whole = _taken_apart(archive, format)
    if not ledger:
        (project / "backups" / "ledger.jsonl").unlink()
        (archive.parent / "MANIFEST.txt").unlink(missing_ok=True)
    which = () if ledger else ("--archive", str(archive))
    for damage in DAMAGES.values():
        for data, lost in itertools.islice(damage(whole), 2):
            archive.write_bytes(data)
            verified = run("verify", "--json", *which)
            assert verified.code == 4, verified
            named = {finding.get("file") for finding in verified.json["result"]["findings"]} - {None}
            assert lost is None or named == {path or "the top folder" for path in lost}
            assert run("restore", "--to", str(tmp_path / "to"), *which).code == 4
            assert not (tmp_path / "to").exists()


# --- and what to do then


def _advice(outcome: Outcome) -> str:
    """Return what one line of a refusal says after the cause."""
    assert outcome.code == 4, outcome
    assert len(outcome.err.splitlines()) == 1
    return outcome.err.strip().rpartition("; ")[2]


@pytest.mark.parametrize("name", ["a block is dropped", "a block is doubled", "the trailer is lost"])
def test_with_an_index_path_brings_back_the_rest(name: str, whole: Whole, run: Run, tmp_path: Path) -> None:
    """The line says that `--path` brings back what is not lost, and it does."""
    archive = tmp_path / f"copy.tar.{whole.format}"
    data, _ = next(case for case in DAMAGES[name](whole) if not case[1] or ".env" not in case[1])
    archive.write_bytes(data)
    assert _advice(restored(run, archive, tmp_path / "all")) == "--path brings back the rest"
    sound = restored(run, archive, tmp_path / "some", "--path", "*.js")
    assert sound.code == 0, sound
    assert list((tmp_path / "some").glob("demo/src/*.js"))
    if name != "a block is dropped":
        assert restored(run, archive, tmp_path / "every", "--path", "*").code == 0
        archive.write_bytes(whole.data)
        assert restored(run, archive, tmp_path / "whole").code == 0
        assert look(tmp_path / "every") == look(tmp_path / "whole")


def test_a_lost_file_is_named_with_its_hard_links(run: Run, tmp_path: Path) -> None:
    """Restore says so for the file and for the link alone, and no `--path` is advised to who used it."""
    root = tmp_path / "tree"
    root.mkdir()
    write_file(root, b"src/large", random.Random(1).randbytes(300_000))
    write_file(root, b"src/one", b"one")
    for link in (b"a link", b"b link"):
        os.link(root / "src" / "large", root / "src" / os.fsdecode(b"z " + link))
    archive = tmp_path / "demo.tar.gz"
    back_up(root, archive, head("gz"))
    whole = _taken_apart(archive, "gz")
    large = next(at for at, paths in enumerate(whole.paths) if "src/large" in paths)
    archive.write_bytes(b"".join(whole.blocks[:large] + whole.blocks[large + 1 :]) + whole.end)

    found = run("verify", "--archive", str(archive), "--json").json["result"]["findings"]
    told = {finding["file"]: finding["what"] for finding in found if finding.get("file")}
    assert told.keys() == {"src/large", "src/z a link", "src/z b link"}
    assert "src/large" in told["src/z b link"]
    for wanted, line in {
        "src/large": "src/large cannot be read back as it was",
        "src/": "src/large, and with it the hard link demo/src/z a link and 1 more, cannot",
        "z b link": "src/large, and with it the hard link demo/src/z b link, cannot",
    }.items():
        outcome = restored(run, archive, tmp_path / "to", "--path", wanted)
        assert line in outcome.err
        assert _advice(outcome) == "what it does not name comes back"
    assert restored(run, archive, tmp_path / "to", "--path", "src/one").code == 0


@pytest.mark.parametrize("format", ["gz", "zst"])
def test_without_an_index_tar_reads_up_to_the_damage(format: Format, run: Run, tmp_path: Path) -> None:
    """The line gives a command, with `--path` as without, and it does what it says."""
    root = tmp_path / "tree"
    root.mkdir()
    for number in range(40):
        write_file(root, b"src/%02d" % number, random.Random(number).randbytes(40_000))
    archive = tmp_path / f"demo.tar.{format}"
    back_up(root, archive, head(format))
    archive.write_bytes(archive.read_bytes()[:1_000_000])
    for number, more in enumerate(([], ["--path", "src/01"])):
        advice = _advice(restored(run, archive, tmp_path / "to", *more))
        assert advice == f"tar brings back what it can: tar -xf {archive}"
        (tmp_path / f"tar{number}").mkdir()
        command = advice.partition(": ")[2].split()
        subprocess.run(command, cwd=tmp_path / f"tar{number}", capture_output=True, check=False)
        found = {path.name: path.read_bytes() for path in (tmp_path / f"tar{number}/demo/src").iterdir()}
        assert len(found) > 15
        assert found["01"] == random.Random(1).randbytes(40_000)
    verified = run("verify", "--archive", str(archive))
    assert verified.code == 4
    assert "its index is lost, so only tar reads it, up to the damage" in verified.out


# --- what others made


def _tar(root: Path) -> bytes:
    root.mkdir()
    for number in range(30):
        write_file(root, b"src/%02d" % number, random.Random(number).randbytes(20_000))
    done = subprocess.run(["tar", "-C", root, "-cf", "-", "src"], capture_output=True, check=True)
    return done.stdout


def _seekable(
    data: bytes, length: int, states_size: bool, checksums: bool, between: bytes = b""
) -> list[bytes]:
    """Return frames with a seek table over them, as zstd's contrib/seekable_format writes them."""
    frames, table = [], b""
    for at in range(0, len(data), length):
        piece = data[at : at + length]
        compressor = zstandard.ZstdCompressor(write_content_size=states_size).compressobj(
            *([len(piece)] if states_size else [])
        )
        frames.append(compressor.compress(piece) + compressor.flush())
        table += struct.pack("<II", len(frames[-1]), len(piece)) + bytes(4 * checksums)
    foot = struct.pack("<IBI", len(frames), 0x80 * checksums, 0x8F92EAB1)
    table = struct.pack("<II", 0x184D2A5E, len(table) + len(foot)) + table + foot
    return [*frames, between, table]


def _piped(*command: str) -> Callable[[bytes], bytes]:
    return lambda data: subprocess.run(command, input=data, capture_output=True, check=True).stdout


FOREIGN: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "several gzip members": lambda data: gzip.compress(data[:100_000]) + gzip.compress(data[100_000:]),
    "zstd": _piped("zstd", "-qc"),
    "pzstd": _piped("pzstd", "-qc"),
    "several frames": lambda data: zstandard.compress(data[:100_000]) + zstandard.compress(data[100_000:]),
    "seekable": lambda data: b"".join(_seekable(data, 65_536, True, False)),
    "seekable with checksums": lambda data: b"".join(_seekable(data, 65_536, True, True)),
    "seekable without sizes": lambda data: b"".join(_seekable(data, 65_536, False, False)),
    "a frame of somebody": lambda data: b"\x50\x2a\x4d\x18\4\0\0\0RBKX" + zstandard.compress(data),
    "an empty frame first": lambda data: b"\x5f\x2a\x4d\x18\0\0\0\0" + zstandard.compress(data),
    "none": lambda data: data,
}


@pytest.mark.parametrize("maker", FOREIGN)
def test_honest_archives_of_others(maker: str, run: Run, tmp_path: Path) -> None:
    """They verify and restore with exit 0, also one that is seekable: that format is anybody's."""
    archive = tmp_path / "foreign"
    archive.write_bytes(FOREIGN[maker](_tar(tmp_path / "tree")))
    assert run("verify", "--archive", str(archive)).code == 0
    assert restored(run, archive, tmp_path / "to").code == 0
    assert (tmp_path / "to/src/07").read_bytes() == random.Random(7).randbytes(20_000)


@pytest.mark.parametrize("packer", ["gzip", "zstd", "none"])
@pytest.mark.parametrize("format", ["gz", "zst"])
def test_an_archive_of_our_archives_is_not_ours(
    packer: str, format: Format, run: Run, tmp_path: Path
) -> None:
    """What tar makes of a folder of backups holds ours as they are, and is sound."""
    write_file(tmp_path, b"tree/a", random.Random(1).randbytes(300_000))
    (tmp_path / "store").mkdir()
    for name in ("one", "two"):
        back_up(tmp_path / "tree", tmp_path / "store" / f"{name}.tar.{format}", head(format))
    tar = subprocess.run(["tar", "-C", tmp_path, "-cf", "-", "store"], capture_output=True, check=True)
    archive = tmp_path / "foreign"
    archive.write_bytes(FOREIGN[packer](tar.stdout))
    assert run("verify", "--archive", str(archive)).code == 0
    assert restored(run, archive, tmp_path / "to").code == 0


@pytest.mark.parametrize("states_size", [True, False])
@pytest.mark.parametrize("checksums", [True, False])
@pytest.mark.parametrize("change", ["dropped", "doubled", "swapped", "sizes", "cut", "added"])
def test_a_seek_table_that_does_not_fit(
    change: str, states_size: bool, checksums: bool, run: Run, tmp_path: Path
) -> None:
    """It is damage of anybody's archive, though what is left may be a sound tar stream."""
    *frames, _, table = _seekable(_tar(tmp_path / "tree"), 65_536, states_size, checksums)
    width = 12 if checksums else 8
    parts = {
        "dropped": [*frames[:3], *frames[4:], table],
        "doubled": [*frames[:3], *frames[2:], table],
        "swapped": [*frames[:-2], frames[-1], frames[-2], table],
        "sizes": [*frames, table[: 8 + 2 * width + 4] + b"\1" + table[8 + 2 * width + 5 :]],
        "cut": [*frames[:-1], frames[-1][:-1], table],
        "added": [*frames, zstandard.compress(b""), zstandard.compress(bytes(1024)), table],
    }
    archive = tmp_path / "foreign.tar.zst"
    archive.write_bytes(b"".join(parts[change]))
    assert run("verify", "--archive", str(archive)).code == 4
    assert restored(run, archive, tmp_path / "to").code == 4
    assert not (tmp_path / "to").exists()


def test_a_frame_that_is_cut_off_is_damage(run: Run, tmp_path: Path) -> None:
    """Also where only its checksum is lost, or a frame without content: zstd says so, too."""
    data = zstandard.ZstdCompressor(write_checksum=True).compress(_tar(tmp_path / "tree"))
    archive = tmp_path / "foreign.tar.zst"
    for bytes_left in (data[:-1], data[:-4], data + b"\x5f\x2a\x4d\x18\4\0\0\0abc"):
        archive.write_bytes(bytes_left)
        assert subprocess.run(["zstd", "-qt", archive], capture_output=True, check=False).returncode
        assert run("verify", "--archive", str(archive)).code == 4
        assert restored(run, archive, tmp_path / "to").code == 4


@pytest.mark.parametrize("keys", [("path", "path"), ("path", "mtime"), ("comment", "comment")])
def test_ambiguous_headers_are_damage(keys: tuple[str, str], run: Run, tmp_path: Path) -> None:
    """Two extended headers before one member are refused with exit 4, in one line that says why."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for key in keys:
            record = f" {key}=1000\n"
            info = tarfile.TarInfo("header")
            info.type, info.size = tarfile.XHDTYPE, len(record) + 2
            tar.addfile(info, io.BytesIO(f"{len(record) + 2}{record}".encode()))
        tar.addfile(tarfile.TarInfo("member"))
    archive = tmp_path / "foreign.tar.gz"
    archive.write_bytes(gzip.compress(stream.getvalue()))
    verified = run("verify", "--archive", str(archive))
    outcome = restored(run, archive, tmp_path / "to")
    assert (verified.code, outcome.code) == (4, 4)
    for text in (verified.out.splitlines()[0], outcome.err):
        assert "several extended headers stand before one member" in text
    assert len(outcome.err.splitlines()) == 1
    assert not (tmp_path / "to").exists()


# --- and stock tools read ours


@pytest.mark.parametrize(
    "command",
    [
        "gzip -t {gz}",
        "busybox gzip -t {gz}",
        "busybox gunzip -t {gz}",
        "tar -xzf {gz}",
        "tar -xf {gz}",
        "bsdtar -xf {gz}",
        "busybox tar -xzf {gz}",
        "zstd -qt {zst}",
        "tar --zstd -xf {zst}",
        "tar -xf {zst}",
        "bsdtar -xf {zst}",
        "zstd -qdc {zst} | busybox tar -x",
    ],
)
def test_stock_tools_read_a_large_index(command: str, tmp_path: Path) -> None:
    """Without a word of complaint: no extra field is too long for BusyBox, and no mark stands in the way."""
    root = tmp_path / "tree"
    root.mkdir()
    for number in range(600):
        write_file(root, b"src/%d.js" % number, b"%d\n" % number)
    archives = {"gz": tmp_path / "demo.tar.gz", "zst": tmp_path / "demo.tar.zst"}
    back_up(root, archives["gz"], head("gz"))
    back_up(root, archives["zst"], head("zst"))
    (tmp_path / "to").mkdir()
    line = f"set -o pipefail; {command}".format(**archives)
    done = subprocess.run(["bash", "-c", line], cwd=tmp_path / "to", capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    if "-x" in command:
        assert (tmp_path / "to/demo/src/599.js").read_bytes() == b"599\n"
