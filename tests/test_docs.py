"""Every example in a docstring of the package runs and gives what it says."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest
import torch

import nearfar

MODULES = sorted(m.name for m in pkgutil.walk_packages(nearfar.__path__, "nearfar.") if not m.name.endswith("__main__"))
WITHOUT_EXTRAS = ("nearfar.contrast", "nearfar.objectives", "nearfar.models", "nearfar.training")


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
    result = doctest.testmod(module, globs=names, optionflags=doctest.NORMALIZE_WHITESPACE)
    torch.random.set_rng_state(seed)
    assert result.failed == 0


def test_examples_are_found():
    """The finder sees the examples of the catalogue; none would mean that nothing is checked."""
    module = importlib.import_module("nearfar.objectives.softmax")
    assert sum(bool(d.examples) for d in doctest.DocTestFinder().find(module)) >= 4


def test_every_objective_has_an_example():
    for entry in nearfar.objectives.catalogue().values():
        assert ">>>" in (entry.__doc__ or ""), entry.__name__
