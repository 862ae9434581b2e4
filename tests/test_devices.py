"""A run on several devices is the run on one: by the command, by torchrun, from Python; killed, resumed, embedded."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nearfar.data.source import ArraySource
from nearfar.errors import ConfigError
from nearfar.run import Run, fit, resume
from nearfar.training import load_checkpoint
from nearfar.training.metrics import read_metrics
from nearfar.training.team import joined
from saying import Command

STEPS = 12
SETTINGS: dict[str, Any] = {
    **{"steps": STEPS, "batch_size": 33, "projection": 16, "hidden": 32, "log_every": 1, "checkpoint_every": 3},
    **{"optimiser": "sgd", "lr": 0.05},
}
ARGUMENTS = [word for key, value in SETTINGS.items() for word in ("--set", f"{key}={value}")]
CLOCKS = {"items_per_second", "wait_share", "seconds"}


def start(*words: object, launcher: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", *launcher, *(["-m"] if launcher else []), "nearfar", *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, error = process.communicate(timeout=600)
    return process.returncode, error


def records(out: Path) -> list[dict[str, Any]]:
    return [{k: v for k, v in line.items() if k not in CLOCKS} for line in read_metrics(out / "metrics.jsonl")]


def weights(out: Path) -> dict[str, torch.Tensor]:
    checkpoint = load_checkpoint(out / "checkpoints")
    assert checkpoint is not None and checkpoint.step == STEPS
    return checkpoint.state["method"]


def assert_same(one: Path, two: Path) -> None:
    assert [line["step"] for line in records(one)] == list(range(1, STEPS + 1))
    assert records(one) == records(two)
    for name, value in weights(one).items():
        assert torch.equal(value, weights(two)[name]), name


@pytest.fixture(scope="module")
def two(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on two devices that nobody disturbed."""
    out = tmp_path_factory.mktemp("devices") / "two"
    code, error = finish(start("fit", small, "--out", out, "--devices", 2, "--no-evaluate", *ARGUMENTS))
    assert code == 0, error
    assert error == "", "of several processes one speaks, and it has nothing to say"
    return out


@pytest.mark.slow
def test_two_devices_are_one_with_the_same_batches(two: Path, small: Path, tmp_path: Path):
    one = fit(small, tmp_path / "one", progress=False, **SETTINGS).path
    first, other = records(one)[0], records(two)[0]
    for key in ("loss", "chance", "near_mean", "far_mean", "effective_rank"):
        assert other[key] == pytest.approx(first[key], rel=1e-5), key
    # In float32 rounding grows from step to step; `training/test_team.py` compares whole runs in float64.
    for a, b in zip(records(one), records(two), strict=True):
        assert a["step"] == b["step"] and a.keys() == b.keys()
        assert b["loss"] == pytest.approx(a["loss"], rel=0.03), a["step"]
    loss = [line["loss"] for line in records(one)]
    assert loss[-1] < loss[0] - 0.1, "it learns, so that the curves say something"
    assert Run.load(two).config["training"]["devices"] == 2


@pytest.mark.slow
def test_killed_and_resumed_it_is_the_same_to_the_bit(two: Path, small: Path, tmp_path: Path):
    out = tmp_path / "run"
    process = start("fit", small, "--out", out, "--devices", 2, "--no-evaluate", *ARGUMENTS)
    for number in (signal.SIGKILL, signal.SIGINT):
        done = len(records(out)) if (out / "metrics.jsonl").exists() else 0
        while not (out / "metrics.jsonl").exists() or len(read_metrics(out / "metrics.jsonl")) < done + 3:
            assert process.poll() is None, finish(process)
            time.sleep(0.01)
        process.send_signal(number)
        code, error = finish(process)
        if number == signal.SIGINT:
            step = load_checkpoint(out / "checkpoints").step  # type: ignore[union-attr]
            assert code == 130 and f"stopped by SIGINT after step {step}" in error, error
            assert f"nearfar fit --resume {out}" in error and "Traceback" not in error
            assert error.count("finishing this step") == 1
        process = start("fit", "--resume", out, "--no-evaluate")
    code, error = finish(process)
    assert code == 0, error
    assert_same(two, out)


@pytest.mark.slow
def test_under_torchrun_it_is_the_same_to_the_bit(two: Path, small: Path, tmp_path: Path):
    out = tmp_path / "run"
    launcher = ("torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    process = start("fit", small, "--out", out, "--no-evaluate", *ARGUMENTS, launcher=launcher)
    code, error = finish(process)
    assert code == 0 and "Warning" not in error, error
    assert_same(two, out)
    assert (out / "report.html").exists() and Run.load(out).config["training"]["devices"] == 2
    process = start("embed", out, small, "--out", tmp_path / "v.npz", launcher=launcher)
    code, error = finish(process)
    assert code != 0 and "torchrun is for nearfar fit; start nearfar embed without it" in error


@pytest.mark.slow
def test_a_run_in_memory_moves_to_two_devices_and_is_embedded_by_them(small: Path, tmp_path: Path):
    source = fit(small, tmp_path / "read", progress=False, **{**SETTINGS, "steps": 1}).read(small)[0]
    made = fit(source, tmp_path / "run", progress=False, devices=2, **SETTINGS)
    again = resume(made.path, source, progress=False, devices=1)  # finished: it only finds that nothing is left to do
    one, several = (again.embed(source, False, batch_size=32, devices=count) for count in (1, 2))
    assert np.array_equal(one.vectors, several.vectors) and one.names == several.names
    few = again.embed(source.select(np.arange(4)), False, devices=3)  # two batches of two, and a process without any
    np.testing.assert_allclose(few.vectors, one.vectors[:4], rtol=1e-4, atol=1e-5)
    with pytest.raises(ConfigError, match="devices = 4, but there are 3 rows to embed"):
        again.embed(source.select(np.arange(3)), False, devices=4)


@pytest.mark.slow
def test_embedding_and_evaluation_by_the_command(trained: Path, small: Path, tmp_path: Path, command: Command):
    for count in (1, 2):
        said = command("embed", trained, small, "--out", tmp_path / f"{count}.npz", "--devices", count)
        assert said.code == 0, said.err
        more = ("--probes", "knn", "--no-baselines", "--json", tmp_path / f"{count}.json", "--devices", count)
        said = command("evaluate", trained, small, *more)
        assert said.code == 0, said.err
    vectors = [np.load(tmp_path / f"{count}.npz") for count in (1, 2)]
    np.testing.assert_allclose(vectors[0]["vectors"], vectors[1]["vectors"], rtol=1e-4, atol=1e-5)
    assert vectors[0]["names"].tolist() == vectors[1]["names"].tolist()
    figures = [json.loads((tmp_path / f"{count}.json").read_text())["evaluations"] for count in (1, 2)]
    assert figures[0] == figures[1]


def test_what_cannot_be_leaves_no_run_behind(small: Path, tmp_path: Path, command: Command):
    there = torch.cuda.device_count()
    wrong = {
        "devices = 40, but a batch has 32 rows, and each device takes one at least": ("--devices", 40),
        "'engine' = 'pipeline'": ("--devices", 2, "--engine", "pipeline"),
    }
    if not there:
        wrong["device 'cuda' cannot be used"] = ("--devices", 2, "--device", "cuda")
    for text, words in wrong.items():
        said = command("fit", small, "--out", tmp_path / "run", "--batch-size", 32, *words)
        assert said.code == 2 and text in said.err and len(said.err.splitlines()) == 1
    with pytest.raises(ConfigError, match="a watch looks at the method in this process, and devices = 2"):
        fit(small, tmp_path / "run", devices=2, watch=lambda run, method: None)  # type: ignore[arg-type,return-value]
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_processes_that_cannot_meet_say_where(monkeypatch: pytest.MonkeyPatch):
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        where = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        for name, value in where.items():
            monkeypatch.setenv(name, value)
        said = rf"process 0 of 2 cannot meet the others at 127\.0\.0\.1:{port}: .*port"
        with pytest.raises(ConfigError, match=said), joined():
            pass


def test_a_mapped_array_goes_to_other_processes_by_name(tmp_path: Path):
    import pickle

    np.save(tmp_path / "rows.npy", np.arange(400_000, dtype=np.uint8).reshape(1000, 400))
    array = np.load(tmp_path / "rows.npy", mmap_mode="r")
    whole, part = ArraySource("images", array), ArraySource("images", array[500:])
    sent = pickle.dumps(whole)
    assert len(sent) < 100_000
    assert torch.equal(pickle.loads(sent).rows(slice(3, 9)), whole.rows(slice(3, 9)))
    assert pickle.loads(sent).fingerprint() == whole.fingerprint()
    assert torch.equal(pickle.loads(pickle.dumps(part)).rows(slice(0, 9)), whole.rows(slice(500, 509)))
