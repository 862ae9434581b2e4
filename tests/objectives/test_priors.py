"""Priors: kernels of attributes and classes, and the relations and estimates that are made of them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from case import rows
from torch import Tensor

from nearfar.contrast import NegativeEuclidean, Strategy
from nearfar.objectives import CCLK, GML, InfoNCE, KernelInfoNCE, NTXent, by_class_prior, conditioned_on
from nearfar.objectives.priors import MOST, kernel_matrix, smooth, smoother

CLASSES = torch.tensor([2, 0, 2, 2, 0, 5])
NUMBERS = rows(3, 6, 2)


def blocks(relation: Any, over: str) -> Tensor:
    r, c = relation.shape
    full: Tensor = relation.weights(over, slice(0, r), slice(0, c)).full(torch.empty(r, c, dtype=torch.float64))
    return full


# Kernels -----------------------------------------------------------------------


def naive_kernel(kind: str, x: list[float], y: list[float], width: float) -> float:
    products = sum(p * q for p, q in zip(x, y, strict=True))
    distance = math.dist(x, y)
    return {
        "rbf": math.exp(-(distance**2) / (2 * width**2)),
        "laplacian": math.exp(-distance / width),
        "cosine": products / math.hypot(*x) / math.hypot(*y),
        "linear": products,
        "polynomial": products**3,
    }[kind]


@pytest.mark.parametrize("kind", ["rbf", "laplacian", "cosine", "linear", "polynomial"])
def test_kernels_are_their_formulas(kind: str):
    made = kernel_matrix(NUMBERS, kind, width=0.7)
    want = [[naive_kernel(kind, x, y, 0.7) for y in NUMBERS.tolist()] for x in NUMBERS.tolist()]
    torch.testing.assert_close(made, torch.tensor(want, dtype=torch.float64), rtol=1e-9, atol=1e-9)


def test_one_number_per_item_is_one_attribute_and_a_matrix_may_be_given():
    column = NUMBERS[:, 0]
    assert torch.equal(kernel_matrix(column), kernel_matrix(column[:, None]))
    made = kernel_matrix(NUMBERS)
    assert torch.equal(kernel_matrix(made, "precomputed"), made)
    with pytest.raises(ValueError, match=r"'precomputed' cannot be of shape \(6, 2\)"):
        kernel_matrix(NUMBERS, "precomputed")


def test_what_makes_no_kernel_is_refused():
    with pytest.raises(ValueError, match=r"kernel must be one of rbf, .*'sideways'"):
        kernel_matrix(NUMBERS, "sideways")
    with pytest.raises(ValueError, match=r"are above 0, got 0.0 and 0.01"):
        smooth(NUMBERS, NUMBERS, width=0.0)
    with pytest.raises(ValueError, match=r"above 0, got 1.0 and 0"):
        conditioned_on(NUMBERS, ridge=0)
    with pytest.raises(ValueError, match="says something of every item: got 6 for 5"):
        smooth(NUMBERS[:5], NUMBERS)


def test_too_many_items_for_a_dense_solve_are_refused_before_it_begins():
    many = torch.zeros(1).expand(MOST + 1)
    with pytest.raises(ValueError, match=rf"take at most {MOST} items, or classes"):
        conditioned_on(many)
    assert conditioned_on(torch.zeros(MOST + 1, dtype=torch.long)).shape == (2 * MOST + 2, 2 * MOST + 2)


def test_the_smoother_is_that_of_numpy_and_takes_no_gradient():
    matrix = kernel_matrix(NUMBERS).requires_grad_()
    k = matrix.detach().numpy()
    want = np.linalg.inv(k + 0.3 * np.eye(6)) @ k
    made = smoother(matrix, 0.3)
    np.testing.assert_allclose(made.numpy(), want, rtol=1e-9, atol=1e-9)
    assert torch.equal(made, made.T) and not made.requires_grad


# Estimates ---------------------------------------------------------------------


@pytest.mark.parametrize("classes", [CLASSES, torch.tensor([2, -1, 2, 2, -1, 5])], ids=["known", "some unknown"])
def test_rows_smoothed_by_class_are_those_of_the_dense_solve(classes: Tensor):
    """The kernel "same class", in which an item of unknown class is alike to itself alone."""
    same = (classes[:, None] == classes[None, :]) & (classes >= 0)[:, None] | torch.eye(6, dtype=torch.bool)
    dense, by_class = (NUMBERS.clone().requires_grad_() for _ in range(2))
    want = smooth(dense, same.double(), "precomputed", ridge=0.2)
    made = smooth(by_class, classes, ridge=0.2)
    torch.testing.assert_close(made, want, rtol=1e-9, atol=1e-9)
    for made_grad, want_grad in zip(
        torch.autograd.grad(made.pow(3).sum(), by_class), torch.autograd.grad(want.pow(3).sum(), dense), strict=True
    ):
        torch.testing.assert_close(made_grad, want_grad, rtol=1e-9, atol=1e-9)


# Conditions --------------------------------------------------------------------


@pytest.mark.parametrize("near", ["view", "alike"])
@pytest.mark.parametrize("views", [1, 2, 3])
def test_weights_are_those_of_the_inverse(near: str, views: int):
    k = kernel_matrix(NUMBERS, "laplacian", 2.0).numpy()
    w = np.linalg.inv(k + 0.1 * np.eye(6)) @ k
    np.fill_diagonal(w, 0)
    w[w < 1e-6] = 0
    assert (w == 0).sum() > 6  # some weights are negative, and left out
    relation = conditioned_on(NUMBERS, views, near, "laplacian", 2.0, 0.1)
    seen = {over: blocks(relation, over) for over in ("near", "far")}
    for i in range(6 * views):
        for j in range(6 * views):
            own, same = i == j, i % 6 == j % 6
            weight = w[i % 6, j % 6]
            pair = (float(same), 5 * weight) if near == "view" else (weight, 1.0)
            assert (float(seen["near"][i, j]), float(seen["far"][i, j])) == pytest.approx((0, 0) if own else pair)


@pytest.mark.parametrize("near", ["view", "alike"])
def test_classes_give_the_weights_of_the_kernel_same_class(near: str):
    same = (CLASSES[:, None] == CLASSES[None, :]).double()
    dense = conditioned_on(same, 2, near, "precomputed", ridge=0.1)
    by_class = conditioned_on(CLASSES, 2, near, ridge=0.1)
    for over in ("near", "far"):
        torch.testing.assert_close(blocks(by_class, over), blocks(dense, over), rtol=1e-6, atol=1e-6)


def test_items_of_unknown_class_tell_nothing_of_others():
    relation = conditioned_on(torch.tensor([-1, -1, 0, 0]), 1, "alike")
    assert not blocks(relation, "near")[:2].any() and not blocks(relation, "near")[:, :2].any()
    assert blocks(relation, "near")[2, 3] > 0


def test_unknown_ways_to_be_near_are_named():
    with pytest.raises(ValueError, match="near must be 'view' or 'alike', got 'far'"):
        conditioned_on(NUMBERS, near="far")


@pytest.mark.parametrize("near", ["view", "alike"])
def test_conditions_hold_however_the_scores_are_visited(near: str):
    z = rows(4, 12)
    results = []
    for strategy in (Strategy("dense"), Strategy("tiled", 5)):
        leaf = z.clone().requires_grad_()
        value = CCLK()(leaf, relation=conditioned_on(NUMBERS, near=near), strategy=strategy)
        results.append((value.detach(), *torch.autograd.grad(value, leaf)))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


def test_nobody_alike_leaves_nothing_to_tell_apart():
    z = rows(5, 8).requires_grad_()
    value = CCLK()(z, relation=conditioned_on(torch.eye(4, dtype=torch.float64)))
    assert float(value.detach()) == 0 and not torch.autograd.grad(value, z)[0].any()


def test_everybody_alike_and_no_ridge_is_plain_contrast():
    """One class of n items: W = 1 / n each, so far rows weigh (n - 1) / n."""
    z, n = rows(6, 8), 4
    value = CCLK(temperature=0.3)(z, relation=conditioned_on(torch.zeros(n, dtype=torch.long), ridge=1e-9))
    scores = torch.nn.functional.normalize(z) @ torch.nn.functional.normalize(z).T / 0.3
    far = [sum(math.exp(scores[i, j]) for j in range(8) if j % n != i % n) * (n - 1) / n for i in range(8)]
    want = [math.log(math.exp(scores[i, (i + n) % 8]) + far[i]) - float(scores[i, (i + n) % 8]) for i in range(8)]
    assert float(value) == pytest.approx(np.mean(want), abs=1e-6)


# Class priors ------------------------------------------------------------------


def test_without_priors_labels_alone_say_the_same():
    a, b, y = rows(0, 6), rows(1, 6), torch.tensor([0, 0, 1, 2, 1, 0])
    torch.testing.assert_close(
        GML(temperature=0.2)(a, b, relation=by_class_prior(y, y)), GML(temperature=0.2)(a, b, labels=y)
    )


def test_equal_priors_and_one_key_per_class_are_a_softmax_over_proxies():
    z, proxies, y = rows(0, 6), rows(1, 3), torch.tensor([0, 0, 1, 2, 1, 0])
    relation = by_class_prior(y, torch.arange(3), torch.full((3,), 1 / 3, dtype=torch.float64))
    cosines = torch.nn.functional.normalize(z) @ torch.nn.functional.normalize(proxies).T
    want = torch.nn.functional.cross_entropy(cosines / 0.2, y)
    torch.testing.assert_close(GML(temperature=0.2)(z, proxies, relation=relation), want)


def test_priors_are_the_adjustment_of_logits():
    z, proxies, y = rows(0, 6), rows(1, 3), torch.tensor([0, 0, 1, 2, 1, 0])
    priors = torch.tensor([0.7, 0.2, 0.1], dtype=torch.float64)
    cosines = torch.nn.functional.normalize(z) @ torch.nn.functional.normalize(proxies).T
    want = torch.nn.functional.cross_entropy(cosines / 0.2 + priors.log(), y)
    torch.testing.assert_close(
        GML(temperature=0.2)(z, proxies, relation=by_class_prior(y, torch.arange(3), priors)), want
    )


def test_rows_and_keys_of_unknown_class_do_not_count():
    labels, keys = torch.tensor([0, -1, 1]), torch.tensor([1, -1, 0, 0])
    relation = by_class_prior(labels, keys, torch.tensor([0.6, 0.4]))
    assert blocks(relation, "near").tolist() == [[0, 0, pytest.approx(0.3), pytest.approx(0.3)], [0] * 4,
                                                 [pytest.approx(0.4), 0, 0, 0]]  # fmt: skip
    assert blocks(relation, "far").tolist() == [[pytest.approx(0.4), 0, 0, 0], [0] * 4,
                                                [0, 0, pytest.approx(0.3), pytest.approx(0.3)]]  # fmt: skip


def test_a_class_without_prior_is_named():
    with pytest.raises(ValueError, match="label 2 has no prior, there are 2"):
        by_class_prior(torch.tensor([0, 2]), torch.tensor([0, 1]), torch.tensor([0.5, 0.5]))


# Kernel mixtures ---------------------------------------------------------------


def test_the_gaussian_kernel_is_ntxent_at_half_the_temperature():
    a, b = rows(0, 5), rows(1, 5)
    gaussian = KernelInfoNCE(similarity=NegativeEuclidean(power=2.0), temperature=0.4)
    torch.testing.assert_close(gaussian(a, b), NTXent(temperature=0.2)(a, b))


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_mixture_of_one_kernel_is_that_kernel(share: float):
    a, b = rows(0, 5), rows(1, 5)
    want = KernelInfoNCE()(a, b) if share else NTXent(temperature=0.25)(a, b)
    torch.testing.assert_close(KernelInfoNCE(mixture="sum", share=share)(a, b), want)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mixture": "product"}, "'none', 'sum' or 'halves', got 'product'"),
        ({"share": 1.5}, r"share is a weight in \[0, 1\], got 1.5"),
        (
            {"mixture": "halves", "similarity": InfoNCE().similarity},
            "'halves' mixes powers of the distance, not Cosine",
        ),
    ],
)
def test_impossible_mixtures_are_refused(change: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        KernelInfoNCE(**change)
