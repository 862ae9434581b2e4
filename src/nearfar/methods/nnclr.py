"""NNCLR."""

from __future__ import annotations

from typing import Any

from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import normalize

from ..data.batch import Batch
from ..models import Queue, projector
from ..objectives import InfoNCE
from .average import averaged
from .method import Contrast, Method, MethodOptions


class NNCLROptions(MethodOptions):
    """Options of NNCLR."""

    hidden: int | None = Field(
        512, ge=1, description="hidden width of head and predictor (2048 and 4096 in the paper); the encoder's if unset"
    )
    temperature: float = Field(0.1, gt=0, description="divides every score")
    queue: int = Field(4096, ge=1, description="rows in which neighbours are sought (98304 in the paper)")


class NNCLR(Method):
    """The nearest neighbour of one view among earlier rows should be told by the other view from the whole batch.

    encoder -> three-layer head -> predictor; InfoNCE between the neighbour of a whole view's projection, found in a
    queue, and another view's prediction, every direction alike. Other views of an item thus reach beyond the item. As
    published, an item's own earlier rows may be its neighbours. While the queue is empty, in the first step, each row
    is its own neighbour; the official code begins with random rows.
    """

    name = "nnclr"
    near = "the other view's prediction, for the nearest neighbour of a view among earlier rows"
    far = "the predictions of the other items in the batch"
    source = "Dwibedi et al. 2021, With a Little Help from My Friends; solo-learn methods/nnclr.py"
    Options = NNCLROptions

    def __init__(self, encoder: nn.Module, options: NNCLROptions) -> None:
        super().__init__(encoder, options)
        hidden, width = options.hidden or self.width, options.projection
        self.head = projector(self.width, hidden, width, layers=3)
        self.predictor = projector(width, hidden, width)
        self.queue = Queue(options.queue, width)
        self.objective = InfoNCE(temperature=options.temperature)
        self._new: tuple[Tensor, Tensor] | None = None

    def project(self, rows: Tensor) -> dict[str, Tensor]:
        """Projection and prediction."""
        projection = self.head(self.encoder(rows))
        return {"projection": projection, "prediction": self.predictor(projection)}

    def contrast(self, projections: list[Any], batch: Batch) -> Contrast:
        """InfoNCE of every whole view's neighbours against every other view's predictions."""
        rows = {j: normalize(projections[j]["projection"].detach(), dim=1) for j in batch.whole}
        neighbours = {j: self.queue.nearest(view) for j, view in rows.items()}
        self._new = self.together(rows[batch.whole[0]]), self.together(batch.ids)
        pairs = batch.onto_whole()
        return averaged([self.judged(neighbours[j], projections[i]["prediction"], ids=batch.ids) for i, j in pairs])

    def after_step(self, step: int, total_steps: int) -> None:
        """The rows of the first whole view are remembered."""
        if self._new is not None:
            self.queue.push(*self._new)
            self._new = None
