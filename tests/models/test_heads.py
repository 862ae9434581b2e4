from __future__ import annotations

import pytest
import torch
from torch import nn

from nearfar.errors import ConfigError
from nearfar.models import NonNegative, projector


def test_layers_and_parameter_count_are_those_of_the_simclr_head() -> None:
    head = projector(16, 32, 8)
    assert [type(part) for part in head] == [nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Linear]
    assert sum(p.numel() for p in head.parameters()) == 16 * 32 + 2 * 32 + 32 * 8 + 8


def test_simsiam_head_ends_in_a_norm_without_scale() -> None:
    head = projector(16, 32, 8, layers=3, last_norm=True)
    assert isinstance(head[-1], nn.BatchNorm1d) and not head[-1].affine
    out = head(torch.randn(64, 16, generator=torch.Generator().manual_seed(0)))
    assert torch.allclose(out.mean(0), torch.zeros(8), atol=1e-5)
    assert torch.allclose(out.var(0, correction=0), torch.ones(8), atol=1e-2)


def test_without_norm_a_row_does_not_depend_on_the_others() -> None:
    head = projector(16, 32, 8, norm="none")
    rows = torch.randn(5, 16, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(head(rows)[:2], head(rows[:2]), atol=1e-6)
    assert head[0].bias is not None


def test_bias_of_the_last_layer() -> None:
    assert projector(4, 4, 2, last_bias=False)[-1].bias is None
    assert projector(4, 4, 2, layers=1)[0].bias is not None


@pytest.mark.parametrize("wrong", [{"layers": 0}, {"hidden": 0}, {"norm": "layer"}])
def test_impossible_heads_are_refused_by_name(wrong: dict) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        projector(**{"width": 4, "hidden": 4, "out": 2, **wrong})


@pytest.mark.parametrize("kind", ["relu", "rep_relu"])
def test_non_negative_projections_are_those_of_relu(kind: str) -> None:
    rows = torch.randn(50, 7, generator=torch.Generator().manual_seed(0))
    assert torch.equal(NonNegative(kind)(rows), rows.clamp_min(0))
    made = projector(16, 32, 8, activation=kind)(torch.randn(20, 16))
    assert bool((made >= 0).all()) and bool((made == 0).any())
    unit = torch.nn.functional.normalize(made, dim=1)
    assert bool((unit @ unit.T >= 0).all())


def test_the_gradient_of_rep_relu_is_that_of_gelu() -> None:
    rows = torch.linspace(-3, 3, 13, dtype=torch.float64).requires_grad_()
    (slope,) = torch.autograd.grad(NonNegative("rep_relu")(rows).sum(), rows)
    (smooth,) = torch.autograd.grad(torch.nn.functional.gelu(rows).sum(), rows)
    torch.testing.assert_close(slope, smooth)
    (plain,) = torch.autograd.grad(NonNegative("relu")(rows).sum(), rows)
    assert slope[rows < 0].all() and not plain[rows < 0].any()


def test_unknown_activations_are_refused() -> None:
    with pytest.raises(ConfigError, match="unknown activation 'gelu'"):
        projector(4, 4, 2, activation="gelu")
