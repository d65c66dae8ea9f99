"""Text and file names under any locale: what we write holds UTF-8, whatever Python's ``os`` takes.

A file name as a ``str`` of Python stands for its bytes by the encoding of the locale (`os.fsencode`), which
may be ASCII or Latin-1; so may a setting and a flag. Text of a file, or our own, is Unicode. Where the locale
is UTF-8 the two are one, but for bytes that are not UTF-8.
"""

from __future__ import annotations

import os
import sys

__all__ = ["as_file_name", "as_local", "as_text", "utf8"]

_IS_UTF8 = sys.getfilesystemencoding() == "utf-8"


def as_text(name: bytes | str | os.PathLike[str]) -> str:
    """Return what a file name, a flag or a setting says; bytes that are not UTF-8 are surrogates."""
    if isinstance(name, bytes):
        return name.decode("utf-8", "surrogateescape")
    text = os.fspath(name)
    if _IS_UTF8 or text.isascii():
        return text
    try:
        return os.fsencode(text).decode()
    except UnicodeError:  # it is text already, in whole or in part
        return as_text(utf8(text))


def as_file_name(text: str) -> str:
    """Return the file name that has the text for its bytes, in UTF-8."""
    return text if _IS_UTF8 else os.fsdecode(utf8(text))


def as_local(text: str) -> str:
    """Return a setting as it names files and commands here, as any program of this locale would take it.

    What the locale has no bytes for stands for UTF-8.
    """
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        return as_file_name(text)
    return text


def utf8(text: str) -> bytes:
    """Return the bytes of text; a surrogate is a byte that was not UTF-8."""
    return text.encode("utf-8", "surrogateescape")
