"""Names are read back as they were given, and fit every file system."""

from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backup_lib.errors import SettingsError
from backup_lib.model import Format
from backup_lib.store import layout
from backup_lib.store.layout import ArchiveName, DailyName, LatestName

FORMATS: st.SearchStrategy[Format] = st.sampled_from(["gz", "zst"])
PROJECTS = st.text(st.sampled_from("ab_v1.0-é "), min_size=1, max_size=20).filter(
    lambda name: name not in (".", "..")
)
VERSIONS = st.from_regex(
    r"[0-9]\.(0|[1-9][0-9])\.[0-9](-(rc|alpha-)\.[1-9])?(\+[0-9a-z]{1,5})?", fullmatch=True
)
STAMPS = st.from_regex(r"20[0-9]{6}T[0-9]{6}Z(-([2-9]|1[0-9]))?", fullmatch=True)


def test_the_name_of_a_release_is_the_one_of_the_contract() -> None:
    """Scripts may rely on project, version and UTC time in the name."""
    name = layout.archive_name("heymarket-endpoint", "1.1.0", "20261122T214500Z", "gz")
    assert name == "heymarket-endpoint_v1.1.0_20261122T214500Z.tar.gz"
    assert (
        layout.latest_name("heymarket-endpoint", "1.1.0", "gz") == "heymarket-endpoint_v1.1.0_latest.tar.gz"
    )
    assert layout.daily_name("2026-11-22", "zst") == "2026-11-22.tar.zst"
    assert layout.version_folder("1.1.0") == "v1.1.0"


@given(PROJECTS, VERSIONS, STAMPS, FORMATS)
def test_names_are_read_back_as_given(project: str, version: str, stamp: str, format: Format) -> None:
    """Whatever stands in a project's name, `_v` too, the parts come back."""
    name = layout.archive_name(project, version, stamp, format)
    assert layout.parse_archive_name(name) == ArchiveName(project, version, stamp, format)
    latest = layout.latest_name(project, version, format)
    assert layout.parse_latest_name(latest) == LatestName(project, version, format)
    assert layout.parse_archive_name(latest) is None
    assert layout.parse_latest_name(name) is None
    assert layout.parse_version_folder(layout.version_folder(version)) == version


@given(st.dates(), FORMATS)
def test_days_are_read_back_as_given(day: Any, format: Format) -> None:
    """The name of a daily backup is its day."""
    assert layout.parse_daily_name(layout.daily_name(day.isoformat(), format)) == DailyName(
        day.isoformat(), format
    )


@pytest.mark.parametrize(
    "name",
    [
        "x.tar.gz",
        "x_v1.0_20261122T214500Z.tar.gz",
        "x_v1.0.0_20261122T214500Z-1.tar.gz",
        "_v1.0.0_latest.tar.gz",
        "",
    ],
)
def test_other_names_are_not_taken_for_ours(name: str) -> None:
    """What only looks like a name of ours is none."""
    assert layout.parse_archive_name(name) is None
    assert layout.parse_latest_name(name) is None
    assert layout.parse_daily_name(name) is None


@pytest.mark.parametrize("version", ["1.1", "v1.1.0", "1.1.0\n", "01.1.0", "1.\u0661.0", "../1.0.0", ""])
def test_only_semantic_versions_become_folders(version: str) -> None:
    """No version can lead out of the store."""
    with pytest.raises(SettingsError, match="not a semantic version"):
        layout.version_folder(version)
    assert layout.parse_version_folder(f"v{version}") is None


@pytest.mark.parametrize("project", ["", ".", "..", "a/b", "a\nb", "a\udcff", "a\0", "x" * 250])
def test_a_project_name_that_fits_no_file_name_is_refused(project: str) -> None:
    """The message comes before anything is written."""
    with pytest.raises(SettingsError):
        layout.archive_name(project, "1.0.0", "20261122T214500Z", "gz")


def test_times_and_days_of_another_form_are_refused() -> None:
    """A wrong caller is told at once."""
    with pytest.raises(SettingsError):
        layout.archive_name("x", "1.0.0", "latest", "gz")
    with pytest.raises(SettingsError):
        layout.daily_name("today", "gz")
    with pytest.raises(SettingsError):
        layout.stamp_of("2026-11-22 21:45:00")


def test_a_stamp_goes_back_and_forth_and_on() -> None:
    """A second backup in a second has a name of its own."""
    stamp = layout.stamp_of("2026-11-22T21:45:00Z")
    assert stamp == "20261122T214500Z"
    assert layout.next_stamp(stamp) == "20261122T214500Z-2"
    assert layout.next_stamp("20261122T214500Z-9") == "20261122T214500Z-10"
    assert layout.moment_of("20261122T214500Z-10") == "2026-11-22T21:45:00Z"


def test_safety_backups_are_told_by_their_version() -> None:
    """A backup made before a restore in place is never taken for a release."""
    assert layout.is_safety("1.1.0-safety.20261122T214500Z")
    assert not layout.is_safety("1.1.0-rc.1")
    assert not layout.is_safety("1.1.0")
    assert not layout.is_safety("")


@given(st.binary(min_size=1, max_size=300).filter(lambda name: b"/" not in name and b"\0" not in name))
def test_temporary_names_are_short_enough_and_known(raw: bytes) -> None:
    """Any name has a temporary one that the file system takes and the sweep knows."""
    name = os.fsdecode(raw)
    partial = layout.partial_name(name)
    assert len(os.fsencode(partial)) <= 255
    assert layout.is_partial(partial)
    if len(raw) <= 237:
        assert layout.partial_of(partial) == name


def test_the_temporary_name_of_a_long_name_is_cut_between_characters() -> None:
    """The longest name a file system takes can be written too."""
    partial = layout.partial_name("é" * 127)
    assert layout.partial_of(partial) == "é" * 118


def test_ordinary_names_are_no_temporary_ones() -> None:
    """The sweep takes nothing else."""
    for name in ("MANIFEST.txt", ".lock", "x.partial", ".x.partial", "x.00000000.partial"):
        assert not layout.is_partial(name)
        assert layout.partial_of(name) is None


def test_what_an_archive_is_called_says_how_to_extract_it() -> None:
    """The manifest tells the command of stock tar."""
    assert layout.extract_command("a.tar.gz") == layout.extract_command("a.tgz") == "tar -xzf"
    assert layout.extract_command("a.tar.zst") == "tar --zstd -xf"
    assert layout.extract_command("a.tar") == "tar -xf"
    assert layout.archive_format("a.zip") is None


@pytest.mark.parametrize(
    ("path", "sound"),
    [
        ("v1.0.0/a.tar.gz", True),
        ("2026-11-22.tar.gz", True),
        ("../a.tar.gz", False),
        ("v1/../../a.tar.gz", False),
        ("/a.tar.gz", False),
        ("/etc/passwd", False),
        ("v1.0.0/README.md", False),
        ("ledger.jsonl", False),
        ("", False),
    ],
)
def test_a_ledger_cannot_point_out_of_the_store(path: str, sound: bool) -> None:
    """Nothing is deleted on the word of a ledger but archives of the store."""
    assert layout.is_archive_path(path) is sound
