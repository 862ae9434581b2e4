"""Similarities by best matches of tokens, against loops over tokens; and every strategy with them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import nearfar.contrast.tokens as tokens_room
from nearfar import testing
from nearfar.contrast import LogSumExp, Max, MaxSim, Mean, MutualMaxSim, Scores, Strategy, packed, same_key
from nearfar.objectives import InfoNCE, NTXent, TripletHard, build

KINDS = [MaxSim(token_width=2), MaxSim(token_width=2, average=False), MutualMaxSim(token_width=2)]
every = pytest.mark.parametrize("kind", KINDS, ids=str)


def rows(seed: int, n: int) -> tuple[Tensor, list[list[list[float]]]]:
    """Rows of up to three tokens, and the tokens of each."""
    draw = torch.Generator().manual_seed(seed)
    tokens = torch.randn(n, 3, 2, dtype=torch.float64, generator=draw)
    lengths = 1 + torch.arange(n) % 3
    mask = torch.arange(3)[None, :] < lengths[:, None]
    return packed(tokens, mask), [t[:k].tolist() for t, k in zip(tokens, lengths.tolist(), strict=True)]


def cosine(x: list[float], y: list[float]) -> float:
    norm = (x[0] ** 2 + x[1] ** 2) ** 0.5 * (y[0] ** 2 + y[1] ** 2) ** 0.5
    return (x[0] * y[0] + x[1] * y[1]) / norm


def by_hand(kind: MaxSim | MutualMaxSim, x: list[list[float]], y: list[list[float]]) -> float:
    there, back = ([max(cosine(a, b) for b in other) for a in one] for one, other in ((x, y), (y, x)))
    if isinstance(kind, MutualMaxSim):
        return (sum(there) / len(there) + sum(back) / len(back)) / 2
    return sum(there) / (len(there) if kind.average else 1)


@every
@pytest.mark.parametrize("held", [1 << 22, 30], ids=["at once", "an anchor at a time"])
def test_scores_are_those_of_loops_over_tokens(kind: MaxSim | MutualMaxSim, held: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tokens_room, "HELD", held)
    (a, of_a), (c, of_c) = rows(0, 5), rows(1, 4)
    u, v = kind.prepare(a, c, 0.5)
    want = torch.tensor([[by_hand(kind, x, y) / 0.5 for y in of_c] for x in of_a], dtype=torch.float64)
    torch.testing.assert_close(kind.block(u, v), want)
    torch.testing.assert_close(kind.matched(u[:4], v), want[:4].diagonal())
    assert float(want.abs().max()) <= kind.bound(u, v) + 1e-9


@every
def test_any_statistic_streams_with_the_gradients_of_dense(
    kind: MaxSim | MutualMaxSim, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(tokens_room, "HELD", 60)
    found = []
    for strategy in (Strategy("dense"), Strategy("tiled", tile=3), Strategy("auto", tile=4)):
        a, c = rows(0, 7)[0].requires_grad_(), rows(1, 5)[0].requires_grad_()
        scores = Scores(kind, a, c, same_key(torch.arange(7), torch.arange(5) * 2), 0.3, strategy)
        every = scores.reduce(LogSumExp("any"), Max("far"), Mean("near"), Mean("far", of=torch.square))
        value = sum((k + 1) * statistic.sum() for k, statistic in enumerate(every))
        found.append([value.detach(), *torch.autograd.grad(value, (a, c))])
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    "objective", [InfoNCE(similarity=KINDS[0]), NTXent(similarity=KINDS[2])], ids=["one way", "both"]
)
def test_objectives_keep_their_contract(objective: InfoNCE | NTXent):
    assert testing.check(objective.replace(temperature=0.5), width=6, processes=0)


def test_it_is_made_again_from_plain_data_and_the_hardest_pair_finds_its_way_back():
    made = build(TripletHard(similarity=KINDS[1]).config())
    assert made.similarity == KINDS[1]
    draw = torch.Generator().manual_seed(2)
    a, c = (torch.randn(4, 6, dtype=torch.float64, generator=draw) for _ in range(2))  # every token is there
    a.requires_grad_()
    assert torch.autograd.gradcheck(lambda a: made(a, c, strategy=Strategy("tiled", tile=3)), a)


def test_what_is_not_there_has_no_say_and_no_gradient():
    x, mask = torch.randn(3, 4, 2, dtype=torch.float64), torch.tensor([[1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]])
    other = torch.where(mask.bool()[:, :, None], x, 9.0).requires_grad_()
    for kind in KINDS:
        short, long = packed(x, mask, length=2), packed(other, mask)
        a, b = kind.prepare(short, short, 1.0), kind.prepare(long, long, 1.0)
        want, got = kind.block(*a), kind.block(*b)
        torch.testing.assert_close(got, want)
        assert not got[2].any() and not got[:, 2].any()  # nothing there
        (slope,) = torch.autograd.grad(got.square().sum(), other)
        assert not slope[~mask.bool()].any() and slope.isfinite().all()


def test_single_tokens_score_their_cosine_and_widths_must_fit():
    a, c = (torch.randn(4, 6, dtype=torch.float64) for _ in range(2))
    torch.testing.assert_close(
        InfoNCE(similarity=MutualMaxSim(token_width=6))(a, c), InfoNCE()(a, c), rtol=1e-12, atol=1e-12
    )
    with pytest.raises(ValueError, match="tokens of 4 numbers, but 6 wide"):
        InfoNCE(similarity=MaxSim(token_width=4))(a, c)
