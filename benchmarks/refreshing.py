"""What negatives are worth in a search, by where they come from: none, BM25, mined once, mined again, or replaced.

Run: python -m benchmarks.refreshing --out runs/refreshing [--encoder ngrams-256] [--seeds 3] [--steps 200] [--ways ...]

An encoder learns `--pairs` definitions and their entries from the training part of the bundled dictionary: the same
first weights, pairs, batches and steps for all, and one given negative beside those of the batch, but for `none`.

- `bm25`: the best by words that is not known to be near, found once;
- `mined once`: the nearest by the encoder before it is trained, at most 0.95 as near as the positive;
- `refreshed`: the same by the encoder as it is, every `--refresh` steps (ANCE);
- `replaced`: `mined once`, and every `--refresh` steps those that are no longer hard give way to the next (Conan).

Held-out definitions then search for their entries among 4,000: nDCG@10, of scores averaged over seeds, with paired
differences. What is done is not done again.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.text_quality import held_out
from benchmarks.text_training import pairs_of

WAYS = ("none", "bm25", "mined once", "refreshed", "replaced")
HEADLINE, SHARE = "ndcg@10", 0.95
RATES = {"ngrams": 1e-2, "minilm": 2e-4}


def with_negatives(
    anchors: list[str], positives: list[str], miner: Any, count: int, filters: list[Any], sampler: Any = None
) -> Any:
    """Pairs with so many negatives each, chosen among the positives of the others: the best, or as `sampler` says."""
    from nearfar import mining
    from nearfar.modalities.text.source import TextSource

    rows = np.arange(len(anchors))
    same = mining.SameText(mining.text_keys(anchors), mining.text_keys(positives))
    near = mining.Near(np.stack([rows, rows], 1), len(rows), len(rows))
    job = mining.Mining(miner, near, [same, *filters], sampler or mining.Top(), count, min(100, len(rows)))
    chosen = job.run().negatives(rows, count)
    columns = {"anchor": anchors, "positive": positives}
    for place in range(count):
        columns[f"negative_{place + 1}"] = [positives[row] if row >= 0 else "" for row in chosen[:, place]]
    return TextSource(columns)


def learned(way: str, seed: int, chosen: argparse.Namespace, out: Path) -> Any:
    """The run of one way to find negatives."""
    import nearfar as nf
    from nearfar import mining
    from nearfar.demo_text import _stems
    from nearfar.modalities.text.source import TextSource

    if (out / "checkpoints" / f"step-{chosen.steps:08d}.json").exists():
        return nf.Run.load(out)
    anchors, positives = pairs_of(None, chosen.pairs, 0)
    pairs = TextSource({"anchor": anchors, "positive": positives})
    if way == "bm25":
        miner = mining.BM25(_stems(anchors), _stems(positives))
        pairs = with_negatives(anchors, positives, miner, 1, [])
    every = {"mined once": 10**9, "refreshed": chosen.refresh}.get(way)
    more = {} if every is None else {"refresh": every, "percentage": SHARE}
    if way == "replaced":
        more = {"replace_every": chosen.refresh, "percentage": SHARE}
    static = chosen.encoder.startswith("ngrams")
    settings = {"lr": RATES["ngrams" if static else "minilm"], "steps": chosen.steps, "batch_size": chosen.batch_size}
    settings |= {} if static else {"freeze": 1, "most_tokens": 64}
    return nf.fit(pairs, out, method="pairs", encoder=chosen.encoder, seed=seed, progress=False, **settings, **more)


def main() -> None:
    """Train and search by every way with every seed, and print the tables."""
    from nearfar.evaluation import compare_quality, search_quality
    from nearfar.evaluation.quality import Quality
    from nearfar.modalities.text.source import TextSource

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--encoder", default="ngrams-256")
    parser.add_argument("--ways", default=",".join(WAYS))
    numbers = {"seeds": 3, "steps": 200, "batch-size": 64, "refresh": 40, "pairs": 6000}
    for name, default in numbers.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    chosen = parser.parse_args()
    queries, documents, relevance = held_out()
    asked, sought = TextSource({"query": queries}), TextSource({"document": documents})
    scores: dict[str, list[np.ndarray]] = {}

    def note(name: str, seed: int, measure: Any) -> None:
        file = chosen.out / f"{name}-{seed}.npy".replace(" ", "-")
        if not file.exists():
            np.save(file, measure().scores[HEADLINE])
        scores.setdefault(name, []).append(np.load(file))
        print(f"{name}, seed {seed}: {scores[name][-1].mean():.4f}", flush=True)

    for seed in range(chosen.seeds):
        for way in chosen.ways.split(","):
            run = learned(way, seed, chosen, chosen.out / f"{way}-{seed}".replace(" ", "-"))
            sides = run.embed(asked).vectors, run.embed(sought).vectors
            note(way, seed, lambda: search_quality(*sides, relevance, [HEADLINE], resamples=2))  # noqa: B023
            for line in run.history if way in ("refreshed", "replaced") else ():
                if "renewed" in line:
                    print(f"  step {line['step']}: {json.dumps(line['renewed'])}")
    kept = np.arange(len(next(iter(scores.values()))[0]))
    means = {name: Quality({}, {HEADLINE: np.mean(of, axis=0)}, kept) for name, of in scores.items()}
    bases = [name for name in ("none", "bm25", "mined once") if name in means]
    print(f"\n| negatives | nDCG@10 | over seeds | {' | '.join(f'less {name}' for name in bases)} |")
    print("|---|---|---|" + "---|" * len(bases))
    for name, quality in means.items():
        each = [one.mean() for one in scores[name]]
        against = [str(compare_quality(quality, means[other])[HEADLINE]) for other in bases]
        print(
            f"| {name} | {np.mean(each):.4f} | {min(each):.4f} to {max(each):.4f} | {' | '.join(against)} |", flush=True
        )


if __name__ == "__main__":
    main()
