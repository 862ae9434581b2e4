"""Transfer from a run: few labels in several sizes, fine-tuning, clustering, masks; from Python and by the command."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import nearfar as nf
from nearfar.assess import Assessment
from nearfar.errors import ConfigError, DataError
from nearfar.evaluation import ALL_PROBES, clustering, finetune_probe
from nearfar.reporting import write

Command = Callable[..., Any]
QUICK = {"finetune_steps": 4, "finetune_batch_size": 16, "resamples": 50, "cluster_seeds": 2, "draws": 2}


def cut_outs(folder: Path, each: int = 10, classes: tuple[str, ...] = ("disc", "bar")) -> Path:
    """Bright shapes on nothing, a folder for each kind."""
    from PIL import Image

    down, across = np.mgrid[:32, :32] - 15.5
    opaque = {"disc": down**2 + across**2 < 150, "bar": np.abs(down) < 5}
    for name in classes:
        (folder / name).mkdir(parents=True)
        for row in range(each):
            pixels = np.full((32, 32, 4), 235 + row, dtype=np.uint8)
            pixels[..., 3] = opaque[name] * 255
            Image.fromarray(pixels).save(folder / name / f"{row}.png")
    return folder


def photographs(folder: Path) -> Path:
    from PIL import Image

    folder.mkdir()
    for row in range(4):
        pixels = np.random.default_rng(row).integers(0, 120, (60, 60, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{row}.png")
    return folder


@pytest.fixture(scope="module")
def run(trained: Path) -> nf.Run:
    return nf.Run.load(trained)


@pytest.fixture(scope="module")
def transfer(run: nf.Run, small: Path) -> Assessment:
    return nf.evaluate(run, small, probes=["fewshot", "clustering", "finetune"], per_class=[1, 5], **QUICK)


@pytest.fixture(scope="module")
def dense(run: nf.Run, tmp_path_factory: pytest.TempPathFactory) -> Assessment:
    place = tmp_path_factory.mktemp("dense")
    shapes, behind = cut_outs(place / "shapes"), photographs(place / "photos")
    return nf.evaluate(run, shapes, probes=["dense", "knn"], backgrounds=behind, k=3, resamples=50)


def test_fine_tuning_starts_from_the_run_and_from_the_untrained_encoder(
    run: nf.Run, small: Path, transfer: Assessment
) -> None:
    found = {name: e.metrics for name, e in transfer.evaluations.items()}
    assert "finetune_accuracy" not in found["raw pixels"]
    assert transfer.gains["untrained encoder"]["finetune_accuracy"].value == pytest.approx(
        found["nearfar"]["finetune_accuracy"].value - found["untrained encoder"]["finetune_accuracy"].value
    )
    train, held = transfer.train, transfer.test
    views = run.modality.views(run.config["source"], 1, run.options)
    for name, method in (("nearfar", run.method), ("untrained encoder", run.fresh_method())):
        alone = finetune_probe(
            method.encoder, views, train.rows, train.labels, held.rows, held.labels,
            steps=4, batch_size=16, resamples=50,
        )  # fmt: skip
        assert found[name]["finetune_accuracy"] == alone.report.metrics["accuracy"]
    assert transfer.evaluations["nearfar"].finetune_draws[0]["train"] == len(train) == 160


def test_the_run_is_the_same_after_fine_tuning(trained: Path, small: Path) -> None:
    run = nf.Run.load(trained)
    before = {key: value.clone() for key, value in run.method.state_dict().items()}
    nf.evaluate(run, small, probes=["finetune"], baselines=False, **QUICK)
    assert all(torch.equal(value, before[key]) for key, value in run.method.state_dict().items())


def test_few_labels_in_several_sizes_make_a_curve(run: nf.Run, small: Path, transfer: Assessment) -> None:
    alone = nf.evaluate(run, small, probes=["fewshot"], per_class=5, baselines=False, **QUICK).evaluations["nearfar"]
    ours = transfer.evaluations["nearfar"]
    assert ours.metrics["fewshot@5_accuracy"] == alone.metrics["fewshot_accuracy"]
    assert "fewshot_accuracy" not in ours.metrics and ours.metrics["fewshot@1_accuracy"].value > 0.25
    assert [draw["per_class"] for draw in ours.draws] == [1, 1, 5, 5]
    text = str(transfer)
    assert "1 label per class accuracy  5 labels per class accuracy" in text
    assert "fewshot@1_accuracy against raw pixels" in text


def test_clustering_of_the_run_is_that_of_its_vectors(run: nf.Run, transfer: Assessment) -> None:
    alone = clustering(run.vectors_of(run.method, transfer.test), transfer.test.labels, seeds=2, resamples=50)
    for key, metric in alone.metrics.items():
        assert transfer.evaluations["nearfar"].metrics[f"clustering_{key}"] == metric


def test_text_has_a_section_for_each_probe_and_says_which_rows(transfer: Assessment, dense: Assessment) -> None:
    text = str(transfer)
    assert text.startswith("Fitted on 160 rows of small.npz, scored on 40 rows. Classes: T-shirt/top, Trouser")
    for title in ("\n\nFew labels\n", "\n\nFine-tuning\n", "\n\nClustering\n"):
        assert title in text
    assert "kNN" not in text and "Dense" not in text
    fine = text.split("Fine-tuning\n")[1].split("\n\n")[0]
    assert "untrained encoder" in fine and "raw pixels" not in fine
    assert "\n\nDense\n" in str(dense) and "IoU of each class of pixels: background" in str(dense)


def test_json_and_page_have_all_of_it(run: nf.Run, transfer: Assessment, dense: Assessment, tmp_path: Path) -> None:
    found = json.loads(transfer.save(tmp_path / "figures.json").read_text())["evaluations"]["nearfar"]
    assert {"clustering_ami", "clustering_purity", "finetune_macro_f1", "fewshot@1_accuracy"} <= set(found["metrics"])
    assert found["finetune_draws"][0]["seed"] == 0
    masks = json.loads(dense.save(tmp_path / "dense.json").read_text())["evaluations"]["raw pixels"]
    assert [row["name"] for row in masks["dense_per_class"]] == ["background", "bar", "disc"]
    page = write(run, transfer, path=tmp_path / "page.html").read_text("utf-8")
    for part in ("1 label per class accuracy", "5 labels per class accuracy", "Fine-tuned accuracy", "NMI"):
        assert part in page, part
    page = write(run, dense, path=tmp_path / "dense.html").read_text("utf-8")
    assert "Foreground IoU" in page and "CorLoc" in page


def test_dense_sees_pasted_pictures_and_so_do_all_probes(dense: Assessment) -> None:
    ours, raw = (dense.evaluations[name].metrics for name in ("nearfar", "raw pixels"))
    # Bright shapes on dark photographs: the colour of a pixel tells all but the mixed edge.
    assert raw["dense_foreground_iou"].value > 0.8 and raw["dense_corloc"].value == 1
    assert raw["dense_mean_iou"].settings["map"] == [3, 28, 28]
    assert ours["dense_mean_iou"].settings["map"] == [256, 4, 4]
    assert {"dense_box_iou", "knn_accuracy"} <= set(dense.gains["raw pixels"])
    assert dense.train.details["masks"] == "pasted" and len(dense.train) == 16
    assert not any("shows white" in note for note in dense.evaluations["nearfar"].notes)


def test_cut_outs_on_white_come_with_a_warning(run: nf.Run, tmp_path: Path) -> None:
    found = nf.evaluate(run, cut_outs(tmp_path / "shapes"), probes=["dense"], baselines=False, resamples=20)
    assert any("colour alone can tell the background" in note for note in found.evaluations["nearfar"].notes)
    assert "Note: what is transparent shows white" in str(found)


def test_the_target_may_be_another_folder_with_parts_of_its_own(trained: Path, tmp_path: Path) -> None:
    for part, each in (("train", 6), ("test", 3)):
        cut_outs(tmp_path / "shapes" / part, each)
    found = nf.evaluate(trained, tmp_path / "shapes", probes=["fewshot"], per_class=[1, 4], **QUICK)
    assert str(found).startswith("Fitted on 12 rows of train, scored on 6 rows of test. Classes: bar, disc.")
    assert found.evaluations["nearfar"].metrics["fewshot@4_accuracy"].value > 0.7


def test_an_encoder_by_name_is_its_own_baseline(small: Path) -> None:
    found = nf.evaluate("small", small, probes=["knn", "finetune"], k=5, **QUICK)
    assert list(found.evaluations) == ["nearfar", "raw pixels"]
    assert "finetune_accuracy" in found.evaluations["nearfar"].metrics


def test_a_table_has_no_masks(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).standard_normal((40, 4))
    lines = ["a,b,c,d,label", *(",".join(map(str, row)) + f",{i % 2}" for i, row in enumerate(rows.round(3)))]
    (tmp_path / "table.csv").write_text("\n".join(lines) + "\n")
    run = nf.fit(tmp_path / "table.csv", tmp_path / "run", steps=2, batch_size=16, progress=False)
    with pytest.raises(ConfigError, match="the dense probe is for pictures; this run has tables"):
        nf.evaluate(run, tmp_path / "table.csv", probes=["dense"])
    found = nf.evaluate(run, tmp_path / "table.csv", probes=["finetune", "clustering"], **QUICK)
    assert found.evaluations["untrained encoder"].metrics["finetune_accuracy"].n == 8


def test_mistakes_say_what_to_do(run: nf.Run, small: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"there is no probe 'finetun'; there are {', '.join(ALL_PROBES)}"):
        nf.evaluate(run, small, probes=["finetun"])
    with pytest.raises(ConfigError, match="no probe was asked for"):
        nf.evaluate(run, small, probes=[])
    with pytest.raises(ConfigError, match="unknown setting 'finetune_step'; did you mean 'finetune_steps'"):
        nf.evaluate(run, small, finetune_step=3)
    with pytest.raises(ConfigError, match="backgrounds serve the dense probe only"):
        nf.evaluate(run, small, backgrounds=tmp_path)
    with pytest.raises(ConfigError, match="give their path"):
        nf.evaluate(run, run.read(small)[0], probes=["dense"])
    with pytest.raises(DataError, match="no such folder; give a folder of pictures with masks"):
        nf.evaluate(run, tmp_path / "nowhere", probes=["dense"])
    with pytest.raises(DataError, match=r"small.npz: class \d has \d+ training rows, 90 are needed to fine-tune"):
        nf.evaluate(run, small, probes=["finetune"], finetune_per_class=90)
    shapes = cut_outs(tmp_path / "flat", classes=("disc",)) / "disc"
    with pytest.raises(DataError, match="finetune needs labels, and there are none"):
        nf.evaluate(run, shapes, probes=["dense", "finetune"], resamples=5)


def test_the_command(command: Command, trained: Path, small: Path, tmp_path: Path) -> None:
    said = command(
        *("evaluate", trained, small, "--probes", "fewshot,clustering,finetune", "--per-class", "1,3", "--draws", 2),
        *("--finetune-steps", 3, "--finetune-per-class", 2, "--clusters", 3, "--set", "finetune_batch_size=8"),
        *("--set", "resamples=20", "--json", tmp_path / "f.json"),
    )
    assert said.code == 0 and said.err == ""
    ours = json.loads((tmp_path / "f.json").read_text())["evaluations"]["nearfar"]
    settings = ours["metrics"]["finetune_accuracy"]["settings"]
    assert {settings[key] for key in ("steps", "per_class", "draws")} == {3, 2}
    assert settings["batch_size"] == 8 and len(ours["finetune_draws"]) == 3
    assert ours["metrics"]["clustering_ari"]["settings"]["clusters"] == 3
    shapes, behind = cut_outs(tmp_path / "shapes"), photographs(tmp_path / "photos")
    said = command(
        "evaluate", trained, shapes, "--probes", "dense", "--backgrounds", behind, "--report", tmp_path / "p"
    )
    assert said.code == 0 and "foreground IoU" in said.out and (tmp_path / "p").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--per-class", "1,x"], "--per-class takes whole numbers with commas, such as 1,5,10, not '1,x'"),
        (["--per-class", "0"], "per_class must be whole numbers of at least 1"),
        (["--probes", "dens"], "there is no probe 'dens'; there are knn, linear, fewshot, retrieval, geometry, "),
        (["--set", "finetune_steps=many"], "setting 'finetune_steps' = 'many'"),
        (["--clusters", "1", "--probes", "clustering"], "setting 'clusters' = 1"),
        (["--probes", "dense"], "small.npz: not a folder; give a folder of pictures with masks, or with transparency"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line(
    arguments: list[str], message: str, command: Command, trained: Path, small: Path
) -> None:
    said = command("evaluate", trained, small, *arguments)
    assert said.code == 2 and message in said.err and len(said.err.splitlines()) == 1
