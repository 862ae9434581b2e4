"""Items unlike normal ones: by the command, from Python, and what it says of data that do not allow it."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest

import nearfar as nf
from nearfar.anomalies import anomalies
from nearfar.errors import ConfigError, DataError
from saying import Command


@pytest.fixture
def parts(small: Path, tmp_path: Path) -> tuple[Path, Path, Path]:
    """Normal pictures of two classes; others of all four classes, of which some have no label; and ones without any."""
    with np.load(small) as archive:
        images, labels, classes = archive["images"][:190], archive["labels"][:190].astype(int), archive["classes"]
    usual = np.flatnonzero(labels < 2)
    first, rest = usual[:60], np.setdiff1d(np.arange(190), usual[:60])
    left = labels[rest].copy()
    left[:5] = -1
    np.savez(tmp_path / "normal.npz", images=images[first], labels=labels[first], classes=classes)
    np.savez(tmp_path / "mixed.npz", images=images[rest], labels=left, classes=classes)
    np.savez(tmp_path / "bare.npz", images=images[first])
    return tmp_path / "normal.npz", tmp_path / "mixed.npz", tmp_path / "bare.npz"


def oracle(run: nf.Run, normal: Path, mixed: Path, usual: set[int]) -> tuple[np.ndarray, float]:
    """Scores by all distances, and the area by all pairs of an anomaly and a normal item."""
    bank, rows = (run.embed(path, progress=False) for path in (normal, mixed))
    a, b = (v.vectors / np.linalg.norm(v.vectors, axis=1, keepdims=True) for v in (rows, bank))
    squares = np.sort(((a[:, None].astype(np.float64) - b[None]) ** 2).sum(2), axis=1)
    scores = squares[:, :2].sum(1)
    assert rows.labels is not None
    good = scores[[label in usual for label in rows.labels]]
    odd = scores[[label >= 0 and label not in usual for label in rows.labels]]
    return scores, float((odd[:, None] > good).mean() + (odd[:, None] == good).mean() / 2)


def test_the_command_scores_items_and_says_how_well_that_tells_anomalies(
    trained: Path, parts: tuple[Path, Path, Path], command: Command, tmp_path: Path
):
    normal, mixed, _ = parts
    scores, area = oracle(nf.Run.load(trained), normal, mixed, {0, 1})
    out, figures = tmp_path / "odd.csv", tmp_path / "odd.json"
    said = command("anomalies", trained, mixed, "--normal", normal, "--out", out, "--json", figures)
    assert said.code == 0 and said.err == ""
    with out.open() as file:
        table = list(csv.DictReader(file))
    assert [float(row["score"]) for row in table] == pytest.approx(sorted(scores, reverse=True), abs=2e-6)
    assert table[0]["name"] == f"{mixed}[{scores.argmax()}]" and said.out.startswith(f"{scores.max():.4f}  {mixed}")
    found = json.loads(figures.read_text())
    assert found["auroc"]["nearfar"]["value"] == pytest.approx(area, abs=1e-6)
    assert found["auroc"]["nearfar"]["low"] < area < found["auroc"]["nearfar"]["high"]
    assert len(found["auroc"]) == 2 and len(found["classes"]) == 2 and found["normal"] == 60
    assert f"AUROC        {area:.3f} [" in said.out


def test_the_page_shows_the_most_unlike_items_and_those_that_are_mistaken(
    trained: Path, parts: tuple[Path, Path, Path], command: Command, tmp_path: Path
):
    normal, mixed, bare = parts
    scores, area = oracle(nf.Run.load(trained), normal, mixed, {0, 1})
    with np.load(mixed) as archive:
        labels = archive["labels"]
    order = [int(row) for row in np.argsort(-scores, kind="stable")]
    usual, odd = ([row for row in order if labels[row] in kinds] for kinds in ((0, 1), (2, 3)))
    said = command("anomalies", trained, mixed, "--normal", normal, "--report", tmp_path / "odd.html")
    assert said.code == 0 and f"Page     {tmp_path / 'odd.html'}" in said.out
    page = (tmp_path / "odd.html").read_text()
    for anchor, rows in (("unlike", order[:24]), ("mistaken", usual[:12]), ("missed", odd[::-1][:12])):
        section = page.split(f'<section id="{anchor}">')[1].split("</section>")[0]
        tiles = re.findall(r'<figure class="([^"]*)" title="[^"]*\[(\d+)\]">', section)
        assert [int(row) for _, row in tiles] == rows and section.count("data:image/png") == len(rows)
        if anchor == "unlike":
            assert ["marked" in css for css, _ in tiles] == [row in usual for row in rows]
        assert f"#{order.index(rows[0]) + 1} · {scores[rows[0]]:.4f}" in section
    assert f"<strong>{area:.3f}</strong>" in page and f"anomalies, {len(odd)}<" in page
    assert "http" not in page.replace("http-equiv", "")
    anomalies(trained, bare, normal, progress=False).page(tmp_path / "bare.html")
    page = (tmp_path / "bare.html").read_text()
    assert "the items have no labels" in page and page.count('<figure class="item') == 24 and "mistaken" not in page


def test_one_class_is_normal_of_data_in_two_parts(trained: Path, parts: tuple[Path, Path, Path], tmp_path: Path):
    normal, mixed, _ = parts
    with np.load(normal) as one, np.load(mixed) as other:
        both = tmp_path / "both.npz"
        np.savez(both, images=one["images"], labels=one["labels"], classes=one["classes"],
                 test_images=other["images"], test_labels=other["labels"])  # fmt: skip
        only = tmp_path / "only.npz"
        np.savez(only, images=one["images"][one["labels"] == 0])
        name = str(one["classes"][0])
    run = nf.Run.load(trained)
    found = anomalies(run, both, classes=[name], progress=False, resamples=20)
    scores, area = oracle(run, only, mixed, {0})
    np.testing.assert_allclose(found.scores, scores, atol=1e-6)
    assert found.areas["nearfar"].value == pytest.approx(area, abs=1e-6)
    bare = anomalies(run, mixed, only, [name], progress=False, resamples=20)
    assert bare.areas["nearfar"] == found.areas["nearfar"] and bare.normal == found.normal


def test_without_labels_there_are_scores_and_a_reason(trained: Path, parts: tuple[Path, Path, Path]):
    normal, mixed, bare = parts
    for data, usual, why in (
        (bare, normal, "the items have no labels"),
        (mixed, bare, "which label is normal"),
        (normal, mixed, "all labels are those of normal items"),
    ):
        found = anomalies(trained, data, usual, progress=False)
        assert why in str(found) and found.areas == {} and len(found.scores) == len(found.names)


def test_what_cannot_be_is_refused(trained: Path, parts: tuple[Path, Path, Path], command: Command):
    normal, mixed, _ = parts
    with pytest.raises(ConfigError, match="has no test part, so say which items are normal"):
        anomalies(trained, mixed, progress=False)
    with pytest.raises(ConfigError, match="cannot be the normal items too"):
        anomalies(trained, mixed, mixed, progress=False)
    with pytest.raises(DataError, match="k = 61 nearest of 60 normal items"):
        anomalies(trained, mixed, normal, k=61, progress=False)
    said = command("anomalies", trained, mixed, "--normal", normal, "--class", "hat")
    assert said.code == 2 and "no item has the label 'hat'; labels there are: " in said.err


def test_items_that_are_normal_items_too_are_counted(
    trained: Path, parts: tuple[Path, Path, Path], command: Command, tmp_path: Path
):
    normal, mixed, _ = parts
    with np.load(normal) as one, np.load(mixed) as other:
        np.savez(tmp_path / "again.npz", images=np.concatenate([one["images"][:3], other["images"]]))
    before = len(
        {row.tobytes() for row in np.load(normal)["images"]} & {row.tobytes() for row in np.load(mixed)["images"]}
    )
    said = command("anomalies", trained, tmp_path / "again.npz", "--normal", normal)
    assert said.code == 0 and f"{3 + before} items to score are normal items too" in said.err
    assert "No AUROC: the items have no labels." in said.out
