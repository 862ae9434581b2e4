"""Stages of encoders, and what freezing them does to a whole training run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_run import TinyMethod, tiny_trainer
from torch import nn

from nearfar.errors import ConfigError
from nearfar.modalities.images.encoders import encoder
from nearfar.training import TrainingSettings
from nearfar.training.stages import depths, freeze, stages

# stages counted by hand from the papers: stem, blocks (or groups of blocks), and a last convolution where there is one
COUNTS = {
    "small": 3,
    "resnet18": 9,
    "timm/resnet18": 9,
    "timm/tf_efficientnet_lite0": 9,
    "timm/vit_tiny_patch16_224": 13,
    "vit_b_32": 13,
    "timm/convnext_atto": 5,
}


@pytest.mark.parametrize("name", COUNTS)
def test_stages_hold_every_parameter_once_in_the_order_of_depth(name: str) -> None:
    net = encoder(name, 3, 64)
    found = stages(net)
    assert len(found) == COUNTS[name]
    held = [id(p) for stage in found for part in stage for p in part.parameters()]
    assert len(held) == len(set(held))
    outside = {n for n, p in net.named_parameters() if id(p) not in held}
    assert all(any(word in n for word in ("pos_embed", "cls_token", "class_token")) for n in outside)
    depth = depths(net)
    assert set(depth) == {id(p) for p in net.parameters()}
    if "resnet" in name:
        order = [depth[id(p)] for p in net.parameters()]
        assert order == sorted(order)


def test_a_net_without_lists_of_blocks_is_one_stage() -> None:
    assert len(stages(nn.Linear(2, 2))) == 1


@pytest.mark.parametrize(
    ("amount", "learn"),
    [(None, 7), (0, 7), (1, 3), (2, 1), (0.5, 3), (0.2, 3), (0.9, 1), ("all", 1)],
)
def test_freeze_counts_stages(amount: Any, learn: int) -> None:
    """Linear + BatchNorm and Linear are two stages of four and two parameters; the temperature always learns."""
    method = TinyMethod()
    freeze(method, amount)
    learning = [name for name, p in method.named_parameters() if p.requires_grad]
    assert len(learning) == learn and "log_temperature" in learning


def test_freezing_more_than_there_is_says_how_many_there_are() -> None:
    with pytest.raises(ConfigError, match="freeze = 3, but the encoder has 2 stages"):
        freeze(TinyMethod(), 3)
    with pytest.raises(ConfigError, match="no encoder of which stages"):
        freeze(nn.Linear(2, 2), 1)


@pytest.mark.parametrize("wrong", [1.0, 2.5, -1, "some", True])
def test_amounts_that_mean_nothing_are_refused(wrong: Any) -> None:
    with pytest.raises(ConfigError, match="whole number of stages, a share of them below 1, all or none"):
        TrainingSettings(freeze=wrong)


def test_none_is_a_word_for_nothing() -> None:
    assert TrainingSettings(freeze="none") == TrainingSettings()


@pytest.mark.parametrize("amount", [1, "all"])
def test_what_is_frozen_keeps_every_bit_through_training_and_so_does_its_copy(tmp_path: Path, amount: Any) -> None:
    trainer = tiny_trainer(tmp_path, steps=12, freeze=amount)
    before = {name: value.clone() for name, value in trainer.module.state_dict().items()}
    trainer.run()
    after = trainer.module.state_dict()
    frozen = ("0.", "1.") if amount == 1 else ("0.", "1.", "4.")
    for name, value in after.items():
        part, _, rest = name.partition(".")
        if part == "encoder":
            assert torch.equal(value, before[name]) == rest.startswith(frozen), name
        if part == "momentum" and rest.startswith(frozen):  # running statistics of its norm too: evaluation mode
            torch.testing.assert_close(value, before[name], rtol=0, atol=1e-6)
    assert not torch.equal(after["log_temperature"], before["log_temperature"])


def test_a_watch_leaves_frozen_parts_in_evaluation_mode(tmp_path: Path) -> None:
    class Watch:
        every = 2

        def __call__(self) -> dict[str, float]:
            trainer.module.eval()
            return {}

    trainer = tiny_trainer(tmp_path, steps=5, freeze=1)
    trainer.watch = Watch()
    norm = trainer.module.encoder[1].running_mean.clone()
    trainer.run()
    assert torch.equal(trainer.module.encoder[1].running_mean, norm)
    assert trainer.module.encoder[4].training and not trainer.module.encoder[1].training


def test_a_frozen_run_with_layer_decay_resumes_with_the_same_bits(tmp_path: Path) -> None:
    how: dict[str, Any] = {"steps": 12, "freeze": 1, "layer_decay": 0.5}
    whole, broken = tiny_trainer(tmp_path / "whole", **how), tiny_trainer(tmp_path / "broken", **how)
    whole.run()
    after = broken.method.after_step

    def stop(step: int, total: int) -> None:
        after(step, total)
        if step == 6:
            raise KeyboardInterrupt

    broken.method.after_step = stop  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        broken.run()
    again = tiny_trainer(tmp_path / "broken", **how)
    again.run(resume=True)
    for name, value in whole.module.state_dict().items():
        assert torch.equal(value, again.module.state_dict()[name]), name
