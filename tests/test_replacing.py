"""Negatives that are replaced while a model learns, by plain loops over texts, and to the bit after a break."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import nearfar as nf
from nearfar.errors import ConfigError
from nearfar.fitting import trainer_of
from nearfar.training.team import Team

SETTINGS: dict[str, Any] = {
    **{"method": "pairs", "encoder": "ngrams-16", "steps": 12, "batch_size": 8, "log_every": 1, "progress": False},
    **{"replace_every": 4, "negatives": 2, "percentage": 0, "depth": 8, "replace_skip": 1, "lr": 0.05, "threads": 1},
}
COLOURS = ("red", "blue", "green", "round", "flat", "tall", "old", "new")


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 pairs, whose words stand in many others."""
    rng, lines = np.random.default_rng(0), ["anchor,positive"]
    for number in range(24):
        one, two, three = rng.choice(COLOURS, 3, replace=False)
        lines.append(f"a {one} {two} thing {number},the {two} {one} {three} object {number}")
    path = tmp_path_factory.mktemp("data") / "pairs.csv"
    path.write_text("\n".join(lines))
    return path


def cosines(encoder: Any, anchors: list[str], positives: list[str]) -> np.ndarray:
    with torch.no_grad():
        sides = [torch.nn.functional.normalize(encoder(encoder.tokens(side)), dim=1) for side in (anchors, positives)]
    found: np.ndarray = (sides[0] @ sides[1].T).numpy()
    return found


def test_what_has_become_easy_is_replaced_by_the_next_of_its_list(pairs: Path, tmp_path: Path):
    run = nf.fit(pairs, tmp_path / "run", **{**SETTINGS, "steps": 1})
    source: Any = run.read(pairs)[0]
    trainer = trainer_of(run, source, Team(), False)
    renewal: Any = trainer.renewal
    encoder: Any = trainer.method.encoder.eval()
    anchors, positives = list(source.columns["anchor"]), list(source.columns["positive"])
    first = renewal(0)
    before = cosines(encoder, anchors, positives)
    ranked = [[place for place in np.argsort(-before[row], kind="stable") if place != row][:8] for row in range(24)]
    assert renewal.source.table.tolist() == [line[:2] for line in ranked]
    assert first["negative_mean"] == pytest.approx(
        np.mean([before[r, line[:2]] for r, line in enumerate(ranked)]), rel=1e-5
    )
    assert first["positive_mean"] == pytest.approx(np.diag(before).mean(), rel=1e-5)

    windows, installed = [0] * 24, [before[row, ranked[row][:2]].mean() for row in range(24)]
    for step, seed in ((4, 1), (8, 2)):
        with torch.no_grad():
            encoder.vectors.weight.copy_(
                torch.randn(encoder.vectors.weight.shape, generator=torch.Generator().manual_seed(seed))
            )
        said, now, moved = renewal(step), cosines(encoder, anchors, positives), 0
        for row in range(24):
            start = 0 if not windows[row] else (windows[row] - 1) * 2 + 1
            score = now[row, ranked[row][start : start + 2]].mean()
            if 1.15 * score < installed[row] and abs(score) < 0.8 and windows[row] * 2 + 3 <= 8:
                windows[row] += 1
                start, moved = (windows[row] - 1) * 2 + 1, moved + 1
                installed[row] = now[row, ranked[row][start : start + 2]].mean()
            assert renewal.source.table[row].tolist() == ranked[row][start : start + 2]
        assert said["replaced"] == moved > 0 and said["window_mean"] == pytest.approx(np.mean(windows))


@pytest.mark.parametrize("every", [5, 4], ids=["between two looks", "where it looks"])
def test_an_interrupted_run_goes_on_with_the_same_negatives(pairs: Path, tmp_path: Path, every: int):
    run = nf.fit(pairs, tmp_path / "run", **SETTINGS, checkpoint_every=every, refresh_from=2)
    found = {line["step"]: line["renewed"] for line in run.history if "renewed" in line}
    assert list(found) == [3, 7, 11] and sum(one.get("replaced", 0) for one in found.values()) > 0
    folder = tmp_path / "again"
    shutil.copytree(run.path, folder)
    for file in (folder / "checkpoints").glob("step-00000012*"):
        file.unlink()
    again = nf.resume(folder, progress=False)
    want, got = run.method.state_dict(), again.method.state_dict()
    assert all(torch.equal(want[name], got[name]) for name in want)
    parts = [[(line["loss"], line.get("renewed")) for line in one.history] for one in (run, again)]
    assert parts[0] == parts[1]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"refresh": 4}, "refresh mines all negatives again, replace_every replaces some; set one of them"),
        ({"replace_every": None, "refresh": 4}, "replace_skip is of negatives that are replaced; set replace_every"),
        ({"method": "simclr"}, "replace_every mines negatives, and simclr has no use for them; use the method pairs"),
        ({"refresh_parts": 2}, "replace_every looks at all queries, hardest first; leave out refresh_parts"),
        ({"draw": "random"}, "replace_every looks at all queries, hardest first; leave out draw"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(
    pairs: Path, tmp_path: Path, settings: dict[str, Any], message: str
):
    with pytest.raises(ConfigError, match=message):
        nf.fit(pairs, tmp_path / "run", **{**SETTINGS, **settings})
    assert not (tmp_path / "run").exists()
