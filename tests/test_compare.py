"""Comparing methods: what is refused, how differences are judged, and real comparisons in real processes."""

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
from nearfar import comparing, methods, modalities
from nearfar.assess import UNTOUCHED, UNTRAINED
from nearfar.comparing import Comparison, Line, processes
from nearfar.comparing.comparison import holm
from nearfar.comparing.measuring import Measured, over_seeds
from nearfar.comparing.plan import contenders, locate
from nearfar.comparing.rows import read
from nearfar.comparing.worker import peak_mib
from nearfar.errors import ConfigError, DataError
from nearfar.evaluation import Metric, bootstrap_mean
from nearfar.run import Run
from nearfar.training import load_checkpoint
from saying import Command

STEPS = 6
SHORT: dict[str, Any] = {"batch_size": 32, "projection": 16, "hidden": 32, "log_every": 2}
SET = ["--batch-size", 32, "--set", "projection=16", "--set", "hidden=32", "--set", "log_every=2"]
IMAGES = modalities.find("images")


def weights(run: Path) -> dict[str, torch.Tensor]:
    checkpoint = load_checkpoint(run / "checkpoints")
    assert checkpoint is not None
    return {name: value for name, value in checkpoint.state["method"].items()}


def same_weights(one: Path, two: Path) -> bool:
    first, second = weights(one), weights(two)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def line(name: str, right: np.ndarray, **more: Any) -> Line:
    scores = {"knn_accuracy": right.astype(float)}
    metrics = {"knn_accuracy": bootstrap_mean("kNN accuracy", scores["knn_accuracy"])}
    return Line(name, found=Measured(metrics, scores, "No collapse (made up)."), **more)


def items(share: float, seed: int = 0, count: int = 500) -> np.ndarray:
    return np.random.default_rng(seed).random(count) < share


# What is asked for ------------------------------------------------------------


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("5m", 300), ("1h", 3600), ("0.5 m", 30), (12.5, 12.5)])
def test_a_budget_of_time(text: str | float, seconds: float):
    assert comparing.budget(time=text).seconds == seconds


@pytest.mark.parametrize("text", ["5", "5 parsecs", "m", "-5m", "0s", "1e3s", "", "5m30s", 0, -1.0, float("inf")])
def test_a_budget_that_is_no_time(text: str | float):
    with pytest.raises(ConfigError, match="write seconds, minutes or hours: 90s, 5m or 1h"):
        comparing.budget(time=text)


def test_the_length_is_told_once():
    assert comparing.budget().epochs == 10 and comparing.budget(steps=3).epochs is None
    with pytest.raises(ConfigError, match="steps = 3 and budget = 5m"):
        comparing.budget(steps=3, time="5m")
    with pytest.raises(ConfigError, match="steps"):
        comparing.budget(steps=0)


def test_variants_have_readable_names_and_settings_go_to_those_that_know_them():
    asked = ["moco", ("simclr", {"objective": "DCL", "lr": 1e-4}), ("simclr", {}), "barlow"]
    made, left_out = contenders(asked, {"temperature": 0.5, "lr": 0.1}, {"moco": {"queue": 64}}, IMAGES)
    assert [one.name for one in made] == ["moco", "simclr objective=DCL lr=0.0001", "simclr", "barlow"]
    assert made[0].settings == {"temperature": 0.5, "lr": 0.1, "queue": 64} and made[0].own == {"queue": 64}
    assert made[1].settings["lr"] == 1e-4 and made[2].settings == {"temperature": 0.5, "lr": 0.1}
    assert made[3].settings == {"lr": 0.1} and left_out == {"temperature": ["barlow"]}
    assert len({one.folder for one in made}) == 4 and made[1].folder == "simclr,objective=DCL,lr=0.0001"


@pytest.mark.parametrize(
    ("asked", "shared", "own", "message"),
    [
        (["simclear"], {}, {}, "did you mean 'simclr'"),
        (["simclear"], {}, {}, ", ".join(methods.catalogue())),
        ([], {}, {}, "name the methods to compare"),
        (["simclr", "simclr"], {}, {}, "'simclr' is named twice"),
        (["simclr"], {"temprature": 1}, {}, "simclr: unknown setting 'temprature'; did you mean 'temperature'"),
        (["simclr", ("moco", {"queue": -1})], {}, {}, "moco queue=-1: .*queue"),
        (["simclr"], {}, {"moco": {"queue": 64}}, "settings for 'moco', which is not among the methods"),
        (["simclr"], {}, {"mocco": {"queue": 64}}, "there is no method 'mocco'"),
        ([("simclr", {"size": 12})], {}, {}, "size is a setting of data and views"),
        ([("simclr", {"steps": 12})], {}, {}, "steps is the same for all"),
    ],
)
def test_what_cannot_be_compared_is_named(asked: list[Any], shared: dict, own: dict, message: str):
    with pytest.raises(ConfigError, match=message):
        contenders(asked, shared, own, IMAGES)


def test_data_have_a_path(tmp_path: Path):
    assert locate("bundled:fashion").name == "fashion.npz"
    with pytest.raises(DataError, match=r"does not exist; give a path, or one of bundled:fashion"):
        locate(tmp_path / "nothing")
    with pytest.raises(ConfigError, match="fashion"):
        locate("bundled:fashions")
    with pytest.raises(DataError, match="give a path"):
        locate(object())  # type: ignore[arg-type]


def test_rows_are_held_out_before_training_where_there_is_no_test_part(small: Path, tmp_path: Path):
    rows = read(small, IMAGES, IMAGES.Options(), None, 0.2, False)
    assert (len(rows.train), len(rows.test), rows.whole, rows.labelled) == (160, 40, False, True)
    assert not set(rows.train.names) & set(rows.test.names)
    with np.load(small) as archive:
        np.savez(tmp_path / "bare.npz", images=archive["images"])
        np.savez(tmp_path / "both.npz", **archive, test_images=archive["images"][:9], test_labels=archive["labels"][:9])
    rows = read(tmp_path / "bare.npz", IMAGES, IMAGES.Options(), None, 0.2, False)
    assert (len(rows.train), rows.test is rows.train, rows.whole, rows.labelled) == (200, True, True, False)
    rows = read(tmp_path / "both.npz", IMAGES, IMAGES.Options(), None, 0.2, False)
    assert (len(rows.train), len(rows.test), rows.whole, rows.labelled) == (200, 9, True, True)


# The command, before anything is trained ---------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--methods", "simclr,simklr"], "there is no method 'simklr'; did you mean 'simclr'? there are simclr, "),
        (["--methods", "simclr:DCL"], "after the colon stands KEY=VALUE, not 'DCL'"),
        (["--methods", "simclr", "--budget", "soon"], "budget 'soon' is no time"),
        (["--methods", "simclr", "--batch-size", 161], "simclr: a batch of 161 of 160 rows to learn from"),
        (["--methods", "simclr", "--encoder", "smol"], "smol"),
        (["--methods", "simclr", "--set", "moco.queue=64"], "settings for 'moco'"),
        (["--methods", "simclr", "--set", "views"], "--set takes KEY=VALUE"),
        (["--methods", ","], "name the methods to compare"),
    ],
)
def test_bad_options_are_one_line_and_start_nothing(
    arguments: list[object], message: str, command: Command, small: Path, tmp_path: Path
):
    said = command("compare", small, *arguments, "--out", tmp_path / "out")
    assert said.code == 2 and message in said.err and len(said.err.splitlines()) == 1
    assert not (tmp_path / "out" / "runs").exists()


def test_bad_data_are_named(command: Command, small: Path, tmp_path: Path):
    with np.load(small) as archive:
        images, labels = archive["images"], archive["labels"]
        np.savez(tmp_path / "one.npz", images=images[:50], labels=np.zeros(50, int), classes=["shirt"])
        np.savez(tmp_path / "bare.npz", images=images[:50])
        lone = np.where(np.arange(50) == 7, 1, 0)
        np.savez(tmp_path / "lone.npz", images=images[:50], labels=lone, classes=["shirt", "bag"])
        some = np.where(np.arange(200) < 36, labels.astype(np.int64), -1)
        np.savez(tmp_path / "some.npz", images=images, labels=some, classes=["a", "b", "c", "d"])
    for leaf, method, message in (
        ("one.npz", "simclr", "one.npz: all labels are 'shirt', and probes need two classes"),
        ("bare.npz", "supcon", "supcon learns from labels, and these data have none"),
        ("lone.npz", "simclr", "lone.npz: class 'bag' has 1 labelled rows and needs at least 2"),
        ("some.npz", "supcon", "supcon: a batch of 32 of 2"),
        ("no.npz", "simclr", "no.npz does not exist"),
    ):
        said = command("compare", tmp_path / leaf, "-m", method, "--batch-size", 32, "--out", tmp_path / "out" / leaf)
        assert said.code == 2 and message in said.err and len(said.err.splitlines()) == 1, said.err


def test_a_folder_with_something_else_is_left_alone(command: Command, small: Path, trained: Path):
    before = sorted(trained.rglob("*"))
    said = command("compare", small, "-m", "simclr", "--out", trained)
    assert said.code == 2 and f"{trained} holds " in said.err and "no comparison" in said.err
    assert sorted(trained.rglob("*")) == before


# Judging ------------------------------------------------------------------------


def test_holm_is_the_textbook_rule():
    random = np.random.default_rng(0)
    for count in (1, 2, 7):
        p = {f"m{i}": float(v) for i, v in enumerate(random.random(count) ** 3)}
        found = holm(p)
        for name, value in p.items():
            # The largest of (m - rank) p over all that are no larger, one by one.
            steps = []
            for other in p.values():
                if other <= value:
                    smaller = sum(third < other for third in p.values())
                    steps.append(min(1.0, (count - smaller) * other))
            assert found[name] == pytest.approx(max(steps))
    assert holm({}) == {}


def test_seeds_are_averaged_item_by_item_and_their_spread_is_told():
    scores = np.random.default_rng(0).random((3, 5, 40)) < 0.6  # seeds, draws, items
    runs = []
    for seed in scores.astype(float):
        metrics = {"a": bootstrap_mean("a", seed), "rank": Metric("rank", float(seed.sum()), 40)}
        runs.append(Measured(metrics, {"a": seed}))
    found = over_seeds(runs)
    values = scores.mean((1, 2))
    assert found.metrics["a"].value == pytest.approx(scores.mean())
    assert found.spread["a"] == pytest.approx(np.sqrt(((values - values.mean()) ** 2).sum() / 2))
    assert found.per_seed["a"] == pytest.approx(values) and found.scores["a"].shape == (5, 40)
    low, high = found.metrics["a"].low, found.metrics["a"].high
    assert low < scores.mean() < high
    assert not found.metrics["rank"].has_interval
    assert found.metrics["rank"].value == pytest.approx(scores.sum((1, 2)).mean())
    assert over_seeds(runs[:1]) is runs[0]


def made_up() -> Comparison:
    base = items(0.5)
    better = base | items(0.6, 1)
    lines = [
        line("weak", base ^ items(0.02, 2)),
        line("good", better),
        line("twin", better ^ items(0.01, 3)),
        line("teacher", np.ones(500, bool), supervised=True),
        Line("broken", failed=["the loss is nan"]),
        line(UNTRAINED, base, baseline=True),
        line("raw pixels", items(0.3, 4), baseline=True),
    ]
    return Comparison({}, lines, Path("nowhere"))


def test_lines_stand_best_first_then_baselines():
    names = [one.name for one in made_up().lines]
    assert names[0] == "teacher" and set(names[1:3]) == {"good", "twin"}
    assert names[3:] == ["weak", "broken", UNTRAINED, "raw pixels"]


def test_verdicts_say_who_is_above_and_who_is_alike():
    made = made_up()
    best, twin = (one.name for one in made.lines[1:3])
    text = "\n".join(made.verdicts)
    assert made.best == {"knn_accuracy": best}, "methods that use labels are not in the running"
    assert "3 of 4 methods stand above the untrained encoder" in text
    assert f"Above it: teacher, {best} and {twin}." in text and "No such gap: weak." in text
    assert f"The best without labels in kNN accuracy is {best}" in text
    assert f"correction): {twin}." in text and "after correction): weak." in text
    assert "teacher uses labels" in text and "broken failed: the loss is nan" in text
    tests = made.against["best"]["knn_accuracy"]
    assert set(tests) == {"teacher", twin, "weak"}
    # Counted by hand: items that only one of the two gets right.
    ours, theirs = (made.line(name).found.scores["knn_accuracy"] for name in ("weak", best))  # type: ignore[union-attr]
    assert tests["weak"].difference.value == pytest.approx((ours.sum() - theirs.sum()) / 500)
    assert tests["weak"].corrected < 0.05 <= tests[twin].corrected
    assert all(test.corrected >= test.difference.p_value for test in tests.values())


def test_one_method_is_compared_with_the_baselines_alone():
    made = Comparison({}, [line("only", items(0.9)), line(UNTRAINED, items(0.5, 1), baseline=True)], Path("nowhere"))
    assert made.verdicts[0].startswith("only stands above the untrained encoder")
    assert made.against["best"] == {"knn_accuracy": {}} and "The best" not in "".join(made.verdicts)


def test_the_table_fits_the_terminal_and_markdown_is_a_table():
    made = made_up()
    made.lines[0].name = "a method with a very long name " * 4 + "and an end"
    for text in (str(made_up()), str(made)):
        assert max(len(row) for row in text.splitlines()) <= 120
    assert "and an end" in str(made) and "…" in str(made)
    tables = made_up().markdown().split("\n\n")[:2]
    for table in tables:
        rows = [row.split(" | ") for row in table.splitlines()]
        assert len({len(row) for row in rows}) == 1 and len(rows) == 2 + len(made.lines)
    assert "| broken | failed |" in tables[0] and "teacher (uses labels)" in tables[0]


# Processes ----------------------------------------------------------------------


def test_two_comparisons_do_not_share_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(processes, "PATIENCE", 0.1)
    said: list[str] = []
    with (
        processes.alone(tmp_path, said.append),
        pytest.raises(ConfigError, match="another comparison is running"),
        processes.alone(tmp_path, said.append),
    ):
        pass
    assert said and "waiting" in said[0]
    with processes.alone(tmp_path, said.append) as hold:
        assert isinstance(hold, int)


def test_the_newest_line_of_a_log_that_is_being_written(tmp_path: Path):
    file = tmp_path / "metrics.jsonl"
    assert processes.newest(file) is None
    file.write_text('{"step": 1}\n{"step": 2}\n{"st')
    assert processes.newest(file) == {"step": 2}
    file.write_text('{"long": "' + "x" * 50 + '"}\n')
    assert processes.newest(file, tail=20) is None


def test_peak_memory_is_that_of_the_process_itself():
    """Not that of the process which started it, as `ru_maxrss` says after a fork."""
    held = np.ones(300 << 17)  # 300 MiB
    program = "from nearfar.comparing.worker import peak_mib; print(peak_mib())"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    if sys.platform == "linux":
        assert 30 < float(ran.stdout) < peak_mib() - 200
    assert len(held)


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


# Real comparisons -----------------------------------------------------------------


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
