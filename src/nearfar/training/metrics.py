"""The log of a run: one JSON line per logged step, and the same numbers for TensorBoard on request."""

from __future__ import annotations

import json
import math
import os
import warnings
from pathlib import Path
from typing import Any

from nearfar.errors import NearfarError

NAME = "metrics.jsonl"


class MetricsLog:
    """Appends records to ``metrics.jsonl``; ``length`` cuts the file back to what a checkpoint has seen.

    A number that is not finite is written as null, so that every line is JSON to any reader.
    """

    def __init__(self, path: Path, length: int = 0) -> None:
        self.path = path
        path.touch()
        present = path.stat().st_size
        if present < length:
            warnings.warn(
                f"{path} has {present} bytes, the checkpoint has seen {length}: some of its lines are lost",
                stacklevel=2,
            )
        os.truncate(path, min(present, length))
        self._file = open(path, "ab")  # noqa: SIM115 - open for the length of a run

    def write(self, record: dict[str, Any]) -> None:
        """Append one record. Raises NearfarError when the disk is full."""
        try:
            self._file.write(json.dumps(_finite(record), allow_nan=False).encode() + b"\n")
            self._file.flush()
        except OSError as error:
            raise NearfarError(f"{self.path} cannot be written: {error.strerror}; make room and resume") from error

    def sync(self) -> int:
        """Force the lines to disk; returns the length of the file in bytes, for the checkpoint."""
        os.fsync(self._file.fileno())
        return os.fstat(self._file.fileno()).st_size

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The records of a ``metrics.jsonl``; a last line cut off by a crash is left out."""
    if not path.exists():
        return []
    lines = path.read_bytes().split(b"\n")[:-1]  # what follows the last line feed is not a whole line
    return [json.loads(line) for line in lines]


class TensorBoardLog:
    """Writes the scalars of each record for TensorBoard; does nothing, and says so once, when it is not installed."""

    def __init__(self, folder: Path, step: int) -> None:
        self._writer: Any = None
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            warnings.warn(
                "TensorBoard is not installed, so no files for it: pip install 'nearfar[report]'", stacklevel=2
            )
            return
        self._writer = SummaryWriter(str(folder), purge_step=step + 1)

    def write(self, record: dict[str, Any]) -> None:
        """Write each number of the record, those of ``terms`` under their own names."""
        if self._writer is None:
            return
        numbers = record | {f"terms/{name}": value for name, value in record.get("terms", {}).items()}
        for name, value in numbers.items():
            if isinstance(value, int | float) and name != "step":
                self._writer.add_scalar(name, value, record["step"])

    def close(self) -> None:
        """Flush and close."""
        if self._writer is not None:
            self._writer.close()


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
