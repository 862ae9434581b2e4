"""`nearfar.cached` in loops of one's own: several towers, texts, casts, scalers, processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from test_gradient_cache import Model, close, joined, views
from torch import Tensor, nn

import nearfar
from nearfar.objectives import InfoNCE, SymmetricInfoNCE
from nearfar.training.cache import encoded

# Any loop ----------------------------------------------------------------------


def loss_of(*projections: Tensor) -> Tensor:
    """Every tower against the next one."""
    units = [F.normalize(p, dim=1) for p in projections]
    target = torch.arange(len(units[0]))
    return torch.stack([F.cross_entropy(a @ b.T / 0.3, target) for a, b in pairwise(units)]).sum()


def test_three_towers_a_weighted_sum_of_losses_and_a_scaler() -> None:
    """As in a loop in half precision: the loss is scaled and added to another one before it goes backward."""
    results = []
    for size in (None, 4):
        model, other = Model(dropout=0.0), nn.Linear(5, 7).double()
        nn.init.constant_(other.weight, 0.1), nn.init.constant_(other.bias, 0.2)
        torch.manual_seed(9)
        a, b = views()
        towers = [(model.encoder, a), (model.encoder, b), (other, a)]
        if size is None:
            loss = loss_of(*(encoder(rows) for encoder, rows in towers))
        else:
            loss = nearfar.cached(loss_of, *towers, micro_batch=size)
        loss = 0.3 * loss + 0.7 * loss_of(model.encoder(a), model.encoder(b))
        (1024 * loss).backward()
        results.append(model.gradients() | {"other": other.weight.grad})
    close(*results)


def test_a_queue_stands_in_place_of_a_tower_and_inspect_in_place_of_the_objective() -> None:
    encoder, held = nn.Linear(5, 4).double(), torch.randn(11, 4, dtype=torch.float64)
    rows, ids = views()[0], torch.arange(11)
    seen = nearfar.cached(InfoNCE().inspect, (encoder, rows), held, micro_batch=3, ids=ids)
    assert torch.equal(seen.total, InfoNCE()(encoder(rows), held, ids=ids))
    assert seen.per_anchor is not None and seen.per_anchor.shape == (11,)


def test_the_same_graph_can_go_backward_twice() -> None:
    model = Model()
    torch.manual_seed(9)
    loss = nearfar.cached(loss_of, *((model.encoder, view) for view in views()), micro_batch=4)
    loss.backward(retain_graph=True)
    once = {name: gradient.clone() for name, gradient in model.gradients().items()}
    loss.backward()
    close(model.gradients(), {name: 2 * gradient for name, gradient in once.items()})


def test_without_gradients_nothing_is_remembered() -> None:
    model = Model(dropout=0.0)
    with torch.no_grad():
        assert not encoded(model.encoder, views()[0], micro_batch=4).requires_grad
    for parameter in model.encoder.parameters():
        parameter.requires_grad_(False)
    assert not encoded(model.encoder, views()[0], micro_batch=4).requires_grad
    assert encoded(model.encoder, views()[0].requires_grad_(), micro_batch=4).requires_grad


def test_a_process_without_rows_takes_part() -> None:
    encoder = nn.Linear(5, 4).double()
    made = encoded(encoder, torch.zeros(0, 5, dtype=torch.float64), micro_batch=3)
    made.sum().backward()
    assert made.shape == (0, 4) and not encoder.weight.grad.any()


# Rows, outputs and their order ---------------------------------------------------


class TextEncoder(nn.Module):
    """Mean of the vectors of tokens; cuts off padding that all texts of a micro-batch share, and notes the widths."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.vectors, self.head = nn.Embedding(30, 6).double(), nn.Linear(6, 4).double()
        self.widths: list[int] = []

    def forward(self, tokens: dict[str, Tensor]) -> dict[str, Any]:
        longest = int(tokens["mask"].sum(1).max())
        ids, mask = tokens["ids"][:, :longest], tokens["mask"][:, :longest, None]
        self.widths.append(longest)
        mean = (self.vectors(ids) * mask).sum(1) / mask.sum(1)
        return {"projection": self.head(mean), "more": (tokens["mask"].sum(1), mean)}


def texts() -> tuple[dict[str, Tensor], Tensor]:
    generator = torch.Generator().manual_seed(4)
    lengths = torch.randperm(9, generator=generator) + 1
    ids = torch.randint(1, 30, (9, 9), generator=generator)
    mask = (torch.arange(9) < lengths[:, None]).long()
    return {"ids": ids * mask, "mask": mask}, lengths


@pytest.mark.parametrize("order", ["lengths", "list", "one per tower", None])
def test_texts_of_similar_length_go_together_and_the_loss_is_that_of_their_own_order(order: str | None) -> None:
    tokens, lengths = texts()
    rows = torch.randn(9, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    results, seen = [], []

    def objective(text: dict[str, Any], image: Tensor) -> Tensor:
        seen.append([text["projection"], *text["more"]])
        return SymmetricInfoNCE(temperature=0.3)(text["projection"], image)

    how = {"lengths": lengths, "list": lengths.tolist(), "one per tower": [lengths, None], None: None}[order]
    for size in (50, 2):
        text, image = TextEncoder(), nn.Linear(5, 4).double()
        nn.init.constant_(image.weight, 0.1)
        nearfar.cached(objective, (text, tokens), (image, rows), micro_batch=size, order=how).backward()
        results.append({name: p.grad for name, p in [*text.named_parameters(), *image.named_parameters()]})
    close(*results)
    for one, other in zip(*seen, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=0)
    in_order = [max(lengths[i : i + 2].tolist()) for i in range(0, 9, 2)]
    assert text.widths == 2 * (in_order if order is None else [2, 4, 6, 8, 9])


@pytest.mark.parametrize(
    ("rows", "how", "error", "says"),
    [
        ({"a": torch.zeros(3, 2), "b": torch.zeros(4)}, {}, ValueError, r"their shapes are \[\(3, 2\), \(4,\)\]"),
        (torch.zeros(()), {}, ValueError, "one entry per row"),
        ([], {}, ValueError, "one entry per row"),
        ({"a": torch.zeros(3, 2), "b": "text"}, {}, TypeError, "something of type str"),
        (torch.zeros(3, 2), {"micro_batch": 0}, ValueError, "at least one row, got 0"),
        (torch.zeros(3, 2), {"order": [1, 2]}, ValueError, r"one number per row, \(3,\), got \(2,\)"),
        (torch.zeros(3, 2), {"order": [None, None]}, ValueError, "order has 2 entries for 1 towers"),
    ],
)
def test_rows_that_do_not_fit_are_refused(rows: Any, how: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        nearfar.cached(torch.sum, (lambda x: x, rows), **{"micro_batch": 2, **how})


def test_an_encoder_that_gives_something_else_than_rows_is_refused() -> None:
    with pytest.raises(ValueError, match="gave 1 rows for a micro-batch of 2"):
        nearfar.cached(torch.sum, (lambda x: x.sum(0, keepdim=True), torch.zeros(3, 2)), micro_batch=2)


# Automatic casts -----------------------------------------------------------------


@pytest.mark.parametrize("outside", [True, False], ids=["backward outside", "backward inside"])
def test_automatic_casts_are_those_of_the_forward_pass(outside: bool) -> None:
    """Backward runs outside of autocast as it should, or inside, where its cache holds weights without gradients."""
    results = []
    for cached in (False, True):
        seen: list[torch.dtype] = []
        model = Model().float()
        rows = [view.float() for view in views()]

        def encoder(x: Tensor, model: Model = model, seen: list[torch.dtype] = seen) -> Tensor:
            z = model.encoder[0](x)
            seen.append(z.dtype)
            return model.encoder[1:](z)

        torch.manual_seed(9)
        with torch.autocast("cpu", torch.bfloat16):
            if cached:
                loss = nearfar.cached(lambda *z: loss_of(*(p.float() for p in z)), *((encoder, x) for x in rows),
                                      micro_batch=4)  # fmt: skip
            else:
                loss = loss_of(*(joined(encoder, 4)(x).float() for x in rows))
            if not outside:
                loss.backward()
        if outside:
            loss.backward()
        assert set(seen) == {torch.bfloat16} and len(seen) == (12 if cached else 6)
        results.append(model.gradients())
    # Sums of three gradients in half precision in one case, of one after another in the other.
    for name, want in results[0].items():
        torch.testing.assert_close(results[1][name], want, rtol=0.02, atol=2e-3)
    assert len(results[0]) == len(results[1]) == 6


# Processes -----------------------------------------------------------------------


@pytest.mark.slow
def test_two_processes_give_the_gradients_of_one_and_exchange_them_once_per_tower(tmp_path: Path) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    workers = [
        subprocess.Popen(
            [sys.executable, "cached_process.py", str(rank), tmp_path / "meet", tmp_path / f"{rank}.json"],
            cwd=Path(__file__).parent, env=environment, stderr=subprocess.PIPE, text=True,
        )
        for rank in range(2)
    ]  # fmt: skip
    for worker in workers:
        _, said = worker.communicate(timeout=600)
        assert worker.returncode == 0, said
    for rank in range(2):
        report = json.loads((tmp_path / f"{rank}.json").read_text())
        assert max(report["off"].values()) < 1e-12
        assert report["exchanges"] == {"itself": 2, "inside a function": 4}
