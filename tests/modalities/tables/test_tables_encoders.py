"""Encoders of rows: what they see of a cell, their names, and their size."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from nearfar.errors import ConfigError, DataError
from nearfar.modalities import find
from nearfar.modalities.tables.encoders import LIMIT, Cells, encoder
from nearfar.modalities.tables.schema import Column, expand

COLUMNS = [
    Column("a", "category", categories=("x", "y")),
    Column("b", "number", missing=1),
    Column("c", "number", missing=1),
    Column("d", "category", categories=("p",)),
]


def test_cells_are_numbers_flags_and_one_hot_codes():
    rows = torch.tensor([[2.0, 0.5, torch.nan, 0.0], [1.0, -99.0, 99.0, 2.0], [3.0, 0.0, 0.0, 1.0]])
    seen = Cells(COLUMNS)(rows)
    assert Cells(COLUMNS).width == seen.shape[1] == 2 + 2 + 4 + 3
    assert seen.tolist() == [
        [0.5, 0.0, 0.0, 1.0, 0, 0, 1, 0, 1, 0, 0],
        [-LIMIT, LIMIT, 0.0, 0.0, 0, 1, 0, 0, 0, 0, 1],
        [0.0, 0.0, 0.0, 0.0, 0, 0, 0, 1, 0, 1, 0],
    ]


def test_cells_hold_what_the_raw_columns_hold():
    rng = np.random.default_rng(0)
    rows = np.stack([rng.integers(0, 4, 50), rng.normal(size=50), rng.normal(size=50), rng.integers(0, 3, 50)], 1)
    rows[::7, 1] = np.nan
    rows = rows.astype(np.float32)
    raw = expand(rows, COLUMNS)
    order = [4, 6, 5, 7, 0, 1, 2, 3, 8, 9, 10]
    np.testing.assert_array_equal(Cells(COLUMNS)(torch.from_numpy(rows)).numpy(), raw[:, order])


@pytest.mark.parametrize("kinds", [["number"], ["category"]])
def test_tables_of_one_kind(kinds: list):
    columns = [Column(kind, kind, categories=("x",)) for kind in kinds]
    net = encoder("mlp-8x1", columns)[1]
    assert net(torch.ones(4, 1)).shape == (4, 8)


@pytest.mark.parametrize(
    ("name", "full", "width", "layers"),
    [
        ("mlp", "mlp-256x4", 256, 4),
        ("mlp-64", "mlp-64x4", 64, 4),
        ("mlp-512x3", "mlp-512x3", 512, 3),
        ("mlp-7x1", "mlp-7x1", 7, 1),
    ],
)
def test_names(name: str, full: str, width: int, layers: int):
    made, net = encoder(name, COLUMNS)
    assert made == full and net.width == width
    assert sum(isinstance(part, nn.Linear) for part in net) == layers
    assert encoder(made, COLUMNS)[0] == full
    assert net(torch.zeros(3, 4)).shape == (3, width)


@pytest.mark.parametrize("name", ["mpl", "mlp-", "mlp-0", "mlp-8x0", "mlp-8x4x2", "small", "mlp-99999999x2"])
def test_unknown_names(name: str):
    with pytest.raises(ConfigError, match=f"no table encoder is called '{name}'. Known: mlp, mlp-WIDTH"):
        encoder(name, COLUMNS)


def test_the_same_seed_gives_the_same_weights():
    nets = []
    for _ in range(2):
        torch.manual_seed(3)
        nets.append(encoder("mlp-8x2", COLUMNS)[1].state_dict())
    assert all(torch.equal(nets[0][key], nets[1][key]) for key in nets[0])


def test_rows_of_another_width_and_facts_without_columns():
    with pytest.raises(DataError, match=r"takes rows of 4 columns, not of shape \(2, 3\)"):
        encoder("mlp-8x1", COLUMNS)[1](torch.zeros(2, 3))
    with pytest.raises(DataError, match="these rows say nothing of their columns; read them with"):
        find("tables").encoder(None, {"shape": [4]})
