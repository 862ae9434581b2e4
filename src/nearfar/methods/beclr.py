"""A batch enhanced by a clustered memory."""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import interpolate, normalize

from ..contrast.similarity import unit
from ..data.batch import Batch
from ..errors import ConfigError
from ..models import ClusteredQueue, Draws, MomentumCopy, projector, ramp
from ..objectives import CosineRegression
from ..objectives.sphere import uniformity_of_items
from .average import averaged, told, weighed
from .method import Contrast, Method, MethodOptions

PATCHES = 14  # along a side of a picture, which are masked or not


class BECLROptions(MethodOptions):
    """Options of a batch enhanced by a clustered memory."""

    projection: int = Field(128, ge=1, description="width of the projection, which only the objective sees (512 there)")
    neighbours: int = Field(5, ge=0, description="rows of the memory that each target is joined by; 0 for none")
    neighbours_from: float = Field(
        0.15, ge=0, le=1, description="share of the steps before they count (50 epochs in the code)"
    )
    queue: int = Field(2000, ge=2, description="rows in the memory (20 or 40 for each prototype in the code)")
    prototypes: int = Field(100, ge=2, description="clusters of the memory (100 to 300 in the code)")
    prototype_momentum: float = Field(0.9, ge=0, le=1, description="how much of a prototype is kept in each step")
    afresh: float = Field(
        0.15, ge=0, le=1, description="share of the steps after which clusters are found afresh; 0 for never"
    )
    epsilon: float = Field(0.05, gt=0, description="divides the scores of the assignment to clusters")
    iterations: int = Field(10, ge=1, description="of Sinkhorn")
    uniform_weight: float = Field(0.1, ge=0, description="of the uniformity, beside the regression")
    temperature: float = Field(2.0, gt=0, description="divides the scores of the uniformity")
    momentum: float = Field(0.99, ge=0, le=1, description="of the teacher at the start (0.9 to 0.996 in the code)")
    momentum_end: float = Field(1.0, ge=0, le=1, description="of the teacher at the end, reached by half a cosine")
    covered: float = Field(
        0.0, ge=0, lt=1, description="share of a picture that the student does not see (0.05 to 0.25 in the code)"
    )


class BECLR(Method):
    """Each view predicts the other view by a slow copy of the network, and what a clustered memory holds that is alike.

    encoder -> three-layer head that ends in a norm -> two-layer predictor, trained by minus the cosine with the
    teacher's projection of another whole view, and with the rows of its memory nearest to that one in the same cluster;
    all of them weigh alike. Beside it all rows of the student are spread evenly over the sphere. `neighbours=0` is BYOL
    with that term.

    The published code also has memories of the student's rows: their rows in place of the prediction meet the added
    targets, so that what is added has no gradient in the regression, and weighs down what was there; and they push as
    further rows in the uniformity, also their own item. Here the prediction itself meets them. It masks blocks of
    patches of 16 pixels, others in each picture; here a step masks the same places in all of them. See `ClusteredQueue`
    for what differs in the memory.
    """

    name = "beclr"
    near = "the projection of another view of the same item by a slow copy, and rows of a memory in that one's cluster"
    far = "all views of the other items in the batch"
    source = (
        "Poulakakis-Daktylidis & Jamali-Rad 2024, BECLR: Batch Enhanced Contrastive Few-Shot Learning; stypoumic/BECLR"
    )
    Options = BECLROptions

    options: BECLROptions
    enhancing: Tensor

    def __init__(self, encoder: nn.Module, options: BECLROptions) -> None:
        super().__init__(encoder, options)
        if options.neighbours > options.queue:
            raise ConfigError(f"a memory of {options.queue} rows has no {options.neighbours} neighbours; lower them")
        width = options.projection
        self.head = projector(self.width, options.hidden or self.width, width, layers=3, last_norm=True)
        self.predictor = projector(width, max(1, width // 4), width)
        self.teacher = MomentumCopy(nn.Sequential(self.encoder, self.head))
        self.memory = ClusteredQueue(
            options.queue,
            width,
            options.prototypes,
            options.prototype_momentum,
            options.epsilon,
            options.iterations,
        )
        self.draws = Draws()
        self.register_buffer("enhancing", torch.tensor(options.neighbours_from == 0))
        self.objective = CosineRegression(form="cosine")
        self._new: tuple[Tensor, Tensor] | None = None

    def project(self, rows: Tensor) -> dict[str, Tensor]:
        """The student's projection and prediction of what it is shown, and the teacher's projection of all of it."""
        projection = self.head(self.encoder(self._shown(rows)))
        return {"projection": projection, "prediction": self.predictor(projection), "target": self.teacher(rows)}

    def contrast(self, projections: list[Any], batch: Batch) -> Contrast:
        """Regression of every view's prediction onto every other whole view and its like, and uniformity of all."""
        targets = {j: normalize(projections[j]["target"].detach(), dim=1) for j in batch.whole}
        ids = self.together(batch.ids)
        rows = torch.cat([self.together(target) for target in targets.values()])
        self._new = rows, ids.repeat(len(targets))
        enhanced = {j: self._enhanced(target) for j, target in targets.items()}
        said = [self._told(projections[i]["prediction"], enhanced[j]) for i, j in batch.onto_whole()]
        spread = self._spread([view["projection"] for view in projections], batch.ids)
        return weighed([("", averaged(said), 1.0), ("", spread, self.options.uniform_weight)])

    def after_step(self, step: int, total_steps: int) -> None:
        """The teacher follows, its projections are remembered, and now and then clusters are found afresh."""
        momentum = ramp(step, total_steps, self.options.momentum, self.options.momentum_end)
        self.teacher.follow(nn.Sequential(self.encoder, self.head), momentum)
        if self._new is not None:
            self.memory.push(*self._new)
            self._new = None
        every = round(self.options.afresh * total_steps)
        if every and (step + 1) % every == 0:
            self.memory.cluster()
        self.draws.after_step(step)
        self.enhancing.fill_(step + 1 >= self.options.neighbours_from * total_steps)

    def _shown(self, rows: Tensor) -> Tensor:
        """The rows with some patches, the same in all of them, at the mean of all pictures.

        Raises:
            ConfigError: the rows are no pictures.
        """
        if not self.options.covered:
            return rows
        if rows.ndim != 4:
            raise ConfigError(f"covered hides places of pictures (B, C, H, W), and rows are {tuple(rows.shape)}; set 0")
        hidden = torch.ones(PATCHES**2)
        order = torch.randperm(PATCHES**2, generator=self.draws.generator("cpu"))
        hidden[order[: round(self.options.covered * PATCHES**2)]] = 0
        return rows * interpolate(hidden.view(1, 1, PATCHES, PATCHES), rows.shape[2:]).to(rows)

    def _enhanced(self, targets: Tensor) -> Tensor:
        """(B, 1 + k, D): every target (B, D) and what the memory holds that is alike."""
        own, count = targets[:, None], self.options.neighbours
        if not (count and self.memory.begun and bool(self.enhancing)):
            return own
        found = self.memory.vectors[self.memory.alike(targets, count)]
        return torch.cat([own, found.to(targets.dtype)], 1)

    def _told(self, predictions: Tensor, targets: Tensor) -> Contrast:
        count = targets.shape[1]
        return told(self.objective.inspect(predictions.repeat_interleave(count, 0), targets.flatten(0, 1)))

    def _spread(self, views: list[Tensor], ids: Tensor) -> Contrast:
        """log mean exp(cos / t) over pairs of rows of different items, of all views."""
        temperature = self.options.temperature
        with torch.autocast(ids.device.type, enabled=False):
            rows, keys = torch.cat([unit(view) for view in views]), self.together(ids.repeat(len(views)))
            apart = uniformity_of_items(rows, keys, 1 / (2 * temperature), self.objective.chosen())
        value = apart + 1 / temperature  # cos = 1 - d^2 / 2
        return Contrast(value, {"uniform": value}, lambda: 0.0)
