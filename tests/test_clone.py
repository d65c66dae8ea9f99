"""A clone that somebody else filled: nothing outside of it is read or written, and no release half made."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest
from support import Run, git, refused, setting


def nothing_made(project: Path) -> None:
    """Assert that a release left nothing: no tag, and no backup."""
    assert git(project, "tag") == ""
    assert not list(project.glob("backups/v*"))


def link(project: Path, target: str) -> None:
    """Commit a changelog that is a link."""
    (project / "CHANGELOG.md").unlink()
    (project / "CHANGELOG.md").symlink_to(target)
    git(project, "add", "-A")
    git(project, "commit", "-m", "A link")


@pytest.mark.parametrize(
    "way", ["absolute", "relative", "through a folder", "of links", "to nothing", "and back"]
)
def test_a_changelog_that_leads_out_is_not_written(project: Path, run: Run, tmp_path: Path, way: str) -> None:
    """Not a byte of what is outside changes, nothing new is there, and there is no tag yet."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "log.md").write_text("precious\n")
    (project / "docs").symlink_to(outside)
    (project / "hop").symlink_to("docs/log.md")
    ways = {
        "absolute": f"{outside}/log.md",
        "relative": "../outside/log.md",
        "through a folder": "docs/log.md",
        "of links": "hop",
        "to nothing": "../outside/new.md",
        "and back": "../endpoint/package.json",
    }
    link(project, ways[way])
    for command in (("release", "--version", "2.0.0"), ("release", "--version", "2.0.0", "--dry-run")):
        refused(run(*command), 1, f"{project}/CHANGELOG.md leads out of {project}, ")
    nothing_made(project)
    assert [path.name for path in outside.iterdir()] == ["log.md"]
    assert (outside / "log.md").read_text() == "precious\n"


@pytest.mark.parametrize("name", ["../outside.md", "/etc/outside.md", "docs/../../outside.md"])
def test_a_setting_leads_out_no_more_than_a_link(project: Path, run: Run, name: str) -> None:
    """It may come with the clone as well."""
    with setting("CHANGELOG", name):
        refused(run("release", "--version", "2.0.0"), 1, "leads out of")
    nothing_made(project)


@pytest.mark.parametrize(
    "target", [".git/hooks/post-commit", "backups/ledger.jsonl", "backups/new.md", ".git/HEAD"]
)
def test_a_changelog_is_neither_in_the_store_nor_in_git(project: Path, run: Run, target: str) -> None:
    """A note there would run as a program, or stand among the records."""
    run("backup", "--daily")
    link(project, target)
    before = {path: path.read_bytes() for path in project.rglob("*") if path.is_file()}
    outcome = run("release", "--version", "2.0.0")
    refused(outcome, 1, f"leads to {project}/{target}, which is no place for it; let backup.changelog name")
    nothing_made(project)
    assert {path: path.read_bytes() for path in before} == before
    assert not (project / "backups" / "new.md").exists()
    with setting("CHANGELOG", target):
        refused(run("release", "--version", "2.0.0"), 1, "which is no place for it")


@pytest.mark.parametrize("target", ["docs/log.md", "down/log.md", "../shared.md"])
def test_a_changelog_that_stays_inside_is_followed(project: Path, run: Run, target: str) -> None:
    """Inside of the work tree, of which the project may be a part; the link stays, undo finds the line."""
    (project / "docs").mkdir()
    (project / "down").symlink_to("docs")
    file = project / "docs" / "log.md"
    part: tuple[str, ...] = ()
    if target.startswith(".."):
        file, root = project / "shared.md", project / "part"
        root.mkdir()
        (root / "package.json").write_text('{"name": "part", "version": "1.0.0"}\n')
        (root / "CHANGELOG.md").symlink_to(target)
        (project / ".gitignore").write_text("backups/\nnode_modules/\n.env\n")
        part = ("--root", str(root))
    file.write_text("# Log\n")
    link(project, target if not part else "shared.md")
    assert run("release", "--version", "2.0.0", *part).code == 0
    assert "Created backup v2.0.0" in file.read_text()
    assert (project / "CHANGELOG.md").is_symlink()
    assert run("release", "--version", "2.0.0", "--undo", *part).code == 0
    assert file.read_text() == "# Log\n"


def test_an_undo_follows_no_link_that_came_later(project: Path, run: Run, tmp_path: Path) -> None:
    """A line that looks like ours is outside, and stays there; all else stays, too."""
    run("release", "--version", "2.0.0")
    outside = tmp_path / "outside.md"
    outside.write_bytes((project / "CHANGELOG.md").read_bytes())
    before = outside.read_bytes()
    (project / "CHANGELOG.md").unlink()
    (project / "CHANGELOG.md").symlink_to(outside)
    refused(run("release", "--version", "2.0.0", "--undo"), 1, "leads out of")
    assert outside.read_bytes() == before
    assert git(project, "tag") == "v2.0.0"


def test_another_name_of_the_changelog_is_not_written_through(
    project: Path, run: Run, tmp_path: Path
) -> None:
    """A hard link may share its bytes with a file outside: the note makes a file of its own."""
    outside = tmp_path / "outside.md"
    outside.write_bytes((project / "CHANGELOG.md").read_bytes())
    (project / "CHANGELOG.md").unlink()
    os.link(outside, project / "CHANGELOG.md")
    before = outside.read_bytes()
    assert run("release", "--version", "2.0.0").code == 0
    assert b"Created backup v2.0.0" in (project / "CHANGELOG.md").read_bytes()
    assert outside.read_bytes() == before


@pytest.mark.parametrize("what", ["fifo", "huge", "folder", "UTF-16"])
def test_a_changelog_that_cannot_be_noted_in_stops_a_release_before_its_tag(
    project: Path, run: Run, what: str
) -> None:
    """At once, whatever lies there."""
    path = project / "CHANGELOG.md"
    path.unlink()
    if what == "fifo":
        os.mkfifo(path)
    elif what == "huge":
        path.touch()
        os.truncate(path, (16 << 20) + 1)
    elif what == "folder":
        path.mkdir()
    else:
        path.write_bytes("# Changelog".encode("utf-16"))
    outcome = run("release", "--version", "2.0.0", "--allow-dirty")
    refused(outcome, 1, str(path))
    nothing_made(project)


def test_a_line_that_no_ledger_holds_does_not_give_way_to_a_note(project: Path, run: Run) -> None:
    """None of ours is so long: it stays, and what the release did is known to the byte when it is undone."""
    path = project / "CHANGELOG.md"
    path.write_text(f"# Changelog\n\n- Created backup v2.0.0 ({'x' * (2 << 20)})\n")
    git(project, "commit", "-am", "A long line")
    before = path.read_bytes()
    assert run("release", "--version", "2.0.0").code == 0
    assert before.rstrip() in path.read_bytes()
    assert run("release", "--version", "2.0.0", "--undo").code == 0
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "package",
    [
        b"[" * 100_000,
        b'{"scripts":' * 100_000,
        b'{"scripts": {"test": "true"}, "x": ' + b"[" * 100_000,
        b'{"scripts": {"test": ["true"]}}',
        b'{"scripts": "test"}',
        b'{"scripts": {"test": "\xff"}}',
        b'{"scripts": {"test": "true"}}' + b" " * (1 << 20),
        b"",
    ],
)
def test_a_restored_package_json_stops_no_restore(
    project: Path, run: Run, tmp_path: Path, package: bytes
) -> None:
    """It came out of anybody's archive: it has no test script then, which is one line."""
    archive = tmp_path / "x.tar"
    with tarfile.open(archive, "w") as tar:
        member = tarfile.TarInfo("x/package.json")
        member.size = len(package)
        tar.addfile(member, io.BytesIO(package))
    outcome = run("restore", "--archive", str(archive), "--to", str(tmp_path / "to"), "--test")
    refused(
        outcome, 1, "the files are restored, but no test command is known for them; set backup.hooks.test"
    )


def test_a_restored_package_json_is_not_fetched_from_outside(project: Path, run: Run, tmp_path: Path) -> None:
    """Its link may be restored as recorded, but nothing is taken from where that leads."""
    (tmp_path / "package.json").write_text('{"scripts": {"test": "true"}}')
    archive = tmp_path / "x.tar"
    with tarfile.open(archive, "w") as tar:
        member = tarfile.TarInfo("x/package.json")
        member.type, member.linkname = tarfile.SYMTYPE, "../../package.json"
        tar.addfile(member)
    outcome = run(
        "restore", "--archive", str(archive), "--to", str(tmp_path / "to"), "--outside-links", "--test"
    )
    refused(outcome, 1, "no test command is known")


@pytest.mark.parametrize("name", ["package.json", "pyproject.toml", "VERSION"])
def test_a_huge_or_linked_statement_stops_what_needs_it(
    project: Path, run: Run, tmp_path: Path, name: str
) -> None:
    """A backup of the project's own version is one refused line; that of a given one needs only the name."""
    (project / "package.json").unlink()
    (project / name).touch()
    os.truncate(project / name, 3 << 30)
    refused(run("backup"), 1, name)
    (project / name).unlink()
    (tmp_path / name).write_text("1.0.0\n")
    (project / name).symlink_to(f"../{name}")
    refused(run("backup"), 1, f"{name} leads out of")
    assert not (project / "backups").exists() or not list(project.glob("backups/v*"))
    if name == "VERSION":
        assert run("backup", "--version", "1.0.0").code == 0


def test_a_long_note_is_refused_before_anything_is_written(project: Path, run: Run) -> None:
    """It is to fit into a line of the manifest, whatever its letters are."""
    refused(run("backup", "--note", "x" * 65537), 1, "--note takes at most 65536 bytes")
    nothing_made(project)
    for note in ("x" * 65536, "\x1b" * 65536, "ü" * 32768):
        assert run("backup", "--note", note, "--fresh").code == 0
        assert run("verify").code == 0


def test_very_many_rules_are_counted(project: Path, run: Run) -> None:
    """The manifest names the first of them, and stays readable."""
    folder = project / "many"
    folder.mkdir()
    names = [f"{number:04}{'é' * 100}" for number in range(500)]
    for name in names:
        (folder / name).touch()
    (folder / ".backupignore").write_text("".join(f"{name}\n" for name in names))
    assert run("backup").code == 0
    assert run("verify").code == 0
    [manifest] = project.glob("backups/v1.1.0/MANIFEST.txt")
    [rules] = [line for line in manifest.read_text().splitlines() if line.startswith("# Excluded:")]
    assert len(rules.encode()) < 70_000
    told = len([rule for rule in rules.split() if rule.startswith("0")])
    assert rules.endswith(f" and\\x20{501 - told}\\x20more")  # the store is a rule, too
