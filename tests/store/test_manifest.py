"""A manifest is read back as it was written, and stock tools accept it."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backup_lib.errors import DamageError, StoreError
from backup_lib.model import STATES, Counts, Entry, Header, Problem, Summary
from backup_lib.store.manifest import (
    ArchiveFacts,
    Facts,
    facts_of,
    file_line,
    file_lines,
    format_manifest,
    head_lines,
    listed,
    read_manifest,
)

TEXT = st.text() | st.binary().map(lambda raw: raw.decode("utf-8", "surrogateescape"))
WORDS = st.text(min_size=1) | st.sampled_from(["a: b", "c:", " d ", "\\n", "\\x20", "e\nf", ": ", "\\"])
PATHS = st.binary(min_size=1, max_size=40).filter(lambda path: b"\0" not in path)
FILES = st.lists(st.tuples(PATHS, st.binary(min_size=32, max_size=32)), max_size=8)
COUNT = st.integers(0, 2**63)
PROBLEMS = st.builds(
    Problem,
    path=PATHS | st.just(b"") | WORDS.map(str.encode),
    kind=st.sampled_from(["unreadable", "vanished", "changed", "skipped"]),
    reason=WORDS | TEXT,
)
FACTS = st.builds(
    Facts,
    project=WORDS,
    version=st.none() | WORDS,
    created=WORDS,
    commit=st.none() | WORDS,
    branch=st.none() | TEXT,
    tag=st.none() | TEXT,
    note=TEXT | WORDS,
    states=st.dictionaries(st.sampled_from(list(STATES)), COUNT),
    left_out=COUNT,
    deleted=COUNT,
    archive=WORDS,
    size=COUNT,
    sha256=WORDS,
    index=TEXT,
    files=st.just(0),
    bytes=COUNT,
    excluded=st.lists(WORDS | TEXT).map(tuple),
    problems=st.lists(PROBLEMS, max_size=4).map(tuple),
)
PLAIN = Facts(
    project="demo",
    version="1.1.0",
    created="2026-11-22T21:45:00Z",
    archive="a.tar.gz",
    size=7,
    sha256="ab",
    files=2,
    bytes=9,
)
TWO = [(b"demo/a", bytes(32)), (b"demo/b\n", bytes(range(32)))]


def written(facts: Facts, files: list[tuple[bytes, bytes]]) -> bytes:
    """Return a manifest."""
    return b"".join(format_manifest(facts, files))


def read(data: bytes) -> tuple[Facts | None, list[tuple[bytes, bytes]]]:
    """Read a manifest to its end."""
    manifest = read_manifest(io.BytesIO(data))
    return manifest.facts, list(manifest.files)


def with_count(facts: Facts, count: int) -> Facts:
    """Return the facts for so many files."""
    return Facts(**{**{name: getattr(facts, name) for name in facts.__struct_fields__}, "files": count})


@given(FACTS, FILES)
def test_a_manifest_is_read_back_as_written(facts: Facts, files: list[tuple[bytes, bytes]]) -> None:
    """Whatever stands in notes, names and rules, nothing is lost and every fact is one line."""
    facts = with_count(facts, len(files))
    data = written(facts, files)
    assert read(data) == (facts, files)
    head = data[: data.index(b"\n#\n")].decode()
    assert len(head.splitlines()) == len(head_lines(facts)) - 1
    assert all(line.startswith("# ") and line.isprintable() for line in head.splitlines())


def test_the_head_is_the_one_of_the_contract() -> None:
    """A person finds every fact and both commands."""
    header = Header(
        project="heymarket-endpoint",
        version="1.1.0",
        created="2026-11-22T21:45:00Z",
        scanned_ns=0,
        format="gz",
        level="normal",
        commit="3f2c",
        branch="main",
        tag="v1.1.0",
        note="before\nthe fair",
        excluded=("node_modules/", "my dir/"),
        left_out=2,
        deleted=1,
    )
    states = {"ignored": 2, "committed": 2690, "modified": 3, "untracked": 12, "submodule": 0, "": 4}
    summary = Summary(Counts(2706, 19691520, 3000, states), (Problem(b"a: b\xff", "changed", "it grew"),))
    archive = ArchiveFacts("heymarket-endpoint_v1.1.0_20261122T214500Z.tar.gz", 5566787, "9b1c", "77aa")
    facts = facts_of(header, summary, archive)
    assert [line.decode() for line in head_lines(facts)] == [
        "# Backup of heymarket-endpoint v1.1.0",
        "# Project:  heymarket-endpoint",
        "# Created:  2026-11-22T21:45:00Z",
        "# Version:  1.1.0",
        "# Commit:   3f2c",
        "# Branch:   main",
        "# Tag:      v1.1.0",
        "# Note:     before\\x0athe fair",
        "# Git:      2690 as committed, 3 modified, 12 untracked, 2 ignored",
        "# Left out: 2 committed files",
        "# Deleted:  1 committed files",
        "# Archive:  heymarket-endpoint_v1.1.0_20261122T214500Z.tar.gz",
        "# Size:     5566787",
        "# SHA-256:  9b1c",
        "# Index:    77aa",
        "# Files:    2706, 19691520 bytes",
        "# Excluded: node_modules/ my\\x20dir/",
        "# Problem:  changed a\\x3a b\\xff: it grew",
        "# Restore:  tar -xzf heymarket-endpoint_v1.1.0_20261122T214500Z.tar.gz -C DIR",
        "# Check:    (cd DIR && sha256sum --check --quiet --strict /path/to/MANIFEST.txt)",
        "#",
    ]


HOSTILE = [
    b"plain",
    b"new\nline",
    b"cr\r",
    b"back\\slash",
    b"\\n",
    b" lead",
    b"trail ",
    b"*star",
    b"#hash",
    b"\xff\xfe",
    b"a\r\nb",
]


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="no sha256sum here")
def test_stock_sha256sum_proves_the_tree(tmp_path: Path) -> None:
    """Every legal name passes `sha256sum --check --strict`, and is escaped as it escapes it."""
    os.mkdir(tmp_path / "demo")
    files = []
    for name in HOSTILE:
        path = b"demo/" + name
        with open(os.path.join(os.fsencode(tmp_path), path), "wb") as file:
            file.write(name)
        files.append((path, hashlib.sha256(name).digest()))
    (tmp_path / "M").write_bytes(written(with_count(PLAIN, len(files)), files))
    check = ["sha256sum", "--check", "--strict", "--quiet", "M"]
    subprocess.run(check, cwd=tmp_path, check=True)
    paths = [path for path, _ in files]
    printed = subprocess.run(
        [b"sha256sum", b"--", *paths], cwd=tmp_path, check=True, capture_output=True
    ).stdout
    assert printed == b"".join(file_line(digest, path) for path, digest in files)
    entries = [Entry(name, "file", len(name), hashlib.sha256(name).digest(), b"", "") for name in HOSTILE]
    assert printed == file_lines("demo", entries)
    assert printed == b"".join(file_lines("demo", [entry]) for entry in entries)
    (tmp_path / "demo/plain").write_bytes(b"other")
    assert subprocess.run(check, cwd=tmp_path, check=False, capture_output=True).returncode == 1


def test_files_and_hard_links_are_listed_below_the_project() -> None:
    """What tar extracts is what is checked; folders and symlinks have no digest."""
    entries = [
        Entry(b"", "directory", 0, b"", b"", ""),
        Entry(b"a", "file", 1, bytes(32), b"", "committed"),
        Entry(b"b", "hardlink", 1, bytes(32), b"a", ""),
        Entry(b"c", "symlink", 0, b"", b"a", ""),
    ]
    assert list(listed("demo", entries)) == [(b"demo/a", bytes(32)), (b"demo/b", bytes(32))]


def test_a_manifest_of_too_few_files_is_not_finished() -> None:
    """A manifest that could not be read back is never published."""
    with pytest.raises(StoreError, match="would list 1 files, but the archive holds 2"):
        written(PLAIN, TWO[:1])


@given(st.data())
def test_a_cut_manifest_is_damage(data: Any) -> None:
    """Wherever it is cut, that is noticed; an empty or headless rest is foreign."""
    whole = written(PLAIN, TWO)
    cut = whole[: data.draw(st.integers(len("# Backup of "), len(whole) - 1))]
    with pytest.raises(DamageError, match=r"line [0-9]+"):
        read(cut)


def test_a_cut_list_is_noticed_at_its_end() -> None:
    """Fewer files than the head says is damage, and so are more."""
    *head, _ = written(PLAIN, TWO).splitlines(keepends=True)
    with pytest.raises(DamageError, match=r"line [0-9]+: 1 files are listed, but 2 were"):
        read(b"".join(head))
    with pytest.raises(DamageError, match="3 files"):
        read(written(PLAIN, TWO) + file_line(bytes(32), b"demo/c"))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"# Size:     7", b"# Size:     seven"),
        (b"# Size:     7", b"# Colour:   red"),
        (b"# Size:     7\n", b""),
        (b"# Size:     7", b"# Size:     7\n# Size:     7"),
        (b"# Size:     7", b"# Size:     \xff"),
        (b"# Size:     7", b"garbage"),
        (b"# Size:     7", b"#-Size:     7"),
        (b"# Size:     7", b"# Size:     +7"),
        (b"# Size:     7", b"# Size:     1_0"),
        (b"# Size:     7", b"# Size:x    7"),
        (b"# Size:     7", b"# Size:     7\n# Problem:  lost a: b"),
        (b"# Size:     7", b"# Size:     7\n# Git:      3 dirty"),
        (b"# Size:     7", b"# Size:     7\n# Git:      none"),
        (b"# Files:    2,", b"# Files:    2;"),
        (b"demo/a", b"demo/a\ngarbage"),
        (b"00000000  demo/a", b"0000000g  demo/a"),
        (b"b\\n", b"b\\t"),
    ],
)
def test_an_edited_manifest_is_damage(old: bytes, new: bytes) -> None:
    """The message names the line."""
    whole = written(PLAIN, TWO)
    assert old in whole
    with pytest.raises(DamageError, match=r"MANIFEST.txt line [0-9]+: "):
        read(whole.replace(old, new))


def test_a_foreign_manifest_gives_its_sums() -> None:
    """What another script wrote is used as far as it goes."""
    digest = "0f" * 32
    lines = (
        f"Release\n\n{digest}  a/b\r\n{digest.upper()} *c\n\\{digest}  d\\ne\n\\{digest}  q\\q\n{digest}  z"
    )
    data = lines.encode()
    manifest = read_manifest(io.BytesIO(data))
    assert manifest.foreign
    assert [path for path, _ in manifest.files] == [b"a/b", b"c", b"d\ne", b"z"]


def test_an_empty_manifest_is_foreign_and_lists_nothing() -> None:
    """Nothing is made of nothing."""
    assert read(b"") == (None, [])


def test_a_million_files_are_not_held_in_memory() -> None:
    """Lines are made as they are asked for, and files read as they are asked for."""
    endless = ((b"demo/%d" % number, bytes(32)) for number in iter(int, 1))
    lines = format_manifest(PLAIN, endless)
    assert [next(lines) for _ in range(100)][-1].endswith(b"  demo/0\n")
    manifest = read_manifest(io.BytesIO(written(PLAIN, TWO)))
    assert next(manifest.files) == TWO[0]
    assert not manifest.foreign


def test_text_that_is_no_unicode_does_not_stop_a_backup() -> None:
    """A lone surrogate becomes a question mark."""
    data = written(
        Facts(**{**{f: getattr(PLAIN, f) for f in PLAIN.__struct_fields__}, "note": "a\ud800b"}), TWO
    )
    facts, _ = read(data)
    assert facts is not None
    assert facts.note == "a?b"
