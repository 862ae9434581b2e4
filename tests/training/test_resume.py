from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_run import TinyMethod, TinySampler, TinySource, tiny_trainer

from nearfar.errors import ConfigError
from nearfar.training import Interrupted, Trainer, TrainingSettings, load_checkpoint
from nearfar.training.metrics import read_metrics

PROGRAM = Path(__file__).with_name("tiny_run.py")
CLOCKS = {"items_per_second", "wait_share", "seconds"}


def final_state(out: Path) -> dict[str, Any]:
    checkpoint = load_checkpoint(out / "checkpoints")
    assert checkpoint is not None and checkpoint.step == 40
    return checkpoint.state


def assert_same_bits(first: Any, second: Any, path: str = "") -> None:
    if isinstance(first, dict):
        assert first.keys() == second.keys(), path
        for key in first:
            assert_same_bits(first[key], second[key], f"{path}/{key}")
    elif isinstance(first, torch.Tensor):
        assert first.dtype == second.dtype and torch.equal(first, second), path
    else:
        assert first == second, path


def assert_same_run(first: Path, second: Path) -> None:
    one, two = final_state(first), final_state(second)
    for name in ("method", "optimiser", "scaler", "rng", "identity", "data"):
        assert_same_bits(one[name], two[name], name)
    lines = [
        [{k: v for k, v in record.items() if k not in CLOCKS} for record in read_metrics(out / "metrics.jsonl")]
        for out in (first, second)
    ]
    assert lines[0] == lines[1]
    assert [record["step"] for record in lines[0]] == [1, *range(3, 40, 3), 40]


class Crash(Exception):
    pass


def crashing(after: int) -> TinyMethod:
    method = TinyMethod()
    plain = method.after_step

    def after_step(step: int, total: int) -> None:
        plain(step, total)
        if step + 1 == after:
            raise Crash

    method.after_step = after_step  # type: ignore[method-assign]
    return method


@pytest.mark.parametrize("change", [{}, {"optimiser": "lars", "lr": 0.3}, {"optimiser": "sgd"}, {"micro_batch": 5}])
def test_crash_and_resume_gives_the_same_bits(tmp_path: Path, change: dict) -> None:
    tiny_trainer(tmp_path / "whole", **change).run()
    for after in (1, 8, 23):  # the last two leave lines in metrics.jsonl that no checkpoint has seen
        with pytest.raises(Crash):
            tiny_trainer(tmp_path / "parts", crashing(after), **change).run(resume=True)
    tiny_trainer(tmp_path / "parts", TinyMethod(seed=99), **change).run(resume=True)
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


def test_the_seed_and_nothing_else_decides(tmp_path: Path) -> None:
    torch.manual_seed(1)
    tiny_trainer(tmp_path / "a").run()
    torch.rand(7)
    tiny_trainer(tmp_path / "b", checkpoint_every=7, log_every=3).run()
    assert_same_run(tmp_path / "a", tmp_path / "b")
    tiny_trainer(tmp_path / "c", seed=1).run()
    name = "encoder.0.weight"
    assert not torch.equal(final_state(tmp_path / "a")["method"][name], final_state(tmp_path / "c")["method"][name])


@pytest.mark.slow
def test_kill_minus_nine_at_random_steps_gives_the_same_bits(tmp_path: Path) -> None:
    def run(out: Path, *arguments: str) -> int:
        return subprocess.run([sys.executable, str(PROGRAM), str(out), *arguments], check=False).returncode

    assert run(tmp_path / "whole") == 0
    steps = sorted(random.Random(3).sample(range(1, 40), 5))
    for step in steps:
        assert run(tmp_path / "parts", "--kill-after", str(step)) == -signal.SIGKILL
    assert run(tmp_path / "parts", "--kill-after", "40", "--where", "checkpoint") == -signal.SIGKILL
    assert run(tmp_path / "parts") == 0
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


def test_resuming_a_finished_run_does_nothing(tmp_path: Path) -> None:
    first = tiny_trainer(tmp_path).run()
    before = (tmp_path / "metrics.jsonl").read_bytes()
    method = TinyMethod(seed=4)
    second = tiny_trainer(tmp_path, method).run(resume=True)
    assert method.calls == []
    assert (tmp_path / "metrics.jsonl").read_bytes() == before
    assert second.loss == first.loss and second.steps == 40


def test_a_second_run_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    tiny_trainer(tmp_path, steps=2).run()
    with pytest.raises(ConfigError, match="already holds a run"):
        tiny_trainer(tmp_path, steps=2).run()


def test_resume_refuses_other_settings_and_other_data_by_name(tmp_path: Path) -> None:
    tiny_trainer(tmp_path, steps=8).run()
    with pytest.raises(ConfigError, match=r"settings\.lr was 0\.01, now 0\.02"):
        tiny_trainer(tmp_path, steps=8, lr=0.02).run(resume=True)
    with pytest.raises(ConfigError, match="the data changed"):
        tiny_trainer(tmp_path, steps=8, source=TinySource(seed=2)).run(resume=True)
    with pytest.raises(ConfigError, match="method was 'tiny', now 'other'"):
        trainer = tiny_trainer(tmp_path, steps=8)
        trainer.identity["method"] = "other"
        trainer.run(resume=True)
    tiny_trainer(tmp_path, steps=8, log_every=1, checkpoint_every=2, threads=2).run(resume=True)


def test_resume_refuses_another_model(tmp_path: Path) -> None:
    tiny_trainer(tmp_path, steps=4).run()
    other = TinyMethod()
    other.encoder[4] = torch.nn.Linear(16, 8, bias=False)
    with pytest.raises(ConfigError, match=r"another model.*encoder\.4\.bias"):
        tiny_trainer(tmp_path, other, steps=4).run(resume=True)


def test_a_damaged_newest_checkpoint_costs_steps_but_not_the_run(tmp_path: Path) -> None:
    tiny_trainer(tmp_path / "whole").run()
    with pytest.raises(Crash):
        tiny_trainer(tmp_path / "parts", crashing(21)).run()
    newest = max((tmp_path / "parts" / "checkpoints").glob("*.safetensors"))
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    with pytest.warns(UserWarning, match=rf"{newest.name} is damaged.*step 16 instead"):
        tiny_trainer(tmp_path / "parts").run(resume=True)
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_finishes_the_step_and_writes_the_checkpoint(tmp_path: Path, number: int) -> None:
    before = signal.getsignal(number)
    method = TinyMethod()
    plain = method.contrast

    def contrast(projections: list, batch: Any) -> Any:
        if len(method.calls) == 9:
            signal.raise_signal(number)
        return plain(projections, batch)

    method.contrast = contrast  # type: ignore[method-assign]
    with pytest.raises(Interrupted, match="after step 10") as stopped:
        tiny_trainer(tmp_path / "parts", method).run()
    assert stopped.value.step == 10
    assert signal.getsignal(number) is before
    checkpoint = load_checkpoint(tmp_path / "parts" / "checkpoints")
    assert checkpoint is not None and checkpoint.step == 10
    tiny_trainer(tmp_path / "parts").run(resume=True)
    tiny_trainer(tmp_path / "whole").run()
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


def test_a_second_signal_aborts_at_once(tmp_path: Path) -> None:
    method = TinyMethod()

    def contrast(projections: list, batch: Any) -> Any:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("not reached")

    method.contrast = contrast  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        tiny_trainer(tmp_path, method).run()
    assert load_checkpoint(tmp_path / "checkpoints").step == 0  # type: ignore[union-attr]


def test_the_callers_random_numbers_are_left_alone(tmp_path: Path) -> None:
    trainer = tiny_trainer(tmp_path, steps=2)
    torch.manual_seed(3), np.random.seed(3), random.seed(3)
    expected = torch.rand(1), np.random.randn(), random.gauss(0, 1)
    torch.manual_seed(3), np.random.seed(3), random.seed(3)
    trainer.run()
    assert (torch.rand(1), np.random.randn(), random.gauss(0, 1)) == expected


def test_no_pickle_on_disk(tmp_path: Path) -> None:
    tiny_trainer(tmp_path, steps=4).run()
    for path in (tmp_path / "checkpoints").iterdir():
        assert path.suffix in {".json", ".safetensors"}
        if path.suffix == ".json":
            json.loads(path.read_text())


def test_resume_refuses_other_views_and_another_sampler(tmp_path: Path) -> None:
    class Views:
        def __init__(self, noise: float) -> None:
            self.noise = noise

        def config(self) -> dict[str, float]:
            return {"noise": self.noise}

        def __call__(self, rows: torch.Tensor, generator: torch.Generator) -> list[torch.Tensor]:
            return [rows + self.noise * torch.randn(rows.shape, generator=generator) for _ in range(2)]

    def trainer(noise: float, count: int) -> Trainer:
        settings = TrainingSettings(steps=3, batch_size=12)
        return Trainer(TinyMethod(), TinySource(), Views(noise), TinySampler(count), settings, tmp_path, progress=False)

    trainer(0.1, 60).run()
    with pytest.raises(ConfigError, match=r"sampler\.count was 60, now 48; views\.noise was 0\.1, now 0\.2"):
        trainer(0.2, 48).run(resume=True)
