"""Values and gradients against other libraries, where they are installed.

Where a convention differs, the test says which one and translates.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from nearfar.contrast import PairRelation, Pairs, Strategy
from nearfar.objectives import (
    DCL,
    DCLW,
    BarlowTwins,
    ContrastiveMargin,
    InfoNCE,
    NPair,
    NTXent,
    SigLIP,
    SupCon,
    SymmetricInfoNCE,
    TripletAll,
    TripletHard,
    VICReg,
)

LABELS = torch.tensor([0, 1, 0, 2, 1, 0])


def views(dtype: torch.dtype = torch.float64) -> list[Tensor]:
    generator = torch.Generator().manual_seed(7)
    return [torch.randn(6, 5, dtype=dtype, generator=generator).requires_grad_() for _ in range(2)]


def agree(ours: Callable[..., Tensor], theirs: Callable[..., Tensor], tolerance: float = 1e-6) -> None:
    """Value and both gradients."""
    results = []
    for call in (ours, theirs):
        leaves = views()
        value = call(*leaves)
        results.append([value.detach(), *torch.autograd.grad(value, leaves)])
    for got, want in zip(*results, strict=True):
        torch.testing.assert_close(got, want.to(got.dtype), rtol=tolerance, atol=tolerance)


strategies = pytest.mark.parametrize("strategy", [Strategy("dense"), Strategy("tiled", 4)], ids=["dense", "tiled"])
doubled = torch.cat([LABELS, LABELS])
items = torch.arange(6).repeat(2)


# lightly ---------------------------------------------------------------------------------------------------------


@strategies
@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_ntxent_is_that_of_lightly(strategy: Strategy, temperature: float):
    peer = pytest.importorskip("lightly.loss").NTXentLoss(temperature=temperature)
    agree(lambda a, b: NTXent(temperature=temperature)(a, b, strategy=strategy), peer)


@strategies
def test_dcl_is_that_of_lightly(strategy: Strategy):
    peer = pytest.importorskip("lightly.loss").DCLLoss(temperature=0.2)
    agree(lambda a, b: DCL(temperature=0.2)(a, b, strategy=strategy), peer)


@strategies
@pytest.mark.filterwarnings("ignore:To copy construct from a tensor")
def test_dclw_with_detached_weights_is_that_of_lightly(strategy: Strategy):
    """lightly takes the weights as constants; the reference code lets the gradient through."""
    peer = pytest.importorskip("lightly.loss").DCLWLoss(temperature=0.2, sigma=0.4)
    ours = DCLW(temperature=0.2, sigma=0.4, detach=True)
    agree(lambda a, b: ours(a, b, strategy=strategy), peer)


def test_barlow_twins_is_that_of_lightly():
    """lightly's default weight off the diagonal is 0.005, that of the official code 0.0051."""
    peer = pytest.importorskip("lightly.loss").BarlowTwinsLoss(lambda_param=0.0051)
    agree(BarlowTwins(), peer)


def test_vicreg_is_that_of_lightly():
    agree(VICReg(), pytest.importorskip("lightly.loss").VICRegLoss())


# pytorch-metric-learning: rows and labels, one tensor -------------------------------------------------------------


@strategies
@pytest.mark.parametrize("name", ["NTXentLoss", "SupConLoss"])
def test_ntxent_is_that_of_metric_learning(name: str, strategy: Strategy):
    peer = getattr(pytest.importorskip("pytorch_metric_learning.losses"), name)(temperature=0.2)
    agree(
        lambda a, b: NTXent(temperature=0.2)(a, b, strategy=strategy),
        lambda a, b: peer(torch.cat([a, b]), items),
    )


@strategies
def test_supcon_outside_is_that_of_metric_learning(strategy: Strategy):
    peer = pytest.importorskip("pytorch_metric_learning.losses").SupConLoss(temperature=0.2)
    agree(
        lambda a, b: SupCon(temperature=0.2)(a, b, labels=LABELS, strategy=strategy),
        lambda a, b: peer(torch.cat([a, b]), doubled),
    )


@strategies
def test_supcon_exclusive_is_ntxent_of_metric_learning_per_pair(strategy: Strategy):
    """Theirs is a mean over near pairs, ours over anchors of the mean of each: equal for equal classes."""
    peer = pytest.importorskip("pytorch_metric_learning.losses").NTXentLoss(temperature=0.2)
    even = torch.tensor([0, 1, 2, 0, 1, 2])
    ours = SupCon(temperature=0.2, average="exclusive")
    agree(
        lambda a, b: ours(a, b, labels=even, strategy=strategy),
        lambda a, b: peer(torch.cat([a, b]), torch.cat([even] * 2)),
    )


@strategies
def test_contrastive_margin_is_that_of_metric_learning(strategy: Strategy):
    peer = pytest.importorskip("pytorch_metric_learning.losses").ContrastiveLoss(pos_margin=0.1, neg_margin=1.2)
    ours = ContrastiveMargin(near_margin=0.1, margin=1.2)
    agree(lambda a, b: ours(a, b, labels=LABELS, strategy=strategy), lambda a, b: peer(torch.cat([a, b]), doubled))


@strategies
def test_triplets_are_those_of_metric_learning(strategy: Strategy):
    """All triplets, averaged over violating ones as their reducer does; smooth ones over all."""
    losses = pytest.importorskip("pytorch_metric_learning.losses")
    reducers = pytest.importorskip("pytorch_metric_learning.reducers")
    for ours, peer in (
        (TripletAll(margin=0.3), losses.TripletMarginLoss(margin=0.3)),
        (
            TripletAll(margin=0.3, average="triplets"),
            losses.TripletMarginLoss(margin=0.3, reducer=reducers.MeanReducer()),
        ),
        (TripletAll(soft=True), losses.TripletMarginLoss(margin=0.0, smooth_loss=True)),
    ):
        agree(
            lambda a, b, ours=ours: ours(a, b, labels=LABELS, strategy=strategy),
            lambda a, b, peer=peer: peer(torch.cat([a, b]), doubled),
        )


@strategies
def test_hardest_triplets_are_those_of_metric_learning(strategy: Strategy):
    losses = pytest.importorskip("pytorch_metric_learning.losses")
    miner = pytest.importorskip("pytorch_metric_learning.miners").BatchHardMiner()
    for ours, peer in (
        (TripletHard(margin=0.3), losses.TripletMarginLoss(margin=0.3)),
        (TripletHard(soft=True), losses.TripletMarginLoss(margin=0.0, smooth_loss=True)),
    ):

        def theirs(a: Tensor, b: Tensor, peer=peer) -> Tensor:  # type: ignore[no-untyped-def]
            z = torch.cat([a, b])
            return peer(z, doubled, miner(z, doubled))

        agree(lambda a, b, ours=ours: ours(a, b, labels=LABELS, strategy=strategy), theirs)


def test_npair_is_that_of_metric_learning():
    """Theirs takes one pair per class from one tensor: first the anchors, then their partners, raw rows."""
    distances = pytest.importorskip("pytorch_metric_learning.distances")
    losses = pytest.importorskip("pytorch_metric_learning.losses")
    peer = losses.NPairsLoss(distance=distances.DotProductSimilarity(normalize_embeddings=False))
    seen = float(peer(torch.cat(views()), items).detach())
    a, b = views()
    # Which row of a pair is the anchor is their choice; both are one of ours.
    assert min(abs(seen - float(NPair()(x, y).detach())) for x, y in ((a, b), (b, a))) < 1e-6


# open_clip: unit features, a scale that multiplies -----------------------------------------------------------------


@strategies
def test_symmetric_infonce_is_the_objective_of_open_clip(strategy: Strategy):
    peer = pytest.importorskip("open_clip.loss").ClipLoss()
    scale = torch.tensor(1 / 0.07, dtype=torch.float64)
    agree(
        lambda a, b: SymmetricInfoNCE(temperature=0.07)(a, b, strategy=strategy),
        lambda a, b: peer(normalize(a, dim=1), normalize(b, dim=1), scale),
    )


@strategies
def test_siglip_is_the_objective_of_open_clip(strategy: Strategy):
    peer = pytest.importorskip("open_clip.loss").SigLipLoss()
    scale, bias = torch.tensor(10.0, dtype=torch.float64), torch.tensor(-10.0, dtype=torch.float64)
    agree(
        lambda a, b: SigLIP(temperature=0.1, bias=-10.0)(a, b, strategy=strategy),
        lambda a, b: peer(normalize(a, dim=1), normalize(b, dim=1), scale, bias),
    )


@strategies
def test_gradients_of_learned_numbers_are_those_of_open_clip(strategy: Strategy):
    """Theirs learns the logarithm of the scale, which is the logarithm of the inverse temperature of ours."""
    peer = pytest.importorskip("open_clip.loss").SigLipLoss()
    a, b = views()
    ours = SigLIP().double()
    ours(a, b, strategy=strategy).backward()
    log_scale = ours.temperature.log_inverse.detach().clone().requires_grad_()
    bias = ours.bias.bias.detach().clone().requires_grad_()
    peer(normalize(a, dim=1), normalize(b, dim=1), log_scale.exp(), bias).backward()
    torch.testing.assert_close(ours.temperature.log_inverse.grad, log_scale.grad)
    torch.testing.assert_close(ours.bias.bias.grad, bias.grad)


# torch ---------------------------------------------------------------------------------------------------------


@strategies
def test_infonce_is_cross_entropy(strategy: Strategy):
    agree(
        lambda a, b: InfoNCE(temperature=0.3)(a, b, strategy=strategy),
        lambda a, b: torch.nn.functional.cross_entropy(
            normalize(a, dim=1) @ normalize(b, dim=1).T / 0.3, torch.arange(len(a))
        ),
    )


@strategies
def test_a_queue_of_far_candidates_alone_is_the_objective_of_moco(strategy: Strategy):
    """MoCo compares a query with its own key and the queue, not with the batch's other keys: a relation says so."""
    queue = torch.randn(4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    n, row = 6, torch.arange(6)
    to_queue = Pairs(row.repeat_interleave(4), n + torch.arange(4).repeat(n))
    relation = PairRelation((n, n + 4), Pairs(row, row), far=to_queue)

    def theirs(a: Tensor, b: Tensor) -> Tensor:
        q, k = normalize(a, dim=1), normalize(b, dim=1)
        logits = torch.cat([(q * k).sum(1, keepdim=True), q @ normalize(queue, dim=1).T], 1) / 0.2
        return torch.nn.functional.cross_entropy(logits, torch.zeros(n, dtype=torch.long))

    ours = InfoNCE(temperature=0.2)
    agree(lambda a, b: ours(a, torch.cat([b, queue]), relation=relation, strategy=strategy), theirs)
