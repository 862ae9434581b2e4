"""Contrast finds the top eigenvectors of the graph of views: principal angles between them and what was learned.

An item i has views j with chances a_ij, so that two views of one item are the nodes j and k of a graph with weight
w_jk = mean_i a_ij a_ik and degrees d_j = sum_k w_jk. The minimum of spectral contrast over free vectors F (nodes,
columns), one of each node, spans with D^(1/2) F the top eigenvectors of D^(-1/2) W D^(-1/2). The theory says of InfoNCE
that it too does spectral clustering of this graph. Free vectors are trained on pairs that are drawn from the graph.

The first eigenvector, D^(1/2) 1, says nothing of a node, and rows of one length need not span it. It is projected out;
the leading C - 1 directions of what is left are compared with eigenvectors 2 to C, for C classes and C columns. The gap
is the eigenvalue C less the next one, and the labelling error the weight of edges between classes.
"""

from __future__ import annotations

import numpy as np
import torch
from pydantic import Field

from ..contrast import Objective
from ..evaluation import Metric
from ..objectives import KernelInfoNCE, NTXent, Spectral
from ..report.findings import Picture, curve
from .finding import Cell, Diagnosis, DiagnosisOptions, Measured, Say, opening, over_seeds


class SpectralOptions(DiagnosisOptions):
    """Settings of `spectral`."""

    classes: int = Field(4, ge=2, description="classes of nodes, and columns of their vectors")
    nodes: int = Field(15, ge=3, description="nodes of each class")
    leaks: tuple[float, ...] = Field((0.02, 0.1, 0.3), min_length=2, description="chances of a view of another class")
    steps: int = Field(300, ge=1, description="updates by Adam, the rate falling to 0")
    batch: int = Field(256, ge=4, description="items of an update")
    lr: float = Field(0.1, gt=0, description="the first learning rate")
    temperature: float = Field(0.5, gt=0, description="of NT-Xent and of the kernel")
    within: float = Field(15.0, gt=0, lt=90, description="the largest angle that is still close, in degrees")


def views_of(options: SpectralOptions, leak: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Chances (S, S) of every node as a view of every item, an item for each node, and classes (S,) of the nodes."""
    y = np.repeat(np.arange(options.classes), options.nodes)
    weights = rng.gamma(1.0, size=(len(y), len(y)))
    same = y[:, None] == y
    inside, outside = weights * same, weights * ~same
    chances = (1 - leak) * inside / inside.sum(1, keepdims=True) + leak * outside / outside.sum(1, keepdims=True)
    return chances, y


def graph_of(chances: np.ndarray) -> np.ndarray:
    """(S, S) weights of edges between views, which sum to 1.

    >>> graph_of(np.array([[1.0, 0.0], [0.5, 0.5]])).tolist()
    [[0.625, 0.125], [0.125, 0.125]]
    """
    weights: np.ndarray = chances.T @ chances / len(chances)
    return weights


def eigen(graph: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues, largest first, and eigenvectors in columns of the graph divided by the roots of its degrees."""
    root = np.sqrt(graph.sum(1))
    values, vectors = np.linalg.eigh(graph / root[:, None] / root)
    return values[::-1], vectors[:, ::-1]


def largest_angle(graph: np.ndarray, rows: np.ndarray, classes: int) -> float:
    """The largest principal angle, in degrees, between eigenvectors 2 to C and the leading directions of rows (S, D).

    >>> graph = np.array([[3.0, 1.0], [1.0, 3.0]])
    >>> round(largest_angle(graph, np.array([[1.0], [-1.0]]), 2), 6)
    0.0
    """
    from scipy.linalg import subspace_angles

    root = np.sqrt(graph.sum(1))
    first = root / np.linalg.norm(root)
    weighted = root[:, None] * rows
    left = np.linalg.svd(weighted - np.outer(first, first @ weighted), full_matrices=False)[0]
    return float(np.degrees(subspace_angles(left[:, : classes - 1], eigen(graph)[1][:, 1:classes]).max()))


def learned(objective: Objective, chances: np.ndarray, options: SpectralOptions, seed: int) -> np.ndarray:
    """Vectors (S, C) of the nodes after training on views drawn by their chances."""
    rng = np.random.default_rng([seed, 1])
    edges = chances.cumsum(1)
    rows = torch.from_numpy(rng.normal(size=(len(chances), options.classes))).float().requires_grad_()
    optimiser = torch.optim.Adam([rows], options.lr)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, options.steps)
    for _ in range(options.steps):
        item = rng.integers(len(chances), size=options.batch)
        drawn = rng.random((2, options.batch, 1))
        one, two = torch.from_numpy((drawn > edges[item]).sum(2).clip(max=len(chances) - 1))
        optimiser.zero_grad()
        objective(rows[one], rows[two]).backward()
        optimiser.step()
        falling.step()
    return rows.detach().numpy().astype(np.float64)


def measure(options: SpectralOptions, say: Say) -> Measured:
    """See `DIAGNOSIS`."""
    # A ball that no row leaves: the theory's vectors are free.
    ways: dict[str, Objective | None] = {
        "untrained": None,
        "spectral contrast": Spectral(mu=1e4),
        "NT-Xent": NTXent(temperature=options.temperature),
        "kernel |.|": KernelInfoNCE(temperature=options.temperature),
    }
    angles = np.zeros((len(ways), options.seeds, len(options.leaks)))
    gaps, errors = np.zeros((2, options.seeds, len(options.leaks)))
    for k, leak in enumerate(options.leaks):
        say(f"views of another class: {leak:g}")
        for j, seed in enumerate(options.every_seed):
            chances, y = views_of(options, leak, np.random.default_rng(seed))
            graph = graph_of(chances)
            values = eigen(graph)[0]
            gaps[j, k] = values[options.classes - 1] - values[options.classes]
            errors[j, k] = graph[y[:, None] != y].sum()
            for i, objective in enumerate(ways.values()):
                if objective is None:
                    rows = np.random.default_rng([seed, 1]).normal(size=(len(y), options.classes))
                else:
                    rows = learned(objective, chances, options, seed)
                    if not isinstance(objective, Spectral):
                        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
                angles[i, j, k] = largest_angle(graph, rows, options.classes)
    names = list(ways)
    figures: dict[str, Metric] = {
        f"{name}, {leak:g}": over_seeds(f"largest angle, {name}, leak {leak:g}", angles[i, :, k], (0, 90))
        for i, name in enumerate(names)
        for k, leak in enumerate(options.leaks)
    }
    table: list[dict[str, Cell]] = [
        {
            "leak": leak,
            "labelling error": over_seeds("labelling error", errors[:, k], (0, 1)),
            "gap": over_seeds("gap", gaps[:, k], (0, 1)),
            **{name: figures[f"{name}, {leak:g}"] for name in names},
        }
        for k, leak in enumerate(options.leaks)
    ]
    worst = dict(zip(names, angles.mean(1).max(1), strict=True))
    holds = bool(worst["spectral contrast"] <= options.within)
    told = ", ".join(f"{angle:.1f} under {name}" for name, angle in worst.items() if name != "untrained")
    verdict = (
        f"{opening(holds)} for spectral contrast: at the leak where it is largest, the mean largest angle in degrees "
        f"is {told}, and {worst['untrained']:.1f} untrained, where {options.within:g} is asked."
    )
    at = np.array(options.leaks)
    curves = [curve(name, i, at, angles[i]) for i, name in enumerate(names)]
    return verdict, holds, figures, table, [Picture("Largest principal angle, degrees", "leak", curves)]


DIAGNOSIS = Diagnosis(
    "spectral",
    "Contrast finds the top eigenvectors of the graph of views: the largest principal angle between their span and "
    "that of vectors trained by spectral contrast stays within 15 degrees.",
    "HaoChen et al. 2021, Provable Guarantees for Self-Supervised Deep Learning with Spectral Contrastive Loss; Tan et "
    "al. 2023, Contrastive Learning Is Spectral Clustering on Similarity Graph (InfoNCE)",
    SpectralOptions,
    measure,
)
