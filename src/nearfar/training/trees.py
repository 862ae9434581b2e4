"""Tensors in dicts, lists and tuples, as encoders take and give them: taken apart into a list and put together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

Tree = Any
"""A tensor, None, or a dict, list or tuple of such, nested as deep as you like."""


def take_apart(tree: Tree, leaves: list[Tensor]) -> Any:
    """The form of a tree: the same with every tensor replaced by its place in ``leaves``, to which it is added.

    Raises:
        TypeError: something else than tensors and None stands in it.

    >>> found = []
    >>> take_apart({"ids": torch.zeros(3, 2), "more": [torch.ones(3), None]}, found), len(found)
    ({'ids': 0, 'more': [1, None]}, 2)
    """
    if tree is None:
        return None
    if isinstance(tree, Tensor):
        leaves.append(tree)
        return len(leaves) - 1
    if isinstance(tree, Mapping):
        return {name: take_apart(part, leaves) for name, part in tree.items()}
    if isinstance(tree, list | tuple):
        parts = [take_apart(part, leaves) for part in tree]
        return parts if isinstance(tree, list) else tuple(parts)
    raise TypeError(
        f"rows are a tensor, or a dict, list or tuple of tensors, with something of type {type(tree).__name__} in it; "
        "turn it into a tensor, or let the encoder know it otherwise"
    )


def put_together(form: Any, leaves: Sequence[Tensor]) -> Tree:
    """The tree of a form (see `take_apart`) with these tensors."""
    if form is None:
        return None
    if isinstance(form, int):
        return leaves[form]
    if isinstance(form, dict):
        return {name: put_together(part, leaves) for name, part in form.items()}
    return type(form)(put_together(part, leaves) for part in form)


def rows_in(leaves: Sequence[Tensor]) -> int:
    """How many rows the tensors have, all alike.

    Raises:
        ValueError: there is no tensor, or they differ.
    """
    shapes = [tuple(leaf.shape) for leaf in leaves]
    counts = {shape[:1] for shape in shapes}
    if len(counts) != 1 or counts == {()}:
        raise ValueError(
            f"all tensors of a tower have one entry per row in their first dimension; their shapes are {shapes}"
        )
    return counts.pop()[0]
