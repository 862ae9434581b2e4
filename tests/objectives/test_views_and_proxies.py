"""What holds for many views of an item, and for proxies of classes, beyond the battery."""

from __future__ import annotations

import pytest
import torch
from cases import rows
from torch import Tensor
from torch.nn.functional import normalize

from nearfar.objectives import DCL, InfoNCE, NTXent, PolyView, ProxyAnchor, ProxyNCA, SupCon, to_proxies


def many(views: int, n: int = 6) -> list[Tensor]:
    return [rows(40 + k, n) for k in range(views)]


@pytest.mark.parametrize("views", [3, 5])
@pytest.mark.parametrize("average", ["arithmetic", "sufficient"])
def test_no_reading_is_above_the_geometric_one(views: int, average: str):
    for temperature in (0.1, 1.0):
        geometric = PolyView(temperature=temperature)(*many(views))
        other = PolyView(temperature=temperature, average=average)(*many(views))
        assert float(other) < float(geometric)
    alike = [rows(40, 6)] * views  # views that agree leave nothing to average
    torch.testing.assert_close(PolyView(average=average)(*alike), PolyView()(*alike))


@pytest.mark.parametrize("average", ["geometric", "arithmetic", "sufficient"])
def test_two_views_are_ntxent_and_the_order_of_views_does_not_matter(average: str):
    views = many(4)
    torch.testing.assert_close(PolyView(average=average)(*views[:2]), NTXent()(*views[:2]))
    torch.testing.assert_close(PolyView(average=average)(*views), PolyView(average=average)(*views[::-1]))


def test_geometric_is_the_exclusive_reading_of_supcon():
    views = many(4)
    keys = torch.arange(6)
    torch.testing.assert_close(PolyView()(*views), SupCon(average="exclusive")(*views, labels=keys))


def test_sufficient_statistics_are_the_mean_of_the_other_unit_rows():
    views = [normalize(v, dim=1) for v in many(4)]
    values = []
    for a in range(4):
        others = torch.stack([views[b] for b in range(4) if b != a]).mean(0)
        for i in range(6):
            own = float((views[a][i] @ others[i] / 0.3).exp())
            far = sum(float((views[a][i] @ v[j] / 0.3).exp()) for v in views for j in range(6) if j != i)
            values.append(-torch.tensor(own / (own + far)).log().item())
    got = PolyView(temperature=0.3, average="sufficient")(*many(4))
    assert float(got) == pytest.approx(sum(values) / len(values), rel=1e-6)


def test_the_other_views_of_an_item_do_not_compete():
    """A third view far from the second, near to neither: NTXent's denominator holds it, PolyView's does not."""
    views = many(3)
    before = PolyView().inspect(*views)
    assert before.near_count.tolist() == [2] * 18 and before.far_count.tolist() == [15] * 18
    assert before.chance == pytest.approx(torch.tensor(16.0).log().item())
    assert NTXent().inspect(*views).chance == pytest.approx(torch.tensor(17.0).log().item())


# Proxies -----------------------------------------------------------------------


def test_proxies_are_softmax_over_classes():
    items, proxies, labels = rows(1, 8), rows(2, 3), torch.tensor([0, 1, 2, 0, 1, 2, 0, 0])
    d = (normalize(items, dim=1)[:, None] - normalize(proxies, dim=1)[None]).square().sum(2)
    want = torch.nn.functional.cross_entropy(-9 * d, labels)
    torch.testing.assert_close(ProxyNCA(temperature=1 / 9)(items, proxies, relation=to_proxies(labels, 3)), want)
    own = torch.nn.functional.one_hot(labels, 3).bool()
    original = (9 * d[own] + (-9 * d).masked_fill(own, -torch.inf).logsumexp(1)).mean()
    got = ProxyNCA(temperature=1 / 9, own=False)(items, proxies, relation=to_proxies(labels, 3))
    torch.testing.assert_close(got, original)
    for kind, made in ((InfoNCE, ProxyNCA()), (DCL, ProxyNCA(own=False))):
        plain = kind(similarity=made.similarity, temperature=1 / 3)
        how = {"relation": to_proxies(labels, 3)}
        torch.testing.assert_close(plain(items, proxies, **how), made(items, proxies, **how))


def test_rows_without_a_label_do_not_count():
    items, proxies = rows(1, 5), rows(2, 3)
    labels = torch.tensor([0, -1, 2, 2, -1])
    kept = labels >= 0
    for made in (ProxyNCA(), ProxyNCA(own=False)):
        torch.testing.assert_close(
            made(items, proxies, relation=to_proxies(labels, 3)),
            made(items[kept], proxies, relation=to_proxies(labels[kept], 3)),
        )
    torch.testing.assert_close(
        ProxyAnchor()(proxies, items, relation=to_proxies(labels, 3).t),
        ProxyAnchor()(proxies, items[kept], relation=to_proxies(labels[kept], 3).t),
    )


def test_the_pull_is_averaged_over_the_classes_that_are_there_and_the_push_over_all():
    items, proxies, labels = rows(1, 4), rows(2, 5), torch.tensor([0, 3, 3, 0])
    seen = ProxyAnchor(temperature=0.5).inspect(proxies, items, relation=to_proxies(labels, 5).t)
    s = normalize(proxies, dim=1) @ normalize(items, dim=1).T
    pull = [(1 + ((0.1 - s[c][labels == c]) / 0.5).exp().sum()).log() for c in (0, 3)]
    push = [(1 + ((0.1 + s[c][labels != c]) / 0.5).exp().sum()).log() for c in range(5)]
    torch.testing.assert_close(seen.terms["pull"], torch.stack(pull).mean())
    torch.testing.assert_close(seen.terms["push"], torch.stack(push).mean())


def test_a_label_without_a_proxy_is_named():
    with pytest.raises(ValueError, match="label 4 has no proxy, there are 3"):
        to_proxies(torch.tensor([0, 4]), 3)
