"""DCL against NT-Xent at small batches: does leaving the near pair out of the denominator help, and where?

Run: python -m benchmarks.small_batches [--epochs 6] [--seeds 3] [--batches 32,64,256] [--temperature 0.1] [--markdown]
The same first weights, batches, views and number of epochs for both objectives; the learning rate follows the square
root of the batch size. kNN accuracy on the bundled pictures, mean over seeds; finished rows are kept in --out.
Published effect: Yeh et al. 2022, Decoupled Contrastive Learning, table 1: DCL loses less when the batch shrinks.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from pathlib import Path

import numpy as np

from nearfar import fit
from nearfar.data import bundled
from nearfar.evaluation import classify, knn_predict, paired_difference

OBJECTIVES = ("NTXent", "DCL", "DCLW")


def correct(objective: str, batch: int, seed: int, epochs: float, temperature: float) -> list[bool]:
    """Which test rows kNN (20 neighbours) gets right after training."""
    data = bundled.path("fashion")
    with tempfile.TemporaryDirectory() as folder:
        run = fit(
            data,
            Path(folder) / "run",
            method="simclr",
            objective=objective,
            temperature=temperature,
            epochs=epochs,
            batch_size=batch,
            lr=2e-3 * math.sqrt(batch / 256),
            weight_decay=1e-2,
            seed=seed,
            progress=False,
        )
        train, test = run.read(data, False)
        assert test is not None and train.labels is not None and test.labels is not None
        vectors = [run.vectors_of(run.method, source, False) for source in (train, test)]
    predicted = knn_predict(vectors[0], train.labels, vectors[1], k=20)
    return classify(test.labels, predicted, resamples=1).correct.tolist()


def main() -> None:
    """Train all, print mean accuracy by batch size, and the paired difference of each objective to NT-Xent."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=float, default=6)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--batches", default="32,64,256")
    parser.add_argument("--objectives", default=",".join(OBJECTIVES[:2]))
    parser.add_argument("--temperature", type=float, default=0.1)
    parser.add_argument("--out", type=Path, help="JSON lines of finished runs")
    parser.add_argument("--markdown", action="store_true")
    chosen = parser.parse_args()
    done: dict[str, list[bool]] = {}
    if chosen.out is not None and chosen.out.exists():
        done = dict(json.loads(line) for line in chosen.out.read_text().splitlines())
    bar = "|" if chosen.markdown else ""
    head = f"{bar} {'batch':>6} {bar} {'objective':>10} {bar} {'kNN accuracy':>18} {bar} difference to NT-Xent {bar}"
    print(head.rstrip())
    if chosen.markdown:
        print("|---|---|---|---|")
    for batch in map(int, chosen.batches.split(",")):
        rows: dict[str, np.ndarray] = {}
        for objective in chosen.objectives.split(","):
            hits = []
            for seed in range(chosen.seeds):
                key = f"{objective} {batch} {seed} {chosen.epochs:g} {chosen.temperature:g}"
                if key not in done:
                    done[key] = correct(objective, batch, seed, chosen.epochs, chosen.temperature)
                    if chosen.out is not None:
                        with chosen.out.open("a") as file:
                            file.write(json.dumps([key, done[key]]) + "\n")
                hits.append(done[key])
            rows[objective] = np.array(hits, dtype=float)
            means = rows[objective].mean(1)
            against = "" if objective == "NTXent" else str(paired_difference(rows[objective], rows["NTXent"]))
            value = f"{means.mean():.4f} ± {means.std():.4f}"
            print(
                f"{bar} {batch:>6} {bar} {objective:>10} {bar} {value:>18} {bar} {against} {bar}".rstrip(), flush=True
            )


if __name__ == "__main__":
    main()
