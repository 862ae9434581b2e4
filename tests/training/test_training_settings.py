from __future__ import annotations

import pytest
import torch

from nearfar.errors import ConfigError
from nearfar.training import TrainingSettings
from nearfar.training.settings import Settings


def test_defaults_are_valid_and_mean_ten_epochs() -> None:
    settings = TrainingSettings()
    assert settings.total_steps(steps_per_epoch=7) == 70
    assert TrainingSettings(epochs=0.5).total_steps(7) == 4
    assert TrainingSettings(steps=3).total_steps(7) == 3
    assert TrainingSettings(epochs=0.01).total_steps(7) == 1


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"batchsize": 4}, "unknown setting 'batchsize'; did you mean 'batch_size'?"),
        ({"zzz": 4}, "unknown setting 'zzz'; known: average_with_start, .*weight_decay"),
        ({"lr": -1}, "setting 'lr' = -1: Input should be greater than 0"),
        ({"lr": float("nan")}, "setting 'lr' = nan"),
        ({"optimiser": "adam"}, "setting 'optimiser' = 'adam': .*'adamw', 'sgd' or 'lars'"),
        ({"epochs": 2, "steps": 9}, "epochs = 2 and steps = 9 were both given"),
        ({"batch_size": 1}, "'batch_size' = 1: .*greater than or equal to 2"),
        ({"warmup": 1.0}, "'warmup' = 1.0"),
    ],
)
def test_mistakes_are_named(given: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TrainingSettings(**given)


def test_all_mistakes_are_named_at_once() -> None:
    with pytest.raises(ConfigError, match=r"'lr'.*; .*'seed'"):
        TrainingSettings(lr=0, seed=-1)


def test_mistakes_in_nested_settings_are_named() -> None:
    class Outer(Settings):
        training: TrainingSettings

    with pytest.raises(ConfigError, match=r"^training: unknown setting 'epoch'; did you mean 'epochs'\?$"):
        Outer(training={"epoch": 3})


def test_round_trip() -> None:
    settings = TrainingSettings(steps=3, optimiser="lars", lr=0.3)
    assert TrainingSettings(**settings.model_dump()) == settings


def test_identity_holds_what_decides_the_result() -> None:
    same = {"device": "cpu", "threads": 2, "log_every": 1, "checkpoint_every": 3, "tensorboard": True}
    assert TrainingSettings(**same).identity() == TrainingSettings().identity()
    for change in ({"lr": 0.5}, {"seed": 3}, {"micro_batch": 8}, {"precision": "bfloat16"}, {"epochs": 3}):
        assert TrainingSettings(**change).identity() != TrainingSettings().identity()


def test_device_and_precision() -> None:
    cpu = torch.device("cpu")
    assert TrainingSettings(device="cpu").resolve_device() == cpu
    assert TrainingSettings().resolve_precision(cpu) == torch.float32
    assert TrainingSettings(precision="bfloat16").resolve_precision(cpu) == torch.bfloat16
    with pytest.raises(ConfigError, match="device 'nonsense' cannot be used"):
        TrainingSettings(device="nonsense").resolve_device()
