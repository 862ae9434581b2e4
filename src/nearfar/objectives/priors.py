"""What is known of items beforehand (attributes, another model's features, classes), as a kernel between them.

A prior is a tensor over the items of a batch: (N, P) numbers, (N,) numbers for one attribute, or (N,) integers for
classes, of which -1 is unknown. `smoother` turns it into the weights by which one item is estimated from all others, a
kernel ridge regression.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..contrast.similarity import unit

KERNELS = ("rbf", "laplacian", "cosine", "linear", "polynomial", "precomputed")
MOST = 8192  # items of a dense solve: half a gigabyte for the matrix, some ten seconds on a processor


def check_kernel(kernel: str, width: float, ridge: float) -> None:
    """Refuse settings that make no kernel.

    Raises:
        ValueError: an unknown kernel, or a width or ridge that is not above 0.
    """
    if kernel not in KERNELS:
        raise ValueError(f"kernel must be one of {', '.join(KERNELS)}, got {kernel!r}")
    if not (width > 0 and ridge > 0):
        raise ValueError(f"the width and the ridge of a kernel are above 0, got {width} and {ridge}")


def are_classes(prior: Tensor) -> bool:
    """Whether a prior says classes: one integer per item."""
    return prior.ndim == 1 and not prior.is_floating_point()


def kernel_matrix(prior: Tensor, kernel: str = "rbf", width: float = 1.0) -> Tensor:
    """How alike items are by their prior (N, P) or (N,): a symmetric matrix (N, N), without gradient.

    "rbf": exp(-d^2 / (2 width^2)); "laplacian": exp(-d / width); "cosine"; "linear": products; "polynomial": their
    third power; "precomputed": the prior is the matrix itself. Costs N^2 numbers.

    Raises:
        ValueError: an unknown kernel, too many items, or a prior that is no matrix of the shape that is needed.

    >>> kernel_matrix(torch.tensor([0.0, 1.0]), "laplacian")
    tensor([[1.0000, 0.3679],
            [0.3679, 1.0000]])
    """
    check_kernel(kernel, width, 1.0)
    x = (prior if prior.is_floating_point() else prior.to(torch.get_default_dtype())).detach()
    x = x[:, None] if x.ndim == 1 else x
    n = len(x)
    if x.ndim != 2 or (kernel == "precomputed" and x.shape != (n, n)):
        raise ValueError(f"a prior for the kernel {kernel!r} cannot be of shape {tuple(prior.shape)}")
    if n > MOST:
        raise ValueError(
            f"a kernel between {n} items is a matrix of {n * n:.1e} numbers to solve; take at most {MOST} items, or "
            f"classes (one integer per item), which need no solve"
        )
    if kernel == "precomputed":
        return x
    if kernel in ("cosine", "linear", "polynomial"):
        x = unit(x) if kernel == "cosine" else x
        products = x @ x.T
        return products**3 if kernel == "polynomial" else products
    distance = torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist")
    return (-distance / width).exp() if kernel == "laplacian" else (-distance.square() / (2 * width**2)).exp()


def smoother(matrix: Tensor, ridge: float = 0.01) -> Tensor:
    """(K + ridge I)^-1 K of a kernel matrix (N, N), symmetric, without gradient: an item's weights on all items.

    A dense solve: O(N^3) steps and a few matrices of N^2 numbers, computed in the dtype of the kernel.

    >>> smoother(torch.eye(2), ridge=1.0)
    tensor([[0.5000, 0.0000],
            [0.0000, 0.5000]])
    """
    with torch.no_grad():
        regular = matrix + ridge * torch.eye(len(matrix), dtype=matrix.dtype, device=matrix.device)
        solved = torch.linalg.solve(regular, matrix)
        return (solved + solved.T) / 2


def class_sizes(classes: Tensor) -> Tensor:
    """How many items (N,) there are of each item's class; of class -1, which is unknown, every item is the only one."""
    _, inverse, counts = torch.unique(classes, return_inverse=True, return_counts=True)
    return torch.where(classes < 0, 1, counts[inverse])


def smooth(rows: Tensor, prior: Tensor, kernel: str = "rbf", width: float = 1.0, ridge: float = 0.01) -> Tensor:
    """Rows (N, D), each estimated from all rows whose items are alike by the prior: smoother @ rows, with gradient.

    Classes need no solve: the kernel "same class" makes of a row the sum of its class over (size + ridge), O(N D).

    >>> smooth(torch.tensor([[1.0], [3.0], [5.0]]), torch.tensor([0, 0, 1]), ridge=1e-9)
    tensor([[2.],
            [2.],
            [5.]])
    """
    check_kernel(kernel, width, ridge)
    if len(prior) != len(rows):
        raise ValueError(f"a prior says something of every item: got {len(prior)} for {len(rows)} items")
    if not are_classes(prior):
        return smoother(kernel_matrix(prior, kernel, width), ridge).to(rows) @ rows
    lone = torch.arange(len(prior), device=prior.device)
    _, group = torch.unique(
        torch.where(prior < 0, -1 - lone, prior), return_inverse=True
    )  # unknown: a class of its own
    sums = rows.new_zeros(int(group.max()) + 1 if len(group) else 0, rows.shape[1]).index_add(0, group, rows)
    return sums[group] / (class_sizes(prior).to(rows.dtype)[:, None] + ridge)
