"""A model card for the Hugging Face hub."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..run import IN_MEMORY, Run
from ..version import VERSION


def card(run: Run) -> str:
    """Markdown with the front matter of the hub: what the encoder is, how it was trained, how to use it, its figures.

    Figures are those of `results.json` of the run, where there is one; nothing is claimed that was not measured.
    """
    config = run.config
    encoder = run.method.encoder
    settings: Any = encoder.settings
    data = config["data"] if config["data"] == IN_MEMORY else Path(config["data"]).name
    lines = [
        "---",
        "library_name: sentence-transformers",
        "pipeline_tag: sentence-similarity",
        "tags: [sentence-transformers, feature-extraction, sentence-similarity, nearfar]",
        "---",
        "",
        f"# {run.path.name or config['encoder']}",
        "",
        f"Texts to vectors of {encoder.width} numbers, made with nearfar {config.get('nearfar', VERSION)}.",
        "",
        "```python",
        "from sentence_transformers import SentenceTransformer",
        "",
        'vectors = SentenceTransformer("THIS FOLDER").encode(["a text"])',
        "```",
        "",
        "## What it is",
        "",
        f"- pooling {settings.pooling}, {'unit length' if settings.normalise else 'not normalised'}, "
        f"texts are cut to {settings.most_tokens} tokens",
        f"- prompts: queries {run.options.query_prompt!r}, documents {run.options.document_prompt!r}",
        f"- started from {config['encoder']}"
        + (f", SHA-256 of those weights {config['start']['sha256']}" if config.get("start") else ""),
        "",
        "## How it was trained",
        "",
    ]
    if run.trained:
        training = {key: value for key, value in config["training"].items() if value is not None}
        lines += [
            f"Method {config['method']} on {data} ({config['source']['items']} items).",
            "",
            "```json",
            json.dumps({"training": training, "method": config["method_options"]}, indent=2),
            "```",
        ]
    else:
        lines.append("It was not trained with nearfar.")
    return "\n".join([*lines, "", "## Figures", "", *_figures(run), ""])


def _figures(run: Run) -> list[str]:
    file = run.path / "results.json"
    if not run.trained or not file.is_file():
        return ["None were measured."]
    found = json.loads(file.read_text(encoding="utf-8"))
    rows = [
        f"| {metric['name']} | {metric['value']:.3f} | {metric['n']} |"
        for metric in _metrics(found)
        if isinstance(metric.get("value"), float)
    ]
    return ["| figure | value | n |", "|---|---|---|", *rows] if rows else ["None were measured."]


def _metrics(found: Any) -> list[dict[str, Any]]:
    """All metrics in the figures of the run itself, wherever they stand."""
    if isinstance(found, dict):
        if {"name", "value", "n"} <= found.keys():
            return [found]
        parts = [found["run"]] if "run" in found else list(found.values())
        return [metric for part in parts for metric in _metrics(part)]
    return [metric for part in found for metric in _metrics(part)] if isinstance(found, list) else []
