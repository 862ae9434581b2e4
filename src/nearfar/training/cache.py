"""The gradient cache: the loss of a whole batch with the activations of a micro-batch, for any objective and encoders.

Rows are encoded a micro-batch at a time without keeping activations; the objective sees the projections of the *whole*
batch; in the backward pass every micro-batch is encoded once more, with activations and with the same random numbers,
to carry the gradient of its projections into the weights. The batch may be as large as the objective needs. It costs
one more forward pass, about a third more work.

The encoder is one node of the graph, so everything else is as always: sums of losses, gradient scalers, learned
temperatures, gradients of inputs, any optimiser. Gradients are those of encoding the same micro-batches one after
another with all activations kept. As long as a row's projection does not depend on the other rows, that is the whole
batch at once, and without dropout the micro-batch has no say at all. Not so:

- batch norm normalises by the micro-batch; its running statistics move once, in the first pass.
- layers that change otherwise whenever they run (spectral norm), and random numbers of NumPy or Python inside an
  encoder, are not replayed.
- the second pass adds to ``.grad`` by a backward pass of its own, so call ``loss.backward()``;
  ``torch.autograd.grad(loss, weights_of_an_encoder)`` does not see the weights.

Several processes: an encoder that is a `DistributedDataParallel` itself exchanges gradients with its last micro-batch
only, by its ``no_sync``; wrapped in another function it does so with every micro-batch, to the same gradients, and all
processes must then have as many micro-batches. Parameters of the objective are no part of it: average theirs yourself.

Source: Gao et al. 2021, "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup".
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.nn.modules.module import register_module_forward_pre_hook

from nearfar.training.rng import restore_torch, torch_state
from nearfar.training.trees import Tree, put_together, rows_in, take_apart

Encoder = Callable[[Any], Tree]
Tower = tuple[Encoder, Tree]
Order = Tensor | Sequence[float]
T = TypeVar("T")


def cached(
    objective: Callable[..., T],
    *towers: Tower | Tensor,
    micro_batch: int = 64,
    order: Order | Sequence[Order | None] | None = None,
    **how: Any,
) -> T:
    """``objective(encoder_a(rows_a), encoder_b(rows_b), ..., **how)`` with the activations of one micro-batch alone.

    Args:
        objective: any function of the projections: an entry of the catalogue, its ``inspect``, or one of your own.
        towers: (encoder, rows) each; encoders may be the same, and are any function of rows. ``rows`` is a tensor
            (N, ...), or dicts, lists or tuples of tensors with N rows each, such as tokenised text. An encoder gives a
            tensor, or dicts, lists or tuples of tensors, one entry per row. A tensor in place of a tower goes to the
            objective as it is (a queue, say).
        micro_batch: rows that are encoded at a time, at least 1; it need not divide N. A last row that would be encoded
            alone takes one from the micro-batch before it, for batch norm (not of micro-batches of 2).
        order: (N,) numbers, such as lengths of texts, or one such per tower (None for none): rows of similar numbers
            share a micro-batch, so that an encoder can cut off common padding. Projections keep the order of the rows.
        how: arguments of the objective (``ids``, ``labels``, ``strategy``, ...).

    Returns:
        What the objective returns; ``.backward()`` of a scalar reaches encoders, objective and inputs.

    Raises:
        ValueError: rows, order or outputs do not fit together. TypeError: rows that are no tensors.

    Batch norm, several processes and ``torch.autograd.grad``: see `nearfar.training.cache`.
    Source: Gao et al. 2021, GradCache.

    >>> text, image = torch.nn.Linear(5, 3), torch.nn.Linear(7, 3)
    >>> loss = nf.objectives.SymmetricInfoNCE(temperature=0.1)
    >>> value = nf.cached(loss, (text, torch.randn(50, 5)), (image, torch.randn(50, 7)), micro_batch=8)
    >>> value.backward()
    >>> text.weight.grad.shape
    torch.Size([3, 5])
    """
    each: list[Any] = list(order) if _per_tower(order) else [order] * len(towers)  # type: ignore[arg-type]
    if len(each) != len(towers):
        raise ValueError(f"order has {len(each)} entries for {len(towers)} towers; give one per tower, or None")
    made = [
        tower if isinstance(tower, Tensor) else encoded(*tower, micro_batch=micro_batch, order=numbers)
        for tower, numbers in zip(towers, each, strict=True)
    ]
    return objective(*made, **how)


def encoded(encoder: Encoder, rows: Tree, *, micro_batch: int | None, order: Order | None = None) -> Tree:
    """``encoder(rows)`` that keeps no activations but those of one micro-batch, in the backward pass too.

    Arguments as in `cached`, which calls it for every tower; None for ``micro_batch`` encodes all rows at once.

    >>> encoder, rows = torch.nn.Linear(5, 3), torch.randn(50, 5)
    >>> torch.allclose(nf.training.encoded(encoder, rows, micro_batch=8), encoder(rows))
    True
    """
    if micro_batch is None:
        return encoder(rows)
    if micro_batch < 1:
        raise ValueError(f"a micro-batch has at least one row, got {micro_batch}")
    leaves: list[Tensor] = []
    form = take_apart(rows, leaves)
    count = rows_in(leaves)
    work = _Work(encoder, form, _micro_batches(count, micro_batch, order, leaves[0].device), _autocasts(leaves))
    parts = _Encode.apply(work, torch.empty(0, requires_grad=work.learns), *leaves)
    return put_together(work.made, parts)


def step_gradients(
    project: Encoder,
    views: list[Tensor],
    loss_of: Callable[[list[Any]], Tensor],
    micro_batch: int | None,
    order: Callable[[Tensor], Tensor | None] = lambda rows: None,
) -> list[Any]:
    """Add the gradients of ``loss_of([project(view) ...])`` to the parameters; returns the detached projections.

    A micro-batch that holds all rows of a view would only encode them twice, and is left out. ``order`` gives numbers
    of the rows of a view, those of similar ones then share micro-batches, see `cached`.
    """
    micro_batch = None if micro_batch is None or micro_batch >= len(views[0]) else micro_batch
    projections = [encoded(project, view, micro_batch=micro_batch, order=order(view)) for view in views]
    loss_of(projections).backward()
    leaves: list[Tensor] = []
    form = take_apart(projections, leaves)
    detached: list[Any] = put_together(form, [leaf.detach() for leaf in leaves])
    return detached


@dataclass
class _Work:
    """What is needed to encode the rows of a tower again: who encodes what, in which state of the world."""

    encoder: Encoder
    form: Any  # of the rows
    micro_batches: list[slice | Tensor]
    autocasts: Callable[[], Any]
    states: list[dict[str, Tensor]] = field(default_factory=list)  # random numbers before every micro-batch
    made: Any = None  # form of what the encoder gives

    @property
    def learns(self) -> bool:
        """False for a module that has nothing to learn; of other functions that cannot be known."""
        return not isinstance(self.encoder, nn.Module) or any(p.requires_grad for p in self.encoder.parameters())

    def run(self, leaves: Sequence[Tensor], rows: slice | Tensor) -> list[Tensor]:
        """What the encoder makes of the rows of one micro-batch."""
        with self.autocasts():
            tree = self.encoder(put_together(self.form, leaves))
        found: list[Tensor] = []
        self.made = take_apart(tree, found)
        count = rows.stop - rows.start if isinstance(rows, slice) else len(rows)
        if rows_in(found) != count:
            raise ValueError(
                f"the encoder gave {rows_in(found)} rows for a micro-batch of {count}; with a gradient cache it gives "
                "one entry per row, and what belongs to the whole batch is the objective's"
            )
        return found

    def last_only(self, number: int) -> Any:
        """Processes that share a module exchange gradients with its last micro-batch only."""
        no_sync = getattr(self.encoder, "no_sync", None)
        return no_sync() if no_sync is not None and number < len(self.micro_batches) - 1 else nullcontext()


class _Encode(torch.autograd.Function):
    """Rows to projections. ``_`` is a tensor that makes the result differentiable where the inputs are not."""

    @staticmethod
    def forward(ctx: FunctionCtx, work: _Work, _: Tensor, *leaves: Tensor) -> tuple[Tensor, ...]:
        """Encode all micro-batches without a graph, and remember the random numbers."""
        parts: list[list[Tensor]] = []
        for rows in work.micro_batches:
            work.states.append(torch_state())
            parts.append(work.run([leaf[rows] for leaf in leaves], rows))
        out = [torch.cat(pieces) for pieces in zip(*parts, strict=True)]
        if isinstance(work.micro_batches[0], Tensor):
            back = torch.cat(work.micro_batches).argsort()  # type: ignore[arg-type]
            out = [whole[back] for whole in out]
        ctx.work = work  # type: ignore[attr-defined]
        ctx.save_for_backward(*leaves)
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(*(whole for whole in out if not whole.is_floating_point()))
        return tuple(out)

    @staticmethod
    @once_differentiable
    def backward(ctx, *upstream: Tensor | None) -> tuple[Tensor | None, ...]:  # type: ignore[no-untyped-def]
        """Encode every micro-batch again, and send the gradient of its projections back through it."""
        work: _Work = ctx.work
        leaves: tuple[Tensor, ...] = ctx.saved_tensors
        wanted = ctx.needs_input_grad[2:]
        gradients = [torch.zeros_like(leaf) if want else None for leaf, want in zip(leaves, wanted, strict=True)]
        for number, (rows, state) in enumerate(zip(work.micro_batches, work.states, strict=True)):
            with torch.enable_grad(), _random_as(state), _still_statistics(), work.last_only(number):
                inputs = [leaf[rows].detach() for leaf in leaves]
                for leaf, want in zip(inputs, wanted, strict=True):
                    leaf.requires_grad_(want)
                made = work.run(inputs, rows)
                pairs = [(m, g[rows]) for m, g in zip(made, upstream, strict=True) if m.requires_grad and g is not None]
                if pairs:
                    torch.autograd.backward([m for m, _ in pairs], [g for _, g in pairs])
            for gradient, leaf in zip(gradients, inputs, strict=True):
                if gradient is not None and leaf.grad is not None:
                    gradient[rows] = leaf.grad
        return None, None, *gradients


def _per_tower(order: Any) -> bool:
    several = isinstance(order, list | tuple)
    return several and any(numbers is None or isinstance(numbers, Tensor | list | tuple) for numbers in order)


def _micro_batches(count: int, size: int, order: Order | None, device: torch.device) -> list[slice | Tensor]:
    """Which rows go together: neighbours, or those of similar numbers; never one row alone where size allows it."""
    sizes = [size] * (count // size) + [count % size] * (count % size > 0 or count == 0)  # one piece without rows
    if size > 2 and sizes[-1] == 1 and len(sizes) > 1:  # of which a batch norm would make nothing
        sizes[-2:] = [size - 1, 2]
    if order is None:
        stops = list(accumulate(sizes))
        return [slice(stop - length, stop) for stop, length in zip(stops, sizes, strict=True)]
    numbers = torch.as_tensor(order, device=device)
    if numbers.shape != (count,):
        raise ValueError(f"order has one number per row, ({count},), got {tuple(numbers.shape)}")
    return list(numbers.argsort(stable=True).split(sizes))


def _autocasts(leaves: Sequence[Tensor]) -> Callable[[], Any]:
    """A context that brings back the automatic casts as they are now.

    Without their cache of weights: one that the first pass filled would have no gradients for the second.
    """
    kinds = {"cpu", *(leaf.device.type for leaf in leaves)} | ({"cuda"} if torch.cuda.is_available() else set())
    seen = [(kind, torch.get_autocast_dtype(kind), torch.is_autocast_enabled(kind)) for kind in sorted(kinds)]

    @contextmanager
    def again() -> Iterator[None]:
        with ExitStack() as stack:
            for kind, dtype, enabled in seen:
                stack.enter_context(torch.autocast(kind, dtype, enabled, cache_enabled=False))
            yield

    return again


@contextmanager
def _random_as(state: dict[str, Tensor]) -> Iterator[None]:
    """The random numbers of another moment; those of now go on afterwards."""
    now = torch_state()
    restore_torch(state)
    try:
        yield
    finally:
        restore_torch(now)


@contextmanager
def _still_statistics() -> Iterator[None]:
    """Batch norms of any module that runs normalise by their batch as always, and leave their statistics alone."""
    stilled: list[Any] = []
    thread = threading.get_ident()

    def still(module: nn.Module, _: Any) -> None:
        norm = isinstance(module, nn.modules.batchnorm._NormBase)
        if norm and module.training and module.track_running_stats and threading.get_ident() == thread:
            module.track_running_stats = False  # type: ignore[assignment]
            stilled.append(module)

    hook = register_module_forward_pre_hook(still)
    try:
        yield
    finally:
        hook.remove()
        for norm in stilled:
            norm.track_running_stats = True
