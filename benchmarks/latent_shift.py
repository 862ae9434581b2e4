"""Classes found by how their proportions shift between domains, beside k-means on the same vectors.

Labelled rows are dealt to domains in proportions drawn from a Dirichlet distribution, or in equal ones, which must be
refused; labels are used for nothing else but to score. Intervals are Student's over seeds.

    nearfar fit bundled:fashion --method simclr --epochs 5 --out runs/fashion
    python -m benchmarks.latent_shift runs/fashion bundled:fashion
"""

from __future__ import annotations

import argparse

import numpy as np
from scipy.optimize import linear_sum_assignment

from nearfar.curation.clusters import means
from nearfar.curation.rows import units
from nearfar.curation.shift import latent_shift
from nearfar.errors import DataError
from nearfar.evaluation import seeds_mean
from nearfar.evaluation.clustering import matched
from nearfar.run import Run


def dealt(y: np.ndarray, shares: np.ndarray, each: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers and the domain of each, `each` rows of a domain, classes in its shares (K, D)."""
    rows, domains = [], []
    for domain in range(shares.shape[1]):
        for kind, count in enumerate(rng.multinomial(each, shares[:, domain])):
            rows.append(rng.choice(np.flatnonzero(y == kind), count))
            domains.append(np.full(count, domain))
    return np.concatenate(rows), np.concatenate(domains)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("data")
    parser.add_argument("--classes", default="1,5,8", help="numbers of the classes")
    parser.add_argument("--domains", type=int, default=5)
    parser.add_argument("--each", type=int, default=800, help="rows of a domain")
    parser.add_argument("--seeds", type=int, default=5)
    asked = parser.parse_args()
    chosen = [int(one) for one in asked.classes.split(",")]
    found = Run.load(asked.run).embed(asked.data)
    assert found.labels is not None
    y = np.full(len(found.labels), -1)
    for place, kind in enumerate(chosen):
        y[found.labels == kind] = place
    figures: dict[str, list[float]] = {"L1 error of p(y|d)": [], "accuracy by shift": [], "accuracy of k-means": []}
    refused = 0
    for seed in range(asked.seeds):
        rng = np.random.default_rng(seed)
        shares = rng.dirichlet(np.full(len(chosen), 0.5), asked.domains).T
        rows, domains = dealt(y, shares, asked.each, rng)
        x, truth = units(found.vectors[rows]), y[rows]
        shift = latent_shift(x, domains, len(chosen), seed=seed)
        true = np.stack([np.bincount(truth[domains == d], minlength=len(chosen)) for d in range(asked.domains)], 1)
        far = np.abs((true / asked.each)[:, None] - shift.proportions[None]).mean(2)
        figures["L1 error of p(y|d)"].append(float(far[linear_sum_assignment(far)].mean()))
        figures["accuracy by shift"].append(float(np.mean(matched(truth, shift.numbers) == truth)))
        figures["accuracy of k-means"].append(float(np.mean(matched(truth, means(x, len(chosen), seed)) == truth)))
        rows, domains = dealt(y, np.full_like(shares, 1 / len(chosen)), asked.each, rng)
        try:
            latent_shift(units(found.vectors[rows]), domains, len(chosen), seed=seed)
        except DataError:
            refused += 1
    for name, values in figures.items():
        print(f"{name:22} {seeds_mean('', values).short()}")
    print(f"equal proportions refused {refused} of {asked.seeds}")


if __name__ == "__main__":
    main()
