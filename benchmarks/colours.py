"""A classifier on clothes whose colour goes with the class: plain, with mixup, and with contradicting pairs (SelecMix).

In training 99 of 100 items have the colour of their class, the others one of the other colours; in the test colours are
drawn at random, so that they say nothing. All classifiers are the same small network, with the same steps, batches and
start. The biased encoder learns beside its classifier by supervised contrast whose easy pairs count more. Intervals are
Student's over seeds. Also shown: how often chosen partners have what the biased network lacks.

    python -m benchmarks.colours
    python -m benchmarks.colours --fit     the same of `nearfar.fit` with supervised contrast and `mixing`

With --fit encoders learn by views that keep colours (`recipe=digits`); a linear classifier on their vectors learns from
the same rows.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import nearfar
from nearfar.data import ArraySource, bundled
from nearfar.evaluation import seeds_mean
from nearfar.models import contradicting, mixed_with
from nearfar.objectives import EasySupCon

BATCH = 512  # of which 5 contradict: of fewer, most rows find no partner of their class that does
WAYS = ("plain", "mixup", "selecmix")
COLOURS = torch.tensor([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [1, 0, 1], [0, 1, 1], [1, 0.5, 0], [0.5, 0, 1],
                        [0.3, 0.7, 0.3], [0.9, 0.9, 0.9]])  # fmt: skip


def painted(images: Tensor, labels: Tensor, agree: float, seed: int) -> tuple[Tensor, Tensor]:
    """Coloured images (N, 3, 14, 14) and the colour of each: that of the class in a share `agree`, else another."""
    rng = torch.Generator().manual_seed(seed)
    other = (labels + torch.randint(1, 10, labels.shape, generator=rng)) % 10
    colour = torch.where(torch.rand(len(labels), generator=rng) < agree, labels, other)
    small = nn.functional.avg_pool2d(images[:, None] / 255, 2)
    return small * COLOURS[colour][:, :, None, None], colour


def network(out: int) -> nn.Sequential:
    """A small classifier or encoder."""
    layers = [nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU(), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(512, 64), nn.ReLU(), nn.Linear(64, out))


def trained(way: str, x: Tensor, y: Tensor, colour: Tensor, steps: int, seed: int) -> tuple[nn.Module, list[float]]:
    """A classifier, and of selecmix how often same-label partners had another colour, and others the same one."""
    torch.manual_seed(seed)
    model, biased, objective = network(10), network(32), EasySupCon()
    update = torch.optim.Adam([*model.parameters(), *biased.parameters()], lr=2e-3)
    shown: tuple[list[Tensor], list[Tensor]] = ([], [])
    for step in range(steps):
        rng = torch.Generator().manual_seed(1_000_003 * seed + step)
        rows = torch.randint(len(x), (BATCH,), generator=rng)
        inputs, targets, loss = x[rows], y[rows], torch.zeros(())
        if way == "selecmix":
            z = biased(inputs)
            loss = objective(z, labels=targets)
            same = bool(torch.rand((), generator=rng) < 0.5)
            partners = contradicting(z, targets, same)
            agree = colour[rows][partners] == colour[rows]
            if step >= steps // 2:
                shown[not same].append(((~agree) if same else agree).float().mean())
            inputs, targets = mixed_with(inputs, partners, generator=rng), targets[partners]
        elif way == "mixup":
            partners = torch.randperm(BATCH, generator=rng)
            inputs, targets = mixed_with(inputs, partners, generator=rng), targets[partners]
        loss = loss + cross_entropy(model(inputs), targets)
        update.zero_grad()
        loss.backward()
        update.step()
    return model, [float(torch.stack(part).mean()) for part in shown if part]


def linear(x: Tensor, y: Tensor, tests: Tensor, truth: Tensor, way: str, steps: int, seed: int) -> float:
    """Accuracy on the tests of a linear classifier over an encoder that `nearfar.fit` made of the same rows."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    rows, others = (
        ArraySource("images", (255 * part).round().to(torch.uint8).numpy(), labels=labels.numpy())
        for part, labels in ((x, y), (tests, truth))
    )
    mixing = {"mixup": "random", "selecmix": "contradicting"}
    settings: dict[str, Any] = {"mixing": mixing[way]} if way in mixing else {}
    with tempfile.TemporaryDirectory() as folder:
        run = nearfar.fit(
            rows, Path(folder, "run"), method="supcon", encoder="small", recipe="digits", steps=steps,
            batch_size=BATCH, seed=seed, progress=False, **settings,
        )  # fmt: skip
        seen, unseen = (run.embed(part, progress=False).vectors for part in (rows, others))
    scaled = StandardScaler().fit(seen)
    classifier = LogisticRegression(max_iter=1000).fit(scaled.transform(seen), y.numpy())
    return float(classifier.score(scaled.transform(unseen), truth.numpy()))


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=250)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--agree", type=float, default=0.99)
    parser.add_argument("--fit", action="store_true")
    asked = parser.parse_args()
    with np.load(bundled.path("fashion"), allow_pickle=False) as archive:
        images, labels, tests, truth = (
            torch.from_numpy(archive[name].astype(np.int64 if "labels" in name else np.float32))
            for name in ("images", "labels", "test_images", "test_labels")
        )
    found: dict[str, list[float]] = {way: [] for way in WAYS}
    chosen = []
    for seed in range(asked.seeds):
        x, colour = painted(images, labels, asked.agree, seed)
        z, _ = painted(tests, truth, 0.1, seed + 1000)
        for way in WAYS:
            if asked.fit:
                found[way].append(linear(x, labels, z, truth, way, asked.steps, seed))
                continue
            model, shown = trained(way, x, labels, colour, asked.steps, seed)
            with torch.no_grad():
                found[way].append(float((model(z).argmax(1) == truth).float().mean()))
            if shown:
                chosen.append(shown)
        print(seed, {way: round(values[-1], 3) for way, values in found.items()}, flush=True)
    for way, values in found.items():
        print(f"{way:9} {seeds_mean('', values).short()}")
    for way in WAYS[1:] if asked.fit else ():
        print(f"{way} less plain {seeds_mean('', np.subtract(found[way], found['plain'])).short()}")
    for name, part in (
        ()
        if asked.fit
        else zip(("same label, another colour", "another label, same colour"), np.transpose(chosen), strict=True)
    ):
        print(f"{name}: {seeds_mean('', part).short()} of the partners")


if __name__ == "__main__":
    main()
