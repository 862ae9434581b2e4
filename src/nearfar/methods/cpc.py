"""Contrastive predictive coding."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from ..contrast import Dot
from ..data.batch import Batch
from ..errors import ConfigError
from ..models import Course, UpToNow
from ..objectives import InfoNCE, candidate_counts, steps_ahead, to_later
from .average import averaged
from .method import Contrast, Method, MethodOptions

_ONE = torch.zeros(1, 1, dtype=torch.long)  # a sequence, to see how wide its contexts and targets are


class CPCOptions(MethodOptions):
    """Options of contrastive predictive coding."""

    views: int = Field(1, ge=1, le=32, description="views of every item in a batch; each is gone through by itself")
    projection: int = Field(0, ge=0, description="width of a layer behind the targets; none when 0")
    hidden: int | None = Field(None, ge=1, description="of no use here: all layers but the encoder's are linear")
    ahead: int = Field(
        4, ge=1, le=64, description="steps ahead that are predicted, each by a map of its own; 12 in the paper"
    )
    far: Literal["both", "others", "same"] = Field(
        "both", description="targets that are far: of other sequences, of other times of the same one, or both"
    )
    asks: Literal["context", "target", "both"] = Field(
        "context", description="who chooses: a context among targets, a target among contexts, or both in turn"
    )
    temperature: float = Field(1.0, gt=0, description="divides every product; 1 in the paper")
    embedding: Literal["mean", "last"] = Field(
        "mean", description="what a sequence is afterwards: the mean of its contexts, or the last one"
    )


class CPC(Method):
    """What is known at a time finds, among targets of other times and sequences, the one that comes some steps later.

    encoder, step by step -> for each number of steps a linear map of the context -> InfoNCE of raw products with the
    targets. Targets are what the encoder sees at each time (of texts: the vectors of words), contexts what it knows by
    then, without looking ahead (of a recurrent net the half that reads forwards). Beside the loss of each step the
    log says how much context and target know of each other at least, `information_k`, in nats: log of the candidates
    less the loss. With far=others and one pair of each sequence that bound is strict; targets of the same sequence are
    alike, so that in batches of few sequences it can be passed. Afterwards a sequence is the mean of its contexts, or
    the last.
    """

    name = "cpc"
    near = "what comes some steps later in the same sequence"
    far = "what comes at other times, of the same sequence or of others"
    source = "van den Oord et al. 2018, Representation Learning with Contrastive Predictive Coding"
    asks = ("of_words",)
    Options: ClassVar[type[MethodOptions]] = CPCOptions

    options: CPCOptions

    def __init__(self, encoder: nn.Module, options: CPCOptions) -> None:
        if not hasattr(encoder, "course"):
            raise ConfigError(
                f"{self.name} goes through sequences step by step, which {type(encoder).__name__} does not offer; for "
                "texts take gru, transformer, minilm or hf/NAME"
            )
        with torch.no_grad():
            course: Course = encoder.course(_ONE)  # type: ignore[operator]
        seen, known = course.targets.shape[2], course.contexts.shape[2]
        super().__init__(UpToNow(encoder, known, options.embedding), options)
        out = options.projection or seen
        self.head = nn.Linear(seen, out, bias=False) if options.projection else nn.Identity()
        self.maps = nn.ModuleList([nn.Linear(known, out, bias=False) for _ in range(options.ahead)])
        self.objective = InfoNCE(similarity=Dot(), temperature=options.temperature)

    def project(self, rows: Tensor) -> dict[str, Tensor]:
        """The embedding, which is watched, contexts and targets (B, T, d), and which of them there are."""
        encoder: Any = self.encoder
        course: Course = encoder.course(rows).padded(rows.shape[1])
        return {
            "projection": encoder.pooled(course),
            "contexts": course.contexts,
            "targets": self.head(course.targets),
            "there": course.there,
        }

    def contrast(self, projections: list[Any], batch: Batch) -> Contrast:
        """The mean of the losses of all steps, and of each step its share and its bound."""
        shares: dict[str, list[Tensor]] = {}
        parts = []
        for number in batch.whole:
            for step in range(1, self.options.ahead + 1):
                said, information = self._ahead(projections[number], batch.ids, step)
                if said is not None:
                    parts.append(said)
                    shares.setdefault(f"step_{step}", []).append(said.loss)
                    shares.setdefault(f"information_{step}", []).append(information)
        if not parts:
            zero = torch.stack([view["projection"].sum() for view in projections]).sum() * 0
            return Contrast(zero, {})
        terms = {name: torch.stack(values).mean() for name, values in shares.items()}
        steps = sum(name.startswith("step_") for name in terms)
        terms = {name: value / steps if name.startswith("step_") else value for name, value in terms.items()}
        whole = averaged(parts)
        return Contrast(whole.loss, terms, whole.at_chance)

    def _ahead(self, view: dict[str, Tensor], ids: Tensor, step: int) -> tuple[Contrast | None, Tensor]:
        """What the contexts of a view say of targets so many steps later; nothing where no sequence is that long."""
        known, later, rows = steps_ahead(view["contexts"], view["targets"], view["there"].bool(), step)
        predicted = self.maps[step - 1](known)
        sequences = self.together(ids[rows])
        if len(sequences) < 2:
            return None, predicted.sum()
        relation = to_later(sequences, self.options.far)
        ends = {"context": [(predicted, later)], "target": [(later, predicted)]}
        asked = ends.get(self.options.asks) or [*ends["context"], *ends["target"]]
        said = averaged([self.judged(*pair, relation=relation) for pair in asked])
        choices = candidate_counts(sequences, self.options.far).to(said.loss.dtype)
        return said, choices.log().mean() - said.loss.detach()
