"""Turned copies picture by picture: the loss by plain loops, what the classifier learns, and what is remembered."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from test_recipes import batch, made, step, unit
from torch import Tensor

from nearfar.errors import ConfigError
from nearfar.methods.pnda import PNDA, PNDAOptions
from nearfar.run import fit


def by_hand(views: list[Tensor], turned: list[Tensor], alike: list[bool], t: float) -> float:
    """The mean over the rows of all views of the mean over their near rows of -log of their share."""
    items, total = len(alike), 0.0
    rows = unit(torch.cat([*views, *turned]).detach())
    asking = len(views) * items
    for i in range(asking):
        scores = [math.exp(float(rows[i] @ row) / t) for row in rows]
        bottom = sum(score for j, score in enumerate(scores) if j != i)
        own = [j for j in range(len(rows)) if j != i and j % items == i % items]
        near = [j for j in own if j < asking or alike[i % items]]
        total += sum(math.log(bottom) - math.log(scores[j]) for j in near) / len(near)
    return total / asking


def entropy(answers: Tensor) -> float:
    """Of one picture: the mean over its four turns."""
    shares = [[math.exp(x) / sum(math.exp(y) for y in row) for x in row] for row in answers.tolist()]
    return sum(-sum(p * math.log(p) for p in row) for row in shares) / 4


@pytest.mark.parametrize("copies", ["judged", "near", "far"])
def test_the_loss_is_that_of_views_with_copies_near_or_far(copies: str) -> None:
    method, data = made("pnda", items=8, copies_from=0.0, above=0.4910, copies=copies), batch()
    if copies == "judged":
        method.judge[1].weight.data *= 3  # surer than a net that has learned nothing
    projections = [method.project(view) for view in data.views]
    alike = [copies == "near"] * 8
    if copies == "judged":
        means = [sum(entropy(view["answers"][n]) for view in projections) / 2 for n in range(8)]
        alike = [mean > math.log(4) / 2 + 0.4910 for mean in means]
        assert 1 < sum(alike) < 7
    want = by_hand([p["projection"] for p in projections], [p["turned"] for p in projections], alike, 0.5)
    assert method.contrast(projections, data).loss.item() == pytest.approx(want, rel=1e-9)


def test_a_copy_is_the_view_turned_by_one_of_three_angles_and_the_classifier_sees_all_four() -> None:
    method, rows = made("pnda", items=8, copies_from=0.0), batch().views[0]
    method.head = torch.nn.Identity()  # norms of a batch see copies and views together
    ways = [method.head(method.encoder(rows.rot90(turn, (2, 3)))) for turn in range(4)]
    found = set()
    for number in range(20):
        copy = method.project(rows)["turned"]
        torch.testing.assert_close(method.project(rows)["turned"], copy)  # as the gradient cache asks twice
        found |= {turn for turn, way in enumerate(ways) if torch.allclose(way, copy)}
        method.after_step(number, 20)
    assert found == {1, 2, 3}
    for turn in range(4):
        said = method.judge(rows.rot90(turn, (2, 3)))
        torch.testing.assert_close(method.project(rows)["answers"][:, turn], said)


def test_the_classifier_learns_first_and_is_left_as_it_is_when_copies_count() -> None:
    method, data = made("pnda", items=8, copies_from=0.5), batch()
    for number in range(4):
        method.zero_grad()
        projections = [method.project(view) for view in data.views]
        said = method.contrast(projections, data)
        said.loss.backward()
        learning = number < 2
        assert ("turns" in said.terms) is learning and ("turned" in projections[0]) is not learning
        assert all((p.grad is not None) is learning for p in method.judge.parameters())
        assert (method.seen.sum() > 0) == (number == 3)
        if learning:
            each = [
                -float(p["answers"].detach()[n, k].log_softmax(0)[k])
                for p in projections
                for n in range(8)
                for k in range(4)
            ]
            assert said.terms["turns"].item() == pytest.approx(sum(each) / len(each), rel=1e-9)
        method.after_step(number, 4)
    assert made("pnda", items=8, copies="near").judge is None


def test_entropies_are_averaged_over_the_views_seen_so_far() -> None:
    method, means = made("pnda", items=8, copies_from=0.0), []
    for number, seed in enumerate((1, 2)):
        data = batch()
        data.views = [view + seed for view in data.views]
        means += [[entropy(method.project(view)["answers"][n]) for n in range(8)] for view in data.views]
        step(method, data, number)
    found, near = method.chosen()
    torch.testing.assert_close(found, torch.tensor(means).double().mean(0))
    assert near.tolist() == [x > math.log(4) / 2 + 0.2 for x in found.tolist()]


def test_what_is_no_square_picture_is_refused_and_items_are_those_of_the_data() -> None:
    with pytest.raises(ConfigError, match=r"pnda turns square pictures .* \(8, 1, 3, 2\)"):
        made("pnda").project(batch().views[0][..., :2])
    assert PNDAOptions().settled({"largest_id": 41}).items == 42


def test_the_classifier_learns_to_tell_what_looks_alike_when_turned(tmp_path: Path) -> None:
    """Stripes of light from above tell the turn; rings do not. The run writes which is which."""
    drawn = np.random.default_rng(0)
    across = (np.arange(12)[:, None] - 5.5) / 5.5 + np.zeros((12, 12))
    rings = np.hypot(across, across.T) / np.sqrt(2) * 2 - 1
    images = np.stack([(rings if n % 2 else across) for n in range(64)])
    images = np.clip(128 + 90 * images + 5 * drawn.normal(size=images.shape), 0, 255).astype(np.uint8)
    np.savez(tmp_path / "two.npz", images=images)
    run = fit(
        tmp_path / "two.npz", tmp_path / "run", method="pnda", encoder="small", steps=16, batch_size=16, lr=0.003,
        copies_from=0.7, crops="2x12@0.9-1.0", threads=1, progress=False,
    )  # fmt: skip
    assert isinstance(run.method, PNDA)
    known, near = run.method.chosen()
    assert known[1::2].min() > known[::2].max() and bool(near[1::2].all())
    with open(run.path / "turned.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["copies"] for line in lines] == ["near" if flag else "far" for flag in near.tolist()]
    assert [float(line["entropy"]) for line in lines] == pytest.approx(known.tolist(), abs=1e-6)
    assert lines[3]["name"] == run.read(tmp_path / "two.npz")[0].names[3]
