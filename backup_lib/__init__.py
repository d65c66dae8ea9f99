"""Release backups that are plain files and prove themselves."""


def __getattr__(name: str) -> str:
    """Look up the version when it is asked for: that takes longer than most imports."""
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from backup_lib.imports import own_modules

    with own_modules():
        from importlib.metadata import PackageNotFoundError, version

    try:
        return version("release-backup")
    except PackageNotFoundError:
        return "0+checkout"
