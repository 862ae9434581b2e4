"""Is a run whole, and can its vectors be relied on?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .data.source import Source
from .models.digest import digest
from .run import IN_MEMORY, Run

ROWS = 64
SIZES = (1, 7, 64)


@dataclass(frozen=True)
class Check:
    """What was found out about a run.

    Attributes:
        weights: SHA-256 of the encoder's weights.
        rows: how many rows were embedded.
        exact: whether row-by-row vectors are the same bits at every batch size.
        repeats: whether embedding the same rows again gives the same bits.
        spread: the largest difference between batch sizes without it, relative to the largest number of the vectors.
        reads: whether the data of the run are still there and the same kind.
    """

    weights: str
    rows: int
    exact: bool
    repeats: bool
    spread: float
    reads: bool

    @property
    def good(self) -> bool:
        """Whether all holds that should hold: exact bits, the same bits again, batch sizes equal to rounding."""
        return self.exact and self.repeats and self.spread < 1e-3

    def __str__(self) -> str:
        sizes = ", ".join(map(str, SIZES))
        lines = [
            f"weights         {self.weights}",
            f"rows            {self.rows}, in batches of {sizes}",
            f"exact           {'the same bits at every batch size' if self.exact else 'NOT the same bits'}",
            f"again           {'the same bits' if self.repeats else 'NOT the same bits'}",
            f"without exact   {self.spread:.1e} of the largest number between batch sizes",
            f"own data        {'there' if self.reads else 'gone or changed: it cannot be resumed'}",
        ]
        return "\n".join(lines)


def check(run: Run, data: str | Path | Source | None = None, rows: int = ROWS) -> Check:
    """Embed some rows several times, in other batches, and compare the bits.

    Args:
        run: a run, or an encoder by name as `nearfar.opening.open_run` gives it.
        data: what is embedded; the data of the run when None. rows: how many of them, spread over all.

    Raises:
        DataError, ConfigError: as of embedding.

    >>> print(check(Run.load("runs/photos")))                                # doctest: +SKIP
    """
    own = run.config["data"]
    reads = own != IN_MEMORY and Path(own).exists()
    source = data if isinstance(data, Source) else run.read(own if data is None else data, False)[0]
    some = source.select(np.unique(np.linspace(0, len(source) - 1, min(rows, len(source))).astype(int)))
    alone = [run.embed(some, False, size, exact=True).vectors for size in SIZES]
    together = [run.embed(some, False, size).vectors for size in SIZES]
    scale = max(float(np.abs(together[0]).max()), 1e-30)
    return Check(
        weights=digest(run.method.encoder.state_dict()),
        rows=len(some),
        exact=all(np.array_equal(alone[0], other) for other in alone),
        repeats=np.array_equal(together[-1], run.embed(some, False, SIZES[-1]).vectors),
        spread=max(float(np.abs(together[0] - other).max()) for other in together) / scale,
        reads=reads and (data is not None or run.config["source"]["items"] == len(source)),
    )
