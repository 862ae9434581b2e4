"""Teachers: whose vectors a student learns, made once into a file of its run, or anew for every batch."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.lib.format import open_memmap
from torch import Tensor
from tqdm.auto import tqdm

from .data.source import Source
from .errors import ConfigError, DataError
from .methods.method import Method, MethodOptions
from .mining.vectors import look, open_vectors
from .models.digest import digest
from .starting import full_name, is_run

if TYPE_CHECKING:
    from .run import Run

FILES = (".npy", ".npz")
KEPT = "teacher.npy"  # in the folder of a run: (N, P, D) float32
BLOCK = 4096  # rows that are embedded and written at a time


@dataclass(frozen=True)
class Teacher:
    """Another encoder, or its vectors.

    Attributes:
        name: in full: a run, an encoder, or a file of vectors by row.
        sha256: of its weights, or of the vectors in a file.
        width: of its vectors.
        run: what embeds; None for a file.
    """

    name: str
    sha256: str
    width: int
    run: Run | None = field(default=None, repr=False)

    def describe(self) -> dict[str, Any]:
        """Which one it is, as JSON."""
        return {"name": self.name, "sha256": self.sha256, "width": self.width}

    def vectors(self, source: Source) -> np.ndarray:
        """(B, P, D) float32 of the P parts of the rows of a source."""
        assert self.run is not None
        made = [self.run.vectors_of(self.run.method, part, progress=False) for part in source.parts()]
        return np.stack(made, 1)


def find(name: str, source: Source) -> Teacher:
    """The teacher of that name for some rows.

    Args:
        name: a run folder, an encoder by name, or a file of vectors (.npy, or .npz of `nearfar embed`), one a row.
        source: the rows.

    Raises:
        ConfigError: there is none of that name, or it takes other rows. DataError: the file does not fit the rows.
    """
    path = Path(name).expanduser()
    if path.suffix in FILES:
        table = open_vectors(path, "teacher")
        if len(table) != len(source):
            raise DataError(
                f"teacher: {path} has {len(table)} vectors and the data have {len(source)} rows; embed the same data: "
                "nearfar embed TEACHER DATA"
            )
        return Teacher(str(path.resolve()), look(table, "dot", torch.float32, "teacher").sha256, table.shape[1])
    from .opening import open_run

    run = open_run(name, source, modality=source.kind)
    if run.config["modality"] != source.kind:
        raise ConfigError(f"teacher: {name} is a run on {run.config['modality']}, and these data are {source.kind}")
    shape = tuple(source.describe()["shape"])
    if run.shape != shape:
        raise ConfigError(
            f"teacher: {name} takes rows of shape {run.shape}, and these data have {shape}; embed them as it reads "
            f"them, nearfar embed {name} DATA --out vectors.npz, and give that file as the teacher"
        )
    encoder = run.method.encoder
    name = str(path.resolve()) if is_run(name) else full_name(name)
    return Teacher(name, digest(encoder.state_dict()), int(encoder.width), run)  # type: ignore[arg-type]


def settled(kind: type[Method], options: MethodOptions, source: Source) -> tuple[MethodOptions, dict[str, Any] | None]:
    """Options with the teacher's full name and the width of its vectors, and what `Teacher.describe` says of it.

    For methods without a teacher these are the options as they were, and None.

    Raises:
        ConfigError: there is no such teacher, or another width was set. DataError: its file does not fit the rows.
    """
    if not kind.taught and getattr(options, "teacher", None) is None:
        return options, None
    teacher = find(options.teacher, source)  # type: ignore[attr-defined]
    if not kind.taught:  # asked of pairs, by vectors of any width
        return options.with_(teacher=teacher.name), teacher.describe()
    usual = kind.Options.model_fields["projection"].default
    if options.projection not in (teacher.width, usual):
        raise ConfigError(
            f"projection = {options.projection}, but the vectors of {teacher.name} have width {teacher.width}; leave "
            "it out"
        )
    return options.with_(teacher=teacher.name, projection=teacher.width), teacher.describe()


def prepare(run: Run, source: Source, progress: bool) -> None:
    """Make the vectors of a run's teacher for all rows, block by block, unless they are there or not to be kept.

    Raises:
        ConfigError: the teacher is not what it was when the run began.
    """
    file = run.path / KEPT
    if not _kept(run) or file.is_file():
        return
    teacher = _again(run, source)
    part = file.with_suffix(".part")
    count, size = len(source), (len(source), len(source.parts()), teacher.width)
    table = open_memmap(part, mode="w+", dtype=np.float32, shape=size)
    with tqdm(total=count, unit=" items", disable=not progress, desc="teacher") as bar:
        for start in range(0, count, BLOCK):
            rows = np.arange(start, min(start + BLOCK, count))
            table[rows] = teacher.vectors(source.select(rows))
            bar.update(len(rows))
    table.flush()
    del table
    part.rename(file)


class Taught:
    """What the teacher of a run makes of rows, (B, P, D): from a file, or embedded when asked for."""

    def __init__(self, run: Run, source: Source) -> None:
        self.run, self.source = run, source

    def __call__(self, index: np.ndarray) -> Tensor:
        """See `nearfar.training.protocols.Taught`."""
        if self._table is not None:
            rows = np.array(self._table[index], dtype=np.float32)
            return torch.from_numpy(rows.reshape(len(rows), -1, rows.shape[-1]))
        return torch.from_numpy(self._teacher.vectors(self.source.select(index)))

    @cached_property
    def _table(self) -> np.ndarray | None:
        if _kept(self.run):
            table: np.ndarray = np.load(self.run.path / KEPT, mmap_mode="r", allow_pickle=False)
            if len(table) != len(self.source):
                raise DataError(
                    f"{self.run.path / KEPT} has vectors of {len(table)} rows and the data have {len(self.source)}; "
                    "put the data back, or start a run in another folder"
                )
            return table
        return None if _is_file(self.run) is None else _given(self.run, self.source)

    @cached_property
    def _teacher(self) -> Teacher:
        return _again(self.run, self.source)


def _is_file(run: Run) -> Path | None:
    path = Path(run.config["teacher"]["name"])
    return path if path.suffix in FILES else None


def _kept(run: Run) -> bool:
    """Whether the vectors of the teacher lie in the run."""
    return "teacher" in run.config and run.config["method_options"]["keep"] and _is_file(run) is None


def _given(run: Run, source: Source) -> np.ndarray:
    _again(run, source)
    return open_vectors(run.config["teacher"]["name"], "teacher")


def _again(run: Run, source: Source) -> Teacher:
    """The teacher of a run, which must be what it was."""
    then = run.config["teacher"]
    now = find(then["name"], source)
    if now.sha256 != then["sha256"]:
        raise ConfigError(
            f"the teacher {then['name']!r} is no longer what this run learned from: SHA-256 {then['sha256'][:12]}... "
            f"then, {now.sha256[:12]}... now; put it back, or start a run in another folder"
        )
    return now
