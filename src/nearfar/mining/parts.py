"""A long result in parts on disk: each is written whole or not at all, and is found again after an interruption."""

from __future__ import annotations

import importlib
import io
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from nearfar.errors import ConfigError, DataError
from nearfar.training.checkpoint import write_whole

_SETTINGS = "settings.json"


@contextmanager
def alone(out: Path) -> Iterator[None]:
    """Keep other processes from the mining of the same table; the system lets go of it however a process ends.

    Raises:
        ConfigError: another process is at it.
    """
    try:
        fcntl = importlib.import_module("fcntl")
    except ImportError:  # Windows, where two processes at one table are not noticed
        yield
        return
    path = out.with_name(f"{out.name}.lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Whoever held it takes the file away; then another may have made and locked a new one.
            if not (path.exists() and os.path.samestat(path.stat(), os.fstat(file.fileno()))):
                raise BlockingIOError
        except BlockingIOError:
            raise ConfigError(f"another process mines {out} just now; wait for it, or choose another name") from None
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


class Parts:
    """A folder of numbered parts of one piece of work, which its settings name.

    Raises:
        ConfigError: it holds parts of other settings, or something else.
    """

    def __init__(self, folder: str | Path, settings: dict[str, Any]) -> None:
        self.folder, self.settings = Path(folder), settings
        content = json.dumps(settings, indent=1).encode()
        file = self.folder / _SETTINGS
        if file.is_file():
            if file.read_bytes() != content:
                raise ConfigError(
                    f"{self.folder} holds an unfinished mining of other data or settings; finish that one with its own "
                    "settings, or delete the folder"
                )
        elif self.folder.exists() and any(not path.name.startswith(".") for path in self.folder.iterdir()):
            raise ConfigError(f"{self.folder} is not empty and holds no mining; choose another place")
        else:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_whole(file, content)

    def has(self, number: int) -> bool:
        """Whether this part is there."""
        return self._path(number).is_file()

    def write(self, number: int, values: dict[str, Any]) -> None:
        """Write a part: arrays, dicts of arrays, and whatever JSON knows."""
        arrays: dict[str, np.ndarray] = {}
        rest: dict[str, Any] = {}
        for key, value in values.items():
            if isinstance(value, np.ndarray):
                arrays[key] = value
            elif isinstance(value, dict) and all(isinstance(item, np.ndarray) for item in value.values()):
                arrays |= {f"{key}/{name}": item for name, item in value.items()}
            else:
                rest[key] = value
        content = io.BytesIO()
        np.savez(content, **arrays, rest=np.array(json.dumps(rest)))  # type: ignore[arg-type]
        write_whole(self._path(number), content.getvalue())

    def read(self, number: int) -> dict[str, Any]:
        """A part as it was written."""
        path = self._path(number)
        try:
            with np.load(path, allow_pickle=False) as archive:
                values: dict[str, Any] = json.loads(str(archive["rest"]))
                for key in archive.files:
                    outer, _, name = key.partition("/")
                    if name:
                        values.setdefault(outer, {})[name] = archive[key]
                    elif key != "rest":
                        values[key] = archive[key]
        except (ValueError, OSError, EOFError, KeyError) as error:
            raise DataError(f"{path} cannot be read ({error}); delete it and start the same mining again") from None
        return values

    def __len__(self) -> int:
        return len(list(self.folder.glob("*.npz")))

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self.read(number) for number in range(len(self)))

    def remove(self) -> None:
        """Delete the folder; the settings last, so that it stays what it is however far this comes."""
        for path in self.folder.glob("*.npz"):
            path.unlink()
        shutil.rmtree(self.folder)

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:06}.npz"
