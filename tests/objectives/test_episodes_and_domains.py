"""What few-shot objectives, bounds and discrepancies promise beyond the battery."""

from __future__ import annotations

import math

import pytest
import torch
from cases import rows

from nearfar.contrast import Dot, NegativeSquaredEuclidean, same_key
from nearfar.objectives import (
    CORAL,
    ICNN,
    MMD,
    NWJ,
    DonskerVaradhan,
    EnergyConfusion,
    InfoNCE,
    NadarayaWatson,
    ProtoTriplet,
    class_means,
    split_domains,
    to_proxies,
)

F64 = torch.float64
LABELS = torch.tensor([0, 1, 0, 2, 1, 0])


def blobs(n: int, apart: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows around four centres."""
    labels = torch.arange(n) % 4
    return rows(0, n, 2) + apart * torch.tensor([[0.0, 0], [0, 1], [1, 0], [1, 1]], dtype=F64)[labels], labels


# Class means and prototypes ----------------------------------------------------


def test_class_means_are_those_of_the_known_rows_and_carry_gradients():
    z = rows(1, 7).requires_grad_()
    labels = torch.tensor([0, 3, 0, -1, 3, 0, 1])
    means = class_means(z, labels, 5)
    for c, members in {0: [0, 2, 5], 1: [6], 2: [], 3: [1, 4], 4: []}.items():
        want = sum(z[i] for i in members) / len(members) if members else torch.zeros(3, dtype=F64)
        torch.testing.assert_close(means[c], want)
    (slope,) = torch.autograd.grad(means.sum(), z)
    assert slope[:, 0].tolist() == pytest.approx([1 / 3, 1 / 2, 1 / 3, 0, 1 / 2, 1 / 3, 1])
    with pytest.raises(ValueError, match="label 3 is not among 3 classes"):
        class_means(z, labels, 3)


def test_prototypes_of_separated_classes_cost_nothing():
    for apart, want in ((100.0, 0.0), (0.0, None)):
        z, labels = blobs(40, apart)
        value = float(ProtoTriplet()(z, class_means(z, labels, 4), relation=to_proxies(labels, 4)))
        assert value == want if want is not None else value > 0.3


# Neighbours --------------------------------------------------------------------


@pytest.mark.parametrize("k", [1, 4, 9, 100])
def test_points_that_stand_apart_have_a_perfect_score_and_shuffled_labels_a_poor_one(k: int):
    labels = torch.arange(40) % 4
    corners = 50 * torch.tensor([[0.0, 0], [0, 1], [1, 0], [1, 1]], dtype=F64)[labels]
    value = ICNN(k=k)(corners, labels=labels)
    if k <= 9:  # the nine others of the class
        assert float(value) == pytest.approx(0.0, abs=1e-9)
    mixed = ICNN(k=k)(rows(5, 40, 2), labels=torch.randint(2, (40,), generator=torch.Generator().manual_seed(0)))
    assert 0.4 < math.exp(-float(mixed)) < 0.6


def test_scale_does_not_matter_to_the_score_of_neighbours():
    z, labels = blobs(24, 1.0)
    torch.testing.assert_close(ICNN()(z, labels=labels), ICNN()(7 * z, labels=labels))
    with pytest.raises(ValueError, match="at least 1, got 0"):
        ICNN(k=0)


def test_the_kernel_vote_is_the_share_of_the_true_class():
    z, support, classes = rows(6, 6), rows(7, 5), torch.tensor([0, 1, 2, 1, 0])
    votes = (-torch.cdist(z, support)).softmax(1)
    want = -torch.stack([votes[i][classes == LABELS[i]].sum().log() for i in range(6)]).mean()
    torch.testing.assert_close(NadarayaWatson()(z, support, relation=same_key(LABELS, classes)), want)
    # A query whose class has no support does not count.
    fewer = same_key(torch.tensor([0, 1, 0, 9, 1, 0]), classes)
    want = -torch.stack([votes[i][classes == LABELS[i]].sum().log() for i in (0, 1, 2, 4, 5)]).mean()
    torch.testing.assert_close(NadarayaWatson()(z, support, relation=fewer), want)


# Bounds ------------------------------------------------------------------------


def gaussians(n: int, rho: float, width: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Correlated pairs, and the logarithm of how much likelier each pair (i, j) is than chance."""
    x = rows(11, n, width)
    y = rho * x + math.sqrt(1 - rho**2) * rows(12, n, width)
    square = (y[None] - rho * x[:, None]).square().sum(2)
    ratio = 0.5 * y.square().sum(1) - 0.5 * square / (1 - rho**2) - 0.5 * width * math.log(1 - rho**2)
    return x, y, ratio


def test_with_the_best_critic_the_bounds_are_the_information():
    """The scores are given as they are: anchors are the rows of the matrix, candidates the unit vectors."""
    rho, width, n = 0.5, 2, 1500
    _, _, ratio = gaussians(n, rho, width)
    information = -0.5 * width * math.log(1 - rho**2)
    columns = torch.eye(n, dtype=F64)
    assert -float(NWJ()(ratio + 1, columns)) == pytest.approx(information, abs=0.03)
    assert -float(DonskerVaradhan()(ratio, columns)) == pytest.approx(information, abs=0.03)
    assert math.log(n) - float(InfoNCE(similarity=Dot(), temperature=1.0)(ratio, columns)) == pytest.approx(
        information, abs=0.03
    )


def test_donsker_varadhan_is_never_looser_and_knows_no_constant():
    a, b = rows(13, 9), rows(14, 9)
    assert float(DonskerVaradhan()(a, b)) <= float(NWJ()(a, b))
    one = torch.ones(9, 1, dtype=F64)
    shifted = DonskerVaradhan()(torch.cat([a, 5 * one], 1), torch.cat([b, one], 1))
    torch.testing.assert_close(DonskerVaradhan()(a, b), shifted)


# Two samples -------------------------------------------------------------------


def test_energy_confusion_is_means_apart_and_spreads():
    z, labels = rows(15, 12), torch.arange(12) % 2
    one, other = z[labels == 0], z[labels == 1]
    want = (one.mean(0) - other.mean(0)).square().sum() + one.var(0, False).sum() + other.var(0, False).sum()
    raw = NegativeSquaredEuclidean(normalize=False)
    torch.testing.assert_close(EnergyConfusion(similarity=raw)(z, labels=labels), want)


@pytest.mark.parametrize("penalty", [MMD(), CORAL()], ids=lambda p: type(p).__name__)
def test_samples_of_one_distribution_differ_less_the_more_there_are(penalty: torch.nn.Module):
    few, many = (float(penalty(rows(16, n), rows(17, n // 2))) for n in (20, 2000))
    assert 0 < many < 0.1 * few
    assert float(penalty(rows(16, 2000), rows(17, 1000) + 1)) > 20 * many
    with pytest.raises(ValueError, match="2 or more rows"):
        penalty(rows(0, 1), rows(1, 5))


def test_a_domain_is_split_at_a_place_of_its_own():
    domains = torch.tensor([4, 4, 7, 4, 7, 7, 9])
    seen = set()
    for seed in range(200):
        first = split_domains(domains, torch.Generator().manual_seed(seed))
        for domain in (4, 7, 9):
            of_domain = first[domains == domain].tolist()
            assert of_domain == sorted(of_domain, reverse=True) and not of_domain[-1]  # a beginning, never all
        seen.add(tuple(first.tolist()))
    assert len(seen) == 3 * 3 * 1


def test_bandwidths_are_checked():
    with pytest.raises(ValueError, match="above 0"):
        MMD(bandwidths=(1.0, 0.0))
