"""The nets of torchvision and timm, and their published weights."""

from __future__ import annotations

from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from torch import nn

from nearfar.errors import ConfigError
from nearfar.modalities.images.views import NORMALISATION


@dataclass(frozen=True)
class Borrowed:
    """A net without its classifier.

    Attributes:
        classifier: names of the layers that were removed; a file of weights may still hold them.
        mean, std: by which colours were normalised when the published weights were trained.
    """

    net: nn.Module
    classifier: tuple[str, ...] = ()
    mean: tuple[float, ...] = field(default=NORMALISATION[3][0])
    std: tuple[float, ...] = field(default=NORMALISATION[3][1])


def torchvision_net(name: str, model: str, size: int, pretrained: bool) -> Borrowed:
    """A classifier of torchvision, random or with its newest published weights."""
    try:
        from torchvision import models
    except ImportError as error:
        raise ImportError(f"encoder {name!r} needs torchvision: pip install 'nearfar[images]'") from error
    if model not in models.list_models(module=models):
        raise unknown(name)
    settings: dict[str, Any] = {}
    if model in ("googlenet", "inception_v3"):  # auxiliary classifiers would turn the output into a tuple
        settings = {"aux_logits": False, "init_weights": True}
    elif model.startswith("vit_"):
        settings = {"image_size": size}
    try:
        net: nn.Module = models.get_model(model, weights=None, **settings)
    except (AssertionError, ValueError, RuntimeError) as error:
        raise _not_of_this_size(name, size, error) from error
    heads = [key for key, module in net.named_modules() if isinstance(module, nn.Linear)]
    if not heads:
        raise ConfigError(f"encoder {name!r} has no linear classifier to remove; choose another one")
    published = models.get_model_weights(model).DEFAULT
    made = published.transforms()
    parent, _, leaf = heads[-1].rpartition(".")
    setattr(net.get_submodule(parent), leaf, nn.Identity())
    if pretrained:
        try:
            state = published.get_state_dict(progress=False, check_hash=True, weights_only=True)
        except Exception as error:  # of whichever library went to the network
            raise not_fetched(name, error) from error
        state = {
            key: value for key, value in state.items() if not key.startswith((f"{heads[-1]}.", "aux", "AuxLogits"))
        }
        if model.startswith("vit_"):
            from torchvision.models.vision_transformer import interpolate_embeddings

            state = interpolate_embeddings(size, net.patch_size, state)
        net.load_state_dict(state)
    return Borrowed(net, (heads[-1], "aux1", "aux2", "AuxLogits"), tuple(made.mean), tuple(made.std))


def timm_net(name: str, model: str, size: int, published: bool, pretrained: bool) -> Borrowed:
    """A net of timm, random or with published weights; `model` may name one of several, as in resnet50.a1_in1k."""
    try:
        import timm
    except ImportError as error:
        raise ImportError(f"encoder {name!r} needs timm: pip install 'nearfar[images]'") from error
    # Also keeps out names that timm would look up on the network.
    if model not in timm.list_models() and not (published and model in timm.list_pretrained()):
        raise unknown(name)
    defaults = timm.get_pretrained_cfg(model, allow_unregistered=True)
    if pretrained and (defaults is None or not defaults.has_weights):
        raise ConfigError(f"timm has no published weights for {model}; see: timm.list_pretrained()")
    settings: dict[str, Any] = {"img_size": size} if defaults is not None and defaults.fixed_input_size else {}
    try:
        net: nn.Module = timm.create_model(model, pretrained=False, num_classes=0, **settings)
    except (AssertionError, ValueError, RuntimeError, TypeError) as error:
        raise _not_of_this_size(name, size, error) from error
    if pretrained:
        try:
            net = timm.create_model(model, pretrained=True, num_classes=0, **settings)
        except Exception as error:  # of whichever library went to the network
            raise not_fetched(name, error) from error
    if defaults is None:
        return Borrowed(net)
    named = defaults.classifier or ()
    return Borrowed(net, (named,) if isinstance(named, str) else tuple(named), defaults.mean, defaults.std)


def not_fetched(name: str, error: Exception) -> ConfigError:
    """The error for published weights that could not be had."""
    reason = " ".join(str(error).split())[:300] or type(error).__name__
    return ConfigError(
        f"the published weights of {name!r} could not be fetched: {reason}. They come from the network when they are "
        "first used and from a cache after that; without a network give a file: NAME@FILE.safetensors"
    )


def unknown(name: str) -> ConfigError:
    """The error for a name that is not known, with names that come close."""
    known = ["small"]
    try:
        from torchvision import models

        known += models.list_models(module=models)
    except ImportError:
        pass
    try:
        import timm

        known += [f"timm/{model}" for model in timm.list_models()]
    except ImportError:
        pass
    wanted = name.lower().removeprefix("torchvision/")
    near = get_close_matches(wanted, known, n=4, cutoff=0.5)
    hint = f"Close: {', '.join(near)}." if near else "Known: small, torchvision/NAME, timm/NAME, hf/ORG/MODEL."
    return ConfigError(f"no image encoder is called {name!r}. {hint}")


def _not_of_this_size(name: str, size: int, error: Exception) -> ConfigError:
    return ConfigError(f"encoder {name!r} cannot be built for images of {size} pixels: {error}")
