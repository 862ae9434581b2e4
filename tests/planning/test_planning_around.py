"""Plans of methods with others around them, and of data with generated pictures, against counts by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nearfar
from nearfar.data.source import ArraySource
from nearfar.errors import ConfigError, DataError

VIEW = 784 * 4  # bytes of a view of 28 x 28


def bytes_of(tensors: Any) -> int:
    return sum(t.numel() * t.element_size() for t in tensors)


def small_net() -> Any:
    return nearfar.modalities.find("images").encoder("small", {"shape": [1, 28, 28]})[1]


@pytest.fixture
def places(small: Path) -> ArraySource:
    """The pictures, of three places and of none."""
    kind = nearfar.modalities.find("images")
    source = kind.read_pair(small, kind.Options(), None, None, False)[0]
    source.domains, source.domain_names = np.arange(len(source)) % 4 - 1, ["here", "there", "far away"]
    return source


@pytest.mark.parametrize("penalty", ["coral", "mmd"])
def test_a_penalty_holds_embeddings_beside_projections_and_evens_out_the_domains(places: ArraySource, penalty: str):
    made = nearfar.plan(places, encoder="small", batch_size=32, epochs=1, penalty=penalty)
    width = small_net().width
    assert made.job.projection == 2 * 4 * (128 + width)
    assert (made.job.batch_size, made.job.local) == (30, 30)  # ten of each of three
    assert made.prediction.passing["scores"] >= 2 * 30 * (128 + width) * 4  # gradients of both


def test_domains_that_are_left_out_are_no_items(places: ArraySource):
    whole = nearfar.plan(places, encoder="small", batch_size=20, epochs=1)
    less = nearfar.plan(places, encoder="small", batch_size=20, epochs=1, leave_out=["here"])
    assert (whole.job.steps, less.job.steps) == (200 // 20, 150 // 20)


def test_mixtures_that_contradict_hold_a_second_encoder_and_both_kinds_of_picture(small: Path):
    given: dict[str, Any] = {"method": "supcon", "encoder": "small", "batch_size": 40, "steps": 1}
    plain, made = nearfar.plan(small, **given), nearfar.plan(small, mixing="contradicting", **given)
    width = small_net().width
    head = nearfar.models.projector(width, width, 128)
    assert made.held.gradients - plain.held.gradients == bytes_of([*small_net().parameters(), *head.parameters()])
    assert made.job.projection == 2 * plain.job.projection
    standing = made.prediction.standing
    assert standing["prepared views"] == 40 * 2 * 2 * VIEW
    assert standing["views"] == plain.prediction.standing["views"] == 40 * (2 * 2 * VIEW + 784)
    # Cosines of all with all and those that may be taken, in float32, and masks of a byte.
    assert made.costs.preparing_bytes[1].pair >= 4 + 4 + 1
    assert made.costs.preparing_bytes[0].each >= 2 * 2 * VIEW
    assert made.prediction.seconds["preparing"] > 0 and "preparing" not in plain.prediction.seconds
    assert made.costs.encoding[0].kept > 1.5 * plain.costs.encoding[0].kept


def test_mixtures_with_any_hold_no_second_encoder(small: Path):
    made = nearfar.plan(small, method="supcon", encoder="small", batch_size=40, micro_batch=8, steps=1, mixing="random")
    assert made.prediction.standing["prepared views"] == 40 * 2 * VIEW
    assert made.prediction.passing["preparing"] >= 0


@pytest.fixture
def generated(small: Path, tmp_path: Path) -> Path:
    """30 pictures made of the first ten."""
    with np.load(small) as archive:
        np.savez(tmp_path / "made.npz", images=archive["images"][:30], of=np.arange(30) % 10)
    return tmp_path / "made.npz"


def test_generated_pictures_that_join_the_data_are_items(small: Path, generated: Path):
    how: dict[str, Any] = {"encoder": "small", "batch_size": 10, "epochs": 1, "generated": str(generated)}
    made = nearfar.plan(small, generated_as="items", replicate=2, **how)
    assert (made.job.items, made.job.steps) == (430, 43)


def test_generated_views_are_made_of_a_second_picture(small: Path, generated: Path):
    made = nearfar.plan(small, encoder="small", batch_size=10, epochs=1, generated=str(generated))
    assert (made.job.items, made.job.steps) == (200, 20)
    assert made.prediction.standing["views"] == 10 * (2 * 2 * VIEW + 2 * 784)


@pytest.mark.parametrize(
    ("how", "error", "says"),
    [
        ({"penalty": "coral"}, DataError, "penalty compares two domains or more, and these data say of none"),
        ({"mixing": "random"}, ConfigError, "mixing gives labels to mixtures, and simclr learns from none"),
        ({"method": "supcon", "mixing": "random", "devices": 2}, ConfigError, "mixing mixes the rows of all devices"),
        ({"method": "ar2"}, ConfigError, "ar2 mines and takes turns while it learns"),
        ({"method": "ranker"}, ConfigError, "ranker asks for views joint"),
        ({"leave_out": ["here"]}, DataError, "leave_out names domains, and these data say none"),
    ],
)
def test_what_does_not_go_together_is_refused_as_in_fit(
    small: Path, how: dict[str, Any], error: type[Exception], says: str
):
    with pytest.raises(error, match=says):
        nearfar.plan(small, encoder="small", batch_size=20, steps=1, **how)


def test_a_shape_has_no_labels_and_no_generated_pictures():
    with pytest.raises(DataError, match="supcon learns from labels of two or more classes and these data have none"):
        nearfar.plan("100x1x8x8", method="supcon")
    with pytest.raises(ConfigError, match="generated pictures belong to pictures that are there"):
        nearfar.plan("100x1x8x8", generated="made.npz")
