"""Optimisers by name, LARS, and which parameters decay."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer

from nearfar.errors import ConfigError
from nearfar.training.stages import depths

OptimiserName = Literal["adamw", "sgd", "lars"]
_NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
_PLAIN_NAMES = ("bias", "temperature")


def parameter_groups(module: nn.Module, layer_decay: float | None = None) -> list[dict[str, Any]]:
    """Two groups of the parameters that learn: ``decayed`` (matrices, filters) and ``plain``.

    Plain parameters are free of weight decay and of the layer-wise adaptation of LARS: those of norms, those with at
    most one dimension, and those with ``bias`` or ``temperature`` in their name. Parameters with ``requires_grad``
    off are left out. Each group carries the names beside the tensors, which is how a checkpoint finds the state of a
    parameter again.

    With ``layer_decay`` d the two are split by the depth of the encoder: a group of stage s of S (from 0, see
    `nearfar.training.stages`) carries ``scale`` = d^(S - s), by which its learning rate is multiplied; what is no part
    of the encoder keeps 1. Source: Howard & Ruder 2018, section 3.2; Bao et al. 2021 (BEiT) for the power.

    >>> [[name for name, _ in group["params"]] for group in parameter_groups(nn.Linear(2, 3))]
    [['weight'], ['bias']]
    """
    of_norms = {id(p) for part in module.modules() if isinstance(part, _NORMS) for p in part.parameters(recurse=False)}
    decayed: list[tuple[str, Tensor]] = []
    plain: list[tuple[str, Tensor]] = []
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            exempt = id(parameter) in of_norms or parameter.ndim <= 1 or any(word in name for word in _PLAIN_NAMES)
            (plain if exempt else decayed).append((name, parameter))
    groups: list[dict[str, Any]] = [
        {"name": "decayed", "params": decayed, "adapt": True},
        {"name": "plain", "params": plain, "adapt": False, "weight_decay": 0.0},
    ]
    if layer_decay is not None:
        groups = [part for group in groups for part in _by_depth(group, module, layer_decay)]
    return [group for group in groups if group["params"]]


def _by_depth(group: dict[str, Any], module: nn.Module, decay: float) -> list[dict[str, Any]]:
    """A group for each stage of the encoder and one for the rest."""
    encoder = getattr(module, "encoder", None)
    if not isinstance(encoder, nn.Module):
        raise ConfigError("layer_decay is set, but this method has no encoder whose stages could learn at other rates")
    depth = depths(encoder)
    last = 1 + max(depth.values(), default=0)
    parts: dict[int, list[tuple[str, Tensor]]] = {}
    for name, parameter in group["params"]:
        parts.setdefault(depth.get(id(parameter), last), []).append((name, parameter))
    return [
        {**group, "name": f"{group['name']} {stage}", "params": params, "scale": decay ** (last - stage)}
        for stage, params in sorted(parts.items())
    ]


def optimiser(
    name: OptimiserName, groups: Iterable[dict[str, Any]], lr: float, weight_decay: float = 0.0, momentum: float = 0.9
) -> Optimizer:
    """The optimiser called ``name`` over groups from `parameter_groups`; ``momentum`` serves sgd and lars.

    Raises ConfigError for an unknown name or when no parameter learns.
    """
    groups = list(groups)
    if not groups:
        raise ConfigError("no parameter of the method requires a gradient, so there is nothing to train")
    if name == "adamw":
        # In one pass over the memory, which takes weights and what is kept of them for the same numbers in the same
        # order: not so of filters laid out pixel by pixel, whose averages come back from a checkpoint in another order.
        plain = all(weights.is_contiguous() for group in groups for _, weights in group["params"])
        return AdamW(groups, lr=lr, weight_decay=weight_decay, fused=plain or None)
    if name == "sgd":
        return SGD(groups, lr=lr, weight_decay=weight_decay, momentum=momentum)
    if name == "lars":
        return LARS(groups, lr=lr, weight_decay=weight_decay, momentum=momentum)
    raise ConfigError(f"unknown optimiser {name!r}; known: {', '.join(get_args(OptimiserName))}")


class LARS(Optimizer):
    """Stochastic gradient descent whose every layer steps by the same share of its own norm; for large batches.

    With weights w, gradient g, decay b:  u = g + b w;  ratio = eta |w| / |u| (1 when either norm is 0);
    v <- momentum v + lr ratio u;  w <- w - v.  A group with ``adapt=False`` has ratio 1.

    The learning rate enters the momentum buffer, as in SimCLR's own optimiser. You et al. 2017 divide by |g| + b |w|
    instead of |g + b w|. Raises ConfigError for a negative rate, momentum, decay or eta.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        weight_decay: float = 0.0,
        momentum: float = 0.9,
        eta: float = 0.001,
    ) -> None:
        given = {"lr": lr, "weight_decay": weight_decay, "momentum": momentum, "eta": eta}
        for key, value in given.items():
            if not value >= 0:
                raise ConfigError(f"LARS: {key} is {value}; it must not be negative")
        super().__init__(params, {**given, "adapt": True})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One update of every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for weights in group["params"]:
                if weights.grad is None:
                    continue
                update = weights.grad.add(weights, alpha=group["weight_decay"])
                if group["adapt"]:
                    ratio = group["eta"] * weights.norm() / update.norm()
                    # 0 / 0 and x / 0 are "no adaptation"; so is a layer of zeros, which could otherwise never move.
                    update *= torch.where(torch.isfinite(ratio) & (ratio > 0), ratio, 1.0)
                state = self.state[weights]
                if not state:
                    state["velocity"] = torch.zeros_like(weights)
                velocity = state["velocity"]
                velocity.mul_(group["momentum"]).add_(update, alpha=group["lr"])
                weights.sub_(velocity)
        return loss
