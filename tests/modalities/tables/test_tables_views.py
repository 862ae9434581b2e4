"""Views of rows: what they change, how often, and that they are a function of rows and generator alone."""

from __future__ import annotations

import json

import pytest
import torch
from torch import Tensor

from nearfar.errors import ConfigError, DataError
from nearfar.modalities import find
from nearfar.modalities.tables.schema import Column
from nearfar.modalities.tables.views import RECIPES, TableRecipe, TableViews

COLUMNS = [
    Column("a", "number"),
    Column("b", "category", categories=("x", "y")),
    Column("c", "number"),
]
B = 4000


def rows(count: int = B, seed: int = 0) -> Tensor:
    """No cell is like another of its column; codes of the category have no meaning, which is nothing to views."""
    made = torch.arange(count).float()[:, None] + torch.tensor([0.25, 0.0, 0.5])
    return made[torch.randperm(count, generator=torch.Generator().manual_seed(seed))]


def view(recipe: TableRecipe, made: Tensor, strength: float = 1.0, seed: int = 0) -> Tensor:
    return TableViews(COLUMNS, 1, recipe, strength)(made, torch.Generator().manual_seed(seed))[0]


def test_a_corrupted_cell_is_that_of_the_same_column_in_another_row():
    made = rows()
    seen = view(TableRecipe(corrupt=1.0), made)
    for place in range(3):
        assert set(seen[:, place].tolist()) <= set(made[:, place].tolist())
    assert (seen != made).all()
    # Every cell is drawn for by itself: donors of the columns differ.
    donors = (seen - torch.tensor([0.25, 0.0, 0.5])).round()
    assert (donors[:, 0] == donors[:, 1]).float().mean() < 0.01
    # Donors are uniform over the other rows: in rows of ten, each of nine comes up a ninth of the time.
    ten = rows(10)
    counts = torch.zeros(10, 10)
    for seed in range(400):
        taken = view(TableRecipe(corrupt=1.0), ten, seed=seed)[:, 1]
        for row in range(10):
            counts[row, (ten[:, 1] == taken[row]).nonzero().item()] += 1
    assert counts.diagonal().sum() == 0
    others = counts[~torch.eye(10, dtype=torch.bool)]
    # chi-squared with 80 degrees of freedom: mean 80, standard deviation 12.6
    assert ((others - 400 / 9) ** 2 / (400 / 9)).sum() < 80 + 4 * 12.6


@pytest.mark.parametrize("share", [0.2, 0.6])
def test_shares_of_cells_are_as_set(share: float):
    made = rows()
    error = 4 * (share * (1 - share) / (3 * B)) ** 0.5
    assert abs((view(TableRecipe(corrupt=share), made) != made).float().mean() - share) < error
    masked = view(TableRecipe(mask=share), made)
    gone = masked.isnan() | (torch.tensor([False, True, False]) & (masked == 0))
    assert abs(gone.float().mean() - share) < error
    assert torch.equal(masked[~gone], made[~gone])
    assert not masked[:, 1].isnan().any()  # a missing category has a code


def test_noise_is_normal_on_numbers_alone_and_what_is_missing_stays_so():
    made = rows()
    made[::2, 0] = torch.nan
    seen = view(TableRecipe(noise=0.3), made)
    assert torch.equal(seen[:, 1], made[:, 1]) and torch.equal(seen[:, 0].isnan(), made[:, 0].isnan())
    added = (seen - made)[:, 2]
    assert abs(added.mean()) < 4 * 0.3 / B**0.5 and abs(added.std() - 0.3) < 4 * 0.3 / (2 * B) ** 0.5


@pytest.mark.parametrize("name", RECIPES)
def test_a_view_is_a_function_of_rows_and_generator(name: str):
    made = rows(50)
    views = TableViews(COLUMNS, 3, name)
    before, state = made.clone(), torch.get_rng_state()
    one, two = (views(made, torch.Generator().manual_seed(7)) for _ in range(2))
    assert len(one) == 3 and all(torch.equal(a.nan_to_num(9), b.nan_to_num(9)) for a, b in zip(one, two, strict=True))
    other = views(made, torch.Generator().manual_seed(8))
    assert not torch.equal(one[1].nan_to_num(9), other[1].nan_to_num(9))
    assert not torch.equal(one[1].nan_to_num(9), one[2].nan_to_num(9))
    assert torch.equal(made, before) and torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("name", RECIPES)
def test_strength_nothing_changes_nothing_and_strength_scales(name: str):
    made = rows(50)
    for seen in TableViews(COLUMNS, 2, name, strength=0)(made, torch.Generator()):
        assert torch.equal(seen, made)
    recipe = RECIPES[name][-1]
    assert recipe.at(0.5) == TableRecipe(recipe.name, recipe.corrupt / 2, recipe.mask / 2, recipe.noise / 2)
    assert recipe.at(100).corrupt == float(recipe.corrupt > 0)


def test_scarf_leaves_the_first_view_alone():
    made = rows(50)
    first, second, third = TableViews(COLUMNS, 3, "scarf")(made, torch.Generator())
    assert torch.equal(first, made) and not torch.equal(second, made) and not torch.equal(third, second)


@pytest.mark.parametrize("name", RECIPES)
def test_a_batch_of_one_row(name: str):
    one = rows(1)
    for seen in TableViews(COLUMNS, 2, name)(one, torch.Generator()):
        assert seen.shape == one.shape
    assert torch.equal(view(TableRecipe(corrupt=1.0), one), one)


@pytest.mark.parametrize("recipe", ["mixed", TableRecipe("own", 0.1, 0.2, 0.3), [TableRecipe(), TableRecipe(mask=0.5)]])
def test_settings_make_the_same_views_again(recipe):
    views = TableViews(COLUMNS, 2, recipe, strength=0.7)
    again = TableViews.from_config(json.loads(json.dumps(views.config())))
    assert again.config() == views.config()
    made = rows(20)
    for a, b in zip(views(made, torch.Generator()), again(made, torch.Generator()), strict=True):
        assert torch.equal(a.nan_to_num(9), b.nan_to_num(9))


def test_plain_rows_are_the_rows():
    made = rows(5)
    assert torch.equal(TableViews(COLUMNS).plain(made), made)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"recipe": "scraf"}, "no view recipe is called 'scraf'. Did you mean 'scarf'\\? Known: auto, scarf"),
        ({"recipe": []}, "must hold one TableRecipe"),
        ({"recipe": [TableRecipe()] * 3}, "count is 2 but 3 view recipes are listed"),
        ({"count": 0}, "count is 0"),
        ({"strength": -1.0}, "strength must be at least 0, not -1.0"),
    ],
)
def test_impossible_settings(settings: dict, message: str):
    with pytest.raises(ConfigError, match=message):
        TableViews(COLUMNS, **settings)


@pytest.mark.parametrize("values", [{"corrupt": 1.1}, {"mask": -0.1}, {"noise": -1.0}, {"noise": float("nan")}])
def test_impossible_recipes(values: dict[str, float]):
    with pytest.raises(ConfigError, match=f"'custom': {next(iter(values))} must be"):
        TableRecipe(**values)


@pytest.mark.parametrize("wrong", [torch.zeros(3), torch.zeros(2, 4), torch.zeros(2, 3, dtype=torch.uint8)])
def test_rows_of_another_kind(wrong: Tensor):
    with pytest.raises(DataError, match=r"views need float32 rows of shape \(B, 3\)"):
        TableViews(COLUMNS)(wrong, torch.Generator())


def test_every_recipe_is_named_in_the_settings():
    said = find("tables").Options.model_fields["recipe"].description
    assert said == f"of the views: auto, {', '.join(RECIPES)}"
