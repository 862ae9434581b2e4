"""What another, frozen encoder says of the pairs of a batch: pairs added, dropped, and rows weighed."""

from __future__ import annotations

import torch
from torch import Tensor

from ..contrast import WeightRelation
from ..contrast.blocks import slices
from ..contrast.similarity import unit

PANEL = 1024  # rows whose similarities are held at once
TIE = 1e-5  # cosines that differ by less are taken for equal, whichever way they were computed


def by_teacher(
    teacher: Tensor,
    ids: Tensor,
    *,
    add_near: bool = False,
    drop_near: float = 0.0,
    drop_alike: float = 0.0,
    drop_easy: float = 0.0,
) -> WeightRelation:
    """Rows of one id are near, all others far, but for what a teacher's cosines say against it.

    Args:
        teacher: (R, P) what the teacher makes of every row of the batch (view after view), taken as constants.
        ids: (R,) which item a row shows; with V views `ids.repeat(V)`.
        add_near: the row of another item that is most alike is near too (AddNewPositive).
        drop_near: of all near pairs this share, the least alike, does not count (DropFalsePositive);
            fewer where others are just as alike, none where a teacher says the same of all rows of an id.
        drop_alike: of the rows this share, the most alike of each row, is no far candidate; the row itself is counted
            among them, as in the published code (DropFalseNegative; 0.05 in the paper).
        drop_easy: the same of the least alike (DropEasyNegative; 0.1 in the paper).

    With all at rest it is the relation of `NTXent`. What remains of a row are two thresholds; no matrix is kept.
    Source: Zhang et al. 2023, On the Generalization of Multi-modal Contrastive Learning; PKU-ML/CLIP-Help-SimCLR
    models/losses.py, whose DropFalsePositive is without effect (its choice is overwritten) and is here as described.

    Raises:
        ValueError: a share outside [0, 1), or ids that do not match the rows.

    >>> relation = by_teacher(torch.eye(2).repeat(4, 1), torch.arange(4).repeat(2), drop_alike=0.5)
    >>> counts = relation.counts()
    >>> counts.near.tolist(), counts.far.tolist()              # of the same kind: left out; of the other kind: far
    ([1, 1, 1, 1, 1, 1, 1, 1], [4, 4, 4, 4, 4, 4, 4, 4])
    """
    if not all(0 <= share < 1 for share in (drop_near, drop_alike, drop_easy)):
        raise ValueError(f"shares to drop lie in [0, 1), got {drop_near}, {drop_alike} and {drop_easy}")
    if ids.shape != (len(teacher),):
        raise ValueError(f"ids must be one per row, got {tuple(ids.shape)} for {len(teacher)} rows")
    u = unit(teacher.detach().float())
    n = len(u)
    alike, easy, nearest, low = u.new_full((n,), torch.inf), u.new_full((n,), -torch.inf), ids.new_full((n,), -1), []
    for rows in slices(n, PANEL):
        s, same = u[rows] @ u.T, ids[rows, None] == ids[None, :]
        if int(n * drop_alike):
            alike[rows] = s.topk(int(n * drop_alike), 1).values[:, -1] - TIE
        if int(n * drop_easy):
            easy[rows] = s.topk(int(n * drop_easy), 1, largest=False).values[:, -1] + TIE
        if add_near:
            best, where = s.masked_fill(same, -torch.inf).max(1)
            nearest[rows] = torch.where(best > -torch.inf, where, -1)
        if drop_near:
            others = torch.arange(n, device=u.device)[rows, None] != torch.arange(n, device=u.device)
            low.append(s[same & others])
    least = torch.cat(low).sort().values if low else u.new_empty(0)
    dropped = int(len(least) * drop_near)
    floor = float(least[dropped]) - TIE if dropped else -torch.inf  # of pairs as alike as the first one kept, none goes

    def weight(a: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        s, same = u[a] @ u[c].T, ids[a][:, None] == ids[c][None, :]
        added = nearest[a][:, None] == c[None, :]
        far = ~same & ~added & (s < alike[a][:, None]) & (s > easy[a][:, None])
        return (same & (s > floor)) | added, far

    return WeightRelation(weight, torch.arange(n, device=u.device))


def quality_weights(foreground: Tensor, background: Tensor, gamma: float = 1.0) -> Tensor:
    """How much each pair of views counts, (N,) with mean 1: more where the things agree, less where only grounds do.

    w_i = N exp(gamma (f_i - b_i)) / sum_j exp(gamma (f_j - b_j)), for `weights=` of an objective.

    Args:
        foreground, background: (N,) cosines of the two views' frozen features, pooled over the thing and over the rest.
        gamma: how much it matters; 0: all pairs count alike.

    Source: Li et al. 2024, GenView; xiaojieli0903/genview mmpretrain/models/selfsup/simsiam.py.

    >>> f, b = torch.tensor([0.9, 0.5, 0.7, 0.1]), torch.tensor([0.2, 0.4, 0.7, 0.6])
    >>> [round(w, 4) for w in quality_weights(f, b).tolist()]
    [1.7046, 0.9355, 0.8465, 0.5134]
    """
    return len(foreground) * (gamma * (foreground - background)).detach().softmax(0)
