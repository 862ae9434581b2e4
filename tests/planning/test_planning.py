"""Plans of real methods, and what is measured for them, against sizes that are known."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import nearfar
from nearfar import fitting
from nearfar.contrast import Strategy
from nearfar.data.batch import Batch
from nearfar.data.source import ArraySource
from nearfar.errors import ConfigError
from nearfar.methods.method import Contrast, Method, MethodOptions
from nearfar.planning.measuring import Bench, Made
from saying import Command


class Wide(Method):
    """An encoder whose activations are known, and an objective that builds all scores."""

    def project(self, rows: Tensor) -> Tensor:
        return self.encoder(rows)

    def contrast(self, projections: list[Any], batch: Batch) -> Contrast:
        return Contrast((projections[0] @ projections[1].T).exp().sum())


class Twice:
    """Each row, and the row plus one."""

    def __call__(self, rows: Tensor, generator: torch.Generator) -> list[Tensor]:
        return [rows, rows + 1]


def bench() -> Bench:
    encoder = nn.Sequential(nn.Linear(10, 300), nn.Tanh(), nn.Linear(300, 20))
    method = Wide(encoder, MethodOptions())
    steps = torch.optim.AdamW(method.parameters())
    rows = ArraySource("tables", torch.randn(5, 10).numpy())
    made = Bench(method, rows, Twice(), steps, torch.device("cpu"), torch.float32)
    made.step(4)
    return made


def test_activations_that_wait_are_those_of_the_encoder():
    made = bench()
    assert made._blocks(0, 7) == (300 * 4,)  # what tanh gives, once, though two layers keep it
    assert [tuple(sample.shape) for sample in made.samples] == [(1, 10), (1, 10)]
    assert made.projection_bytes() == 2 * 20 * 4


def test_an_objective_that_builds_all_scores_grows_with_their_number():
    """At its highest there are two matrices: the exponentials, and what they come from or their gradient."""
    size, seconds = bench().scores(2000)
    assert size.pair == pytest.approx(2 * 4, rel=0.02)
    assert size(2000) == pytest.approx(2 * 4 * 2000**2 + 4 * 2000 * 2 * 20, rel=0.02)
    assert seconds(2000) > 0


def test_measuring_changes_no_weights_but_the_state_of_the_optimiser():
    made = bench()
    before = [p.detach().clone() for p in made.method.parameters()]
    made.step(4)
    assert all(torch.equal(a, b) for a, b in zip(before, made.method.parameters(), strict=True))
    assert len(made.optimiser.state) == 4


def test_tensors_made_inside_are_counted_while_they_live():
    outside = torch.zeros(1000)
    with Made() as made:
        one = torch.zeros(100)
        one.add_(1), one.view(10, 10)[0], outside[:5]  # nothing new
        two = [one + 1, one * 2]
        del two
    assert (made.most, made.alive) == (3 * 400, 400)


# Whole plans ---------------------------------------------------------------------


def bytes_of(tensors: Any) -> int:
    return sum(t.numel() * t.element_size() for t in tensors)


def test_what_a_run_holds_is_counted():
    random = torch.get_rng_state()
    made = nearfar.plan("2000x1x28x28", method="moco", encoder="small", batch_size=64, epochs=2, queue=100)
    assert torch.equal(torch.get_rng_state(), random)
    kind = nearfar.methods.find("moco")
    _, encoder = nearfar.modalities.find("images").encoder("small", {"shape": [1, 28, 28]})
    method = kind(encoder, kind.Options(queue=100))
    learned = [p for p in method.parameters() if p.requires_grad]
    copies = [*method.keys.parameters(), *method.keys.buffers()]
    queue = 100 * 128 * 4 + 100 * 8 + 2 * 8
    assert made.held.gradients == bytes_of(learned)
    assert made.held.optimiser == 2 * bytes_of(learned) + 4 * len(learned)  # AdamW also counts steps
    assert (made.held.copies, made.held.queues) == (bytes_of(copies), queue)
    everything = bytes_of([*method.parameters(), *method.buffers()])
    assert made.held.weights == everything - bytes_of(copies) - queue
    assert made.job.steps == 2 * (2000 // 64)
    assert made.prediction.standing["views"] == 64 * (2 * 2 * 784 * 4 + 784)
    assert made.prediction.standing["projections"] == 2 * 64 * 2 * 2 * 128 * 4  # queries and keys of two views
    assert made.peak > made.costs.process > 2**27  # torch alone is more than 128 MiB
    assert made.costs.encoding[0] is made.costs.encoding[1] and made.costs.encoding[0].kept > 100 * 2**10


@pytest.mark.slow
def test_scores_by_tiles_are_planned_below_what_all_scores_would_take():
    made = nearfar.plan("9000x1x8x8", encoder="small", batch_size=8192)
    assert made.prediction.passing["scores"] < (2 * 8192) ** 2 * 4 / 4
    assert made.prediction.passing["scores"] > 2 * 8192 * 128 * 4  # the gradient of the projections at least
    assert Strategy().budget < made.prediction.passing["scores"]


def test_a_source_with_labels_and_several_devices(small: Path):
    source = nearfar.modalities.find("images").read_pair(
        small, nearfar.modalities.find("images").Options(), None, None, False
    )[0]
    made = nearfar.plan(source, method="supcon", batch_size=60, micro_batch=16, devices=2, memory=3 * 2**30, steps=5)
    assert made.job.local == 30 and made.job.items == 200 and made.memory == 3 * 2**30
    assert made.prediction.standing["rows of others"] == 4 * 30 * 2 * 128 * 4
    assert "over 2 devices, micro-batch 16, 5 steps" in str(made) and "on every device" in str(made)
    assert "no micro-batches" in str(made)


@pytest.mark.parametrize(
    ("data", "how", "says"),
    [
        ("60000", {}, None),
        ("60000x28", {}, "60000x28 is not items x channels x height x width"),
        ("100x1x8x8", {"modality": "tables"}, "give the data themselves"),
        ((100,), {}, "a shape is the number of items"),
        ("100x1x8x8", {"batchsize": 3}, "did you mean 'batch_size'"),
        ("100x1x8x8", {"batch_size": 4, "devices": 5}, "devices = 5, but a batch of 4"),
        ("100x1x8x8", {"refresh": 5, "batches": "clusters"}, "batches, refresh: plan measures steps, and not what is"),
        ("100x1x8x8", {"batch_size": 4, "devices": 2, "spread": "all"}, "spread = 'all': rows of several devices are"),
        ("100x1x8x8", {"batch_size": 4, "micro_batch": 1}, "micro_batch = 1: encoder or head has a batch norm"),
    ],
)
def test_what_cannot_be_planned_is_refused(data: Any, how: dict[str, Any], says: str | None):
    with pytest.raises(nearfar.errors.NearfarError if says is None else ConfigError, match=says):
        nearfar.plan(data, **how)


@pytest.mark.parametrize("how", [{"batch_size": 3}, {"batch_size": 8, "micro_batch": 3}])
def test_batches_too_small_to_be_halved_are_planned(how: dict[str, int]):
    made = nearfar.plan("100x1x8x8", steps=1, **how)
    assert made.job.batch_size == how["batch_size"] and made.peak > 0


def test_the_command(command: Command, small: Path, tmp_path: Path):
    settings = ("--batch-size", 32, "--epochs", 2, "--memory", 0.01, "--set", "temperature=0.5")
    said = command("plan", small, "--encoder", "small", *settings, "--json", tmp_path / "plan.json")
    assert said.code == 0, said.err
    assert said.out.startswith("batch of 32, no micro-batches, 12 steps\n")
    assert "It does not fit: " in said.out
    figures = json.loads((tmp_path / "plan.json").read_text())
    assert figures["batch_size"] == 32 and figures["steps"] == 12 and not figures["fits"]
    assert figures["peak_bytes"] == pytest.approx(
        sum(figures["standing_bytes"].values()) + max(figures["passing_bytes"].values())
    )
    assert command("plan", "60000x28").code == 2


def test_rows_of_other_devices_are_planned_as_fit_exchanges_them():
    held = {}
    for spread in ("ring", "gathered"):
        made = nearfar.plan("100x1x8x8", batch_size=60, devices=3, steps=1, spread=spread)
        held[spread] = made.prediction.standing["rows of others"]
    row = 2 * 128 * 4  # two views, float32
    assert held == {"ring": 4 * 20 * row, "gathered": 2 * 60 * row}
    assert inspect.signature(nearfar.plan).parameters["spread"].default == fitting.SPREAD


def test_bundled_texts_are_planned_by_name(command: Command):
    said = command("plan", "bundled:glosses", "--method", "pairs", "--encoder", "ngrams-16", "--batch-size", 8)
    assert said.code == 0, said.err
    assert "batch of 8" in said.out and "fits" in said.out
