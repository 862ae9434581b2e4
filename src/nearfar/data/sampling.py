"""Which rows stand in which step: a function of the seed and the step number, with nothing else to save."""

from __future__ import annotations

from typing import Any

import numpy as np

from nearfar.data.labels import UNKNOWN
from nearfar.errors import ConfigError, DataError


class EpochSampler:
    """Every row once per epoch, in an order drawn from (seed, epoch).

    Step s belongs to epoch s // steps_per_epoch. Any step can be asked for at any time; only the order of the
    current epoch is kept in memory. With `drop_last` the n % batch_size rows left over change from epoch to epoch.
    A batch_size above n is lowered to n: each step then holds all rows.

    Attributes:
        batch_size: rows in a full batch, after the rule above.
        steps_per_epoch: n // batch_size, or rounded up when drop_last is False.

    Raises:
        ConfigError: batch_size below 1, or a negative seed.
        DataError: no rows.

    Example:
        >>> sampler = EpochSampler(n=10, batch_size=4, seed=0)
        >>> sampler.steps_per_epoch, sampler.batch(7).shape
        (2, (4,))
        >>> bool((sampler.batch(7) == EpochSampler(10, 4, seed=0).batch(7)).all())
        True
    """

    def __init__(self, n: int, batch_size: int, seed: int, drop_last: bool = True) -> None:
        _check_settings(seed, batch_size=batch_size)
        if n < 1:
            raise DataError("there are no rows to sample from")
        self.n = n
        self.batch_size = min(batch_size, n)
        self.seed = seed
        self.drop_last = drop_last
        self.steps_per_epoch = n // self.batch_size if drop_last else -(-n // self.batch_size)
        self._cached: tuple[int, np.ndarray] | None = None

    def epoch(self, step: int) -> int:
        """Which epoch a step belongs to, from 0."""
        return step // self.steps_per_epoch

    def batch(self, step: int) -> np.ndarray:
        """(batch_size,) int64 row numbers of a step, from 0; the last of an epoch is shorter without drop_last."""
        epoch, position = divmod(_check_step(step), self.steps_per_epoch)
        if self._cached is None or self._cached[0] != epoch:
            order = np.random.default_rng([self.seed, epoch]).permutation(self.n).astype(np.int64)
            self._cached = (epoch, order)
        start = position * self.batch_size
        return self._cached[1][start : start + self.batch_size].copy()

    def state(self) -> dict[str, Any]:
        """Settings that must be equal for a resumed run to continue with the same rows; the rest is the step number."""
        return {
            "sampler": "epoch",
            "n": self.n,
            "batch_size": self.batch_size,
            "seed": self.seed,
            "drop_last": self.drop_last,
        }


class PlannedSampler:
    """Base of samplers that plan all batches of an epoch at once; a subclass has its sizes, `state` and `_plan`."""

    batch_size: int
    steps_per_epoch: int
    _cached: tuple[int, np.ndarray] | None = None

    def epoch(self, step: int) -> int:
        """Which epoch a step belongs to, from 0."""
        return step // self.steps_per_epoch

    def batch(self, step: int) -> np.ndarray:
        """(batch_size,) int64 row numbers of a step, from 0, those that belong together next to each other."""
        epoch, position = divmod(_check_step(step), self.steps_per_epoch)
        if self._cached is None or self._cached[0] != epoch:
            self._cached = (epoch, self._plan(epoch))
        return self._cached[1][position].copy()

    def state(self) -> dict[str, Any]:
        """See `EpochSampler.state`."""
        raise NotImplementedError

    def _plan(self, epoch: int) -> np.ndarray:
        """(steps_per_epoch, batch_size) row numbers."""
        raise NotImplementedError


class LabelSampler(PlannedSampler):
    """P classes x K rows per step, for objectives that need several rows of a class.

    Classes are dealt in rounds: each is used once, in a new order, before any is used again; so are the rows within a
    class. Every class is thus equally frequent, however many rows it has, and one batch never holds a class twice. A
    class with fewer than K rows repeats them as evenly as possible. Rows without a label (-1) are left out.

    Attributes:
        batch_size: P * K.
        steps_per_epoch: labelled rows // (P * K), at least 1.

    Raises:
        ConfigError: P or K below 1, a negative seed, or P above the number of classes that have rows.

    Example:
        >>> sampler = LabelSampler(np.array([0, 0, 1, 1, 2, 2, -1]), classes_per_batch=2, rows_per_class=2, seed=0)
        >>> sampler.steps_per_epoch, sampler.batch(0).shape
        (1, (4,))
    """

    def __init__(self, labels: np.ndarray, classes_per_batch: int, rows_per_class: int, seed: int) -> None:
        _check_settings(seed, classes_per_batch=classes_per_batch, rows_per_class=rows_per_class)
        labels = np.asarray(labels)
        present = [int(label) for label in np.unique(labels) if label != UNKNOWN]
        if classes_per_batch > len(present):
            raise ConfigError(
                f"classes_per_batch={classes_per_batch}, but only {len(present)} classes have labelled rows; lower it"
            )
        self._rows = {label: np.flatnonzero(labels == label) for label in present}
        self.classes_per_batch = classes_per_batch
        self.rows_per_class = rows_per_class
        self.batch_size = classes_per_batch * rows_per_class
        self.seed = seed
        self.n = sum(len(rows) for rows in self._rows.values())
        self.steps_per_epoch = max(1, self.n // self.batch_size)

    def state(self) -> dict[str, Any]:
        """Settings that must be equal for a resumed run to continue with the same rows; the rest is the step number."""
        return {
            "sampler": "label",
            "n": self.n,
            "classes_per_batch": self.classes_per_batch,
            "rows_per_class": self.rows_per_class,
            "seed": self.seed,
        }

    def _plan(self, epoch: int) -> np.ndarray:
        rng = np.random.default_rng([self.seed, epoch])
        classes = _Rounds(np.array(list(self._rows)), rng)
        rows = {label: _Rounds(members, rng) for label, members in self._rows.items()}
        steps = [
            np.concatenate(
                [rows[int(label)].deal(self.rows_per_class) for label in classes.deal(self.classes_per_batch)]
            )
            for _ in range(self.steps_per_epoch)
        ]
        return np.stack(steps).astype(np.int64)


def one_of_each(labels: np.ndarray, seed: int) -> np.ndarray:
    """A row number of every class, drawn from the seed, in order of the classes; -1 is none.

    >>> one_of_each(np.array([1, -1, 0]), seed=0).tolist()
    [2, 0]
    """
    rng = np.random.default_rng([seed, 1])
    known = [label for label in np.unique(labels) if label != UNKNOWN]
    return np.array([rng.choice(np.flatnonzero(labels == label)) for label in known], dtype=np.int64)


class BoundSampler:
    """The batches of another sampler with the same rows added to each, which bind what one batch learns to the next.

    Batches that share no item may each settle in an arrangement of their own; one item of every class in all of them
    leaves one arrangement only. A bound row that a batch holds anyway stands in it twice. Source: Behnia et al. 2023,
    Symmetric Neural-Collapse Representations with Supervised Contrastive Loss (batch-binding), reconstructed.

    Attributes:
        batch_size: that of the sampler and the bound rows.
        steps_per_epoch: that of the sampler.

    Raises:
        DataError: there are no rows to bind.

    Example:
        >>> sampler = BoundSampler(EpochSampler(n=4, batch_size=2, seed=0), np.array([3, 1]))
        >>> sampler.batch_size, sampler.batch(1)[2:].tolist()
        (4, [3, 1])
    """

    def __init__(self, sampler: EpochSampler | LabelSampler, rows: np.ndarray) -> None:
        if not len(rows):
            raise DataError("there are no labelled rows to bind the batches")
        self.sampler, self.rows = sampler, np.asarray(rows, dtype=np.int64)
        self.batch_size = sampler.batch_size + len(rows)
        self.steps_per_epoch = sampler.steps_per_epoch
        self.seed, self.n = sampler.seed, sampler.n

    def epoch(self, step: int) -> int:
        """Which epoch a step belongs to, from 0."""
        return self.sampler.epoch(step)

    def batch(self, step: int) -> np.ndarray:
        """(batch_size,) int64 row numbers of a step, the bound ones last."""
        return np.concatenate([self.sampler.batch(step), self.rows])

    def state(self) -> dict[str, Any]:
        """See `EpochSampler.state`."""
        return {**self.sampler.state(), "bound": self.rows.tolist()}


class _Rounds:
    """Deals items in shuffled rounds: all of them once before any of them again."""

    def __init__(self, items: np.ndarray, rng: np.random.Generator) -> None:
        self._items, self._rng = items, rng
        self._left = np.empty(0, dtype=np.int64)

    def deal(self, count: int) -> np.ndarray:
        """The next `count` items, all different when there are that many, else repeated evenly."""
        hand, self._left = self._left[:count], self._left[count:]
        while len(hand) < count:
            # What this hand holds already goes to the back of the new round.
            fresh = self._rng.permutation(len(self._items))
            held = np.bincount(hand, minlength=len(self._items))[fresh]
            fresh = fresh[np.argsort(held, kind="stable")]
            missing = count - len(hand)
            hand, self._left = np.concatenate([hand, fresh[:missing]]), fresh[missing:]
        return self._items[hand]


def _check_settings(seed: int, **counts: int) -> None:
    for name, value in counts.items():
        if value < 1:
            raise ConfigError(f"{name} must be 1 or more, not {value}")
    if seed < 0:
        raise ConfigError(f"seed must be 0 or more, not {seed}")


def _check_step(step: int) -> int:
    if step < 0:
        raise ConfigError(f"a step number is 0 or more, not {step}")
    return step
