"""The recipes one by one: published values on the fixture, branches without gradient, queues, copies and options."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from nearfar import methods
from nearfar.data.batch import Batch
from nearfar.errors import ConfigError, DataError
from nearfar.methods import DINO, NNCLR, WMSE, Barlow, MoCo, SwAV
from nearfar.methods.method import Method
from nearfar.objectives import InfoNCE
from nearfar.training.cache import step_gradients

F64 = torch.float64
A = torch.tensor([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0]], dtype=F64)
B = torch.tensor([[2, 1, 0], [0, 1, 1], [1, 0, 2], [1, 2, 1]], dtype=F64)
P = torch.tensor([[1, 0, 0], [0, 1, 1]], dtype=F64)
Q = torch.tensor([[1, 1, 1], [1, 0, -1], [0, 1, -1], [-1, 1, 0], [0, 0, 1]], dtype=F64)
Y = torch.tensor([0, 0, 1, 1])
IDS = torch.arange(4)


class Encoder(nn.Sequential):
    """The smallest thing with a width."""

    width = 6

    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.Linear(9, 6))


class Mapped(nn.Sequential):
    """The same with a feature map of 3 x 3 cells."""

    width = 6

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(1, 6, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def made(name: str, **options: object) -> Method:
    torch.manual_seed(0)
    kind = methods.find(name)
    return kind(Mapped() if kind.asks else Encoder(), kind.Options(**{"projection": 3, **options})).double()


def unit(z: Tensor) -> Tensor:
    return torch.nn.functional.normalize(z, dim=1)


def batch(views: int = 2, rows: int = 8) -> Batch:
    generator = torch.Generator().manual_seed(1)
    return Batch(
        [torch.randn(rows, 1, 3, 3, generator=generator, dtype=F64) for _ in range(views)],
        torch.arange(rows),
        torch.arange(rows) % 3,
        boxes=[torch.rand(rows, 4, generator=generator, dtype=F64) + torch.tensor([0, 0, 2, 2]) for _ in range(views)],
        taught=torch.randn(rows, 1, 3, generator=generator, dtype=F64),
    )


def step(method: Method, data: Batch, number: int = 0, total: int = 10) -> methods.Contrast:
    """One step without the update of the weights."""
    said = method.contrast([method.project(view) for view in data.views], data)
    method.after_step(number, total)
    return said


# Published values --------------------------------------------------------------


class Raw(nn.Module):
    """Scores are the rows themselves."""

    def forward(self, rows: Tensor, frozen: bool = False) -> Tensor:
        return rows


def prepared(name: str) -> tuple[Method, list]:
    """A method as the fixture has it, and the projections of two views from leaves A and B."""
    a, b = A.clone().requires_grad_(), B.clone().requires_grad_()
    if name in ("moco", "nnclr"):
        method = made(name, queue=5, temperature=0.5)
        method.queue.push(unit(Q), torch.arange(10, 15))
        view = {"projection": a, "key": unit(b)} if name == "moco" else {"projection": a, "prediction": b}
        return method, [a, b, [view, view]]
    if name in ("byol", "simsiam"):
        view = {"prediction": a, ("target" if name == "byol" else "projection"): b}
        return made(name), [a, b, [view, view]]
    if name == "dino":
        method = made(name, prototypes=3)
        method.prototypes = Raw()
        view = {"projection": a, "teacher": b}
        return method, [a, b, [view, view]]
    if name == "swav":
        method = made(name, prototypes=2, frozen_steps=0)
        with torch.no_grad():
            method.prototypes.weight.copy_(P)
        return method, [a, b, [a, b]]
    return made(name, **({"eps": 0.0} if name == "wmse" else {})), [a, b, [a, b]]


@pytest.mark.parametrize(
    ("name", "loss", "of_a", "of_b"),
    [
        ("moco", 1.168632, 0.345879, None),
        ("nnclr", 0.998973, None, 0.393630),
        ("byol", 0.319007, 0.506211, None),
        ("simsiam", -0.840497, 0.253106, None),
        ("barlow", 0.216332, 0.642628, 0.445329),
        ("vicreg", 22.665822, 11.996683, 9.848474),
        ("wmse", 0.390524, 0.942809, 0.666667),
        ("swav", 1.073318, 1.339172, 0.404494),
        ("dino", 1.423361, 2.499830, None),
    ],
)
def test_the_value_and_the_gradients_are_the_published_ones(
    name: str, loss: float, of_a: float | None, of_b: float | None
):
    method, (a, b, projections) = prepared(name)
    said = method.contrast(projections, Batch([A, B], IDS))
    said.loss.backward()
    assert said.loss.item() == pytest.approx(loss, abs=1.1e-6)
    for leaf, norm in ((a, of_a), (b, of_b)):
        if norm is None:
            assert leaf.grad is None
        else:
            assert float(leaf.grad.norm()) == pytest.approx(norm, abs=1.1e-6)


@pytest.mark.parametrize(
    ("options", "loss"),
    [
        ({"objective": "TripletHard"}, 0.928484),
        ({"objective": "TripletHard", "soft": True}, 1.127728),
        ({"objective": "TripletAll"}, 0.513520),
        ({"objective": "TripletAll", "soft": True}, 0.740560),
    ],
)
def test_triplets_are_the_published_ones(options: dict, loss: float):
    said = made("triplet", **options).contrast([A, B], Batch([A, B], IDS, Y))
    assert said.loss.item() == pytest.approx(loss, abs=1.1e-6)


def test_triplets_are_semi_hard_by_default():
    """In fractions, of rows without equal distances, whose order would be up to rounding."""
    first = torch.tensor([[3, 1, 0], [0, 2, 1], [1, 0, 4], [1, 5, 1]], dtype=torch.float64)
    second = torch.tensor([[2, 1, 1], [1, 3, 1], [1, 0, 2], [1, 2, 2]], dtype=torch.float64)
    said = made("triplet").contrast([first, second], Batch([first, second], IDS, Y))
    assert said.loss.item() == pytest.approx(0.155803, abs=1.1e-6)


def rows(*seeds: int) -> list[Tensor]:
    return [torch.randn(4, 3, dtype=F64, generator=torch.Generator().manual_seed(seed)) for seed in seeds]


def test_each_view_is_compared_with_the_others_and_never_with_itself():
    a, b, c, d = rows(1, 2, 3, 4)
    data = Batch([a, b], IDS)
    for name, target in (("byol", "target"), ("simsiam", "projection")):
        method = made(name)
        said = method.contrast([{"prediction": a, target: b}, {"prediction": c, target: d}], data)
        torch.testing.assert_close(said.loss, (method.objective(a, d) + method.objective(c, b)) / 2)
    method = made("dino", prototypes=3)
    method.prototypes = Raw()
    said = method.contrast([{"projection": a, "teacher": b}, {"projection": c, "teacher": d}], data)
    torch.testing.assert_close(said.loss, (method.objective(a, d) + method.objective(c, b)) / 2)


def test_three_views_are_averaged_over_their_pairs():
    a, b, c = rows(1, 2, 3)
    for name in ("barlow", "vicreg"):
        method = made(name)
        want = [method.objective(x, y) for x, y in ((a, b), (a, c), (b, c))]
        said = method.contrast([a, b, c], Batch([a, b, c], IDS))
        torch.testing.assert_close(said.loss, torch.stack(want).mean())
        torch.testing.assert_close(torch.stack(list(said.terms.values())).sum(), said.loss)


# MoCo and its queue ------------------------------------------------------------


def moco_oracle(queries: Tensor, keys: Tensor, held: Tensor, held_ids: list[int], ids: list[int], t: float) -> float:
    """-log of the share of the own key among it and the queue's keys of other items, in plain loops."""
    total = 0.0
    for i, query in enumerate(queries):
        own = math.exp(float(query @ keys[i]) / t)
        others = [math.exp(float(query @ h) / t) for h, k in zip(held, held_ids, strict=True) if k != ids[i]]
        total += math.log(own + sum(others)) - math.log(own)
    return total / len(queries)


def test_pairs_that_are_listed_and_pairs_that_tiles_work_out_are_the_same(monkeypatch: pytest.MonkeyPatch):
    from nearfar.methods import moco

    ids, held = torch.tensor([3, 5, 8]), torch.arange(10, 14)
    listed = moco.key_and_queue(ids, held)
    monkeypatch.setattr(moco, "LISTED", 0)
    worked_out = moco.key_and_queue(ids, held)
    assert type(listed) is not type(worked_out)
    whole = slice(0, 3), slice(0, 7)
    like = torch.zeros(3, 7)
    for over in ("near", "far", "any"):
        assert torch.equal(listed.weights(over, *whole).full(like), worked_out.weights(over, *whole).full(like))
    want = torch.cat([torch.zeros(3, 3), torch.ones(3, 4)], 1)
    assert torch.equal(listed.weights("far", *whole).full(like), want)


def test_keys_of_the_same_item_in_the_queue_are_not_far():
    method = made("moco", queue=7, temperature=0.5, symmetric=False)
    method.queue.push(unit(Q), torch.tensor([3, 10, 11, 0, 12]))
    ids = torch.tensor([0, 1, 0, 3])
    views = [{"projection": A, "key": unit(A)}, {"projection": B, "key": unit(B)}]
    said = method.contrast(views, Batch([A, B], ids))
    want = moco_oracle(unit(A), unit(B), unit(Q), [3, 10, 11, 0, 12], ids.tolist(), 0.5)
    assert said.loss.item() == pytest.approx(want, abs=1e-9)
    assert said.loss.item() != pytest.approx(1.168632, abs=1e-3)
    assert said.chance == pytest.approx((math.log(5) * 3 + math.log(6)) / 4)


def test_keys_join_the_queue_after_the_step_and_not_before():
    method, data = made("moco", queue=20, symmetric=False), batch()
    said = method.contrast([method.project(view) for view in data.views], data)
    assert said.loss.item() == 0.0 and said.loss.requires_grad and len(method.queue) == 0
    keys = method.project(data.views[1])["key"]
    method.after_step(0, 10)
    torch.testing.assert_close(method.queue.rows()[0], keys)
    assert method.queue.rows()[1].tolist() == list(range(8))
    assert step(method, data).loss.item() > 0  # the own item's key is ignored, those of the other seven are far


@pytest.mark.parametrize("size", [8, 12, 5])
def test_a_queue_as_large_as_the_batch_or_smaller_holds_the_last_rows(size: int):
    method = made("moco", queue=size, symmetric=False)
    for number in range(3):
        assert math.isfinite(step(method, batch(), number).loss.item())
    assert len(method.queue) == size
    method = made("moco", queue=size)
    step(method, batch())
    assert len(method.queue) == size  # both views' keys


def test_every_view_asks_for_every_other():
    method = made("moco", queue=30, views=3)
    data = batch(3)
    step(method, data)
    assert len(method.queue) == 24
    said = step(method, data, 1)
    assert math.isfinite(said.loss.item()) and set(said.terms) == {"attract", "repel"}


def test_a_momentum_of_one_freezes_the_keys_and_zero_copies_the_network():
    for momentum in (1.0, 0.0):
        method = made("moco", momentum=momentum)
        before = {k: v.clone() for k, v in method.keys.module.state_dict().items()}
        with torch.no_grad():
            method.head[0].weight.add_(1)
        step(method, batch())
        after = method.keys.module.state_dict()
        network = nn.Sequential(method.encoder, method.head).state_dict()
        want = before if momentum else network
        assert all(torch.equal(after[k], want[k]) for k in want)


def test_the_targets_slow_down_to_a_stop():
    for name, copy in (("byol", "target"), ("dino", "teacher")):
        method = made(name, momentum=0.5)
        moved = []
        for number in (0, 5, 10):
            with torch.no_grad():
                method.head[0].weight.add_(1)
            before = getattr(method, copy).module[1][0].weight.clone()
            gap = method.head[0].weight.detach() - before
            step(method, batch(), number, 10)
            moved.append(float(((getattr(method, copy).module[1][0].weight - before) / gap).mean()))
        assert moved == pytest.approx([0.5, 0.25, 0.0], abs=1e-9)


# Neighbours --------------------------------------------------------------------


def test_a_queue_of_the_very_rows_makes_it_one_way_infonce():
    method = made("nnclr", queue=4, temperature=0.5)
    method.queue.push(unit(A), torch.arange(4))
    view = {"projection": A, "prediction": B}
    said = method.contrast([view, view], Batch([A, B], IDS))
    torch.testing.assert_close(said.loss, InfoNCE(temperature=0.5)(A, B))
    assert said.chance == pytest.approx(math.log(4))


def test_without_a_queue_yet_each_row_is_its_own_neighbour_and_only_the_first_view_is_held():
    method = made("nnclr", queue=9, temperature=0.5)
    views = [{"projection": A, "prediction": B}, {"projection": B, "prediction": A}]
    said = method.contrast(views, Batch([A, B], IDS))
    objective = InfoNCE(temperature=0.5)
    torch.testing.assert_close(said.loss, (objective(A, A) + objective(B, B)) / 2)
    method.after_step(0, 1)
    torch.testing.assert_close(method.queue.rows()[0], unit(A))


def test_an_item_that_stands_twice_in_a_batch_is_not_its_own_far_row():
    method, ids = made("nnclr", queue=4, temperature=0.5), torch.tensor([0, 1, 0, 2])
    view = {"projection": A, "prediction": B}
    said = method.contrast([view, view], Batch([A, B], ids))
    torch.testing.assert_close(said.loss, InfoNCE(temperature=0.5)(A, B, ids=ids))
    assert said.loss != InfoNCE(temperature=0.5)(A, B)


# Prototypes --------------------------------------------------------------------


def test_prototypes_learn_only_after_the_frozen_steps():
    for name in ("swav", "dino"):
        method, data = made(name, prototypes=4, frozen_steps=2), batch()
        for number in range(4):
            method.zero_grad()
            method.contrast([method.project(view) for view in data.views], data).loss.backward()
            assert (method.prototypes.weight.grad is None) == (number < 2)
            method.after_step(number, 4)


def test_swav_balances_with_the_queue_once_it_is_full():
    method, plain = (made("swav", prototypes=4, queue=queue) for queue in (20, 0))
    data = batch()
    for number in range(3):
        method.load_state_dict({**method.state_dict(), **plain.state_dict()})
        got, want = step(method, data, number), step(plain, data, number)
        # 16 rows a step: full after the second, so that the third step differs.
        assert (got.loss.item() == want.loss.item()) == (number < 2)
    assert plain.queue is None and len(method.queue) == 20


def test_swav_holds_no_rows_before_it_is_told_to():
    method, data = made("swav", prototypes=4, queue=20, queue_from=2), batch()
    held = []
    for number in range(4):
        step(method, data, number)
        held.append(len(method.queue))
    assert held == [0, 0, 16, 20]


def test_the_centre_is_the_running_mean_of_the_teacher():
    method, data = made("dino", prototypes=4, centre_momentum=0.75, momentum=1.0), batch()
    mean = torch.cat([method.project(view)["teacher"] for view in data.views]).mean(0)
    for number, share in enumerate((0.25, 0.4375)):
        said = step(method, data, number)
        torch.testing.assert_close(method.centre, share * mean)
    uncentred = made("dino", prototypes=4, momentum=1.0)
    assert said.loss.item() != step(uncentred, data).loss.item()


# Whitening ---------------------------------------------------------------------


def test_a_batch_too_small_to_whiten_is_refused_with_what_to_set():
    with pytest.raises(ConfigError, match=r"8 rows .* width 8: set projection to 4 or less, or batch_size .* 16"):
        step(made("wmse", projection=8), batch())
    with pytest.raises(ConfigError, match="whitens 4 rows"):
        step(made("wmse", block=4, projection=5), batch())


def test_rounds_average_other_partitions():
    views = [torch.randn(12, 3, dtype=F64, generator=torch.Generator().manual_seed(k)) for k in (1, 2)]
    data = Batch(views, torch.arange(12))
    one = made("wmse", block=6).contrast(views, data).loss
    torch.manual_seed(3)
    two = made("wmse", block=6, rounds=2).contrast(views, data).loss
    assert math.isfinite(two.item()) and one.item() != two.item()


# All of them -------------------------------------------------------------------

# Those that ask encoders of words are in test_words.py.
OF_ANYTHING = [name for name, kind in methods.catalogue().items() if "of_words" not in kind.asks]

SMALL = {
    "wmse": {"projection": 3},
    "swav": {"prototypes": 4, "queue": 20},
    "dino": {"prototypes": 4},
    "proxy": {"classes": 3},
    "clusterns": {"centroids": 4},
    "invp": {"items": 8, "links": 2, "hardest": 3, "walk_from": 0.0},
    "pnda": {"items": 8},
    "beclr": {"queue": 16, "prototypes": 3, "neighbours": 2, "neighbours_from": 0.1},
    "gml": {"classes": 3},
    "sepclr": {"background": 1},
}


@pytest.mark.parametrize("name", OF_ANYTHING)
@pytest.mark.parametrize("views", [2, 3])
def test_micro_batches_give_the_gradients_of_the_whole_batch(name: str, views: int):
    """Without batch norm, which sees micro-batches, the gradients are the same, and so is what is remembered."""
    data, results = batch(views), []
    for micro_batch in (None, 3):
        method = made(name, views=views, **SMALL.get(name, {}))
        for part in list(method.modules()):
            for key, child in part.named_children():
                if isinstance(child, nn.BatchNorm1d):
                    setattr(part, key, nn.Identity())
        step(method, data)  # fills the queues

        def loss_of(projections: list, method: Method = method) -> Tensor:
            return method.contrast(projections, data).loss

        if micro_batch is None:
            step_gradients(method.project, data.views, loss_of, None)
        else:
            step_gradients(method.project, data.views, loss_of, micro_batch)
        method.after_step(1, 10)
        gradients = {n: p.grad for n, p in method.named_parameters() if p.grad is not None}
        results.append((gradients, method.state_dict()))
    (want, state), (got, other) = results
    assert want.keys() == got.keys() and any(bool(g.abs().max() > 1e-6) for g in want.values())
    for key in want:
        torch.testing.assert_close(got[key], want[key], rtol=1e-9, atol=1e-9)
    for key in state:
        torch.testing.assert_close(other[key], state[key], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", OF_ANYTHING)
def test_what_is_watched_is_the_projection(name: str):
    projected = made(name, **SMALL.get(name, {})).project(batch().views[0])
    if isinstance(projected, dict):
        assert next(iter(projected)) == "projection"
        projected = projected["projection"]
    width = 6 if name == "whitenedcse" else 3  # its head is for whole batches, so the embedding is watched
    assert projected.shape == (8, width) and projected.requires_grad


@pytest.mark.parametrize("name", methods.catalogue())
def test_options_say_what_they_mean_and_unknown_ones_are_refused(name: str):
    kind = methods.find(name)
    assert all(field.description for field in kind.Options.model_fields.values())
    with pytest.raises(ConfigError, match="unknown setting 'nonsense'"):
        kind.Options(nonsense=1)
    assert kind.name == name and kind.near and kind.far and kind.source and kind.__doc__


@pytest.mark.parametrize(
    ("name", "wrong", "message"),
    [
        ("moco", {"queue": 0}, "queue"),
        ("moco", {"momentum": 1.1}, "momentum"),
        ("swav", {"epsilon": 0}, "epsilon"),
        ("vicreg", {"form": "book"}, "form"),
        ("triplet", {"soft": True}, "TripletSemiHard takes no soft; leave out"),
        ("triplet", {"objective": "NTXent"}, "objective"),
        ("wmse", {"eps": 1.0}, "eps"),
    ],
)
def test_impossible_options_are_refused(name: str, wrong: dict, message: str):
    with pytest.raises(ConfigError, match=message):
        methods.find(name).Options(**wrong)


def test_triplets_without_labels_are_refused():
    with pytest.raises(DataError, match="triplet learns from labels"):
        made("triplet").contrast([A, B], Batch([A, B], IDS))


def test_widths_follow_the_encoder_where_they_are_left_open():
    assert made("barlow", hidden=None).head[0].out_features == Encoder.width
    assert made("simsiam", projection=16).predictor[0].out_features == 4
    assert {type(made(n)) for n in ("moco", "nnclr", "wmse", "barlow", "swav", "dino")} == {
        MoCo, NNCLR, WMSE, Barlow, SwAV, DINO,
    }  # fmt: skip
