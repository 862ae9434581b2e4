from __future__ import annotations

import pytest
import torch

from nearfar.data import Batch
from nearfar.errors import DataError


def test_length_and_device():
    batch = Batch([torch.zeros(3, 2), torch.ones(3, 5)], torch.arange(3), torch.tensor([0, -1, 1]))
    assert len(batch) == 3
    moved = batch.to("meta")
    assert {view.device.type for view in moved.views} == {"meta"}
    assert moved.ids.device.type == "meta"
    assert moved.labels is not None and moved.labels.device.type == "meta"
    assert Batch(batch.views, batch.ids).to("cpu").labels is None


def test_views_are_whole_unless_said_otherwise_and_targets_are_whole():
    views = [torch.zeros(3, 2)] * 4
    plain = Batch(views, torch.arange(3))
    assert plain.roles == ["whole"] * 4 and plain.whole == [0, 1, 2, 3] and len(plain.onto_whole()) == 12
    mixed = Batch(views, torch.arange(3), roles=["whole", "small", "whole", "small"]).to("cpu")
    assert mixed.whole == [0, 2]
    assert mixed.onto_whole() == [(0, 2), (1, 0), (1, 2), (2, 0), (3, 0), (3, 2)]


@pytest.mark.parametrize("roles", [["whole"], ["small", "small"], ["whole", "large"], ["whole"] * 3])
def test_roles_that_do_not_fit_are_refused(roles: list):
    with pytest.raises(DataError, match="2 views have the roles"):
        Batch([torch.zeros(3, 2)] * 2, torch.arange(3), roles=roles)


@pytest.mark.parametrize(
    ("views", "labels"),
    [
        ([], None),
        ([torch.zeros(3, 2), torch.zeros(2, 2)], None),
        ([torch.zeros(3, 2)], torch.zeros(4)),
    ],
)
def test_lengths_must_agree(views, labels):
    with pytest.raises(DataError, match="a batch of 3 ids has columns of lengths"):
        Batch(views, torch.arange(3), labels)
