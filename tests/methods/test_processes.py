"""Every method over two processes against one: see `sharing.py`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from sharing import DEALT, TRIALS, Trial, batch, differ, train

from nearfar import methods
from nearfar.methods import Method

WORLD = 2


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, list[str]]]:
    """What every process found wrong, by trial."""
    folder = tmp_path_factory.mktemp("processes")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    workers = [
        subprocess.Popen(
            [sys.executable, "sharing.py", str(rank), str(WORLD), folder / "meet", folder / f"{rank}.json"],
            cwd=Path(__file__).parent, env=environment, stderr=subprocess.PIPE, text=True,
        )
        for rank in range(WORLD)
    ]  # fmt: skip
    for worker in workers:
        _, said = worker.communicate(timeout=900)
        assert worker.returncode == 0, said
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(WORLD)]


@pytest.mark.slow
@pytest.mark.parametrize("trial", TRIALS, ids=lambda trial: trial.name)
def test_processes_that_share_batches_come_to_what_one_comes_to(trial: Trial, reports: list[dict[str, list[str]]]):
    assert [report[trial.name] for report in reports] == [[]] * WORLD


def test_every_method_is_tried_with_halves_and_with_uneven_and_empty_shares():
    for name in methods.catalogue():
        assert {trial.dealt for trial in TRIALS if trial.method == name} >= set(DEALT), name
    assert all(sum(dealt) == len(batch(0, slice(None))) for dealt in (trial.dealt for trial in TRIALS))


def test_what_differs_is_noticed():
    trial = TRIALS[0]
    said, state = train(trial.made(), slice(None))
    fewer, other = train(trial.made(), slice(0, 11))
    assert differ(said[0], said[0]) == [] and differ(state, state) == []
    assert differ(said[0], fewer[0])[0].startswith("loss by ")
    assert len(differ(state, other)) > len(state) / 2
    assert differ(state, {})[0].startswith("names")


@pytest.mark.parametrize("kind", methods.catalogue().values(), ids=methods.catalogue())
def test_spreading_needs_processes_and_a_strategy_over_them(kind: type[Method]):
    trial = next(trial for trial in TRIALS if trial.method == kind.name)
    method = trial.made()
    with pytest.raises(ValueError, match="'ring' or 'gathered', not 'tiled'"):
        method.spread("tiled")
    method.average_gradients()  # of one process alone: nothing to do
    rows = torch.ones(3, 2)
    assert method.ranks is None and method.together(rows) is rows and method.part(rows) is rows
    names = list(method.state_dict())
    method.spread("ring")
    assert list(method.state_dict()) == names
    with pytest.raises(RuntimeError, match="there is no process group"):
        said = batch(0, slice(None), trial.words)
        method.contrast([method.project(view) for view in said.views], said)
