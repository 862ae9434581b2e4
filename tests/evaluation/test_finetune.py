from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nearfar.errors import ConfigError, DataError
from nearfar.evaluation import compare, finetune_probe, linear_probe
from nearfar.evaluation.evaluate import Evaluation
from nearfar.evaluation.finetune import _batches
from nearfar.training.rng import global_state


class Noisy:
    """Views that add noise, and remember what they were asked."""

    def __init__(self) -> None:
        self.viewed = self.plainly = 0

    def __call__(self, rows: Tensor, generator: torch.Generator) -> list[Tensor]:
        self.viewed += len(rows)
        return [self.plain(rows) + 0.1 * torch.randn(rows.shape, generator=generator), torch.full((1,), torch.nan)]

    def plain(self, rows: Tensor) -> Tensor:
        self.plainly += len(rows)
        return rows.float()


def exclusive_or(n: int, seed: int) -> tuple[Callable[[np.ndarray], Tensor], np.ndarray]:
    """Rows whose class is whether two of eight numbers have the same sign: no linear classifier tells."""
    rows = np.random.default_rng(seed).standard_normal((n, 8)).astype(np.float32)
    rows[:, :2] = np.sign(rows[:, :2]) * (1 + np.abs(rows[:, :2]))
    return lambda index: torch.from_numpy(rows[index]), (rows[:, 0] * rows[:, 1] > 0).astype(np.int64)


def net(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, 4))


TRAIN, Y = exclusive_or(400, 0)
TEST, TRUTH = exclusive_or(200, 1)


def test_it_learns_what_the_frozen_encoder_cannot_tell() -> None:
    encoder = net().eval()
    with torch.no_grad():
        x, z = (encoder(rows(np.arange(n))).numpy() for rows, n in ((TRAIN, 400), (TEST, 200)))
    frozen = linear_probe(x, Y, z, TRUTH, resamples=20).report
    found = finetune_probe(encoder, Noisy(), TRAIN, Y, TEST, TRUTH, steps=150, lr=1e-2, resamples=200)
    accuracy = found.report.metrics["accuracy"]
    assert accuracy.value > 0.95 > 0.8 > frozen.metrics["accuracy"].value
    assert accuracy.value == pytest.approx((found.predictions == TRUTH).mean())
    assert accuracy.name == "fine-tuned accuracy" and accuracy.settings["train"] == 400
    assert found.draws[0]["first_loss"] == pytest.approx(np.log(2), rel=1e-6)  # the head starts from zero
    assert found.draws[0]["last_loss"] < 0.3


def test_the_encoder_and_every_generator_stay_as_they_were() -> None:
    encoder = net().train()
    encoder[0].weight.requires_grad_(False)
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    torch.manual_seed(5), np.random.seed(5), random.seed(5)
    state = {key: value.clone() for key, value in global_state().items()}
    finetune_probe(encoder, Noisy(), TRAIN, Y, TEST, TRUTH, steps=5, resamples=5)
    assert all(torch.equal(value, state[key]) for key, value in global_state().items())
    assert all(torch.equal(value, before[key]) for key, value in encoder.state_dict().items())
    assert encoder.training and not encoder[0].weight.requires_grad and encoder[0].weight.grad is None


def test_the_same_seed_gives_the_same_result_whatever_came_before() -> None:
    runs = []
    for noise in (1, 2):
        torch.manual_seed(noise)
        runs.append(finetune_probe(net(), Noisy(), TRAIN, Y, TEST, TRUTH, steps=12, resamples=5))
    other = finetune_probe(net(), Noisy(), TRAIN, Y, TEST, TRUTH, steps=12, seed=1, resamples=5)
    assert runs[0].draws == runs[1].draws and (runs[0].predictions == runs[1].predictions).all()
    assert runs[0].draws[0]["last_loss"] != other.draws[0]["last_loss"]


def test_few_labels_several_draws() -> None:
    found = finetune_probe(net(), Noisy(), TRAIN, Y, TEST, TRUTH, steps=10, per_class=6, draws=3, resamples=100)
    assert found.predictions.shape == (3, 200)
    assert [draw["train"] for draw in found.draws] == [12, 12, 12]
    assert found.report.metrics["accuracy"].value == pytest.approx(np.mean([d["accuracy"] for d in found.draws]))
    assert found.report.metrics["accuracy"].settings["batch_size"] == 12
    alone = finetune_probe(net(), Noisy(), TRAIN, Y, TEST, TRUTH, steps=10, per_class=6, seed=1, resamples=5)
    assert (alone.predictions == found.predictions[1]).all()


def test_unknown_labels_are_left_out_of_training_and_of_scoring() -> None:
    labels, truth = Y.copy(), TRUTH.copy()
    labels[100:], truth[50:] = -1, -1
    seen: set[int] = set()

    def watched(index: np.ndarray) -> Tensor:
        if len(index) == 10:  # a training batch
            seen.update(index.tolist())
        return TRAIN(index)

    found = finetune_probe(net(), Noisy(), watched, labels, TEST, truth, steps=30, batch_size=10, resamples=5)
    assert found.report.metrics["accuracy"].n == 50 and found.draws[0]["train"] == 100
    assert seen == set(range(100))


def test_labels_never_trained_on_count_as_errors_and_keep_their_numbers() -> None:
    found = finetune_probe(net(), Noisy(), TRAIN, 10 + 5 * Y, TEST, np.full(200, 3), steps=2, resamples=5)
    assert set(found.predictions) <= {10, 15} and found.report.metrics["accuracy"].value == 0


@pytest.mark.parametrize(("share", "low", "high"), [(0.0, 0, 0), (0.5, 500, 780), (1.0, 1280, 1280)])
def test_the_share_of_random_views(share: float, low: int, high: int) -> None:
    views = Noisy()
    finetune_probe(net(), views, TRAIN, Y, TEST, TRUTH, steps=20, view_share=share, resamples=5)
    assert low <= views.viewed <= high


def test_every_row_is_seen_once_before_any_is_seen_twice() -> None:
    batches = _batches(10, 4, 5, seed=3)
    order = np.concatenate(batches)
    assert [len(batch) for batch in batches] == [4] * 5
    assert sorted(order[:10]) == sorted(order[10:]) == list(range(10))


def test_progress_counts_steps_of_all_draws() -> None:
    seen: list[tuple[int, int]] = []
    finetune_probe(
        net(), Noisy(), TRAIN, Y, TEST, TRUTH, steps=2, draws=2, resamples=5, progress=lambda *s: seen.append(s)
    )
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_a_fine_tuned_encoder_is_compared_row_by_row() -> None:
    one, two = Evaluation(), Evaluation()
    good = finetune_probe(net(), Noisy(), TRAIN, Y, TEST, TRUTH, steps=150, lr=1e-2, resamples=20)
    one.add("finetune", good.report, ["other", "same"])
    two.add("finetune", finetune_probe(net(), Noisy(), TRAIN, Y, TEST, TRUTH, steps=1, resamples=20).report)
    difference = compare(one, two)["finetune_accuracy"]
    values = [e.metrics["finetune_accuracy"].value for e in (one, two)]
    assert difference.value == pytest.approx(values[0] - values[1]) and difference.low > 0
    assert one.table_of == "finetune" and one.class_names == ["other", "same"]


def test_bad_input_says_what_to_do() -> None:
    def probe(labels: np.ndarray = Y, truth: np.ndarray = TRUTH, **settings: float) -> None:
        finetune_probe(net(), Noisy(), TRAIN, labels, TEST, truth, **settings)  # type: ignore[arg-type]

    with pytest.raises(DataError, match="two classes or more"):
        probe(labels=np.zeros(400, dtype=int))
    with pytest.raises(DataError, match="labelled rows to score"):
        probe(truth=np.full(200, -1))
    with pytest.raises(DataError, match=r"class \d has \d+ training rows, 390 are needed to fine-tune; choose"):
        probe(per_class=390)
    with pytest.raises(DataError, match=r"not finite at step \d+; choose a smaller lr than 1e\+30"):
        probe(lr=1e30, steps=20)
    for setting in ({"steps": 0}, {"lr": 0.0}, {"batch_size": 1}, {"draws": 0}, {"per_class": 0}, {"view_share": 2.0}):
        with pytest.raises(ConfigError):
            probe(**setting)
