"""Predictive coding (`cpc`) on sequences whose hidden state is known: bounds beside exact information, and a probe.

A hidden state moves on a ring of eight: it stays, goes on by one, or seldom jumps; each says one of two words, and each
word is said by two states, so that a word alone does not tell the state. What the words so far know of the word k steps
later is exact by filtering. The state at the end is told by a linear probe of the last context, and by exact filtering.

    python -m benchmarks.sequences --steps 800
"""

from __future__ import annotations

import argparse
import csv
import json
import tempfile
from pathlib import Path

import numpy as np

import nearfar
from nearfar.run import Run, fit

STATES, TRAIN, TEST, LENGTH, AHEAD = 8, 3000, 1000, 16, 4


def moves(stay: float = 0.7, jump: float = 0.05) -> np.ndarray:
    """(S, S) probabilities of the next state."""
    ring = stay * np.eye(STATES) + (1 - stay - jump) * np.roll(np.eye(STATES), 1, axis=1) + jump / STATES
    return np.asarray(ring / ring.sum(1, keepdims=True))


def words() -> np.ndarray:
    """(S, W) probabilities of what a state says."""
    said = np.eye(STATES) / 2
    said[np.arange(STATES), (3 * np.arange(STATES) + 1) % STATES] += 0.5
    return said


def drawn(count: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """States and words (N, T) of sequences."""
    p, e = moves(), words()
    states = np.zeros((count, LENGTH), int)
    states[:, 0] = generator.integers(STATES, size=count)
    for t in range(1, LENGTH):
        states[:, t] = (generator.random((count, 1)) > p[states[:, t - 1]].cumsum(1)).sum(1).clip(max=STATES - 1)
    said = (generator.random((count, LENGTH, 1)) > e[states].cumsum(2)).sum(2).clip(max=STATES - 1)
    return states, said


def filtered(said: np.ndarray) -> np.ndarray:
    """(N, T, S) probabilities of the state, given the words up to then."""
    p, e = moves(), words()
    belief = np.full((*said.shape, STATES), 1 / STATES)
    for t in range(LENGTH):
        before = belief[:, t] if t == 0 else belief[:, t - 1] @ p
        now = before * e[:, said[:, t]].T
        belief[:, t] = now / now.sum(1, keepdims=True)
    return belief


def information(said: np.ndarray, step: int) -> float:
    """What the words up to a time know of the word `step` later, in nats: exact, averaged over sequences."""
    chances = filtered(said)[:, :-step] @ np.linalg.matrix_power(moves(), step) @ words()
    later, apart = said[:, step:], words().mean(0)
    own = np.take_along_axis(chances, later[:, :, None], 2)[:, :, 0]
    return float(np.log(own / apart[later]).mean())


def written(path: Path, said: np.ndarray, states: np.ndarray) -> Path:
    """A table of texts, each labelled by its last state."""
    rows = [(" ".join(f"w{word}" for word in row), f"s{end}") for row, end in zip(said, states[:, -1], strict=True)]
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *rows])
    return path


def bounds(run: Run) -> list[float]:
    """The bounds of each step over the last ten records of a run."""
    records = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    last = [record["terms"] for record in records if "terms" in record][-10:]
    return [float(np.mean([terms[f"information_{k}"] for terms in last])) for k in range(1, AHEAD + 1)]


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=800)
    asked = parser.parse_args()
    generator = np.random.default_rng(0)
    states, said = drawn(TRAIN + TEST, generator)
    how = {"method": "cpc", "encoder": "gru-64", "steps": asked.steps, "batch_size": 32, "lr": 3e-3, "log_every": 10}
    how |= {"embedding": "last", "far": "others", "threads": 1, "progress": False}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        train = written(folder / "train.csv", said[:TRAIN], states[:TRAIN])
        test = written(folder / "test.csv", said[TRAIN:], states[TRAIN:])
        mixed = written(folder / "mixed.csv", generator.permuted(said)[:TRAIN], states[:TRAIN])
        run = fit(train, folder / "run", **how)
        print("exact information ", [round(information(said, k), 3) for k in range(1, AHEAD + 1)])
        print("bounds            ", [round(value, 3) for value in bounds(run)])
        print("bounds, all mixed ", [round(value, 3) for value in bounds(fit(mixed, folder / "mixed", **how))])
        ends, truth = filtered(said[TRAIN:])[:, -1], states[TRAIN:, -1]
        print(f"state at the end: filtering {(ends.argmax(1) == truth).mean():.3f}")
        for kind, found in nearfar.evaluate(run, test, probes=["linear"]).evaluations.items():
            print(f"  {kind}: " + ", ".join(f"{key} {metric}" for key, metric in found.metrics.items()))


if __name__ == "__main__":
    main()
