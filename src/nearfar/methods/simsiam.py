"""SimSiam."""

from __future__ import annotations

from typing import Any

from pydantic import Field
from torch import Tensor, nn

from ..data.batch import Batch
from ..models import projector
from ..objectives import CosineRegression
from .average import averaged, told
from .method import Contrast, Method, MethodOptions


class SimSiamOptions(MethodOptions):
    """Options of SimSiam."""

    projection: int = Field(512, ge=1, description="width of the projection (2048 in the paper)")
    predictor: int | None = Field(None, ge=1, description="hidden width of the predictor; a quarter of the projection")
    stop_gradient: bool = Field(True, description="hold the other projection constant, against collapse")


class SimSiam(Method):
    """Each view predicts the other view's projection, which takes no gradient; nothing is pushed apart.

    encoder -> three-layer head that ends in a norm -> two-layer predictor, trained by minus the cosine. BYOL without
    the moving copy: the stop-gradient alone prevents collapse. Small views only predict. The official code keeps the
    predictor's learning rate constant, as an option; here it follows the schedule of the run.
    """

    name = "simsiam"
    near = "the projection of another view of the same item, held constant"
    far = "nothing"
    source = "Chen & He 2021, Exploring Simple Siamese Representation Learning; facebookresearch/simsiam"
    weighs = True
    Options = SimSiamOptions

    def __init__(self, encoder: nn.Module, options: SimSiamOptions) -> None:
        super().__init__(encoder, options)
        width = options.projection
        self.head = projector(self.width, options.hidden or self.width, width, layers=3, last_norm=True)
        self.predictor = projector(width, options.predictor or max(1, width // 4), width)
        self.objective = CosineRegression(form="cosine", detach=options.stop_gradient)

    def project(self, rows: Tensor) -> dict[str, Tensor]:
        """Projection and prediction."""
        projection = self.head(self.encoder(rows))
        return {"projection": projection, "prediction": self.predictor(projection)}

    def contrast(self, projections: list[Any], batch: Batch) -> Contrast:
        """Regression of every view's prediction onto the projection of every other whole view."""
        predictions, targets = ([view[name] for view in projections] for name in ("prediction", "projection"))
        weights = batch.weights
        return averaged(
            [told(self.objective.inspect(predictions[i], targets[j], weights=weights)) for i, j in batch.onto_whole()]
        )
