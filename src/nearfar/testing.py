"""The contract that every objective of nearfar keeps, to be checked on one of your own.

What `check` asks is what the tests of the catalogue ask: every strategy gives one value and one gradient, half
precision and extreme batches do no harm, the order of the rows does not matter, copies are equal, memory grows with the
rows and not with the pairs, and several processes are as good as one.
"""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from .contrast import Composition, Strategy
from .training import cached

Oracle = Callable[[list[list[float]], list[list[float]], list[list[float]]], float]
DENSE = Strategy("dense")
TILED = (Strategy("tiled", tile=3), Strategy("tiled", tile=1), Strategy("auto", tile=3), Strategy("auto"))
SPREAD = (Strategy("gathered"), Strategy("ring"), Strategy("ring", tile=2))


def check(
    objective: Composition,
    oracle: Oracle | None = None,
    *,
    items: int = 6,
    width: int = 5,
    processes: int = 2,
    tolerance: float = 1e-9,
    seed: int = 0,
) -> list[str]:
    """Put an objective through the contract; gives the names of what was checked.

    Args:
        objective: a `Composition`, as configured.
        oracle: the value once more, by plain loops from the formula: a function of the cosines, and of the weights near
            and far, each as nested lists over anchors and candidates. Used where the similarity is `Cosine`.
        items: rows of each view; width: their width.
        processes: how many share a batch in the last check, at least 2; 0 leaves it out. They are started anew, so the
            class must be one that another process can import.
        tolerance: of values and gradients in float64.
        seed: of the random rows.

    Raises:
        AssertionError: names the check that failed, and by how much.

    >>> from nearfar.objectives import DCL
    >>> check(DCL(), processes=0)[:3]
    ['strategies', 'cached', 'oracle']
    """
    made = copy.deepcopy(objective).double()
    views = rows(made, items, width, seed)
    checks: list[tuple[str, Callable[[], None]]] = [
        ("strategies", lambda: _strategies(made, views, tolerance)),
        ("cached", lambda: _cached(made, items, width, tolerance)),
        ("oracle", lambda: _oracle(made, oracle, views, tolerance)),
        ("numerical gradient", lambda: _numerical(made, views)),
        ("order of rows", lambda: _order(made, views, tolerance)),
        ("half precision", lambda: _half(objective, views)),
        ("extreme batches", lambda: _extremes(made, width)),
        ("copies", lambda: _copies(made, views, tolerance)),
        ("memory", lambda: _memory(objective)),
    ]
    if processes:
        checks.append(("processes", lambda: _processes(made, items, width, seed, processes, tolerance)))
    for name, one in checks:
        try:
            one()
        except AssertionError as error:
            raise AssertionError(f"{type(objective).__name__}, {name}: {error}") from error
    return [name for name, _ in checks]


def rows(objective: Composition, items: int, width: int, seed: int) -> list[Tensor]:
    """Two views of random rows, in float64."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(items, width, dtype=torch.float64, generator=generator) for _ in range(2)]


def keys(objective: Composition, items: int) -> dict[str, Tensor]:
    """Who belongs together: labels of pairs of items where the objective looks at all rows, else nothing."""
    return {"labels": torch.arange(items) // 2} if objective.layout == "joint" else {}


def _found(objective: nn.Module, views: Sequence[Tensor], **how: Any) -> list[Tensor]:
    """Value and gradients of the rows and of the objective's own numbers."""
    leaves = [v.detach().clone().requires_grad_() for v in views]
    value = objective(*leaves, **how)
    asked = [*leaves, *objective.parameters()]
    found = torch.autograd.grad(value, asked, allow_unused=True) if value.requires_grad else [None] * len(asked)
    return [value.detach()] + [torch.zeros_like(a) if g is None else g for a, g in zip(asked, found, strict=True)]


def _same(got: Sequence[Tensor], want: Sequence[Tensor], tolerance: float, what: str) -> None:
    for k, (g, w) in enumerate(zip(got, want, strict=True)):
        name = "value" if k == 0 else f"gradient {k}"
        if not torch.allclose(g.double(), w.double(), rtol=tolerance, atol=tolerance, equal_nan=True):
            off = float((g.double() - w.double()).abs().max())
            raise AssertionError(f"{what}: {name} is off by {off:.3g}")


def _arrangements(objective: Composition, views: list[Tensor]) -> list[tuple[str, list[Tensor], dict[str, Any]]]:
    items = len(views[0])
    found: list[tuple[str, list[Tensor], dict[str, Any]]] = [
        ("views", views, {}),
        ("ids with duplicates", views, {"ids": torch.arange(items) // 2 * 2}),
        ("a queue", views, {"negatives": views[0].flip(0) + 0.1}),
        ("labels", views, {"labels": torch.arange(items) % 3}),
        ("unknown labels", views, {"labels": torch.arange(items) % 3 - 1}),
    ]
    if objective.layout == "joint":
        found.append(("three views", [*views, views[0] * 0.5 + views[1]], {}))
        found.append(("rows with ids", [torch.cat(views)], {"ids": torch.arange(items).repeat(2)}))
    return found


def _strategies(objective: Composition, views: list[Tensor], tolerance: float) -> None:
    for name, given, how in _arrangements(objective, views):
        want = _found(objective, given, **how, strategy=DENSE)
        for strategy in TILED:
            got = _found(objective, given, **how, strategy=strategy)
            _same(got, want, tolerance, f"{name}, {strategy.kind} with tiles of {strategy.tile} against dense")


def _cached(objective: Composition, items: int, width: int, tolerance: float) -> None:
    torch.manual_seed(0)
    towers = [nn.Linear(width, width).double() for _ in range(2)]
    inputs = rows(objective, items, width, 1)
    weights = [p for tower in towers for p in tower.parameters()] + list(objective.parameters())

    def gradients(value: Tensor) -> list[Tensor]:
        for p in weights:
            p.grad = None
        value.backward()
        return [value.detach()] + [torch.zeros_like(p) if p.grad is None else p.grad for p in weights]

    want = gradients(objective(*(tower(x) for tower, x in zip(towers, inputs, strict=True))))
    for micro_batch in (1, items - 1, 10 * items):
        got = gradients(cached(objective, *zip(towers, inputs, strict=True), micro_batch=micro_batch))
        _same(got, want, tolerance, f"micro-batches of {micro_batch}")


def _oracle(objective: Composition, oracle: Oracle | None, views: list[Tensor], tolerance: float) -> None:
    if oracle is None or type(objective.similarity).__name__ != "Cosine":
        return
    for name, given, how in _arrangements(objective, views):
        made = objective._arrange(given, how.get("ids"), how.get("labels"), None, how.get("negatives"), None, DENSE)
        unit = [nn.functional.normalize(z, dim=1) for z in (made.anchors, made.candidates)]
        whole = slice(0, len(unit[0])), slice(0, len(unit[1]))
        scores = unit[0] @ unit[1].T
        near, far = (made.relation.weights(over, *whole).full(scores).tolist() for over in ("near", "far"))
        want = torch.tensor(float(oracle(scores.tolist(), near, far)), dtype=torch.float64)
        _same([objective(*given, **how).detach()], [want], tolerance, f"{name} against the oracle")


def _numerical(objective: Composition, views: list[Tensor]) -> None:
    leaves = [v[:4].clone().requires_grad_() for v in views]
    how = keys(objective, 4)
    for strategy in (DENSE, TILED[0]):

        def value(*z: Tensor, strategy: Strategy = strategy) -> Tensor:
            made: Tensor = objective(*z, **how, strategy=strategy)
            return made

        try:
            torch.autograd.gradcheck(value, leaves, eps=1e-6, atol=1e-6)
        except torch.autograd.gradcheck.GradcheckError as error:  # type: ignore[attr-defined]
            said = str(error).splitlines()[0]
            raise AssertionError(
                f"{strategy.kind}: {said} (what is taken as a constant has no such gradient)"
            ) from error


def _order(objective: Composition, views: list[Tensor], tolerance: float) -> None:
    order = torch.randperm(len(views[0]), generator=torch.Generator().manual_seed(1))
    how = keys(objective, len(views[0]))
    one = _found(objective, views, **how)
    other = _found(objective, [v[order] for v in views], **{k: t[order] for k, t in how.items()})
    for k in range(1, 1 + len(views)):
        one[k] = one[k][order]
    _same(other, one, tolerance, "rows in another order")


def _half(objective: Composition, views: list[Tensor]) -> None:
    how = keys(objective, len(views[0]))
    for dtype in (torch.float16, torch.bfloat16):
        value = objective(*(v.to(dtype) for v in views), **how)
        want = objective(*(v.to(dtype).float() for v in views), **how)
        assert value.dtype == torch.float32, f"rows of {dtype} give a value of {value.dtype}, not of float32"
        _same([value.detach()], [want.detach()], 1e-5, f"rows of {dtype}")


def _extremes(objective: Composition, width: int) -> None:
    one = torch.ones(1, width, dtype=torch.float64)
    batches: list[tuple[str, list[Tensor], dict[str, Any]]] = [
        ("one item", [one, -one], {}),
        ("equal rows", [one.repeat(4, 1), one.repeat(4, 1)], {}),
        ("rows of norm zero", [torch.zeros(4, width, dtype=torch.float64)] * 2, {}),
    ]
    if objective.layout == "joint":
        batches += [("nobody is near", [torch.eye(4, width, dtype=torch.float64)], {"ids": torch.arange(4)})]
        batches += [("nobody is far", [torch.eye(4, width, dtype=torch.float64)], {"ids": torch.zeros(4).long()})]
    for name, given, how in batches:
        for strategy in (DENSE, TILED[0]):
            found = _found(objective, given, **how, strategy=strategy)
            assert all(torch.isfinite(t).all() for t in found), f"{name}: value or gradient is not finite"
    broken = [torch.randn(4, width, dtype=torch.float64), torch.randn(4, width, dtype=torch.float64)]
    broken[0][2] = torch.nan
    assert torch.isnan(objective(*broken)), "a row that is not a number does not show in the value"


def _copies(objective: Composition, views: list[Tensor], tolerance: float) -> None:
    want = _found(objective, views)
    for name, other in (("copy", copy.deepcopy(objective)), ("replace()", objective.replace().double())):
        _same(_found(other, views), want, tolerance, name)


def _memory(objective: Composition) -> None:
    sizes = []
    for n in (256, 512):
        held: dict[int, int] = {}

        def pack(t: Tensor, held: dict[int, int] = held) -> Tensor:
            held[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes()
            return t

        given = [torch.randn(n, 8, generator=torch.Generator().manual_seed(k)).requires_grad_() for k in range(2)]
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            value = objective(*given, strategy=Strategy("tiled", tile=128))
        assert torch.isfinite(value)
        sizes.append(sum(held.values()))
    growth = sizes[1] / max(sizes[0], 1)
    assert growth < 2.3, f"twice the rows keep {growth:.1f} times the bytes for the backward pass"


def _processes(objective: Composition, items: int, width: int, seed: int, world: int, tolerance: float) -> None:
    """Every process holds some of the rows, and compares with what it works out alone from all of them."""
    try:
        job = pickle.dumps((objective, items, width, seed, tolerance))
        pickle.loads(job)
    except (pickle.PicklingError, AttributeError) as error:
        raise AssertionError(f"another process cannot import the class ({error}); pass processes=0") from error
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "job").write_bytes(job)
        path = os.pathsep.join([*filter(None, sys.path), os.environ.get("PYTHONPATH", "")])
        environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
        started = [
            subprocess.Popen([sys.executable, "-m", "nearfar.testing", folder, str(rank), str(world)],
                             env=environment, stderr=subprocess.PIPE, text=True)
            for rank in range(world)
        ]  # fmt: skip
        for rank, process in enumerate(started):
            _, said = process.communicate(timeout=300)
            last = said.strip().splitlines()[-1:] or ["no message"]
            assert process.returncode == 0, f"process {rank} of {world}: {last[0]}"


def _member(folder: str, rank: int, world: int) -> None:
    """One of the processes. The job is a pickle that the parent process has just written for itself."""
    objective, items, width, seed, tolerance = pickle.loads((Path(folder) / "job").read_bytes())
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world)
    views = rows(objective, items, width, seed)
    cuts = [0, *(items * (k + 1) // world + (k == 0 and items > world) for k in range(world - 1)), items]
    mine = slice(cuts[rank], cuts[rank + 1])
    for how in ({}, keys(objective, items)):
        want = _found(objective, views, **how, strategy=DENSE)
        for k in range(1, 1 + len(views)):
            want[k] = want[k][mine] * world  # gradients are right once they are averaged
        for strategy in SPREAD:
            share = {k: t[mine] for k, t in how.items()}
            got = _found(objective, [v[mine] for v in views], **share, strategy=strategy)
            for k in range(1 + len(views), len(got)):
                dist.all_reduce(got[k])
                got[k] /= world
            _same(got, want, tolerance, f"{strategy.kind} against one process")
    dist.destroy_process_group()


if __name__ == "__main__":
    _member(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
