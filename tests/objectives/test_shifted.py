"""What contrast about a centre promises beyond the battery."""

from __future__ import annotations

import json

import pytest
import torch
from cases import rows
from torch import Tensor

from nearfar.contrast import Cosine, ShiftedCosine
from nearfar.evaluation import anomaly_scores, auroc
from nearfar.objectives import MeanShifted, NTXent, SupCon, build


def test_from_the_origin_it_is_nt_xent_and_any_objective_can_be_seen_from_a_centre():
    a, b = rows(0, 6), rows(1, 6)
    torch.testing.assert_close(MeanShifted()(a, b), NTXent(temperature=0.25)(a, b))
    seen = ShiftedCosine.around(a)
    at = MeanShifted(similarity=seen)
    torch.testing.assert_close(at(a, b), NTXent(similarity=seen, temperature=0.25)(a, b))
    labels = torch.tensor([0, 1, 0, 1, 2, 2])
    assert not torch.allclose(
        SupCon(similarity=seen)(a, b, labels=labels), SupCon(similarity=Cosine())(a, b, labels=labels)
    )


def test_the_centre_stands_in_the_configuration():
    made = MeanShifted(similarity=ShiftedCosine.around(rows(0, 6)))
    again = build(json.loads(json.dumps(made.config())))
    assert again.similarity == made.similarity and "ShiftedCosine(3 numbers)" in repr(made)


def test_another_similarity_is_refused():
    with pytest.raises(ValueError, match=r"needs a ShiftedCosine for its similarity, not Cosine\(\)"):
        MeanShifted(similarity=Cosine())


def trained(objective: NTXent, normal: Tensor, steps: int = 60) -> torch.nn.Linear:
    """A linear map of pretrained features, the identity at first, tuned on normal rows with noise for views."""
    encoder = torch.nn.Linear(normal.shape[1], normal.shape[1], bias=False).double()
    torch.nn.init.eye_(encoder.weight)
    optimiser, generator = torch.optim.SGD(encoder.parameters(), lr=0.5), torch.Generator().manual_seed(0)
    for _ in range(steps):
        views = [normal + 0.1 * torch.randn(normal.shape, generator=generator, dtype=normal.dtype) for _ in range(2)]
        optimiser.zero_grad()
        objective(*(encoder(view) for view in views)).backward()
        optimiser.step()
    return encoder


def test_features_of_one_kind_stay_together_where_nt_xent_scatters_them():
    """Normal rows lie about one direction, anomalies about another; both are noisy."""
    kind = 2 * torch.eye(16, dtype=torch.float64)[0]
    other = kind + 1.2 * torch.eye(16, dtype=torch.float64)[1]
    normal, test = kind + 0.5 * rows(0, 64, 16), kind + 0.5 * rows(1, 64, 16)
    anomalies = other + 0.5 * rows(2, 64, 16)

    def area(encoder: torch.nn.Module) -> float:
        with torch.no_grad():
            bank, seen = encoder(normal), encoder(torch.cat([test, anomalies]))
        return auroc(anomaly_scores(bank, seen), [0] * 64 + [1] * 64)

    at_start = area(torch.nn.Identity())
    shifted = area(trained(MeanShifted(similarity=ShiftedCosine.around(normal)), normal))
    plain = area(trained(NTXent(temperature=0.25), normal))
    assert shifted > at_start and plain < at_start - 0.03
