"""Encoders of sequences step by step: what is seen at each time, and what is known by then."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from .wrapped import Wrapped


@dataclass(frozen=True)
class Course:
    """A batch of sequences as an encoder goes through them; it offers `course(rows)`.

    Attributes:
        targets: (B, T, e) what is seen at each time, by itself.
        contexts: (B, T, d) what is known by then; the t-th one depends on targets up to t alone.
        there: (B, T) bool, False behind the end of a sequence.
    """

    targets: Tensor
    contexts: Tensor
    there: Tensor

    def padded(self, length: int) -> Course:
        """The same with so many times, those that are not there being zeros."""
        more = max(0, length - self.there.shape[1])
        targets, contexts = (
            nn.functional.pad(rows * self.there[:, :, None], (0, 0, 0, more)) for rows in (self.targets, self.contexts)
        )
        return Course(targets, contexts, nn.functional.pad(self.there, (0, more)))


class UpToNow(Wrapped):
    """An encoder whose embedding is what is known at the end of a sequence, or on average on the way there.

    All else that is asked of it (what rows it takes, how they are prepared) the encoder inside answers.

    Args:
        encoder: offers `course`. width: of a context. pool: "mean" of the contexts, or the "last" one.
    """

    def __init__(self, encoder: nn.Module, width: int, pool: Literal["mean", "last"] = "mean") -> None:
        super().__init__(encoder, width)
        self.pool = pool

    def pooled(self, course: Course) -> Tensor:
        """(B, width) of contexts; a sequence of nothing gives zeros."""
        there = course.there[:, :, None].to(course.contexts.dtype)
        if self.pool == "mean":
            return (course.contexts * there).sum(1) / there.sum(1).clamp_min(1)
        last = (course.there.sum(1) - 1).clamp_min(0)
        return (course.contexts * there)[torch.arange(len(last), device=last.device), last]

    def forward(self, rows: Tensor) -> Tensor:
        """(B, width)."""
        course: Course = self.inner.course(rows)  # type: ignore[operator]
        return self.pooled(course)
