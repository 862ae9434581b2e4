"""Several processes that share every batch train what one process trains."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import team_run
import torch

from nearfar.errors import ConfigError, DataError, NearfarError
from nearfar.training import Interrupted, load_checkpoint
from nearfar.training.launching import launch
from nearfar.training.metrics import read_metrics
from nearfar.training.team import Team, check_devices

CLOCKS = {"items_per_second", "wait_share", "seconds"}


def together(out: Path, devices: int = 2, **given: Any) -> None:
    launch("team_run:train", {"out": out, **given}, devices, threads=1)


def records(out: Path) -> list[dict[str, Any]]:
    return [{k: v for k, v in line.items() if k not in CLOCKS} for line in read_metrics(out / "metrics.jsonl")]


def weights(out: Path) -> dict[str, torch.Tensor]:
    checkpoint = load_checkpoint(out / "checkpoints")
    assert checkpoint is not None and checkpoint.step == team_run.STEPS
    return checkpoint.state["method"]


def assert_close(one: Path, two: Path) -> None:
    lines = records(one), records(two)
    assert [line["step"] for line in lines[0]] == [line["step"] for line in lines[1]] == list(range(1, 21))
    for a, b in zip(*lines, strict=True):
        assert a.keys() == b.keys()
        for key in ("loss", "lr", "grad_norm", "chance", "near_mean", "far_mean", "alignment", "uniformity", "spread"):
            assert a[key] == pytest.approx(b[key], rel=1e-3, abs=1e-5), (a["step"], key)
    for name, value in weights(one).items():
        torch.testing.assert_close(value, weights(two)[name], rtol=1e-3, atol=1e-5)


def assert_same(one: Path, two: Path) -> None:
    assert records(one) == records(two)
    for name, value in weights(one).items():
        assert torch.equal(value, weights(two)[name]), name


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        {},
        {"micro_batch": 2},
        {"clip_norm": 0.1, "optimiser": "sgd"},
        {"engine": "fsdp"},
        {"engine": "fsdp", "micro_batch": 2},
    ],
)
def test_two_processes_train_what_one_trains(tmp_path: Path, change: dict[str, Any]) -> None:
    team_run.train(tmp_path / "one", **change)
    together(tmp_path / "two", **change)
    assert_close(tmp_path / "one", tmp_path / "two")
    losses = [line["loss"] for line in records(tmp_path / "one")]
    assert losses[-2] < losses[0] - 0.1, "it learns, so that the curves say something"


@pytest.mark.slow
def test_three_processes_killed_and_resumed_give_the_same_bits(tmp_path: Path) -> None:
    together(tmp_path / "whole", 3, dropout=0.2)
    with pytest.raises(NearfarError, match=r"process 2 of 3 was ended by SIGKILL"):
        together(tmp_path / "parts", 3, dropout=0.2, kill=(2, 7))
    with pytest.raises(NearfarError, match=r"process 0 of 3 was ended by SIGKILL"):
        together(tmp_path / "parts", 3, dropout=0.2, kill=(0, 14))
    together(tmp_path / "parts", 3, dropout=0.2)
    assert_same(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["ddp", "fsdp"])
def test_a_run_goes_on_with_another_number_of_processes(tmp_path: Path, engine: str) -> None:
    team_run.train(tmp_path / "whole")
    with pytest.raises(Interrupted, match="stopped by SIGTERM after step 6"):
        together(tmp_path / "parts", engine=engine, stop=(1, 6))  # a signal to one stops both
    with pytest.raises(Interrupted, match="after step 13"):
        team_run.train(tmp_path / "parts", stop=(0, 13))
    together(tmp_path / "parts", engine=engine)
    assert_close(tmp_path / "whole", tmp_path / "parts")


def test_dropout_is_drawn_by_step_and_process_and_contrast_by_step_alone(tmp_path: Path) -> None:
    def drawn(rank: int, before: int) -> list[list[float]]:
        """What a process draws in the encoder and in the objective at two steps, whatever was drawn before them."""
        made = team_run.trainer(tmp_path, Team())
        method, found = made.method, []
        project, contrast = method.project, method.contrast
        method.project = lambda rows: found.append(torch.rand(3).tolist()) or project(rows)  # type: ignore[method-assign]
        method.contrast = lambda *all: found.append(torch.rand(3).tolist()) or contrast(*all)
        made.team = Team(rank, 1)
        for step in (4, 5):
            torch.rand(before)
            prepared = made.feed.prepare(step)
            made._step(prepared, prepared.batch)
        return found

    one, two = drawn(0, before=0), drawn(1, before=9)
    assert one == drawn(0, before=5) and one[:3] != one[3:]
    assert one[0] != two[0] and one[1] != two[1] and one[2] == two[2] and one[5] == two[5]


@pytest.mark.slow
def test_what_one_process_says_ends_all(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="row 7 is broken"):
        together(tmp_path / "run", fail=(1, 3))
    with pytest.raises(NearfarError, match=r"process 1 of 2 failed: ZeroDivisionError: by hand"):
        launch("team_run:crash", {"rank": 1}, 2, threads=1)


def alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_no_process_outlives_the_one_that_started_it(tmp_path: Path, number: int) -> None:
    code = (
        f"from nearfar.training.launching import launch; launch('team_run:sleep', {{'beside': {str(tmp_path)!r}}}, 2)"
    )
    where = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    parent = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL, env=where)
    until = time.monotonic() + 300
    while len(found := [int(path.stem) for path in tmp_path.glob("*.pid")]) < 2:
        assert time.monotonic() < until and parent.poll() is None
        time.sleep(0.05)
    parent.send_signal(number)
    if number == signal.SIGINT:
        time.sleep(0.5)
        parent.send_signal(number)  # once more aborts
    parent.wait(120)
    until = time.monotonic() + 120
    while any(map(alive, found)):
        assert time.monotonic() < until, "a process was left behind"
        time.sleep(0.05)


def test_shares_are_consecutive_and_even() -> None:
    for count in (1, 5, 12, 37):
        for world in (1, 2, 3, 5):
            rows = [list(range(count))[Team(rank, world).share(count)] for rank in range(world)]
            assert [row for part in rows for row in part] == list(range(count))
            assert max(map(len, rows)) - min(map(len, rows)) <= 1


def test_all_processes_have_as_many_micro_batches() -> None:
    for count in (5, 12, 37):
        for world in (1, 2, 3, 5):
            rows = [len(range(count)[Team(rank, world).share(count)]) for rank in range(world)]
            for asked in (1, 2, 3, 4, 40):
                found = {Team(rank, world).micro_batch(count, asked) for rank in range(world)}
                assert len(found) == 1
                size = found.pop()
                if size is not None:
                    assert size >= asked and len({-(-n // size) for n in rows}) == 1
                    if world > 1:
                        assert all(len({-(-n // less) for n in rows}) > 1 for less in range(asked, size)), "next one"
                if world == 1 and asked == 2 and count % 2:
                    assert size == 3, "or the last row would be alone"
                elif max(rows) == min(rows):
                    assert size == (asked if asked < max(rows) else None)


def test_devices_that_are_not_there() -> None:
    check_devices(4, torch.device("cpu"))
    with pytest.raises(ConfigError, match=r"device = cuda:1 is one device, and devices = 2; say device = cuda"):
        check_devices(2, torch.device("cuda", 1))
    there = torch.cuda.device_count()
    with pytest.raises(ConfigError, match=rf"devices = {there + 2}, but there are {there} of cuda; ask for fewer"):
        check_devices(there + 2, torch.device("cuda"))
