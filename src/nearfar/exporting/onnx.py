"""An encoder of texts as one ONNX graph, with all that is needed to use it."""

from __future__ import annotations

import importlib
import json
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import NearfarError
from ..version import VERSION

SAMPLES = [
    "a",
    "The quick brown fox jumps over the lazy dog.",
    "Naïve café: 猫 and 🐈, 3.14 % (really?)",
    "a longer text with many words " * 12,
]


class Exported(nn.Module):
    """From `input_ids` and `attention_mask` (B, L) to `embedding` (B, width), without sorting by length."""

    def __init__(self, encoder: Any) -> None:
        super().__init__()
        self.encoder, self.model = encoder, encoder.model

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """The embedding."""
        states = self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        embedding: Tensor = self.encoder._embed(states, attention_mask > 0)
        return embedding


def write_onnx(encoder: Any, out: Path) -> float:
    """Write the graph, check it with onnxruntime, and say in the file how far its vectors are from nearfar's.

    Metadata of the file: `nearfar` (version), `settings` (pooling, normalisation, longest text), `special` (token ids),
    `tokenizer.json`, and `parity`, the largest difference on some texts.

    Returns:
        That difference.

    Raises:
        ImportError: onnx or onnxruntime is missing. NearfarError: the graph differs by more than 1e-3.
    """
    onnx, runtime = _needed("onnx"), _needed("onnxruntime")
    from .folders import merged

    encoder.model = merged(encoder.model)
    tokens = encoder.tokens(SAMPLES)
    mask = (tokens >= 0).long()
    ids = tokens.clamp(min=0) * mask + (1 - mask) * encoder._pad
    out.parent.mkdir(parents=True, exist_ok=True)
    axes = {0: "batch", 1: "length"}
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what tracing could miss; the parity below is measured at other shapes
        want = encoder(tokens).numpy()
        torch.onnx.export(
            Exported(encoder),
            (ids, mask),
            str(out),
            input_names=["input_ids", "attention_mask"],
            output_names=["embedding"],
            dynamic_axes={"input_ids": axes, "attention_mask": axes, "embedding": {0: "batch"}},
            opset_version=17,
            dynamo=False,
        )
    session = runtime.InferenceSession(str(out), providers=["CPUExecutionProvider"])

    def difference(rows: slice) -> float:
        length = int(mask[rows].sum(1).max())
        feed = {"input_ids": ids[rows, :length].numpy(), "attention_mask": mask[rows, :length].numpy()}
        return float(np.abs(session.run(None, feed)[0] - want[rows]).max())

    parity = max(difference(rows) for rows in (slice(0, None), slice(0, 1), slice(1, 3)))
    if not parity < 1e-3:
        out.unlink()
        raise NearfarError(f"the ONNX graph differs from the encoder by {parity:.2g}, so it was not kept")
    graph = onnx.load(str(out))
    said = {
        "nearfar": VERSION,
        "settings": json.dumps(asdict(encoder.settings)),
        "special": json.dumps(encoder.special),
        "parity": f"{parity:.3g}",
        "tokenizer.json": encoder.tokeniser.backend_tokenizer.to_str(),
    }
    for key, value in said.items():
        entry = graph.metadata_props.add()
        entry.key, entry.value = key, value
    onnx.save(graph, str(out))
    return parity


def _needed(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(f"writing ONNX needs {name}: pip install 'nearfar[onnx]'") from error
