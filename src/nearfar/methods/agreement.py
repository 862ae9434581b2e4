"""How much the attention of a net agrees with itself under other dropout (miCSE)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..data.batch import Batch
from ..errors import ConfigError
from .method import Contrast

if TYPE_CHECKING:
    from .simcse import SimCSE

MOST = 1 - 1e-6  # of a squared correlation, so that views that are the same stay finite


def shown(method: SimCSE) -> None:
    """Raise ConfigError unless a method projects as SimCSE does, by an encoder that shows its attention."""
    from .simcse import SimCSE

    if type(method).project is not SimCSE.project:
        raise ConfigError(f"{method.name} does not compare attention; leave out attention_weight")
    if not hasattr(method.encoder, "attending"):
        raise ConfigError(
            f"attention_weight compares attention, which {type(method.encoder).__name__} does not show; for texts take "
            "minilm, hf/NAME or hf/FOLDER"
        )


def information(one: Tensor, other: Tensor, count: int) -> Tensor:
    """Mean information between two views of attention, -log(1 - r^2) / 2, times the squared share of places there are.

    r is the correlation of the logs of a head's attention over the first `count` places that both views have; a head of
    a text without so many does not count. Where none has, all take as many as the poorest. Logs that are all the same
    correlate with nothing.

    Args:
        one, other: (..., M) attention, 0 where dropout took it and -1 where there is no such place.

    Source: Klein & Nabi 2023, miCSE, section 3.2; SAP-samples/acl2023-micse model/models.py, where padding counts among
    the places that there could be.

    >>> one = torch.tensor([[0.1, 0.2, 0.4, 0.3]])
    >>> round(float(information(one, torch.tensor([[0.2, 0.4, 0.8, 0.3]]), 3)), 1)    # in step
    6.9
    """
    both = (one > 0) & (other > 0)
    share = both.sum() / (one >= 0).sum().clamp(min=1)
    order = both.cumsum(-1)
    enough = order[..., -1] >= count
    if not bool(enough.any()):
        count = int(order[..., -1].min())
        enough = torch.ones_like(enough)
    if count < 3:  # two numbers are always in step
        return (one.clamp(min=0) * 0).sum()
    x, y = (view[enough].where((both & (order <= count))[enough], 1).log() for view in (one, other))
    kept = (both & (order <= count))[enough]
    x, y = ((log - log.sum(-1, keepdim=True) / count) * kept for log in (x, y))
    product = (x.square().sum(-1) * y.square().sum(-1)).clamp(min=1e-12)
    squared = ((x * y).sum(-1).square() / product).clamp(max=MOST)
    return -0.5 * torch.log1p(-squared).mean() * (share.square() + 1e-6)


def agreement(method: SimCSE, said: Contrast, projections: list[Any], batch: Batch) -> Contrast:
    """A contrast less the information between the attention of the first view and that of each other one.

    Raises:
        ConfigError: the views are not the same tokens.
    """
    first, others = batch.whole[0], [n for n, role in enumerate(batch.roles) if role != "far"]
    others.remove(first)
    if any(not torch.equal(batch.views[first], batch.views[other]) for other in others):
        raise ConfigError(
            "attention_weight compares attention to the same words under other dropout, and these views are other "
            "words; take recipe=dropout and texts alone"
        )
    seen = [method.together(view["attention"]) for view in projections]
    found = [information(seen[first], seen[other], method.options.attention_places) for other in others]
    term = -method.options.attention_weight * torch.stack(found).mean()
    return Contrast(said.loss + term, {**said.terms, "attention": term})
