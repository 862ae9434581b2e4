"""Encoders of table rows by name, randomly initialised: a multilayer perceptron over numbers and one-hot categories."""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nearfar.errors import ConfigError, DataError

from .schema import FIRST, Column

NAME = re.compile(r"mlp(?:-(\d+)(?:x(\d+))?)?")
WIDTH, DEPTH = 256, 4
LIMIT = 10.0  # numbers further than so many scales from the median count as so far


class Cells(nn.Module):
    """Rows (B, C) to the input of a net (B, width): numbers, their missing flags, and categories one-hot.

    A missing number is its median, 0, and has its flag set. Numbers end at `LIMIT` on both sides, so that no outlier
    outweighs a whole row.
    """

    number: Tensor
    category: Tensor
    offset: Tensor

    def __init__(self, columns: Sequence[Column]) -> None:
        super().__init__()
        sizes = [FIRST + len(column.categories) if column.kind == "category" else 0 for column in columns]
        kinds = torch.tensor([size > 0 for size in sizes])
        ends = torch.tensor(sizes).cumsum(0)
        self.register_buffer("number", (~kinds).nonzero()[:, 0], persistent=False)
        self.register_buffer("category", kinds.nonzero()[:, 0], persistent=False)
        self.register_buffer("offset", (ends - torch.tensor(sizes))[kinds], persistent=False)
        self.columns, self.codes = len(columns), int(ends[-1])
        self.width = 2 * len(self.number) + self.codes

    def forward(self, rows: Tensor) -> Tensor:
        """(B, C) -> (B, width)."""
        if rows.ndim != 2 or rows.shape[1] != self.columns:
            raise DataError(f"the encoder takes rows of {self.columns} columns, not of shape {tuple(rows.shape)}")
        numbers = rows[:, self.number]
        filled = numbers.nan_to_num(nan=0.0).clamp(-LIMIT, LIMIT)
        places = rows[:, self.category].long() + self.offset
        codes = rows.new_zeros(len(rows), self.codes).scatter_(1, places, 1.0)
        return torch.cat([filled, numbers.isnan().to(rows.dtype), codes], dim=1)


class MLP(nn.Sequential):
    """Layers of a linear map, batch normalisation and ReLU over the cells of a row: (B, C) -> (B, width)."""

    def __init__(self, columns: Sequence[Column], width: int = WIDTH, depth: int = DEPTH) -> None:
        cells = Cells(columns)
        layers: list[nn.Module] = [cells]
        for before in (cells.width, *(depth - 1) * (width,)):
            layers += [nn.Linear(before, width, bias=False), nn.BatchNorm1d(width), nn.ReLU(True)]
        super().__init__(*layers)
        self.width = width


def encoder(name: str, columns: Sequence[Column]) -> tuple[str, nn.Module]:
    """Build an encoder: rows float32 (B, C) -> embeddings (B, width), with attribute `width`; and its full name.

    Weights come from torch's global generator (same seed, same weights).

    Args:
        name: "mlp" (4 layers of 256), "mlp-512" or "mlp-512x3" (3 layers of 512).
        columns: the schema.

    Raises:
        ConfigError: no such encoder.

    >>> name, net = encoder("mlp-32x2", [Column("age", "number"), Column("job", "category", categories=("cook",))])
    >>> name, net(torch.tensor([[0.5, 2.0], [torch.nan, 0.0]])).shape
    ('mlp-32x2', torch.Size([2, 32]))
    """
    found = NAME.fullmatch(name)
    width, depth = (int(found[1] or WIDTH), int(found[2] or DEPTH)) if found else (0, 0)
    if not (1 <= width <= 65536 and 1 <= depth <= 64):
        raise ConfigError(f"no table encoder is called {name!r}. Known: mlp, mlp-WIDTH, mlp-WIDTHxDEPTH (mlp-512x3)")
    return f"mlp-{width}x{depth}", MLP(columns, width, depth)
