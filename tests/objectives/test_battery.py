"""The contract battery: every entry of the catalogue against its oracle, its golden values and its closed forms.

A new entry needs a line in `cases.py` (its oracle) and in `golden.py` (its values); the meta tests fail until then.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from cases import BY_NAME, CASES, DENSE, EVERY, KEPT, TILED, Case, rows, strategies, tiled
from golden import CHANCE, COLLAPSED, GOLDEN, A, B, C, P, Y, orthonormal, simplex
from scenes import SCENE, SCENES, Scene

from nearfar.contrast import same_key
from nearfar.objectives import SigLIP, catalogue, to_proxies

every = pytest.mark.parametrize("case", EVERY, ids=lambda c: c.name)
COMPARING = [c for c in CASES if c.compares]
PLAIN = [c for c in CASES if not c.compares]
comparing = pytest.mark.parametrize("case", COMPARING, ids=lambda c: c.name)


def gradients(value: torch.Tensor, leaves: list[torch.Tensor]) -> list[torch.Tensor]:
    """Gradients, zeros where there is none."""
    if not value.requires_grad:
        return [torch.zeros_like(leaf) for leaf in leaves]
    found = torch.autograd.grad(value, leaves, allow_unused=True)
    return [torch.zeros_like(leaf) if g is None else g for g, leaf in zip(found, leaves, strict=True)]


def same(got: list[torch.Tensor], want: list[torch.Tensor], tolerance: float = 1e-9) -> None:
    for g, w in zip(got, want, strict=True):
        torch.testing.assert_close(g, w, rtol=tolerance, atol=tolerance)


# The battery watches itself ----------------------------------------------------


def uncovered(entries: dict[str, type]) -> set[str]:
    """Entries that lack a case with an oracle, a golden value, or an expectation at chance and at collapse."""
    missing = set()
    for name in entries:
        own = [c for c in CASES if c.entry == name]
        covered = all(c.oracle and c.name in GOLDEN and c.name in CHANCE and c.name in COLLAPSED for c in own)
        if not own or not covered or not all(type(c.make()).__name__ == name for c in own):
            missing.add(name)
    return missing


@pytest.mark.parametrize("name", catalogue())
def test_every_entry_of_the_catalogue_is_covered(name: str):
    assert not uncovered({name: catalogue()[name]}), (
        f"{name} needs a Case with an oracle in cases.py, and a golden value, a value at chance and one at collapse in "
        f"golden.py (None where these are not defined)"
    )


def test_an_entry_without_oracle_or_values_is_noticed():
    assert uncovered({"Invented": SigLIP}) == {"Invented"}
    assert {c.name for c in EVERY} == {c.name for c in CASES}  # a case that no entry runs would check nothing


# Values ------------------------------------------------------------------------


def golden_call(case: Case, call: Any, a: torch.Tensor, b: torch.Tensor, how: dict) -> torch.Tensor:
    objective = case.objective()
    if callable(call):
        return call(objective, a, b, **how)
    if call == "one way":
        n = torch.arange(len(a))
        return objective(a, torch.cat([a, b]), relation=same_key(n, n.repeat(2), n), **how)
    if call == "prototypes":
        unit = torch.nn.functional.normalize
        return objective(unit(a) @ unit(P).T, unit(b) @ unit(P).T, **how)
    if call == "three views":
        return objective(a, b, C, **how)
    if call == "items and proxies":
        return objective(torch.cat([a, b]), P, relation=to_proxies(Y.repeat(2), len(P)), **how)
    if call == "proxies and items":
        return objective(P, torch.cat([a, b]), relation=to_proxies(Y.repeat(2), len(P)).t, **how)
    return objective(a, b, **({"labels": Y} if call == "labels" else case.how(len(a))), **how)


@every
def test_golden_values(case: Case):
    for call, loss, of_a, of_b in GOLDEN[case.name]:
        for how in strategies(case):
            a, b = A.clone().requires_grad_(), B.clone().requires_grad_()
            value = golden_call(case, call, a, b, how)
            value.backward()
            assert float(value.detach()) == pytest.approx(loss, abs=1.1e-6)
            for leaf, norm in ((a, of_a), (b, of_b)):
                if norm == 0:
                    assert leaf.grad is None
                elif norm is not None:
                    assert float(leaf.grad.norm()) == pytest.approx(norm, abs=1.1e-6)


@pytest.mark.parametrize(
    ("name", "z", "want"),
    [
        ("InfoNCE", orthonormal(4), math.log(math.exp(2) + 3) - 2),
        ("SymmetricInfoNCE", orthonormal(4), math.log(math.exp(2) + 3) - 2),
        ("NTXent", orthonormal(4), math.log(math.exp(2) + 6) - 2),
        ("NTXent", simplex(4), math.log(math.exp(2) + 6 * math.exp(-2 / 3)) - 2),
        ("Debiased tau 0", simplex(4), math.log(math.exp(2) + 6 * math.exp(-2 / 3)) - 2),
        ("DCL", orthonormal(4), math.log(6) - 2),
        ("AlignUniform", simplex(3), -6.0),
        ("AlignUniform", simplex(4), -16 / 3),
        ("Spectral", orthonormal(4), -2.0),
    ],
)
def test_identical_views_in_closed_form(name: str, z: torch.Tensor, want: float):
    for how in strategies(BY_NAME[name]):
        assert float(BY_NAME[name].objective()(z, z, **how)) == pytest.approx(want, abs=1e-9)


# Oracles -----------------------------------------------------------------------


def pair_up(case: Case, scene: Scene) -> bool:
    """Whether a scene is one that the objective accepts."""
    return case.layout in scene.layouts and (scene.listed or not case.listed)


def meetings(scenes: list[Scene]) -> pytest.MarkDecorator:
    """Every objective with every scene that it accepts."""
    met = [pytest.param(c, s, id=f"{c.name}, {s.name}") for c in COMPARING for s in scenes if pair_up(c, s)]
    return pytest.mark.parametrize(("case", "scene"), met)


@meetings(SCENES)
def test_value_and_gradients_are_those_of_the_oracle_however_visited(case: Case, scene: Scene):
    objective, leaves = case.objective(), scene.leaves()
    want, learned = case.naive(scene.arranged(case.layout, leaves), objective)
    want_grads = gradients(want, leaves + list(learned.values()))
    for strategy in (DENSE, TILED, KEPT, tiled(5), tiled(64)) + (
        (tiled(1),) if scene.name in ("views", "pairs") else ()
    ):
        value = scene.call(objective, leaves, strategy=strategy)
        same([value.detach()], [want.detach()])
        same(gradients(value, leaves + [p for _, p in objective.named_parameters()]), want_grads)


@pytest.mark.parametrize("case", PLAIN, ids=lambda c: c.name)
def test_value_and_gradients_of_plain_views_are_those_of_the_oracle(case: Case):
    for n in (2, 5):
        leaves = [rows(k, n).requires_grad_() for k in range(case.views)]
        want = case.oracle(*leaves, **case.how(n))
        want_grads = gradients(want, leaves)
        for how in strategies(case):
            value = case.objective()(*leaves, **case.how(n), **how)
            same([value.detach()], [want.detach()])
            same(gradients(value, leaves), want_grads)


@pytest.mark.parametrize("case", [c for c in CASES if not c.constant], ids=lambda c: c.name)
def test_gradcheck(case: Case):
    """What is taken as a constant has no numerical gradient; the oracle judges those."""
    leaves = [rows(20 + k, 4).requires_grad_() for k in range(case.views)]
    objective = case.objective()
    keys = {"labels": torch.tensor([0, 1, 0, 1])} if case.layout in ("joint", "apart") else case.how(4)
    names = [name for name, _ in objective.named_parameters()]
    numbers = [p.detach().clone().requires_grad_() for _, p in objective.named_parameters()]
    for how in strategies(case):

        def value(*given: torch.Tensor, how: dict = how) -> torch.Tensor:
            learned = dict(zip(names, given[case.views :], strict=True))
            return torch.func.functional_call(objective, learned, given[: case.views], {**keys, **how})

        assert torch.autograd.gradcheck(value, (*leaves, *numbers), eps=1e-6, atol=1e-6)


@comparing
def test_three_views_are_refused_where_two_are_compared(case: Case):
    if case.layout == "cross":
        with pytest.raises(ValueError, match="compares two views, got 3"):
            SCENE["three views"].call(case.objective(), SCENE["three views"].leaves())
