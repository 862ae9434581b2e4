"""The state of a run as one tree, and back: weights, optimiser by parameter name, loss scale, random generators."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from nearfar.errors import ConfigError
from nearfar.training.engines import like, whole
from nearfar.training.rng import global_state, restore_global


def collect(module: nn.Module, optimiser: Optimizer, scaler: torch.amp.GradScaler) -> dict[str, Any]:
    """Everything that a step reads and changes, the same for any number of processes; all of them call it."""
    return {
        "method": whole(dict(module.state_dict())),
        "optimiser": {
            name: whole(dict(optimiser.state[parameter]))
            for name, parameter in _named_parameters(optimiser)
            if parameter in optimiser.state
        },
        "scaler": scaler.state_dict(),
        "rng": global_state(),
    }


def restore(tree: dict[str, Any], module: nn.Module, optimiser: Optimizer, scaler: torch.amp.GradScaler) -> None:
    """Put back what `collect` gave. Raises ConfigError when the module has other parameters or other shapes."""
    own = module.state_dict()
    given = {name: like(value, own[name]) if name in own else value for name, value in tree["method"].items()}
    try:
        module.load_state_dict(given)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"the checkpoint is of another model: {reason}") from None
    parameters = dict(_named_parameters(optimiser))
    names = list(parameters)
    stored: dict[str, dict[str, Any]] = tree["optimiser"]
    unknown = sorted(set(stored) - set(names))
    if unknown:
        raise ConfigError(
            f"the checkpoint has optimiser state for {', '.join(unknown)}, which the method does not train"
        )
    # torch numbers the parameters through all groups; the numbers exist only between these two lines
    current = optimiser.state_dict()
    current["state"] = {
        number: {key: _kept(value, parameters[name]) for key, value in stored[name].items()}
        for number, name in enumerate(names)
        if name in stored
    }
    optimiser.load_state_dict(current)
    scaler.load_state_dict(tree["scaler"])
    restore_global(tree["rng"])


def check_same(out: Path, state: dict[str, Any], identity: dict[str, Any], data: str) -> None:
    """Raise ConfigError, naming every difference, when a checkpoint is of another run than the one to be resumed."""
    differences = list(_differences("", state["identity"], identity))
    if state["data"] != data:
        differences.append(f"the data changed (fingerprint {state['data'][:12]}, now {data[:12]})")
    if differences:
        raise ConfigError(
            f"the run in {out} cannot be resumed, since the result would not be that of one run: "
            f"{'; '.join(differences)}. Put these back, or start a run in another folder"
        )


def _kept(value: Any, parameter: Tensor) -> Any:
    """What an optimiser keeps of a parameter: tensors of its shape are shared out as it is."""
    return like(value, parameter) if isinstance(value, Tensor) and value.shape == parameter.shape else value


def _named_parameters(optimiser: Optimizer) -> list[tuple[str, Tensor]]:
    return [
        pair for group in optimiser.param_groups for pair in zip(group["param_names"], group["params"], strict=True)
    ]


def _differences(path: str, before: Any, now: Any) -> list[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        found = []
        for key in sorted(before.keys() | now.keys()):
            name = f"{path}.{key}" if path else key
            found += _differences(name, before.get(key), now.get(key))
        return found
    return [] if before == now else [f"{path} was {before!r}, now {now!r}"]
