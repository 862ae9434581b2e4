from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from nearfar import methods, objectives
from nearfar.contrast import Composition
from nearfar.data.batch import Batch
from nearfar.errors import ConfigError, DataError
from nearfar.methods import Method, SimCLR, SupCon
from nearfar.methods.simclr import SimCLROptions
from nearfar.methods.supcon import SupConOptions

ROWS, WIDTH = 8, 6


class Encoder(nn.Sequential):
    """The smallest thing with a width."""

    width = WIDTH

    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.Linear(9, WIDTH))


def made(kind: type[Method], **options: object) -> Method:
    torch.manual_seed(0)
    return kind(Encoder(), kind.Options(**{"projection": 5, **options}))


def batch(views: int = 2, ids: Tensor | None = None, labels: Tensor | None = None) -> Batch:
    generator = torch.Generator().manual_seed(1)
    made = [torch.randn(ROWS, 1, 3, 3, generator=generator) for _ in range(views)]
    return Batch(made, torch.arange(ROWS) if ids is None else ids, labels)


def contrasted(method: Method, batch: Batch) -> tuple[methods.Contrast, list[Tensor]]:
    projections = [method.project(view) for view in batch.views]
    return method.contrast(projections, batch), projections


def oracle(z: Tensor, near: Tensor, ignored: Tensor, temperature: float) -> float:
    """mean over anchors and near pairs of log(sum over candidates) - score, in plain loops."""
    z = z.detach() / z.detach().norm(dim=1, keepdim=True)
    total, anchors = 0.0, 0
    for i in range(len(z)):
        others = [j for j in range(len(z)) if j != i and not ignored[i, j]]
        friends = [j for j in others if near[i, j]]
        if not friends:
            continue
        scores = {j: float(z[i] @ z[j]) / temperature for j in others}
        bottom = math.log(sum(math.exp(s) for s in scores.values()))
        total += sum(bottom - scores[j] for j in friends) / len(friends)
        anchors += 1
    return total / anchors


@pytest.mark.parametrize("views", [2, 3])
def test_simclr_is_nt_xent_of_the_projections(views: int):
    data = batch(views)
    contrast, projections = contrasted(made(SimCLR, temperature=0.3, views=views), data)
    ids = torch.arange(ROWS).repeat(views)
    expected = oracle(torch.cat(projections).double(), ids[:, None] == ids, torch.zeros(len(ids), len(ids)), 0.3)
    assert contrast.loss.item() == pytest.approx(expected, rel=1e-5)
    assert contrast.loss.item() == objectives.NTXent(temperature=0.3)(*projections, ids=data.ids).item()


def test_simclr_takes_rows_of_one_item_for_near():
    ids = torch.tensor([0, 1, 2, 3, 4, 5, 6, 0])
    contrast, projections = contrasted(made(SimCLR), batch(ids=ids))
    rows = ids.repeat(2)
    expected = oracle(torch.cat(projections).double(), rows[:, None] == rows, torch.zeros(16, 16), 0.2)
    apart, _ = contrasted(made(SimCLR), batch())
    assert contrast.loss.item() == pytest.approx(expected, rel=1e-5)
    assert contrast.loss.item() != pytest.approx(apart.loss.item(), rel=1e-3)


def test_supcon_takes_rows_of_one_label_for_near_and_leaves_out_the_unlabelled():
    labels = torch.tensor([0, 0, 1, 1, 2, 2, 0, -1])
    contrast, projections = contrasted(made(SupCon, temperature=0.5), batch(labels=labels))
    kept = torch.cat([p[:7] for p in projections]).double()
    rows = labels[:7].repeat(2)
    expected = oracle(kept, rows[:, None] == rows, torch.zeros(14, 14), 0.5)
    assert contrast.loss.item() == pytest.approx(expected, rel=1e-5)


def test_supcon_without_labels_is_refused():
    with pytest.raises(DataError, match="supcon learns from labels and these data have none"):
        contrasted(made(SupCon), batch())


@pytest.mark.parametrize("kind", [SimCLR, SupCon])
def test_the_gradient_reaches_every_weight_of_encoder_and_head(kind: type[Method]):
    method = made(kind)
    contrasted(method, batch(labels=torch.arange(ROWS) % 3))[0].loss.backward()
    # A shift in front of a batch norm is subtracted again: it alone has no gradient worth the name.
    for name, parameter in method.named_parameters():
        assert parameter.grad is not None, name
        if not name.startswith("encoder.1.bias"):
            assert parameter.grad.abs().max() > 1e-7, name
    assert {name.split(".")[0] for name, _ in method.named_parameters()} >= {"encoder", "head"}


def test_the_value_at_chance_is_that_of_the_batch_at_hand():
    method = made(SimCLR)
    plain, _ = contrasted(method, batch())
    assert plain.chance == pytest.approx(math.log(15))  # one of 15 other rows
    labels = torch.tensor([0, 0, 0, 0, 1, 1, 2, -1])
    for average in ("outside", "inside", "exclusive"):
        # The same method on batches of one shape in which others are near: nothing is remembered from the first.
        supcon = made(SupCon, average=average)
        for these in (labels, torch.arange(ROWS), labels):
            data = batch(labels=these)
            contrast, projections = contrasted(supcon, data)
            expected = supcon.objective.inspect(*projections, labels=these).chance
            assert contrast.chance == pytest.approx(expected, rel=1e-6)


def test_embed_is_the_encoder_without_the_head():
    method = made(SimCLR)
    rows = batch().views[0]
    assert torch.equal(method.embed(rows), method.encoder(rows))
    assert method.embed(rows).shape == (ROWS, method.width) == (ROWS, WIDTH)
    assert method.project(rows).shape == (ROWS, 5)


def test_the_head_is_as_wide_as_asked():
    assert made(SimCLR, hidden=11).head[0].out_features == 11
    assert made(SimCLR).head[0].out_features == WIDTH


JOINT = [
    name
    for name, entry in objectives.catalogue().items()
    if issubclass(entry, Composition) and entry.layout != "cross" and not entry.supervised
]


@pytest.mark.parametrize("name", JOINT)
def test_simclr_with_every_other_objective_over_all_views(name: str):
    method = made(SimCLR, objective=name)
    contrast, projections = contrasted(method, batch())
    assert type(method.objective).__name__ == name
    assert torch.isfinite(contrast.loss) and contrast.loss.requires_grad
    assert (
        contrast.loss.item()
        == objectives.catalogue()[name](temperature=0.2)(*projections, ids=torch.arange(ROWS)).item()
    )
    assert contrast.chance is None or math.isfinite(contrast.chance)
    assert f"    {name}(" in method.describe()


def test_simclr_pulls_and_spreads_over_pairs_of_views_but_not_rows_of_one_item():
    ids = torch.tensor([0, 1, 2, 3, 4, 5, 6, 0])  # the last row is the first item again
    contrast, projections = contrasted(made(SimCLR, objective="AlignUniform", views=3), batch(3, ids=ids))
    z = [p.detach().double() / p.detach().double().norm(dim=1, keepdim=True) for p in projections]
    pairs = [(0, 1), (0, 2), (1, 2)]
    align = sum((z[a] - z[b]).square().sum(1).mean() for a, b in pairs) / 3
    far = [(i, j) for i in range(ROWS) for j in range(ROWS) if ids[i] != ids[j]]
    spread = [torch.stack([(-2 * (v[i] - v[j]).square().sum()).exp() for i, j in far]).mean().log() for v in z]
    assert contrast.terms["align"].item() == pytest.approx(align.item(), rel=1e-5)
    assert contrast.terms["uniform"].item() == pytest.approx(sum(spread).item() / 3, rel=1e-5)
    assert contrast.loss.item() == pytest.approx((align + sum(spread) / 3).item(), rel=1e-5)
    with pytest.raises(ConfigError, match="AlignUniform has no temperature"):
        SimCLROptions(objective="AlignUniform", temperature=0.1)


def test_options_are_checked():
    with pytest.raises(
        ConfigError, match=r"there is no objective 'NTxent' over all views of a batch; there are .*NTXent"
    ):
        SimCLROptions(objective="NTxent")
    with pytest.raises(ConfigError, match="'temperature' = 0"):
        SimCLROptions(temperature=0)
    with pytest.raises(ConfigError, match="'views' = 1"):
        SimCLROptions(views=1)
    with pytest.raises(ConfigError, match="did you mean 'temperature'"):
        SupConOptions(temprature=0.1)
    with pytest.raises(ConfigError, match="average"):
        SupConOptions(average="middle")
    with pytest.raises(ConfigError, match="NTXent averages in one way only; leave out average = 'arithmetic'"):
        SimCLROptions(average="arithmetic")
    with pytest.raises(ConfigError, match="'geometric', 'arithmetic' or 'sufficient', got 'middle'"):
        SimCLROptions(objective="PolyView", average="middle")


@pytest.mark.parametrize("average", [None, "geometric", "arithmetic", "sufficient"])
def test_simclr_over_many_views_that_do_not_compete(average: str | None):
    data = batch(4)
    contrast, projections = contrasted(made(SimCLR, objective="PolyView", average=average, views=4), data)
    want = objectives.PolyView(temperature=0.2, average=average or "geometric")(*projections)
    assert contrast.loss.item() == pytest.approx(want.item(), rel=1e-6)
    assert contrast.chance == pytest.approx(math.log(1 + 4 * (ROWS - 1)))


@pytest.mark.parametrize("name", [n for n, kind in methods.catalogue().items() if "of_words" not in kind.asks])
def test_describe_says_what_is_near_and_far_and_the_whole_recipe(name: str):
    kind = methods.find(name)
    warm = {"temperature": 0.37} if "temperature" in kind.Options.model_fields else {}
    method = made(kind, **warm)
    text = method.describe()
    options = ["projection=5", *(f"{key}={value}" for key, value in warm.items())]
    for part in (f"{name}: ", method.near, method.far, method.source, *options, "formula"):
        assert part in text
    assert text.splitlines()[0].endswith(".")


def test_an_unknown_method_is_named_with_the_closest():
    with pytest.raises(ConfigError, match="there is no method 'simclrr'; did you mean 'simclr'"):
        methods.find("simclrr")


def test_all_memory_of_a_method_is_in_its_state():
    one, two = made(SimCLR), SimCLR(Encoder(), SimCLROptions(projection=5))
    two.load_state_dict(one.state_dict())
    assert contrasted(one, batch())[0].loss.item() == contrasted(two, batch())[0].loss.item()


def test_simclr_remembers_of_every_item_what_its_objective_finds_once_the_step_is_done():
    ids = torch.tensor([4, 0, 2, 9, 1, 6, 11, 3])
    method = made(SimCLR, objective="ISogCLR", items=12)
    before = method.objective.temperatures.clone()
    contrasted(method, batch(ids=ids))
    assert torch.equal(method.objective.temperatures, before) and not method.objective.log_far.isfinite().any()
    method.after_step(0, 10)
    assert method.objective.log_far.isfinite().nonzero().flatten().tolist() == sorted(ids.tolist())
    assert (method.objective.temperatures != before).nonzero().flatten().tolist() == sorted(ids.tolist())
    assert {"objective.log_far", "objective.temperatures", "objective.steps"} <= method.state_dict().keys()


def test_the_table_of_items_has_room_for_all_ids_of_the_data():
    facts = {"items": 6, "largest_id": 40}
    assert SimCLROptions(objective="SogCLR").settled(facts).items == 41
    assert SimCLROptions(objective="SogCLR", items=50).settled(facts).items == 50
    assert SimCLROptions().settled(facts).items is None
    with pytest.raises(ConfigError, match="NTXent remembers nothing of single items; leave out items = 5"):
        SimCLROptions(items=5)
    with pytest.raises(ConfigError, match=r"must start inside \[0.05, 1.0\], got 0.01"):
        SimCLROptions(objective="ISogCLR", temperature=0.01)
