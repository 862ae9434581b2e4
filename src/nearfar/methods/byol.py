"""BYOL."""

from __future__ import annotations

from typing import Any

from pydantic import Field
from torch import Tensor, nn

from ..data.batch import Batch
from ..models import MomentumCopy, projector, ramp
from ..objectives import CosineRegression
from .average import averaged, told
from .method import Contrast, Method, MethodOptions


class BYOLOptions(MethodOptions):
    """Options of BYOL."""

    hidden: int | None = Field(
        512, ge=1, description="hidden width of head and predictor (4096 in the paper); the encoder's width when unset"
    )
    momentum: float = Field(
        0.99, ge=0, le=1, description="of the target at the start; 0.996 in the paper, of longer runs"
    )
    momentum_end: float = Field(1.0, ge=0, le=1, description="of the target at the end, reached by half a cosine")


class BYOL(Method):
    """Each view predicts what a slow copy of the network makes of the other view; nothing is pushed apart.

    encoder -> head -> predictor, trained by cosine regression onto the projection of a moving copy of encoder and head.
    Collapse is prevented by the predictor, the target's lack of gradient and its slowness. Targets are made of whole
    views; small ones only predict. The directions between views are averaged, where the official code adds the two:
    half its value.
    """

    name = "byol"
    near = "the projection of another view of the same item, by a slow copy of the network"
    far = "nothing"
    source = "Grill et al. 2020, Bootstrap Your Own Latent; solo-learn losses/byol.py"
    weighs = True
    Options = BYOLOptions

    options: BYOLOptions

    def __init__(self, encoder: nn.Module, options: BYOLOptions) -> None:
        super().__init__(encoder, options)
        hidden = options.hidden or self.width
        self.head = projector(self.width, hidden, options.projection)
        self.predictor = projector(options.projection, hidden, options.projection)
        self.target = MomentumCopy(nn.Sequential(self.encoder, self.head))
        self.objective = CosineRegression()

    def project(self, rows: Tensor) -> dict[str, Tensor]:
        """Projection, prediction, and the target by the moving copy."""
        projection = self.head(self.encoder(rows))
        return {"projection": projection, "prediction": self.predictor(projection), "target": self.target(rows)}

    def contrast(self, projections: list[Any], batch: Batch) -> Contrast:
        """Regression of every view's prediction onto the target of every other whole view."""
        predictions, targets = ([view[name] for view in projections] for name in ("prediction", "target"))
        weights = batch.weights
        return averaged(
            [told(self.objective.inspect(predictions[i], targets[j], weights=weights)) for i, j in batch.onto_whole()]
        )

    def after_step(self, step: int, total_steps: int) -> None:
        """The target follows, more and more slowly."""
        momentum = ramp(step, total_steps, self.options.momentum, self.options.momentum_end)
        self.target.follow(nn.Sequential(self.encoder, self.head), momentum)
