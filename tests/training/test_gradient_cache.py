"""The gradient cache as the training loop uses it; what the battery of objectives says is not repeated here."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import nearfar
from nearfar.training.cache import step_gradients
from nearfar.training.rng import torch_state


class Model(nn.Module):
    """Encoder with dropout; a predictor and a temperature that only the objective uses."""

    def __init__(self, norm: str = "layer", dropout: float = 0.3) -> None:
        super().__init__()
        torch.manual_seed(0)
        norms = {"layer": nn.LayerNorm(16), "none": nn.Identity(), "batch": nn.BatchNorm1d(16)}
        self.encoder = nn.Sequential(
            nn.Linear(5, 16), norms[norm], nn.ReLU(), nn.Dropout(dropout), nn.Linear(16, 7), nn.Dropout(dropout)
        )
        self.predictor = nn.Linear(7, 7)
        self.log_temperature = nn.Parameter(torch.tensor(-0.7))
        self.double()

    def loss_of(self, projections: list[Any]) -> Tensor:
        first, second = [p["projection"] if isinstance(p, dict) else p for p in projections]
        first = F.dropout(self.predictor(first), 0.2)  # random numbers in the objective must not disturb the replay
        scores = F.normalize(first, dim=1) @ F.normalize(second, dim=1).T / self.log_temperature.exp()
        return F.cross_entropy(scores, torch.arange(len(scores)))

    def as_dict(self, rows: Tensor) -> dict[str, Tensor]:
        embedding = self.encoder[:3](rows)
        frozen = embedding.detach().mean(1)
        return {
            "projection": self.encoder[3:](embedding),
            "unused": embedding,
            "frozen": frozen,
            "row": rows[:, 0].long(),
        }

    def gradients(self) -> dict[str, Tensor]:
        return {name: p.grad.clone() for name, p in self.named_parameters() if p.grad is not None}


def views(count: int = 11) -> list[Tensor]:
    generator = torch.Generator().manual_seed(3)
    return [torch.randn(count, 5, generator=generator, dtype=torch.float64) for _ in range(2)]


NEVER_ONE = {(11, 5): [5, 4, 2], (11, 10): [9, 2]}  # where the last row would be alone


def joined(project: Any, size: int) -> Any:
    """The oracle: the same chunks in the same order, all activations kept, and one ordinary backward."""

    def whole(rows: Tensor) -> Any:
        parts = [project(chunk) for chunk in rows.split(NEVER_ONE.get((len(rows), size), size))]
        if isinstance(parts[0], dict):
            return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        return torch.cat(parts)

    return whole


def close(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    assert first.keys() == second.keys() and first
    for name in first:
        torch.testing.assert_close(first[name], second[name], rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("size", [1, 2, 4, 5, 10, 11, 50])
@pytest.mark.parametrize("as_dict", [False, True])
def test_gradients_are_those_of_the_plain_step(size: int, as_dict: bool) -> None:
    results = []
    for cached in (False, True):
        model = Model()
        project = model.as_dict if as_dict else model.encoder
        torch.manual_seed(9)
        if cached:
            projections = step_gradients(project, views(), model.loss_of, size)
        else:
            projections = step_gradients(joined(project, size), views(), model.loss_of, None)
        results.append((model.gradients(), projections, torch_state()["cpu"]))
    close(results[0][0], results[1][0])
    assert {"predictor.weight", "log_temperature"} < results[1][0].keys()
    for one, two in zip(results[0][1], results[1][1], strict=True):
        if as_dict:
            assert all(torch.equal(one[name], two[name]) and not two[name].requires_grad for name in one)
        else:
            assert torch.equal(one, two) and not two.requires_grad
    assert torch.equal(results[0][2], results[1][2])  # and the random numbers go on as if nothing had been replayed


@pytest.mark.parametrize("norm", ["layer", "none"])
def test_without_dropout_the_size_of_the_chunks_does_not_matter(norm: str) -> None:
    results = []
    for size in (None, 3, 8):
        model = Model(norm, dropout=0.0)
        torch.manual_seed(9)
        if size is None:
            step_gradients(model.encoder, views(), model.loss_of, None)
        else:
            step_gradients(model.encoder, views(), model.loss_of, size)
        results.append(model.gradients())
    close(results[0], results[1])
    close(results[0], results[2])


def test_gradients_add_up_as_backward_does() -> None:
    model = Model(dropout=0.0)
    for _ in range(2):
        torch.manual_seed(9)
        step_gradients(model.encoder, views(), model.loss_of, 4)
    single = Model(dropout=0.0)
    torch.manual_seed(9)
    step_gradients(single.encoder, views(), single.loss_of, 4)
    close(model.gradients(), {name: 2 * value for name, value in single.gradients().items()})


def test_running_statistics_move_once_per_chunk() -> None:
    model, oracle = Model("batch", dropout=0.0), Model("batch", dropout=0.0)
    step_gradients(model.encoder, views(), model.loss_of, 4)
    with torch.no_grad():
        for view in views():
            for chunk in view.split(4):
                oracle.encoder(chunk)
    norm, expected = model.encoder[1], oracle.encoder[1]
    assert norm.num_batches_tracked == 6 and norm.track_running_stats
    assert torch.equal(norm.running_mean, expected.running_mean)
    assert torch.equal(norm.running_var, expected.running_var)


def test_a_frozen_norm_uses_its_running_statistics_in_both_passes() -> None:
    results = []
    for cached in (False, True):
        model = Model("batch", dropout=0.0)
        model.encoder[1].running_mean.fill_(0.5)
        model.encoder[1].eval()
        torch.manual_seed(9)
        if cached:
            step_gradients(model.encoder, views(), model.loss_of, 4)
        else:
            step_gradients(model.encoder, views(), model.loss_of, None)
        results.append(model.gradients())
    close(*results)


def test_statistics_of_an_encoder_inside_a_function_move_once_too() -> None:
    model, oracle = Model("batch", dropout=0.0), Model("batch", dropout=0.0)
    value = nearfar.cached(lambda z: z.square().sum(), (lambda rows: model.encoder(rows), views()[0]), micro_batch=4)
    after_forward = model.encoder[1].running_mean.clone()
    value.backward()
    for chunk in views()[0].split(4):
        oracle.encoder(chunk)
    assert torch.equal(after_forward, oracle.encoder[1].running_mean)
    assert torch.equal(model.encoder[1].running_mean, after_forward) and model.encoder[1].num_batches_tracked == 3
