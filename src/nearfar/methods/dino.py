"""DINO."""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from ..data.batch import Batch
from ..models import MomentumCopy, Prototypes, projector, ramp
from ..objectives import SelfDistillation
from .average import averaged, told
from .method import Contrast, Method, MethodOptions


class DINOOptions(MethodOptions):
    """Options of DINO."""

    projection: int = Field(256, ge=1, description="width of the projection, in front of the prototypes")
    hidden: int | None = Field(
        512, ge=1, description="hidden width of the head (2048 in the paper); the encoder's width when unset"
    )
    prototypes: int = Field(1024, ge=2, description="how many (65536 in the paper)")
    temperature: float = Field(0.1, gt=0, description="divides the student's scores")
    teacher_temperature: float = Field(0.04, gt=0, description="divides the teacher's scores")
    momentum: float = Field(
        0.99, ge=0, le=1, description="of the teacher at the start; 0.996 in the paper, of longer runs"
    )
    momentum_end: float = Field(1.0, ge=0, le=1, description="of the teacher at the end, reached by half a cosine")
    centre_momentum: float = Field(0.9, ge=0, le=1, description="of the running mean of the teacher's scores")
    frozen_steps: int = Field(40, ge=0, description="steps in which the prototypes do not learn (an epoch in the code)")


class DINO(Method):
    """A student predicts the opinion of its own slow copy on another view, over many prototypes.

    encoder -> three-layer head without norm -> cosines with prototypes; the teacher is a moving copy of all three, its
    scores are centred by a running mean and sharpened. Centring and sharpening prevent collapse between them. The
    student is asked about every view; the teacher's opinion counts on whole ones only. The official code has GELU in
    the head, and schedules of weight decay and of the teacher's temperature.
    """

    name = "dino"
    near = "the opinion on another view of the same item, by a slow copy of the network"
    far = "nothing; the teacher's scores are centred"
    source = "Caron et al. 2021, Emerging Properties in Self-Supervised Vision Transformers; facebookresearch/dino"
    Options = DINOOptions

    options: DINOOptions
    centre: Tensor
    done: Tensor

    def __init__(self, encoder: nn.Module, options: DINOOptions) -> None:
        super().__init__(encoder, options)
        hidden = options.hidden or self.width
        self.head = projector(self.width, hidden, options.projection, layers=3, norm="none")
        self.prototypes = Prototypes(options.projection, options.prototypes)
        self.teacher = MomentumCopy(self._student())
        self.register_buffer("centre", torch.zeros(options.prototypes))
        self.register_buffer("done", torch.tensor(0))
        self.objective = SelfDistillation(
            temperature=options.temperature, teacher_temperature=options.teacher_temperature
        )
        self._mean: Tensor | None = None

    def _student(self) -> nn.Module:
        return nn.Sequential(self.encoder, self.head, self.prototypes)

    def project(self, rows: Tensor) -> dict[str, Tensor]:
        """The student's projection and the teacher's scores."""
        return {"projection": self.head(self.encoder(rows)), "teacher": self.teacher(rows)}

    def contrast(self, projections: list[Any], batch: Batch) -> Contrast:
        """The student's scores of every view against the teacher's of every other whole one."""
        frozen = int(self.done) < self.options.frozen_steps
        scores = [self.prototypes(view["projection"], frozen) for view in projections]
        teacher = {j: projections[j]["teacher"].detach() for j in batch.whole}
        self._mean = self._mean_of(torch.cat(list(teacher.values())))
        said = [self.objective.inspect(scores[i], teacher[j], centre=self.centre) for i, j in batch.onto_whole()]
        return averaged([told(seen) for seen in said])

    def _mean_of(self, rows: Tensor) -> Tensor:
        """The mean over the rows of all processes, each of which sends its sum and its count."""
        sums = self.together(torch.cat([rows.sum(0), rows.new_tensor([len(rows)])])[None]).sum(0)
        return sums[:-1] / sums[-1]

    def after_step(self, step: int, total_steps: int) -> None:
        """The teacher follows, more and more slowly, and its centre moves."""
        self.done.fill_(step + 1)
        self.teacher.follow(self._student(), ramp(step, total_steps, self.options.momentum, self.options.momentum_end))
        if self._mean is not None:
            self.centre.lerp_(self._mean.to(self.centre.dtype), 1 - self.options.centre_momentum)
            self._mean = None
