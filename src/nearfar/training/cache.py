"""Gradients of one batch: all rows at once, or a micro-batch at a time with the same result (the gradient cache).

The gradient cache encodes the rows in chunks without keeping activations, lets the objective see the projections of
the *whole* batch, keeps the gradient of the loss with respect to each projection, and then encodes every chunk once
more, with activations and with the same random numbers, to carry that gradient into the weights. The batch may thus
be as large as the objective needs, while memory holds the activations of ``micro_batch`` rows of one view. It costs
one more forward pass.

The gradients are those of the plain step as long as a row's projection does not depend on the other rows. Batch norm
breaks that: it sees micro-batches instead of the batch. Its running statistics are updated in the second pass only,
once per chunk. Source: Gao et al. 2021, "Scaling deep contrastive learning batch size under memory limited setup".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from nearfar.training.protocols import Projection
from nearfar.training.rng import restore_torch, torch_state

Project = Callable[[Tensor], Projection]
LossOf = Callable[[list[Projection]], Tensor]


def plain_gradients(project: Project, views: list[Tensor], loss_of: LossOf) -> list[Projection]:
    """Add the gradients of ``loss_of([project(view) ...])`` to the parameters; returns the detached projections."""
    projections = [project(view) for view in views]
    loss_of(projections).backward()
    return [_detached(projection) for projection in projections]


def cached_gradients(
    module: nn.Module, project: Project, views: list[Tensor], loss_of: LossOf, micro_batch: int
) -> list[Projection]:
    """What `plain_gradients` does, with the activations of at most ``micro_batch`` rows of one view at a time.

    ``module`` is what ``project`` runs, to hold its running statistics still during the first pass.
    """
    chunks: list[list[tuple[Tensor, dict[str, Tensor]]]] = []  # per view: rows and the random state before them
    projections: list[Projection] = []
    with torch.no_grad(), _still_statistics(module):
        for view in views:
            rows = view.split(micro_batch)
            states, parts = [], []
            for chunk in rows:
                states.append(torch_state())
                parts.append(project(chunk))
            chunks.append(list(zip(rows, states, strict=True)))
            projections.append(_leaf(parts))

    loss_of(projections).backward()

    after = torch_state()
    for view_chunks, projection in zip(chunks, projections, strict=True):
        start = 0
        for chunk, state in view_chunks:
            restore_torch(state)
            _carry(project(chunk), projection, slice(start, start + len(chunk)))
            start += len(chunk)
    restore_torch(after)
    return [_detached(projection) for projection in projections]


def _carry(part: Projection, whole: Projection, rows: slice) -> None:
    """Backward through one chunk with the gradient that the objective gave to its rows."""
    parts, wholes = _named(part), _named(whole)
    pairs = [
        (value, gradient[rows])
        for name, value in parts.items()
        if value.requires_grad and (gradient := wholes[name].grad) is not None
    ]
    if pairs:
        torch.autograd.backward([value for value, _ in pairs], [gradient for _, gradient in pairs])


def _named(projection: Projection) -> dict[str, Tensor]:
    return projection if isinstance(projection, dict) else {"": projection}


def _detached(projection: Projection) -> Projection:
    if isinstance(projection, dict):
        return {name: value.detach() for name, value in projection.items()}
    return projection.detach()


def _leaf(parts: list[Projection]) -> Projection:
    """The chunks of one view joined, as leaves that collect a gradient."""

    def join(values: list[Tensor]) -> Tensor:
        whole = torch.cat(values)
        return whole.requires_grad_() if whole.is_floating_point() else whole

    named = [_named(part) for part in parts]
    joined = {name: join([part[name] for part in named]) for name in named[0]}
    return joined if isinstance(parts[0], dict) else joined[""]


@contextmanager
def _still_statistics(module: nn.Module) -> Iterator[None]:
    """Batch norms normalise by their batch as always, and leave their running statistics alone."""
    norms = [
        part
        for part in module.modules()
        if isinstance(part, nn.modules.batchnorm._NormBase) and part.training and part.track_running_stats
    ]
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True
