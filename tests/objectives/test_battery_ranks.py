"""Every objective with every arrangement that it accepts, over several processes: see `spread.py`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from cases import BY_NAME, EVERY
from scenes import SCENE
from spread import agenda, in_order_of_rank, meetings, other, part_of, plain, shares

from nearfar.objectives import NTXent, catalogue


@pytest.mark.slow
@pytest.mark.parametrize("world", [1, 2, 3])
def test_several_processes_give_the_value_and_gradients_of_one(world: int, tmp_path: Path):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    workers = [
        subprocess.Popen(
            [sys.executable, "spread.py", str(rank), str(world), tmp_path / "meet", tmp_path / f"{rank}.json"],
            cwd=Path(__file__).parent, env=environment, stderr=subprocess.PIPE, text=True,
        )
        for rank in range(world)
    ]  # fmt: skip
    for worker in workers:
        _, said = worker.communicate(timeout=1500)
        assert worker.returncode == 0, said
    for rank in range(world):
        report = json.loads((tmp_path / f"{rank}.json").read_text())
        assert report["met"] == [f"{case.name}, {scene.name}" for case, scene in agenda(EVERY, world)]
        assert not report["wrong"]


def test_no_entry_of_the_catalogue_escapes():
    met = {case.name for case, _ in meetings(EVERY)}
    assert {case.entry for case, _ in meetings(EVERY)} == set(catalogue())
    assert met == {case.name for case in EVERY}


@pytest.mark.parametrize("name", catalogue())
def test_every_objective_has_a_strategy(name: str):
    case = next(case for case in EVERY if case.entry == name)
    objective = case.make().replace(strategy="ring")
    assert objective.strategy == "ring" and objective.config()["strategy"] == "ring"
    call, views = (objective, plain(case, case.least + 5)) if not case.compares else (objective, SCENE["two items"])
    with pytest.raises(RuntimeError, match="there is no process group"):
        views.call(call, views.leaves())
    with pytest.raises(ValueError, match="a strategy is one of"):
        views.call(call, views.leaves(), strategy="fast")


def test_an_inspection_that_differs_is_noticed():
    scene, case = SCENE["views"], BY_NAME["NTXent"]
    one, another = (scene.call(case.objective().inspect, scene.leaves(width)) for width in (3, 4))
    order = in_order_of_rank(case, scene, 2, 8)
    assert order.tolist() == [0, 1, 2, 4, 5, 6, 3, 7]
    assert {"total", "terms", "per_anchor", "near_mean"} <= set(other(one, another, torch.arange(8)))
    assert other(one, one, torch.arange(8)) == []
    assert other(one, one, order) == ["per_anchor"]


def test_rows_are_dealt_unevenly_and_some_processes_have_none():
    for n, world in ((7, 3), (4, 2), (1, 3), (2, 2)):
        parts = shares(n, world)
        assert len(parts) == world
        assert [i for part in parts for i in range(n)[part]] == list(range(n))
    assert len({len(range(7)[part]) for part in shares(7, 3)}) > 1
    assert any(len(part_of(SCENE["one item"], SCENE["one item"].leaves(), r, 2)[0][0]) == 0 for r in range(2))


def test_without_processes_the_strategy_says_what_is_missing():
    with pytest.raises(RuntimeError, match="there is no process group; start with torchrun"):
        NTXent(strategy="ring")(torch.eye(3), torch.eye(3))
