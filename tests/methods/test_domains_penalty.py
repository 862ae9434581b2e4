"""The penalty between mixtures of domains: its value, its settings, whole runs, and what is left out and scored."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import nearfar
from nearfar import methods
from nearfar.data import ArraySource
from nearfar.data.batch import Batch
from nearfar.errors import ConfigError, DataError
from nearfar.methods.domains import EMBEDDING, Across, DomainOptions
from nearfar.run import Run
from nearfar.training.cache import step_gradients


class Encoder(nn.Sequential):
    width = 5

    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.Linear(9, 5))


def options(**said: object) -> DomainOptions:
    return DomainOptions(**said)


def made(name: str = "supcon", **said: object) -> methods.Method:
    torch.manual_seed(0)
    kind = methods.find(name)
    return methods.across_domains(kind(Encoder(), kind.Options(projection=3)), options(**said)).double()


def batch(rows: int = 12) -> Batch:
    draw = torch.Generator().manual_seed(3)
    views = [torch.randn(rows, 1, 3, 3, generator=draw, dtype=torch.float64) for _ in range(2)]
    domains = torch.arange(rows) % 3 - 1  # a third of the rows come from nobody knows where
    return Batch(views, torch.arange(rows), torch.arange(rows) % 2, domains=domains)


def coral(one: np.ndarray, other: np.ndarray) -> float:
    """Of two samples, by their moments."""
    means = np.mean((one.mean(0) - other.mean(0)) ** 2)
    return float(means + np.mean((np.cov(one.T) - np.cov(other.T)) ** 2))


def mmd(one: np.ndarray, other: np.ndarray) -> float:
    """Of two samples, kernel by kernel and pair by pair."""

    def mean(a: np.ndarray, b: np.ndarray) -> float:
        squares = [((x - y) ** 2).sum() for x in a for y in b]
        return float(np.mean([sum(np.exp(-(10.0**p) * d) for p in range(-3, 4)) for d in squares]))

    return mean(one, one) + mean(other, other) - 2 * mean(one, other)


@pytest.mark.parametrize(("name", "oracle"), [("coral", coral), ("mmd", mmd)])
def test_it_is_the_penalty_of_two_random_mixtures_of_the_known_domains(name: str, oracle) -> None:
    method, data = made(penalty=name, penalty_weight=0.5), batch()
    projections = [method.project(view) for view in data.views]
    said = method.contrast(projections, data)
    plain = methods.find("supcon").contrast(method.method, [view["projection"] for view in projections], data)
    assert said.loss.item() == pytest.approx((plain.loss + said.terms["penalty"]).item())
    rows = [method.encoder(view).detach().numpy() for view in data.views]
    # All ways in which the two known domains, of four rows each in a random order, can be parted at some place.
    numbers = [np.flatnonzero(data.domains == d) for d in (0, 1)]
    found = set()
    parts = [[c for bits in range(16) if len(c := n[[bool(bits >> i & 1) for i in range(4)]]) < 4] for n in numbers]
    for a in parts[0]:
        for b in parts[1]:
            one = np.concatenate([a, b])
            other = np.setdiff1d(np.concatenate(numbers), one)
            if min(len(one), len(other)) >= 2:
                value = oracle(np.concatenate([r[one] for r in rows]), np.concatenate([r[other] for r in rows]))
                found.add(round(0.5 * value, 9))
    seen = set()
    for step in range(30):
        method.draws.after_step(step)
        seen.add(round(method.contrast(projections, data).terms["penalty"].item(), 9))
    assert seen - {0.0} <= found and len(seen) > 10  # 0: one of the mixtures was too small


def test_gradients_reach_the_encoder_and_micro_batches_change_nothing() -> None:
    data, found = batch(), []
    for size in (None, 5):
        method = made(penalty="coral", penalty_weight=100.0).eval()  # the norm of the head sees no micro-batch
        step_gradients(method.project, data.views, lambda p, m=method: m.contrast(p, data).loss, size)
        found.append(method.encoder[1].weight.grad)
    plain = made().eval()
    assert not isinstance(plain, Across)
    step_gradients(plain.project, data.views, lambda p: plain.contrast(p, data).loss, None)
    assert torch.allclose(found[0], found[1], rtol=1e-9)
    assert not torch.allclose(found[0], plain.encoder[1].weight.grad, rtol=0.1)


def test_what_it_cannot_do_is_refused() -> None:
    method, data = made(penalty="coral"), batch()
    data.domains = None
    with pytest.raises(DataError, match="penalty compares domains"):
        method.contrast([method.project(view) for view in data.views], data)
    with pytest.raises(ConfigError, match=r"penalty.*'coral' or 'mmd'"):
        options(penalty="energy")
    with pytest.raises(ConfigError, match="penalty_weight"):
        options(penalty="mmd", penalty_weight=0)
    method.encoder.forward = lambda rows: nn.Sequential.forward(method.encoder, torch.cat([rows, rows]))
    with pytest.raises(ConfigError, match="no single embedding"):
        method.project(data.views[0])
    assert EMBEDDING not in str(made().project(data.views[0]))


def test_batches_hold_as_many_rows_of_every_domain() -> None:
    places = np.repeat([0, 1, 2, -1], [70, 20, 6, 4])
    source = ArraySource("images", np.zeros((100, 1, 3, 3), np.uint8), labels=np.arange(100) % 2).in_domains(places)
    for said in ({"penalty": "coral"}, {"even_domains": True}):
        rows = made(**said).sampler(source, 16, 0).batch(1)
        assert np.bincount(places[rows]).tolist() == [5, 5, 5]
    assert len(set(made(penalty="coral", even_domains=False).sampler(source, 50, 0).batch(0).tolist())) == 50
    with pytest.raises(ConfigError, match="batch_size = 2, but there are 3 domains"):
        made(penalty="mmd").sampler(source, 2, 0)
    kind = methods.find("supcon")
    bound = methods.across_domains(kind(Encoder(), kind.Options(rows_per_class=4)), options(even_domains=True))
    with pytest.raises(ConfigError, match="both say what a batch holds"):
        bound.sampler(source, 8, 0)


def data() -> ArraySource:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 60, (96, 1, 8, 8), dtype=np.uint8)
    labels, places = np.arange(96) % 2, np.arange(96) // 2 % 3
    images[labels == 1, :, :4] += 120
    images[places == 1, :, :, :4] += 60
    names = np.array(["north", "south", "west"])[places]
    return ArraySource("images", images, labels=labels, classes=["low", "high"]).in_domains(names)


SMALL = {"method": "supcon", "encoder": "small", "batch_size": 24, "progress": False}


def test_a_run_resumes_to_the_same_bits_and_is_scored_on_what_it_left_out(tmp_path) -> None:
    said = {**SMALL, "penalty": "mmd", "leave_out": "west"}
    whole = nearfar.fit(data(), tmp_path / "a", steps=4, checkpoint_every=2, **said)
    assert whole.config["domains"] == {"penalty": "mmd", "penalty_weight": 1.0, "even_domains": None,
                                       "leave_out": ["west"]}  # fmt: skip
    assert whole.config["source"]["items"] == 64 and "penalty" in whole.history[0]["terms"]
    (tmp_path / "a" / "checkpoints" / "step-00000004.json").unlink()
    again = nearfar.resume(tmp_path / "a", data(), progress=False)
    want = nearfar.fit(data(), tmp_path / "b", steps=4, **said).method.state_dict()
    got = again.method.state_dict()
    assert all(torch.equal(want[name], got[name]) for name in want)
    found = nearfar.evaluate(
        Run.load(tmp_path / "a"), data(), probes=["knn", "linear"], k=5, baselines=False, progress=False
    )
    assert len(found.train) == 64 and len(found.test) == 32
    assert {data().domain_names[d] for d in found.test.domains} == {"west"} and "(west)" in str(found)
    figure = found.evaluations["nearfar"].metrics["domains_accuracy"]  # north or south, a fifth of 64 rows
    assert figure.n == 12 and "Domains" in str(found)


@pytest.mark.parametrize(
    ("said", "error", "message"),
    [
        ({"leave_out": "east"}, ConfigError, "no domain 'east'; there are north, south, west"),
        ({"leave_out": ["north", "south", "west"]}, ConfigError, "no domain would be left"),
        ({"penalty": "coral", "leave_out": ["north", "south"]}, DataError, "these data say of one alone"),
        ({"penalti": "coral"}, ConfigError, "did you mean 'penalty'"),
    ],
)
def test_a_run_says_what_is_wrong_and_leaves_nothing(tmp_path, said: dict, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        nearfar.fit(data(), tmp_path / "a", steps=1, **{**SMALL, **said})
    assert not (tmp_path / "a").exists()


def test_data_without_domains_are_refused(tmp_path) -> None:
    plain = ArraySource("images", np.zeros((8, 1, 8, 8), np.uint8), labels=np.arange(8) % 2)
    for said in ({"penalty": "coral"}, {"even_domains": True}, {"leave_out": "west"}):
        with pytest.raises(DataError, match=r"folders=domain/label.*leave it out"):
            nearfar.fit(plain, tmp_path / "a", steps=1, **{**SMALL, **said})
