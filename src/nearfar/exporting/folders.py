"""Export a run, or an encoder by name, in the format that another library reads."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import ConfigError, NearfarError
from ..run import Run
from .card import card
from .onnx import write_onnx

FORMATS = ("sentence-transformers", "onnx")
_MODES = {
    "mean": "mean_tokens",
    "cls": "cls_token",
    "max": "max_tokens",
    "sqrt": "mean_sqrt_len_tokens",
    "weighted": "weightedmean_tokens",
    "last": "lasttoken",
}


@dataclass(frozen=True)
class Written:
    """What an export wrote.

    Attributes:
        path: the folder or file.
        parity: the largest difference between its vectors and nearfar's on some texts; None where nothing measured it.
    """

    path: Path
    parity: float | None = None


def export(run: Run, out: str | Path, form: str = "sentence-transformers") -> Written:
    """Write the encoder of a run of texts for use without nearfar.

    Args:
        run: a run, or what `nearfar.opening.open_run` gives for an encoder by name.
        out: a new folder ("sentence-transformers"), or a file that ends in .onnx.
        form: "sentence-transformers": a folder that this library and `transformers` load, with tokeniser, pooling,
            normalisation, prompts and a model card; low-rank adapters are merged into the weights. "onnx": one graph
            from token ids to vectors, with the tokeniser in its metadata and its largest difference to nearfar.

    Raises:
        ConfigError: an unknown format, a run of other data, or an encoder that this format cannot hold.
        NearfarError: `out` is there already or cannot be written.

    >>> export(Run.load("runs/glosses"), "glosses-st")                      # doctest: +SKIP
    """
    if form not in FORMATS:
        raise ConfigError(f"there is no format {form!r}; there are {', '.join(FORMATS)}")
    out = Path(out).expanduser()
    if out.exists() and (out.is_file() or any(out.iterdir())):
        raise NearfarError(f"{out} is there already; choose another place")
    encoder: Any = run.method.encoder
    if run.modality.name != "text" or not hasattr(encoder, "settings"):
        raise ConfigError(
            f"only transformers on texts can be written as {form}, and this is {run.config['encoder']!r} on "
            f"{run.modality.name}; its weights as safetensors are in {run.path / 'checkpoints'}"
        )
    if encoder.settings.soft_prompts:
        raise ConfigError(f"soft prompts have no place in {form}; train with lora, or all weights, to write it")
    encoder = encoder.eval().cpu()
    try:
        if form == "onnx":
            if out.suffix != ".onnx":
                raise ConfigError(f"{out} should end in .onnx")
            return Written(out, write_onnx(encoder, out))
        _write_folder(run, encoder, out)
    except OSError as error:
        raise NearfarError(f"{out} cannot be written: {error.strerror or error}; choose another place") from None
    return Written(out)


def _write_folder(run: Run, encoder: Any, out: Path) -> None:
    settings = encoder.settings
    net = merged(encoder.model)
    out.mkdir(parents=True, exist_ok=True)
    net.save_pretrained(out, safe_serialization=True)
    encoder.tokeniser.save_pretrained(out)
    prefix = "sentence_transformers.models."
    modules = [{"type": f"{prefix}Transformer", "path": ""}, {"type": f"{prefix}Pooling", "path": "1_Pooling"}]
    _json(out / "sentence_bert_config.json", {"max_seq_length": settings.most_tokens, "do_lower_case": False})
    hidden = int(net.config.hidden_size)
    pooling: dict[str, Any] = {"word_embedding_dimension": hidden}
    pooling |= {f"pooling_mode_{mode}": mode == _MODES[settings.pooling] for mode in _MODES.values()}
    _json(out / "1_Pooling" / "config.json", pooling)
    layers = [
        (layer[0].weight, layer[0].bias, activation)
        for layer, (_, _, activation, _) in zip(encoder.dense, settings.dense, strict=True)
    ]
    made = settings.dense[-1][1] if settings.dense else hidden
    if encoder.width < made:  # the first numbers alone, as a layer, so that every version reads it
        layers.append((torch.eye(made)[: encoder.width], None, "identity"))
    for weight, bias, activation in layers:
        path = f"{len(modules)}_Dense"
        modules.append({"type": f"{prefix}Dense", "path": path})
        _write_dense(out / path, weight, bias, activation)
    if settings.normalise:
        path = f"{len(modules)}_Normalize"
        (out / path).mkdir(exist_ok=True)
        modules.append({"type": f"{prefix}Normalize", "path": path})
    listed = [{"idx": number, "name": str(number), **part} for number, part in enumerate(modules)]
    (out / "modules.json").write_text(json.dumps(listed, indent=2) + "\n", encoding="utf-8")
    prompts = {"query": run.options.query_prompt, "document": run.options.document_prompt}
    said = {"prompts": prompts, "default_prompt_name": None, "similarity_fn_name": "cosine"}
    _json(out / "config_sentence_transformers.json", said)
    (out / "README.md").write_text(card(run), encoding="utf-8")


def merged(model: Any) -> Any:
    """The same net with its low-rank adapters in its weights, a copy; itself where it has none."""
    if not hasattr(model, "merge_and_unload"):
        return model
    from copy import deepcopy

    return deepcopy(model).merge_and_unload()


def _write_dense(folder: Path, weight: Tensor, bias: Tensor | None, activation: str) -> None:
    from safetensors.torch import save_file

    folder.mkdir(exist_ok=True)
    name = "torch.nn.modules.activation.Tanh" if activation == "tanh" else "torch.nn.modules.linear.Identity"
    after, before = weight.shape
    said = {"in_features": before, "out_features": after, "bias": bias is not None, "activation_function": name}
    _json(folder / "config.json", said)
    tensors = {"linear.weight": weight.detach().contiguous()}
    if bias is not None:
        tensors["linear.bias"] = bias.detach().contiguous()
    save_file(tensors, folder / "model.safetensors")


def _json(file: Path, content: dict[str, Any]) -> None:
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
