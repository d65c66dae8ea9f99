"""Release backups that are plain files and prove themselves."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("release-backup")
except PackageNotFoundError:
    __version__ = "0+checkout"
