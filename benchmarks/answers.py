"""What answers to "are these two alike?" are worth: accuracy against their number, by how the pairs are chosen.

Of some pictures of Fashion-MNIST none has a label; their labels only answer questions. Round by round a run learns from
all answers so far (method pal, from scratch), its vectors choose the next pairs, and the vectors are judged by the
20 nearest of all rows and by a linear probe on the test part. 95 % intervals by the bootstrap over seeds and test rows;
differences to pairs that nobody chose ("random") are paired.

    python -m benchmarks.answers --objective NTXent
"""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from nearfar.curation.asking import ask_all, by_column
from nearfar.data import bundled, few_shot
from nearfar.data.answers import read_answers
from nearfar.data.names import ids_of
from nearfar.data.source import Source
from nearfar.evaluation import bootstrap_mean, knn_predict, linear_probe, paired_difference
from nearfar.run import Run, fit
from nearfar.store import Store

Right = dict[str, np.ndarray]


def judged(run: Run, train: Source, test: Source) -> tuple[Right, np.ndarray]:
    """Which test rows each probe gets right, and the vectors of the training rows."""
    x, z = run.embed(train, progress=False).vectors, run.embed(test, progress=False).vectors
    guesses = {
        "kNN": knn_predict(x, train.labels, z, 20),
        "linear": linear_probe(x, train.labels, z, test.labels, strength=0.01, resamples=1).predictions,
    }
    return {name: guess == test.labels for name, guess in guesses.items()}, x


def stored(folder: Path, source: Source, vectors: np.ndarray) -> Store:
    """A store of vectors with the labels that answer."""
    made = Store.create(folder, vectors.shape[1], columns={"label": "string"})
    made.add(ids_of(source), vectors, {"label": [str(one) for one in source.labels]})
    return made


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=100, help="pictures of each class")
    parser.add_argument("--test", type=int, default=200, help="pictures of each class that are scored")
    parser.add_argument("--answers", type=int, nargs="+", default=[150, 600], help="in all, after each round")
    parser.add_argument("--ways", nargs="+", default=["random", "unsure", "grow"])
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--objective", default="NTXent")
    parser.add_argument("--hand", type=int, default=50, help="questions that are chosen by the same answers")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    right: dict[tuple[str, int], list[Right]] = {}
    near: dict[tuple[str, int], list[float]] = {}
    with TemporaryDirectory() as place:
        folder = Path(place)
        data = bundled.path("fashion")
        for seed in range(asked.seeds):
            how = {"steps": asked.steps, "batch_size": asked.batch, "objective": asked.objective, "seed": seed}
            more = {"method": "pal", "encoder": "small", "progress": False, "cache": folder / "cache", **how}
            reader = fit(data, folder / f"reader-{seed}", **{**more, "steps": 1})
            every, test = reader.read(data)
            assert test is not None and every.labels is not None
            test = test.select(few_shot(test.labels, asked.test, 0))
            train = every.select(few_shot(every.labels, asked.rows, seed))
            start = fit(train, folder / f"start-{seed}", **more)
            first, vectors = judged(start, train, test)
            right.setdefault(("none", 0), []).append(first)
            for way in asked.ways:
                held, table, done = vectors, folder / f"{way}-{seed}.csv", 0
                for total in asked.answers:
                    store = stored(folder / f"{way}-{seed}-{total}.store", train, held)
                    oracle = by_column(store, "label")
                    while done < total:
                        ask_all(store, table, oracle, min(asked.hand, total - done), way=way, seed=seed)
                        known = read_answers(table)
                        if len(known) == done:
                            break
                        done = len(known)
                    run = fit(train, folder / f"{way}-{seed}-{total}", answers=str(table), **more)
                    found, held = judged(run, train, test)
                    right.setdefault((way, total), []).append(found)
                    near.setdefault((way, total), []).append(float(np.mean([one.near for one in known])))
                    print(
                        seed, way, total, {name: round(float(hit.mean()), 3) for name, hit in found.items()}, flush=True
                    )
    for (way, total), found in right.items():
        share = f"near {np.mean(near[way, total]):.2f}" if total else ""
        for probe in found[0]:
            hits = np.array([one[probe] for one in found], float)
            line = [f"{way:>8} {total:>6} {share}", str(bootstrap_mean(probe, hits))]
            if total and way != "random" and ("random", total) in right:
                passive = np.array([one[probe] for one in right["random", total]], float)
                line.append(f"less random {paired_difference(hits, passive)}")
            print("  ".join(line))


if __name__ == "__main__":
    main()
