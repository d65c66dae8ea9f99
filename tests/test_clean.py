"""clean, as a person runs it: what goes, and what never does."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from pathlib import Path

import pytest
from support import Run, archive_of, clock_at, git, refused, setting, unreadable


def back_up(run: Run, *versions: str) -> dict[str, Path]:
    """Make a backup of each version."""
    return {version: archive_of(run("backup", "--version", version, "--json")) for version in versions}


def test_the_newest_versions_are_kept_in_semantic_order(project: Path, run: Run) -> None:
    """1.10.0 is newer than 1.9.0, and 1.1.0 than its release candidate, whatever was made first."""
    made = back_up(run, "1.10.0", "1.9.0", "1.1.0", "1.1.0-rc.1", "0.9.0")
    outcome = run("clean", "--keep", "3")

    assert outcome.code == 0
    assert [version for version, archive in made.items() if archive.exists()] == ["1.10.0", "1.9.0", "1.1.0"]
    assert not made["0.9.0"].parent.exists()
    assert "2 of 5 backups" in outcome.out


def test_of_versions_that_differ_in_build_metadata_the_last_made_is_newer(project: Path, run: Run) -> None:
    """Semantic versioning gives them no order."""
    archives = back_up(run, "1.1.0+b2", "1.1.0+b1", "1.0.0")
    assert run("clean", "--keep", "1").code == 0
    assert [version for version, archive in archives.items() if archive.exists()] == ["1.1.0+b1"]


def test_foreign_archives_beside_safety_backups_stay(project: Path, run: Run) -> None:
    """What another made is never removed, whatever its folder is called."""
    back_up(run, "1.0.0", "1.1.0-safety.20260101T000000Z", "1.1.0-safety.20260102T000000Z")
    folder = project / "backups" / "v0.1.0-safety.20250101T000000Z"
    folder.mkdir()
    subprocess.run(["tar", "-czf", folder / "foreign.tar.gz", "src"], check=True, cwd=project)
    assert run("clean", "--keep", "1").code == 0
    assert (folder / "foreign.tar.gz").exists()


def test_each_fate_is_told_with_its_reason_and_the_bytes_freed(project: Path, run: Run) -> None:
    """A person sees why something stays or goes, before it goes."""
    made = back_up(run, "1.0.0", "2.0.0")
    size = made["1.0.0"].stat().st_size
    planned = run("clean", "--keep", "1", "--dry-run", "--json").json["result"]
    assert made["1.0.0"].exists()
    assert [(fate["kept"], fate["reason"]) for fate in planned["fates"]] == [
        (False, "older than the 1 untagged version kept"),
        (True, "untagged version 1 of 1, sound, and not proved yet"),
    ]
    assert run("verify", "--version", "2.0.0").code == 0
    again = run("clean", "--keep", "1", "--dry-run", "--json").json["result"]
    assert again["fates"][1]["reason"] == "untagged version 1 of 1, proved"
    done = run("clean", "--keep", "1", "--json").json["result"]
    assert done == again
    assert done["freed"] == size


def test_what_is_kept_is_proved_first(project: Path, run: Run) -> None:
    """Before anything goes, each kept version has a proof in the ledger."""
    back_up(run, "1.0.0", "2.0.0", "3.0.0")
    run("clean", "--keep", "2")

    ledger = (project / "backups" / "ledger.jsonl").read_text()
    for version in ("2.0.0", "3.0.0"):
        proof = next(
            place for place, line in enumerate(ledger.splitlines()) if '"prove"' in line and version in line
        )
        removal = next(place for place, line in enumerate(ledger.splitlines()) if '"remove"' in line)
        assert proof < removal


def test_nothing_goes_when_too_few_are_sound(project: Path, run: Run) -> None:
    """A damaged backup does not count, and the last sound ones stay."""
    made = back_up(run, "1.0.0", "2.0.0", "3.0.0")
    for version in ("2.0.0", "3.0.0"):
        made[version].write_bytes(made[version].read_bytes()[:-1])

    refused(run("clean", "--keep", "2"), 4, "only 1 of the 2 untagged versions to keep")
    assert all(archive.exists() for archive in made.values())


def test_a_damaged_version_is_neither_counted_nor_removed(project: Path, run: Run) -> None:
    """The next older sound one is kept in its stead."""
    made = back_up(run, "1.0.0", "2.0.0", "3.0.0")
    made["3.0.0"].write_bytes(made["3.0.0"].read_bytes()[:-1])
    outcome = run("clean", "--keep", "1")

    assert outcome.code == 0
    assert [version for version, archive in made.items() if archive.exists()] == ["2.0.0", "3.0.0"]
    assert "damaged, so it does not count" in outcome.out


def test_an_old_proof_is_not_taken_for_the_archive_of_today(project: Path, run: Run) -> None:
    """What was proved once and is damaged now does not count: the bytes are read again."""
    made = back_up(run, "1.0.0", "2.0.0")
    assert run("verify", "--all").code == 0
    data = bytearray(made["2.0.0"].read_bytes())
    data[len(data) // 3] ^= 1
    made["2.0.0"].write_bytes(data)

    assert run("clean", "--keep", "1").code == 0
    assert made["1.0.0"].exists()


@pytest.mark.parametrize("depth", ["full", "restore"])
def test_what_is_kept_is_read_whole_whatever_the_ledger_says(
    project: Path, run: Run, tmp_path: Path, depth: str
) -> None:
    """A proof in the ledger is a line of text: the last sound backup does not go on its word."""
    made = back_up(run, "1.0.0", "2.0.0")
    assert run("verify", "--all").code == 0
    data = bytearray(made["2.0.0"].read_bytes())
    old = hashlib.sha256(data).hexdigest()
    for place in range(40, 80):
        data[place] ^= 0x55
    made["2.0.0"].write_bytes(data)
    new = hashlib.sha256(data).hexdigest()
    manifest, ledger = made["2.0.0"].with_name("MANIFEST.txt"), project / "backups" / "ledger.jsonl"
    manifest.write_text(manifest.read_text().replace(old, new))
    ledger.write_text(ledger.read_text().replace(old, new).replace('"full"', f'"{depth}"'))
    assert run("verify", "--version", "2.0.0", "--depth", "quick").code == 0

    assert run("clean", "--keep", "1").code == 0
    assert run("restore", "--version", "1.0.0", "--to", str(tmp_path / "to")).code == 0


def back_up_days(run: Run, days: int) -> list[Path]:
    """Make a daily backup of each of some days, oldest first."""
    made = []
    for day in range(days):
        with clock_at(1_700_000_000 + day * 86_400):
            made.append(archive_of(run("backup", "--daily", "--json")))
    return made


def test_a_daily_backup_that_took_the_place_of_ours_is_not_counted(project: Path, run: Run) -> None:
    """Nothing is known of it, so it is neither proved nor removed."""
    days = back_up_days(run, 3)
    days[2].write_bytes(b"another")
    assert run("clean", "--keep-daily", "1").code == 0
    assert [day.exists() for day in days] == [False, True, True]


@pytest.mark.parametrize("keep", ["0", "-1", "abc", "1.5", "²"])
def test_a_keep_that_is_no_number_of_versions_is_refused(project: Path, run: Run, keep: str) -> None:
    """To keep none would be to lose all."""
    made = back_up(run, "1.0.0")

    refused(run("clean", f"--keep={keep}"), 1, "--keep takes a whole number of at least 1")
    assert made["1.0.0"].exists()


def test_archives_of_other_makers_are_never_removed(project: Path, run: Run) -> None:
    """A plain archive is not ours to delete."""
    folder = project / "backups" / "v0.1.0"
    folder.mkdir(parents=True)
    subprocess.run(["tar", "-czf", folder / "old.tar.gz", "src"], check=True)
    back_up(run, "1.0.0", "2.0.0")

    assert run("clean", "--keep", "1").code == 0
    assert (folder / "old.tar.gz").exists()


def test_daily_backups_go_only_when_asked(project: Path, run: Run) -> None:
    """--keep-daily keeps the newest days; without it all stay."""
    days = back_up_days(run, 3)
    assert [day.name for day in days] == [f"2023-11-{day}.tar.gz" for day in (14, 15, 16)]
    assert run("clean").code == 0
    assert all(day.exists() for day in days)
    refused(run("clean", "--keep-daily", "0"), 1, "--keep-daily")
    assert run("clean", "--keep-daily", "2").code == 0
    assert [day.exists() for day in days] == [False, True, True]


def left(project: Path) -> list[str]:
    """Return the versions that the store holds."""
    return sorted(path.name.removeprefix("v") for path in (project / "backups").glob("v*"))


def release(project: Path, run: Run, *versions: str) -> None:
    """Release each version, of a commit of its own."""
    for version in versions:
        assert run("release", "--version", version).code == 0
        git(project, "commit", "-qam", f"Note {version}")


@pytest.mark.parametrize("typed", [("99.0.0",), ("99.0.0", "99.0.1", "99.0.2")])
def test_versions_that_were_never_tagged_evict_no_release(
    project: Path, run: Run, typed: tuple[str, ...]
) -> None:
    """A typing error is counted apart, whatever git says of tags today."""
    release(project, run, "1.0.0", "1.0.1")
    back_up(run, *typed)
    git(project, "tag", "-a", "-m", "late", "v99.0.0")
    git(project, "tag", "-d", "v1.0.0")
    assert run("clean", "--keep", "2").code == 0
    assert left(project) == ["1.0.0", "1.0.1", *typed[-2:]]


@pytest.mark.parametrize("order", ["backup after", "backup before"])
def test_a_backup_beside_that_of_a_release_leaves_it_released(project: Path, run: Run, order: str) -> None:
    """package.json stays at a version until the next: a plain backup makes no release a typing error."""
    if order == "backup before":
        assert run("backup").code == 0  # the release goes on with it: its index knows no tag
    release(project, run, "1.1.0")
    if order == "backup after":
        assert "v1.1.0 is tagged at" in run("backup").err
    back_up(run, "99.0.0")
    assert run("clean", "--keep", "1").code == 0
    assert left(project) == ["1.1.0", "99.0.0"]


def test_an_index_that_cannot_be_read_leaves_the_tag_to_the_ledger(project: Path, run: Run) -> None:
    """A damaged release is still one: it is not counted, and not taken for a typing error."""
    release(project, run, "1.0.0", "1.0.1", "1.0.2")
    archive = next((project / "backups" / "v1.0.2").glob("*Z.tar.gz"))
    archive.write_bytes(archive.read_bytes()[:-20])
    result = run("clean", "--keep", "1", "--json").json["result"]
    reasons = {Path(fate["archive"]).parent.name: fate["reason"] for fate in result["fates"]}
    assert reasons["v1.0.2"] == "damaged, so it does not count; see invoke verify"
    assert reasons["v1.0.1"] == "version 1 of 1, proved"
    assert left(project) == ["1.0.1", "1.0.2"]


@pytest.mark.parametrize(
    ("versions", "keep", "stay"),
    [
        (("1.0.0", "2.0.0-rc.1", "2.0.0-rc.2", "2.0.0-rc.3"), 1, ["1.0.0", "2.0.0-rc.3"]),
        (("1.0.0-rc.1", "1.0.0-rc.2", "1.0.0"), 2, ["1.0.0", "1.0.0-rc.2"]),
        (("1.0.0-rc.1", "1.0.0"), 2, ["1.0.0", "1.0.0-rc.1"]),
        (("1.0.0-rc.1", "1.0.0", "1.1.0"), 1, ["1.1.0"]),
        (("1.0.0-rc.1", "1.0.0+build", "1.1.0", "1.2.0-rc.1"), 2, ["1.0.0+build", "1.1.0", "1.2.0-rc.1"]),
    ],
)
def test_a_prerelease_goes_once_its_release_is_there(
    project: Path, run: Run, versions: tuple[str, ...], keep: int, stay: list[str]
) -> None:
    """Oldest first, while as many versions as asked for remain; before, they are a kind of their own."""
    back_up(run, *versions)
    assert run("clean", "--keep", str(keep)).code == 0
    assert left(project) == sorted(stay)


def test_a_prerelease_stays_if_its_release_is_damaged(project: Path, run: Run) -> None:
    """It may be the last sound one of them."""
    made = back_up(run, "1.0.0-rc.1", "1.0.0", "1.1.0")
    made["1.0.0"].write_bytes(made["1.0.0"].read_bytes()[:-1])
    assert run("clean", "--keep", "2").code == 0
    assert left(project) == ["1.0.0", "1.0.0-rc.1", "1.1.0"]


def test_a_prerelease_stays_if_its_release_lacks_what_it_holds(project: Path, run: Run) -> None:
    """A file that became unreadable is only in the pre-release."""
    back_up(run, "1.0.0-rc.1")
    with unreadable(project / ".env"):
        back_up(run, "1.0.0")
    assert run("clean", "--keep", "1").code == 0
    assert left(project) == ["1.0.0", "1.0.0-rc.1"]


def test_no_prerelease_goes_while_fewer_than_asked_for_are_sound(project: Path, run: Run) -> None:
    """Damaged versions do not count among those that remain."""
    made = back_up(run, "1.0.0-rc.1", "1.0.0", "2.0.0")
    made["2.0.0"].write_bytes(made["2.0.0"].read_bytes()[:-1])
    assert run("clean", "--keep", "2").code == 0
    assert left(project) == ["1.0.0", "1.0.0-rc.1", "2.0.0"]


def test_complete_is_what_is_sound_too(project: Path, run: Run) -> None:
    """An archive that was complete, and is damaged, stands for no other."""
    made = back_up(run, "1.0.0", "2.0.0")
    data = bytearray(made["2.0.0"].read_bytes())
    data[len(data) // 4] ^= 1
    made["2.0.0"].write_bytes(data)
    with unreadable(project / ".env"):
        again = back_up(run, "2.0.0")
    assert run("verify", "--archive", str(again["2.0.0"])).code == 0
    result = run("clean", "--keep", "1", "--json").json["result"]
    assert left(project) == ["1.0.0", "2.0.0"]
    assert "proved" not in result["fates"][1]["reason"]


@pytest.mark.parametrize("kind", ["version", "pre-release", "daily"])
def test_incomplete_backups_push_no_complete_one_out(project: Path, run: Run, kind: str) -> None:
    """A file that became unreadable is only in the last complete backup: that one stays."""

    def made(number: int) -> Path:
        flags = {"daily": ["--daily"], "version": ["--version", f"1.{number}.0"]}
        with clock_at(1_700_000_000 + number * 86_400):
            outcome = run("backup", *flags.get(kind, ["--version", f"2.0.0-rc.{number}"]), "--json")
        return archive_of(outcome)

    complete = [made(0), made(1)]
    with unreadable(project / ".env"):
        incomplete = [made(number) for number in (2, 3, 4)]
    keep = ("--keep-daily", "2") if kind == "daily" else ("--keep", "2")
    result = run("clean", *keep, "--json").json["result"]
    assert [path.exists() for path in complete] == [False, True]
    assert [path.exists() for path in incomplete] == [False, True, True]
    assert "the newest complete one, proved" in [fate["reason"] for fate in result["fates"]]
    assert run("clean", *keep).code == 0
    assert complete[1].exists()


def test_a_lower_setting_does_not_sweep_the_store(project: Path, run: Run) -> None:
    """More than half would go, and nobody said so just now: nothing goes, and the line names the flag."""
    made = back_up(run, *(f"1.{number}.0" for number in range(5)))
    with setting("KEEP", "5"):
        assert run("clean").code == 0
    for flags in ((), ("--dry-run",)):
        with setting("KEEP", "2"):
            refused(run("clean", *flags), 1, "3 of 5 versions would go, so nothing was removed; if")
    assert all(archive.exists() for archive in made.values())
    with setting("KEEP", "3"):  # less than half
        assert run("clean").code == 0
    assert left(project) == ["1.2.0", "1.3.0", "1.4.0"]
    refused(run("clean", "--keep", "x"), 1, "--keep takes")
    assert run("clean", "--keep", "1").code == 0
    assert left(project) == ["1.4.0"]


def test_the_first_clean_may_remove_as_much_as_it_is_told(project: Path, run: Run) -> None:
    """Without a clean before, the default is no surprise; neither is a setting that stays as it was."""
    back_up(run, *(f"1.{number}.0" for number in range(8)))
    assert run("clean").code == 0
    back_up(run, *(f"2.{number}.0" for number in range(5)))
    assert run("clean").code == 0
    assert left(project) == ["2.2.0", "2.3.0", "2.4.0"]


def test_what_is_no_longer_as_it_was_published_is_not_removed(project: Path, run: Run) -> None:
    """Somebody put another archive under that name: it is theirs."""
    made = back_up(run, "1.0.0", "2.0.0", "3.0.0")
    made["1.0.0"].write_bytes(b"theirs")
    result = run("clean", "--keep", "1", "--json").json["result"]
    assert made["1.0.0"].read_bytes() == b"theirs"
    assert result["fates"][0]["reason"] == "not as it was published here; see invoke verify"
    assert not made["2.0.0"].exists()


@pytest.mark.parametrize("size", [1, None])
def test_a_forged_publication_makes_nothing_ours(project: Path, run: Run, size: int | None) -> None:
    """An archive without an index of ours stays, though the ledger knows its name and its digest."""
    folder = project / "backups" / "v0.1.0"
    folder.mkdir(parents=True)
    theirs = folder / "heymarket-endpoint_v0.1.0_20200101T000000Z.tar.gz"
    subprocess.run(["tar", "-czf", theirs, "src"], check=True, cwd=project)
    data = theirs.read_bytes()
    line = {"time": "x", "act": "publish", "archive": f"v0.1.0/{theirs.name}", "size": size or len(data)}
    back_up(run, "1.0.0")
    with (project / "backups" / "ledger.jsonl").open("a") as ledger:
        ledger.write(json.dumps(line | {"sha256": hashlib.sha256(data).hexdigest()}) + "\n")
    back_up(run, "2.0.0")
    assert run("clean", "--keep", "1").code == 0
    assert theirs.read_bytes() == data


def test_a_line_that_stands_in_the_ledger_again_changes_no_order(project: Path, run: Run) -> None:
    """The oldest daily backup does not become the newest."""
    days = back_up_days(run, 2)
    ledger = project / "backups" / "ledger.jsonl"
    ledger.write_text(ledger.read_text() + ledger.read_text().splitlines()[0] + "\n")
    assert run("clean", "--keep-daily", "1").code == 0
    assert [day.exists() for day in days] == [False, True]


def test_a_manifest_that_a_person_edited_is_kept_and_said(project: Path, run: Run) -> None:
    """Its archive goes, the lines of a person do not."""
    made = back_up(run, "1.0.0", "2.0.0")
    manifest = made["1.0.0"].with_name("MANIFEST.txt")
    manifest.write_text(manifest.read_text() + "# mine\n")
    outcome = run("clean", "--keep", "1")
    assert f"was not made here; it was moved to {manifest.with_name('MANIFEST.theirs.txt')}" in outcome.err
    assert manifest.with_name("MANIFEST.theirs.txt").read_text().endswith("# mine\n")
    assert run("verify", "--all").code == 0


def test_a_store_whose_disk_is_missing_is_not_called_clean(project: Path, run: Run, tmp_path: Path) -> None:
    """clean and verify say what backup says."""
    (tmp_path / "disk").mkdir()
    with setting("STORE", str(tmp_path / "disk")):
        for command in (("clean",), ("verify",), ("verify", "--all"), ("restore",), ("clean", "--dry-run")):
            refused(run(*command), 1, "holds no ledger.jsonl, so it is no store; mount the disk")


@pytest.mark.parametrize("lost", ["ledger", "nothing"])
def test_what_is_no_store_is_not_cleaned(project: Path, run: Run, lost: str) -> None:
    """Only a store knows what is ours; nothing is left in the folder either."""
    if lost == "ledger":
        made = back_up(run, "1.0.0", "2.0.0")
        (project / "backups" / "ledger.jsonl").unlink()
        refused(run("clean", "--keep", "1"), 1, "holds no ledger.jsonl, so nothing is removed from it")
        assert all(archive.exists() for archive in made.values())
    else:
        (project / "backups" / "vendor").mkdir(parents=True)
        assert run("clean", "--keep", "1").code == 0
        assert os.listdir(project / "backups") == ["vendor"]


def test_only_the_newest_safety_backup_is_kept(project: Path, run: Run) -> None:
    """Safety backups do not count as versions, and do not pile up."""
    back_up(run, "1.0.0", "1.1.0-safety.20260101T000000Z", "1.1.0-safety.20260102T000000Z")

    assert run("clean", "--keep", "1").code == 0
    assert left(project) == ["1.0.0", "1.1.0-safety.20260102T000000Z"]


def test_all_archives_of_a_kept_version_stay(project: Path, run: Run) -> None:
    """Versions are counted, not files."""
    back_up(run, "1.0.0", "2.0.0")
    again = back_up(run, "2.0.0")

    assert run("clean", "--keep", "1").code == 0
    assert len(list(again["2.0.0"].parent.glob("*_2*Z*.tar.gz"))) == 2


def test_nothing_to_clean_is_fine(project: Path, run: Run) -> None:
    """An empty store is clean."""
    assert run("clean").code == 0
    assert not (project / "backups").exists()


@pytest.mark.parametrize("oldest", [True, False])
def test_nothing_is_removed_where_what_would_go_cannot_be_read(project: Path, run: Run, oldest: bool) -> None:
    """What a disk cannot read for a moment is neither changed nor somebody else's: the run fails."""
    archives = [archive_of(run("backup", "--version", version, "--json")) for version in ("1.0.0", "2.0.0")]
    archives.append(archive_of(run("backup", "--version", "3.0.0", "--json")))
    doomed = archives[0 if oldest else 1]
    with unreadable(doomed):
        refused(run("clean", "--keep", "1"), 1, f"reading {doomed.parent.name}/{doomed.name} failed")
    assert all(archive.exists() for archive in archives)
    assert run("clean", "--keep", "1").code == 0
    assert [archive.exists() for archive in archives] == [False, False, True]


def test_no_day_is_removed_where_it_cannot_be_read(project: Path, run: Run) -> None:
    """The same of daily backups."""
    with clock_at(1_700_000_000):
        old = archive_of(run("backup", "--daily", "--json"))
    run("backup", "--daily")
    with unreadable(old):
        refused(run("clean", "--keep-daily", "1"), 1, f"reading {old.name} failed")
    assert old.exists()
    assert run("clean", "--keep-daily", "1").code == 0
    assert not old.exists()
