"""MoCo with far keys made harder: the most similar ones, mixtures of them, and moved pairs."""

from __future__ import annotations

import math

import pytest
import torch
from test_recipes import A, B, Q, batch, made, step, unit
from torch import Tensor
from torch.nn.functional import normalize

from nearfar.data.batch import Batch
from nearfar.errors import ConfigError
from nearfar.methods import moco
from nearfar.models import mixing

IDS, HELD_IDS = torch.tensor([0, 1, 0, 3]), [3, 10, 11, 0, 12]


def said(method: moco.MoCo, ids: Tensor = IDS) -> tuple[float, Tensor]:
    """The loss of A asking for the keys B with the queue Q, and its gradient."""
    method.queue.push(unit(Q), torch.tensor(HELD_IDS))
    a = A.clone().requires_grad_()
    views = [{"projection": a, "key": unit(A)}, {"projection": B, "key": unit(B)}]
    loss = method.contrast(views, Batch([A, B], ids)).loss
    return float(loss.detach()), torch.autograd.grad(loss, a)[0]


def by_hand(far: list[list[Tensor]], t: float, queries: Tensor | None = None, keys: Tensor | None = None) -> Tensor:
    """The mean of -log the share of the own key beside the far rows of each query."""
    queries = unit(A) if queries is None else queries
    keys = unit(B) if keys is None else keys
    values = []
    for query, key, rows in zip(queries, keys, far, strict=True):
        own = (query @ key / t).exp()
        values.append(-(own / (own + sum((query @ row / t).exp() for row in rows))).log())
    return torch.stack(values).mean()


def others(item: int) -> list[Tensor]:
    return [row for row, held in zip(unit(Q), HELD_IDS, strict=True) if held != item]


def options(**more: object) -> dict[str, object]:
    return {"queue": 7, "temperature": 0.5, "symmetric": False, **more}


def test_only_the_most_similar_keys_are_far():
    for keep, left in ((0.5, {4: 2, 5: 3}), (0.25, {4: 1, 5: 2}), (1.0, {4: 4, 5: 5})):
        loss, _ = said(made("moco", **options(keep=keep)))
        far = []
        for query, item in zip(unit(A), IDS.tolist(), strict=True):
            rows = sorted(others(item), key=lambda row: -float(query @ row))
            limit = float(query @ rows[left[len(rows)] - 1]) - 1e-12  # ties stay
            far.append([row for row in rows if float(query @ row) >= limit])
        assert loss == pytest.approx(float(by_hand(far, 0.5)), abs=1e-9)


def test_cold_the_most_similar_keys_say_all_that_the_queue_says():
    whole, part = (said(made("moco", **options(keep=keep, temperature=0.01)))[0] for keep in (1.0, 0.5))
    assert abs(whole - part) < 1e-6
    warm = [said(made("moco", **options(keep=keep)))[0] for keep in (1.0, 0.5)]
    assert abs(warm[0] - warm[1]) > 0.1


def test_mixtures_are_further_far_rows_of_their_own_query_alone(monkeypatch: pytest.MonkeyPatch):
    seen = []

    def mixtures(queries: Tensor, held: Tensor, usable: Tensor, *counts: int) -> Tensor:
        seen.append((queries, held, usable, counts))
        return normalize(torch.randn(len(queries), 3, 3, dtype=queries.dtype), dim=2)

    monkeypatch.setattr(moco, "hard_mixtures", mixtures)
    method = made("moco", **options(hardest=4, mixed=2, mixed_with_query=1))
    torch.manual_seed(3)
    loss, gradient = said(method)
    torch.manual_seed(3)
    extra = normalize(torch.randn(4, 3, 3, dtype=torch.float64), dim=2)
    a = A.clone().requires_grad_()
    want = by_hand([others(i) + list(e) for i, e in zip(IDS.tolist(), extra, strict=True)], 0.5, unit(a))
    assert loss == pytest.approx(float(want.detach()), abs=1e-9)
    torch.testing.assert_close(gradient, torch.autograd.grad(want, a)[0])
    ((queries, held, usable, counts),) = seen
    torch.testing.assert_close(queries, unit(A))
    torch.testing.assert_close(held, unit(Q))
    assert counts == (4, 2, 1) and not queries.requires_grad
    assert usable.tolist() == [[held_id != item for held_id in HELD_IDS] for item in IDS.tolist()]


def test_a_query_that_is_left_without_far_keys_gets_no_mixtures():
    method = made("moco", **options(hardest=2))
    method.queue.push(unit(Q)[:1], torch.tensor([7]))
    views = [{"projection": A, "key": unit(A)}, {"projection": B, "key": unit(B)}]
    seen = method.contrast(views, Batch([A, B], torch.tensor([7, 1, 2, 7])))
    counted = method._relation(torch.tensor([7, 1]), torch.tensor([7]), torch.tensor([False, True]), 32).counts()
    assert counted.far.tolist() == [0, 33] and math.isfinite(seen.loss.item())


def test_without_mixtures_or_keys_it_is_moco():
    plain, gradient = said(made("moco", **options()))
    loss, same = said(made("moco", **options(hardest=3, mixed=0, mixed_with_query=0)))
    assert loss == pytest.approx(plain, abs=1e-12)
    torch.testing.assert_close(same, gradient)
    empty = made("moco", **options(hardest=3))
    assert step(empty, batch()).loss.item() == 0.0  # the queue is empty
    assert step(empty, batch(), 1).loss.item() > 0


def test_moved_pairs_and_mixed_keys_are_compared_as_they_are(monkeypatch: pytest.MonkeyPatch):
    """Not of unit length again; the far rows meet the moved query; the queue gets the keys as they were made."""
    monkeypatch.setattr(mixing, "_beta", lambda alpha, like: torch.full_like(like, 0.3))
    method = made("moco", **options(extrapolate=2.0, interpolate=1.6))
    torch.manual_seed(3)
    loss, gradient = said(method)
    torch.manual_seed(3)
    far = 0.3 * unit(Q) + 0.7 * unit(Q)[torch.randperm(5)]
    a = A.clone().requires_grad_()
    query, key = 1.3 * unit(a) - 0.3 * unit(B), 1.3 * unit(B) - 0.3 * unit(a)
    met = [[row for row, held in zip(far, HELD_IDS, strict=True) if held != item] for item in IDS.tolist()]
    want = by_hand(met, 0.5, query, key)
    assert loss == pytest.approx(float(want.detach()), abs=1e-9)
    torch.testing.assert_close(gradient, torch.autograd.grad(want, a)[0])
    assert torch.equal(method._new[0], unit(B))


def test_draws_follow_the_random_state():
    for more in ({"hardest": 3}, {"extrapolate": 2.0}, {"interpolate": 1.6}):
        losses = []
        for seed in (1, 1, 2):
            method = made("moco", **options(**more))
            torch.manual_seed(seed)
            losses.append(said(method)[0])
        assert losses[0] == losses[1] != losses[2]


@pytest.mark.parametrize(
    ("option", "value"),
    [("keep", 0.0), ("keep", 1.1), ("hardest", -1), ("mixed", -1), ("extrapolate", 0.0), ("interpolate", -1.0)],
)
def test_options_out_of_range_are_refused(option: str, value: float):
    with pytest.raises(ConfigError, match=option):
        made("moco", **{option: value})
