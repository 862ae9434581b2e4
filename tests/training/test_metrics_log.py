from __future__ import annotations

import errno
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from nearfar.errors import NearfarError
from nearfar.training.metrics import MetricsLog, TensorBoardLog, read_metrics


def test_lines_are_json_to_any_reader(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "m.jsonl")
    log.write({"step": 1, "loss": float("nan"), "terms": {"a": float("inf"), "b": [1.0, float("-inf")]}})
    log.close()
    line = (tmp_path / "m.jsonl").read_text()
    assert "NaN" not in line and "Infinity" not in line
    assert json.loads(line) == {"step": 1, "loss": None, "terms": {"a": None, "b": [1.0, None]}}


def test_cut_back_to_what_the_checkpoint_saw(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    log = MetricsLog(path)
    log.write({"step": 1})
    length = log.sync()
    log.write({"step": 2})
    log.close()
    with path.open("ab") as file:
        file.write(b'{"step": 3, "lo')  # killed in the middle of a line
    assert [record["step"] for record in read_metrics(path)] == [1, 2]
    log = MetricsLog(path, length)
    log.write({"step": 2, "again": True})
    log.close()
    assert read_metrics(path) == [{"step": 1}, {"step": 2, "again": True}]


def test_lost_lines_are_told(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="some of its lines are lost"):
        MetricsLog(tmp_path / "m.jsonl", 100).close()


def test_a_full_disk_is_a_clear_error(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "m.jsonl")

    class Full:
        def write(self, content: bytes) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    log._file.close()
    log._file = Full()  # type: ignore[assignment]
    with pytest.raises(NearfarError, match=r"m\.jsonl cannot be written: No space left"):
        log.write({"step": 1})


def test_tensorboard_gets_the_same_numbers(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    board = TensorBoardLog(tmp_path, 0)
    for step in (1, 2):
        board.write({"step": step, "loss": step / 4, "far_score": None, "terms": {"near": 2.0 * step}, "h": [1, 2]})
    board.close()
    events = accumulator.EventAccumulator(str(tmp_path)).Reload()
    assert set(events.Tags()["scalars"]) == {"loss", "terms/near"}
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [(1, 0.25), (2, 0.5)]


def test_without_tensorboard_it_says_so_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.warns(UserWarning, match=r"nearfar\[report\]") as said:
        board: Any = TensorBoardLog(tmp_path, 0)
        board.write({"step": 1, "loss": 1.0})
        board.close()
    assert len(said) == 1 and not list(tmp_path.iterdir())
