"""Stages of an encoder by depth, from the picture side on: what is frozen and what learns slower counts in them."""

from __future__ import annotations

from itertools import chain

from torch import nn

from nearfar.errors import ConfigError


def stages(encoder: nn.Module) -> list[list[nn.Module]]:
    """The parts of a net in the order of depth, each a list of modules; together they hold all its parameters.

    A stage is a member of a `Sequential` or `ModuleList` (a block, or a group of blocks), or a part that holds no such
    list. What has parameters with at most one dimension only (a norm) belongs to the stage before it, and parameters
    of the net itself (positions, a class token) to the first stage. Of a net that names nets side by side (`twins()`)
    a stage holds that of each, and the last one what else it has.

    >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3))
    >>> [[type(part).__name__ for part in stage] for stage in stages(net)]
    [['Conv2d', 'BatchNorm2d'], ['Conv2d']]
    """
    if hasattr(encoder, "twins"):
        twins: list[nn.Module] = encoder.twins()  # type: ignore[operator]
        rest = [part for part in encoder.children() if not any(part is twin for twin in twins)]
        return [*(list(chain.from_iterable(each)) for each in zip(*map(stages, twins), strict=True)), rest]
    found: list[list[nn.Module]] = []
    for part in _parts(encoder):
        joins = all(parameter.ndim <= 1 for parameter in part.parameters())
        if found and joins:
            found[-1].append(part)
        else:
            found.append([part])
    return found


def depths(encoder: nn.Module) -> dict[int, int]:
    """From the `id` of each parameter to the number of its stage, from 0."""
    found = {id(p): number for number, stage in enumerate(stages(encoder)) for part in stage for p in part.parameters()}
    return {id(p): found.get(id(p), 0) for p in encoder.parameters()}


def freeze(method: nn.Module, amount: str | float | None) -> list[nn.Module]:
    """Stop the first stages of a method's encoder from learning; returns the modules to be kept in evaluation mode.

    amount: None freezes nothing, "all" the whole encoder, a whole number so many stages, a number below 1 that share
    of them (at least one). Copies of the encoder (keys, targets, teachers) are frozen with it. Frozen norms, kept in
    evaluation mode, use the statistics that they came with and change no more than the frozen weights do.

    Raises:
        ConfigError: the method has no encoder, or there are not so many stages.
    """
    if amount is None or amount == 0:
        return []
    encoder = getattr(method, "encoder", None)
    if not isinstance(encoder, nn.Module):
        raise ConfigError("freeze is set, but this method has no encoder of which stages could be frozen")
    names = encoder.state_dict().keys()
    alike = [part for part in method.modules() if type(part) is type(encoder) and part.state_dict().keys() == names]
    frozen: list[nn.Module] = []
    for net in alike:
        split = stages(net)
        if amount == "all":
            chosen, direct = [net], list(net.parameters())
        else:
            count = max(1, round(float(amount) * len(split))) if float(amount) < 1 else int(amount)
            if count > len(split):
                raise ConfigError(f"freeze = {amount}, but the encoder has {len(split)} stages; choose less, or all")
            chosen = [part for stage in split[:count] for part in stage]
            depth = depths(net)
            direct = [p for p in net.parameters() if depth[id(p)] < count]
        for parameter in direct:
            parameter.requires_grad_(False)
        frozen += chosen
    return frozen


def _parts(module: nn.Module) -> list[nn.Module]:
    """The modules with parameters that are not split further, in order."""
    children = [child for child in module.children() if next(child.parameters(), None) is not None]
    if isinstance(module, nn.Sequential | nn.ModuleList) and len(children) > 1:
        return children
    if not any(_is_list(part) for part in module.modules()):
        return [module]
    return [part for child in children for part in _parts(child)]


def _is_list(module: nn.Module) -> bool:
    with_parameters = sum(next(child.parameters(), None) is not None for child in module.children())
    return isinstance(module, nn.Sequential | nn.ModuleList) and with_parameters > 1
