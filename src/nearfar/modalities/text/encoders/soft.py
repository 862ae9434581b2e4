"""Soft prompts: a few vectors in front of a text, in every layer of a frozen net, which alone learn."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from nearfar.errors import ConfigError


class SoftPrompts(nn.Module):
    """Vectors (layers, n, d) that stand at the first n places of what each layer of a transformer takes.

    What a layer makes of these places is thrown away, so that each layer has keys and values of its own vectors in
    front of those of the text. Source: Jiang et al. 2022, PromCSE, section 3.1, whose prefixes are keys and values
    themselves; as inputs of layers Liu et al. 2022, P-tuning v2.

    Args:
        model: the transformer, which is frozen here. count: n. width: d.

    Raises:
        ConfigError: its layers are not in one list.
    """

    def __init__(self, model: nn.Module, count: int, width: int) -> None:
        super().__init__()
        lists = [part for part in model.modules() if isinstance(part, nn.ModuleList)]
        if not lists:
            raise ConfigError(f"soft_prompts: {type(model).__name__} has no list of layers")
        layers = max(lists, key=len)
        self.count = count
        self.vectors = nn.Parameter(torch.randn(len(layers), count, width) * 0.02)
        model.requires_grad_(False)
        for number, layer in enumerate(layers):
            layer.register_forward_pre_hook(partial(self._put, number), with_kwargs=True)

    def room(self, vectors: Tensor) -> Tensor:
        """Word vectors (B, L, e) behind n places, which are filled in each layer."""
        return torch.cat([vectors.new_zeros(len(vectors), self.count, vectors.shape[2]), vectors], 1)

    def _put(self, number: int, _: nn.Module, inputs: tuple[Any, ...], more: dict[str, Any]) -> Any:
        states = inputs[0] if inputs else more["hidden_states"]
        own = self.vectors[number].to(states.dtype).expand(len(states), -1, -1)
        states = torch.cat([own, states[:, self.count :]], 1)
        return ((states, *inputs[1:]), more) if inputs else (inputs, {**more, "hidden_states": states})
