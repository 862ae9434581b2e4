"""Tasks of words beside any method."""

from __future__ import annotations

from typing import Any

from pydantic import Field
from torch import Tensor, nn

from ..data.batch import Batch
from ..models import Draws
from .around import Around, AroundOptions, by_name, without
from .method import Contrast, Method
from .words import MaskedWords, NextWords, beside, needs_words


class PretextOptions(AroundOptions):
    """Tasks beside the contrast of any method, for encoders of words."""

    masked: float = Field(0.0, ge=0, description="weight of guessing masked words beside the contrast")
    masked_share: float = Field(0.15, gt=0, lt=1, description="share of the words that are masked for that")
    next_word: float = Field(0.0, ge=0, description="weight of saying each next word beside the contrast")

    @property
    def weights(self) -> dict[str, float]:
        """Of the tasks that are asked for."""
        return {name: weight for name in ("masked", "next_word") if (weight := getattr(self, name))}

    @property
    def asked(self) -> bool:
        """Whether any task is."""
        return bool(self.weights)


class Beside(Around):
    """A method with tasks beside its contrast, which its encoder learns as well. Each encodes every view once more.

    Attributes:
        method: what it is beside; encoder, objective and options are those of it.
        weights: of the tasks by name, see `PretextOptions`.

    Source: Gao et al. 2021, SimCSE, section 3 (masked words); Peters et al. 2018 (next words).
    """

    def __init__(self, method: Method, options: PretextOptions) -> None:
        super().__init__(method)
        needs_words(method.encoder, " and ".join(options.weights))
        self.weights = options.weights
        tasks: dict[str, nn.Module] = {}
        if options.masked:
            tasks["masked"] = MaskedWords(method.encoder, options.masked_share)
        if options.next_word:
            tasks["next_word"] = NextWords(method.encoder)
        self.tasks, self.salt = nn.ModuleDict(tasks), Draws()

    def project(self, rows: Tensor) -> dict[str, Tensor]:
        """What the method projects, and what the tasks make of the rows."""
        return {**by_name(self.method.project(rows)), **{name: self._asked(name, rows) for name in self.tasks}}

    def contrast(self, projections: list[Any], batch: Batch) -> Contrast:
        """That of the method, and the tasks beside it."""
        said = self.method.contrast([without(view, *self.tasks) for view in projections], batch)
        return beside(said, self, projections, self.weights)

    def after_step(self, step: int, total_steps: int) -> None:
        """The method follows, and other words will be masked."""
        self.method.after_step(step, total_steps)
        self.salt.after_step(step)

    def describe(self) -> str:
        """The recipe of the method, and the tasks."""
        tasks = ", ".join(f"{name} x {weight}" for name, weight in self.weights.items())
        return f"{self.method.describe()}\n  beside     {tasks}"

    def _asked(self, name: str, rows: Tensor) -> Tensor:
        more = (self.salt.number,) if name == "masked" else ()
        told: Tensor = self.tasks[name](self.method.encoder, rows, *more)
        return told


def with_tasks(method: Method, options: PretextOptions) -> Method:
    """The method with the tasks that are asked for beside it; the method itself where none is."""
    return Beside(method, options) if options.weights else method
