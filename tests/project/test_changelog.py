"""The changelog says that a backup was made, once, and is otherwise left alone."""

from __future__ import annotations

import os
import resource
import stat
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import ending

from backup_lib.errors import ProjectError
from backup_lib.project.changelog import Insertion, noted, noting, only_notes_differ, with_note, without_note
from backup_lib.project.edit import Noted, plan_note, plan_removal

NOTE = b"- Created backup v1.1.0 (a.tar.gz, 12 files)\n"
KEPT = b"""# Changelog

All notable changes.

## [Unreleased]

- Soon.

## [1.1.0] - 2026-11-22

### Added

- A thing.

## [1.0.0] - 2026-01-02

- First.

[Unreleased]: https://example.com/compare/v1.1.0...HEAD
[1.1.0]: https://example.com/compare/v1.0.0...v1.1.0
"""


def note(text: bytes, version: str = "1.1.0") -> bytes:
    """Return the text with the note these tests look for."""
    return with_note(text, version, "a.tar.gz, 12 files", "2026-11-22")


def write_note(path: Path, detail: str = "a.tar.gz, 12 files") -> bool:
    """Note version 1.1.0 in a file; False where there was nothing to do."""
    planned = plan_note(path, "1.1.0", detail, "2026-11-22")
    if planned:
        planned[0].write()
    return planned is not None


def test_goes_below_the_heading_of_its_version() -> None:
    """The line stands right below the heading, and one blank line parts it from what follows."""
    before, after = KEPT.split(b"### Added")

    assert note(KEPT) == before + NOTE + b"\n### Added" + after


@pytest.mark.parametrize(
    "heading",
    [
        "## [1.1.0] - 2026-11-22",
        "## 1.1.0",
        "## v1.1.0",
        "# [v1.1.0]",
        "### 1.1.0 (2026-11-22)",
        "## [1.1.0](https://example.com) (2026-11-22)",
        "  ##\t1.1.0 ##",
        "## 1.1.0: the good one",
    ],
)
def test_knows_the_usual_headings(heading: str) -> None:
    """Every usual way to write a version's heading is taken for it."""
    text = f"# Log\n\n{heading}\n- A thing\n".encode()

    assert note(text) == text.replace(b"- A thing", NOTE + b"- A thing")


@pytest.mark.parametrize("other", ["1.1.0-rc.1", "1.1.01", "11.1.0", "1.1", "1.1.0.1", "1.1.0+5", "2.1.1.0"])
def test_takes_no_other_version_for_its_own(other: str) -> None:
    """1.1.0 is not 1.1.0-rc.1, and a longer number that holds it is not it either."""
    text = f"## {other}\n\n- A thing\n".encode()

    assert b"## [1.1.0] - 2026-11-22" in note(text)


def test_joins_the_list_below_the_heading() -> None:
    """Where a list follows, blank lines or not, the line becomes its first item."""
    assert note(b"## 1.1.0\n\n\n* A\n") == b"## 1.1.0\n\n\n" + NOTE + b"* A\n"


def test_is_parted_from_text_below_it() -> None:
    """A line of text is not swallowed into the list item."""
    assert note(b"## 1.1.0\nText\n") == b"## 1.1.0\n" + NOTE + b"\nText\n"


def test_keeps_blank_lines_that_are_there() -> None:
    """No blank line is added where one follows already."""
    assert note(b"## 1.1.0\n\n\n## 1.0.0\n") == b"## 1.1.0\n\n" + NOTE + b"\n## 1.0.0\n"


def test_makes_a_section_above_the_first_version() -> None:
    """A version without a heading gets one: below Unreleased, above the versions that came before."""
    before, after = KEPT.split(b"## [1.1.0] - 2026-11-22\n")
    section = b"## [1.2.0] - 2026-11-22\n\n- Created backup v1.2.0 (a.tar.gz, 12 files)\n\n"

    assert note(KEPT, "1.2.0") == before + section + b"## [1.1.0] - 2026-11-22\n" + after


def test_new_section_follows_the_level_in_use() -> None:
    """Where versions are first-level headings the new one is too, parted from the text above."""
    assert note(b"Text\n# 1.0.0\n") == b"Text\n\n# [1.1.0] - 2026-11-22\n\n" + NOTE + b"\n# 1.0.0\n"


def test_without_versions_goes_to_the_end_above_link_references() -> None:
    """Link references stay last."""
    text = b"# Changelog\n\n## [Unreleased]\n- Soon\n\n[Unreleased]: https://example.com\n\n[b]: x\n"
    section = b"## [1.1.0] - 2026-11-22\n\n" + NOTE + b"\n"

    assert note(text) == text.replace(b"[Unreleased]: ", section + b"[Unreleased]: ")


def test_without_versions_and_references_goes_to_the_end() -> None:
    """The section is the last thing in the file."""
    assert note(b"# Log\n\n- Soon\n") == b"# Log\n\n- Soon\n\n## [1.1.0] - 2026-11-22\n\n" + NOTE


@pytest.mark.parametrize("empty", [b"", b"\xef\xbb\xbf", b"\n\n"])
def test_begins_a_changelog(empty: bytes) -> None:
    """An empty or missing file becomes a changelog."""
    assert note(empty) == empty + b"# Changelog\n\n## [1.1.0] - 2026-11-22\n\n" + NOTE


def test_keeps_crlf_and_byte_order_mark() -> None:
    """A file from Windows stays one."""
    text = b"\xef\xbb\xbf## 1.1.0\r\n\r\nText\r\n"

    assert note(text) == b"\xef\xbb\xbf## 1.1.0\r\n\r\n" + NOTE[:-1] + b"\r\n\r\nText\r\n"
    assert noted(note(text), "1.1.0")


def test_keeps_the_lack_of_a_last_line_end() -> None:
    """No line end is added where the file had none."""
    assert note(b"# Log\n\n## 1.1.0") == b"# Log\n\n## 1.1.0\n" + NOTE[:-1]


@pytest.mark.parametrize(
    "hidden",
    [
        b"```\n## 1.1.0\n- x\n```\n",
        b"~~~~ md\n```\n## 1.1.0\n~~~\n~~~~\n",
        b"<!--\n## 1.1.0\n-->\n",
        b"    ## 1.1.0\n",
        b"#### 1.1.0\n",
    ],
)
def test_examples_are_no_headings(hidden: bytes) -> None:
    """What stands in a code fence, a comment or a code block is nobody's heading."""
    text = b"# Log\n\n" + hidden

    assert note(text) == text + b"\n## [1.1.0] - 2026-11-22\n\n" + NOTE


@pytest.mark.parametrize("hidden", [b"```\n## 1.1.0\n", b"<!-- never closed\n", b"```\n"])
def test_what_is_never_closed_does_not_swallow_the_line(hidden: bytes) -> None:
    """The section goes above a fence or comment that runs to the end of the file."""
    assert note(b"Text\n" + hidden) == b"Text\n\n## [1.1.0] - 2026-11-22\n\n" + NOTE + b"\n" + hidden
    assert noted(note(hidden), "1.1.0")


def test_inline_code_opens_no_fence() -> None:
    """A line with inline code of three backticks hides nothing."""
    assert note(b"```x``` y\n## 1.1.0\n") == b"```x``` y\n## 1.1.0\n" + NOTE


def test_detail_stays_one_line() -> None:
    """Line breaks in the detail cannot break the list."""
    assert (
        with_note(b"## 1.1.0\n", "v1.1.0", "a\nb\r\n c", "") == b"## 1.1.0\n- Created backup v1.1.0 (a b c)\n"
    )


LINES = st.sampled_from(
    b"# Changelog|## [Unreleased]|## [1.1.0] - 2026-01-01|## 1.0.0|# v2.0.0-rc.1|- item|text||   |```|~~~"
    b"|<!-- x|-->|[1.0.0]: http://x|\xff\xfe|- Created backup v1.0.0 (x)|### Added|* * *|\r".split(b"|")
)
TEXTS = st.builds(
    lambda bom, lines, end, last: bom + end.join(lines) + last,
    st.sampled_from([b"", b"\xef\xbb\xbf"]),
    st.lists(LINES, max_size=12),
    st.sampled_from([b"\n", b"\r\n"]),
    st.sampled_from([b"", b"\n", b"\r\n"]),
)
ANYTHING = st.one_of(TEXTS, st.binary(max_size=60))


@settings(max_examples=400)
@given(text=ANYTHING)
def test_leaves_every_other_byte_alone(text: bytes) -> None:
    """Cut the new lines out again, and the file is what it was, byte for byte."""
    after = note(text)
    added = len(after) - len(text)

    assert added > 0
    assert any(text == after[:at] + after[at + added :] for at in range(len(text) + 1))
    assert after.count(NOTE[:-1]) == text.count(NOTE[:-1]) + 1


@settings(max_examples=400)
@given(text=ANYTHING)
def test_notes_a_backup_once(text: bytes) -> None:
    """The same note again changes nothing; that of another backup takes the place of the one before."""
    after = note(text)

    assert noted(after, "v1.1.0")
    assert note(after) == after
    other = with_note(after, "1.1.0", "another", "2030-01-01")
    assert noted(other, "1.1.0")
    assert with_note(other, "1.1.0", "another", "2031-01-01") == other
    assert len(other.split(b"\n")) == len(after.split(b"\n"))


@settings(max_examples=400)
@given(text=ANYTHING)
def test_knows_its_own_lines_from_others(text: bytes) -> None:
    """Notes alone leave a tree as good as clean; any other change does not."""
    twice = note(note(text), "1.2.0")

    assert only_notes_differ(text, note(text))
    assert only_notes_differ(text, twice)
    assert not only_notes_differ(text, twice + b"\nmine\n")


def test_knows_a_changelog_of_its_own_making() -> None:
    """A file that only we wrote is no change of the user's."""
    assert only_notes_differ(None, note(note(b""), "1.2.0"))
    assert not only_notes_differ(None, note(b"") + b"- mine\n")


def test_line_ends_of_a_checkout_are_no_change() -> None:
    """A changelog that git wrote with CRLF differs from its blob by notes only."""
    assert only_notes_differ(KEPT, note(KEPT.replace(b"\n", b"\r\n")))


def test_very_many_notes_are_no_longer_nothing() -> None:
    """To tell them apart would take minutes; a few are told apart in a long changelog, too."""
    notes = b"".join(
        b"## [1.0.%d] - 2026-01-01\n\n- Created backup v1.0.%d (x)\n\n" % (n, n) for n in range(4000)
    )
    with ending():
        assert not only_notes_differ(b"# Changelog\n", b"# Changelog\n\n" + notes)
    long = KEPT + b"- x\n" * (1 << 20)
    assert only_notes_differ(long, note(note(long), "1.2.0"))


def test_writes_in_place_and_keeps_the_mode(tmp_path: Path) -> None:
    """The file keeps its permissions; the second time nothing is written."""
    path = tmp_path / "CHANGELOG.md"
    path.write_bytes(KEPT)
    path.chmod(0o640)

    assert write_note(path)
    assert path.read_bytes() == note(KEPT)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    written = path.stat().st_ino
    assert not write_note(path)
    assert path.stat().st_ino == written
    assert os.listdir(tmp_path) == ["CHANGELOG.md"]


def test_follows_a_link_and_makes_a_missing_file(tmp_path: Path) -> None:
    """A linked changelog stays a link; a missing one is made readable for all."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "CHANGELOG.md").symlink_to("docs/log.md")

    assert write_note(tmp_path / "CHANGELOG.md", "x")
    assert (tmp_path / "CHANGELOG.md").is_symlink()
    assert b"v1.1.0 (x)" in (tmp_path / "docs/log.md").read_bytes()
    assert stat.S_IMODE((tmp_path / "docs/log.md").stat().st_mode) == 0o644


def test_says_why_it_cannot_write(tmp_path: Path) -> None:
    """A folder in the file's place, or a file that is not UTF-8, is one clear line."""
    (tmp_path / "utf16.md").write_bytes("## 1.1.0".encode("utf-16"))

    with pytest.raises(ProjectError, match="reading the changelog failed: Is a directory"):
        write_note(tmp_path)
    with pytest.raises(ProjectError, match=r"utf16\.md is UTF-16; save it as UTF-8"):
        write_note(tmp_path / "utf16.md")


# --- taking it out again


def words(text: bytes) -> list[bytes]:
    """Return the lines that say something, but for the title."""
    lines = text.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    return [line.strip() for line in lines if line.strip() not in (b"", b"# Changelog")]


@settings(max_examples=600)
@given(text=ANYTHING)
def test_what_was_put_in_comes_out(text: bytes) -> None:
    """The file is what it was, byte for byte; taken out twice, too."""
    after, inserted = noting(text, "1.1.0", "a.tar.gz", "2026-11-22")

    assert without_note(after, inserted) == text
    assert without_note(text, inserted) == text or inserted.lines in text.decode(errors="replace")


@settings(max_examples=600)
@given(text=ANYTHING)
def test_notes_come_out_in_any_order(text: bytes) -> None:
    """The newest first, and the file is what it was; another first, and not a word else is lost."""
    once, first = noting(text, "1.1.0", "a.tar.gz", "2026-11-22")
    twice, second = noting(once, "1.2.0", "b.tar.gz", "2026-11-23")

    assert without_note(without_note(twice, second), first) == text
    other = without_note(without_note(twice, first), second)
    assert words(other) == words(text)


@settings(max_examples=300)
@given(text=ANYTHING)
def test_a_second_backup_of_a_version_comes_out_too(text: bytes) -> None:
    """Its line gave way to another: both are taken back, one after the other."""
    once, first = noting(text, "1.1.0", "a.tar.gz", "2026-11-22")
    again, second = noting(once, "1.1.0", "b.tar.gz", "2026-11-23")

    assert second.replaced
    assert without_note(again, second) == once
    assert without_note(without_note(again, second), first) == text


def test_the_line_of_somebody_else_is_put_back() -> None:
    """What the note took the place of stands there again, as it was."""
    before = b"## 1.1.0\r\n  * Created backup v1.1.0 (by hand \xff)  \r\n"
    after, inserted = noting(before, "1.1.0", "a", "")

    assert after == b"## 1.1.0\r\n- Created backup v1.1.0 (a)\r\n"
    assert without_note(after, inserted) == before


def test_what_came_beside_it_stays() -> None:
    """Lines of a person around the section, and other line ends after a checkout, do not matter."""
    after, inserted = noting(KEPT, "1.2.0", "a", "2026-11-23")
    grown = after.replace(b"- Soon.", b"- Soon.\n- Sooner.").replace(b"- A thing.", b"- A thing.\n- Another.")

    assert without_note(grown, inserted) == grown.replace(inserted.lines.encode() + b"\n", b"")
    windows = without_note(grown.replace(b"\n", b"\r\n"), inserted)
    assert windows == without_note(grown, inserted).replace(b"\n", b"\r\n")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"- Created backup v1.2.0 (a)\n", b"- Created backup v1.2.0 (a)\n- A line of mine\n"),
        (b"- Created backup v1.2.0 (a)\n", b"- Created backup v1.2.0 (a)\n\n### Added\n\n- Mine\n"),
        (b"## [1.2.0] - 2026-11-23\n", b"## [1.2.0] - 2026-11-24\n"),
        (b"- Created backup v1.2.0 (a)\n", b"Mine.\n\n- Created backup v1.2.0 (a)\n"),
        (b"- Created backup v1.2.0 (a)\n", b"- Created backup v1.2.0 (a)\n\n```\nmine\n```\n"),
    ],
)
def test_a_section_that_a_person_changed_is_left_to_them(old: bytes, new: bytes) -> None:
    """Nobody's words go with the heading above them."""
    after, inserted = noting(KEPT, "1.2.0", "a", "2026-11-23")
    edited = after.replace(old, new)
    assert edited != after

    with pytest.raises(ProjectError, match=r"was changed; .* Created backup v1\.2\.0 \(a\)"):
        without_note(edited, inserted)


def test_a_changelog_of_its_own_making_goes(tmp_path: Path) -> None:
    """The file was made for the line and goes with it; not so where more is in it now."""
    path = tmp_path / "CHANGELOG.md"
    planned = plan_note(path, "1.1.0", "a.tar.gz", "2026-11-22")
    assert planned
    planned[0].write()
    notes = [Noted(planned[1], "a.tar.gz")]
    grown = path.read_bytes() + b"\n## [1.0.0]\n\n- Mine\n"

    removal = plan_removal(path, notes, "file")
    assert removal
    removal.write()
    removal.write()
    assert os.listdir(tmp_path) == []
    assert plan_removal(path, notes, "file") is None
    path.write_bytes(grown)
    removal = plan_removal(path, notes, "file")
    assert removal
    removal.write()
    assert path.read_bytes() == b"# Changelog\n\n\n## [1.0.0]\n\n- Mine\n"


def test_an_edited_line_is_known_by_its_archive(tmp_path: Path) -> None:
    """A line that still speaks of the archive is nobody else's, and not ours any more."""
    path = tmp_path / "CHANGELOG.md"
    path.write_bytes(KEPT)
    planned = plan_note(path, "1.1.0", "a.tar.gz", "2026-11-22")
    assert planned
    planned[0].write()
    path.write_bytes(path.read_bytes().replace(b"Created backup", b"The backup"))

    with pytest.raises(ProjectError, match=r"the line of a\.tar\.gz in .*CHANGELOG\.md was edited"):
        plan_removal(path, [Noted(planned[1], "a.tar.gz")], "nothing")


def test_a_failed_write_names_the_file(tmp_path: Path) -> None:
    """Also where the system does not: it was an open file that failed. The changelog stays as it was."""
    path = tmp_path / "CHANGELOG.md"
    path.write_bytes(KEPT)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(KEPT), limits[1]))
    try:
        with pytest.raises(
            ProjectError, match=r"writing the changelog failed: File too large: .*CHANGELOG\.md$"
        ):
            write_note(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == KEPT
    assert os.listdir(tmp_path) == ["CHANGELOG.md"]


OURS = "- Created backup v1.1.0 (x)"
THEIRS = f"# Changelog\n\n## [1.1.0] - 2026-11-22\n\n{OURS}\n- A thing\n\n## [1.0.0] - 2026-10-01\n".encode()


@pytest.mark.parametrize(
    ("lines", "replaced"),
    [
        ("", ""),
        ("\n\n", ""),
        ("- A thing", ""),
        ("# Changelog", ""),
        ("## [1.0.0] - 2026-10-01", ""),
        (f"{OURS}\n- A thing", ""),
        (f"{OURS}\n{OURS}", ""),
        (OURS, "- What never stood there"),
        (OURS, f"{OURS}\n- More"),
    ],
)
def test_takes_out_nothing_that_no_release_puts_in(lines: str, replaced: str) -> None:
    """The ledger says what was put in, and anybody may have written it: lines of theirs stay."""
    with pytest.raises(ProjectError, match="what no release puts there"):
        without_note(THEIRS, Insertion(lines, replaced))
    assert OURS.encode() not in without_note(THEIRS, Insertion(OURS))
