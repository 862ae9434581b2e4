"""Mixtures with what contradicts a biased encoder: who is chosen, what is learned, whole runs."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import normalize

import nearfar
from nearfar import methods
from nearfar.data import ArraySource
from nearfar.data.batch import Batch
from nearfar.errors import ConfigError, DataError
from nearfar.methods.mixed import BIASED, MixingOptions
from nearfar.reporting import write
from nearfar.training.cache import step_gradients

F64 = torch.float64


class Encoder(nn.Sequential):
    width = 5

    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.Linear(9, 5))


def made(name: str = "supcon", **said: object) -> methods.Method:
    torch.manual_seed(0)
    kind = methods.find(name)
    mixing = MixingOptions(**{"mixing": "contradicting", **said})
    return methods.with_mixtures(kind(Encoder(), kind.Options(projection=3)), mixing).double()


def batch(rows: int = 10) -> Batch:
    draw = torch.Generator().manual_seed(3)
    views = [torch.randn(rows, 1, 3, 3, generator=draw, dtype=F64) for _ in range(2)]
    labels = torch.arange(rows) % 3
    labels[4] = -1
    return Batch(views, 10 + torch.arange(rows), labels)


def test_mixtures_are_mostly_the_partner_and_have_its_label() -> None:
    method, data = made(), batch()
    # Plain loops: the mean direction over views decides who contradicts.
    z = sum(normalize(method.biased.eval()(view), dim=1) for view in data.views).detach()
    alike = normalize(z, dim=1) @ normalize(z, dim=1).T
    method.biased.train()
    seen = set()
    for step in range(12):
        method.draws.after_step(step)
        ready = method.prepare(data)
        assert [tuple(view.shape) for view in ready.views] == [(10, 2, 1, 3, 3)] * 2
        partners = (ready.ids - 10).tolist()
        assert ready.labels.tolist() == data.labels[ready.ids - 10].tolist()
        for i, j in enumerate(partners):
            for view, whole in zip(data.views, ready.views, strict=True):
                assert torch.equal(whole[:, 0], view)
                share = (whole[i, 1] - view[j]) / (view[i] - view[j]) if i != j else torch.zeros(1)
                assert torch.allclose(share, share.flatten()[0]) and 0 <= share.flatten()[0] <= 0.5
        kind = {}
        for same in (True, False):
            fits = [
                [j for j in range(10) if j != i and i != 4 and j != 4 and (data.labels[i] == data.labels[j]) == same]
                for i in range(10)
            ]
            choose = min if same else max
            kind[same] = [choose(f, key=lambda j, i=i: float(alike[i, j])) if f else i for i, f in enumerate(fits)]
        assert partners in kind.values() and kind[True] != kind[False]
        seen.add(partners == kind[True])
    assert seen == {True, False}


def test_the_biased_encoder_learns_from_what_is_not_mixed_and_the_other_from_mixtures() -> None:
    method, data = made().eval(), batch()
    ready = method.prepare(data)
    grads = []
    for size in (None, 4):
        method.zero_grad()
        step_gradients(method.project, ready.views, lambda p: method.contrast(p, ready).loss, size)
        grads.append([p.grad.clone() for p in method.parameters() if p.grad is not None])
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)
    said = method.contrast([method.project(view) for view in ready.views], ready)
    rows = [method.biased(view) for view in data.views]
    assert said.terms[BIASED].item() == pytest.approx(method.easy(*rows, labels=data.labels).item())
    assert set(said.terms) == {"attract", "repel", BIASED}
    own = [method.method.project(view[:, 1]) for view in ready.views]
    assert (said.loss - said.terms[BIASED]).item() == pytest.approx(method.method.contrast(own, ready).loss.item())


def test_random_partners_have_no_second_encoder() -> None:
    method, data = made(mixing="random"), batch()
    ready = method.prepare(data)
    assert method.biased is None and ready.views[0].shape == data.views[0].shape
    assert sorted(ready.ids.tolist()) == data.ids.tolist()
    method.contrast([method.project(view) for view in ready.views], ready).loss.backward()
    assert isinstance(made(mixing=None), methods.SupCon)


def test_what_it_cannot_do_is_refused() -> None:
    with pytest.raises(ConfigError, match="simclr learns from none; take supcon"):
        made("simclr")
    kind = methods.find("supcon")
    both = {"mixing": {"mixing": "random"}, "domains": {"penalty": "coral"}}
    with pytest.raises(ConfigError, match="leave out penalty or mixing"):
        methods.around(kind(Encoder(), kind.Options()), both)
    data = batch()
    data.labels = None
    with pytest.raises(DataError, match="supcon learns from labels"):
        made().prepare(data)


def coloured() -> ArraySource:
    rng = np.random.default_rng(0)
    labels = np.arange(48) % 2
    images = rng.integers(0, 90, (48, 3, 8, 8), dtype=np.uint8)
    images[np.arange(48), labels] += 120
    return ArraySource("images", images, labels=labels, classes=["low", "high"])


def test_a_run_resumes_to_the_same_bits_and_its_report_shows_pairs(tmp_path) -> None:
    said = {"method": "supcon", "encoder": "small", "batch_size": 16, "progress": False, "mixing": "contradicting"}
    want = nearfar.fit(coloured(), tmp_path / "a", steps=2, checkpoint_every=1, **said).method.state_dict()
    assert any(name.startswith("biased.") for name in want)
    (tmp_path / "a" / "checkpoints" / "step-00000002.json").unlink()
    run = nearfar.resume(tmp_path / "a", coloured(), progress=False)
    got = run.method.state_dict()
    assert all(torch.equal(want[name], got[name]) for name in want)
    assert BIASED in run.history[-1]["terms"]
    page = write(run, None, coloured(), tmp_path / "r.html", progress=False).read_text()
    assert len(re.findall('alt="Partner 1 of query [0-9]+: (?:low|high), same label"', page)) == 12
    assert len(re.findall('alt="Partner 2 of query [0-9]+: (?:low|high), another label"', page)) == 12
    with pytest.raises(ConfigError, match="mixing is for pictures, and these data are tables"):
        from nearfar.modalities.tables.reading import read_columns

        table = read_columns({"a": np.random.rand(9), "b": np.random.rand(9)}, labels=np.arange(9) % 2)
        nearfar.fit(table, tmp_path / "b", method="supcon", mixing="random", steps=1, progress=False)
    assert not (tmp_path / "b").exists()
