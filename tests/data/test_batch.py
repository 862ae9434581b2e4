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


@pytest.mark.parametrize(
    ("views", "labels"),
    [
        ([], None),
        ([torch.zeros(3, 2), torch.zeros(2, 2)], None),
        ([torch.zeros(3, 2)], torch.zeros(4)),
    ],
)
def test_lengths_must_agree(views, labels):
    with pytest.raises(DataError, match="a batch of 3 ids has views and labels of lengths"):
        Batch(views, torch.arange(3), labels)
