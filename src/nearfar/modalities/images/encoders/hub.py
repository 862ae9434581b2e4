"""Vision models of Hugging Face: by name, through `transformers`, or from a local folder."""

from __future__ import annotations

import importlib
import inspect
import logging
from typing import Any

from torch import Tensor, nn

from nearfar.errors import ConfigError

from .libraries import Borrowed, not_fetched

_log = logging.getLogger(__name__)


class Pooled(nn.Module):
    """A model of `transformers` whose output is one vector per picture.

    The model's own pooled output where it has one; else the mean over its tokens or over its map.
    """

    def __init__(self, model: nn.Module, settings: dict[str, Any]) -> None:
        super().__init__()
        self.model, self.settings = model, settings

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, width)."""
        out = self.model(pixel_values=images, **self.settings)
        pooled: Tensor | None = getattr(out, "pooler_output", None)
        if pooled is not None:
            return pooled.flatten(1)
        last: Tensor = out.last_hidden_state
        return last.mean(1) if last.ndim == 3 else last.mean((2, 3))


def hub_net(name: str, model: str, pretrained: bool) -> Borrowed:
    """A vision model: published weights, or only its configuration with random ones.

    Raises:
        ConfigError: it cannot be fetched, or it is not a model of pictures. ImportError: transformers is missing.
    """
    try:
        transformers: Any = importlib.import_module("transformers")
    except ImportError as error:
        raise ImportError(f"encoder {name!r} needs transformers: pip install transformers") from error
    try:
        config = transformers.AutoConfig.from_pretrained(model)
        if pretrained:  # safetensors only: older files are pickles
            made = transformers.AutoModel.from_pretrained(model, use_safetensors=True)
        else:
            made = transformers.AutoModel.from_config(config)
    except Exception as error:  # of whichever library went to the network
        raise not_fetched(name, error) from error
    made = getattr(made, "vision_model", made)  # of a pair of towers the one for pictures
    takes = inspect.signature(made.forward).parameters
    if "pixel_values" not in takes:
        raise ConfigError(f"encoder {name!r} is no model of pictures; choose another one")
    settings = {"interpolate_pos_encoding": True} if "interpolate_pos_encoding" in takes else {}
    net = Pooled(made.float(), settings)
    try:
        processor = transformers.AutoImageProcessor.from_pretrained(model)
        mean, std = tuple(processor.image_mean), tuple(processor.image_std)
    except (OSError, ValueError, AttributeError, ImportError) as error:
        _log.warning(f"{name}: does not say how it normalises pictures, so ImageNet's constants are used: {error}")
        return Borrowed(net)
    return Borrowed(net, (), mean, std)
