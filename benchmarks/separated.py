"""Digits over clothes: what do the two halves of `sepclr` know of the digit and of the clothes, at which weights?

Run: python -m benchmarks.separated [--steps 400] [--seeds 1] [SETTINGS ...]

Each of SETTINGS is a run: settings of `sepclr` joined by commas, such as independence=100,part=8; "" for the defaults.
Background: the bundled clothes as in `benchmarks/little.py`, at half brightness. Targets: others with a digit of
scikit-learn added, at half brightness too, as Louiset et al. 2024 add digits to CIFAR. Logistic regression is fitted on
the trained vectors of targets and scored on targets of other clothes with other digits; chance is 0.1.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.little import Net, clothes, pictures
from nearfar.data.batch import Batch
from nearfar.evaluation import linear_probe
from nearfar.methods import find
from nearfar.modalities.images.views import ImageViews

LEARNED = 1200  # digits to train on; the other 597 are for the test
Rows = tuple[Tensor, np.ndarray, np.ndarray]  # pictures, the digit or -1, the clothes


def over(clothes: Tensor, kinds: np.ndarray, digits: np.ndarray, names: np.ndarray, seed: int) -> Rows:
    """Pictures (N, 1, 8, 8) of clothes at half brightness, every second one with a digit over it."""
    order = np.random.default_rng(seed).permutation(len(clothes))
    rows, shown = clothes[order, 0].double().numpy() / 2, np.full(len(order), -1)
    place = np.arange(len(rows) // 2) % len(digits)
    rows[1::2] += digits[place] * (255 / 32)
    shown[1::2] = names[place]
    return torch.as_tensor(rows.round().clip(0, 255).astype(np.uint8))[:, None], shown, kinds[order]


def both() -> tuple[Rows, Rows]:
    """The pictures to train on and those to test on."""
    from sklearn.datasets import load_digits

    digits, (images, labels, test, truth) = load_digits(), clothes()
    return (
        over(images, labels, digits.images[:LEARNED], digits.target[:LEARNED], 0),
        over(test, truth, digits.images[LEARNED:], digits.target[LEARNED:], 1),
    )


def said(method: Any, views: ImageViews, train: Rows, test: Rows) -> dict[str, float]:
    """What linear probes find in either half of the embedding."""
    found: dict[str, float] = {}
    with torch.no_grad():
        x, z = (method.eval().embed(views.plain(rows[0])).numpy() for rows in (train, test))
    on, asked = np.flatnonzero(train[1] >= 0)[:2400], test[1] >= 0  # each digit twice
    for part, (a, b) in zip(("common", "salient"), zip(np.split(x, 2, 1), np.split(z, 2, 1), strict=True), strict=True):
        for name, column in (("digit", 1), ("clothes", 2)):
            probe = linear_probe(a[on], train[column][on], b[asked], test[column][asked], strength=1.0, resamples=1)
            found[f"{part} {name}"] = probe.report.metrics["accuracy"].value
    method.train()
    return found


def trained(settings: dict[str, Any], train: Rows, test: Rows, steps: int, seed: int) -> list[dict[str, Any]]:
    """What is found untrained, and after a quarter and all of the steps."""
    torch.manual_seed(seed)
    kind = find("sepclr")
    method: Any = kind(Net(), kind.Options(background=0, **settings))
    views = pictures()
    optimiser = torch.optim.AdamW(method.parameters(), lr=1e-3, weight_decay=1e-2)
    rate = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    drawn, labels = torch.Generator().manual_seed(seed), torch.as_tensor((train[1] >= 0).astype(np.int64))
    found = [{"steps": 0, **said(method, views, train, test)}]
    for step in range(steps):
        ids = torch.randint(len(labels), (256,), generator=drawn)
        made = views(train[0][ids], drawn)
        optimiser.zero_grad()
        contrast = method.contrast([method.project(view) for view in made], Batch(made, ids, labels[ids]))
        contrast.loss.backward()
        optimiser.step()
        rate.step()
        if step + 1 in (steps // 4, steps):
            found.append({"steps": step + 1, **said(method, views, train, test)})
    return found


def read(text: str) -> dict[str, Any]:
    """Settings from "name=value,name=value"."""
    pairs = (part.split("=") for part in text.split(",") if part)
    return {name: float(value) if "." in value else int(value) for name, value in pairs}


def main() -> None:
    """A line for each length of each run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("settings", nargs="*", default=[""])
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seeds", type=int, default=1)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    train, test = both()
    parts = [f"{part} {what}" for part in ("common", "salient") for what in ("digit", "clothes")]
    print("| settings | steps |", " | ".join(parts), "|")
    print("|---|---|" + "---|" * len(parts))
    for text in chosen.settings:
        runs = [trained(read(text), train, test, chosen.steps, seed) for seed in range(chosen.seeds)]
        for at in zip(*runs, strict=True):
            means = [np.mean([one[part] for one in at]) for part in parts]
            spread = [np.std([one[part] for one in at]) for part in parts]
            figures = [f"{m:.3f}" + f" ± {s:.3f}" * (chosen.seeds > 1) for m, s in zip(means, spread, strict=True)]
            print(f"| {text or 'defaults'} | {at[0]['steps']} |", " | ".join(figures), "|", flush=True)


if __name__ == "__main__":
    main()
