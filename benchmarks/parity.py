"""Quality against lightly: the same data, encoder and first weights, batches, views, optimiser and steps; kNN accuracy.

Run: python -m benchmarks.parity [--steps 400] [--seeds 3] [--methods simclr,moco,barlow,vicreg,swav] [--markdown]
Both sides see exactly the same tensors in every step. lightly brings its heads, losses, memory bank, prototypes and
momentum updates, with the widths and numbers of nearfar's options. Finished rows are kept in --out and not run again.
"""

from __future__ import annotations

import argparse
import copy
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nearfar import methods, modalities
from nearfar.data import bundled
from nearfar.data.sampling import EpochSampler
from nearfar.evaluation import classify, knn_predict
from nearfar.run import embed_rows
from nearfar.training import Trainer, TrainingSettings
from nearfar.training.feed import Feed
from nearfar.training.optimisers import optimiser, parameter_groups
from nearfar.training.rng import seed_all
from nearfar.training.schedules import learning_rate

METHODS = ("simclr", "moco", "barlow", "vicreg", "swav")
CPU = torch.device("cpu")
LossOf = Callable[[int, Tensor, Tensor], Tensor]


class Peer:
    """lightly's pieces for one method over one encoder: modules that learn, a loss, and what happens before a step."""

    def __init__(self, name: str, encoder: nn.Module, options: Any) -> None:
        from lightly import loss as losses
        from lightly.models.modules import heads

        width, hidden = encoder.width, options.hidden or encoder.width
        out = options.projection
        self.encoder, self.name = encoder, name
        self.momentum: float | None = None
        if name == "simclr":
            self.head = heads.SimCLRProjectionHead(width, hidden, out)
            self.loss = losses.NTXentLoss(temperature=options.temperature)
        elif name == "moco":
            self.head = heads.MoCoProjectionHead(width, hidden, out)
            self.loss = losses.NTXentLoss(temperature=options.temperature, memory_bank_size=(options.queue, out))
            self.slow = copy.deepcopy(nn.Sequential(encoder, self.head)).requires_grad_(False)
            self.momentum = options.momentum
        elif name == "barlow":
            self.head = heads.BarlowTwinsProjectionHead(width, hidden, out)
            self.loss = losses.BarlowTwinsLoss(lambda_param=options.off_diagonal)
        elif name == "vicreg":
            self.head = heads.VICRegProjectionHead(width, hidden, out)
            self.loss = losses.VICRegLoss(options.invariance, options.variance, options.covariance)
        else:
            self.head = heads.SwaVProjectionHead(width, hidden, out)
            self.prototypes = heads.SwaVPrototypes(out, options.prototypes, options.frozen_steps)
            self.loss = losses.SwaVLoss(options.temperature, options.iterations, options.epsilon)
        parts = [encoder, self.head] + ([self.prototypes] if name == "swav" else [])
        self.learning = nn.ModuleList(parts)

    def __call__(self, step: int, first: Tensor, second: Tensor) -> Tensor:
        """The loss of two views in step `step`."""
        if self.momentum is not None:
            from lightly.models.utils import update_momentum

            update_momentum(nn.Sequential(self.encoder, self.head), self.slow, self.momentum)
            queries = [self.head(self.encoder(view)) for view in (first, second)]
            with torch.no_grad():
                keys = [self.slow(view) for view in (first, second)]
            return 0.5 * (self.loss(queries[0], keys[1]) + self.loss(queries[1], keys[0]))
        projections = [self.head(self.encoder(view)) for view in (first, second)]
        if self.name == "swav":
            self.prototypes.normalize()
            unit = [nn.functional.normalize(projection, dim=1) for projection in projections]
            return self.loss([self.prototypes(rows, step) for rows in unit], [])
        return self.loss(*projections)


def accuracy(encoder: nn.Module, views: Any, train: Any, test: Any) -> float:
    """kNN accuracy (20 neighbours) of the test rows among the training rows."""
    vectors = [embed_rows(encoder, views, source, CPU, False) for source in (train, test)]
    predicted = knn_predict(vectors[0], train.labels, vectors[1], k=20)
    return classify(test.labels, predicted, resamples=1).metrics["accuracy"].value


def run_pair(name: str, seed: int, settings: TrainingSettings) -> dict[str, float]:
    """kNN accuracy of nearfar's and lightly's method after the same steps."""
    images = modalities.find("images")
    options = images.Options()
    train, test = images.read_pair(bundled.path("fashion"), options, None, None, False)
    facts = train.describe()
    kind = methods.find(name)
    views = images.views(facts, 2, options)
    sampler = EpochSampler(len(train), settings.batch_size, seed)

    seed_all(seed)
    _, encoder = images.encoder("small", facts)
    theirs = copy.deepcopy(encoder)
    method = kind(encoder, kind.Options())
    with tempfile.TemporaryDirectory() as out:
        Trainer(method, train, views, sampler, settings, out, progress=False).run()
    ours = accuracy(method.encoder, views, train, test)

    seed_all(seed)
    peer = Peer(name, theirs, kind.Options())
    peer.learning.train()
    groups = optimiser(settings.optimiser, parameter_groups(peer.learning), settings.lr, settings.weight_decay)
    total = settings.total_steps(sampler.steps_per_epoch)
    for prepared, _ in Feed(train, views, sampler, settings.seed).steps(0, total):
        lr = learning_rate(prepared.step, total, settings.lr, round(settings.warmup * total), settings.schedule)
        for group in groups.param_groups:
            group["lr"] = lr
        groups.zero_grad(set_to_none=True)
        peer(prepared.step, *prepared.batch.views).sum().backward()
        groups.step()
    return {"nearfar": ours, "lightly": accuracy(theirs, views, train, test)}


def main() -> None:
    """Run all pairs and print a table of means over the seeds."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--out", type=Path, help="JSON lines of finished pairs")
    parser.add_argument("--markdown", action="store_true")
    chosen = parser.parse_args()
    done: dict[tuple[str, int], dict[str, float]] = {}
    if chosen.out is not None and chosen.out.exists():
        for line in chosen.out.read_text().splitlines():
            row = json.loads(line)
            if row["steps"] == chosen.steps:
                done[row["method"], row["seed"]] = row["accuracy"]
    bar = "|" if chosen.markdown else ""
    print(f"{bar}{'method':>8} {bar}{'nearfar':>16} {bar}{'lightly':>16} {bar}{'difference':>12} {bar}".rstrip())
    if chosen.markdown:
        print("|---|---|---|---|")
    for name in chosen.methods.split(","):
        for seed in range(chosen.seeds):
            if (name, seed) not in done:
                settings = TrainingSettings(steps=chosen.steps, batch_size=256, lr=2e-3, weight_decay=1e-2, seed=seed)
                done[name, seed] = run_pair(name, seed, settings)
                if chosen.out is not None:
                    row = {"method": name, "seed": seed, "steps": chosen.steps, "accuracy": done[name, seed]}
                    with chosen.out.open("a") as file:
                        file.write(json.dumps(row) + "\n")
        table = np.array([[done[name, s][side] for side in ("nearfar", "lightly")] for s in range(chosen.seeds)])
        cells = [f"{mean:.4f} ± {spread:.4f}" for mean, spread in zip(table.mean(0), table.std(0), strict=True)]
        points = 100 * (table[:, 0] - table[:, 1]).mean()
        print(
            f"{bar}{name:>8} {bar}{cells[0]:>16} {bar}{cells[1]:>16} {bar}{points:>+7.2f} pts {bar}".rstrip(),
            flush=True,
        )


if __name__ == "__main__":
    main()
