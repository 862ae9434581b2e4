"""Real comparisons in real processes: figures, costs, failures, interruptions, and the same command again."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import nearfar
from nearfar.assess import UNTOUCHED, UNTRAINED
from nearfar.comparing import Comparison, processes
from nearfar.errors import ConfigError
from nearfar.run import Run
from nearfar.training import load_checkpoint
from saying import Command

STEPS = 6
SHORT: dict[str, Any] = {"batch_size": 32, "projection": 16, "hidden": 32, "log_every": 2, "threads": 1}
SET = [
    "--batch-size",
    32,
    *(part for pair in ("projection=16", "hidden=32", "log_every=2", "threads=1") for part in ("--set", pair)),
]


def weights(run: Path) -> dict[str, torch.Tensor]:
    checkpoint = load_checkpoint(run / "checkpoints")
    assert checkpoint is not None
    return {name: value for name, value in checkpoint.state["method"].items()}


def same_weights(one: Path, two: Path) -> bool:
    first, second = weights(one), weights(two)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def nearfar_compare(*arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "nearfar.cli", "compare", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def until(process: subprocess.Popen[str], seen: Callable[[], bool]) -> None:
    while not seen():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


@pytest.fixture(scope="module")
def parts(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small archive with a test part."""
    path = tmp_path_factory.mktemp("parts") / "parts.npz"
    with np.load(small) as archive:
        images, labels = archive["images"], archive["labels"]
        np.savez(
            path, images=images[:150], labels=labels[:150], classes=archive["classes"],
            test_images=images[150:], test_labels=labels[150:],
        )  # fmt: skip
    return path


ASKED = ["simclr", ("simclr", {"objective": "DCL"}), "supcon", ("vicreg", {"lr": 1e9})]


def run_it(data: Path, out: Path, **more: Any) -> tuple[Comparison, list[str]]:
    said: list[str] = []
    settings = {"steps": STEPS, **SHORT, **more}
    made = nearfar.compare(data, settings.pop("methods", ASKED), out, on_step=said.append, progress=False, **settings)
    return made, said


@pytest.fixture(scope="module")
def compared(parts: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Comparison, Path]:
    """Three methods, one of which uses labels, and one that cannot but fail."""
    out = tmp_path_factory.mktemp("compared") / "out"
    return run_it(parts, out)[0], out


@pytest.mark.slow
def test_figures_are_those_of_evaluate(compared: tuple[Comparison, Path], parts: Path):
    made, out = compared
    data = json.loads((out / "compare.json").read_text())
    by_name = {entry["name"]: entry for entry in data["lines"]}
    for name in ("simclr", "simclr objective=DCL", "supcon"):
        assessment = nearfar.evaluate(out / by_name[name]["folders"][0], parts, progress=False)
        pairs = [("nearfar", name)]
        if name == "simclr":
            pairs += [(UNTRAINED, UNTRAINED), ("raw pixels", "raw pixels")]
        for theirs, ours in pairs:
            found = assessment.evaluations[theirs].to_json()["metrics"]
            assert by_name[ours]["metrics"] == {key: found[key] for key in by_name[ours]["metrics"]}
            assert {"knn_accuracy", "linear_accuracy", "fewshot_accuracy", "recall@1", "map@r"} <= set(found)
    assert by_name["supcon"]["uses_labels"] and not by_name["simclr"]["uses_labels"]
    assert made.to_json()["verdicts"] == data["verdicts"]


@pytest.mark.slow
def test_a_method_that_diverges_is_reported_and_the_others_go_on(compared: tuple[Comparison, Path]):
    made, out = compared
    assert [one.name for one in made.lines if one.failed] == ["vicreg lr=1e+09"]
    broken = made.line("vicreg lr=1e+09")
    assert "is nan" in broken.failed[0] or "is inf" in broken.failed[0]
    assert str(out / "runs") in broken.failed[0] and broken.found is None
    assert any(text.startswith("vicreg lr=1e+09 failed: ") for text in made.verdicts)
    assert "failed" in str(made) and "vicreg lr=1e+09" in (out / "compare.html").read_text()


@pytest.mark.slow
def test_costs_and_curves_are_those_of_the_log(compared: tuple[Comparison, Path]):
    made, out = compared
    for name in ("simclr", "supcon"):
        one = made.line(name)
        history = Run.load(out / one.folders[0]).history
        (cost,), (curve,) = one.cost, one.curves
        assert cost["steps"] == STEPS and cost["seconds"] == history[-1]["seconds"]
        assert cost["items_per_second"] == pytest.approx(STEPS * 32 / history[-1]["seconds"])
        assert cost["parameters"] == sum(value.numel() for value in Run.load(out / one.folders[0]).method.parameters())
        assert cost["peak_mib"] >= cost["start_mib"] > 50
        assert curve["look_step"] == [0, *range(1, STEPS + 1)], "twelve looks or one at every step"
        assert curve["knn_accuracy"][1:] == [row["watched"]["knn_accuracy"] for row in history]
        assert curve["loss"] == [row["loss"] for row in history]
    # Before training all stand where the untrained encoder stands; test rows are few here, so that all are looked at.
    start = {one.curves[0]["knn_accuracy"][0] for one in made.lines if one.curves}
    assert start == {made.line(UNTRAINED).found.metrics["knn_accuracy"].value}  # type: ignore[union-attr]


@pytest.mark.slow
def test_the_command_of_a_line_makes_the_same_run(compared: tuple[Comparison, Path], command: Command, tmp_path: Path):
    made, out = compared
    one = made.line("simclr objective=DCL")
    said = command(*shlex.split(one.command)[1:], "--no-evaluate", "--out", tmp_path / "again")
    assert said.code == 0, said.err
    assert same_weights(tmp_path / "again", out / one.folders[0])
    assert not same_weights(tmp_path / "again", out / made.line("simclr").folders[0])


@pytest.mark.slow
def test_again_does_only_what_is_missing(compared: tuple[Comparison, Path], parts: Path):
    first, out = compared
    files = [p for p in (out / "runs").rglob("*") if p.is_file() and "vicreg" not in str(p)]
    before = {p: p.stat().st_mtime_ns for p in files}
    made, said = run_it(parts, out, methods=[*ASKED[:3], "swav"])
    assert {p: p.stat().st_mtime_ns for p in files} == before
    assert [text.endswith("(from before)") for text in said] == [True, True, True, False]
    assert {one.name for one in made.lines} == {*(one.name for one in first.lines), "swav"} - {"vicreg lr=1e+09"}
    for name in ("simclr", UNTRAINED):
        assert made._line(made.line(name))["metrics"] == first._line(first.line(name))["metrics"]
    assert made.line("swav").cost


@pytest.mark.slow
def test_other_terms_and_other_data_are_refused(compared: tuple[Comparison, Path], parts: Path, tmp_path: Path):
    _, out = compared
    for changes, message in (
        ({"steps": 7}, "budget is '6 steps' there and '7 steps' here"),
        ({"lr": 0.5}, "lr is None there and 0.5 here"),
        ({"seeds": 2}, "seeds is"),
        ({"own": {"supcon": {"temperature": 0.9}}}, "temperature of supcon is None there and 0.9 here"),
    ):
        with pytest.raises(ConfigError, match=message):
            run_it(parts, out, **changes)
    with np.load(parts) as archive:
        arrays = dict(archive)
    arrays["images"] = arrays["images"].copy()
    arrays["images"][0, 0, 0] += 1
    np.savez(tmp_path / "changed.npz", **arrays)
    with pytest.raises(ConfigError, match="the data have changed since"):
        run_it(tmp_path / "changed.npz", out)


@pytest.mark.slow
def test_killed_and_interrupted_and_run_again(parts: Path, tmp_path: Path):
    out, whole, steps = tmp_path / "out", tmp_path / "whole", 80
    arguments = [parts, "-m", "simclr,swav", "--steps", steps, *SET, "--set", "checkpoint_every=5", "--out"]
    reference = nearfar_compare(*arguments, whole)

    def step(name: str) -> int:
        record = processes.newest(out / "runs" / name / "metrics.jsonl")
        return 0 if record is None else record["step"]

    process = nearfar_compare(*arguments, out)
    until(process, lambda: step("simclr") >= 20)
    process.kill()  # the process that trains has to notice by itself
    assert process.communicate(timeout=60) and process.returncode == -signal.SIGKILL
    process = nearfar_compare(*arguments, out)
    until(process, lambda: step("swav") >= 20)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130 and "the same command with --out" in error and "Traceback" not in error
    stopped = step("swav")
    assert 20 <= stopped <= steps and (out / "work" / "simclr" / "train.json").exists()
    process = nearfar_compare(*arguments, out)
    said, error = process.communicate(timeout=300)
    assert process.returncode == 0, error
    assert "simclr: 80 steps" in error and "(from before)" in error.splitlines()[0]
    reference.communicate(timeout=300)
    assert reference.returncode == 0
    for name in ("simclr", "swav"):
        assert same_weights(out / "runs" / name, whole / "runs" / name)
    figures = [json.loads((folder / "compare.json").read_text()) for folder in (out, whole)]
    for one, other in zip(figures[0]["lines"], figures[1]["lines"], strict=True):
        assert one["name"] == other["name"] and one["metrics"] == other["metrics"]
        assert one["against"] == other["against"]
    assert "kNN" in said and "untrained encoder" in said


@pytest.mark.slow
def test_a_budget_of_time_and_several_seeds(small: Path, tmp_path: Path):
    made, _ = run_it(small, tmp_path / "out", methods=["simclr"], steps=None, budget="1s", seeds=2)
    one = made.line("simclr")
    planned = json.loads((tmp_path / "out" / "work" / "simclr" / "calibrate.json").read_text())
    assert {cost["steps"] for cost in one.cost} == {max(1, int(1 / planned["seconds_per_step"]))}
    assert [cost["seed"] for cost in one.cost] == [0, 1] and one.folders == ["runs/simclr-seed0", "runs/simclr-seed1"]
    alone = [nearfar.evaluate(tmp_path / "out" / folder, small, progress=False) for folder in one.folders]
    values = [each.evaluations["nearfar"].metrics["knn_accuracy"].value for each in alone]
    assert one.found is not None and one.found.per_seed["knn_accuracy"] == values
    assert one.found.metrics["knn_accuracy"].value == pytest.approx(np.mean(values))
    untrained = [each.evaluations[UNTRAINED].metrics["knn_accuracy"].value for each in alone]
    assert made.line(UNTRAINED).found.per_seed["knn_accuracy"] == untrained  # type: ignore[union-attr]
    assert one.command == "", "the rows held out are not those of a run of the command"
    assert any("held out before training" in note for note in made.notes)


@pytest.mark.slow
def test_without_labels_only_geometry_is_measured(small: Path, tmp_path: Path, command: Command):
    with np.load(small) as archive:
        np.savez(tmp_path / "bare.npz", images=archive["images"])
    said = command(
        *("compare", tmp_path / "bare.npz", "-m", "simclr", "--steps", 3, *SET, "--markdown", "--out", tmp_path / "out")
    )
    assert said.code == 0, said.err
    assert said.out.startswith("|  | effective rank | uniformity |") and "only the geometry" in said.out
    data = json.loads((tmp_path / "out" / "compare.json").read_text())
    assert all("knn_accuracy" not in entry["metrics"] for entry in data["lines"])
    assert data["headline"] == "effective_rank" and data["lines"][0]["curves"][0]["effective_rank"]


@pytest.mark.slow
def test_an_encoder_with_given_weights_stands_beside_itself_untouched(small: Path, trained: Path, tmp_path: Path):
    made, _ = run_it(small, tmp_path / "out", methods=["simclr"], steps=2, encoder=str(trained))
    assert [one.name for one in made.lines if one.baseline and one.name != "raw pixels"] in (
        [UNTOUCHED, UNTRAINED],
        [UNTRAINED, UNTOUCHED],
    )
    theirs = nearfar.evaluate(trained, small, progress=False).evaluations
    for ours, name in ((UNTOUCHED, "nearfar"), (UNTRAINED, UNTRAINED)):
        found = made.line(ours).found
        assert found is not None
        assert found.metrics["knn_accuracy"].value == theirs[name].metrics["knn_accuracy"].value
    assert set(made.against) == {UNTOUCHED, UNTRAINED, "best"}


@pytest.mark.slow
def test_mined_negatives_are_compared_with_none(tmp_path: Path):
    lines = ["anchor,positive", *(f"thing {n} of {n % 5},the {n} thing {n % 7}" for n in range(24))]
    (tmp_path / "pairs.csv").write_text("\n".join(lines))
    how: dict[str, Any] = {"steps": 3, "batch_size": 8, "encoder": "ngrams-16", "log_every": 1, "threads": 1}
    asked = [("pairs", {"refresh": 2, "percentage": 0, "depth": 5}), ("pairs", {"batches": "clusters"})]
    made = nearfar.compare(tmp_path / "pairs.csv", asked, tmp_path / "out", **how)
    assert [line.failed for line in made.lines[:2]] == [[], []]
    folders = [file.parent for file in (tmp_path / "out" / "runs").rglob("config.yaml")]
    renewed = [["renewed" in record for record in Run.load(folder).history] for folder in folders]
    assert sorted(map(sum, renewed)) == [0, 2]
