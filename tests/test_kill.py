"""A run that is killed at any moment and resumed by the command is, bit for bit, the run that was never killed."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from nearfar.training import load_checkpoint
from nearfar.training.metrics import read_metrics

STEPS = 60
CLOCKS = {"items_per_second", "wait_share", "seconds"}
SETTINGS = [
    *("--steps", STEPS, "--batch-size", 32, "--no-evaluate", "--set", "log_every=1", "--set", "checkpoint_every=3"),
    *("--set", "projection=16", "--set", "hidden=32"),
]

pytestmark = pytest.mark.slow


def nearfar(*arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "nearfar.cli", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, error = process.communicate(timeout=300)
    return process.returncode, error


def until(process: subprocess.Popen[str], seen: Callable[[], bool]) -> None:
    """Wait for something while the process runs."""
    while not seen():
        assert process.poll() is None, f"it ended too early: {finish(process)}"
        time.sleep(0.0005)


def step_of(out: Path) -> int:
    lines = read_metrics(out / "metrics.jsonl")
    return lines[-1]["step"] if lines else 0


def whole_checkpoint(out: Path) -> int:
    """Step of the newest checkpoint; a damaged one, which costs a warning, is an error here."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        checkpoint = load_checkpoint(out / "checkpoints")
    assert checkpoint is not None
    return checkpoint.step


def assert_same(one: Any, two: Any, path: str) -> None:
    if isinstance(one, dict):
        assert one.keys() == two.keys(), path
        for key in one:
            assert_same(one[key], two[key], f"{path}/{key}")
    elif isinstance(one, torch.Tensor):
        assert one.dtype == two.dtype and torch.equal(one, two), path
    else:
        assert one == two, path


def assert_same_run(one: Path, two: Path) -> None:
    states = []
    for out in (one, two):
        checkpoint = load_checkpoint(out / "checkpoints")
        assert checkpoint is not None and checkpoint.step == STEPS
        states.append(checkpoint.state)
    for name in ("method", "optimiser", "scaler", "rng", "identity", "data"):
        assert_same(states[0][name], states[1][name], name)
    lines = [
        [{k: v for k, v in record.items() if k not in CLOCKS} for record in read_metrics(out / "metrics.jsonl")]
        for out in (one, two)
    ]
    assert [record["step"] for record in lines[0]] == list(range(1, STEPS + 1))
    assert lines[0] == lines[1]


@pytest.fixture(scope="module")
def whole(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that nobody disturbed."""
    out = tmp_path_factory.mktemp("whole") / "run"
    code, error = finish(nearfar("fit", small, "--out", out, *SETTINGS))
    assert code == 0, error
    return out


def test_killed_at_five_random_moments(whole: Path, small: Path, tmp_path: Path):
    out, dice = tmp_path / "run", random.Random(20)
    # Four times at some moment of some step, and once while a checkpoint is being written.
    steps = sorted(dice.sample(range(2, STEPS - 10), 5))
    writing = dice.randrange(5)
    process = nearfar("fit", small, "--out", out, *SETTINGS)
    for number, step in enumerate(steps):
        until(process, lambda step=step: step_of(out) >= step)  # type: ignore[misc]
        if number == writing:
            until(process, lambda: any((out / "checkpoints").glob(".step-*.part")))
        else:
            time.sleep(dice.uniform(0, 0.05))
        process.kill()
        assert finish(process)[0] == -signal.SIGKILL
        assert 0 <= whole_checkpoint(out) <= STEPS
        process = nearfar("fit", "--resume", out, "--no-evaluate")
    code, error = finish(process)
    assert code == 0, error
    assert_same_run(whole, out)
    left = sorted(path.name for path in (out / "checkpoints").iterdir())
    assert len(left) == 4 and not any(name.endswith(".part") for name in left)
    assert (out / "report.html").exists()


def test_interrupted_and_told_how_to_go_on(whole: Path, small: Path, tmp_path: Path):
    out = tmp_path / "run"
    process = nearfar("fit", small, "--out", out, *SETTINGS)
    until(process, lambda: step_of(out) >= 7)
    process.send_signal(signal.SIGINT)
    code, error = finish(process)
    assert code == 130, error
    assert f"nearfar fit --resume {out}" in error and "Traceback" not in error
    assert whole_checkpoint(out) == step_of(out) >= 7
    assert f"after step {step_of(out)};" in error
    code, error = finish(nearfar("fit", "--resume", out, "--no-evaluate"))
    assert code == 0, error
    assert_same_run(whole, out)


def test_killed_before_the_first_checkpoint(whole: Path, small: Path, tmp_path: Path):
    out = tmp_path / "run"
    process = nearfar("fit", small, "--out", out, *SETTINGS)
    until(process, (out / "config.yaml").exists)
    process.kill()
    assert finish(process)[0] == -signal.SIGKILL
    code, error = finish(nearfar("fit", "--resume", out, "--no-evaluate"))
    assert code == 0, error
    assert_same_run(whole, out)


def test_a_full_disk_keeps_the_last_checkpoint_whole(whole: Path, small: Path, tmp_path: Path):
    disk = tmp_path / "disk"
    disk.mkdir()
    # Room for a checkpoint or two, and not for one more.
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", disk], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("only root may mount a small disk")
    try:
        out = disk / "run"
        code, error = finish(nearfar("fit", small, "--out", out, *SETTINGS))
        assert code == 2 and "Traceback" not in error and len(error.strip().splitlines()) == 1
        last = whole_checkpoint(out)
        assert f"checkpoint of step {last + 3} cannot be written" in error and "No space left on device" in error
        assert f"step-{last:08d}.json is whole: make room and resume" in error
        assert [path.name for path in (out / "checkpoints").glob("*.part")] == []
        subprocess.run(["mount", "-o", "remount,size=200m", disk], check=True)
        code, error = finish(nearfar("fit", "--resume", out, "--no-evaluate"))
        assert code == 0, error
        assert_same_run(whole, out)
    finally:
        subprocess.run(["umount", disk], check=True)


def test_the_comparison_would_notice(whole: Path, small: Path, tmp_path: Path):
    out = tmp_path / "run"
    code, error = finish(nearfar("fit", small, "--out", out, *SETTINGS, "--seed", 1))
    assert code == 0, error
    with pytest.raises(AssertionError, match=r"method/|rng|identity"):
        assert_same_run(whole, out)
    assert json.loads((out / "checkpoints" / f"step-{STEPS:08d}.json").read_text())["step"] == STEPS
