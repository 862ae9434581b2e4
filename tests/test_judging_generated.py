"""Generated pictures judged by an encoder: what is written, the page, and the command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from nearfar.cli import app
from nearfar.data import bundled
from nearfar.errors import ConfigError
from nearfar.evaluation.maps import feature_map
from nearfar.generated import judge
from nearfar.models.foreground import Foreground
from nearfar.opening import open_run
from nearfar.report.generated import foreground, histogram


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve clothes; of some there is a picture that is the same, and for two it is that of another."""
    folder = tmp_path_factory.mktemp("judged")
    with np.load(bundled.path("fashion")) as archive:
        images = archive["images"][:12]
    np.savez(folder / "data.npz", images=images)
    of = np.array([0, 1, 2, 3, 4, 5])
    np.savez(folder / "made.npz", images=np.concatenate([images[:4], images[[9, 8]]]), of=of)
    return folder


def test_qualities_are_those_of_the_maps_and_are_written(data: Path) -> None:
    found = judge("small", data / "data.npz", data / "made.npz", progress=False)
    run = open_run("small", data / "data.npz")
    source, _ = run.read(data / "data.npz")
    views = run.modality.views(run.config["source"], 2, run.options, run.method.encoder)
    maps = feature_map(run.method.encoder, views.plain(source.rows(slice(None))))
    front, back = Foreground(maps).agreement(maps[:6], maps[[0, 1, 2, 3, 9, 8]])
    assert found.foreground == pytest.approx(front.numpy(), abs=1e-5)
    assert found.quality == pytest.approx((front - back).numpy(), abs=1e-5)
    assert found.foreground[:4] == pytest.approx(np.ones(4), abs=1e-5)
    assert found.weights(2.0).mean() == pytest.approx(1)
    records = [json.loads(line) for line in (data / "made.quality.jsonl").read_text().splitlines()]
    assert [one["generated"] for one in records] == [f"[{row}]" for row in range(6)]
    assert [one["quality"] for one in records] == pytest.approx(found.quality.tolist(), abs=1e-6)
    assert records[0]["original"].endswith("data.npz[0]") and records[0]["by"] == "small"


def test_the_command_writes_a_page(data: Path) -> None:
    page = data / "page.html"
    given = ["generated", "small", str(data / "data.npz"), str(data / "made.npz"), "--page", str(page)]
    told = CliRunner().invoke(app, given)
    assert told.exit_code == 0, told.output
    assert "6 of 6 items of 12" in told.output
    text = page.read_text()
    assert text.count('<figure class="pair">') == 6  # the worst three and the best three, four pictures each
    assert text.count("data:image/png;base64,") == 24 and "Worst pairs" in text


def test_tables_have_no_generated_pictures(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b\n" + "\n".join(f"{n},{n * 2}" for n in range(20)))
    with pytest.raises(ConfigError, match="belong to pictures"):
        judge("mlp", tmp_path / "t.csv", tmp_path / "made.npz", modality="tables", progress=False)


def test_what_is_background_is_dimmed() -> None:
    picture = np.full((1, 4, 4), 200, np.uint8)
    made = foreground(picture, np.array([[1.0, 0.0], [0.5, 1.0]]))
    assert made[0, :, ::2].tolist() == [[200, 50], [200, 50], [125, 200], [125, 200]]


def test_equal_weights_are_drawn_too() -> None:
    assert "not finite" not in histogram("Weights", torch.ones(5).numpy())
