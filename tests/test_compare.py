"""Comparing methods: what is refused, how differences are judged, and real comparisons in real processes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nearfar import comparing, methods, modalities
from nearfar.assess import UNTRAINED
from nearfar.comparing import Comparison, Line, processes
from nearfar.comparing.comparison import holm
from nearfar.comparing.measuring import Measured, over_seeds
from nearfar.comparing.plan import contenders, locate
from nearfar.comparing.rows import read
from nearfar.comparing.worker import peak_mib
from nearfar.errors import ConfigError, DataError
from nearfar.evaluation import Metric, bootstrap_mean
from saying import Command

IMAGES = modalities.find("images")


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
        ([("simclr", {"held_out": 0.1})], {}, {}, "held_out is the same for all"),
    ],
)
def test_what_cannot_be_compared_is_named(asked: list[Any], shared: dict, own: dict, message: str):
    with pytest.raises(ConfigError, match=message):
        contenders(asked, shared, own, IMAGES)


def test_mining_goes_to_methods_that_have_a_use_for_it():
    texts = modalities.find("text")
    shared = {"refresh": 4, "negatives": 2, "batches": "clusters"}
    made, left_out = contenders(["pairs", "simcse", "simclr"], shared, {"simclr": {"batches": "random"}}, texts)
    assert [one.settings for one in made] == [shared, shared, {"batches": "random"}]
    assert left_out == {"refresh": ["simclr"], "negatives": ["simclr"]}
    made, _ = contenders([("pairs", {"refresh": 4}), "pairs"], {}, {}, texts)
    assert [one.name for one in made] == ["pairs refresh=4", "pairs"]
    lone = "depth is of negatives that are mined anew; set refresh"
    for asked, message in ((("simclr", {"refresh": 4}), "no use for mined negatives"), (("pairs", {"depth": 4}), lone)):
        with pytest.raises(ConfigError, match=message):
            contenders([asked], {}, {}, texts)


def test_mining_is_refused_where_it_cannot_be(small: Path, tmp_path: Path):
    said = "pairs: refresh mines negatives of pairs of texts, not of images", "which a time budget does not count"
    for length, message in zip(({"steps": 2}, {"budget": "1m"}), said, strict=True):
        how: dict[str, Any] = {"refresh": 2, "batch_size": 8, **length}
        with pytest.raises(ConfigError, match=message):
            comparing.compare(small, ["pairs"], tmp_path / "out", **how)


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
