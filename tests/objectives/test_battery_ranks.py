"""Every objective that compares pairs, with every arrangement, over several processes: see `spread.py`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from cases import EVERY
from scenes import SCENE, SCENES
from spread import meets, part_of, shares

from nearfar.objectives import NTXent


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
        assert report["met"] == sum(meets(case, scene) for case in EVERY for scene in SCENES)
        assert not report["wrong"]


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
