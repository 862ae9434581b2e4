"""The whole job from Python, on real pictures: fit, resume, load, embed, evaluate."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

import nearfar as nf
from nearfar.data.source import ArraySource, Source
from nearfar.errors import ConfigError, DataError
from nearfar.modalities.images.reading import read
from nearfar.training import CheckpointError

SHORT: dict[str, Any] = {"steps": 3, "batch_size": 32, "progress": False}


@pytest.fixture(scope="module")
def run(trained: Path) -> nf.Run:
    return nf.Run.load(trained)


@pytest.fixture(scope="module")
def vectors(run: nf.Run, small: Path) -> Any:
    return run.embed(small, progress=False)


@pytest.fixture(scope="module")
def pictures(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first forty rows as files: classes/NAME/row.png, flat/row.png, table.csv and table.parquet."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from PIL import Image

    folder = tmp_path_factory.mktemp("pictures")
    columns: dict[str, list[str]] = {"path": [], "kind": []}
    source = read(small)
    for row in range(40):
        image = Image.fromarray(source.rows(slice(row, row + 1))[0, 0].numpy())
        kind = source.classes[int(source.labels[row])].replace("/", "-")
        for place in (folder / "classes" / kind, folder / "flat"):
            place.mkdir(parents=True, exist_ok=True)
            image.save(place / f"{row:02}.png")
        columns["path"].append(f"flat/{row:02}.png")
        columns["kind"].append(kind)
    lines = ["path,kind", *(f"{path},{kind}" for path, kind in zip(*columns.values(), strict=True))]
    (folder / "table.csv").write_text("\n".join(lines) + "\n")
    pq.write_table(pa.table(columns), folder / "table.parquet")
    return folder


def weights(run: nf.Run) -> dict[str, torch.Tensor]:
    return run.method.state_dict()


def same(one: nf.Run, two: nf.Run) -> bool:
    a, b = weights(one), weights(two)
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_a_run_is_a_folder_of_plain_files(trained: Path, small: Path):
    config = yaml.safe_load((trained / "config.yaml").read_text())
    assert config["data"] == str(small) and config["method"] == "simclr" and config["encoder"] == "small"
    assert config["shape"] == [1, 28, 28] and config["training"]["steps"] == 6
    assert config["source"]["items"] == 200 and config["source"]["duplicates"] == 10
    lines = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 4, 6]
    assert all(math.isfinite(line["loss"]) for line in lines)
    names = sorted(path.name for path in (trained / "checkpoints").glob("*.json"))
    assert names == ["step-00000000.json", "step-00000006.json"]


def test_a_loaded_run_embeds_to_the_same_bits(small: Path, tmp_path: Path):
    made = nf.fit(small, tmp_path / "run", **SHORT)
    loaded = nf.Run.load(tmp_path / "run")
    one, two = made.embed(small), loaded.embed(small)
    assert one.vectors.dtype == np.float32 and one.vectors.tobytes() == two.vectors.tobytes()
    assert loaded.config == made.config and loaded.history == made.history


def test_the_seed_decides_and_nothing_else(small: Path, tmp_path: Path):
    one = nf.fit(small, tmp_path / "a", **SHORT)
    torch.manual_seed(123)
    two = nf.fit(small, tmp_path / "b", **SHORT, log_every=1, checkpoint_every=1)
    assert same(one, two)
    assert not same(one, nf.fit(small, tmp_path / "c", **SHORT, seed=1))


def test_fit_leaves_the_global_random_numbers_alone(small: Path, tmp_path: Path):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    nf.fit(small, tmp_path / "run", **SHORT)
    assert torch.equal(torch.rand(3), expected)


def test_training_moves_every_weight_and_the_untrained_run_is_its_beginning(run: nf.Run):
    before, after = run.fresh_method().state_dict(), weights(run)
    moved = {name for name in after if not torch.equal(before[name], after[name])}
    # A bias in front of a batch norm has no gradient and a fresh mean of zero may stay; matrices must all move.
    assert {name for name, value in after.items() if value.ndim >= 2} <= moved


def test_embed_does_not_depend_on_the_batch_size(run: nf.Run, small: Path, vectors: Any):
    for size in (1, 7, 200):
        other = run.embed(small, batch_size=size).vectors
        np.testing.assert_allclose(other, vectors.vectors, rtol=1e-4, atol=1e-5)


def test_embed_is_the_encoder_in_evaluation_mode_on_plain_rows(run: nf.Run, small: Path, vectors: Any):
    source = read(small)
    encoder = run.method.encoder.eval()
    views = run.modality.views(run.config["source"], 2, run.options)
    with torch.no_grad():
        expected = encoder(views.plain(source.rows(slice(0, 8)))).numpy()
    np.testing.assert_allclose(vectors.vectors[:8], expected, rtol=1e-4, atol=1e-5)
    assert vectors.vectors.shape == (200, run.method.width)


def test_embed_keeps_order_labels_and_names(vectors: Any, small: Path, tmp_path: Path):
    with np.load(small) as archive:
        labels, classes = archive["labels"], archive["classes"]
    with np.load(vectors.save(tmp_path / "new" / "folder" / "vectors.npz"), allow_pickle=False) as saved:
        assert sorted(saved.files) == ["classes", "labels", "names", "vectors"]
        assert np.array_equal(saved["vectors"], vectors.vectors)
        assert np.array_equal(saved["labels"], labels) and saved["classes"].tolist() == classes.tolist()
        assert saved["names"][17] == f"{small}[17]"
    assert np.array_equal(vectors.vectors[-10:], vectors.vectors[:10])  # the rows that stand in it twice


def test_embed_without_labels_saves_none(run: nf.Run, pictures: Path, tmp_path: Path):
    path = run.embed(pictures / "flat").save(tmp_path / "v.npz")
    with np.load(path, allow_pickle=False) as saved:
        assert sorted(saved.files) == ["names", "vectors"]
        assert Path(saved["names"][3]).name == "03.png"


def test_other_shapes_are_brought_to_that_of_the_encoder(run: nf.Run, vectors: Any, tmp_path: Path):
    from PIL import Image

    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (50, 31, 3), dtype=np.uint8)).save(tmp_path / "a.png")
    Image.fromarray(rng.integers(0, 255, (9, 12), dtype=np.uint8)).save(tmp_path / "b.png")
    assert run.embed(tmp_path).vectors.shape == (2, run.method.width)


@pytest.mark.parametrize("kind", ["classes", "flat", "table.csv", "table.parquet"])
def test_fit_reads_every_kind_of_data(kind: str, pictures: Path, tmp_path: Path, vectors: Any, run: nf.Run):
    column = {"label_column": "kind"} if "table" in kind else {}
    made = nf.fit(pictures / kind, tmp_path / "run", **SHORT, **column)
    found = made.config["source"]
    assert found["items"] == 40 and found["shape"] == [1, 28, 28] and found["skipped"] == 0
    assert len(found["classes"]) == (0 if kind == "flat" else 4)
    # The same pictures from files as from the archive, up to their order.
    other = run.reading(**column).embed(pictures / kind)
    rows = [int(Path(name).stem) for name in other.names]
    np.testing.assert_allclose(other.vectors, vectors.vectors[rows], rtol=1e-4, atol=1e-5)
    if other.labels is not None:
        expected = [vectors.classes[k].replace("/", "-") for k in vectors.labels[rows]]
        assert [other.classes[k] for k in other.labels] == expected


def test_a_run_reads_its_own_files_from_its_cache(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    made = nf.fit(pictures / "flat", tmp_path / "run", **SHORT)
    expected = made.embed(pictures / "flat").vectors

    def decoded(*arguments: Any) -> None:
        raise AssertionError("decoded again")

    monkeypatch.setattr("nearfar.modalities.images.pixels.read_image", decoded)
    assert np.array_equal(nf.Run.load(made.path).embed(pictures / "flat").vectors, expected)
    nf.resume(made.path)
    with pytest.raises(AssertionError, match="decoded again"):
        made.embed(pictures / "classes")


def test_supcon_learns_from_labels(small: Path, tmp_path: Path):
    made = nf.fit(small, tmp_path / "run", method="supcon", temperature=0.2, **SHORT)
    assert made.config["method_options"]["temperature"] == 0.2
    # Another loss than SimCLR's on the same batch: with four classes about a quarter of the rows is near.
    plain = nf.fit(small, tmp_path / "plain", method="simclr", temperature=0.2, **SHORT)
    assert abs(made.history[0]["loss"] - plain.history[0]["loss"]) > 0.01


def test_supcon_without_labels_or_with_one_class_is_refused_and_leaves_nothing(pictures: Path, tmp_path: Path):
    with pytest.raises(DataError, match="supcon learns from labels of two or more classes and these data have none"):
        nf.fit(pictures / "flat", tmp_path / "run", method="supcon", **SHORT)
    assert not (tmp_path / "run" / "config.yaml").exists()
    source = read(pictures / "classes")
    one = source.select(np.flatnonzero(source.labels == 0))
    with pytest.raises(DataError, match="these data have one class"):
        nf.fit(one, tmp_path / "run", method="supcon", **SHORT)


def test_supcon_passes_over_rows_without_a_label(small: Path, tmp_path: Path):
    source = read(small)
    source.labels[::2] = -1
    made = nf.fit(source, tmp_path / "run", method="supcon", **SHORT)
    checkpoint = json.loads((made.path / "checkpoints" / "step-00000003.json").read_text())
    assert checkpoint["state"]["identity"]["sampler"]["n"] == 100
    assert made.config["source"]["labelled"] == 100


@pytest.mark.parametrize(
    "settings",
    [
        {"micro_batch": 10},
        {"optimiser": "lars", "lr": 0.3},
        {"optimiser": "sgd", "lr": 0.1, "clip_norm": 1.0},
        {"views": 3},
        {"objective": "DCL"},
        {"objective": "HardNegative", "temperature": 0.5},
        {"projection": 16, "hidden": 8},
        {"recipe": "digits", "strength": 0.5},
        {"size": 16},
        {"channels": 3},
        {"epochs": 1, "steps": None},
    ],
    ids=lambda settings: "-".join(map(str, settings)),
)
def test_settings_reach_where_they_belong(settings: dict[str, Any], small: Path, tmp_path: Path):
    made = nf.fit(small, tmp_path / "run", **{**SHORT, **settings})
    stored = {**made.config["training"], **made.config["method_options"], **made.config["options"]}
    assert all(stored[key] == value for key, value in settings.items())
    assert all(math.isfinite(line["loss"]) for line in made.history)
    assert made.history[-1]["step"] == (6 if "epochs" in settings else 3)
    side, depth = settings.get("size", 28), settings.get("channels", 1)
    assert made.shape == (depth, side, side)
    loaded = nf.Run.load(made.path)
    assert loaded.embed(small).vectors.tobytes() == made.embed(small).vectors.tobytes()


def test_encoders_by_name(small: Path, tmp_path: Path):
    made = nf.fit(small, tmp_path / "run", encoder="torchvision/resnet18", **{**SHORT, "steps": 1, "batch_size": 8})
    assert made.method.width == 512 and made.config["encoder"] == "torchvision/resnet18"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tempreture": 1}, "unknown setting 'tempreture'; did you mean 'temperature'"),
        ({"qqqqqqqq": 1}, "unknown setting 'qqqqqqqq'; there are .*batch_size.*temperature"),
        ({"lr": -1}, "'lr' = -1: Input should be greater than 0"),
        ({"epochs": 2}, "epochs = 2 and steps = 3 were both given"),
        ({"method": "simclrr"}, "did you mean 'simclr'"),
        ({"encoder": "smal"}, "no image encoder is called 'smal'. Close: small"),
        ({"modality": "imagse"}, "there is no modality 'imagse'; there are images"),
        ({"recipe": "fancy"}, "no view recipe is called 'fancy'"),
        ({"device": "abacus"}, "device 'abacus' cannot be used"),
        ({"objective": "InfoNCE"}, "no objective 'InfoNCE' over all views"),
    ],
)
def test_impossible_settings_are_named_and_leave_nothing(
    settings: dict[str, Any], message: str, small: Path, tmp_path: Path
):
    with pytest.raises(ConfigError, match=message):
        nf.fit(small, tmp_path / "run", **{**SHORT, **settings})
    assert list(tmp_path.iterdir()) == []


def test_resume_of_a_finished_run_changes_nothing(small: Path, tmp_path: Path):
    made = nf.fit(small, tmp_path / "run", **SHORT)
    before = {path: path.read_bytes() for path in made.path.rglob("*") if path.is_file()}
    again = nf.resume(made.path)
    assert same(made, again)
    assert before == {path: path.read_bytes() for path in made.path.rglob("*") if path.is_file()}


class Flaky(ArraySource):
    """Rows of `small` that fail once at some step."""

    def __init__(self, source: ArraySource, fail: int) -> None:
        super().__init__("images", source.array, ids=source.ids, labels=source.labels, classes=source.classes)
        self.fail, self.asked = fail, 0

    def rows(self, index: Any) -> torch.Tensor:
        self.asked += 1
        if self.asked == self.fail:
            raise OSError("the disk is gone")
        return super().rows(index)


def test_a_source_in_memory_can_be_fitted_and_resumed(small: Path, tmp_path: Path):
    source: Source = Flaky(read(small), fail=3)
    settings = {**SHORT, "steps": 4, "checkpoint_every": 1}
    with pytest.raises(OSError, match="the disk is gone"):
        nf.fit(source, tmp_path / "run", **settings)
    with pytest.raises(DataError, match=r"given in memory; resume it from Python: nearfar\.resume\(path, data\)"):
        nf.resume(tmp_path / "run")
    resumed = nf.resume(tmp_path / "run", source, progress=False)
    assert same(resumed, nf.fit(small, tmp_path / "whole", **settings))
    assert np.array_equal(resumed.embed(source).vectors, resumed.embed(small).vectors)


def test_load_refuses_what_is_not_a_run(trained: Path, tmp_path: Path, small: Path):
    with pytest.raises(ConfigError, match="is not a run: it has no config"):
        nf.Run.load(tmp_path)
    (tmp_path / "config.yaml").write_bytes((trained / "config.yaml").read_bytes())
    with pytest.raises(ConfigError, match="no checkpoint yet; continue it with: nearfar fit --resume"):
        nf.Run.load(tmp_path).embed(small)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "step-00000006.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"no checkpoint in .* can be read"):
        nf.Run.load(tmp_path).embed(small)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 99}, "of another format"),
        ({"training": None}, "damaged: training missing"),
        ({"shape": ["x"]}, "damaged: shape missing"),
        ({"method": "old"}, "there is no method 'old'"),
        ({"encoder": "torchvision/resnet18"}, "weights of another model than .*config.yaml describes"),
    ],
)
def test_a_damaged_configuration_is_named(
    change: dict[str, Any], message: str, trained: Path, small: Path, tmp_path: Path
):
    import shutil

    shutil.copytree(trained, tmp_path / "run")
    file = tmp_path / "run" / "config.yaml"
    file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), **change}))
    with pytest.raises(ConfigError, match=message):
        nf.Run.load(tmp_path / "run").embed(small)


PROBES = {"probes": ["knn", "linear", "fewshot", "retrieval", "geometry"], "per_class": 5, "draws": 2, "k": 5}


@pytest.fixture(scope="module")
def assessment(run: nf.Run, small: Path) -> Any:
    return nf.evaluate(run, small, **PROBES)


def test_evaluate_measures_the_run_beside_its_baselines(assessment: Any):
    assert list(assessment.evaluations) == ["nearfar", "untrained encoder", "raw pixels"]
    for evaluation in assessment.evaluations.values():
        assert {"knn_accuracy", "linear_accuracy", "fewshot_accuracy", "recall@1"} <= set(evaluation.metrics)
        assert all(m.low <= m.value <= m.high for m in evaluation.metrics.values() if not math.isnan(m.low))
    assert len(assessment.train) == 160 and len(assessment.test) == 40
    # Clothes of four kinds: any vectors that mean something beat guessing one in four.
    assert assessment.evaluations["nearfar"].metrics["linear_accuracy"].value > 0.5
    assert set(assessment.gains) == {"untrained encoder", "raw pixels"}
    ours, raw = (assessment.evaluations[n].metrics["knn_accuracy"].value for n in ("nearfar", "raw pixels"))
    assert assessment.gains["raw pixels"]["knn_accuracy"].value == pytest.approx(ours - raw)


def test_knn_and_linear_of_raw_pixels_agree_with_scikit_learn(assessment: Any, small: Path):
    from sklearn.neighbors import KNeighborsClassifier

    def flat(source: Source) -> np.ndarray:
        rows = source.rows(slice(0, len(source))).numpy().reshape(len(source), -1).astype(np.float64)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    train, test = assessment.train, assessment.test
    vote = KNeighborsClassifier(5, metric="cosine", weights=lambda d: np.exp((1 - d) / 0.07))
    expected = vote.fit(flat(train), train.labels).score(flat(test), test.labels)
    assert assessment.evaluations["raw pixels"].metrics["knn_accuracy"].value == pytest.approx(expected)


def test_the_figures_are_json_and_text(assessment: Any, tmp_path: Path):
    found = json.loads(assessment.save(tmp_path / "new" / "figures.json").read_text())
    assert found["rows"]["train"]["items"] == 160
    assert found["evaluations"]["nearfar"]["metrics"]["knn_accuracy"]["n"] == 40
    assert set(found["gains"]["raw pixels"]) >= {"knn_accuracy", "linear_accuracy"}
    text = str(assessment)
    for part in ("untrained encoder", "raw pixels", "knn_accuracy against raw pixels", "n=40"):
        assert part in text


def test_evaluate_is_the_same_every_time(run: nf.Run, small: Path, assessment: Any):
    again = nf.evaluate(run.path, small, **PROBES)
    assert json.dumps(again.to_json()) == json.dumps(assessment.to_json())


def test_evaluate_without_baselines(run: nf.Run, small: Path):
    found = nf.evaluate(run, small, probes=["knn"], k=5, baselines=False)
    assert list(found.evaluations) == ["nearfar"] and found.gains == {}


def test_other_test_data_may_number_the_classes_otherwise(run: nf.Run, pictures: Path, tmp_path: Path):
    train = read(pictures / "classes")
    # Test data of the last two classes only: alone they would be numbered 0 and 1.
    for name in train.classes[2:]:
        (tmp_path / name).symlink_to(pictures / "classes" / name)
    found = nf.evaluate(run, pictures / "classes", tmp_path, probes=["knn"], k=1)
    # Every test picture is among the training pictures, so its nearest neighbour is itself.
    assert found.evaluations["nearfar"].metrics["knn_accuracy"].value == 1.0
    assert set(found.test.labels) == {2, 3} and found.test.classes == found.train.classes


def test_steps_of_the_evaluation_are_told(run: nf.Run, small: Path):
    said: list[str] = []
    nf.evaluate(run, small, probes=["knn"], k=5, baselines=False, on_step=said.append)
    assert said == ["nearfar: vectors", "nearfar: knn", "nearfar: done"]


def test_the_report_of_a_run(run: nf.Run, assessment: Any, small: Path, tmp_path: Path):
    from nearfar.reporting import write

    page = write(run, assessment, path=tmp_path / "page.html").read_text("utf-8")
    for part in ("simclr on small.npz", "raw pixels", "untrained encoder", "T-shirt/top", "data:image"):
        assert part in page
    alone = write(run, source=run.read(small)[0].select(np.arange(30)), path=tmp_path / "alone.html").read_text("utf-8")
    assert "data:image" in alone and "raw pixels" not in alone
    assert "simclr" in write(run, path=tmp_path / "bare.html").read_text("utf-8")


def test_the_demo_from_python(small: Path, tmp_path: Path):
    from nearfar.demo import demo

    said: list[str] = []
    made, found, page = demo(tmp_path / "demo", small, said.append, steps=2, epochs=None, batch_size=32)
    assert page == tmp_path / "demo" / "report.html" and page.exists() and len(said) == 2
    results = json.loads((tmp_path / "demo" / "results.json").read_text())
    assert set(results["seconds"]) == {"training", "evaluation", "report"}
    assert results["evaluations"].keys() == found.evaluations.keys()
    with pytest.raises(ConfigError, match="already holds a run; continue it with"):
        demo(tmp_path / "demo", small, said.append)
    assert same(nf.Run.load(tmp_path / "demo" / "run"), made)
