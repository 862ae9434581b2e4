from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tiny_run import TinyContrast, TinyMethod, TinySampler, TinySource, noisy_views, tiny_trainer
from torch import Tensor, nn

from nearfar.data.batch import Batch
from nearfar.errors import ConfigError, DataError
from nearfar.training import Diverged, Trainer, TrainingSettings, load_checkpoint
from nearfar.training.metrics import read_metrics
from nearfar.training.rng import step_generator


class Plain(nn.Module):
    """InfoNCE on a linear encoder without anything random: a loop of ten lines is its oracle."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.encoder = nn.Sequential(nn.Linear(6, 12), nn.LayerNorm(12), nn.ReLU(), nn.Linear(12, 4))
        self.batches: list[Batch] = []
        self.calls = -1
        self.widths: set[torch.dtype] = set()

    def project(self, rows: Tensor) -> Tensor:
        return self.encoder(rows)

    def contrast(self, projections: list[Tensor], batch: Batch) -> TinyContrast:
        self.batches.append(batch)
        self.calls += 1
        self.widths |= {projection.dtype for projection in projections}
        first, second = (F.normalize(projection, dim=1) for projection in projections)
        loss = F.cross_entropy(first @ second.T / 0.2, torch.arange(len(first)))
        return TinyContrast(loss, {"half": loss / 2}, float(np.log(len(first))))

    def after_step(self, step: int, total_steps: int) -> None:
        pass


def test_the_loop_is_the_plain_loop(tmp_path: Path) -> None:
    method, oracle = Plain(), Plain()
    trainer = tiny_trainer(tmp_path, method, steps=15, optimiser="sgd", lr=0.1, weight_decay=0.0, clip_norm=0.5)
    trainer.run()
    source, sampler = TinySource(), TinySampler()
    sgd = torch.optim.SGD(oracle.parameters(), lr=0.1, momentum=0.9)
    for step in range(15):
        index = sampler.batch(step)
        views = noisy_views(source.data[index], step_generator(0, step))
        loss = oracle.contrast([oracle.project(view) for view in views], None).loss  # type: ignore[arg-type]
        sgd.param_groups[0]["lr"] = 0.1 * ((step + 1) / 2 if step < 2 else (1 + np.cos(np.pi * (step - 2) / 13)) / 2)
        sgd.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(oracle.parameters(), 0.5)
        sgd.step()
    for name, value in method.state_dict().items():
        torch.testing.assert_close(value, oracle.state_dict()[name], rtol=1e-5, atol=1e-7)
    assert len(method.batches) == 15
    assert torch.equal(method.batches[3].ids, torch.as_tensor(sampler.batch(3)))
    assert torch.equal(method.batches[3].labels, torch.as_tensor(sampler.batch(3) % 3))  # type: ignore[arg-type]


def test_micro_batches_train_the_same_weights(tmp_path: Path) -> None:
    whole, parts = Plain(), Plain()
    tiny_trainer(tmp_path / "a", whole, steps=10, optimiser="sgd").run()
    tiny_trainer(tmp_path / "b", parts, steps=10, optimiser="sgd", micro_batch=5).run()
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(value, parts.state_dict()[name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("batch", "micro_batch"), [(13, 6), (13, 4), (13, 3), (13, 2), (12, 11)])
def test_no_row_meets_a_batch_norm_alone(tmp_path: Path, batch: int, micro_batch: int) -> None:
    method = TinyMethod()
    sizes: list[int] = []
    method.encoder.register_forward_pre_hook(lambda _, rows: sizes.append(len(rows[0])))
    tiny_trainer(tmp_path, method, batch_size=batch, steps=1, micro_batch=micro_batch).run()
    assert sum(sizes) == 2 * 2 * batch  # of two views, each encoded twice
    assert min(sizes) >= 2 and max(sizes) <= max(micro_batch, 3)


def test_one_row_at_a_time_is_refused_where_there_is_a_batch_norm(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"micro_batch = 1: encoder or head has a batch norm, .* set micro_batch to 2"
    ):
        tiny_trainer(tmp_path / "a", TinyMethod(), steps=1, micro_batch=1)
    tiny_trainer(tmp_path / "b", Plain(), steps=1, micro_batch=1).run()
    wide = TinyMethod()
    wide.encoder = torch.nn.Sequential(torch.nn.Unflatten(1, (6, 1, 1)), torch.nn.BatchNorm2d(6), torch.nn.Flatten())
    wide.momentum = torch.nn.Identity()
    wide.queue = torch.randn(20, 6)
    with pytest.raises(ConfigError, match=r"a single row without neighbours \(micro_batch = 1\)"):
        tiny_trainer(tmp_path / "c", wide, steps=1, micro_batch=1).run()


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
@pytest.mark.parametrize("micro_batch", [None, 5])
def test_half_precision_is_close_and_the_objective_gets_float32(
    tmp_path: Path, precision: str, micro_batch: int | None
) -> None:
    exact, half = Plain(), Plain()
    tiny_trainer(tmp_path / "a", exact, steps=6, optimiser="sgd").run()
    trainer = tiny_trainer(tmp_path / "b", half, steps=6, optimiser="sgd", precision=precision, micro_batch=micro_batch)
    assert trainer.scaler.is_enabled() == (precision == "float16")
    # The usual first scale of 65536 overflows once or twice, and each overflow skips an update by design.
    trainer.scaler = torch.amp.GradScaler("cpu", init_scale=256.0, enabled=precision == "float16")
    trainer.run()
    assert half.widths == {torch.float32}
    exact_losses, losses = ([r["loss"] for r in read_metrics(tmp_path / d / "metrics.jsonl")] for d in "ab")
    assert losses != exact_losses and losses == pytest.approx(exact_losses, rel=0.05)
    for name, value in exact.state_dict().items():
        torch.testing.assert_close(half.state_dict()[name], value, rtol=0.05, atol=0.01)


def test_it_learns_and_says_so(tmp_path: Path) -> None:
    result = tiny_trainer(tmp_path, Plain(), steps=120, lr=0.02, histogram_every=10).run()
    records = read_metrics(tmp_path / "metrics.jsonl")
    first, last = records[0], records[-1]
    assert first["loss"] > 1.0 and last["loss"] < 0.6 * first["loss"] and result.loss == last["loss"]
    assert last["near_mean"] > 0.9 > 0.5 > last["far_mean"] and last["effective_rank"] > 2
    assert last["chance"] == pytest.approx(np.log(12)) and last["terms"]["half"] == pytest.approx(last["loss"] / 2)
    assert {"epoch", "lr", "grad_norm", "items_per_second", "wait_share", "seconds", "uniformity"} <= last.keys()
    assert last["epoch"] == 24 and 0 <= last["wait_share"] <= 1
    assert [r["step"] for r in records if "near_hist" in r] == [30, 60, 90, 120]
    assert sum(last["near_hist"]) == 12 and sum(last["far_hist"]) == 132
    assert result.verdicts == {} and result.steps == 120 and result.checkpoint.exists()


class Collapsing(Plain):
    def project(self, rows: Tensor) -> Tensor:
        return self.encoder(rows) * 0 + self.encoder[3].bias

    def contrast(self, projections: list[Tensor], batch: Batch) -> TinyContrast:
        return TinyContrast(projections[0].square().mean() * 0 + 2.0, {}, 2.0)


def test_trouble_is_told_once_and_kept_over_a_resume(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    class Dying(Collapsing):
        def after_step(self, step: int, total_steps: int) -> None:
            if step == 200:
                raise RuntimeError

    with pytest.raises(RuntimeError):
        tiny_trainer(tmp_path, Dying(), steps=400, log_every=10).run()
    result = tiny_trainer(tmp_path, Collapsing(), steps=400, log_every=10).run(resume=True)
    said = {r["step"]: list(r["verdicts"]) for r in read_metrics(tmp_path / "metrics.jsonl") if "verdicts" in r}
    assert said == {60: ["collapse"], 310: ["chance"]}
    assert set(result.verdicts) == {"collapse", "chance"}
    printed = capsys.readouterr().err
    assert printed.count("collapsed") == 1 and printed.count("value at chance") == 1


class Exploding(Plain):
    def __init__(self, where: str) -> None:
        super().__init__()
        self.where = where

    def contrast(self, projections: list[Tensor], batch: Batch) -> TinyContrast:
        contrast = super().contrast(projections, batch)
        if self.calls == 6:
            # the square root has the value 0 and an infinite slope at 0
            bad = contrast.loss * float("nan") if self.where == "loss" else (contrast.loss * 0).sqrt()
            return TinyContrast(contrast.loss + bad)
        return contrast


@pytest.mark.parametrize("where", ["loss", "gradient"])
@pytest.mark.parametrize("micro_batch", [None, 5])
def test_a_loss_that_is_not_finite_stops_and_names_step_and_rows(
    tmp_path: Path, where: str, micro_batch: int | None
) -> None:
    method = Exploding(where)
    with pytest.raises(Diverged, match=rf"the {where}.* of step 7 is .*step-00000004\.json") as stopped:
        tiny_trainer(tmp_path, method, micro_batch=micro_batch).run()
    assert stopped.value.step == 7
    record = json.loads((tmp_path / "diverged.json").read_text())
    assert record["step"] == 7 and record["index"] == TinySampler().batch(6).tolist() == record["ids"]
    assert all(bool(torch.isfinite(parameter).all()) for parameter in method.parameters())
    assert load_checkpoint(tmp_path / "checkpoints").step == 4  # type: ignore[union-attr]


def test_views_are_prepared_by_one_thread_beside_the_main_one(tmp_path: Path) -> None:
    threads: set[str] = set()

    def views(rows: Tensor, generator: torch.Generator) -> list[Tensor]:
        threads.add(threading.current_thread().name)
        return noisy_views(rows, generator)

    settings = TrainingSettings(steps=5, batch_size=12)
    Trainer(Plain(), TinySource(), views, TinySampler(), settings, tmp_path, progress=False).run()
    assert len(threads) == 1 and threading.main_thread().name not in threads


def test_errors_of_the_data_reach_the_user(tmp_path: Path) -> None:
    class Broken(TinySource):
        def rows(self, index: np.ndarray) -> Tensor:
            raise DataError("photos/a.png cannot be read")

    with pytest.raises(DataError, match=r"photos/a\.png"):
        tiny_trainer(tmp_path / "a", source=Broken()).run()

    def short(rows: Tensor, generator: torch.Generator) -> list[Tensor]:
        return [rows, rows[1:]]

    with pytest.raises(DataError, match="12 ids has columns of lengths"):
        Trainer(Plain(), TinySource(), short, TinySampler(), TrainingSettings(steps=1), tmp_path / "b").run()


def test_without_labels_and_with_tensorboard_and_progress(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    source, method = TinySource(), Plain()
    source.labels = None
    settings = TrainingSettings(steps=4, batch_size=12, tensorboard=True)
    Trainer(method, source, noisy_views, TinySampler(), settings, tmp_path, progress=True).run()
    assert method.batches[0].labels is None
    assert list((tmp_path / "tensorboard").iterdir())
    shown = capsys.readouterr().err
    assert "48.0/48.0" in shown and "loss=" in shown and "waiting=" in shown


def test_time_also_makes_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from nearfar.training import loop

    written: list[Any] = []
    save = loop.save_checkpoint
    monkeypatch.setattr(
        loop, "save_checkpoint", lambda folder, step, tree: written.append(step) or save(folder, step, tree)
    )
    settings = {"steps": 9, "checkpoint_every": None}
    tiny_trainer(tmp_path / "seldom", **settings).run()
    assert written == [0, 9]
    written.clear()
    tiny_trainer(tmp_path / "often", checkpoint_seconds=1e-9, **settings).run()
    assert written == list(range(10))


def test_an_overflow_in_half_precision_skips_the_update_and_goes_on(tmp_path: Path) -> None:
    method = Plain()
    trainer = tiny_trainer(tmp_path, method, steps=3, precision="float16", log_every=1)
    trainer.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**60, backoff_factor=2.0**-52)
    start = {name: value.clone() for name, value in method.state_dict().items()}
    seen: list[bool] = []
    method.after_step = lambda step, total: seen.append(  # type: ignore[method-assign]
        all(torch.equal(value, start[name]) for name, value in method.state_dict().items())
    )
    trainer.run()
    assert seen == [True, False, False]
    assert read_metrics(tmp_path / "metrics.jsonl")[0]["grad_norm"] is None
    assert load_checkpoint(tmp_path / "checkpoints").state["scaler"]["scale"] == 256.0  # type: ignore[union-attr]


class Looker:
    """Does all that a look may do: draws random numbers, puts the method into evaluation, takes its time."""

    every = 6

    def __init__(self, method: nn.Module) -> None:
        self.method, self.looks = method, 0

    def __call__(self) -> dict[str, float]:
        self.looks += 1
        torch.rand(3)
        np.random.rand(3)
        self.method.eval()
        time.sleep(0.3)
        return {"looks": float(self.looks)}


def test_a_watch_sees_the_method_and_changes_nothing(tmp_path: Path) -> None:
    plain = tiny_trainer(tmp_path / "plain", steps=20)
    plain.run()
    watched = tiny_trainer(tmp_path / "watched", steps=20)
    watched.watch = Looker(watched.module)
    began = time.perf_counter()
    result = watched.run()
    wall = time.perf_counter() - began
    for name, value in plain.module.state_dict().items():
        assert torch.equal(value, watched.module.state_dict()[name]), name
    records = read_metrics(tmp_path / "watched" / "metrics.jsonl")
    assert {r["step"]: r["watched"]["looks"] for r in records if "watched" in r} == {6: 1, 12: 2, 18: 3, 20: 4}
    assert [r["loss"] for r in records] == [r["loss"] for r in read_metrics(tmp_path / "plain" / "metrics.jsonl")]
    assert result.seconds <= wall - 4 * 0.3, "looks are no training"
