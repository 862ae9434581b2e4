"""Transformers by name or folder, with what sentence-transformers folders say of pooling."""

from __future__ import annotations

import importlib
import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from nearfar.errors import ConfigError
from nearfar.models.digest import digest

from .pooling import POOLINGS
from .transformer import SETTINGS, TextSettings, Transformer

DROPOUTS = (
    "hidden_dropout_prob", "attention_probs_dropout_prob", "dropout", "attention_dropout", "hidden_dropout",
    "resid_pdrop", "embd_pdrop", "attn_pdrop",
)  # fmt: skip
_OLD = {"cls_token": "cls", "max_tokens": "max", "mean_tokens": "mean", "mean_sqrt_len_tokens": "sqrt",
        "weightedmean_tokens": "weighted", "lasttoken": "last"}  # fmt: skip


def transformer(name: str, model: str, weights: bool, **changes: Any) -> Transformer:
    """A transformer with its tokeniser, from a folder or by name.

    Args:
        name: what error messages call it. model: a folder, or a name that may have to be fetched.
        weights: with its weights; else random ones.
        changes: of `TextSettings`, and `dropout`; those that are None stay as published.

    Raises:
        ConfigError: it cannot be had, or is no model of texts. ImportError: transformers is missing.
    """
    transformers = needed(name)
    dropout = changes.pop("dropout", None)
    folder = Path(model)
    try:
        config = transformers.AutoConfig.from_pretrained(model)
        if dropout is not None:
            for key in DROPOUTS:
                if hasattr(config, key):
                    setattr(config, key, dropout)
        tokeniser = transformers.AutoTokenizer.from_pretrained(model)
        if weights:  # safetensors only: older files are pickles
            net = transformers.AutoModel.from_pretrained(model, config=config, use_safetensors=True)
        else:
            net = transformers.AutoModel.from_config(config)
    except Exception as error:  # of whichever library went to the network
        where = "the folder is not whole" if folder.is_dir() else "it is no local folder and could not be fetched"
        raise ConfigError(f"encoder {name!r} cannot be had, {where}: {' '.join(str(error).split())[:300]}") from error
    settings = published(model, min(int(getattr(config, "max_position_embeddings", 512)), tokeniser.model_max_length))
    settings = replace(settings, **{key: value for key, value in changes.items() if value is not None})
    if settings.soft_prompts:
        if settings.lora:
            raise ConfigError("soft_prompts and lora both learn instead of the net; set one of them")
        most = int(getattr(config, "max_position_embeddings", 512)) - settings.soft_prompts
        settings = replace(settings, most_tokens=min(settings.most_tokens, most))
    if tokeniser.pad_token is None:
        tokeniser.pad_token = tokeniser.eos_token
    made = Transformer(net.float(), tokeniser, settings)
    if weights and not (folder / SETTINGS).is_file():
        _fill(made.dense, folder)
    if settings.lora:
        made.model = adapted(net, settings.lora)
    return made


def published(model: str, positions: int) -> TextSettings:
    """How a model wants to be used, as far as its folder says: settings of nearfar, or of sentence-transformers.

    Raises:
        ConfigError: a sentence-transformers folder with parts that are not known here.
    """
    folder = Path(model)
    if (folder / SETTINGS).is_file():
        kept = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
        return TextSettings(**{**kept, "dense": tuple(tuple(layer) for layer in kept["dense"])})
    settings = TextSettings(most_tokens=min(256, positions))
    if not (folder / "modules.json").is_file():
        return settings
    settings = TextSettings(most_tokens=positions)
    dense: list[tuple[int, int, str, bool]] = []
    for part in json.loads((folder / "modules.json").read_text(encoding="utf-8")):
        kind = part["type"].rsplit(".", 1)[-1]
        file = folder / part["path"] / "config.json"
        said = json.loads(file.read_text(encoding="utf-8")) if part["path"] and file.is_file() else {}
        if kind == "Transformer":
            own = folder / part["path"] / "sentence_bert_config.json"
            most = json.loads(own.read_text(encoding="utf-8")).get("max_seq_length") if own.is_file() else None
            settings = replace(settings, most_tokens=int(most or settings.most_tokens))
        elif kind == "Pooling":
            settings = replace(settings, pooling=_pooling(said))
        elif kind == "Normalize":
            settings = replace(settings, normalise=True)
        elif kind == "Dense":
            activation = "tanh" if "Tanh" in said.get("activation_function", "") else "identity"
            dense.append((said["in_features"], said["out_features"], activation, said.get("bias", True)))
        else:
            raise ConfigError(f"{folder / 'modules.json'} has a part {kind!r}, which nearfar does not know")
    return replace(settings, dense=tuple(dense))


def _fill(layers: nn.ModuleList, folder: Path) -> None:
    """Give the layers behind the pooling their published weights."""
    from safetensors.torch import load_file

    files = sorted(folder.glob("*_Dense/model.safetensors"), key=lambda file: int(file.parent.name.split("_")[0]))
    if len(files) != len(layers):
        raise ConfigError(f"{folder} has {len(layers)} dense layers and weights as safetensors of {len(files)}")
    for layer, file in zip(layers, files, strict=True):
        found = {name.removeprefix("linear."): weight for name, weight in load_file(file).items()}
        layer.get_submodule("0").load_state_dict(found)


def _pooling(said: dict[str, Any]) -> Any:
    new = said.get("pooling_mode")
    if new in POOLINGS:
        return new
    chosen = [ours for theirs, ours in _OLD.items() if said.get(f"pooling_mode_{theirs}")]
    if len(chosen) != 1:
        raise ConfigError(f"a pooling of several kinds {chosen or new} is not known here; choose one: {POOLINGS}")
    return chosen[0]


def adapted(net: nn.Module, rank: int) -> nn.Module:
    """The same net with low-rank adapters, which alone learn.

    Raises:
        ImportError: peft is missing.
    """
    try:
        peft: Any = importlib.import_module("peft")
    except ImportError as error:
        raise ImportError("lora needs peft: pip install 'nearfar[text]'") from error
    config = peft.LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", lora_dropout=0.0)
    made: nn.Module = peft.get_peft_model(net, config)
    return made


def start_of(made: Transformer, name: str) -> dict[str, Any]:
    """What says which weights these are."""
    return {"sha256": digest(made.state_dict()), "architecture": name}


def needed(name: str) -> Any:
    """The library `transformers`.

    Raises:
        ImportError: it is missing.
    """
    try:
        found: Any = importlib.import_module("transformers")
    except ImportError as error:
        raise ImportError(f"encoder {name!r} needs transformers: pip install 'nearfar[text]'") from error
    logging.getLogger("transformers").setLevel(logging.ERROR)  # it reports every weight that a task head would have
    found.utils.logging.disable_progress_bar()
    return found
