"""SogCLR and ISogCLR with tables: what a row of an item says after some batches, against plain loops."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from cases import rows
from golden import A, B
from torch import Tensor
from torch.nn.functional import normalize

from nearfar.contrast import Composition, LearnedTemperature, Strategy
from nearfar.objectives import DCL, ISogCLR, SogCLR

ITEMS = 9
# Items come back, one stands in a batch twice, and -1 is unknown.
BATCHES = [[3, 1, 7, 0, 5], [1, 3, 2, 8, 0], [7, 7, 3, 1, 4], [0, -1, 2, 5, 3], [3, 5, 1, 8, 7]]


class Naive:
    """One row at a time, as the algorithm is written: no logarithms, no tables of tensors."""

    def __init__(self, made: SogCLR) -> None:
        self.made = made
        self.u: dict[int, float] = {}
        self.v = dict.fromkeys(range(ITEMS), 0.0)
        self.t = dict.fromkeys(range(ITEMS), made.temperature)

    def step(self, views: list[Tensor], ids: list[int]) -> Tensor:
        z, items, made = torch.cat([normalize(v, dim=1) for v in views]), ids * 2, self.made
        total, seen, found = torch.zeros(()).double(), {}, {}
        anchors = [i for i, item in enumerate(items) if item >= 0]
        for i in anchors:
            item = items[i]
            near = [j for j in anchors if items[j] == item and j != i]
            far = [j for j in anchors if items[j] != item]
            t = self.t[item]
            e = {j: math.exp(float((z[i] @ z[j]).detach()) / t) for j in far}
            g = sum(e.values()) / len(far)
            u = (1 - made.gamma) * self.u[item] + made.gamma * g if item in self.u else g
            push = sum(e[j] / u * (z[i] @ z[j]) for j in far) / len(far)
            total = total + push - sum(z[i] @ z[j] for j in near) / len(near)
            seen.setdefault(item, []).append(u)
            found.setdefault(item, []).append(math.log(u) + getattr(made, "rho", 0.0) - float(push.detach()) / t)
        for item, us in seen.items():
            self.u[item] = sum(us) / len(us)
            if isinstance(made, ISogCLR):
                slope = min(max(sum(found[item]) / len(found[item]), -3), 3)
                self.v[item] = (1 - made.beta) * self.v[item] + made.beta * slope
                self.t[item] = min(max(self.t[item] - made.rate * self.v[item], made.low), made.high)
        return total / len(anchors)


MADE = [
    SogCLR(items=ITEMS, temperature=0.2, gamma=0.6),
    SogCLR(items=ITEMS, temperature=0.2, gamma=1.0),
    ISogCLR(items=ITEMS, temperature=0.2, gamma=0.6, rate=0.05),
    ISogCLR(items=ITEMS, temperature=0.3, rho=2.0, rate=0.5, low=0.29, high=0.31),  # against both bounds
]
every = pytest.mark.parametrize("made", MADE, ids=lambda m: f"{type(m).__name__} {m.gamma}")
strategies = pytest.mark.parametrize("strategy", [Strategy("dense"), Strategy("tiled", 3)], ids=["dense", "tiled"])


def views_of(step: int) -> list[Tensor]:
    return [rows(10 * step + k, 5).requires_grad_() for k in range(2)]


@every
@strategies
def test_value_gradients_and_tables_are_those_of_plain_loops_step_after_step(made: SogCLR, strategy: Strategy):
    objective = made.replace(strategy=strategy).double()
    if isinstance(objective, ISogCLR):
        objective.temperatures.fill_(made.temperature)  # in double precision from the start
    naive = Naive(objective)
    for step, ids in enumerate(BATCHES):
        views = views_of(step)
        want = naive.step(views, ids)
        got = objective(*views, ids=torch.tensor(ids))
        torch.testing.assert_close(got, want)
        for g, w in zip(torch.autograd.grad(got, views), torch.autograd.grad(want, views), strict=True):
            torch.testing.assert_close(g, w)
        objective.remember()
        for item in range(ITEMS):
            u = float(objective.log_far[item].exp())
            assert u == pytest.approx(naive.u.get(item, 0.0), rel=1e-9)
            if isinstance(made, ISogCLR):
                assert float(objective.temperatures[item]) == pytest.approx(naive.t[item], rel=1e-9)
                assert float(objective.steps[item]) == pytest.approx(naive.v[item], rel=1e-9, abs=1e-12)


def test_the_first_step_of_the_temperatures_is_that_of_the_official_code():
    objective = ISogCLR(items=4).double()
    objective(A, B, ids=torch.arange(4))
    objective.remember()
    slopes = torch.tensor([-0.972886, -0.672745, -0.712403, -0.540953], dtype=torch.float64)
    torch.testing.assert_close(objective.steps, 0.5 * slopes, rtol=0, atol=1e-6)
    torch.testing.assert_close(objective.temperatures, 0.1 - 0.03 * 0.5 * slopes, rtol=0, atol=1e-6)


@every
def test_interrupted_and_loaded_it_goes_on_with_the_same_bits(made: SogCLR):
    straight, first, second = (copy.deepcopy(made) for _ in range(3))
    values = []
    for step, ids in enumerate(BATCHES):
        values.append(straight(*views_of(step), ids=torch.tensor(ids)))
        straight.remember()
        if step < 2:
            first(*views_of(step), ids=torch.tensor(ids))
            first.remember()
    second.load_state_dict(first.state_dict())
    for step, ids in list(enumerate(BATCHES))[2:]:
        assert torch.equal(second(*views_of(step), ids=torch.tensor(ids)), values[step])
        second.remember()
    assert straight.state_dict().keys() == second.state_dict().keys()
    assert all(torch.equal(t, second.state_dict()[k]) for k, t in straight.state_dict().items())
    assert not torch.equal(first.log_far, second.log_far)


@every
def test_a_changed_copy_remembers_the_same_unless_its_tables_are_of_another_size(made: SogCLR):
    objective = copy.deepcopy(made)
    objective(*views_of(0), ids=torch.tensor(BATCHES[0]))
    objective.remember()
    other = objective.replace(strategy="dense")
    assert all(torch.equal(t, other.state_dict()[k]) for k, t in objective.state_dict().items())
    assert not objective.replace(items=ITEMS + 1).log_far.isfinite().any()


@every
def test_calls_and_inspections_change_nothing_until_they_are_remembered(made: SogCLR):
    objective, ids = copy.deepcopy(made), torch.tensor(BATCHES[0])
    before = copy.deepcopy(objective.state_dict())
    objective.remember()  # nothing was asked yet
    value = objective(*views_of(0), ids=ids)
    objective.inspect(*views_of(1), ids=torch.tensor(BATCHES[1]))
    assert all(torch.equal(before[k], t) for k, t in objective.state_dict().items())
    assert torch.equal(objective(*views_of(0), ids=ids), value)
    objective.inspect(*views_of(1), ids=torch.tensor(BATCHES[1]))
    objective.remember()
    alone = copy.deepcopy(made)
    alone(*views_of(0), ids=ids)
    alone.remember()
    assert all(torch.equal(alone.state_dict()[k], t) for k, t in objective.state_dict().items())
    kept = copy.deepcopy(objective.state_dict())
    objective.remember()  # once is enough
    assert all(torch.equal(kept[k], t) for k, t in objective.state_dict().items())


@pytest.mark.parametrize("made", [SogCLR(temperature=0.2), ISogCLR(temperature=0.2, items=5, gamma=1.0, rate=0.0)])
def test_without_memory_its_gradient_is_that_of_decoupled_contrast(made: Composition):
    ids = torch.arange(5)
    for step in range(2):
        views = views_of(step)
        got = torch.autograd.grad(made(*views, ids=ids), views)
        made.remember()
        want = torch.autograd.grad(0.2 * DCL(temperature=0.2)(*views), views)
        for g, w in zip(got, want, strict=True):
            torch.testing.assert_close(g, w)


def test_small_batches_estimate_what_all_the_data_would_say():
    """Rows that stand still: the running mean of far terms comes nearer to that of all rows than one batch is."""
    count, t = 64, 0.2
    data = normalize(rows(0, count, 6), dim=1)
    whole = torch.exp(data @ data.T / t)
    want = (whole.sum(1) - whole.diagonal()) / (count - 1)
    objective, order = SogCLR(items=count, temperature=t, gamma=0.2).double(), torch.Generator().manual_seed(0)
    for _ in range(40):
        for ids in torch.randperm(count, generator=order).split(8):
            objective(data[ids], data[ids], ids=ids)
            one_batch = objective._found["log_far"]
            objective.remember()
    error = (objective.log_far.exp() / want).log().abs()
    alone = []
    for ids in torch.randperm(count, generator=order).split(8):
        part = torch.exp(data[ids] @ data[ids].T / t)
        alone.append((((part.sum(1) - part.diagonal()) / 7) / want[ids]).log().abs())
    assert len(one_batch[0]) == 8
    assert error.mean() < 0.5 * torch.cat(alone).mean()


def test_crowded_items_get_higher_temperatures():
    """A tenth of the rows are of one kind, near each other for good; all others are alone of their kind."""
    data = normalize(rows(3, 80, 32), dim=1)
    data[1:8] = data[0] + 0.02 * data[1:8]
    objective, ids = ISogCLR(items=80, temperature=0.3).double(), torch.arange(80)
    for _ in range(80):
        objective(data, data, ids=ids)
        objective.remember()
    assert objective.temperatures[:8].min() > objective.temperatures[8:].max() + 0.1


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({}, "SogCLR with items=9 is told by ids= alone which item a row is"),
        ({"ids": torch.arange(5), "labels": torch.arange(5)}, "by ids= alone"),
        ({"ids": torch.tensor([0, 1, 2, 3, 9])}, "ids reach from 0 to 9, the table has 9 rows; set items to more than"),
        ({"ids": torch.tensor([0, 1, 2, 3, -2])}, "ids reach from -2 to 3"),
    ],
)
def test_rows_that_have_no_place_in_the_table_are_refused(how: dict, message: str):
    with pytest.raises(ValueError, match=message):
        SogCLR(items=ITEMS)(*views_of(0), **how)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SogCLR(temperature=LearnedTemperature(0.1)), "takes a number for the temperature"),
        (lambda: SogCLR(gamma=0.0), r"in \(0, 1\], got 0.0"),
        (lambda: ISogCLR(temperature=0.01), r"must start inside \[0.05, 1.0\], got 0.01"),
        (lambda: ISogCLR(beta=2.0), r"beta is the weight of the newest gradient, in \(0, 1\], got 2.0"),
    ],
)
def test_what_cannot_be_is_refused(make, message: str):  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=message):
        make()
