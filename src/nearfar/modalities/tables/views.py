"""Random views of table rows: cells corrupted by other rows' cells, masked, or with noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from difflib import get_close_matches
from typing import Any

import torch
from torch import Tensor

from nearfar.errors import ConfigError, DataError

from .schema import MISSING, Column


@dataclass(frozen=True)
class TableRecipe:
    """How one random view of a row is made. Every cell is drawn for by itself, and is changed as a whole.

    Args:
        name: a label for logs and `config()`.
        corrupt: probability that a cell takes the cell of the same column in another row of the batch.
        mask: probability that a cell becomes missing.
        noise: standard deviation of the normal noise on numbers, in units of their scale.

    Raises:
        ConfigError: a probability outside [0, 1], or negative noise.
    """

    name: str = "custom"
    corrupt: float = 0.0
    mask: float = 0.0
    noise: float = 0.0

    def __post_init__(self) -> None:
        for field, most in (("corrupt", 1.0), ("mask", 1.0), ("noise", float("inf"))):
            value = getattr(self, field)
            if not 0 <= value <= most:
                allowed = "between 0 and 1" if most == 1 else "at least 0"
                raise ConfigError(f"view recipe {self.name!r}: {field} must be {allowed}, not {value!r}")

    def at(self, strength: float) -> TableRecipe:
        """The same recipe at another strength: 1 is this one, 0 leaves the row alone; probabilities end at 1."""
        if strength < 0:
            raise ConfigError(f"strength must be at least 0, not {strength!r}")
        return replace(
            self,
            corrupt=min(self.corrupt * strength, 1.0),
            mask=min(self.mask * strength, 1.0),
            noise=self.noise * strength,
        )


# The recipes of successive views; the last one serves all further views.
RECIPES: dict[str, tuple[TableRecipe, ...]] = {
    # Bahri et al. 2022, SCARF: the row itself, and a row of which 60 % of the cells are corrupted
    "scarf": (TableRecipe("scarf"), TableRecipe("scarf", corrupt=0.6)),
    "corrupt": (TableRecipe("corrupt", corrupt=0.3),),
    "mask": (TableRecipe("mask", mask=0.3),),
    "noise": (TableRecipe("noise", noise=0.3),),
    "mixed": (TableRecipe("mixed", corrupt=0.2, mask=0.1, noise=0.1),),
}


class TableViews:
    """Make random views of a batch of rows: a pure function of (batch, generator).

    Args:
        columns: the schema; only the kinds matter.
        count: how many views.
        recipe: a name from `RECIPES`, a `TableRecipe`, or one for every view.
        strength: scales the recipe; 0 leaves the rows alone.

    Raises:
        ConfigError: an unknown recipe, or impossible numbers.

    >>> views = TableViews([Column("age", "number"), Column("job", "category")], count=2, recipe="mask", strength=9)
    >>> views(torch.tensor([[0.5, 3.0]]), torch.Generator())[0].tolist()
    [[nan, 0.0]]
    """

    def __init__(
        self,
        columns: Sequence[Column],
        count: int = 2,
        recipe: str | TableRecipe | Sequence[TableRecipe] = "scarf",
        strength: float = 1.0,
    ) -> None:
        listed = _resolve(recipe)
        if count < 1 or (not isinstance(recipe, str) and count < len(listed)):
            raise ConfigError(f"count is {count} but {len(listed)} view recipes are listed")
        self.kinds = [column.kind for column in columns]
        self.count, self.strength = count, strength
        self.recipes = [listed[min(i, len(listed) - 1)] for i in range(count)]
        self._active = [recipe.at(strength) for recipe in self.recipes]
        self._number = torch.tensor([kind == "number" for kind in self.kinds])
        self._missing = torch.where(self._number, torch.nan, float(MISSING))

    def __call__(self, rows: Tensor, generator: torch.Generator, part: slice = slice(None)) -> list[Tensor]:
        """Views of a batch.

        Args:
            rows: float32 (B, C), on any device.
            generator: where all random numbers come from; it may live on another device than `rows`.
            part: of which rows views are wanted; each gets what it would get among all, cells of any other row too.

        Returns:
            `count` tensors (B, C). A lone row has no other to take cells from, and is not corrupted.

        Raises:
            DataError: `rows` has another type or shape.
        """
        rows = self.plain(rows)
        # Cells are cheaper to change than to leave out: numbers are drawn for all of them in any case.
        return [self._view(rows, recipe, generator)[part] for recipe in self._active]

    def plain(self, rows: Tensor) -> Tensor:
        """Rows as they are."""
        if rows.dtype != torch.float32 or rows.ndim != 2 or rows.shape[1] != len(self.kinds):
            raise DataError(
                f"views need float32 rows of shape (B, {len(self.kinds)}), "
                f"not {str(rows.dtype).removeprefix('torch.')} of shape {tuple(rows.shape)}"
            )
        return rows

    def config(self) -> dict[str, Any]:
        """All settings, ready for JSON; `TableViews.from_config` makes the same views again."""
        recipes = [asdict(recipe) for recipe in self.recipes]
        return {"kinds": self.kinds, "count": self.count, "recipe": recipes, "strength": self.strength}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> TableViews:
        """Views from the result of `config`."""
        columns = [Column(str(place), kind) for place, kind in enumerate(config["kinds"])]
        recipes = [TableRecipe(**values) for values in config["recipe"]]
        return cls(columns, config["count"], recipes, config["strength"])

    def _view(self, rows: Tensor, recipe: TableRecipe, generator: torch.Generator) -> Tensor:
        number, missing = self._number.to(rows.device), self._missing.to(rows.device)
        view, count = rows, len(rows)

        def chosen(probability: float) -> Tensor:
            return _drawn(torch.rand, rows.shape, generator, rows.device) < probability

        if recipe.corrupt > 0 and count > 1:
            # A step of 1 to B - 1 rows never leads back to the row itself.
            step = (_drawn(torch.rand, rows.shape, generator, rows.device) * (count - 1)).long() + 1
            here = torch.arange(count, device=rows.device)[:, None]
            donors = rows.gather(0, (here + step.clamp_(max=count - 1)) % count)
            view = torch.where(chosen(recipe.corrupt), donors, view)
        if recipe.mask > 0:
            view = torch.where(chosen(recipe.mask), missing, view)
        if recipe.noise > 0:
            noise = _drawn(torch.randn, rows.shape, generator, rows.device)
            view = view + recipe.noise * noise * number  # what is missing stays so
        return view


def _drawn(draw: Any, shape: Sequence[int], generator: torch.Generator, device: torch.device) -> Tensor:
    numbers: Tensor = draw(tuple(shape), generator=generator, device=generator.device)
    return numbers.to(device)


def _resolve(recipe: str | TableRecipe | Sequence[TableRecipe]) -> tuple[TableRecipe, ...]:
    if isinstance(recipe, TableRecipe):
        return (recipe,)
    if isinstance(recipe, str):
        if recipe not in RECIPES:
            near = get_close_matches(recipe, RECIPES, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise ConfigError(f"no view recipe is called {recipe!r}.{hint} Known: auto, {', '.join(RECIPES)}.")
        return RECIPES[recipe]
    listed: list[Any] = list(recipe)
    if not listed or not all(isinstance(one, TableRecipe) for one in listed):
        raise ConfigError("a list of view recipes must hold one TableRecipe for each view")
    return tuple(listed)
