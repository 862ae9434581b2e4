"""Contrastive predictive coding: who is far, by plain loops; what is known by then; bounds beside known information."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from nearfar.contrast import Dot
from nearfar.data.batch import Batch
from nearfar.errors import ConfigError
from nearfar.methods import CPC
from nearfar.modalities.text.encoders.scratch import Recurrent, SmallTransformer
from nearfar.models import UpToNow
from nearfar.objectives import InfoNCE, candidate_counts, steps_ahead, to_later

TOKENS = torch.tensor([[3, 5, 7, 5, 2], [4, 4, 9, -1, -1], [8, -1, -1, -1, -1], [6, 2, 3, 9, -1]])
IDS = torch.tensor([0, 1, 2, 0])  # the first and the last are one item


def made(**options: Any) -> CPC:
    torch.manual_seed(0)
    return CPC(Recurrent(6, dropout=0.0), CPC.Options(**options)).double()


def plainly(method: CPC, far: str, asks: str) -> tuple[list[float], list[float]]:
    """Losses and bounds of the steps, pair by pair."""
    course = method.encoder.course(TOKENS)
    losses, bounds = [], []
    for step, weight in enumerate((m.weight for m in method.maps), 1):
        rows = [(b, t) for b in range(4) for t in range(5 - step) if TOKENS[b, t + step] >= 0]
        value, choices = [], []
        for b, t in rows:
            scores = []
            for c, s in rows:
                if asks == "context":
                    score = (weight @ course.contexts[b, t]) @ course.targets[c, s + step]
                else:
                    score = (weight @ course.contexts[c, s]) @ course.targets[b, t + step]
                own, same = (b, t) == (c, s), int(IDS[b]) == int(IDS[c])
                if own or far == "both" or same == (far == "same"):
                    scores.append(score.item())
                if own:
                    mine = score.item()
            value.append(float(np.logaddexp.reduce(scores)) - mine)
            choices.append(math.log(len(scores)))
        losses.append(float(np.mean(value)))
        bounds.append(float(np.mean(choices)) - losses[-1])
    return losses, bounds


@pytest.mark.parametrize("far", ["both", "others", "same"])
@pytest.mark.parametrize("asks", ["context", "target"])
def test_the_loss_of_every_step_is_that_of_plain_loops(far: str, asks: str):
    method = made(far=far, asks=asks, ahead=3)
    said = method.contrast([method.project(TOKENS)], Batch([TOKENS], IDS))
    losses, bounds = plainly(method, far, asks)
    assert said.loss.item() == pytest.approx(np.mean(losses), rel=1e-9)
    for step in (1, 2, 3):
        assert said.terms[f"step_{step}"].item() == pytest.approx(losses[step - 1] / 3, rel=1e-9)
        assert said.terms[f"information_{step}"].item() == pytest.approx(bounds[step - 1], rel=1e-9)


def test_both_ask_in_turn_and_steps_without_a_pair_do_not_count():
    one, other = (plainly(made(ahead=2), "both", asks)[0] for asks in ("context", "target"))
    method = made(ahead=9, asks="both")
    method.maps[0].weight, method.maps[1].weight = (made(ahead=2).maps[k].weight for k in range(2))
    said = method.contrast([method.project(TOKENS[:, :3])], Batch([TOKENS[:, :3]], IDS))
    assert set(said.terms) == {"step_1", "step_2", "information_1", "information_2"}
    said = made(ahead=2, asks="both").contrast([made(ahead=2).project(TOKENS)], Batch([TOKENS], IDS))
    assert said.loss.item() == pytest.approx(np.mean([one, other]), rel=1e-9)
    alone = made().contrast([made().project(TOKENS[2:3])], Batch([TOKENS[2:3]], IDS[:1]))
    assert alone.loss.item() == 0 and alone.loss.requires_grad


@pytest.mark.parametrize("strategy", ["dense", "tiled"])
def test_with_the_identity_for_a_map_it_is_info_nce_of_a_sequence_and_itself_later(strategy: str):
    z = torch.randn(3, 5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    known, later, rows = steps_ahead(z, z, torch.ones(3, 5, dtype=torch.bool), 2)
    loss = InfoNCE(similarity=Dot(), temperature=1.0, strategy=strategy)
    want = loss(z[:, :3].reshape(-1, 4), z[:, 2:].reshape(-1, 4)).item()
    assert loss(known, later, relation=to_later(rows)).item() == pytest.approx(want, rel=1e-12)
    zero = torch.zeros_like(known)
    for far in ("both", "others", "same"):
        equal = loss(zero, zero, relation=to_later(rows, far)).item()
        assert equal == pytest.approx(float(candidate_counts(rows, far).double().log().mean()), rel=1e-12)


@pytest.mark.parametrize("encoder", [Recurrent(6, dropout=0.0), SmallTransformer(64, 1, dropout=0.0)])
def test_a_context_knows_nothing_of_what_comes(encoder: torch.nn.Module):
    whole, begun = encoder.course(TOKENS[:1]), encoder.course(TOKENS[:1, :3])
    torch.testing.assert_close(whole.contexts[:, :3], begun.contexts)
    assert not torch.allclose(whole.contexts[0, 2], whole.contexts[0, 3])


def test_afterwards_a_sequence_is_its_last_context_or_their_mean():
    encoder = Recurrent(6, dropout=0.0)
    contexts = encoder.course(TOKENS).contexts
    last, mean = (UpToNow(encoder, 3, pool)(TOKENS) for pool in ("last", "mean"))
    torch.testing.assert_close(last[1], contexts[1, 2])
    torch.testing.assert_close(mean[1], contexts[1, :3].mean(0))
    assert made(embedding="last").width == 3


def chain(stay: float) -> np.ndarray:
    """Probabilities of a ring of four states: to stay, else to go on by one."""
    return stay * np.eye(4) + (1 - stay) * np.roll(np.eye(4), 1, axis=1)


def drawn(moves: np.ndarray, count: int, length: int, shuffled: bool = False) -> Tensor:
    """(B, T, 4) states one-hot."""
    generator = np.random.default_rng(0)
    states = np.zeros((count, length), int)
    states[:, 0] = generator.integers(4, size=count)
    for t in range(1, length):
        states[:, t] = (generator.random((count, 1)) > moves[states[:, t - 1]].cumsum(1)).sum(1)
    states = generator.permuted(states) if shuffled else states
    return torch.from_numpy(np.eye(4)[states.clip(max=3)])


@pytest.mark.parametrize("stay", [0.5, 0.7, 0.9])
def test_by_the_best_map_the_bound_comes_to_the_information_of_a_chain(stay: float):
    """It grows with how sure the next state is and falls with the steps ahead; maps are log P^k / pi, scores exact."""
    moves, z = chain(stay), drawn(chain(stay), 200, 12)
    found, there = [], torch.ones(z.shape[:2], dtype=torch.bool)
    for step in (1, 3):
        known, later, rows = steps_ahead(z, z, there, step)
        power = np.linalg.matrix_power(moves, step)
        map = torch.from_numpy(np.log(np.maximum(power, 1e-12) / 0.25))
        loss = InfoNCE(similarity=Dot(), temperature=1.0)(known @ map, later, relation=to_later(rows, "others"))
        bound = float(candidate_counts(rows, "others").double().log().mean() - loss)
        exact = float((power * np.log(np.maximum(power, 1e-12) / 0.25)).sum() / 4)
        assert bound == pytest.approx(exact, abs=0.06)
        found.append(bound)
    assert found[0] > found[1] > 0


def test_a_shuffled_chain_says_nothing():
    z = drawn(chain(0.8), 100, 10, shuffled=True)
    known, later, rows = steps_ahead(z, z, torch.ones(z.shape[:2], dtype=torch.bool), 1)
    counts = torch.einsum("ni,nj->ij", known, later)
    map = (counts * counts.sum() / (counts.sum(1, keepdim=True) * counts.sum(0))).log()  # the best map there is
    loss = InfoNCE(similarity=Dot(), temperature=1.0)(known @ map, later, relation=to_later(rows, "others"))
    assert float(candidate_counts(rows, "others").double().log().mean() - loss) < 0.06


def test_what_does_not_fit_is_refused():
    with pytest.raises(ConfigError, match="cpc goes through sequences step by step, which Linear does not offer"):
        CPC(torch.nn.Linear(2, 2), CPC.Options())
    with pytest.raises(ConfigError, match="ahead"):
        CPC.Options(ahead=0)
    with pytest.raises(ValueError, match="at least one ahead"):
        steps_ahead(torch.zeros(1, 2, 1), torch.zeros(1, 2, 1), torch.ones(1, 2, dtype=torch.bool), 0)
    with pytest.raises(ValueError, match="do not match"):
        steps_ahead(torch.zeros(1, 2, 1), torch.zeros(1, 3, 1), torch.ones(1, 2, dtype=torch.bool), 1)
    with pytest.raises(ValueError, match="far is one of both, others, same"):
        to_later(torch.zeros(2, dtype=torch.long), "none")  # type: ignore[arg-type]
