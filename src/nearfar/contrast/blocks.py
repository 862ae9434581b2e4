"""How scores are visited: the choice of a strategy, and `dense`, the reference that builds the whole matrix.

`dense` builds the R x C scores and lets autograd work: the reference, and the choice for small batches. `tiled`, in the
file of that name, gives the same values and gradients from tiles that fit the cache.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from .reductions import Reduction
from .relation import Relation
from .similarity import Similarity

KINDS = ("auto", "dense", "tiled", "gathered", "ring")


@dataclass(frozen=True)
class Strategy:
    """How scores are visited: which kind of strategy, the side of a tile, and the memory that scores may take.

    Args:
        kind: "dense" builds the whole matrix, "tiled" computes every tile again in the backward pass, and "auto" visits
            tiles too but keeps their scores for the backward pass while they stay below `budget` bytes. "gathered" and
            "ring" take the rows of all processes of `group` for one batch (see `ring`).
        tile: rows and columns of a tile; None: 512 on CPU, 4096 elsewhere, and half of the rows at most.
        budget: bytes of scores that "auto" keeps.
        group: of torch.distributed, for "gathered" and "ring"; None for all processes.
    """

    kind: str = "auto"
    tile: int | None = None
    budget: int = 16 << 20
    group: Any = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"a strategy is one of {', '.join(KINDS)}, not {self.kind!r}")
        if self.tile is not None and self.tile < 1:
            raise ValueError(f"a tile has at least one row, got {self.tile}")

    @staticmethod
    def of(choice: str | Strategy | None) -> Strategy:
        """A strategy from its name."""
        return choice if isinstance(choice, Strategy) else Strategy(choice or "auto")

    @property
    def dense(self) -> bool:
        """True when the whole matrix is to be built."""
        return self.kind == "dense"

    @property
    def spread(self) -> bool:
        """True when the batch is spread over several processes."""
        return self.kind in ("gathered", "ring")

    def keeps(self, scores: int, like: Tensor) -> bool:
        """True when so many scores are kept from the forward to the backward pass."""
        return self.kind == "auto" and scores * like.element_size() <= self.budget

    def side(self, shape: tuple[int, int], like: Tensor) -> int:
        """Side of the tiles: two to a side at least, so that symmetric relations save work on small batches too."""
        if self.tile is not None:
            return self.tile
        return max(1, min(512 if like.device.type == "cpu" else 4096, math.ceil(max(shape) / 2)))


def keep_freed_blocks() -> None:
    """Have the C library of Linux keep freed blocks of tiles in this process, not give them back and ask again.

    It keeps blocks up to the size of the largest that it took from the system by itself and got back, at most 32 MiB;
    where rows are larger than that, giving memory back and taking it again, page by page, was half of the time. Nothing
    is written to the block, so that it takes no memory; where the C library is another one this does nothing.
    """
    torch.empty(2**25 - 2**16, dtype=torch.uint8, device="cpu")


def slices(n: int, side: int) -> list[slice]:
    """Cut range(n) into pieces of `side`."""
    return [slice(start, min(start + side, n)) for start in range(0, n, side)]


class Link(torch.autograd.Function):
    """The link of a similarity as an autograd node."""

    @staticmethod
    def forward(ctx: FunctionCtx, products: Tensor, similarity: Similarity) -> Tensor:
        """Scores from products."""
        scores = similarity.link_(products.clone())
        ctx.save_for_backward(scores)
        ctx.similarity = similarity  # type: ignore[attr-defined]
        return scores

    @staticmethod
    @once_differentiable
    def backward(ctx, upstream: Tensor) -> tuple[Tensor, None]:  # type: ignore[no-untyped-def]
        """Through the slope of the link."""
        (scores,) = ctx.saved_tensors
        return upstream * ctx.similarity.link_slope(scores), None


def scores_of(similarity: Similarity, u: Tensor, v: Tensor) -> Tensor:
    """All scores of prepared rows, with gradient."""
    if not similarity.products:
        return similarity.block(u, v)
    products = u @ v.T
    return products if similarity.linear else Link.apply(products, similarity)


def pair_scores(similarity: Similarity, u: Tensor, v: Tensor) -> Tensor:
    """Scores of prepared rows matched one to one, with gradient."""
    if not similarity.products:
        return similarity.matched(u, v)
    products = (u * v).sum(1)
    return products if similarity.linear else Link.apply(products, similarity)


def reduce_dense(
    similarity: Similarity,
    u: Tensor,
    v: Tensor,
    relation: Relation,
    reductions: tuple[Reduction, ...],
    sides: tuple[str, ...],
) -> list[Tensor]:
    """The reference: one matrix of scores, plain autograd, no shortcut."""
    scores = scores_of(similarity, u, v)
    out = []
    for reduction, side in zip(reductions, sides, strict=True):
        seen = scores if side == "anchors" else scores.T
        weights = relation.weights(reduction.over, slice(0, len(u)), slice(0, len(v)))
        full = (weights if side == "anchors" else weights.t).full(seen)
        values = seen
        if reduction.of is not None:
            values = reduction.of(seen, *[g if g.ndim == 0 else g[:, None] for g in reduction.given])
        rows, columns = (full != 0).nonzero(as_tuple=True)
        out.append(reduction.of_pairs(values[rows, columns], full[rows, columns], rows, len(seen)))
    return out
