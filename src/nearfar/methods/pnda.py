"""Turned copies of pictures that are near or far, picture by picture."""

from __future__ import annotations

import math
from copy import deepcopy
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ..data.batch import Batch
from ..errors import ConfigError
from ..models import Draws, projector
from ..objectives import NTXent, turned_ids, turning_entropy
from .average import weighed
from .method import Contrast, Method, MethodOptions


class PNDAOptions(MethodOptions):
    """Options of turned copies that are near or far."""

    temperature: float = Field(0.5, gt=0, description="divides every score")
    copies: Literal["judged", "near", "far"] = Field(
        "judged", description="what turned copies are: judged picture by picture, or near or far for all"
    )
    copies_from: float = Field(
        0.2, ge=0, le=1, description="share of the steps before turned copies count, in which the classifier learns"
    )
    above: float = Field(
        0.2, description="a picture's copies are near where its entropy exceeds log(4) / 2 = 0.69 by more than this"
    )
    items: int | None = Field(
        None, ge=1, description="entropies that are kept, above the largest id; as the data have when unset"
    )

    def settled(self, facts: dict[str, Any], views: int | None = None) -> MethodOptions:
        """See `MethodOptions.settled`; there is an entropy for all ids of the data."""
        settled = super().settled(facts, views)
        return settled if self.items is not None else settled.with_(items=facts["largest_id"] + 1)


class PNDA(Method):
    """SimCLR with a turned copy of every view: near where a picture looks alike either way up, far where it does not.

    encoder -> two-layer head -> NT-Xent of the views, with turned copies as further candidates, which ask nothing
    themselves. A second net of the same kind, which starts from the same weights and shares none, learns to say by how
    much a view was turned. After `copies_from` of the steps it is left as it is, and copies count: those of a picture
    are near where the net's entropy, averaged over its four turns and the views seen since, is above a threshold.

    In each step all copies are turned alike, by 90, 180 or 270 degrees; in the published code the two views differ. It
    trains the classifier before the run, on pictures with no change but flips, and then draws its entropies apart from
    the threshold; here it sees the views of the run, and entropies are what they are.
    """

    name = "pnda"
    near = "other views of the same item, and turned copies of them where it looks alike when turned"
    far = "all views of the other items in the batch and their turned copies, and own copies of what looks different"
    source = (
        "Miyai et al. 2022, Rethinking Rotation in Self-Supervised Contrastive Learning; AtsuMiyai/rethinking_rotation"
    )
    asks = ("with_boxes",)  # only what has places can be turned
    Options = PNDAOptions

    options: PNDAOptions
    copying: Tensor
    entropy: Tensor
    seen: Tensor

    def __init__(self, encoder: nn.Module, options: PNDAOptions) -> None:
        super().__init__(encoder, options)
        self.head = projector(self.width, options.hidden or self.width, options.projection)
        self.objective = NTXent(temperature=options.temperature)
        judged = options.copies == "judged"
        self.judge = nn.Sequential(deepcopy(encoder), nn.Linear(self.width, 4)) if judged else None
        self.draws = Draws()
        self.register_buffer("copying", torch.tensor(options.copies_from == 0))
        self.register_buffer("entropy", torch.zeros(options.items or 1))  # summed over the views of an item
        self.register_buffer("seen", torch.zeros(options.items or 1))
        self._new: tuple[Tensor, Tensor] | None = None

    def project(self, rows: Tensor) -> dict[str, Tensor]:
        """The projection, once copies count that of a turned copy, and what the classifier says of the four turns.

        Raises:
            ConfigError: the rows are no square pictures.
        """
        if rows.ndim != 4 or rows.shape[2] != rows.shape[3]:
            raise ConfigError(f"{self.name} turns square pictures (B, C, H, H), and these are {tuple(rows.shape)}")
        made: dict[str, Tensor] = {}
        if bool(self.copying):
            turn = int(torch.randint(1, 4, (), generator=self.draws.generator("cpu")))
            both = self.head(self.encoder(torch.cat([rows, rows.rot90(turn, (2, 3))])))
            made["projection"], made["turned"] = both[: len(rows)], both[len(rows) :]
        else:
            made["projection"] = self.head(self.encoder(rows))
        if self.judge is not None:
            made["answers"] = self._answers(rows)
        return made

    def contrast(self, projections: list[Any], batch: Batch) -> Contrast:
        """NT-Xent of all views, with turned copies once they count; before, what the classifier learns from."""
        views = [view["projection"] for view in projections]
        if not bool(self.copying):
            plain = self.judged(*views, ids=batch.ids)
            if self.judge is None:
                return plain
            answers = self.together(torch.cat([projections[j]["answers"] for j in batch.whole]))
            learned = cross_entropy(answers.flatten(0, 1), torch.arange(4, device=answers.device).repeat(len(answers)))
            return weighed([("", plain, 1.0), ("", Contrast(learned, {"turns": learned}, lambda: math.log(4)), 1.0)])
        ids = turned_ids(batch.ids, self._near(projections, batch)).repeat(len(views))
        turned = torch.cat([view["turned"] for view in projections])
        return self.judged(*views, ids=batch.ids, negatives=turned, negative_ids=ids)

    def chosen(self) -> tuple[Tensor, Tensor]:
        """The entropy of every item (items,), NaN where none is known, and whether its turned copies are near."""
        mean = torch.where(self.seen > 0, self.entropy / self.seen, torch.nan)
        return mean, mean > 0.5 * math.log(4) + self.options.above

    def after_step(self, step: int, total_steps: int) -> None:
        """What was seen of entropies is remembered, and copies will be turned otherwise."""
        if self._new is not None:
            self.entropy, self.seen = self._new
            self._new = None
        self.draws.after_step(step)
        self.copying.fill_(step + 1 >= self.options.copies_from * total_steps)

    def _answers(self, rows: Tensor) -> Tensor:
        """(B, 4, 4): of every row, turned in four ways, the logits of the four answers."""
        assert self.judge is not None
        if bool(self.copying):  # it has learned
            self.judge.eval().requires_grad_(False)
        said: Tensor = self.judge(torch.cat([rows.rot90(turn, (2, 3)) for turn in range(4)]))
        return said.view(4, len(rows), 4).transpose(0, 1)

    def _near(self, projections: list[Any], batch: Batch) -> Tensor:
        """Whether the turned copies of each item of the batch (N,) are near."""
        if self.judge is None:
            return torch.full_like(batch.ids, self.options.copies == "near", dtype=torch.bool)
        found = torch.stack([turning_entropy(projections[j]["answers"]) for j in batch.whole])
        ids, sums = self.together(batch.ids), self.together(found.sum(0)).to(self.entropy.dtype)
        entropy = self.entropy.index_add(0, ids, sums)
        seen = self.seen.index_add(0, ids, torch.full_like(sums, len(found)))
        self._new = entropy, seen
        return (entropy / seen)[batch.ids] > 0.5 * math.log(4) + self.options.above
