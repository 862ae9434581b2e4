"""What kernel contrast promises beyond the battery."""

from __future__ import annotations

import pytest
import torch
from cases import rows

from nearfar.objectives import KCL


def test_the_mean_over_small_batches_is_the_value_of_the_large_one():
    """All pairs of items once: the energy of a batch is an unbiased estimate, which a logarithm would not be."""
    a, b = rows(0, 8), rows(1, 8)
    pairs = [torch.tensor([i, j]) for i in range(8) for j in range(i)]
    for kernel in ("gaussian", "logarithm", "inverse"):
        objective = KCL(kernel=kernel)
        torch.testing.assert_close(torch.stack([objective(a[k], b[k]) for k in pairs]).mean(), objective(a, b))


def test_an_unknown_kernel_is_named():
    with pytest.raises(ValueError, match="kernel must be 'gaussian', 'logarithm' or 'inverse', got 'riesz'"):
        KCL(kernel="riesz")
