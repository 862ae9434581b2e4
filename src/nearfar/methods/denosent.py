"""DenoSent and TSDAE: from its one vector a text is said again."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field
from torch import Tensor, nn

from ..data.batch import Batch
from ..models import Draws
from .method import Contrast
from .simcse import SimCSE, SimCSEOptions
from .words import SaidAgain, beside, needs_words


class DenoSentOptions(SimCSEOptions):
    """Options of DenoSent."""

    contrast_weight: float = Field(
        5.0, ge=0, description="weight of the contrast; 0 leaves it out, and one view is enough"
    )
    again_weight: float = Field(7.0, gt=0, description="weight of saying the text again from its vector")
    layers: int = Field(4, ge=1, le=48, description="of the decoder (16 in the paper)")
    causal: bool = Field(False, description="say each word from those before it (TSDAE); else all at once")
    dropped: float = Field(0.825, ge=0, le=1, description="share of zeros in the word vectors that the decoder sees")
    left_out: float = Field(0.0, ge=0, lt=1, description="share of the words that the encoder does not see (TSDAE)")


class DenoSent(SimCSE):
    """SimCSE whose vectors, before the head, must let a decoder say the whole text again.

    The decoder sees that vector, and word vectors most of which is dropped; it is thrown away. The text that is said
    is the one that the encoder saw, or with `left_out` the whole one; the paper also says a paraphrase.
    """

    name = "denosent"
    source = "Wang et al. 2023, DenoSent; xinghaow99/DenoSent"
    asks = ("of_words",)
    Options: ClassVar[type[SimCSEOptions]] = DenoSentOptions

    options: DenoSentOptions

    def __init__(self, encoder: nn.Module, options: DenoSentOptions) -> None:
        needs_words(encoder, self.name)
        super().__init__(encoder, options)
        self.again = SaidAgain(encoder, self.width, options.layers, options.causal, options.dropped)
        self.salt = Draws()

    @property
    def contrasts(self) -> bool:  # type: ignore[override]
        """Whether a weight asks for the contrast."""
        return self.options.contrast_weight > 0

    def project(self, rows: Tensor) -> dict[str, Tensor]:
        """The projection, and how well the text is said again."""
        share, seen = self.options.left_out, rows
        if share:
            seen = self.encoder.shortened(rows, share, self.salt.number)  # type: ignore[operator]
        embedding = self.embed(seen)
        return {"projection": self.head(embedding), "again": self.again(self.encoder, rows, embedding)}

    def compared(self, projections: list[Any], batch: Batch) -> tuple[Any, list[Any]]:
        """See `SimCSE.compared`."""
        first, others = super().compared(projections, batch)
        return first["projection"], [other["projection"] for other in others]

    def contrast(self, projections: list[Any], batch: Batch) -> Contrast:
        """That of SimCSE, by its weight, and what is said again beside it."""
        weight, zero = self.options.contrast_weight, projections[0]["projection"].sum() * 0
        said = super().contrast(projections, batch) if weight else Contrast(zero)
        scaled = Contrast(weight * said.loss, {name: weight * term for name, term in said.terms.items()})
        return beside(scaled, self, projections, {"again": self.options.again_weight})

    def after_step(self, step: int, total_steps: int) -> None:
        """Other words will be left out."""
        super().after_step(step, total_steps)
        self.salt.after_step(step)


class TSDAEOptions(DenoSentOptions):
    """Options of TSDAE."""

    views: int = Field(1, ge=1, le=32, description="views of every item in a batch")
    contrast_weight: float = Field(
        0.0, ge=0, description="weight of a contrast; 0 leaves it out, and one view is enough"
    )
    again_weight: float = Field(1.0, gt=0, description="weight of saying the text again from its vector")
    layers: int = Field(1, ge=1, le=48, description="of the decoder")
    causal: bool = Field(True, description="say each word from those before it; else all at once (DenoSent)")
    dropped: float = Field(0.0, ge=0, le=1, description="share of zeros in the word vectors that the decoder sees")
    left_out: float = Field(0.6, ge=0, lt=1, description="share of the words that the encoder does not see")


class TSDAE(DenoSent):
    """An auto-encoder: from the vector of what is left of a text, a decoder says the whole text word by word.

    Nothing is contrasted, unless `contrast_weight` asks for it. The decoder is small and has word vectors in common
    with the encoder, where the paper has all weights in common.
    """

    name = "tsdae"
    near = "nothing: the vector of a text says the whole text"
    far = "nothing"
    source = "Wang et al. 2021, TSDAE; UKPLab/sentence-transformers"
    Options: ClassVar[type[SimCSEOptions]] = TSDAEOptions
