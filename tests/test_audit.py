"""Audits: several trainings on uneven data, measured side by side, from the command and from Python."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from nearfar.auditing import audit_harms
from nearfar.auditing.rare import made_rare
from nearfar.auditing.trainings import labelled
from nearfar.errors import ConfigError
from nearfar.evaluation import mean_cosines
from nearfar.run import Run
from saying import Command

HARMS = ["--rare", "Pullover", "--share", "0.1", "--steps", "3", "--batch-size", "32", "--seeds", "1", "--seed", "1"]


def test_a_share_of_one_class_is_left():
    labels = np.array([0] * 200 + [1] * 50)
    kept = made_rare(labels, 0, 0.01, seed=3)
    assert (labels[kept] == 0).sum() == 2 and (labels[kept] == 1).sum() == 50 and (np.diff(kept) > 0).all()
    assert made_rare(labels, 0, 0.01, seed=4).tolist() != kept.tolist()


def test_audit_of_harms_from_the_command(command: Command, small: Path, tmp_path: Path):
    out = tmp_path / "out"
    said = command("audit", "harms", small, *HARMS, "--out", out)
    assert said.code == 0, said.err
    assert "Rare class: Pullover, 4 training rows left; seeds: 1" in said.out
    figures = json.loads((out / "harms.json").read_text())
    run, balanced = Run.load(out / "rare-1"), Run.load(out / "balanced-1")
    assert run.config["source"]["items"] == balanced.config["source"]["items"] - 36
    assert run.history[-1]["step"] == balanced.history[-1]["step"] == 3
    rows, _ = labelled(small, None, {}, tmp_path / "again", False)
    apart = [1 - mean_cosines(one.embed(rows.test).vectors, rows.test.labels) for one in (balanced, run)]
    np.testing.assert_allclose(figures["representation"][0], apart[1] / apart[0], rtol=1e-4)
    # Asked again it trains nothing; another question is not answered from this folder.
    saved = out / "rare-1" / "checkpoints" / "step-00000003.json"
    before = saved.stat().st_mtime_ns
    assert command("audit", "harms", small, *HARMS, "--out", out).out == said.out
    assert saved.stat().st_mtime_ns == before
    other = command("audit", "harms", small, *HARMS, "--out", out, "--share", "0.2")
    assert other.code == 2 and "holds an audit with share = 0.1, not 0.2" in other.err


def test_what_cannot_be_audited_is_said(small: Path, tmp_path: Path):
    with pytest.raises(ConfigError, match="no class 'Hat'; there are T-shirt/top"):
        audit_harms(small, tmp_path / "a", rare="Hat")
    with pytest.raises(ConfigError, match="share lies between 0 and 1"):
        audit_harms(small, tmp_path / "b", share=1)
    assert not (tmp_path / "a").exists() or not list((tmp_path / "a").glob("*-0"))
