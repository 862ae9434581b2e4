"""What training teaches, beside sentence-transformers: same encoder, pairs, batches, steps and rate, several seeds.

Run: python -m benchmarks.text_quality [--seeds 3] [--steps 30] [--batch-size 64]
all-MiniLM-L6-v2 learns definitions and their entries from the training part of the bundled dictionary: `pairs` of
nearfar, and MultipleNegativesRankingLoss. Then held-out definitions search for their entries among 4,000: nDCG@10. A
seed decides the order of the pairs and the dropout. The gap is over the same queries, of scores averaged over seeds.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from benchmarks.text_training import nearfar_steps, pairs_of, peer_steps

DOCUMENTS = 4000


def held_out() -> tuple[list[str], list[str], Any]:
    """Queries, documents, those that are sought and others up to `DOCUMENTS`, and which is relevant to which."""
    import nearfar as nf
    from nearfar.data import bundled
    from nearfar.evaluation import Entries

    text = nf.modalities.find("text")
    found = text.collection(bundled.path("glosses"), options=text.Options(), split="test")
    queries, documents = (list(next(iter(s.columns.values()))) for s in (found.queries, found.documents))
    kept = list(dict.fromkeys([*found.document_rows.tolist(), *range(len(documents))]))[:DOCUMENTS]
    place = {row: number for number, row in enumerate(kept)}
    rows = [place[row] for row in found.document_rows.tolist()]
    relevance = Entries(found.query_rows, rows, found.grades, (len(queries), len(kept)))
    return queries, [documents[row] for row in kept], relevance


def vectors(model: Any, texts: list[str], peer: bool) -> np.ndarray:
    """(N, D) embeddings, by the way of each library."""
    import torch

    if peer:
        return np.asarray(model.eval().encode(texts))
    with torch.no_grad():
        return torch.cat([model.eval()(model.tokens(texts[n : n + 512])) for n in range(0, len(texts), 512)]).numpy()


def main() -> None:
    """Train and search with every seed, and print the table."""
    from nearfar.evaluation import compare_quality, search_quality
    from nearfar.evaluation.quality import Quality

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("seeds", 3), ("steps", 30), ("batch_size", 64)):
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=default)
    chosen = parser.parse_args()
    queries, documents, relevance = held_out()
    scores: dict[bool, list[np.ndarray]] = {False: [], True: []}
    for seed in range(chosen.seeds):
        anchors, positives = pairs_of(None, chosen.batch_size * chosen.steps, seed)
        for peer, train in ((False, nearfar_steps), (True, peer_steps)):
            _, model = train(anchors, positives, chosen.batch_size, False, seed)
            found = search_quality(
                vectors(model, queries, peer), vectors(model, documents, peer), relevance, ["ndcg@10"], resamples=200
            )
            scores[peer].append(found.scores["ndcg@10"])
            print(f"{'peer' if peer else 'nearfar'}, seed {seed}: {scores[peer][-1].mean():.4f}", flush=True)
    for peer, name in ((False, "nearfar"), (True, "sentence-transformers")):
        means = [one.mean() for one in scores[peer]]
        print(f"{name}: {np.mean(means):.4f}, over seeds {min(means):.4f} to {max(means):.4f}")
    kept = np.arange(len(scores[False][0]))
    ours, theirs = (Quality({}, {"ndcg@10": np.mean(scores[peer], axis=0)}, kept) for peer in (False, True))
    print(compare_quality(ours, theirs)["ndcg@10"])


if __name__ == "__main__":
    main()
