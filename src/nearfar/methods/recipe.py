"""A method as a saved tuple: what is asked, what is found, how the two are compared, by which nets and which loss.

All of it is read off the method as it was made, its options and its parts, so that it cannot say anything else.
Words of the axes: Le-Khac et al. 2020 (query, key, similarity, encoder, head, loss), Jaiswal et al. 2020 (end-to-end,
memory bank, momentum encoder, clustering), Liu et al. 2020 (generative, contrastive, or both).
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import nn

from ..contrast import Objective
from ..errors import ConfigError
from ..models import Centroids, ClusteredQueue, FrozenCopy, LabelledQueue, LinkedBank, MomentumCopy, Prototypes, Queue
from ..objectives import build, catalogue
from .around import innermost
from .method import Method

AXES: dict[str, str] = {
    "query": "what asks: a view, and the parts of the method that it passes through and that learn",
    "key": "what it should find: where near rows come from",
    "far": "what it should not find: where far rows come from",
    "similarity": "how the two are compared",
    "encoder": "one net, or also a slow copy, another net beside it, itself as it was at the start",
    "head": "what stands between embedding and objective",
    "loss": "the objective with its arguments",
    "memory": "what is kept from earlier batches, or learned beside the nets",
    "architecture": "end-to-end, memory bank, momentum, clustering; several where a method has several",
    "kind": "contrastive, generative (says the data again), or hybrid",
    "signal": "what says who is near: labels, or views and given pairs",
}
_MEMORIES = {
    **{Queue: "size", LabelledQueue: "size", ClusteredQueue: "size", LinkedBank: "vectors"},
    **{Prototypes: "weight", Centroids: "centres"},
}
_BANKS, _CLUSTERS = (Queue, LinkedBank), (ClusteredQueue, Prototypes, Centroids)


@dataclass(frozen=True)
class Recipe:
    """A method as plain data, which `build` makes again.

    Attributes:
        method: its name. options: all of them. loss: what `config()` of its objective says.
        axes: for people to read, by the names in `AXES`.
    """

    method: str
    options: dict[str, Any]
    loss: dict[str, Any]
    axes: dict[str, str]

    def plain(self) -> dict[str, Any]:
        """All of it for JSON; `Recipe(**plain)` is the same recipe."""
        return {"method": self.method, "options": self.options, "loss": self.loss, "axes": self.axes}

    def build(self, encoder: nn.Module) -> Method:
        """The method on an encoder, with the objective that `loss` says; random weights are drawn as ever.

        Raises:
            ConfigError: there is no such method, option or objective.
        """
        kind = importlib.import_module(__package__).find(self.method)
        method: Method = kind(encoder, kind.Options(**self.options))
        if self.loss.get("objective") in catalogue():
            method.objective = build(self.loss)
        elif self.loss != method.objective.config():
            raise ConfigError(f"{self.method} has the objective {method.objective.config()}, not {self.loss}")
        return method


def recipe_of(method: Method) -> Recipe:
    """The recipe of a method; what stands around it (`Around`) is not part of it.

    >>> from nearfar import methods
    >>> encoder = nn.Linear(4, 8)
    >>> encoder.width = 8
    >>> recipe = recipe_of(methods.BYOL(encoder, methods.BYOL.Options()))
    >>> recipe.axes["architecture"], recipe.axes["query"]
    ('momentum', 'a view, through encoder, head, predictor')
    >>> recipe_of(Recipe(**recipe.plain()).build(encoder)) == recipe
    True
    """
    method = innermost(method)
    parts = list(_online(method))
    axes = {
        "query": f"a view, through {', '.join(name for name, _ in parts)}",
        "key": method.near,
        "far": method.far,
        "similarity": _compared(method.objective) if method.contrasts else "nothing is compared",
        "encoder": _encoders(method),
        "head": "; ".join(f"{name}: {_layers(part)}" for name, part in parts[1:]) or "none",
        "loss": " + ".join(_losses(method)),
        "memory": ", ".join(_memories(method)) or "none",
        "architecture": " + ".join(_architectures(method)) or "end-to-end",
        "kind": ("hybrid" if method.contrasts else "generative") if list(_says(method)) else "contrastive",
        "signal": "labels" if method.supervised else "views and given pairs",
    }
    return Recipe(method.name, method.options.model_dump(mode="json"), method.objective.config(), axes)


def _online(method: Method) -> Iterator[tuple[str, nn.Module]]:
    """The parts that learn by the loss, in the order in which they were made: the encoder first."""
    for name, part in method.named_children():
        still = isinstance(part, Objective | MomentumCopy | Queue | LinkedBank | nn.Identity)
        if name == "encoder" or (not still and any(weight.requires_grad for weight in part.parameters())):
            yield name, part


def _compared(objective: Objective) -> str:
    """The similarity of an objective or of what it is made of, or what it says of itself."""
    inner = getattr(objective, "of", objective)
    similarity = getattr(inner, "similarity", None)
    return inner.compares if similarity is None else f"{type(similarity).__name__}: {similarity.formula}"


def _encoders(method: Method) -> str:
    """The encoder, and what else is built like it."""
    encoder: Any = method.encoder
    beside = hasattr(encoder, "twins") and len(encoder.twins()) > 1
    said = [f"{type(encoder).__name__} of width {method.width}" + (", two nets side by side" if beside else "")]
    for name, part in method.named_children():
        if isinstance(part, FrozenCopy):
            said.append(f"itself as it was at the start ({name})")
        elif isinstance(part, MomentumCopy):
            said.append(f"a slow copy ({name})")
        elif name != "encoder" and any(type(inner) is type(method.encoder) for inner in part.modules()):
            said.append(f"another net built like it ({name})")
    return " and ".join(said)


def _layers(part: nn.Module) -> str:
    """The layers of a head one after the other; of any other part what it is called."""
    if isinstance(part, nn.Linear):
        return f"Linear {part.in_features} to {part.out_features}"
    if isinstance(part, nn.Sequential):
        return ", ".join(_layers(layer) for layer in part)
    if isinstance(part, nn.ModuleDict):
        return "; ".join(f"{name}: {_layers(layer)}" for name, layer in part.items())
    return type(part).__name__


def _memories(method: Method) -> Iterator[str]:
    for name, weight in method.named_parameters(recurse=False):
        yield f"{len(weight)} learned vectors ({name})"
    for name, part in method.named_children():
        holds = _MEMORIES.get(type(part))
        if holds is not None:
            held: Any = getattr(part, holds)
            yield f"{type(part).__name__} of {held if isinstance(held, int) else len(held)} ({name})"


def _architectures(method: Method) -> Iterator[str]:
    parts = list(method.children())
    if any(isinstance(part, _BANKS) for part in parts):
        yield "memory bank"
    if any(isinstance(part, MomentumCopy) and not isinstance(part, FrozenCopy) for part in parts):
        yield "momentum"
    if any(isinstance(part, _CLUSTERS) for part in parts):
        yield "clustering"


def _losses(method: Method) -> Iterator[str]:
    """The objective, where rows are contrasted, and the parts that say the data again."""
    if method.contrasts:
        yield f"{type(method.objective).__name__}({method.objective.extra_repr()})"
    yield from (f"{type(part).__name__} ({name})" for name, part in _says(method))


def _says(method: Method) -> Iterator[tuple[str, nn.Module]]:
    for name, part in method.named_children():
        if any(getattr(inner, "generates", False) for inner in part.modules()):
            yield name, part
