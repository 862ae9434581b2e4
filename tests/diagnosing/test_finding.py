"""What every diagnosis gives, and the command that runs it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from nearfar import diagnosing
from nearfar.diagnosing.finding import over_seeds, rank_correlations
from nearfar.errors import ConfigError, DataError
from saying import Command

QUICK = ("--set", "steps=20", "--set", "held=4", "--set", "batch=16")


def test_an_interval_over_seeds_is_students():
    values = [0.3, 0.5, 0.1, 0.2]
    found = over_seeds("x", values)
    low, high = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
    assert (found.value, found.low, found.high, found.n) == pytest.approx((0.275, low, high, 4))
    assert over_seeds("x", values, within=(0.2, 0.3)).low == 0.2
    assert not over_seeds("x", [1.0]).has_interval
    assert not over_seeds("x", [1.0, np.nan]).has_interval
    with pytest.raises(DataError, match="one value for each seed"):
        over_seeds("x", [])


def test_rank_correlations_are_spearmans_of_each_seed():
    a, b = np.random.default_rng(0).normal(size=(2, 3, 9))
    expected = np.mean([stats.spearmanr(x, y)[0] for x, y in zip(a, b, strict=True)])
    assert rank_correlations("r", a, b).value == pytest.approx(expected)


def test_the_list_names_all_and_their_claims(command: Command):
    said = command("diag")
    assert said.code == 0
    for name, diagnosis in diagnosing.catalogue().items():
        assert name in said.out and diagnosis.claim in said.out


@pytest.mark.parametrize("name", diagnosing.catalogue())
def test_about_says_every_setting(name: str, command: Command):
    said = command("diag", name, "--about")
    assert said.code == 0
    fields = diagnosing.find(name).Options.model_fields
    assert all(key in said.out and str(field.description) in said.out for key, field in fields.items())


def test_figures_and_page_are_written(command: Command, tmp_path: Path):
    figures, page = tmp_path / "f.json", tmp_path / "page.html"
    said = command("diag", "sufficiency", "--seeds", 2, *QUICK, "--json", figures, "--report", page)
    assert said.code == 0, said.err
    found = json.loads(figures.read_text())
    assert found["verdict"] in said.out and found["diagnosis"] == "sufficiency"
    assert found["settings"]["seeds"] == 2 and found["figures"]["last_gap"]["n"] == 2
    assert found["table"][0]["step"] == 0
    html = page.read_text()
    assert html.count("<svg") >= 3 and found["verdict"].split(" (")[0] in html


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nothing"], "there is no diagnosis 'nothing'; there are sufficiency"),
        (["sufficiency", "--seeds", "1"], "seeds"),
        (["sufficiency", "--set", "stepps=3"], "did you mean 'steps'"),
        (["negatives", "--set", "ks=[1,2]"], "ks"),
    ],
)
def test_what_is_wrong_is_said(arguments: list[str], told: str, command: Command):
    said = command("diag", *arguments)
    assert said.code == 2 and told in said.err


def test_a_diagnosis_says_the_same_again():
    how = {"seeds": 2, "steps": 20, "held": 4, "batch": 16}
    one, two = (diagnosing.diagnose("sufficiency", **how).to_json() for _ in range(2))
    assert one == two
    with pytest.raises(ConfigError, match="no diagnosis"):
        diagnosing.diagnose("nothing")
