"""Training and embedding texts beside sentence-transformers: pairs per second, texts per second, peak memory.

Run: python -m benchmarks.text_training [--pairs FILE] [--longest 128] [--batch-size 128] [--steps 4] [--bfloat16]
Same model (all-MiniLM-L6-v2), pairs, batches, longest text, optimiser (AdamW), precision and threads; every
measurement in a process of its own, in turn. Pairs are definitions and entries of the bundled dictionary, or the
columns anchor and positive of a file (see `benchmarks.handbook`). sentence-transformers: MultipleNegativesRankingLoss
and the cached one with mini-batches of 32, the steps of its loss module without its trainer, whose bookkeeping would
only add time; encode with its own sorting by length, batches of 32, its default. nearfar: `pairs` with all activations,
and with the gradient cache and micro-batches of 32; `embed` in batches of 512.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

MOST = 128
KINDS = ("nearfar", "nearfar cached", "peer", "peer cached")
EMBEDDING = ("nearfar embed", "peer embed")


def pairs_of(file: Path | None, count: int, seed: int = 0) -> tuple[list[str], list[str]]:
    """Anchors and positives, in a random order."""
    import numpy as np

    import nearfar as nf
    from nearfar.data import bundled

    text = nf.modalities.find("text")
    if file is None:
        found = text.collection(bundled.path("glosses"), options=text.Options(), split="train")
        anchors, positives = (list(next(iter(s.columns.values()))) for s in (found.queries, found.documents))
        anchors = [anchors[row] for row in found.query_rows]
        positives = [positives[row] for row in found.document_rows]
    else:
        source = text.read(file, text.Options(), None, None, False)
        anchors, positives = (list(source.columns[name]) for name in ("anchor", "positive"))
    order = np.random.default_rng(seed).permutation(len(anchors))[:count]
    return [anchors[row] for row in order], [positives[row] for row in order]


def nearfar_steps(
    anchors: list[str],
    positives: list[str],
    size: int,
    cached: bool,
    seed: int = 0,
    longest: int = MOST,
    half: bool = False,
) -> tuple[list[float], Any]:
    """Seconds of every step, and the encoder behind them."""
    import torch

    from nearfar.data.batch import Batch
    from nearfar.methods.pairs import Pairs, PairsOptions
    from nearfar.modalities.text.encoders import encoder
    from nearfar.training.cache import step_gradients

    torch.manual_seed(seed)
    method = Pairs(encoder("minilm", most_tokens=longest)[1], PairsOptions()).train()
    optimiser = torch.optim.AdamW(method.parameters(), lr=2e-5, fused=True)

    def project(rows: Any) -> Any:
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            return method.project(rows).float()

    spent = []
    for start in range(0, len(anchors) - size + 1, size):
        began = time.perf_counter()
        views = [method.encoder.tokens(column[start : start + size]) for column in (anchors, positives)]
        batch = Batch(views, torch.arange(size))

        def loss_of(projections: list[Any], batch: Batch = batch) -> Any:
            return method.contrast(projections, batch).loss

        optimiser.zero_grad()
        step_gradients(project, views, loss_of, 32 if cached else None, method.order)
        optimiser.step()
        spent.append(time.perf_counter() - began)
    return spent, method.encoder


def peer_steps(
    anchors: list[str],
    positives: list[str],
    size: int,
    cached: bool,
    seed: int = 0,
    longest: int = MOST,
    half: bool = False,
) -> tuple[list[float], Any]:
    """The same of sentence-transformers."""
    import torch
    from sentence_transformers import SentenceTransformer, losses

    from nearfar.modalities.text.encoders.build import packaged

    torch.manual_seed(seed)
    model = SentenceTransformer(packaged(), device="cpu").train()
    model.max_seq_length = longest
    loss = (
        losses.CachedMultipleNegativesRankingLoss(model, mini_batch_size=32)
        if cached
        else losses.MultipleNegativesRankingLoss(model)
    )
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-5, fused=True)
    spent = []
    for start in range(0, len(anchors) - size + 1, size):
        began = time.perf_counter()
        features = [model.preprocess(column[start : start + size]) for column in (anchors, positives)]
        optimiser.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            value = loss(features, None)
        value.backward()
        optimiser.step()
        spent.append(time.perf_counter() - began)
    return spent, model


def embed_nearfar(texts: list[str], longest: int) -> float:
    """Seconds of embedding."""
    import torch

    from nearfar.embedding import embed_rows
    from nearfar.modalities.text.encoders import encoder
    from nearfar.modalities.text.source import TextSource
    from nearfar.modalities.text.views import TextViews

    net = encoder("minilm", most_tokens=longest)[1]
    source = TextSource({"text": texts})
    views = TextViews(("text",), 2, encoder=net)
    embed_rows(net, views, source.select(range(64)), torch.device("cpu"), False)
    began = time.perf_counter()
    embed_rows(net, views, source, torch.device("cpu"), False)
    return time.perf_counter() - began


def embed_peer(texts: list[str], longest: int) -> float:
    """The same of sentence-transformers."""
    from sentence_transformers import SentenceTransformer

    from nearfar.modalities.text.encoders.build import packaged

    model = SentenceTransformer(packaged(), device="cpu")
    model.max_seq_length = longest
    model.encode(texts[:64])
    began = time.perf_counter()
    model.encode(texts)
    return time.perf_counter() - began


def measured(how: argparse.Namespace) -> dict[str, float]:
    """One measurement, in this process."""
    kind, size = how.one, how.batch_size
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    anchors, positives = pairs_of(how.pairs, size * (how.steps + 1))
    if kind in EMBEDDING:
        spent = (embed_nearfar if "nearfar" in kind else embed_peer)(anchors + positives, how.longest)
        rate = len(anchors + positives) / spent
    else:
        function = nearfar_steps if kind.startswith("nearfar") else peer_steps
        each, _ = function(anchors, positives, size, cached="cached" in kind, longest=how.longest, half=how.bfloat16)
        rate = size * how.steps / sum(each[1:])  # the first one warms up
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"rate": rate, "peak": peak, "before": before}


def main() -> None:
    """Measure all kinds in turn and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=Path)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--markdown", action="store_true")
    parser.add_argument("--longest", type=int, default=MOST, help="tokens at which a text is cut")
    parser.add_argument("--bfloat16", action="store_true", help="train both in it, by automatic casts")
    parser.add_argument("--one")
    how = parser.parse_args()
    if how.one:
        print(json.dumps(measured(how)))
        return
    found: dict[str, list[dict[str, Any]]] = {kind: [] for kind in (KINDS if how.bfloat16 else (*KINDS, *EMBEDDING))}
    same = [f"--batch-size={how.batch_size}", f"--steps={how.steps}", f"--longest={how.longest}"]
    same += [f"--pairs={how.pairs}"] * bool(how.pairs) + ["--bfloat16"] * how.bfloat16
    for _ in range(how.rounds):
        for kind, rows in found.items():
            command = [sys.executable, "-m", "benchmarks.text_training", "--one", kind, *same]
            out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            rows.append(json.loads(out.strip().splitlines()[-1]))
            print(f"{kind}: {rows[-1]['rate']:.1f} a second, {rows[-1]['peak']:.0f} MiB", file=sys.stderr)
    best = {kind: (max(r["rate"] for r in rows), min(r["peak"] for r in rows)) for kind, rows in found.items()}
    bar = "|" if how.markdown else " "
    print(f"{bar} what {bar} a second {bar} peak MiB {bar} nearfar's is {bar}")
    if how.markdown:
        print("|---|---|---|---|")
    for kind, (rate, peak) in best.items():
        ratio = ""
        if kind.startswith("peer"):
            own = best["nearfar embed" if "embed" in kind else "nearfar cached" if "cached" in kind else "nearfar"]
            ratio = f"{own[0] / rate:.2f} x as fast, {own[1] / peak:.2f} of the memory"
        unit = "texts" if "embed" in kind else "pairs"
        print(f"{bar} {kind} ({unit}) {bar} {rate:.1f} {bar} {peak:.0f} {bar} {ratio} {bar}")


if __name__ == "__main__":
    main()
