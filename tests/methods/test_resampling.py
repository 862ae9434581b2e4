"""SimCLR with a teacher that adds and drops pairs: by plain loops, and through a run that is resumed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import nearfar as nf
from nearfar.data.batch import Batch
from nearfar.errors import ConfigError, DataError
from nearfar.methods import SimCLR
from nearfar.run import fit, resume

LABELS = torch.tensor([0, 0, 1, 1, 2, 2])


def said(taught: torch.Tensor | None = None, **options: Any) -> tuple[float, np.ndarray]:
    """The loss of two views of six items, and the cosines of all rows."""
    encoder = nn.Identity()
    encoder.width = 4  # type: ignore[assignment]
    method = SimCLR(encoder, SimCLR.Options(temperature=0.5, **options))
    draw = torch.Generator().manual_seed(0)
    z = [torch.randn(6, 4, dtype=torch.float64, generator=draw) for _ in range(2)]
    rows = nn.functional.normalize(torch.cat(z), dim=1).numpy()
    batch = Batch(z, torch.arange(6), taught=None if taught is None else taught[:, None])
    return float(method.contrast(z, batch).loss), rows @ rows.T


@pytest.mark.parametrize(
    ("options", "near_of", "far_of"),
    [
        # By one-hot classes: 4 of 12 rows are of one class, among them the row and its partner.
        ({"drop_alike": 0.34}, "item", "other class"),
        ({"add_near": True}, "item and another of the class", "the rest"),
    ],
)
def test_switches_are_those_of_plain_loops(options: dict[str, Any], near_of: str, far_of: str):
    got, cosines = said(nn.functional.one_hot(LABELS).double(), teacher="any", **options)
    label, item = LABELS.repeat(2).numpy(), np.tile(np.arange(6), 2)
    values = []
    for i in range(12):
        own = [j for j in range(12) if j != i and item[j] == item[i]]
        friends = [j for j in range(12) if item[j] != item[i] and label[j] == label[i]]
        others = [j for j in range(12) if label[j] != label[i]]
        near = own + ([friends[0]] if "add_near" in options else [])
        far = others + ([friends[1]] if "add_near" in options else [])
        scores = cosines[i] / 0.5
        every = np.logaddexp.reduce(scores[near + far])
        values.append(np.mean([every - scores[j] for j in near]))
    assert got == pytest.approx(np.mean(values), rel=1e-9)


def test_shares_that_drop_nothing_leave_the_loss_as_it_is():
    plain, _ = said()
    asked, _ = said(torch.randn(6, 3, generator=torch.Generator().manual_seed(1)), teacher="any", drop_easy=0.01)
    assert asked == pytest.approx(plain, rel=1e-12)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ConfigError, match="drop_alike asks a teacher; set teacher"):
        SimCLR.Options(drop_alike=0.1)
    with pytest.raises(ConfigError, match="the teacher is asked nothing"):
        SimCLR.Options(teacher="small")
    with pytest.raises(ConfigError, match="by NTXent alone; leave out objective = 'DCL'"):
        SimCLR.Options(teacher="small", drop_alike=0.1, objective="DCL")
    with pytest.raises(DataError, match="asks a teacher for one vector"):
        said(teacher="any", drop_alike=0.1)


def test_a_run_with_a_file_of_vectors_is_resumed_to_the_same_bits(small: Path, tmp_path: Path):
    file = tmp_path / "teacher.npy"
    np.save(file, np.random.default_rng(0).normal(size=(200, 5)).astype(np.float32))
    how = {"steps": 2, "batch_size": 16, "checkpoint_every": 1, "progress": False, "teacher": str(file)}
    run = fit(small, tmp_path / "run", drop_alike=0.2, add_near=True, **how)
    assert run.config["teacher"] and run.config["method_options"]["projection"] == 128
    want = {k: v.clone() for k, v in run.method.state_dict().items()}
    for name in (run.path / "checkpoints").glob("step-00000002*"):
        name.unlink()
    got = resume(run.path, progress=False).method.state_dict()
    assert all(torch.equal(got[k], v) for k, v in want.items())
    assert nf.methods.SimCLR.taught is False
