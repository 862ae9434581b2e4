"""What is made of the rows of a store and kept beside them, as long as its version is the one it was made from."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from .table import Store

Arrays = dict[str, np.ndarray]
FOLDER = "beside"


def beside(store: Store, name: str, make: Callable[[], Arrays]) -> Arrays:
    """Arrays of some name: from memory, from a file in the folder of the store, or made now and kept there.

    Of a store that is no folder they are kept in memory alone. Any change of the store makes another version, after
    which they are made again.
    """
    held = store.kept.get(name)
    if held is not None and held[0] == store.version:
        return held[1]
    file = store.path / FOLDER / f"{name}.npz" if isinstance(store.path, Path) else None
    found = None if file is None else _read(file, store.version)
    if found is None:
        found = make()
        if file is not None:
            _write(file, {**found, "version": np.array(store.version)})
    store.kept[name] = store.version, found
    return found


def there(store: Store, begins: str) -> list[str]:
    """Names of the arrays of this version that begin so and need not be made, without that beginning."""
    kept = [name for name, (version, _) in store.kept.items() if name.startswith(begins) and version == store.version]
    if isinstance(store.path, Path):
        files = (store.path / FOLDER).glob(f"{begins}*.npz")
        kept += [file.stem for file in files if _read(file, store.version) is not None]
    return sorted({name.removeprefix(begins) for name in kept})


def _read(file: Path, version: int) -> Arrays | None:
    try:
        with np.load(file, allow_pickle=False) as archive:
            if int(archive["version"]) != version:
                return None
            return {key: archive[key] for key in archive.files if key != "version"}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None  # none there, or one that was damaged: it is made again


def _write(file: Path, arrays: Arrays) -> None:
    """Whole or not at all."""
    file.parent.mkdir(exist_ok=True)
    part = file.with_name(f".{file.stem}.{os.getpid()}.npz")
    try:
        np.savez(part, **arrays)  # type: ignore[arg-type]
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)
