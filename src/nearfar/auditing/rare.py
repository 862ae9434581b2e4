"""A class made rare on purpose: what its vectors lose, and what a classifier of them loses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..data.source import Source
from ..errors import ConfigError, DataError
from ..evaluation.harms import Encoded, Harms, harms
from ..run import shown
from .trainings import Say, folder, labelled, number_of, remember, steps_of, trained

FIGURES = "harms.json"


def audit_harms(
    data: str | Path,
    out: str | Path | None = None,
    *,
    rare: str | int = 0,
    share: float = 0.01,
    seeds: int = 3,
    seed: int = 0,
    method: str = "simclr",
    modality: str | None = None,
    progress: bool | None = None,
    on_step: Say | None = None,
    **settings: Any,
) -> Harms:
    """Train on all rows and on rows of which one class is rare, seed by seed, and measure the harms.

    Both trainings of a seed have the same weights at the start, the same settings and the same number of steps. The
    rows that are left of the class are drawn anew for every seed. Scored on the test part, or on a fifth of every class
    that is held out. Called again with the same arguments and `out`, what is finished is kept.

    Args:
        data: labelled data, or "bundled:fashion".
        out: the folder of the trainings and of `harms.json`; `runs/<date>-harms` when None.
        rare: the class, by name or number. share: of its training rows that is left, at least two rows.
        seeds, seed: how many pairs of trainings, with seeds from `seed` on.
        method, modality, settings: as in `nearfar.fit`.

    Raises:
        DataError: data without labels. ConfigError: an unknown class or setting, or a folder with another audit.

    >>> print(audit_harms("photos/", rare="cat"))                           # doctest: +SKIP
    """
    if not 0 < share < 1 or seeds < 1:
        raise ConfigError(f"share lies between 0 and 1 and seeds is 1 or more, got {share:g} and {seeds}")
    say, target = on_step or (lambda text: None), folder(out, "harms")
    rows, kind = labelled(data, modality, settings, target, shown(progress))
    number, names = number_of(rare, rows.train.classes, "class"), rows.train.classes
    asked = {"data": str(data), "rare": names[number], "share": share, "seed": seed, "method": method}
    remember(target, {"audit": "harms", **asked, "settings": settings})
    every = {**steps_of(settings, len(rows.train)), "method": method, "modality": kind.name}
    found = []
    for one in range(seed, seed + seeds):
        kept = made_rare(_labels(rows.train), number, share, one)
        encoded = []
        for name, source in (("balanced", rows.train), ("rare", rows.train.select(kept))):
            run = trained(source, target / f"{name}-{one}", say, progress, seed=one, **every)
            say(f"vectors of {name}-{one}")
            sides = [run.vectors_of(run.method, part, progress) for part in (rows.train, rows.test)]
            encoded.append(Encoded(*sides))
        say(f"heads of seed {one}")
        labels = _labels(rows.train), _labels(rows.test)
        found.append(harms(encoded[0], encoded[1], *labels, kept, names, seed=one))
    say("done")
    total = found[0].joined(found[1:])
    total.save(target / FIGURES)
    return total


def made_rare(labels: np.ndarray, number: int, share: float, seed: int) -> np.ndarray:
    """Numbers of the rows that are left, ascending, where of one class only a share stays: two rows or more.

    Raises:
        DataError: the class has too few rows to be made rare.

    >>> made_rare(np.array([0] * 100 + [1] * 3), 0, share=0.05, seed=0).size
    8
    """
    own = np.flatnonzero(labels == number)
    left = max(2, round(len(own) * share))
    if left >= len(own):
        raise DataError(f"the class has {len(own)} training rows, of which {left} would stay; choose another class")
    gone = np.random.default_rng(seed).permutation(own)[left:]
    return np.setdiff1d(np.arange(len(labels)), gone)


def _labels(source: Source) -> np.ndarray:
    assert source.labels is not None
    return source.labels
