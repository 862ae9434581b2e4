from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_run import TinyMethod, tiny_trainer
from torch import nn

from nearfar.training import CheckpointError, checkpoint, load_checkpoint, save_checkpoint


def tree(value: float = 1.0) -> dict[str, Any]:
    return {
        "weights": {"a.weight": torch.full((3, 2), value), "count": torch.tensor(7)},
        "list": [1, 2.5, None, "x", True, {"deep": torch.arange(3)}],
        "empty": torch.empty(0, 4),
        "exact": 0.1 + 0.2,
    }


def same(first: Any, second: Any) -> bool:
    if isinstance(first, torch.Tensor):
        return first.dtype == second.dtype and torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    if isinstance(first, list):
        return len(first) == len(second) and all(map(same, first, second))
    return type(first) is type(second) and first == second


def test_round_trip(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, 3, tree())
    loaded = load_checkpoint(tmp_path)
    assert loaded is not None and loaded.step == 3
    assert same(loaded.state, tree())


def test_tied_and_strided_tensors(tmp_path: Path) -> None:
    layer = nn.Linear(4, 4)
    base = torch.arange(12.0).reshape(3, 4)
    state = {"one": layer.weight, "two": layer.weight, "turned": base.T, "part": base[1:]}
    save_checkpoint(tmp_path, 0, state)
    loaded = load_checkpoint(tmp_path)
    assert loaded is not None
    assert all(torch.equal(loaded.state[name], value) for name, value in state.items())


def test_no_checkpoint_is_none(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path / "nowhere") is None


def test_the_newest_two_are_kept_and_an_abandoned_future_is_dropped(tmp_path: Path) -> None:
    for step in (1, 2, 3, 9):
        save_checkpoint(tmp_path, step, tree(step))
    assert [path.stem for path in checkpoint.checkpoint_paths(tmp_path)] == ["step-00000003", "step-00000009"]
    save_checkpoint(tmp_path, 4, tree(4))
    assert [path.stem for path in checkpoint.checkpoint_paths(tmp_path)] == ["step-00000003", "step-00000004"]
    assert len(list(tmp_path.iterdir())) == 4


def test_what_cannot_be_saved_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="a object at 'method/extra'"):
        save_checkpoint(tmp_path, 1, {"method": {"extra": object()}})
    with pytest.raises(CheckpointError, match="keys must be strings"):
        save_checkpoint(tmp_path, 1, {"method": {3: 1}})


@pytest.mark.parametrize("suffix", ["json", "safetensors"])
@pytest.mark.parametrize("damage", ["cut", "flip", "gone", "empty"])
def test_a_damaged_newest_falls_back_with_a_warning(tmp_path: Path, suffix: str, damage: str) -> None:
    if (suffix, damage) == ("json", "gone"):
        pytest.skip("without its JSON file there is no checkpoint")
    save_checkpoint(tmp_path, 1, tree(1))
    save_checkpoint(tmp_path, 2, tree(2))
    victim = max(tmp_path.glob(f"*.{suffix}"))
    content = victim.read_bytes()
    if damage == "gone":
        victim.unlink()
    elif damage == "flip" and suffix == "json":
        victim.write_bytes(content.replace(b"2.5", b"2.6"))
    else:
        middle = len(content) // 2
        flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
        victim.write_bytes({"cut": content[:-1], "flip": flipped, "empty": b""}[damage])
    with pytest.warns(UserWarning, match="step-00000002.*using the checkpoint of step 1"):
        loaded = load_checkpoint(tmp_path)
    assert loaded is not None and loaded.step == 1 and same(loaded.state, tree(1))


def test_all_damaged_is_an_error(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, 1, tree())
    for path in tmp_path.glob("*.safetensors"):
        path.write_bytes(b"")
    with pytest.raises(CheckpointError, match="no checkpoint in"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("step_of_failure", ["first bytes", "fsync", "replace"])
@pytest.mark.parametrize("suffix", ["safetensors", "json"])
def test_a_full_disk_leaves_the_previous_checkpoint_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step_of_failure: str, suffix: str
) -> None:
    save_checkpoint(tmp_path, 1, tree(1))
    files = sorted(path.name for path in tmp_path.iterdir())
    original = {"open": open, "fsync": os.fsync, "replace": os.replace}
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    writing = {"suffix": ""}

    class FullFile:
        def __init__(self, file: Any) -> None:
            self.file = file

        def __enter__(self) -> FullFile:
            return self

        def __exit__(self, *error: object) -> None:
            self.file.close()

        def __getattr__(self, name: str) -> Any:
            return getattr(self.file, name)

        def write(self, content: bytes) -> int:
            self.file.write(content[: len(content) // 2])
            raise full

    def opening(path: Any, mode: str = "r") -> Any:
        writing["suffix"] = Path(path).name.split(".")[2]
        file = original["open"](path, mode)
        return FullFile(file) if step_of_failure == "first bytes" and writing["suffix"] == suffix else file

    def failing(name: str) -> Any:
        def call(*arguments: Any) -> Any:
            if writing["suffix"] == suffix:
                raise full
            return original[name](*arguments)

        return call

    monkeypatch.setattr(checkpoint, "open", opening, raising=False)
    if step_of_failure != "first bytes":
        monkeypatch.setattr(os, step_of_failure, failing(step_of_failure))
    with pytest.raises(CheckpointError, match=r"step 2 cannot be written.*No space left.*step-00000001\.json is whole"):
        save_checkpoint(tmp_path, 2, tree(2))
    monkeypatch.undo()
    loaded = load_checkpoint(tmp_path)
    assert loaded is not None and loaded.step == 1 and same(loaded.state, tree(1))
    assert not list(tmp_path.glob(".*"))  # no half file is left behind
    save_checkpoint(tmp_path, 3, tree(3), keep=1)
    assert load_checkpoint(tmp_path).step == 3  # type: ignore[union-attr]
    assert len(list(tmp_path.iterdir())) == 2 == len(files)


def test_a_full_disk_during_training_is_a_clear_error_and_can_be_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = checkpoint.write_whole

    def full(path: Path, content: bytes) -> None:
        if "step-00000008" in path.name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(path, content)

    monkeypatch.setattr(checkpoint, "write_whole", full)
    with pytest.raises(CheckpointError, match=r"MiB are free.*step-00000004\.json is whole"):
        tiny_trainer(tmp_path, steps=12).run()
    monkeypatch.undo()
    assert tiny_trainer(tmp_path, TinyMethod(seed=5), steps=12).run(resume=True).steps == 12


def test_a_file_of_a_newer_format_is_not_guessed_at(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, 1, tree())
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 99}))
    with pytest.raises(CheckpointError, match="format 99"):
        load_checkpoint(tmp_path)
