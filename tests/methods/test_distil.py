"""Distillation: the loss by plain loops, the queue of the teacher's vectors, and teachers of every kind."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_recipes import F64, made
from torch import Tensor

import nearfar as nf
from nearfar.data.batch import Batch
from nearfar.errors import ConfigError, DataError, NearfarError
from nearfar.run import Run, resume

WORDS = ["sea", "river", "stone", "bread", "wine", "ship", "star", "moon", "salt", "door", "lamp", "road", "hill"]


def rows(seed: int, count: int = 4, width: int = 3) -> Tensor:
    return torch.randn(count, width, dtype=F64, generator=torch.Generator().manual_seed(seed))


def batch(taught: Tensor, ids: Tensor | None = None, views: int = 1) -> Batch:
    count = len(taught)
    return Batch([torch.zeros(count, 1)] * views, torch.arange(count) if ids is None else ids, taught=taught)


def by_hand(asked: Tensor, key: Tensor, ids: list[int], held: Tensor, held_ids: list[int], t: float) -> float:
    """The mean over rows of -log of the share of the own vector of the teacher, other items alone being far."""
    total = 0.0
    for i, q in enumerate(asked):
        score = [float(q @ k / (q.norm() * k.norm())) / t for k in [*key, *held]]
        far = [s for s, other in zip(score, [*ids, *held_ids], strict=True) if other != ids[i]]
        total += math.log(math.exp(score[i]) + sum(map(math.exp, far))) - score[i]
    return total / len(asked)


def test_the_loss_is_that_of_the_teachers_vectors_in_batch_and_queue() -> None:
    method = made("distil", queue=6, temperature=0.3)
    first, second, asked = rows(0), rows(1), rows(2)
    method.contrast([rows(3)], batch(first[:, None], torch.tensor([5, 6, 7, 8])))
    method.after_step(0, 2)
    ids = [7, 9, 9, 10]  # one is in the queue, two are the same item
    loss = method.contrast([asked], batch(second[:, None], torch.tensor(ids))).loss
    assert loss.item() == pytest.approx(by_hand(asked, second, ids, first, [5, 6, 7, 8], 0.3), rel=1e-6)
    method.after_step(1, 2)
    held, held_ids = method.queue.rows()
    assert sorted(held_ids.tolist()) == [7, 7, 8, 9, 9, 10]
    assert not held.requires_grad


def test_the_order_in_which_the_queue_was_filled_does_not_matter() -> None:
    losses = []
    for order in ([0, 1, 2, 3], [2, 0, 3, 1]):
        method = made("distil", queue=4)
        method.queue.push(torch.nn.functional.normalize(rows(0), dim=1)[order], torch.arange(10, 14)[order])
        losses.append(method.contrast([rows(2)], batch(rows(1)[:, None])).loss.item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


def test_a_student_that_is_its_teacher_has_the_loss_of_identical_vectors_and_no_difference() -> None:
    method, z = made("distil", queue=0, learned=False, temperature=0.05, mse_weight=2.0), rows(0)
    said = method.contrast([z], batch(z[:, None]))
    want = nf.objectives.InfoNCE(temperature=0.05)(z, z)
    assert said.loss.item() == pytest.approx(want.item(), rel=1e-9) and said.terms["mse"].item() == 0.0


def test_the_squared_difference_alone_is_of_vectors_as_they_are() -> None:
    method, asked, taught = made("distil", contrast_weight=0, mse_weight=3.0), rows(0), rows(1)
    said = method.contrast([asked], batch(taught[:, None]))
    want = sum((a - b) ** 2 for a, b in zip(asked.flatten().tolist(), taught.flatten().tolist(), strict=True)) / 12
    assert said.loss.item() == pytest.approx(3 * want, rel=1e-9)
    assert method.queue is None and not list(method.objective.parameters())


def test_each_view_learns_from_its_own_part_where_the_teacher_has_several() -> None:
    method, views = made("distil", queue=0, learned=False, temperature=0.5), [rows(0), rows(1)]
    taught = torch.stack([rows(2), rows(3)], 1)
    ids = list(range(4))
    want = sum(by_hand(views[k], taught[:, k], ids, rows(9)[:0], [], 0.5) for k in range(2)) / 2
    assert method.contrast(views, batch(taught, views=2)).loss.item() == pytest.approx(want, rel=1e-6)
    with pytest.raises(DataError, match="the teacher has 2 vectors of width 3 for each item; for 3 views"):
        method.contrast([*views, rows(4)], batch(taught, views=3))
    with pytest.raises(DataError, match="this batch has none"):
        method.contrast(views, Batch([torch.zeros(4, 1)] * 2, torch.arange(4)))


def test_impossible_settings_are_refused() -> None:
    kind = nf.methods.find("distil").Options
    with pytest.raises(NearfarError, match="both 0"):
        kind(contrast_weight=0)
    with pytest.raises(ConfigError, match="say which one: teacher=RUN"):
        kind().settled({})
    with pytest.raises(ConfigError, match="width 3 and the student's 6; leave out head = none"):
        made("distil", head="none")


# Teachers -------------------------------------------------------------------------

HOW: dict[str, Any] = {"method": "distil", "steps": 4, "batch_size": 8, "progress": False, "checkpoint_every": 2}


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("texts") / "lines.txt"
    draw = np.random.default_rng(0)
    file.write_text("\n".join(" ".join(draw.choice(WORDS, 4)) for _ in range(40)))
    return file


@pytest.fixture(scope="module")
def teacher(lines: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("runs") / "teacher"
    return nf.fit(lines, out, method="simcse", encoder="ngrams-24", steps=2, batch_size=8, progress=False)


def bits(run: Run) -> dict[str, Tensor]:
    return run.method.state_dict()


def same(one: Run, other: Run) -> bool:
    return bits(one).keys() == bits(other).keys() and all(torch.equal(bits(one)[k], bits(other)[k]) for k in bits(one))


def test_a_run_its_vectors_in_a_file_and_a_run_by_batches_teach_the_same(
    lines: Path, teacher: Run, tmp_path: Path
) -> None:
    file = teacher.embed(lines, progress=False).save(tmp_path / "vectors.npz")
    np.save(tmp_path / "vectors.npy", np.load(file)["vectors"])
    student = {**HOW, "encoder": "ngrams-12"}
    run = nf.fit(lines, tmp_path / "run", teacher=str(teacher.path), **student)
    table = np.load(tmp_path / "run" / "teacher.npy")
    assert table.shape == (40, 1, 24) and np.array_equal(table[:, 0], np.load(file)["vectors"])
    assert run.config["method_options"]["projection"] == 24 and run.config["teacher"]["name"] == str(teacher.path)
    for name in ("vectors.npz", "vectors.npy"):
        other = nf.fit(lines, tmp_path / name.replace(".", "-"), teacher=str(tmp_path / name), **student)
        assert same(run, other) and not (other.path / "teacher.npy").exists()
    by_batch = nf.fit(lines, tmp_path / "by-batch", teacher=str(teacher.path), keep=False, **student)
    assert not (by_batch.path / "teacher.npy").exists()
    for key, value in bits(run).items():
        torch.testing.assert_close(bits(by_batch)[key], value, rtol=1e-4, atol=1e-5)
    then = nf.fit(lines, tmp_path / "then", encoder=str(run.path), **{**HOW, "method": "simcse"})
    assert then.start is not None and then.method.width == 12


@pytest.mark.parametrize("keep", [True, False])
def test_an_interrupted_student_ends_with_the_same_bits_and_needs_its_teacher_only_for_what_is_not_kept(
    keep: bool, lines: Path, teacher: Run, tmp_path: Path
) -> None:
    moved = Path(shutil.copytree(teacher.path, tmp_path / "teacher"))
    run = nf.fit(lines, tmp_path / "run", teacher=str(moved), encoder="ngrams-12", keep=keep, **HOW)
    whole = {key: value.clone() for key, value in bits(run).items()}
    for file in (run.path / "checkpoints").glob("step-00000004*"):
        file.unlink()
    if keep:
        shutil.rmtree(moved)
    again = resume(run.path, progress=False)
    assert all(torch.equal(whole[key], value) for key, value in bits(again).items())


def test_a_teacher_that_was_changed_is_refused(lines: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", np.random.default_rng(0).normal(size=(40, 5)))
    run = nf.fit(lines, tmp_path / "run", teacher=str(tmp_path / "v.npy"), encoder="ngrams-12", **HOW)
    for file in (run.path / "checkpoints").glob("step-00000004*"):
        file.unlink()
    np.save(tmp_path / "v.npy", np.random.default_rng(1).normal(size=(40, 5)))
    with pytest.raises(ConfigError, match=r"the teacher '.*v.npy' is no longer what this run learned from"):
        resume(run.path, progress=False)


def test_both_texts_of_a_pair_are_taught(tmp_path: Path) -> None:
    file = tmp_path / "pairs.csv"
    file.write_text("anchor,positive\n" + "\n".join(f"{a} of {b},{b} with {a}" for a in WORDS for b in WORDS[:2]))
    run = nf.fit(file, tmp_path / "run", teacher="ngrams-20", encoder="ngrams-12", **HOW)
    assert np.load(run.path / "teacher.npy").shape == (26, 2, 20) and run.config["method_options"]["views"] == 2


def test_teachers_that_do_not_fit_are_named(lines: Path, teacher: Run, tmp_path: Path) -> None:
    np.save(tmp_path / "short.npy", np.ones((39, 5)))
    pictures = tmp_path / "pictures.npz"
    np.savez(pictures, images=np.random.default_rng(0).integers(0, 255, (24, 8, 8), np.uint8))
    cases: list[tuple[Path, dict[str, Any], str]] = [
        (lines, {"teacher": str(tmp_path / "short.npy")}, "has 39 vectors and the data have 40 rows"),
        (lines, {"teacher": str(tmp_path / "none.npy")}, "teacher: there is no file"),
        (lines, {"teacher": "minilmm"}, "no text encoder is called 'minilmm'"),
        (
            lines,
            {"teacher": "ngrams-20", "projection": 7},
            "projection = 7, but the vectors of ngrams-20 have width 20",
        ),
        (pictures, {"teacher": str(teacher.path)}, "is a run on text, and these data are images"),
    ]
    for data, how, message in cases:
        with pytest.raises(NearfarError, match=message):
            nf.fit(data, tmp_path / "run", **{**HOW, **how})
        assert not (tmp_path / "run" / "config.yaml").exists()
    with pytest.raises(ConfigError, match=r"takes rows of shape \(1, 8, 8\), and these data have \(1, 9, 9\)"):
        eight = nf.fit(pictures, tmp_path / "eight", steps=1, batch_size=8, encoder="small", progress=False)
        nine = tmp_path / "nine.npz"
        np.savez(nine, images=np.zeros((24, 9, 9), np.uint8))
        nf.fit(nine, tmp_path / "run", teacher=str(eight.path), **HOW)
