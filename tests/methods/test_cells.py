"""Methods that look at the cells of feature maps: losses in plain loops, matches, places, and what they refuse."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from nearfar import methods
from nearfar.data.batch import Batch
from nearfar.errors import ConfigError, DataError
from nearfar.methods.method import Method
from nearfar.run import fit

F64 = torch.float64
N, SIDE = 4, 3
IDS = torch.tensor([7, 8, 9, 8])  # one item stands there twice


class Mapped(nn.Sequential):
    """Pictures of 3 x 3 pixels, a map of 3 x 3 cells."""

    width = 6

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(1, 6, 3, padding=1), nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def made(name: str, **options: object) -> Method:
    torch.manual_seed(0)
    kind = methods.find(name)
    return kind(Mapped(), kind.Options(**{"projection": 4, **options})).double()


def batch(boxes: bool = True) -> Batch:
    draw = torch.Generator().manual_seed(1)
    views = [torch.randn(N, 1, SIDE, SIDE, generator=draw, dtype=F64) for _ in range(2)]
    first = torch.tensor([[0.0, 0, 9, 9], [0, 9, 9, 0], [2, 2, 8, 8], [0, 0, 6, 6]], dtype=F64)
    return Batch(views, IDS, boxes=[first, first + torch.tensor([[2.0], [1], [0], [40]])] if boxes else None)


def cosine(u: Tensor, v: Tensor) -> float:
    return float(u @ v / (u.norm() * v.norm()))


def projected(method: Method, data: Batch) -> list[dict[str, Tensor]]:
    return [{k: v.detach() for k, v in method.project(view).items()} for view in data.views]


# DenseCL -----------------------------------------------------------------------


def cells_against(
    asking: dict[str, Tensor], asked: dict[str, Tensor], far: list[tuple[int, Tensor]], t: float
) -> float:
    """InfoNCE of each cell and its match against the far cells of other items."""
    values = []
    for n in range(N):
        features, others = asking["cells"][n].flatten(0, 1), asked["key_cells"][n].flatten(0, 1)
        queries, keys = asking["dense"][n].flatten(0, 1), asked["dense_key"][n].flatten(0, 1)
        for i in range(len(queries)):
            match = max(range(len(keys)), key=lambda j, i=i: cosine(features[i], others[j]))
            own = math.exp(cosine(queries[i], keys[match]) / t)
            rest = sum(math.exp(cosine(queries[i], key) / t) for item, key in far if item != IDS[n])
            values.append(math.log(own + rest) - math.log(own))
    return sum(values) / len(values)


@pytest.mark.parametrize("far_cells", ["queue", "batch"])
@pytest.mark.parametrize("symmetric", [True, False])
def test_cells_are_told_from_mean_cells_of_the_queue_or_from_cells_of_other_items(far_cells: str, symmetric: bool):
    data = batch()
    method = made("densecl", queue=20, far_cells=far_cells, symmetric=symmetric, share=1.0, temperature=0.3)
    method.contrast([method.project(view) for view in data.views], data)
    method.after_step(0, 10)  # fills the queues
    views = projected(method, data)
    held: list[tuple[int, Tensor]] = []
    if far_cells == "queue":
        vectors, ids = method.dense_queue.rows()
        assert len(vectors) == (2 * N if symmetric else N)
        held = list(zip(ids.tolist(), vectors, strict=True))
    values = []
    for i, j in [(0, 1), (1, 0)] if symmetric else [(0, 1)]:
        cells = [(int(IDS[n]), key) for n in range(N) for key in views[j]["dense_key"][n].flatten(0, 1)]
        values.append(cells_against(views[i], views[j], held or cells, 0.3))
    said = method.contrast([method.project(view) for view in data.views], data)
    assert said.loss.item() == pytest.approx(sum(values) / len(values), rel=1e-9)
    assert sum(float(v.detach()) for v in said.terms.values()) == pytest.approx(said.loss.item(), rel=1e-9)
    assert said.chance is not None and said.chance > 0


def test_the_queue_remembers_mean_projected_cells():
    data, method = batch(), made("densecl", queue=20, symmetric=False)
    features = nn.Sequential(*list(method.keys.module[0])[:2])(data.views[1])
    flat = method.dense_keys(features.permute(0, 2, 3, 1))
    want = torch.nn.functional.normalize(flat.mean((1, 2)), dim=1)
    method.contrast([method.project(view) for view in data.views], data)
    method.after_step(0, 10)
    torch.testing.assert_close(method.dense_queue.rows()[0], want)
    assert method.dense_queue.rows()[1].tolist() == IDS.tolist()


def test_without_a_share_it_is_moco():
    data, results = batch(), []
    dense, plain = made("densecl", queue=20, share=0.0), made("moco", queue=20)
    plain.load_state_dict({k: v for k, v in dense.state_dict().items() if k in plain.state_dict()})
    for method in (dense, plain):
        for step in range(2):
            method.zero_grad()
            said = method.contrast([method.project(view) for view in data.views], data)
            said.loss.backward()
            method.after_step(step, 10)
        results.append((said.loss.detach(), method.encoder[0].weight.grad, method.head[0].weight.grad, said.chance))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("far_cells", ["queue", "batch"])
def test_the_order_of_the_cells_of_the_other_view_does_not_matter(far_cells: str):
    data, method = batch(), made("densecl", queue=20, far_cells=far_cells, share=1.0, symmetric=False)
    method.contrast([method.project(view) for view in data.views], data)
    method.after_step(0, 10)
    views = projected(method, data)
    want = method.contrast(views, data).loss
    order = torch.randperm(SIDE * SIDE, generator=torch.Generator().manual_seed(2))
    for name in ("dense_key", "key_cells"):
        views[1][name] = views[1][name].flatten(1, 2)[:, order].view_as(views[1][name])
    torch.testing.assert_close(method.contrast(views, data).loss, want)
    views[1]["dense_key"] = views[1]["dense_key"].flip(1)  # without the features that say which is which
    assert not torch.isclose(method.contrast(views, data).loss, want)


# PixPro ------------------------------------------------------------------------


def near_cells(one: Tensor, other: Tensor, reach: float) -> list[tuple[int, int]]:
    """Pairs of cells of two crops of one picture, 3 x 3 each, by distances in the picture."""
    middles, diagonals = [], []
    for top, left, bottom, right in (one.tolist(), other.tolist()):
        high, wide = (bottom - top) / SIDE, (right - left) / SIDE
        diagonals.append(math.hypot(high, wide))
        middles.append([(top + (r + 0.5) * high, left + (c + 0.5) * wide) for r in range(SIDE) for c in range(SIDE)])
    far = reach * max(diagonals)
    pairs = [(i, j) for i in range(SIDE * SIDE) for j in range(SIDE * SIDE)]
    return [(i, j) for i, j in pairs if math.dist(middles[0][i], middles[1][j]) < far]


@pytest.mark.parametrize("objective", ["PixPro", "PixContrast"])
def test_cells_of_one_place_agree(objective: str):
    data, method = batch(), made("pixpro", objective=objective, temperature=0.4)
    views, values = projected(method, data), []
    for i, j in ((0, 1), (1, 0)):
        pictures, anchors = [], []
        for n in range(N):
            cells, targets = views[i]["dense"][n].flatten(0, 1), views[j]["target"][n].flatten(0, 1)
            near = near_cells(data.boxes[i][n], data.boxes[j][n], 0.7)
            if near:
                pictures.append(-2 * sum(cosine(cells[a], targets[b]) for a, b in near) / len(near))
            for a in {a for a, _ in near}:
                scores = [math.exp(cosine(cells[a], target) / 0.4) for target in targets]
                anchors.append(math.log(sum(scores)) - math.log(sum(scores[b] for k, b in near if k == a)))
        values.append(sum(pictures) / len(pictures) if objective == "PixPro" else sum(anchors) / len(anchors))
        assert len(pictures) == 3  # the crops of the last picture share nothing
    said = method.contrast([method.project(view) for view in data.views], data)
    assert said.loss.item() == pytest.approx(sum(values) / 2, rel=1e-9)


def test_the_copy_of_pixpro_is_slow_and_stops():
    data, method = batch(), made("pixpro", momentum=0.5, momentum_end=1.0)
    with torch.no_grad():
        method.encoder[0].weight.add_(1)
    before = method.target.module[0][0].weight.clone()
    method.after_step(0, 10)
    torch.testing.assert_close(method.target.module[0][0].weight, (before + method.encoder[0].weight) / 2)
    halfway = method.target.module[0][0].weight.clone()
    method.after_step(10, 10)
    assert torch.equal(method.target.module[0][0].weight, halfway)
    method.contrast([method.project(view) for view in data.views], data).loss.backward()
    assert all(p.grad is None for p in method.target.parameters())


# What cannot be done -----------------------------------------------------------


def test_views_that_do_not_say_where_they_were_cut_are_refused(tmp_path: Path):
    method, data = made("pixpro"), batch(boxes=False)
    with pytest.raises(ConfigError, match="do not say where they were cut; leave out exact"):
        method.contrast([method.project(view) for view in data.views], data)


@pytest.mark.parametrize("name", ["densecl", "pixpro"])
def test_tables_have_no_places(name: str, tmp_path: Path):
    lines = ["a,b,label", *(f"{k / 7:.3f},{k % 5},{k % 2}" for k in range(40))]
    (tmp_path / "table.csv").write_text("\n".join(lines))
    with pytest.raises(ConfigError, match=f"{name} asks for views with_boxes, which those of tables do not offer"):
        fit(tmp_path / "table.csv", tmp_path / "run", method=name, steps=1, batch_size=8, progress=False)
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_an_encoder_without_a_map_and_views_that_leave_one_cell_are_refused():
    class Flat(nn.Sequential):
        width = 6

    kind = methods.find("densecl")
    flat = kind(Flat(nn.Flatten(), nn.Linear(9, 6)), kind.Options())
    with pytest.raises(ConfigError, match="Flat gives no feature map"):
        flat.project(torch.zeros(2, 1, 3, 3))

    class Strided(nn.Sequential):
        width = 6

    net = Strided(nn.Conv2d(1, 4, 2, 2), nn.Conv2d(4, 6, 2, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    strided = kind(net, kind.Options())
    assert strided.project(torch.zeros(2, 1, 8, 8))["dense"].shape == (2, 2, 2, 128)
    with pytest.raises(ConfigError, match="has 4 channels, not 6: these views are too small"):
        strided.project(torch.zeros(2, 1, 4, 4))


def test_boxes_are_checked_and_travel_with_the_batch():
    data = batch()
    assert all(torch.equal(a, b) for a, b in zip(data.to("cpu").boxes, data.boxes, strict=True))
    assert batch(boxes=False).to("cpu").boxes is None
    for boxes in (data.boxes[:1], [data.boxes[0][:3], data.boxes[1]], [b[:, :2] for b in data.boxes]):
        with pytest.raises(DataError, match="2 views of 4 items have boxes of shapes"):
            Batch(data.views, IDS, boxes=boxes)
