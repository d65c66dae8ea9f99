"""The recipes: what a person can ask for. See them with ``invoke --list`` and ``invoke --help backup``.

In another project, its ``tasks.py`` is one line: ``from backup_lib.tasks import ns``.
"""

from backup_lib.imports import own_modules

with own_modules():  # and no line before it: the project has a __future__.py, too
    import os
    from collections.abc import Sequence
    from pathlib import Path
    from typing import TYPE_CHECKING

    from invoke import Collection

    from backup_lib.recipe import Call, recipe
    from backup_lib.settings import DEFAULTS

if TYPE_CHECKING:
    from backup_lib.backup import BackedUp
    from backup_lib.clean import Cleaned
    from backup_lib.release import Released
    from backup_lib.restore import Restored
    from backup_lib.tag import Tagged
    from backup_lib.undo import Undone
    from backup_lib.verify import Verified

__all__ = ["ns"]


@recipe(
    version="version to tag, e.g. 1.1.0; else that of package.json, pyproject.toml or VERSION",
    message="message of the tag (default: Release v1.1.0)",
    sign="sign the tag with your git signing key",
)
def tag(call: Call, version: str | None = None, message: str | None = None, sign: bool = False) -> "Tagged":
    """Mark the present commit as a version in git."""
    from backup_lib.tag import tag_version

    place = call.place()
    return tag_version(place, place.version(version), message, sign)


@recipe(
    version="version to back up, e.g. 1.1.0; else the project's own",
    daily="make today's daily backup instead, e.g. backups/2026-11-22.tar.gz; it is proved at once",
    format="gz (default) or zst",
    level="fast, normal (default) or small",
    note="a line of your own for the manifest",
    fresh="read every file again instead of copying what did not change from the backup before",
    new_store="make the store if it is not there yet, though it lies outside the project",
)
def backup(
    call: Call,
    version: str | None = None,
    daily: bool = False,
    format: str | None = None,
    level: str | None = None,
    note: str = "",
    fresh: bool = False,
    new_store: bool = False,
) -> "BackedUp":
    """Write the project, ignored configuration included, into the store; 'verify' proves it."""
    from backup_lib.backup import Order, back_up
    from backup_lib.settings import exclusive

    exclusive(daily=daily, version=version)
    place = call.place(new_store, format=format, level=level)
    wanted = None if daily else place.version(version)
    return back_up(place, Order(wanted, daily, note, fresh))


@recipe(
    version="version to verify, or a date of a daily backup (default: the newest backup)",
    all="verify every backup of the store",
    depth="quick: the archive's digest; full (default): every block and file; restore: restore it, too",
    archive="verify an archive by its path instead",
    unlimited="let a foreign archive ask for as much time and memory as it likes",
    rewrite_manifest="first write its MANIFEST.txt again, if it was lost or edited",
)
def verify(
    call: Call,
    version: str | None = None,
    all: bool = False,
    depth: str = "full",
    archive: str | None = None,
    unlimited: bool = False,
    rewrite_manifest: bool = False,
) -> "Verified | list[Verified]":
    """Prove a backup by reading it back, or say exactly what is wrong with it."""
    from backup_lib.rewriting import rewrite_lost_manifest
    from backup_lib.settings import exclusive
    from backup_lib.verify import parse_depth, verify_all, verify_archive, verify_version

    exclusive(all=all, version=version, archive=archive)
    exclusive(all=all, rewrite_manifest=rewrite_manifest)
    exclusive(archive=archive, rewrite_manifest=rewrite_manifest)
    place, how = call.place(), parse_depth(depth)
    if rewrite_manifest:
        rewrite_lost_manifest(place, place.known_version(version))
    if archive is not None:
        return verify_archive(place, Path(archive), how, unlimited)
    if all:
        return verify_all(place, how, unlimited)
    return verify_version(place, place.known_version(version), how, unlimited)


@recipe(
    iterable=("path",),
    version="version to restore, or a date of a daily backup (default: the newest backup)",
    archive="restore an archive by its path instead",
    to="folder to restore into (default: a new one, restored/v1.1.0)",
    path="restore only what matches, like a line of .gitignore: --path '*.json' --path src/ (repeatable)",
    config_only="restore only the configuration: what backup.config_patterns names",
    strip_components="leading parts of the names to cut off; 1 drops the project's own folder",
    overwrite="never (default), if-changed or always",
    in_place="restore over the project itself, after a safety backup",
    outside_links="restore also symlinks of a foreign archive that lead out of the target",
    unlimited="let a foreign archive ask for as much room and memory as it likes",
    setup="then run the project's own setup, e.g. npm ci",
    test="then run the project's own tests, e.g. npm test",
)
def restore(
    call: Call,
    version: str | None = None,
    archive: str | None = None,
    to: str | None = None,
    path: Sequence[str] | None = None,
    config_only: bool = False,
    strip_components: str = "0",
    overwrite: str | None = None,
    in_place: bool = False,
    outside_links: bool = False,
    unlimited: bool = False,
    setup: bool = False,
    test: bool = False,
) -> "Restored":
    """Bring a backup back: whole, in part, or its configuration only."""
    from backup_lib.restore import Request, parse_overwrite, restore
    from backup_lib.settings import exclusive, whole_number

    exclusive(to=to, in_place=in_place)
    exclusive(archive=archive, version=version)
    place = call.place()
    request = Request(
        version=place.known_version(version),
        archive=Path(archive) if archive else None,
        to=Path(os.path.abspath(to)) if to else None,
        paths=(*(path or ()), *(place.settings.config_patterns if config_only else ())),
        strip=whole_number(strip_components, "--strip-components", least=0),
        overwrite=parse_overwrite(overwrite),
        in_place=in_place,
        outside_links=outside_links,
        unlimited=unlimited,
        setup=setup,
        test=test,
    )
    return restore(place, request)


@recipe(
    keep="versions to keep of each kind, newest first in semantic order (default: 3)",
    keep_daily="daily backups to keep (default: all)",
)
def clean(call: Call, keep: str | None = None, keep_daily: str | None = None) -> "Cleaned":
    """Remove old backups; those kept are proved first, and nothing goes when too few are sound."""
    from backup_lib.clean import Keep, clean
    from backup_lib.settings import whole_number

    place = call.place(keep=keep)
    daily = None if keep_daily is None else whole_number(keep_daily, "--keep-daily")
    return clean(place, Keep(place.settings.keep, daily, is_said=keep is not None))


@recipe(
    version="version to release, e.g. 1.1.0; else the project's own",
    allow_dirty="release although the tree is not as committed",
    new_store="make the store if it is not there yet, though it lies outside the project",
    undo="take back what the release of --version made, where it is unchanged",
)
def release(
    call: Call,
    version: str | None = None,
    allow_dirty: bool = False,
    new_store: bool = False,
    undo: bool = False,
) -> "Released | Undone":
    """Tag, back up, prove and note a version; run again, it goes on where it stopped."""
    from backup_lib.release import release
    from backup_lib.settings import exclusive
    from backup_lib.undo import undo_release

    exclusive(undo=undo, allow_dirty=allow_dirty)
    exclusive(undo=undo, new_store=new_store)
    place = call.place(new_store)
    return undo_release(place, version) if undo else release(place, place.version(version), allow_dirty)


ns = Collection(tag, backup, verify, restore, clean, release)
ns.configure({"backup": DEFAULTS})
