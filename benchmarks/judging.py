"""What a judge of pairs is worth: lists of a search put in order by it.

Run: python -m benchmarks.judging --out runs/judging [--layers 1] [--steps 100] [--depth 20] [--queries 200]

On the bundled dictionary three negatives for each of `--pairs` definitions are drawn from the best 30 by words (BM25).
From these the first layers of all-MiniLM-L6-v2 learn as a judge (`ranker`) and, to compare, as a retriever (`pairs`),
with the same batches, steps and rate. Held-out definitions search for their entries among 4,000 by words and by
`ngrams-64`, which has learned the same pairs; the first `--depth` are put in order by both. nDCG@10, with paired
differences over queries. What is done is not done again.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.refreshing import with_negatives
from benchmarks.text_quality import held_out
from benchmarks.text_training import pairs_of

NEGATIVES, WITHIN, TOKENS, RATE = 3, 30, 48, 2e-4


def first_layers(count: int, out: Path) -> str:
    """The name of an encoder: a folder with so many layers of the packaged model."""
    from transformers import AutoModel

    from nearfar.modalities.text.encoders.build import packaged

    source, folder = packaged(), out / f"minilm-{count}"
    assert source is not None, "pip install 'nearfar[minilm]'"
    if not folder.exists():
        shutil.copytree(source, folder, ignore=shutil.ignore_patterns("*.safetensors"))
        AutoModel.from_pretrained(source, num_hidden_layers=count).save_pretrained(folder)
    return f"hf/{folder}"


def learned(data: Any, out: Path, steps: int, **settings: Any) -> Any:
    """The run in a folder, trained now where it was not."""
    import nearfar as nf

    if (out / "checkpoints" / f"step-{steps:08d}.json").exists():
        return nf.Run.load(out)
    return nf.fit(data, out, steps=steps, seed=0, progress=False, **settings)


def main() -> None:
    """Train, put lists in order, and print the table."""
    from nearfar import mining
    from nearfar.demo_text import _stems
    from nearfar.evaluation import Entries, Neighbours, Scoring, compare_quality, nearest, run_quality
    from nearfar.evaluation.entries import entries_of
    from nearfar.modalities.text.source import TextSource
    from nearfar.scoring import scorer_of

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    for name, default in {"layers": 1, "steps": 100, "pairs": 6000, "depth": 20, "queries": 200}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    chosen = parser.parse_args()
    queries, documents, relevance = held_out()
    asked = np.sort(np.random.default_rng(0).permutation(len(queries))[: chosen.queries])
    taken = relevance.take(np.isin(relevance.query, asked))
    rows = np.searchsorted(asked, taken.query)
    relevance = Entries(rows, taken.document, taken.value, (len(asked), len(documents)))
    words = [queries[row] for row in asked]
    q, d = TextSource({"query": words}), TextSource({"document": documents})
    anchors, positives = pairs_of(None, chosen.pairs, 0)
    pairs = TextSource({"anchor": anchors, "positive": positives})
    searcher = learned(pairs, chosen.out / "searcher", 150, method="pairs", encoder="ngrams-64", lr=1e-2, batch_size=64)
    by_words = mining.BM25(_stems(anchors), _stems(positives))
    triples = with_negatives(anchors, positives, by_words, NEGATIVES, [], mining.Random(WITHIN))
    measures = ["ndcg@10", f"recall@{chosen.depth}"]

    def measured(lists: Neighbours, score: Any = None) -> Any:
        """What lists reach, as they are or in the order of other scores."""
        index, scores = lists.index[:, : chosen.depth], lists.scores[:, : chosen.depth]
        if score is not None:
            scores = score(np.arange(len(index)), index)
            order = np.argsort(-scores, axis=1, kind="stable")
            index, scores = (np.take_along_axis(values, order, 1) for values in (index, scores))
        listed = entries_of(Neighbours(scores, index), len(documents))
        return run_quality(listed, relevance, measures, Scoring(ties="stable"))

    best = mining.BM25(_stems(words), _stems(documents)).find(np.arange(len(words)), chosen.depth)
    vectors = searcher.embed(q).vectors, searcher.embed(d).vectors
    firsts = {"BM25": Neighbours(best.scores, best.index), "ngrams-64": nearest(*vectors, chosen.depth)}
    found = {name: measured(lists) for name, lists in firsts.items()}
    for method in ("ranker", "pairs"):
        run = learned(
            triples, chosen.out / method, chosen.steps, method=method, encoder=first_layers(chosen.layers, chosen.out),
            lr=RATE, batch_size=16, most_tokens=TOKENS,
        )  # fmt: skip
        print(f"{method}: loss {run.history[0]['loss']:.3f} to {run.history[-1]['loss']:.3f}", flush=True)
        score = scorer_of(run, q, d).score
        found |= {f"{name}, ordered by {method}": measured(lists, score) for name, lists in firsts.items()}
    print(f"\n| | nDCG@10 | recall@{chosen.depth} | less the same list before | less BM25 | less by pairs |")
    print("|---|---|---|---|---|---|")
    for name, quality in found.items():
        values = " | ".join(f"{quality.metrics[measure].value:.4f}" for measure in measures)
        first = name.partition(",")[0]
        others = (first, "BM25", f"{first}, ordered by pairs")
        less = (str(compare_quality(quality, found[other])["ndcg@10"]) for other in others)
        print(f"| {name} | {values} | {' | '.join(less)} |", flush=True)


if __name__ == "__main__":
    main()
