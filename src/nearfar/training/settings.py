"""What a user may set about training, checked when it is read."""

from __future__ import annotations

from typing import Any, Literal

import torch
from pydantic import Field, field_validator, model_validator

from nearfar.errors import ConfigError
from nearfar.settings import Settings
from nearfar.training.engines import EngineName
from nearfar.training.optimisers import OptimiserName
from nearfar.training.schedules import Schedule

Precision = Literal["auto", "float32", "bfloat16", "float16"]


class TrainingSettings(Settings):
    """How a method is trained. ``TrainingSettings(epochs=5, lr=0.1)`` or ``TrainingSettings(**read_from_a_file)``.

    >>> TrainingSettings(epoch=5)
    Traceback (most recent call last):
    nearfar.errors.ConfigError: unknown setting 'epoch'; did you mean 'epochs'?
    """

    optimiser: OptimiserName = Field("adamw", description="which optimiser")
    lr: float = Field(1e-3, gt=0, description="highest learning rate; simclr_rate(batch_size) for lars")
    weight_decay: float = Field(1e-4, ge=0, description="decay of matrices and filters; biases and norms never decay")
    momentum: float = Field(0.9, ge=0, lt=1, description="of sgd and lars")
    epochs: float | None = Field(None, gt=0, description="passes over the data; 10 when steps is not given either")
    steps: int | None = Field(None, ge=1, description="updates, in place of epochs")
    batch_size: int = Field(256, ge=2, description="items that are contrasted with each other")
    micro_batch: int | None = Field(None, ge=1, description="rows encoded at a time, to bound memory; all when unset")
    warmup: float = Field(0.1, ge=0, lt=1, description="share of the steps in which the learning rate rises")
    schedule: Schedule = Field("cosine", description="the learning rate after the warm-up")
    freeze: Literal["all"] | int | float | None = Field(
        None, description="first stages of the encoder that do not learn: a number, a share below 1, or all"
    )
    layer_decay: float | None = Field(
        None, gt=0, le=1, description="each stage of the encoder learns at this share of the rate of the next one"
    )
    held_out: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="share of the pairs that is not learned from, by the seed, and is searched after it",
    )
    average_with_start: float | None = Field(
        None, ge=0, le=1, description="share of the pretrained start in the encoder's final weights"
    )
    clip_norm: float | None = Field(None, gt=0, description="longest gradient that is not shortened")
    precision: Precision = Field("auto", description="auto: half precision on CUDA, float32 on the CPU")
    seed: int = Field(0, ge=0, description="of views, sampling and dropout")
    device: str = Field("auto", description="auto: cuda when there is one, else cpu")
    devices: int | None = Field(
        None, ge=1, description="processes that share every batch, a device each; those of torchrun, or one, when unset"
    )
    engine: EngineName = Field("ddp", description="of several devices: ddp copies the weights, fsdp shares them out")
    threads: int | None = Field(
        None, ge=1, description="of the CPU, of all devices together; as many as torch sees fit when unset"
    )
    checkpoint_every: int | None = Field(None, ge=1, description="steps between checkpoints")
    checkpoint_seconds: float = Field(300.0, gt=0, description="longest time between checkpoints")
    log_every: int = Field(10, ge=1, description="steps between lines of metrics.jsonl")
    histogram_every: int = Field(10, ge=1, description="lines of metrics.jsonl between histograms of the scores")
    tensorboard: bool = Field(False, description="also write TensorBoard files")

    @field_validator("freeze", mode="before")
    @classmethod
    def _amount(cls, value: Any) -> Any:
        if value == "none":
            return None
        if value is None or value == "all":
            return value
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or value < 0 or (isinstance(value, float) and value >= 1):
            raise ValueError("a whole number of stages, a share of them below 1, all or none")
        return value

    @model_validator(mode="after")
    def _one_length(self) -> TrainingSettings:
        if self.epochs is not None and self.steps is not None:
            raise ValueError(f"epochs = {self.epochs:g} and steps = {self.steps} were both given; give one of them")
        return self

    def total_steps(self, steps_per_epoch: int) -> int:
        """The number of updates, at least one."""
        return self.steps or max(1, round((self.epochs or 10) * steps_per_epoch))

    def identity(self) -> dict[str, Any]:
        """The settings that decide the result: a run can be resumed only with the same ones.

        ``device``, ``devices``, ``engine`` and ``threads`` are left out, so that a run can move to another machine: the
        result is then the same up to rounding instead of bit for bit. ``average_with_start`` acts on the weights only
        when they are used, and ``held_out`` on the rows, which are compared themselves.
        """
        free = {
            "device",
            "devices",
            "engine",
            "threads",
            "checkpoint_every",
            "checkpoint_seconds",
            "average_with_start",
            "held_out",
        }
        return self.model_dump(exclude=free | {"log_every", "histogram_every", "tensorboard"})

    def resolve_device(self) -> torch.device:
        """The device to train on. Raises ConfigError when it is not there."""
        if self.device == "auto":
            return torch.device("cuda" if torch.cuda.is_available() else "cpu")
        try:
            device = torch.device(self.device)
            torch.empty(0, device=device)
        except (RuntimeError, AssertionError) as error:
            reason = str(error).splitlines()[0]
            raise ConfigError(f"device {self.device!r} cannot be used: {reason}; use auto or cpu") from None
        return device

    def resolve_precision(self, device: torch.device) -> torch.dtype:
        """The number format of encoder and head; objectives always run in float32 or better."""
        if self.precision != "auto":
            return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[self.precision]
        if device.type != "cuda":
            return torch.float32
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
