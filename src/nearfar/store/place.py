"""Where a store lies: in a folder, or behind the address of an object store."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

from nearfar.errors import ConfigError

Place = Path | str  # a folder, or where an object store keeps one: s3://bucket/my.store
TABLE = "rows"
LOCK = "lock"


def place_of(path: str | Path) -> Place:
    """A folder as a path; what has another scheme than file:// stays as it is.

    >>> place_of("file:///tmp/a"), place_of("s3://bucket/a/")
    (PosixPath('/tmp/a'), 's3://bucket/a')
    """
    text = str(path)
    if isinstance(path, Path) or "://" not in text or text.startswith("file://"):
        return Path(text.removeprefix("file://")).expanduser()
    return text.rstrip("/")


def is_store(path: Place) -> bool:
    """Whether there is a store in a place, whole or damaged; one that was stopped before it was made is none."""
    if isinstance(path, str):
        from .lance import connect

        try:
            return TABLE in connect(path).list_tables().tables
        except (ValueError, RuntimeError, OSError) as error:
            raise ConfigError(f"{path} cannot be reached: {' '.join(str(error).split())[:300]}") from None
    table = path / f"{TABLE}.lance"
    return any((table / "_versions").glob("*.manifest")) or any((table / "data").glob("*"))


def taken(path: Path) -> bool:
    """Whether something else than the beginning of a store is there."""
    begun = (LOCK, f"{TABLE}.lance")
    return path.is_file() or (path.is_dir() and any(one.name not in begun for one in path.iterdir()))


def lock_of(path: Place) -> Path:
    """The file that a writer holds; an object store has none that one could hold, so it lies on this machine."""
    if isinstance(path, Path):
        return path / LOCK
    return Path(tempfile.gettempdir()) / f"nearfar-{hashlib.sha256(path.encode()).hexdigest()[:16]}.lock"
