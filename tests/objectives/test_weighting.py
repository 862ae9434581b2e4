"""What the objectives that weigh anchors and pairs promise beyond the battery."""

from __future__ import annotations

import math

import pytest
import torch
from cases import rows
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, normalize

from nearfar.contrast import Composition, Dot, Strategy
from nearfar.objectives import (
    CACR,
    DCL,
    MACL,
    Asymmetric,
    Encouraging,
    HardContrastive,
    InfoNCE,
    Logistic,
    NTXent,
    to_classes,
    to_proxies,
)

strategies = pytest.mark.parametrize("strategy", [Strategy("dense"), Strategy("tiled", 4)], ids=["dense", "tiled"])


def pull_on_near_scores(objective: Composition, scores: Tensor) -> Tensor:
    """d value / d s_ii of a matrix of scores whose diagonal is near."""
    leaf, n = scores.clone().requires_grad_(), len(scores)
    value = objective.replace(similarity=Dot())(
        leaf, torch.eye(n, dtype=leaf.dtype), relation=to_proxies(torch.arange(n), n)
    )
    return torch.autograd.grad(value, leaf)[0].diagonal()


def test_every_anchor_is_pulled_alike():
    """The softmax pulls an anchor by (1 - p) / t; with MACL's weight, or the bonus, it is 1 / t for all."""
    scores = rows(0, 6, 6) / 3
    for objective, t in (
        (MACL(temperature=0.5), 0.5 * (1 + 0.5 * float(scores.diagonal().mean()))),
        (Encouraging(temperature=0.5, limit=0.999), 0.5),
    ):
        want = torch.full((6,), -1 / t / 6, dtype=torch.float64)
        torch.testing.assert_close(pull_on_near_scores(objective, scores), want)
    plain = pull_on_near_scores(InfoNCE(temperature=0.5), scores)
    torch.testing.assert_close(plain, ((scores / 0.5).softmax(1).diagonal() - 1) / 0.5 / 6)


@strategies
def test_at_their_limits_they_are_the_objectives_that_they_correct(strategy: Strategy):
    a, b = rows(0, 6), rows(1, 6)
    for one, other in (
        (Encouraging(temperature=0.2, limit=1.0), DCL(temperature=0.2)),
        (HardContrastive(temperature=0.2, quantile=0.0), NTXent(temperature=0.2)),
        (HardContrastive(temperature=0.2, threshold=-1.1), NTXent(temperature=0.2)),
        (Asymmetric(near_focus=0.0, far_focus=0.0, shift=0.0, bias=-1.0), Logistic(bias=-1.0)),
    ):
        torch.testing.assert_close(one(a, b, strategy=strategy), other(a, b, strategy=strategy))


@strategies
def test_macl_without_alpha_divides_the_softmax_by_its_miss(strategy: Strategy):
    a, b = rows(0, 6), rows(1, 6)
    each = NTXent(temperature=0.2).inspect(a, b).per_anchor
    want = (each / (1 - (-each).exp())).mean()
    torch.testing.assert_close(MACL(temperature=0.2, alpha=0.0)(a, b, strategy=strategy), want)


@strategies
def test_cacr_without_rates_is_near_less_far_distance(strategy: Strategy):
    a, b = rows(0, 6), rows(1, 6)
    squares = torch.cdist(normalize(a, dim=1), normalize(b, dim=1)).square()
    far = squares[~torch.eye(6, dtype=torch.bool)].mean()
    value = CACR(near_rate=0.0, far_rate=0.0)(a, b, strategy=strategy)
    torch.testing.assert_close(value, squares.diagonal().mean() - far)


def test_a_steep_cacr_sees_the_farthest_near_and_the_closest_far_row():
    z, labels = rows(0, 6), torch.tensor([0, 0, 0, 1, 1, 1])
    squares = torch.cdist(normalize(z, dim=1), normalize(z, dim=1)).square()
    same = labels[:, None] == labels
    near = squares.masked_fill(~same, -1).amax(1).mean()
    far = squares.masked_fill(same, math.inf).amin(1).mean()
    value = CACR(near_rate=1e4, far_rate=1e4)(z, labels=labels)
    torch.testing.assert_close(value, near - far)


def test_a_quantile_keeps_the_share_that_it_says():
    a, b = rows(0, 11), rows(1, 11)  # 20 far rows each
    z = normalize(torch.cat([a, b]), dim=1)
    for quantile, kept in ((0.7, 6), (0.9, 2), (0.95, 1), (0.999, 1), (0.55, 9), (0.29, 15)):
        values = []
        for i in range(22):
            p = (i + 11) % 22
            far = sorted((float(z[i] @ z[j]) for j in range(22) if j not in (i, p)), reverse=True)[:kept]
            values.append(math.log(1 + sum(math.exp((s - float(z[i] @ z[p])) / 0.5) for s in far)))
        got = HardContrastive(temperature=0.5, quantile=quantile)(a, b)
        assert float(got) == pytest.approx(sum(values) / 22, rel=1e-9)


def test_very_easy_far_pairs_of_asymmetric_have_no_gradient():
    targets = torch.tensor([[1, 0, 0]])
    x = torch.tensor([[2.0, -3.5, -2.5]], dtype=torch.float64, requires_grad=True)  # sigmoid(-3.5) = .029 < .05
    objective = Asymmetric(similarity=Dot())
    objective(x, torch.eye(3, dtype=torch.float64), relation=to_classes(targets)).backward()
    assert x.grad[0, 1] == 0 and x.grad[0, 0] < 0 < x.grad[0, 2]


def test_asymmetric_without_focus_is_the_binary_cross_entropy_of_known_targets():
    x, y = rows(0, 4, 5), torch.tensor([[1, 0, 1, 0, 0], [0, 0, 0, 0, 1], [1, 1, -1, 0, 0], [-1] * 5])
    plain = Asymmetric(similarity=Dot(), near_focus=0.0, far_focus=0.0, shift=0.0)
    known = y >= 0
    want = binary_cross_entropy_with_logits(x[known], y[known].double(), reduction="sum") / len(x)
    torch.testing.assert_close(plain(x, torch.eye(5, dtype=torch.float64), relation=to_classes(y)), want)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MACL(alpha=1.0), r"alpha must be in \[0, 1 / \(1 \+ aligned\)\)"),
        (lambda: MACL(alpha=-0.1), "got alpha -0.1"),
        (lambda: MACL(aligned=-1.0), "aligned above -1"),
        (lambda: Encouraging(limit=0.0), r"limit is a probability in \(0, 1\], got 0.0"),
        (lambda: HardContrastive(quantile=1.0), r"quantile is a share in \[0, 1\), got 1.0"),
        (lambda: Asymmetric(shift=1.0), r"shift is a probability in \[0, 1\), got 1.0"),
        (lambda: Asymmetric(far_focus=0.5), "far_focus must be 0 or at least 1, got 0.5"),
        (lambda: to_classes(torch.tensor([1, 0])), r"a matrix \(N, C\) of 1, 0 and -1, got \(2,\)"),
    ],
)
def test_what_cannot_be_is_refused(make, message: str):  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=message):
        make()


@strategies
@pytest.mark.parametrize("alpha", [0.0, 0.5])
def test_macl_is_that_of_lightly(strategy: Strategy, alpha: float):
    peer = pytest.importorskip("lightly.loss").MACLLoss(temperature=0.2, alpha=alpha, A_0=0.0)
    results = []
    for call in (lambda a, b: MACL(temperature=0.2, alpha=alpha)(a, b, strategy=strategy), peer):
        leaves = [rows(k, 6, 5).requires_grad_() for k in range(2)]
        value = call(*(normalize(leaf, dim=1) for leaf in leaves))
        results.append([value.detach(), *torch.autograd.grad(value, leaves)])
    for got, want in zip(*results, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-6, atol=1e-6)


def test_temperature_goes_from_the_hardest_far_row_to_all_alike():
    """Wang & Liu 2021, eq. 5 and 6: a hinge on the hardest one for t to 0, a plain mean for t to infinity."""
    a, b = rows(0, 5), rows(1, 5)
    scores = normalize(a, dim=1) @ normalize(b, dim=1).T
    near, off = scores.diagonal(), ~torch.eye(5, dtype=torch.bool)
    hinge = (scores.masked_fill(~off, -math.inf).amax(1) - near).relu().mean()
    torch.testing.assert_close(1e-4 * InfoNCE(temperature=1e-4)(a, b), hinge, rtol=1e-3, atol=1e-6)
    warm = 1e4 * (InfoNCE(temperature=1e4)(a, b) - math.log(5))
    torch.testing.assert_close(warm, (scores.mean(1) - near).mean(), rtol=1e-3, atol=1e-3)
