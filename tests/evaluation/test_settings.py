from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from nearfar.errors import ConfigError
from nearfar.evaluation import EvaluationSettings, dense_probe, evaluate_vectors, finetune_probe

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "evaluation.md"


def test_the_table_of_settings_says_what_the_settings_say() -> None:
    table = DOCUMENT.read_text().split("<!-- table: evaluation -->")[1].split("<!-- end of table -->")[0]
    said = {row[0]: row[1:] for row in re.findall(r"^\| `(\w+)` \| (.*?) \| (.*) \|$", table, re.M)}
    fields = EvaluationSettings.model_fields
    assert said == {k: ("" if f.default is None else f"`{f.default}`", f.description) for k, f in fields.items()}


@pytest.mark.parametrize(
    ("probe", "given"),
    [
        (evaluate_vectors, EvaluationSettings().of_vectors()),
        (finetune_probe, EvaluationSettings().of_finetune()),
        (dense_probe, EvaluationSettings().of_dense()),
    ],
)
def test_defaults_are_those_of_the_probes(probe: object, given: dict[str, object]) -> None:
    known = inspect.signature(probe).parameters  # type: ignore[arg-type]
    assert {key: known[key].default for key in given} == given


def test_every_setting_reaches_a_probe() -> None:
    settings = EvaluationSettings()
    given = {
        *settings.of_vectors(),
        *(f"finetune_{key}" for key in settings.of_finetune()),
        *(f"dense_{key}" for key in settings.of_dense()),
        "measures",  # of `search_quality`, by `nearfar.matching.measure`
        "rerank_depth",  # of `reordered_quality`, by `nearfar.evaluate`
    }
    assert set(EvaluationSettings.model_fields) <= given


def test_few_labels_are_drawn_more_often() -> None:
    assert EvaluationSettings(finetune_per_class=5).of_finetune()["draws"] == 3
    assert EvaluationSettings(finetune_per_class=5, finetune_draws=2).of_finetune()["draws"] == 2


def test_mistakes_are_named() -> None:
    with pytest.raises(ConfigError, match="setting 'k' = 0"):
        EvaluationSettings(k=0)
    with pytest.raises(ConfigError, match="unknown setting 'clustres'; did you mean 'clusters'"):
        EvaluationSettings(clustres=3)
