"""Every example in a docstring of the package runs and gives what it says."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re

import pytest
import torch

import nearfar

MODULES = sorted(m.name for m in pkgutil.walk_packages(nearfar.__path__, "nearfar.") if not m.name.endswith("__main__"))
WITHOUT_EXTRAS = ("nearfar.contrast", "nearfar.objectives", "nearfar.models", "nearfar.training")

NUMBER = re.compile(r"(?<![\w.])[-+]?\d+\.\d*(?:[eE][-+]?\d+)?")


class Numbers(doctest.OutputChecker):
    """Compare fractions as numbers: the last digit, and whether torch writes 1. or 1.0000, is up to the processor."""

    def check_output(self, want: str, got: str, optionflags: int) -> bool:
        if super().check_output(want, got, optionflags):
            return True
        values = [[float(x) for x in NUMBER.findall(text)] for text in (want, got)]
        words = ["".join(NUMBER.sub("#", text).split()) for text in (want, got)]
        return words[0] == words[1] and values[0] == pytest.approx(values[1], rel=1e-3, abs=1.01e-4)


@pytest.mark.parametrize("name", ["nearfar", *MODULES])
def test_examples_run(name: str):
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:  # an extra that is not installed here
        if name.startswith(WITHOUT_EXTRAS) or str(error.name).startswith("nearfar"):
            raise
        pytest.skip(str(error))
    names = {**vars(module), "torch": torch, "nf": nearfar, "nearfar": nearfar}
    seed = torch.random.get_rng_state()
    runner = doctest.DocTestRunner(Numbers(), optionflags=doctest.NORMALIZE_WHITESPACE)
    for test in doctest.DocTestFinder().find(module, globs=names):
        runner.run(test)
    torch.random.set_rng_state(seed)
    assert runner.failures == 0


@pytest.mark.parametrize(
    ("want", "got", "same"),
    [
        ("tensor([1., 1.])", "tensor([1.0000, 1.0000])", True),
        ("0.6931", "0.6932", True),
        ("0.6931", "0.6941", False),
        ("tensor([1., 2.])", "tensor([1., 2., 3.])", False),
        ("True", "False", False),
        ("3", "4", False),
    ],
)
def test_fractions_are_compared_as_numbers(want: str, got: str, same: bool):
    assert Numbers().check_output(f"{want}\n", f"{got}\n", 0) is same


def test_examples_are_found():
    """The finder sees the examples of the catalogue; none would mean that nothing is checked."""
    module = importlib.import_module("nearfar.objectives.softmax")
    assert sum(bool(d.examples) for d in doctest.DocTestFinder().find(module)) >= 4


def test_every_objective_has_an_example():
    for entry in nearfar.objectives.catalogue().values():
        assert ">>>" in (entry.__doc__ or ""), entry.__name__
