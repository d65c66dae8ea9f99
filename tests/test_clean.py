"""clean, as a person runs it: what goes, and what never does."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from support import Run, archive_of, refused


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
        (False, "older than the 1 version kept"),
        (True, "version 1 of 1, proved"),
    ]
    done = run("clean", "--keep", "1", "--json").json["result"]
    assert done["fates"] == planned["fates"]
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

    refused(run("clean", "--keep", "2"), 4, "only 1 of the 2 versions to keep")
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


def test_what_was_proved_is_not_unpacked_again(project: Path, run: Run) -> None:
    """A backup with a proof is compared with its SHA-256; one without is read whole."""
    back_up(run, "1.0.0", "2.0.0", "3.0.0")
    assert run("verify", "--version", "3.0.0").code == 0
    assert run("clean", "--keep", "2").code == 0
    lines = (project / "backups" / "ledger.jsonl").read_text().splitlines()
    proofs = [proof for proof in map(json.loads, lines) if proof["act"] == "prove"]
    assert [(proof["version"], proof["depth"]) for proof in proofs[-3:]] == [
        ("3.0.0", "full"),
        ("3.0.0", "quick"),
        ("2.0.0", "full"),
    ]


def test_a_daily_backup_that_took_the_place_of_ours_is_not_counted(
    project: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is known of it, so it is neither proved nor removed."""
    for day in range(3):
        monkeypatch.setenv("SOURCE_DATE_EPOCH", str(1_700_000_000 + day * 86_400))
        assert run("backup", "--daily").code == 0
    days = sorted((project / "backups").glob("2023-*.tar.gz"))
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


def test_daily_backups_go_only_when_asked(project: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """--keep-daily keeps the newest days; without it all stay."""
    for day in range(3):
        monkeypatch.setenv("SOURCE_DATE_EPOCH", str(1_700_000_000 + day * 86_400))
        assert run("backup", "--daily").code == 0
    days = sorted((project / "backups").glob("2023-*.tar.gz"))
    assert run("clean").code == 0
    assert all(day.exists() for day in days)
    refused(run("clean", "--keep-daily", "0"), 1, "--keep-daily")
    assert run("clean", "--keep-daily", "2").code == 0
    assert [day.exists() for day in days] == [False, True, True]


def test_only_the_newest_safety_backup_is_kept(project: Path, run: Run) -> None:
    """Safety backups do not count as versions, and do not pile up."""
    back_up(run, "1.0.0", "1.1.0-safety.20260101T000000Z", "1.1.0-safety.20260102T000000Z")

    assert run("clean", "--keep", "1").code == 0
    left = sorted(path.name for path in (project / "backups").glob("v*"))
    assert left == ["v1.0.0", "v1.1.0-safety.20260102T000000Z"]


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
