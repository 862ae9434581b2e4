"""SimCLR with several heads, each pair of rows with a temperature of its own in each of them."""

from __future__ import annotations

import math

import pytest
import torch
from test_recipes import batch, made
from torch import Tensor
from torch.nn.functional import normalize

from nearfar.errors import ConfigError
from nearfar.methods import SimCLR


def by_hand(views: list[dict[str, Tensor]], heads: int, width: int, price: float) -> tuple[float, float]:
    """NT-Xent with logits summed over heads, and the mean price of all temperatures of pairs, by loops."""
    z = torch.cat([view["projection"] for view in views]).tolist()
    k = torch.cat([view["codes"] for view in views]).tolist()
    rows, items, codes = len(z), len(z) // 2, len(k[0]) // heads

    def cosine(a: list[float], b: list[float]) -> float:
        return sum(x * y for x, y in zip(a, b, strict=True)) / math.hypot(*a) / math.hypot(*b)

    values, prices = [], []
    for i in range(rows):
        logits = {}
        for j in range(rows):
            if i == j:
                continue
            logits[j] = 0.0
            for c in range(heads):
                dims, code = slice(c * width, (c + 1) * width), slice(c * codes, (c + 1) * codes)
                product = sum(x * y for x, y in zip(k[i][code], k[j][code], strict=True))
                t = 0.05 + 1.95 / (1 + math.exp(-product))
                logits[j] += cosine(z[i][dims], z[j][dims]) / t
                prices.append(math.log(t) * width / 2 + 1 / t)
        values.append(math.log(sum(math.exp(v) for v in logits.values())) - logits[(i + items) % rows])
    return sum(values) / rows, price * sum(prices) / len(prices)


@pytest.mark.parametrize(("heads", "price"), [(1, 0.1), (3, 0.5)])
def test_heads_are_as_by_hand(heads: int, price: float):
    method = made("simclr", heads=heads, price=price)
    rows = batch()
    views = [method.project(view) for view in rows.views]
    assert views[0]["projection"].shape == (8, 3 * heads)
    said = method.contrast(views, rows)
    contrast, priced = by_hand([{n: z.detach() for n, z in view.items()} for view in views], heads, 3, price)
    assert float(said.terms["contrast"].detach()) == pytest.approx(contrast, abs=1e-9)
    assert float(said.terms["temperatures"].detach()) == pytest.approx(priced, abs=1e-9)
    assert float(said.loss.detach()) == pytest.approx(contrast + priced, abs=1e-9)
    said.loss.backward()
    for name, weight in method.named_parameters():
        assert weight.grad is not None and weight.grad.abs().sum() > 0, name


def test_temperatures_of_pairs_are_those_of_the_loss():
    method = made("simclr", heads=2, price=1.0)
    codes = torch.randn(4, 16, dtype=torch.float64)
    told = method.objective.temperatures(codes, codes)  # type: ignore[operator]
    product = float(codes[1, 8:] @ codes[2, 8:])
    assert told.shape == (2, 4, 4)
    assert float(told[1, 1, 2]) == pytest.approx(0.05 + 1.95 / (1 + math.exp(-product)), abs=1e-12)
    z = torch.randn(4, 6, dtype=torch.float64)
    rows = normalize(z, dim=1)
    price = method.objective.inspect(torch.cat([rows, codes], 1), torch.cat([rows, codes], 1)).terms["temperatures"]
    every = method.objective.temperatures(codes.repeat(2, 1), codes.repeat(2, 1))  # type: ignore[operator]
    off = ~torch.eye(8, dtype=torch.bool)
    assert float(price) == pytest.approx(float((every.log() * 3 / 2 + 1 / every)[:, off].mean()), abs=1e-9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"heads": 3, "temperature": 0.1}, "leave out temperature"),
        ({"heads": 3, "objective": "DCL"}, "leave out objective"),
        ({"heads": 3, "activation": "relu"}, "leave out activation"),
        ({"heads": 3, "teacher": "small", "drop_alike": 0.1}, "leave out teacher"),
        ({"price": 0.2}, "set heads, or leave it out"),
    ],
)
def test_what_does_not_go_with_heads_is_refused(options: dict[str, object], message: str):
    with pytest.raises(ConfigError, match=message):
        SimCLR.Options(**options)
