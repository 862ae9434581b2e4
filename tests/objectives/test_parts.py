"""Centroids and parts of rows: published terms, priors that change nothing, and parts that are kept apart."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from case import rows
from golden import A, B
from torch import Tensor, nn
from torch.nn.functional import normalize

from nearfar.objectives import AlignUniform, DecoupledUniformity, SepCLR

# Centroids ---------------------------------------------------------------------


def test_identical_views_have_the_uniformity_of_their_rows():
    z = rows(0, 6)
    want = AlignUniform(align_weight=0.0)(z, z)
    torch.testing.assert_close(DecoupledUniformity()(z, z, z), want)


def test_a_prior_by_which_nobody_is_alike_shrinks_the_centroids_alone():
    """K = I: a centroid is divided by 1 + ridge, which is t divided by its square."""
    a, b = rows(0, 5), rows(1, 5)
    alone = DecoupledUniformity(kernel="precomputed", ridge=0.25)(a, b, prior=torch.eye(5, dtype=torch.float64))
    torch.testing.assert_close(alone, DecoupledUniformity(t=2 / 1.25**2)(a, b))
    torch.testing.assert_close(alone, DecoupledUniformity(ridge=0.25)(a, b, prior=torch.arange(5)))


def test_the_prior_takes_no_gradient():
    prior = rows(2, 5).requires_grad_()
    value = DecoupledUniformity()(rows(0, 5).requires_grad_(), rows(1, 5), prior=prior)
    assert torch.autograd.grad(value, prior, allow_unused=True)[0] is None


@pytest.mark.parametrize("change", [{"kernel": "square"}, {"width": -1.0}, {"ridge": 0.0}])
def test_impossible_priors_are_refused(change: dict[str, Any]):
    with pytest.raises(ValueError, match="kernel"):
        DecoupledUniformity(**change)


# Two parts ---------------------------------------------------------------------


def test_terms_are_the_published_ones():
    """Alignment of A and B at tau 0.5 is .319007; the joint term of c = A and s = B is -1.332511."""
    view = torch.cat([A, B], 1)
    seen = SepCLR(common=3, independence=2.0).inspect(view, view)
    assert float(seen.terms["independence"]) == pytest.approx(2 * -1.332511, abs=1e-6)
    spread = AlignUniform(t=1.0, align_weight=0.0)(A, B)
    common = SepCLR(common=3).inspect(torch.cat([A, B], 1), torch.cat([B, A], 1)).terms["common"]
    assert float(common - 2 * spread) == pytest.approx(0.319007, abs=1e-6)


def test_the_salient_part_of_the_background_is_pulled_to_zero_and_not_spread():
    z, target = rows(0, 6, 4).requires_grad_(), torch.tensor([True, True, False, True, False, True])
    loss = SepCLR(salient=1.0, background=0.0, independence=0.0)
    (slope,) = torch.autograd.grad(loss(z, z.detach() * 1.1, target=target), z)
    assert not slope[~target][:, 2:].any() and slope[target][:, 2:].any()
    only = loss.replace(salient=0.0, background=3.0).terms(z, z.detach(), target=target)["background"]
    (slope,) = torch.autograd.grad(only, z)
    torch.testing.assert_close(slope[~target][:, 2:], 3 * z.detach()[~target][:, 2:] / 2)  # 3 / 2 mean of two |s|^2
    assert not slope[target].any() and not slope[:, :2].any()


def test_a_batch_of_background_alone_has_a_finite_value():
    a, b = rows(0, 4, 4).requires_grad_(), rows(1, 4, 4)
    value = SepCLR()(a, b, target=torch.zeros(4, dtype=torch.bool))
    assert torch.isfinite(value) and torch.isfinite(torch.autograd.grad(value, a)[0]).all()


@pytest.mark.parametrize("weight", [3.0, 10.0, 1000.0])
def test_only_the_information_that_parts_share_costs_what_the_common_part_knows_twice(weight: float):
    """Four textures, of half the items, and the others with one of four digits; the salient part tells digits apart."""
    texture = torch.arange(4).repeat_interleave(8)
    digit = torch.tensor([-1, -1, -1, -1, 0, 1, 2, 3]).repeat(4)
    target, eye = digit >= 0, torch.eye(32, dtype=torch.float64)
    salient = 6 * eye[digit.clamp_min(0), :4] * target[:, None]
    alone = torch.cat([eye[texture], salient], 1)
    with_digit = torch.cat([eye[4 * (digit + 1) + texture], salient], 1)
    published = SepCLR(common=32, independence=weight)
    assert published(with_digit, with_digit, target=target) < published(alone, alone, target=target) - 1
    shared = published.replace(information=True)
    # A digit of targets: log 4 in half of the items, and less for kernels that tell rows apart by exp(-2) alone.
    assert float(shared.terms(alone, alone, target=target)["independence"]) == pytest.approx(0, abs=1e-9)
    assert shared(with_digit, with_digit, target=target) > shared(alone, alone, target=target)


@pytest.mark.parametrize(
    ("how", "change", "message"),
    [
        ({"target": torch.ones(3)}, {}, r"target must be one per row, got \(3,\) for 4 rows"),
        ({}, {"common": 4}, "4 common columns of rows of width 3; set common"),
        ({}, {"common": 0}, "at least one column, got 0"),
        ({}, {"tau": 0.0}, "above 0, got 0.0"),
    ],
)
def test_impossible_parts_are_refused(how: dict[str, Any], change: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        SepCLR(**change)(rows(0, 4), rows(1, 4), **how)


def explained(part: Tensor, cause: Tensor) -> float:
    """The share of a cause's variance that a linear map of a part explains."""
    with_one = torch.cat([part, torch.ones(len(part), 1)], 1)
    rest = cause - with_one @ torch.linalg.lstsq(with_one, cause).solution
    return 1 - float(rest.square().sum() / (cause - cause.mean(0)).square().sum())


def parts_learned(loss: SepCLR) -> dict[str, float]:
    """How much each part knows of its own cause and of the other, after training on rows that mix both."""
    torch.manual_seed(0)
    n, mixing = 128, torch.randn(4, 4)
    target = torch.arange(n) % 2 == 0
    texture = normalize(torch.randn(n, 2), dim=1)
    digit = normalize(torch.randn(n, 2), dim=1) * target[:, None]  # in targets alone
    encoder = nn.Sequential(nn.Linear(4, 64), nn.ReLU(), nn.Linear(64, 4))
    optimiser = torch.optim.Adam(encoder.parameters(), lr=3e-3)
    for _ in range(200):
        views = [(torch.cat([texture, digit], 1) + 0.1 * torch.randn(n, 4)) @ mixing for _ in range(2)]
        optimiser.zero_grad()
        loss(*(encoder(v) for v in views), target=target).backward()
        optimiser.step()
    with torch.no_grad():
        made = encoder(torch.cat([texture, digit], 1) @ mixing)[target]
    parts = {"common": normalize(made[:, :2], dim=1), "salient": made[:, 2:]}
    causes = {"texture": texture[target], "digit": digit[target]}
    return {f"{p} of {c}": explained(part, cause) for p, part in parts.items() for c, cause in causes.items()}


def test_what_is_salient_in_targets_ends_in_its_own_columns_and_only_there():
    apart = parts_learned(SepCLR(background=10.0))
    assert apart["salient of digit"] > 0.9 and apart["common of texture"] > 0.9
    assert apart["salient of texture"] < 0.1 and apart["common of digit"] < 0.1
    leaking = parts_learned(SepCLR(background=10.0, independence=0.0))
    assert leaking["common of digit"] > 0.2
