"""NumPy archives, and names for messages: what several modalities read alike."""

from __future__ import annotations

import os
import zipfile
import zlib
from pathlib import Path

import numpy as np

from nearfar.errors import DataError


def printable(path: Path | str) -> str:
    r"""A path as text for messages and JSON; bytes that are not UTF-8 appear as \x escapes.

    Example:
        >>> printable(os.fsdecode(b"caf\xe9.png"))
        'caf\\xe9.png'
    """
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def open_archive(path: Path, example: str) -> np.lib.npyio.NpzFile:
    """An .npz archive, in which pickled objects are never loaded.

    Args:
        example: the name of an array that such archives hold.

    Raises:
        DataError: it cannot be read, or is not an archive.
    """
    try:
        archive = np.load(path, allow_pickle=False)
    except OSError as error:
        raise DataError(f"{printable(path)}: cannot be read: {error.strerror or error}") from error
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{printable(path)}: not a NumPy archive, or a damaged one: {error}") from error
    if not isinstance(archive, np.lib.npyio.NpzFile):
        raise DataError(
            f"{printable(path)}: a single array, not an archive; write it with np.savez(path, {example}=...)"
        )
    return archive


def member(archive: np.lib.npyio.NpzFile, path: Path, key: str, remedy: str) -> np.ndarray:
    """One array of an archive.

    Args:
        remedy: what to do about an array of Python objects.

    Raises:
        DataError: it is damaged, or holds Python objects.
    """
    try:
        return archive[key]
    except (ValueError, EOFError, OSError, zipfile.BadZipFile, zlib.error) as error:
        if "allow_pickle" in str(error):
            raise DataError(
                f"{printable(path)}[{key}]: an array of Python objects, which is never loaded because it can run code. "
                f"{remedy}"
            ) from error
        raise DataError(f"{printable(path)}[{key}]: damaged: {error}") from error
