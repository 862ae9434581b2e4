"""Learning from labels: proxies of classes, and batches with several items of each class."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from test_recipes import IDS, A, B, P, Y, made
from torch.nn.functional import cosine_similarity

from nearfar.data import ArraySource, Batch, BoundSampler, EpochSampler, LabelSampler
from nearfar.errors import ConfigError, DataError
from nearfar.methods import MethodOptions, Proxy
from nearfar.methods.proxy import ProxyOptions
from nearfar.models import NonNegative

LABELLED = ("supcon", "triplet", "proxy")


# Proxies -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "loss", "of_a", "of_b"),
    [
        ({"objective": "ProxyAnchor"}, 32.470571, 11.199502, 5.543864),
        ({"objective": "ProxyNCA", "temperature": 1 / 3}, 1.518708, 1.073157, 0.542401),
        ({"objective": "ProxyNCA", "temperature": 1 / 3, "own": False}, -0.760584, 1.673450, 0.926085),
    ],
)
def test_the_value_and_the_gradients_are_the_published_ones(options: dict, loss: float, of_a: float, of_b: float):
    method = made("proxy", **options)
    with torch.no_grad():
        method.proxies.copy_(P)
    a, b = A.clone().requires_grad_(), B.clone().requires_grad_()
    said = method.contrast([a, b], Batch([A, B], IDS, Y))
    said.loss.backward()
    assert said.loss.item() == pytest.approx(loss, abs=1.1e-6)
    assert float(a.grad.norm()) == pytest.approx(of_a, abs=1.1e-6)
    assert float(b.grad.norm()) == pytest.approx(of_b, abs=1.1e-6)
    assert float(method.proxies.grad.norm()) > 0.01


def test_proxies_are_a_parameter_of_the_method_and_not_of_the_encoder():
    method = made("proxy", classes=7)
    assert method.proxies.shape == (7, 3) and "proxies" in method.state_dict()
    assert "proxies" in dict(method.named_parameters())
    assert not any("prox" in name for name, _ in method.encoder.named_parameters())


def test_shorter_proxies_turn_faster():
    """One step of Adam turns a proxy by about rate x speed / length."""
    turned = []
    for speed in (1.0, 10.0):
        method = made("proxy", speed=speed)
        before = method.proxies.detach().clone()
        optimiser = torch.optim.Adam([method.proxies], lr=1e-3)
        method.contrast([A, B], Batch([A, B], IDS, Y)).loss.backward()
        optimiser.step()
        turned.append(float((1 - cosine_similarity(before, method.proxies.detach())).clamp_min(0).sqrt().mean()))
    assert turned[1] / turned[0] == pytest.approx(10, rel=0.05)


def test_the_number_of_classes_is_that_of_the_data_unless_it_is_set():
    facts = {"classes": ["a", "b", "c"]}
    assert ProxyOptions().settled(facts).classes == 3
    assert ProxyOptions(classes=5).settled(facts).classes == 5
    with pytest.raises(ConfigError, match="classes = 2, but the data have 3"):
        ProxyOptions(classes=2).settled(facts)
    with pytest.raises(ConfigError, match="do not name their classes; say how many there are"):
        ProxyOptions().settled({"classes": []})
    assert ProxyOptions(classes=4).settled({"classes": []}).classes == 4
    again = ProxyOptions(**ProxyOptions().settled(facts).model_dump())  # as from the configuration of a run
    assert again.settled(facts) == again


def test_a_label_without_a_proxy_is_named_with_what_to_do():
    with pytest.raises(DataError, match="label 5 has no proxy, there are 2; set classes to more"):
        made("proxy").contrast([A, B], Batch([A, B], IDS, torch.tensor([0, 1, 5, 0])))


@pytest.mark.parametrize("name", LABELLED)
def test_data_without_labels_are_refused(name: str):
    with pytest.raises(DataError, match=f"{name} learns from labels and these data have none"):
        made(name).contrast([A, B], Batch([A, B], IDS))


def test_proxies_learn_to_stand_for_their_classes():
    torch.manual_seed(0)
    centres = torch.eye(4, 9)
    rows = (centres.repeat(16, 1) + 0.3 * torch.randn(64, 9)).view(64, 1, 3, 3)
    labels = torch.arange(4).repeat(16)
    for objective in ("ProxyAnchor", "ProxyNCA"):
        method = made("proxy", objective=objective, classes=4, projection=8).float()
        optimiser = torch.optim.Adam(method.parameters(), lr=0.01)
        for _ in range(60):
            optimiser.zero_grad()
            method.contrast([method.project(rows)] * 2, Batch([rows] * 2, torch.arange(64), labels)).loss.backward()
            optimiser.step()
        scores = cosine_similarity(method.project(rows)[:, None], method.proxies[None], dim=2)
        assert float((scores.argmax(1) == labels).float().mean()) > 0.95


# Batches of some classes -------------------------------------------------------


def source(per_class: int = 12, classes: int = 4) -> ArraySource:
    labels = np.repeat(np.arange(classes), per_class)
    return ArraySource("images", np.zeros((len(labels), 1, 2, 2), np.uint8), labels=labels)


@pytest.mark.parametrize("name", LABELLED)
def test_a_batch_holds_so_many_rows_of_so_many_classes(name: str):
    data = source()
    sampler = made(name, rows_per_class=4).sampler(data, 8, seed=0)
    assert isinstance(sampler, LabelSampler) and sampler.batch_size == 8
    for step in range(6):
        seen = np.unique(data.labels[sampler.batch(step)], return_counts=True)[1]
        assert seen.tolist() == [4, 4]
    assert isinstance(made(name).sampler(data, 8, seed=0), EpochSampler)


@pytest.mark.parametrize("name", LABELLED)
@pytest.mark.parametrize("options", [{}, {"rows_per_class": 4}], ids=["as they come", "by class"])
def test_one_item_of_every_class_binds_all_batches(name: str, options: dict):
    data = source()
    sampler = made(name, binding=True, **options).sampler(data, 8, seed=0)
    assert isinstance(sampler, BoundSampler) and sampler.batch_size == 8 + 4
    last = [sampler.batch(step)[8:].tolist() for step in range(4)]
    assert data.labels[last[0]].tolist() == [0, 1, 2, 3] and last == [last[0]] * 4
    assert not isinstance(made(name, **options).sampler(data, 8, seed=0), BoundSampler)


@pytest.mark.parametrize("name", ["simclr", *LABELLED])
def test_projections_without_negative_numbers(name: str):
    method = made(name, activation="rep_relu")
    assert isinstance(method.head[-1], NonNegative) and not isinstance(made(name).head[-1], NonNegative)


@pytest.mark.parametrize("batch_size", [10, 4, 20])
def test_batches_that_cannot_be_made_are_refused_with_those_that_can(batch_size: int):
    with pytest.raises(ConfigError, match=r"4 rows of each of 2 to 4 classes; set it to a multiple .* from 8 to 16"):
        made("supcon", rows_per_class=4).sampler(source(), batch_size, seed=0)


# How many views ----------------------------------------------------------------


def test_what_the_views_ask_for_fills_in_the_number_of_views_and_a_conflict_is_named():
    assert MethodOptions().settled({}, None).views == 2
    assert MethodOptions().settled({}, 8).views == 8
    assert MethodOptions(views=8).settled({}, 8).views == 8
    with pytest.raises(ConfigError, match="views = 4, but crops ask for 8; leave out one of them"):
        MethodOptions(views=4).settled({}, 8)
    assert Proxy.Options().settled({"classes": ["a", "b"]}, 3).model_dump()["views"] == 3
