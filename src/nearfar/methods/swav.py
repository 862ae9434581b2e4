"""SwAV."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import normalize

from ..data.batch import Batch
from ..models import Prototypes, Queue, projector
from ..objectives import SwappedPrediction
from .average import told
from .method import Contrast, Method, MethodOptions


class SwAVOptions(MethodOptions):
    """Options of SwAV."""

    hidden: int | None = Field(
        512, ge=1, description="hidden width of the head (2048 in the paper); the encoder's width when unset"
    )
    temperature: float = Field(0.1, gt=0, description="divides the scores of the prediction")
    prototypes: int = Field(
        128, ge=2, description="how many; no more than half a batch (3000 in the paper, at 4096 rows)"
    )
    epsilon: float = Field(0.05, gt=0, description="divides the scores of the codes")
    iterations: int = Field(3, ge=1, description="of Sinkhorn")
    queue: int = Field(
        0,
        ge=0,
        description="earlier rows that help to balance the codes, once so many are held; 3840 per view in the code",
    )
    queue_from: int = Field(
        0, ge=0, description="steps before rows are held, which at first are of no help (15 epochs in the code)"
    )
    frozen_steps: int = Field(40, ge=0, description="steps in which the prototypes do not learn (313 in the paper)")


class SwAV(Method):
    """Each view predicts to which prototypes the other view was assigned, all prototypes being used alike.

    encoder -> head -> cosines with prototypes. Assignments are balanced over the batch by Sinkhorn's rounds, which
    prevents collapse; they take no gradient. Whole views are assigned, and predicted by all others. The official code
    keeps one queue per assigned view, where here one queue holds the rows of all of them. The log has
    `prototypes_used`, how many prototypes the rows of a batch turn to (K when all alike), and `assignment_entropy`, how
    unsure one row is (0 to log K): where all rows turn to few prototypes, or none is sure, nothing is learned.
    """

    name = "swav"
    near = "the balanced assignment of another view of the same item"
    far = "nothing; prototypes share the batch equally"
    source = "Caron et al. 2020, Unsupervised Learning by Contrasting Cluster Assignments; facebookresearch/swav"
    Options = SwAVOptions

    options: SwAVOptions
    done: Tensor

    def __init__(self, encoder: nn.Module, options: SwAVOptions) -> None:
        super().__init__(encoder, options)
        self.head = projector(self.width, options.hidden or self.width, options.projection)
        self.prototypes = Prototypes(options.projection, options.prototypes)
        self.queue = Queue(options.queue, options.projection) if options.queue else None
        self.register_buffer("done", torch.tensor(0))
        self.objective = SwappedPrediction(
            temperature=options.temperature, epsilon=options.epsilon, iterations=options.iterations
        )
        self._new: tuple[Tensor, Tensor] | None = None

    def project(self, rows: Tensor) -> Tensor:
        """Encoder and head."""
        projection: Tensor = self.head(self.encoder(rows))
        return projection

    def contrast(self, projections: list[Any], batch: Batch) -> Contrast:
        """Swapped prediction of the assignments of the whole views."""
        frozen = int(self.done) < self.options.frozen_steps
        scores = [self.prototypes(view, frozen) for view in projections]
        more = None
        if self.queue is not None:
            if len(self.queue) == self.queue.size:
                more = self.prototypes(self.part(self.queue.rows()[0]), frozen).detach()
            if int(self.done) >= self.options.queue_from:
                rows = torch.cat([self.together(projections[j].detach()) for j in batch.whole])
                self._new = normalize(rows, dim=1), self.together(batch.ids).repeat(len(batch.whole))
        said = told(self.objective.inspect(*scores, more=more, assigned=batch.whole))
        return replace(said, terms=said.terms | self._usage([scores[j] for j in batch.whole]))

    @torch.no_grad()
    def _usage(self, scores: list[Tensor]) -> dict[str, Tensor]:
        """`prototypes_used`: e to the entropy of the mean opinion of all rows; `assignment_entropy`: the mean entropy
        of one row's opinion, in nats."""
        opinions = (torch.cat(scores) / self.options.temperature).softmax(1)
        own = torch.cat(
            [opinions.sum(0), torch.special.entr(opinions).sum()[None], opinions.new_tensor([len(opinions)])]
        )
        *shares, entropy, count = self.together(own[None]).sum(0)
        used = torch.special.entr(torch.stack(shares) / count).sum().exp()
        return {"prototypes_used": used, "assignment_entropy": entropy / count}

    def after_step(self, step: int, total_steps: int) -> None:
        """The rows are remembered."""
        self.done.fill_(step + 1)
        if self.queue is not None and self._new is not None:
            self.queue.push(*self._new)
            self._new = None
