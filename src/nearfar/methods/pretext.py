"""Tasks of words beside any method."""

from __future__ import annotations

from typing import Any

from pydantic import Field
from torch import Tensor, nn

from ..data.batch import Batch
from ..data.sampling import BoundSampler, EpochSampler, PlannedSampler
from ..data.source import Source
from ..models import Draws
from ..settings import Settings
from .method import Contrast, Method
from .words import MaskedWords, NextWords, beside, needs_words

# What a method says of itself with a value that holds where it says nothing, which would hide it.
_SAID = [name for name in Method.__annotations__ if hasattr(Method, name)]


class PretextOptions(Settings):
    """Tasks beside the contrast of any method, for encoders of words."""

    masked: float = Field(0.0, ge=0, description="weight of guessing masked words beside the contrast")
    masked_share: float = Field(0.15, gt=0, lt=1, description="share of the words that are masked for that")
    next_word: float = Field(0.0, ge=0, description="weight of saying each next word beside the contrast")

    @property
    def weights(self) -> dict[str, float]:
        """Of the tasks that are asked for."""
        return {name: weight for name in ("masked", "next_word") if (weight := getattr(self, name))}


class Beside(Method):
    """A method with tasks beside its contrast, which its encoder learns as well. Each encodes every view once more.

    Attributes:
        method: what it is beside; encoder, objective and options are those of it.
        weights: of the tasks by name, see `PretextOptions`.

    Source: Gao et al. 2021, SimCSE, section 3 (masked words); Peters et al. 2018 (next words).
    """

    def __init__(self, method: Method, options: PretextOptions) -> None:
        nn.Module.__init__(self)
        vars(self).update({name: getattr(method, name) for name in _SAID})
        needs_words(method.encoder, " and ".join(options.weights))
        self.method, self.weights = method, options.weights
        tasks: dict[str, nn.Module] = {}
        if options.masked:
            tasks["masked"] = MaskedWords(method.encoder, options.masked_share)
        if options.next_word:
            tasks["next_word"] = NextWords(method.encoder)
        self.tasks, self.salt = nn.ModuleDict(tasks), Draws()

    def __getattr__(self, name: str) -> Any:
        """What is not here is the method's."""
        own = self.__dict__["_modules"]
        return own[name] if name in own else getattr(own["method"], name)

    def sampler(self, source: Source, batch_size: int, seed: int) -> EpochSampler | PlannedSampler | BoundSampler:
        """That of the method."""
        return self.method.sampler(source, batch_size, seed)

    def project(self, rows: Tensor) -> dict[str, Tensor]:
        """What the method projects, and what the tasks make of the rows."""
        made = self.method.project(rows)
        given = made if isinstance(made, dict) else {"projection": made}
        return {**given, **{name: self._asked(name, rows) for name in self.tasks}}

    def contrast(self, projections: list[Any], batch: Batch) -> Contrast:
        """That of the method, and the tasks beside it."""
        own = [{key: value for key, value in view.items() if key not in self.tasks} for view in projections]
        said = self.method.contrast([view["projection"] if len(view) == 1 else view for view in own], batch)
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
