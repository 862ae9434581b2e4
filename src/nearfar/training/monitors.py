"""Is it learning? Measures of the projections of one batch, and a plain sentence when something is wrong.

All measures look at rows of unit length. They need no labels and draw no random numbers, so that watching never changes
what is watched.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from nearfar.training.protocols import Projection

BINS = 40
"""Bins of a score histogram, equally wide from -1 to 1."""
SAMPLE = 512
"""Rows of a batch that are looked at, at most."""


def effective_rank(vectors: Tensor) -> float:
    """exp of the entropy of the singular values (N, D), scaled to sum one: 1 when collapsed, at most min(N, D).

    The vectors are not centred. Source: Roy & Vetterli 2007.

    >>> round(effective_rank(torch.eye(4)), 4)
    4.0
    """
    values = torch.linalg.svdvals(vectors.double())
    shares = values / values.sum()
    return math.exp(torch.special.entr(shares).sum().item())


def alignment(first: Tensor, second: Tensor) -> float:
    """Mean squared distance of the unit rows of two views, 0 to 4: 0 when both views of an item meet.

    Source: Wang & Isola 2020, alpha = 2.
    """
    return (F.normalize(first, dim=1) - F.normalize(second, dim=1)).square().sum(1).mean().item()


def uniformity(vectors: Tensor) -> float:
    """log of the mean of exp(-2 d^2) over pairs of unit rows: 0 when collapsed, about -4 when spread over a sphere.

    Source: Wang & Isola 2020, t = 2.
    """
    unit = F.normalize(vectors, dim=1)
    row, column = torch.triu_indices(len(unit), len(unit), offset=1, device=unit.device)
    squared = 2 - 2 * (unit @ unit.T)[row, column]
    return torch.log(torch.exp(-2 * squared).mean()).item()


def spread(vectors: Tensor) -> float:
    """Standard deviation per channel of the unit rows, averaged, times sqrt(D): 0 when collapsed, at most 1.

    Source: Chen & He 2021, section 4.1 (who report it without the factor, as std near 1 / sqrt(D)).
    """
    unit = F.normalize(vectors, dim=1)
    return (unit.std(0, correction=0).mean() * math.sqrt(unit.shape[1])).item()


def score_histogram(scores: Tensor) -> list[int]:
    """How many of the cosines fall into each of 40 equal bins from -1 to 1."""
    return torch.histc(scores.float().clamp(-1, 1), BINS, -1, 1).long().tolist()


def observe(projections: Sequence[Projection], ids: Tensor, histograms: bool = False) -> dict[str, Any]:
    """All measures of one batch, from (at most) its first 512 rows; empty when the projections are not (B, D).

    ``near_mean`` and ``far_mean`` are mean cosines between the first view and the second, of rows of the same item
    and of different items, ``near_std`` and ``far_std`` their standard deviations; with one view there is neither these
    nor ``alignment``.
    """
    views = [watched_part(projection) for projection in projections[:2]]
    if any(view.ndim != 2 for view in views) or len(views[0]) < 2:
        return {}
    views = [view[:SAMPLE].detach().float() for view in views]
    first = views[0]
    if not all(bool(torch.isfinite(view).all()) for view in views):
        return {}
    record: dict[str, Any] = {
        "effective_rank": effective_rank(F.normalize(first, dim=1)),
        "uniformity": uniformity(first),
        "std": spread(first) / math.sqrt(first.shape[1]),
        "spread": spread(first),
    }
    if len(views) == 2 and views[1].shape == first.shape:
        second = views[1]
        scores = F.normalize(first, dim=1) @ F.normalize(second, dim=1).T
        same = ids[: len(first), None] == ids[None, : len(first)]
        near, far = scores.diagonal(), scores[~same]
        record["alignment"] = alignment(first, second)
        for name, side in (("near", near), ("far", far)):
            record[f"{name}_mean"] = side.mean().item() if len(side) else None
            record[f"{name}_std"] = side.std(correction=0).item() if len(side) else None
        if histograms:
            record["near_hist"] = score_histogram(near)
            record["far_hist"] = score_histogram(far)
    return record


def watched_part(projection: Projection) -> Tensor:
    """The tensor of a projection that is watched."""
    if not isinstance(projection, dict):
        return projection
    return projection.get("projection", next(iter(projection.values())))


def verdicts(history: Sequence[dict[str, Any]], patience: int = 300) -> dict[str, str]:
    """What is wrong with a run by its last records: ``collapse``, ``margin``, ``chance``, each with a plain sentence.

    Collapse: for ``patience / 6`` steps (and 3 records) the effective rank is below 1.1 or the spread below 0.05.
    Margin: for ``patience / 3`` steps the diameter is below a tenth of the margin, where a method learns by one.
    Chance: for ``patience`` steps the loss has stayed within 1 % of its value at chance. ``history`` holds records as
    in ``metrics.jsonl``, oldest first; records may lack any of the measures.
    """
    found = {}
    steps, record = _lasting(history, _is_collapsed, patience // 6)
    if record is not None:
        found["collapse"] = (
            f"the projections have been collapsed for {steps} steps: effective rank {record['effective_rank']:.2f}, "
            f"spread {record['spread']:.3f} of at most 1. All items get nearly the same vector: lower the learning rate"
            f"{_now(record)}, check that the objective pushes items apart (negatives, a stop-gradient or a predictor "
            "may be missing), and check that the rows differ"
        )
    steps, record = _lasting(history, _is_within_margin, patience // 3)
    if record is not None:
        found["margin"] = (
            f"for {steps} steps no two rows have been farther apart than {record['diameter']:.2g}, less than a tenth "
            f"of the margin ({record['margin']:g}), so that no triplet can be told by it. Hard triplets of wrong or "
            "overlapping labels draw all rows together: take semi-hard ones (objective=TripletSemiHard) or a soft "
            f"margin, a smaller margin, more rows of each class, a lower learning rate{_now(record)}, or look for "
            "wrong labels"
        )
    steps, record = _lasting(history, _is_at_chance, patience)
    if record is not None:
        found["chance"] = (
            f"the loss has stayed within 1 % of its value at chance ({record['chance']:.2f}) for {steps} steps: an "
            "item's other view is not told from other items. Check that views of one item still show the same "
            f"thing (weaker views), lower the learning rate{_now(record)}, or lengthen the warm-up"
        )
    return found


def verdict(history: Sequence[dict[str, Any]], patience: int = 300) -> str | None:
    """The first of `verdicts`, or None when all is well."""
    return next(iter(verdicts(history, patience).values()), None)


def _lasting(
    history: Sequence[dict[str, Any]], wrong: Callable[[dict[str, Any]], bool], patience: int
) -> tuple[int, dict[str, Any] | None]:
    """Since how many steps every record has been wrong, and the last record, if that is ``patience`` steps or more."""
    for count, record in enumerate(reversed(history), start=1):
        if not wrong(record):
            break
        steps = history[-1]["step"] - record["step"]
        if steps >= patience and count >= 3:
            return steps, history[-1]
    return 0, None


def _is_collapsed(record: dict[str, Any]) -> bool:
    rank, width = record.get("effective_rank"), record.get("spread")
    return rank is not None and width is not None and (rank < 1.1 or width < 0.05)


def _is_within_margin(record: dict[str, Any]) -> bool:
    diameter, margin = record.get("diameter"), record.get("margin")
    return diameter is not None and margin is not None and diameter < 0.1 * margin


def _is_at_chance(record: dict[str, Any]) -> bool:
    loss, chance = record.get("loss"), record.get("chance")
    return loss is not None and chance is not None and abs(loss - chance) <= 0.01 * abs(chance)


def _now(record: dict[str, Any]) -> str:
    return f" (now {record['lr']:.3g})" if record.get("lr") is not None else ""
