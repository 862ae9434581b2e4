"""Random numbers: seeds that depend on the step alone, and the global generators as tensors."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor


def step_generator(seed: int, step: int) -> torch.Generator:
    """A fresh CPU generator that depends on (seed, step) and on nothing that happened before.

    >>> torch.rand(1, generator=step_generator(0, 7)).equal(torch.rand(1, generator=step_generator(0, 7)))
    True
    """
    word = np.random.SeedSequence((seed, step)).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(word >> np.uint64(1)))


def step_seed(seed: int, step: int, stream: int) -> int:
    """A seed for the global generators that depends on these three numbers and nothing else.

    >>> step_seed(0, 7, 1) == step_seed(0, 7, 1), step_seed(0, 7, 1) == step_seed(0, 7, 2)
    (True, False)
    """
    return int(np.random.SeedSequence((seed, step, stream)).generate_state(1, np.uint64)[0] >> np.uint64(1))


def seed_all(seed: int) -> None:
    """Seed the global generators of torch, NumPy and Python."""
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)


def torch_state() -> dict[str, Tensor]:
    """The state of torch's generators on the CPU and on every CUDA device in use."""
    state = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        state |= {f"cuda:{i}": torch.cuda.get_rng_state(i) for i in range(torch.cuda.device_count())}
    return state


def restore_torch(state: dict[str, Tensor]) -> None:
    """Put back what `torch_state` gave; the state of a device that is not here is left out."""
    torch.set_rng_state(state["cpu"])
    for name, value in state.items():
        if name != "cpu" and torch.cuda.is_available() and int(name.split(":")[1]) < torch.cuda.device_count():
            torch.cuda.set_rng_state(value, name)


def global_state() -> dict[str, Tensor]:
    """The state of every global generator (torch, NumPy, Python) as tensors."""
    legacy = np.random.get_state(legacy=False)
    version, words, gauss = random.getstate()
    numpy_words = [*legacy["state"]["key"].tolist(), legacy["state"]["pos"], legacy["has_gauss"]]
    return {
        **torch_state(),
        "numpy": torch.tensor(numpy_words),
        "numpy_gauss": torch.tensor(legacy["gauss"], dtype=torch.float64),
        "python": torch.tensor([version, *words]),
        "python_gauss": torch.tensor([] if gauss is None else [gauss], dtype=torch.float64),
    }


def restore_global(state: dict[str, Tensor]) -> None:
    """Put back what `global_state` gave."""
    own = {"numpy", "numpy_gauss", "python", "python_gauss"}
    restore_torch({name: value for name, value in state.items() if name not in own})
    *key, position, has_gauss = state["numpy"].tolist()
    np.random.set_state(("MT19937", np.array(key, np.uint32), position, has_gauss, state["numpy_gauss"].item()))
    version, *words = state["python"].tolist()
    random.setstate((version, tuple(words), *(state["python_gauss"].tolist() or [None])))


@contextmanager
def preserved() -> Iterator[None]:
    """Leave the caller's global generators as they were found."""
    state = global_state()
    try:
        yield
    finally:
        restore_global(state)
