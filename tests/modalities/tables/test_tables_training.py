"""Every method of the catalogue trains on a table and resumes to the same bits, though no method knows of tables.

Nothing here names a method: a new one is covered when it is in the catalogue.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import torch
from table_samples import people, write_csv

from nearfar import methods
from nearfar.modalities.tables.views import TableViews
from nearfar.run import Run, fit, resume
from saying import Command

STEPS, HALF = 4, 2
SETTINGS = {"steps": STEPS, "checkpoint_every": HALF, "log_every": 1, "batch_size": 32, "projection": 8, "threads": 1}


def offered(asked: Iterable[str]) -> bool:
    """Whether views of tables have what a method asks of views."""
    return all(hasattr(TableViews, name) for name in asked)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_csv(tmp_path_factory.mktemp("data") / "people.csv", people())


@pytest.mark.parametrize("name", [n for n, m in methods.catalogue().items() if offered(getattr(m, "asks", ()))])
def test_every_method_trains_on_a_table_and_resumes_to_the_same_bits(name: str, table: Path, tmp_path: Path):
    more = {"sepclr": {"background": "a"}, "distil": {"teacher": "mlp-8x1"}}.get(name, {})
    run = fit(table, tmp_path / "run", method=name, encoder="mlp-32x2", progress=False, **SETTINGS, **more)
    assert run.config["modality"] == "tables"
    assert len(run.history) == STEPS and all(np.isfinite(line["loss"]) for line in run.history)
    before, after = run.fresh_method().encoder.state_dict(), run.method.encoder.state_dict()
    moved = [key for key in after if not torch.equal(before[key], after[key])]
    assert any(after[key].ndim > 1 for key in moved)

    folder = Path(shutil.copytree(run.path, tmp_path / "again"))
    for file in (folder / "checkpoints").glob(f"step-{STEPS:08d}*"):
        file.unlink()
    again = resume(folder, progress=False)
    want, got = run.method.state_dict(), again.method.state_dict()
    assert want.keys() == got.keys() and all(torch.equal(want[key], got[key]) for key in want)
    assert [line["loss"] for line in again.history] == [line["loss"] for line in run.history]


def test_the_command_fits_measures_embeds_and_reports(command: Command, table: Path, tmp_path: Path):
    out = tmp_path / "run"
    said = command("fit", table, "--steps", 3, "--batch-size", 16, "--encoder", "mlp-16x2", "-o", out, "--no-evaluate")
    assert said.code == 0, said
    assert said.err == (
        f"nearfar: {table}: left out: number: a running number; key: text that is nearly always another: "
        "96 different in 96 cells; planet: the same everywhere: 'earth'\n"
    )
    page = (out / "report.html").read_text("utf-8")
    assert "tables" in page and "data:image" not in page

    said = command("evaluate", out, table, "--probes", "knn", "-k", 5, "--json", tmp_path / "f.json")
    assert said.code == 0, said
    assert set(json.loads((tmp_path / "f.json").read_text())["evaluations"]) == {
        "nearfar",
        "untrained encoder",
        "raw columns",
    }
    said = command("embed", out, table, "--out", tmp_path / "v.npz")
    assert said.code == 0, said
    with np.load(tmp_path / "v.npz") as saved:
        assert saved["vectors"].shape == (96, 16) and saved["labels"].shape == (96,)
        assert saved["names"][3] == f"{table}[3]"
    assert command("report", out).code == 0


def test_new_rows_are_read_by_the_schema_of_the_run(table: Path, tmp_path: Path):
    run = fit(table, tmp_path / "run", steps=2, batch_size=16, encoder="mlp-16x2", progress=False)
    columns = people()
    fewer = {name: cells[:7] for name, cells in columns.items() if name != "class"}
    shuffled = write_csv(tmp_path / "new.csv", {"more": ["x"] * 7, **dict(reversed(fewer.items()))})
    new = Run.load(run.path).embed(shuffled, progress=False)
    assert new.labels is None
    np.testing.assert_array_equal(new.vectors, run.embed(table, progress=False).vectors[:7])
