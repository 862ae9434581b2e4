"""DiffCSE."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field
from torch import Tensor, nn

from ..data.batch import Batch
from ..models import Draws
from ..models.heads import projector
from .method import Contrast
from .simcse import SimCSE, SimCSEOptions
from .words import ReplacedWords, beside, needs_words


class DiffCSEOptions(SimCSEOptions):
    """Options of DiffCSE."""

    head: Literal["batch", "tanh", "none"] = Field(
        "batch",
        description="what only the objective sees: two layers with batch norms, a linear layer and tanh, or nothing",
    )  # type: ignore[assignment]
    replaced_weight: float = Field(0.005, ge=0, description="weight of telling which words were replaced")
    replaced: float = Field(0.3, gt=0, lt=1, description="share of the words that are given to be replaced")


class DiffCSE(SimCSE):
    """SimCSE whose projections must also help a second net to tell which words of the text were replaced.

    So a vector learns of small changes, to which dropout makes it blind. The second net starts as a copy of the encoder
    and is thrown away. Words are replaced by a masked language model (setting `generator` of texts), and without one by
    words of earlier batches at random, which are easier to tell. Padding is not asked of, where the code has it.
    """

    name = "diffcse"
    source = "Chuang et al. 2022, DiffCSE; voidism/DiffCSE"
    asks = ("of_words",)
    Options: ClassVar[type[SimCSEOptions]] = DiffCSEOptions

    options: DiffCSEOptions

    def __init__(self, encoder: nn.Module, options: DiffCSEOptions) -> None:
        needs_words(encoder, self.name)
        super().__init__(encoder, options)
        self.replaced = ReplacedWords(encoder, options.projection or self.width, options.replaced)
        self.salt = Draws()
        self._tokens: Tensor | None = None

    def made_head(self, out: int) -> nn.Module:
        """See `SimCSE.made_head`."""
        if self.options.head != "batch":
            return super().made_head(out)
        return projector(self.width, self.options.hidden or 2 * self.width, out, last_norm=True)

    def project(self, rows: Tensor) -> dict[str, Tensor]:
        """The projection, and what the second net makes of it."""
        projection = self.head(self.encoder(rows))
        return {"projection": projection, "replaced": self.replaced(self.encoder, rows, projection, self.salt.number)}

    def compared(self, projections: list[Any], batch: Batch) -> tuple[Any, list[Any]]:
        """See `SimCSE.compared`."""
        first, others = super().compared(projections, batch)
        return first["projection"], [other["projection"] for other in others]

    def contrast(self, projections: list[Any], batch: Batch) -> Contrast:
        """That of SimCSE, and the replaced words beside it."""
        said = super().contrast(projections, batch)
        self._tokens = batch.views[batch.whole[0]]
        return beside(said, self, projections, {"replaced": self.options.replaced_weight})

    def after_step(self, step: int, total_steps: int) -> None:
        """Words are remembered, and others will be replaced."""
        super().after_step(step, total_steps)
        self.salt.after_step(step)
        if self._tokens is not None:
            free = self.encoder.free(self._tokens)  # type: ignore[operator]
            self.replaced.remember(self.together(self._tokens[free]))
        self._tokens = None
