"""SimCSE and what is added to it, against plain loops, and the cases in which one is the other."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from nearfar import methods
from nearfar.data.batch import Batch
from nearfar.errors import ConfigError
from nearfar.methods.beside import band, hinge
from nearfar.methods.method import Method
from nearfar.methods.related import related
from nearfar.models import Centroids, dropout_rate, group_whiten

F64 = torch.float64
WIDTH = 6


class Encoder(nn.Sequential):
    """The smallest thing with a width, and with dropout."""

    width = WIDTH

    def __init__(self) -> None:
        super().__init__(nn.Linear(5, WIDTH), nn.Dropout(0.1))


def made(name: str, seed: int = 0, **options: object) -> Method:
    torch.manual_seed(seed)
    kind = methods.find(name)
    return kind(Encoder(), kind.Options(**options)).double()


def batch(views: int = 2, rows: int = 8, seed: int = 1, **more: object) -> Batch:
    draw = torch.Generator().manual_seed(seed)
    return Batch([torch.randn(rows, 5, generator=draw, dtype=F64) for _ in range(views)], torch.arange(rows), **more)


def step(method: Method, data: Batch, number: int = 0) -> tuple[methods.Contrast, list]:
    torch.manual_seed(7)
    projections = [method.project(view) for view in data.views]
    said = method.contrast(projections, data)
    method.after_step(number, 10)
    return said, projections


def rows(*shape: int, seed: int = 3) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def drawn_noise(count: int, seed: int) -> Tensor:
    return torch.randn(count, WIDTH, generator=torch.Generator().manual_seed(seed)).double()


def cosines(a: Tensor, b: Tensor) -> Tensor:
    return normalize(a, dim=1) @ normalize(b, dim=1).T


# SimCSE ------------------------------------------------------------------------


def test_simcse_is_a_cross_entropy_one_way_behind_a_layer_and_tanh():
    method, data = made("simcse"), batch()
    method.eval()
    said, (first, second) = step(method, data)
    weight, bias = method.head[0].weight, method.head[0].bias
    hidden = method.encoder(data.views[0])
    torch.testing.assert_close(first, torch.tanh(hidden @ weight.T + bias))
    want = cross_entropy(cosines(first, second) / 0.05, torch.arange(8))
    assert said.loss.item() == pytest.approx(want.item(), rel=1e-6)
    back = method.contrast([second, first], data).loss.item()
    assert back != pytest.approx(want.item(), rel=1e-3)
    assert said.chance == pytest.approx(math.log(8))


def test_simcse_on_the_published_cases():
    method = made("simcse", temperature=1.0, head="none")
    eye = torch.eye(2, WIDTH, dtype=F64)
    assert method.contrast([eye, eye], batch(rows=2)).loss.item() == pytest.approx(0.313262, abs=1e-6)
    ones = torch.ones(4, WIDTH, dtype=F64)
    three = Batch([rows(4, 5)] * 3, torch.arange(4), roles=["whole", "whole", "far"])
    assert method.contrast([ones, ones], batch(rows=4)).loss.item() == pytest.approx(math.log(4))
    assert method.contrast([ones] * 3, three).loss.item() == pytest.approx(2.079442, abs=1e-6)  # log 2B


def test_what_is_given_as_far_counts_for_its_own_item_as_often_as_asked():
    ones = torch.ones(4, WIDTH, dtype=F64)
    three = Batch([rows(4, 5)] * 3, torch.arange(4), roles=["whole", "whole", "far"])
    said = made("simcse", head="none", own_weight=3.0).contrast([ones] * 3, three)
    assert said.loss.item() == pytest.approx(2.302585, abs=1e-6)  # log(2B - 1 + 3)
    views = [rows(4, WIDTH, seed=seed) for seed in range(3)]
    scores = torch.cat([cosines(views[0], views[1]), cosines(views[0], views[2])], 1) / 0.05
    for weight in (0.0, 1.0, 2.5):
        added = torch.cat([torch.zeros(4, 4), torch.eye(4) * torch.tensor(weight).log()], 1).nan_to_num(
            0.0, neginf=-1e9
        )
        want = cross_entropy(scores + added, torch.arange(4)).item()
        said = made("simcse", head="none", own_weight=weight).contrast(views, three)
        assert said.loss.item() == pytest.approx(want, rel=1e-6)


def test_two_views_of_one_text_differ_by_dropout_alone():
    method, data = made("simcse"), batch(1)
    twice = Batch(data.views * 2, data.ids)
    _, (one, other) = step(method.train(), twice)
    assert not torch.equal(one, other)
    _, (one, other) = step(method.eval(), twice)
    assert torch.equal(one, other)


@pytest.mark.parametrize("name", ["esimcse", "gsinfonce", "dclr", "clusterns"])
def test_without_its_addition_each_is_simcse(name):
    nothing = {
        "esimcse": {"queue": 0},
        "gsinfonce": {"noise": 0},
        "dclr": {"guide": 1.1, "noise_share": 0.0},
        "clusterns": {"centroids_from": -1.0, "centroids": 2},
    }[name]
    plain, other = made("simcse"), made(name, **nothing)
    other.load_state_dict(plain.state_dict(), strict=False)
    for number in range(2):
        want, got = (step(m, batch(seed=number), number)[0] for m in (plain, other))
        assert got.loss.item() == pytest.approx(want.loss.item(), rel=1e-9)


def test_one_view_alone_is_refused():
    with pytest.raises(ConfigError, match="simcse needs two views"):
        step(made("simcse"), batch(1))
    with pytest.raises(ConfigError, match="as wide as the encoder, 6, not 4"):
        made("simcse", head="none", projection=4)


# ESimCSE -----------------------------------------------------------------------


def test_the_queue_is_of_a_slow_copy_without_dropout_and_filled_after_the_step():
    method = made("esimcse", queue=12, momentum=0.9).train()
    start = [p.clone() for p in method.copy.module.parameters()]
    data = batch(rows=8)
    said, (first, second) = step(method, data)
    assert said.loss.item() == pytest.approx(
        cross_entropy(cosines(first, second) / 0.05, torch.arange(8)).item(), rel=1e-6
    )
    copy = method.copy.module
    hidden = data.views[0] @ start[0].T + start[1]
    want = normalize(torch.tanh(hidden @ start[2].T + start[3]), dim=1)
    assert len(method.queue) == 8 and not method.queue.rows()[0].requires_grad
    torch.testing.assert_close(method.queue.rows()[0], want)
    with torch.no_grad():
        for parameter in method.parameters():
            if parameter.requires_grad:
                parameter.add_(1.0)
    held = method.queue.rows()[0].clone()
    later = Batch(batch(seed=2).views, torch.arange(20, 28))
    said, (first, second) = step(method, later, 1)
    scores = torch.cat([cosines(first, second), cosines(first, held)], 1) / 0.05
    assert said.loss.item() == pytest.approx(cross_entropy(scores, torch.arange(8)).item(), rel=1e-6)
    assert len(method.queue) == 12
    for before, now in zip(start, copy.parameters(), strict=True):
        torch.testing.assert_close(now, before + 0.1)


# Noise, and what a guide says ---------------------------------------------------


def test_noise_stands_in_every_denominator_and_is_another_one_in_each_step():
    method = made("gsinfonce", noise=5)
    drawn = []
    for number in range(2):
        noise = drawn_noise(5, int(method.draws.seed) + number)
        said, (first, second) = step(method, batch(seed=number), number)
        scores = torch.cat([cosines(first, second), cosines(first, noise)], 1) / 0.05
        assert said.loss.item() == pytest.approx(cross_entropy(scores, torch.arange(8)).item(), rel=1e-6)
        drawn.append(noise)
    assert not torch.equal(*drawn)


def test_far_rows_that_a_guide_finds_alike_are_left_out():
    """Scores 10, 8 (alike), 2: log(1 + e^-8), where a score of 0 in place of 8 would give 3.808e-4."""
    opinion = torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]], dtype=F64)
    method = made("simcse", head="none")
    relation = related(method, torch.arange(3), [], opinion, 0.9)
    near, far = (relation.weights(over, slice(0, 3), slice(0, 3)).full(opinion) for over in ("near", "far"))
    assert near.tolist() == torch.eye(3).tolist()
    assert far.tolist() == [[0, 0, 1], [0, 0, 1], [1, 1, 0]]
    assert math.log(math.exp(10) + math.exp(2)) - 10 == pytest.approx(3.354e-4, abs=1e-6)


def test_dclr_is_a_cross_entropy_over_what_is_left_and_noise_that_went_up_the_loss():
    method, data = made("dclr", guide=0.5, noise_steps=3, noise_rate=0.05), batch()
    opinion = cosines(*[method.guide(data.views[0])] * 2)
    left_out = (opinion >= 0.5) & ~torch.eye(8, dtype=torch.bool)
    assert 0 < left_out.sum() < 50
    noise = drawn_noise(8, int(method.draws.seed))
    said, (first, second) = step(method, data)

    def loss(far: Tensor) -> Tensor:
        scores = cosines(first.detach(), second.detach()).masked_fill(left_out, -torch.inf)
        return cross_entropy(torch.cat([scores, cosines(first.detach(), far)], 1) / 0.05, torch.arange(8))

    start = loss(noise)
    for _ in range(3):
        noise = noise.detach().requires_grad_()
        slope = torch.autograd.grad(loss(noise), noise)[0]
        noise = noise + 0.05 * slope / slope.norm(dim=1, keepdim=True)
    assert said.loss.item() == pytest.approx(loss(noise).item(), rel=1e-6)
    assert said.loss > start
    said.loss.backward()
    assert all(p.grad is None for p in method.guide.parameters())


# Centres, band and hinge ---------------------------------------------------------


def test_centres_begin_far_apart_and_follow_their_rows():
    centroids = Centroids(3, 2, start=0.9, rate=0.25)
    centroids.learn(torch.ones(4, 2))  # all alike: not yet
    assert not centroids.begun
    seen = torch.tensor([[2.0, 0.1], [2.0, 0.0], [0.1, 1.0], [-1.0, 0.2], [0.5, 0.5]])
    centroids.learn(seen)
    assert centroids.centres.tolist() == seen[[0, 3, 1]].tolist()  # least like the last one taken, not those taken
    first, second = centroids.nearest(torch.tensor([[1.0, 0.06], [-1.0, 0.0]]))
    assert (first.tolist(), second.tolist()) == ([0, 1], [2, 0])
    before = centroids.centres.clone()
    centroids.learn(torch.tensor([[-2.0, 0.0], [-1.0, -1.0]]))
    want = before.clone()
    want[1] = 0.25 * torch.tensor([-3.0, -1.0]) + 0.75 * before[1]
    torch.testing.assert_close(centroids.centres, want)
    with pytest.raises(ConfigError, match="second nearest"):
        Centroids(1, 2, 0.4, 0.1)
    with pytest.raises(ConfigError, match="3 centres begin with rows of one batch, which has 2"):
        Centroids(3, 2, 1.0, 0.1).learn(torch.eye(2))


def test_clusterns_has_the_second_nearest_centres_as_far_rows_and_a_band():
    method = made("clusterns", centroids=3, centroids_from=1.0, band_weight=2.0, band=(0.1, 0.4))
    step(method, batch())
    said, (first, second) = step(method, batch(seed=2), 1)
    # The centres have moved on since: those of the step are the rows that they began with.
    method = made("clusterns", centroids=3, centroids_from=1.0, band_weight=2.0, band=(0.1, 0.4))
    step(method, batch())
    centres = method.centroids.centres
    order = cosines(first, centres).argsort(1, descending=True)
    scores = torch.cat([cosines(first, second), cosines(first, centres[order[:, 1]])], 1) / 0.05
    total, met = 0.0, cosines(first, second)
    for i in range(8):
        for j in range(8):
            if i != j and order[i, 0] == order[j, 0]:
                gap = (met[i, j] - met[i, i]).item()
                total += max(gap + 0.1, 0) + max(-gap - 0.4, 0)
    want = cross_entropy(scores, torch.arange(8)).item() + 2 * total / 64
    assert total > 0 and said.loss.item() == pytest.approx(want, rel=1e-6)
    assert said.terms["band"].item() == pytest.approx(2 * total / 64, rel=1e-6)


@pytest.mark.parametrize(("gap", "value"), [(-0.1, 0.1), (-0.3, 0.0), (-0.6, 0.1), (0.0, 0.2)])
def test_the_band_is_the_published_one(gap, value):
    own = 0.2
    anchors = torch.eye(2, 3, dtype=F64)
    partners = torch.tensor([[own, 0, 0], [own + gap, 0, 0]], dtype=F64)
    partners[:, 2] = (1 - partners[:, 0] ** 2).sqrt()
    got = band(anchors, partners, torch.tensor([0, 0]), (0.2, 0.5))
    other = max(0 - 0 + 0.2, 0)  # the second anchor scores 0 with both
    assert got.item() == pytest.approx((value + other) / 4, abs=1e-9)


def test_the_hinge_is_the_published_one_and_asks_the_hardest_row():
    anchors = torch.eye(2, 4, dtype=F64)
    partners = torch.tensor([[0.9, 0, 0, 0], [0.8, 0, 0, 0]], dtype=F64)
    partners[:, 2] = (1 - partners[:, 0] ** 2).sqrt()
    first = hinge(anchors, partners, torch.arange(2), 0.2)
    assert first.item() == pytest.approx((0.1 + 0.2) / 2, abs=1e-9)
    far = torch.tensor([[0.95, 0.6, 0, 0]], dtype=F64)
    harder = hinge(anchors, partners, torch.arange(2), 0.2, far)
    length = math.hypot(0.95, 0.6)
    assert harder.item() == pytest.approx((0.2 - 0.9 + 0.95 / length + 0.2 + 0.6 / length) / 2, abs=1e-9)
    assert hinge(anchors, partners, torch.tensor([3, 3]), 0.2).item() == 0  # one item: nothing is far


# WhitenedCSE ---------------------------------------------------------------------


def test_groups_are_whitened_and_the_order_has_a_say_between_the_ends_alone():
    seen = rows(40, 12) @ rows(12, 12, seed=4)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    made_of = group_whiten(seen, 5, order, eps=0.0)
    for group in order.split(5):  # the last group is smaller
        torch.testing.assert_close(made_of[:, group].T.cov(correction=0), torch.eye(len(group), dtype=F64))
    plain = torch.arange(12)
    for size, moves in ((1, False), (4, True), (12, False)):
        gap = (group_whiten(seen, size, order) - group_whiten(seen, size, plain)).abs().max()
        assert (gap > 0.1) == moves and (moves or gap < 1e-9)
    norm = nn.BatchNorm1d(12, affine=False, dtype=F64)
    torch.testing.assert_close(group_whiten(seen, 1, plain), norm(seen))
    with pytest.raises(ConfigError, match="5 rows cannot be whitened in groups of 6"):
        group_whiten(seen[:5], 6, plain)


def test_whitening_has_the_right_gradient_also_where_eigenvalues_are_equal():
    order = torch.tensor([2, 0, 1, 3])
    for seen in (rows(7, 4), torch.cat([torch.eye(4, dtype=F64), -torch.eye(4, dtype=F64)])):
        assert torch.autograd.gradcheck(lambda z: group_whiten(z, 2, order), (seen.requires_grad_(),))


def test_whitenedcse_is_the_mean_of_cross_entropies_of_views_in_groups_of_their_own():
    method, data = made("whitenedcse", group=3), batch(3)
    generator = torch.Generator().manual_seed(int(method.draws.seed))
    orders = [torch.randperm(WIDTH, generator=generator) for _ in range(3)]
    said, projections = step(method, data)
    views = []
    for z, order in zip(projections, orders, strict=True):
        parts = torch.empty_like(z)
        for group in (order[:3], order[3:]):
            part = z[:, group] - z[:, group].mean(0)
            values, vectors = torch.linalg.eigh(part.T @ part / 8)
            parts[:, group] = part @ (vectors * (values + 1e-5).rsqrt()) @ vectors.T
        views.append(method.head(parts))
    want = sum(cross_entropy(cosines(views[0], other) / 0.05, torch.arange(8)) for other in views[1:]) / 2
    assert said.loss.item() == pytest.approx(want.item(), rel=1e-6)


# Composition ---------------------------------------------------------------------


@pytest.mark.parametrize("compose", ["average", "max", "slices"])
def test_parts_are_composed_in_front_of_the_head(compose):
    method, data = made("compcse", compose=compose, projection=4).eval(), batch(3)
    said, _ = step(method, data)
    left, right = (method.encoder(view) for view in data.views[1:])
    partner = {
        "average": (left + right) / 2,
        "max": torch.maximum(left, right),
        "slices": torch.cat([left[:, :3], right[:, 3:]], 1),
    }[compose]
    anchors, partners = method.head(method.encoder(data.views[0])), method.head(partner)
    want = cross_entropy(cosines(anchors, partners) / 0.05, torch.arange(8))
    assert said.loss.item() == pytest.approx(want.item(), rel=1e-6)


@pytest.mark.parametrize("compose", ["average", "max", "slices"])
def test_parts_that_are_the_whole_give_simcse(compose):
    method, plain = made("compcse", compose=compose).eval(), made("simcse").eval()
    view = batch(1).views[0]
    said = step(method, Batch([view] * 3, torch.arange(8)))[0]
    assert said.loss.item() == pytest.approx(step(plain, Batch([view] * 2, torch.arange(8)))[0].loss.item())


# SupCL-Seq -----------------------------------------------------------------------


def test_supclseq_is_supervised_contrast_over_all_rates():
    labels = torch.tensor([0, 0, 1, 1, 2, 2, 0, -1])
    method, data = made("supclseq", rates=(0.0, 0.3)), batch(1, labels=labels)
    said, (views,) = step(method.train(), data)
    assert [part.p for part in method.modules() if isinstance(part, nn.Dropout)] == [0.1]
    assert torch.equal(views["at 0"], method.eval().encoder(data.views[0]))
    z, y = torch.cat(list(views.values())), labels.repeat(3)
    z, y = z[y >= 0], y[y >= 0]
    scores, losses = cosines(z, z) / 0.05, []
    for i in range(len(z)):
        others = [j for j in range(len(z)) if j != i]
        bottom = torch.logsumexp(scores[i, others], 0)
        losses.append(torch.stack([bottom - scores[i, j] for j in others if y[j] == y[i]]).mean())
    assert said.loss.item() == pytest.approx(torch.stack(losses).mean().item(), rel=1e-6)


def test_the_rate_of_dropout_is_restored_also_after_an_error():
    net = Encoder()
    with pytest.raises(RuntimeError), dropout_rate(net, 0.7):
        assert net[1].p == 0.7
        raise RuntimeError
    assert net[1].p == 0.1
    with pytest.raises(ConfigError, match="below 1"):
        made("supclseq", rates=(1.0,))


# Contrastive Tension ---------------------------------------------------------------


def test_tension_is_a_logistic_loss_of_products_of_two_encoders_that_come_apart():
    method, data = made("tension", far=2), Batch(batch(1).views, torch.tensor([0, 1, 2, 3, 4, 5, 6, 0]))
    for one, other in zip(method.encoder.parameters(), method.other.parameters(), strict=True):
        assert torch.equal(one, other) and one is not other
    said, (views,) = step(method.eval(), data)
    want, pairs = 0.0, 0
    for i in range(8):
        for shift in range(3):
            j = (i + shift) % 8
            if shift == 0 or data.ids[i] != data.ids[j]:
                score = float(views["other"][i].detach() @ views["projection"][j].detach())
                want += math.log1p(math.exp(score)) - (score if shift == 0 else 0.0)
                pairs += 1
    assert pairs == 23 and said.loss.item() == pytest.approx(want, rel=1e-6)
    assert said.chance == pytest.approx(23 * math.log(2))
    optimiser = torch.optim.SGD(method.parameters(), lr=0.1)
    said.loss.backward()
    optimiser.step()
    assert not torch.equal(method.encoder[0].weight, method.other[0][0].weight)


def test_terms_beside_the_contrast_are_the_same_for_some_anchors_at_a_time(monkeypatch: pytest.MonkeyPatch):
    draw, found = torch.Generator().manual_seed(0), []
    rows = [torch.randn(count, 4, generator=draw, dtype=torch.float64) for count in (7, 7, 3)]
    groups = torch.tensor([0, 1, 0, 1, 2, 0, 2])
    for size in (512, 3):
        monkeypatch.setattr("nearfar.methods.beside.BLOCK", size)
        a, b, far = (part.clone().requires_grad_() for part in rows)
        value = band(a, b, groups, (0.1, 0.3)) + hinge(a, b, groups, 0.5, far)
        found.append([value, *torch.autograd.grad(value, (a, b, far))])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)


def test_a_batch_that_is_smaller_than_the_usual_number_of_centres_gets_fewer():
    kind = methods.find("clusterns").Options
    assert [kind().for_batch(size).centroids for size in (96, 64, 3)] == [96, 32, 2]  # type: ignore[attr-defined]
    small = kind(temperature=0.1).for_batch(20)
    assert small.model_fields_set == {"temperature", "centroids"}  # so that views may still be settled by the data
    assert kind(centroids=96).for_batch(64).centroids == 96  # type: ignore[attr-defined]
