"""Learning from answers: the loss by plain loops, what the groups are, what cannot be, and that answers help."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from test_recipes import batch, made, unit
from torch import Tensor

from nearfar.data import ArraySource
from nearfar.data.answers import Answer, append_answer
from nearfar.errors import ConfigError, DataError
from nearfar.methods.pal import PALOptions, over_groups
from nearfar.run import fit, resume

GROUPS = [0, 1, 0, 3, 4, 1, 0, 7]  # of the eight items of a batch, as answers would join them


def table(path: Path, pairs: list[tuple[str, str, bool]]) -> str:
    path.write_text("a,b,answer\n")
    for a, b, near in pairs:
        append_answer(path, Answer(a, b, near))
    return str(path)


def rows_of(projections: list[Tensor]) -> list[list[float]]:
    return torch.cat(projections).tolist()


def dot(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def softmax_by_hand(projections: list[Tensor], groups: list[int]) -> float:
    """-log of the share that a near row has of all other rows, averaged over the near ones of a row, and over rows."""
    rows, total = rows_of([unit(view) for view in projections]), []
    for i, row in enumerate(rows):
        scores = [math.exp(dot(row, other) / 0.2) for other in rows]
        near = [j for j in range(len(rows)) if j != i and groups[j] == groups[i]]
        every = sum(scores[j] for j in range(len(rows)) if j != i)
        total.append(sum(-math.log(scores[j] / every) for j in near) / len(near))
    return sum(total) / len(total)


def spectral_by_hand(projections: list[Tensor], groups: list[int]) -> float:
    rows = rows_of(projections)
    total = 0.0
    for i, row in enumerate(rows):
        for j, other in enumerate(rows):
            product = dot(row, other) if i != j else 0.0
            total += product**2 - 2 * product * (groups[i] == groups[j])
    return total / len(rows)


@pytest.mark.parametrize(("objective", "by_hand"), [("NTXent", softmax_by_hand), ("GraphSpectral", spectral_by_hand)])
@pytest.mark.parametrize("answered", [False, True])
def test_the_loss_is_that_of_the_graph_of_views_and_answers(objective: str, by_hand, answered: bool):
    method, data = made("pal", objective=objective), batch()
    groups = GROUPS if answered else list(range(8))
    if answered:
        method.groups = torch.tensor(GROUPS)
    projections = [method.project(view) for view in data.views]
    said = method.contrast(projections, data)
    assert said.loss.item() == pytest.approx(by_hand(projections, groups * 2), rel=1e-9)


def test_objectives_of_two_views_see_both_ends_of_near_pairs():
    from nearfar.objectives import VICReg

    method, data = made("pal", objective="VICReg"), batch()
    method.groups = torch.tensor(GROUPS)
    projections = [method.project(view) for view in data.views]
    rows, groups = torch.cat(projections), GROUPS * 2
    pairs = [(i, j) for i in range(16) for j in range(16) if i != j and groups[i] == groups[j]]
    want = VICReg()(torch.stack([rows[i] for i, _ in pairs]), torch.stack([rows[j] for _, j in pairs]))
    assert method.contrast(projections, data).loss.item() == pytest.approx(want.item(), rel=1e-9)


@pytest.mark.parametrize("objective", over_groups())
def test_every_objective_that_is_offered_learns(objective: str):
    method, data = made("pal", objective=objective), batch()
    method.groups = torch.tensor(GROUPS)
    method.contrast([method.project(view) for view in data.views], data).loss.backward()
    weights = [p.grad for p in method.encoder.parameters() if p.grad is not None]
    assert weights and all(bool(torch.isfinite(g).all()) for g in weights)


def test_what_cannot_be_is_said(tmp_path: Path):
    with pytest.raises(ConfigError, match="no objective 'SogCLR' over rows in groups"):
        PALOptions(objective="SogCLR")
    with pytest.raises(ConfigError, match="VICReg takes no temperature"):
        PALOptions(objective="VICReg", temperature=0.1)
    with pytest.raises(DataError, match=r"there is no table of answers; write one with: nearfar ask"):
        PALOptions(answers=str(tmp_path / "none.csv")).settled({})


def pictures() -> ArraySource:
    """Forty pictures of four kinds that views cannot tell, by the place of a bright square."""
    draw = np.random.default_rng(0)
    rows = draw.integers(0, 60, (40, 1, 12, 12)).astype(np.uint8)
    for row, kind in enumerate(np.arange(40) % 4):
        rows[row, 0, 6 * (kind // 2) : 6 * (kind // 2) + 6, 6 * (kind % 2) : 6 * (kind % 2) + 6] += 150
    return ArraySource("images", rows, names=[f"p{row}" for row in range(40)], labels=np.arange(40) % 4)


def test_a_run_learns_from_answers_and_goes_on_with_the_same_ones_only(tmp_path: Path):
    source = pictures()
    pairs = [(f"p{row}", f"p{row + 4}", True) for row in range(20)] + [("p0", "p1", False)]
    answers = table(tmp_path / "answers.csv", pairs)
    how = {"method": "pal", "steps": 4, "batch_size": 16, "checkpoint_every": 2, "progress": False, "threads": 1}
    run = fit(source, tmp_path / "run", answers=answers, **how)
    plain = fit(source, tmp_path / "plain", **how)
    assert run.config["method_options"]["answers"] == answers
    assert run.history[-1]["loss"] != plain.history[-1]["loss"]
    want = {key: value.clone() for key, value in run.method.state_dict().items()}
    for file in (run.path / "checkpoints").glob("step-00000004*"):
        file.unlink()
    again = resume(run.path, source, progress=False).method.state_dict()
    assert want.keys() == again.keys() and all(torch.equal(want[key], again[key]) for key in want)
    table(tmp_path / "answers.csv", [*pairs, ("p30", "p34", True)])
    for file in (run.path / "checkpoints").glob("step-00000004*"):
        file.unlink()
    with pytest.raises(ConfigError, match=r"cannot be resumed.*digest"):
        resume(run.path, source, progress=False)
