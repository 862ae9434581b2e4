"""Every method of the catalogue trains for real, on real pictures, and gives the same bits when it is interrupted.

Each does so with two plain views, with whole and small ones, and, where it learns from labels, with several items of a
class in a batch.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nearfar import methods
from nearfar.data import bundled
from nearfar.data.batch import Batch
from nearfar.errors import ConfigError
from nearfar.run import Run, fit, resume

# A method that is not here is not covered, and fails. Queues wrap within six steps; prototypes thaw after two.
TINY: dict[str, dict[str, Any]] = {
    "simclr": {},
    "supcon": {},
    "moco": {"queue": 40},
    "nnclr": {"queue": 40, "hidden": 32},
    "invp": {"hidden": 32, "walk_from": 0.3, "hardest": 10},
    "pnda": {"copies_from": 0.3},
    "pal": {},
    "byol": {"hidden": 32},
    "beclr": {"queue": 60, "prototypes": 6, "projection": 16, "covered": 0.2},
    "simsiam": {"projection": 32},
    "barlow": {"projection": 32, "hidden": 32},
    "vicreg": {"projection": 32, "hidden": 32},
    "wmse": {"projection": 6, "hidden": 32, "block": 8, "rounds": 2},
    "swav": {"prototypes": 6, "hidden": 32, "queue": 40, "frozen_steps": 2},
    "dino": {"prototypes": 24, "hidden": 32, "frozen_steps": 2},
    "triplet": {},
    "proxy": {},
    "gml": {"queue": 40},
    "sepclr": {"projection": 16, "background": 0},
    "densecl": {"queue": 40},
    "pixpro": {"projection": 16, "hidden": 32},
    "pairs": {},
    "simcse": {},
    "esimcse": {"queue": 40},
    "gsinfonce": {"noise": 8},
    "dclr": {},
    "clusterns": {"centroids": 4, "centroids_from": 1.0},
    "whitenedcse": {},
    "compcse": {},
    "supclseq": {},
    "lmsupcon": {"words": {"good": "great", "bad": "dull"}, "turns": False},  # in turns: test_lmsupcon.py
    "tension": {},
    "diffcse": {"hidden": 16},
    "denosent": {"layers": 1},
    "tsdae": {},
    "cpc": {},
    "distil": {"teacher": "small", "queue": 40},
}
JUDGES = {name for name, kind in methods.catalogue().items() if "joint" in kind.asks}  # see tests/test_scoring.py
OF_WORDS = {name for name, kind in methods.catalogue().items() if "of_words" in kind.asks}
MIXED = {"crops": "2x28+2x12@0.1-0.4"}
SOME_CLASSES = {"rows_per_class": 8}
# Variants that remember or draw more than their method does by default.
MORE: dict[str, tuple[str, dict[str, Any]]] = {
    "simclr, items": ("simclr", {"objective": "ISogCLR"}),
    "simclr, heads": ("simclr", {"heads": 2, "projection": 16}),
    "moco, hard": ("moco", {"keep": 0.5, "hardest": 8}),
    "simcse, all": (
        "simcse",
        {"queue": 40, "noise": 8, "guide": 0.9, "centroids": 4, "centroids_from": 1.0, "hinge_weight": 1.0},
    ),
    "moco, moved": ("moco", {"extrapolate": 2.0, "interpolate": 1.6}),
    "simcse, words": ("simcse", {"masked": 0.1, "next_word": 0.1}),
}
STEPS, HALF, BATCH = 6, 3, 16


def uncovered(catalogue: dict[str, Any]) -> set[str]:
    return set(catalogue) ^ (set(TINY) | JUDGES)


def test_every_method_is_covered():
    assert uncovered(methods.catalogue()) == set()


def test_a_method_that_is_not_covered_is_noticed():
    assert uncovered({**methods.catalogue(), "invented": methods.SimCLR}) == {"invented"}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """64 bundled pictures of four classes."""
    with np.load(bundled.path("fashion"), allow_pickle=False) as archive:
        rows = np.concatenate([np.flatnonzero(archive["labels"] == c)[:16] for c in range(4)])
        path = tmp_path_factory.mktemp("data") / "tiny.npz"
        np.savez(path, images=archive["images"][rows], labels=archive["labels"][rows], classes=archive["classes"][:4])
    return path


def ways() -> list[Any]:
    """Every method of the catalogue in every way of making batches that it can be trained with."""
    made = []
    for name, kind in sorted(methods.catalogue().items()):
        if name in JUDGES:
            continue
        made.append(pytest.param((name, {}), id=name))
        if name not in OF_WORDS:
            made.append(pytest.param((name, MIXED), id=f"{name}, crops"))
        if "rows_per_class" in kind.Options.model_fields:
            made.append(pytest.param((name, SOME_CLASSES), id=f"{name}, some classes"))
    return made + [pytest.param(way, id=name) for name, way in MORE.items()]


def test_every_method_is_trained_with_crops_and_every_labelled_one_with_some_classes():
    names = [way.id for way in ways()]
    assert {n.removesuffix(", crops") for n in names if n.endswith("crops")} == set(TINY) - OF_WORDS
    labelled = {name for name, kind in methods.catalogue().items() if kind.supervised}
    assert {n.removesuffix(", some classes") for n in names if n.endswith("some classes")} == labelled


@pytest.fixture(scope="module", params=ways())
def path(request: pytest.FixtureRequest, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a run of six steps of every method; there are a hundred of them, so each goes when it was used."""
    name, way = request.param
    out = tmp_path_factory.mktemp("runs") / name
    settings = {"steps": STEPS, "batch_size": BATCH, "checkpoint_every": HALF, "log_every": 1, "threads": 1}
    if name in OF_WORDS or "masked" in way:
        lines = [f"text {n} says {n % 7} words of {n % 5} things" for n in range(64)]
        file = tmp_path_factory.mktemp("texts") / "texts.txt"
        if methods.find(name).supervised:
            file = file.with_suffix(".csv")
            lines = ["text,label", *(f"{line},{('good', 'bad')[n % 2]}" for n, line in enumerate(lines))]
        file.write_text("\n".join(lines))
        fit(file, out, method=name, encoder="gru-16", progress=False, **settings, **TINY[name], **way)
    else:
        fit(pictures, out, method=name, encoder="small", progress=False, **settings, **TINY[name], **way)
    yield out
    shutil.rmtree(out)


@pytest.fixture
def run(path: Path) -> Run:
    """Opened anew for every test, since a method changes by being used."""
    return Run.load(path)


def pair(seed: int, run: Run) -> Batch:
    """Two views of noise, cut from different places; of texts, any words."""
    draw = torch.Generator().manual_seed(seed)
    if run.config["modality"] == "text":
        texts = [torch.randint(1, 99, (BATCH, 5), generator=draw) for _ in range(2)]
        return Batch(texts, torch.arange(BATCH), torch.arange(BATCH) % 2)
    views = [torch.randn(BATCH, 1, 28, 28, generator=draw) for _ in range(2)]
    boxes = [torch.tensor([[0.0, 0, 20, 20], [4, 24, 24, 4]]).repeat(BATCH // 2, 1) + 4 * k for k in range(2)]
    taught = torch.randn(BATCH, 1, run.config["method_options"]["projection"], generator=draw)
    return Batch(views, torch.arange(BATCH), torch.arange(BATCH) % 4, boxes=boxes, taught=taught)


def learns(run: Run, name: str) -> bool:
    """Whether weights of an encoder learn; the half of a recurrent net that reads backwards cannot predict."""
    return not (run.config["method"] == "cpc" and name.endswith("_reverse"))


def test_the_loss_is_finite_and_the_weights_move(run: Run):
    losses = [line["loss"] for line in run.history]
    assert len(losses) == STEPS and all(np.isfinite(losses))
    before, after = run.fresh_method().encoder.state_dict(), run.method.encoder.state_dict()
    assert all(not torch.equal(before[k], after[k]) for k in after if learns(run, k))


def test_gradients_reach_the_encoder_and_nothing_that_follows_or_remembers(run: Run):
    method = run.method.train()
    method.zero_grad()
    batch = pair(0, run)
    method.contrast([method.project(view) for view in batch.views], batch).loss.backward()
    for name, parameter in method.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name
        else:
            assert parameter.grad is None, name
    filters = [p.grad for n, p in method.encoder.named_parameters() if p.ndim > 1 and learns(run, n)]
    assert filters and all(float(g.abs().max()) > 0 for g in filters)


def test_an_interrupted_run_ends_with_the_same_bits(run: Run, tmp_path: Path):
    folder = tmp_path / "run"
    shutil.copytree(run.path, folder)
    newest = list((folder / "checkpoints").glob(f"step-{STEPS:08d}*"))
    assert len(newest) >= 2 and list((folder / "checkpoints").glob(f"step-{HALF:08d}*"))
    for file in newest:
        file.unlink()
    again = resume(folder, progress=False)
    want, got = run.method.state_dict(), again.method.state_dict()
    assert want.keys() == got.keys()
    assert all(torch.equal(want[k], got[k]) for k in want)
    assert [line["loss"] for line in again.history] == [line["loss"] for line in run.history]
    assert [line.get("chance") for line in again.history] == [line.get("chance") for line in run.history]


def test_memory_is_in_the_state_and_not_in_what_lies_about_between_steps(run: Run):
    """A fresh method that is given the state does the same step, and leaves the same state behind."""
    batch = pair(2, run)
    results = []
    for _ in range(2):
        method = run.fresh_method().train()
        method.load_state_dict(run.method.state_dict())
        torch.manual_seed(5)
        loss = method.contrast([method.project(view) for view in batch.views], batch).loss
        method.after_step(STEPS - 1, STEPS)
        results.append((loss.detach(), method.state_dict()))
    assert torch.equal(results[0][0], results[1][0])
    assert all(torch.equal(results[0][1][k], results[1][1][k]) for k in results[0][1])


# What a run remembers of how its batches were made ------------------------------


def test_the_views_and_the_sampler_stand_in_the_identity_of_a_run(run: Run):
    if run.config["modality"] == "text":
        pytest.skip("its views have no sizes")
    newest = sorted((run.path / "checkpoints").glob("step-*.json"))[-1]
    identity = json.loads(newest.read_text())["state"]["identity"]
    mixed, classes = run.config["options"]["crops"] is not None, run.config["method_options"].get("rows_per_class")
    seen = [(recipe["size"], recipe["role"]) for recipe in identity["views"]["recipe"]]
    views = type(run.method).Options.model_fields["views"].default
    assert seen == ([(28, "whole")] * 2 + [(12, "small")] * 2 if mixed else [(None, "whole")] * views)
    assert run.config["method_options"]["views"] == len(seen)
    assert identity["sampler"]["sampler"] == ("label" if classes else "epoch")


def test_views_and_crops_that_say_different_numbers_leave_no_run(pictures: Path, tmp_path: Path):
    with pytest.raises(ConfigError, match="views = 3, but crops ask for 4"):
        fit(pictures, tmp_path / "run", views=3, progress=False, **MIXED)
    assert not (tmp_path / "run" / "config.yaml").exists()
    made = fit(pictures, tmp_path / "run", views=4, steps=1, batch_size=BATCH, progress=False, **MIXED)
    assert made.config["method_options"]["views"] == 4


def test_a_batch_that_some_classes_cannot_fill_leaves_no_run(pictures: Path, tmp_path: Path):
    with pytest.raises(ConfigError, match="batch_size 16 is not made of 2 rows of each of 2 to 4 classes"):
        fit(pictures, tmp_path / "run", method="supcon", batch_size=BATCH, rows_per_class=2, progress=False)
    assert not (tmp_path / "run" / "config.yaml").exists()
