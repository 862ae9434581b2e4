"""From measurements at two sizes to costs at any size, and from costs to the bytes and seconds of a step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

Point = tuple[float, float]  # a size and what was measured there

# On a CPU the allocator of the system gives blocks of this size back at once. Of smaller ones that come and go it keeps
# more than are in use at a time, since those of the next step do not fill the same holes.
GIVEN_BACK = 32 * 2**20
HOLES = 0.25  # so much of them: a rule of thumb, fitted to the runs that benchmarks/plan.py measures


@dataclass(frozen=True)
class Line:
    """``fixed + each n``: what one pass of an encoder over n rows takes."""

    fixed: float
    each: float

    @classmethod
    def through(cls, small: Point, large: Point) -> Line:
        """The line through two points, neither falling nor below zero at its start.

        >>> Line.through((10, 130.0), (30, 190.0))
        Line(fixed=100.0, each=3.0)
        """
        (n, a), (m, b) = small, large
        each = max(0.0, (b - a) / (m - n)) if m > n else b / m
        fixed = max(0.0, b - each * m)
        return cls(fixed, (b - fixed) / m)

    def __call__(self, n: float) -> float:
        """For n rows."""
        return self.fixed + self.each * n


@dataclass(frozen=True)
class Curve:
    """``each n + pair n^2``: what an objective takes for a batch of n items, all of which meet."""

    each: float
    pair: float

    @classmethod
    def through(cls, small: Point, large: Point) -> Curve:
        """The curve through the origin and two points, with neither part below zero.

        >>> Curve.through((10, 230.0), (20, 860.0))
        Curve(each=3.0, pair=2.0)
        """
        (n, a), (m, b) = small, large
        pair = (b / m - a / n) / (m - n) if m > n else 0.0
        pair = min(max(0.0, pair), b / m**2)
        return cls(b / m - pair * m, pair)

    def __call__(self, n: float) -> float:
        """For n items."""
        return self.each * n + self.pair * n**2


@dataclass(frozen=True)
class Encoding:
    """What encoder and head take for rows of one view.

    Attributes:
        peak: bytes of a forward and backward pass at their highest, by rows.
        blocks: bytes per row of every tensor of activations that waits for the backward pass.
        learning: seconds of a forward and backward pass, by rows; forward: of a forward pass alone.
        measured: rows of the largest pass that was measured.
        lengths: of some rows from the longest, in parts of their mean; longer ones share a micro-batch.
    """

    peak: Line
    blocks: tuple[float, ...]
    learning: Line
    forward: Line
    measured: float
    lengths: tuple[float, ...] = (1.0,)

    @property
    def kept(self) -> float:
        """Bytes of activations per row."""
        return sum(self.blocks)

    def longest(self, rows: int, n: int) -> float:
        """How many mean rows the longest `rows` of n are."""
        count = max(1, round(len(self.lengths) * rows / n))
        return rows * sum(self.lengths[:count]) / count

    def fresh(self, rows: int) -> float:
        """Bytes that a pass over rows takes anew from the system, and the measured one did not.

        They are the large blocks that wait for the backward pass, and their gradients.
        """
        return 2 * rows * sum(b for b in self.blocks if b * self.measured < GIVEN_BACK <= b * rows)


@dataclass(frozen=True)
class Costs:
    """What was measured on this machine.

    Attributes:
        process: bytes of the process with its libraries and data, before anything is trained.
        encoding: of every view.
        scores_bytes, scores_seconds: of the objective, forward and backward, by items of the batch.
        views_seconds: of making the views, per item; update_seconds: of the optimiser and what follows it;
        update_bytes: that come and go in it.
        fresh_seconds: for each byte of a large block, which the system gives anew each time.
        aside: whether views are made by another core while a step runs.
        preparing_bytes: of what a method makes of a batch before it projects anything, by items; the largest counts.
        preparing_seconds: of the same.
    """

    process: float
    encoding: list[Encoding]
    scores_bytes: Curve
    scores_seconds: Curve
    views_seconds: float
    update_seconds: float
    update_bytes: float
    fresh_seconds: float
    aside: bool
    preparing_bytes: Sequence[Curve] = ()
    preparing_seconds: Curve = Curve(0, 0)


@dataclass(frozen=True)
class Held:
    """Bytes that a run holds from beginning to end, on every device; `large` of what is saved are in large blocks."""

    weights: int
    gradients: int
    optimiser: int
    copies: int
    queues: int
    large: int = 0

    @property
    def saved(self) -> int:
        """Bytes that are there from step to step, all but gradients; a checkpoint holds them."""
        return self.weights + self.optimiser + self.copies + self.queues


@dataclass(frozen=True)
class Job:
    """What is to be run.

    Attributes:
        items: in the data; batch_size: items of the whole batch; micro_batch: rows encoded at a time, None for all.
        row, views: bytes of a raw item and of each of its views; projection: of what all its views are projected to.
        prepared: bytes of what a method makes of the views of an item before it projects anything; 0 for nothing.
        steps: how many; devices: processes that share the batch; spread: how, "ring" or "gathered".
        symmetric: one process computes each score of two rows once, for both of them.
        on_cpu: the next batch of views waits in the same memory.
    """

    items: int
    batch_size: int
    micro_batch: int | None
    row: int
    views: list[int]
    projection: int
    steps: int
    devices: int = 1
    spread: str = "ring"
    symmetric: bool = True
    on_cpu: bool = True
    prepared: int = 0

    @property
    def local(self) -> int:
        """Items of the batch on one device."""
        return ceil(self.batch_size / self.devices)


@dataclass(frozen=True)
class Prediction:
    """What a device needs and how long a step takes.

    Attributes:
        standing: bytes that are there all through a step, by what they are for.
        passing: bytes that come and go in turn; only the largest counts.
        seconds: of a step, by what they are spent on.
    """

    standing: dict[str, float]
    passing: dict[str, float]
    seconds: dict[str, float]

    @property
    def peak(self) -> float:
        """Bytes at the highest point."""
        return sum(self.standing.values()) + max(self.passing.values())

    @property
    def step(self) -> float:
        """Seconds of a step."""
        return sum(self.seconds.values())


def predict(job: Job, held: Held, costs: Costs) -> Prediction:
    """The bytes and seconds of a step.

    All activations of a batch stand while the objective works and the encoder goes back through one view after another.
    With micro-batches, those of one come before the scores and again after them, at the price of one more forward pass.
    """
    n, encoding = job.local, costs.encoding
    others = job.devices > 1
    standing: dict[str, float] = {
        "process and data": costs.process,
        "weights": held.weights,
        "gradients": held.gradients * (2 if others else 1),  # DDP exchanges copies of them
        "optimiser": held.optimiser,
        "moving copies": held.copies,
        "queues": held.queues,
        "views": n * sum(job.views) * (2 if job.on_cpu else 1) + n * job.row,
        "projections": 2 * n * job.projection,
    }
    if others:
        # Rows and their gradients: a block in hand and one that arrives, or those of all.
        standing["rows of others"] = (
            4 * n * job.projection if job.spread == "ring" else 2 * job.batch_size * job.projection
        )
    scores = costs.scores_bytes
    passing = {"scores": scores.each * n + scores.pair * n * job.batch_size, "update": costs.update_bytes}
    if job.micro_batch is None or job.micro_batch >= n:
        standing["activations"] = sum(e.kept for e in encoding) * n
        passing["backward pass"] = max(e.peak(n) - e.kept * n for e in encoding)
        encode = sum(e.learning(n) + e.fresh(n) * costs.fresh_seconds for e in encoding)
    else:
        m = job.micro_batch
        passing["activations"] = max(e.peak(e.longest(m, n)) for e in encoding)
        encode = sum(e.learning(m) + e.forward(m) + e.fresh(m) * costs.fresh_seconds for e in encoding) * n / m
    if job.prepared:
        standing["prepared views"] = n * job.prepared
        # There are no activations yet.
        more = max(curve(n) for curve in costs.preparing_bytes) - n * job.prepared
        passing["preparing"] = max(0.0, more - standing.get("activations", 0.0))
    if job.on_cpu:
        standing["kept by allocator"] = HOLES * _kept_by_allocator(job, costs, standing, passing)
        passing["checkpoint"] = _checkpoint(job, held, costs, standing, passing)
    meeting = costs.scores_seconds.pair * n * job.batch_size * (2 if others and job.symmetric else 1)
    seconds = {
        "encoder": encode,
        "scores": costs.scores_seconds.each * n + meeting,
        "update": costs.update_seconds,
    }
    if job.prepared:
        seconds["preparing"] = costs.preparing_seconds(n)
    views = costs.views_seconds * n
    seconds["waiting for views"] = max(0.0, views - sum(seconds.values())) if costs.aside else views
    return Prediction(standing, passing, seconds)


def _checkpoint(job: Job, held: Held, costs: Costs, standing: dict[str, float], passing: dict[str, float]) -> float:
    """Bytes of the tensors that are saved, one by one, and of the file in one piece.

    There are no activations any more. Room of those in large blocks was given back; that of the others is still with
    the allocator, and holds small blocks but no large ones.
    """
    share, there = _small(job, costs), standing.get("activations", 0.0)
    room = there * share + max(passing.get(name, 0.0) for name in ("backward pass", "activations")) * share
    whole = held.saved if held.saved >= GIVEN_BACK else 0
    small = max(0.0, 2 * held.saved - held.large - whole - room)
    return max(0.0, whole + held.large + small + room - there)


def _small(job: Job, costs: Costs) -> float:
    """The share of activations that are in blocks which the allocator does not give back."""
    rows = min(job.micro_batch or job.local, job.local)
    small = [size for e in costs.encoding for size in e.blocks if size * rows < GIVEN_BACK]
    return sum(small) / max(1e-9, sum(e.kept for e in costs.encoding))


def _kept_by_allocator(job: Job, costs: Costs, standing: dict[str, float], passing: dict[str, float]) -> float:
    """Bytes that come and go with every step in blocks that the allocator does not give back."""
    n = job.local
    share = _small(job, costs)
    parts = {**passing, "views": 2 * n * sum(size for size in job.views if size * n < GIVEN_BACK)}
    parts["activations"] = passing.get("activations", standing.get("activations", 0.0) * share)
    parts["backward pass"] = passing.get("backward pass", 0.0) * share
    return sum(parts.values()) + standing["projections"]
