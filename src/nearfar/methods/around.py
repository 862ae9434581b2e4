"""What stands around a method: it is the method, and does one thing more."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from ..data.batch import Batch
from ..data.sampling import BoundSampler, EpochSampler, PlannedSampler
from ..data.source import Source
from ..settings import Settings
from .method import Method

# What a method says of itself with a value that holds where it says nothing, which would hide it.
_SAID = [name for name in Method.__annotations__ if hasattr(Method, name)]


class AroundOptions(Settings):
    """Base of the settings of what can stand around any method."""

    @property
    def asked(self) -> bool:
        """Whether they ask for anything."""
        raise NotImplementedError


class Around(Method):
    """Base of what stands around a method; encoder, objective, options and all else are those of the method.

    Attributes:
        method: what it stands around, which may stand around another one.
    """

    def __init__(self, method: Method) -> None:
        nn.Module.__init__(self)
        self.method = method
        vars(self).update({name: getattr(method, name) for name in _SAID})

    def __getattr__(self, name: str) -> Any:
        """What is not here is the method's."""
        own = self.__dict__["_modules"]
        return own[name] if name in own else getattr(own["method"], name)

    def order(self, rows: Tensor) -> Tensor | None:
        """That of the method."""
        return self.method.order(rows)

    def sampler(self, source: Source, batch_size: int, seed: int) -> EpochSampler | PlannedSampler | BoundSampler:
        """That of the method."""
        return self.method.sampler(source, batch_size, seed)

    def prepare(self, batch: Batch) -> Batch:
        """What the method makes of a batch."""
        return self.method.prepare(batch)

    def after_step(self, step: int, total_steps: int) -> None:
        """The method follows."""
        self.method.after_step(step, total_steps)


def by_name(made: Tensor | dict[str, Tensor]) -> dict[str, Tensor]:
    """What a method projects as a dict, to which something can be added."""
    return made if isinstance(made, dict) else {"projection": made}


def without(view: dict[str, Tensor], *names: str) -> Any:
    """What a method has projected, without what was added to it; see `by_name`."""
    own = {name: value for name, value in view.items() if name not in names}
    return own["projection"] if list(own) == ["projection"] else own


def innermost(method: Any) -> Any:
    """The method that all others stand around."""
    while isinstance(method, Around):
        method = method.method
    return method
